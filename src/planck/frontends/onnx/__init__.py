"""Reads ONNX models; those of opsets before 7 are converted first."""

from planck.frontends.onnx.reader import read
from planck.frontends.onnx.tables import operators

SUFFIXES = (".onnx",)

__all__ = ["SUFFIXES", "operators", "read"]
