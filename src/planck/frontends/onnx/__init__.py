"""Reads ONNX models, opsets 7 and up."""

from planck.frontends.onnx.reader import read
from planck.frontends.onnx.tables import operators

SUFFIXES = (".onnx",)

__all__ = ["SUFFIXES", "operators", "read"]
