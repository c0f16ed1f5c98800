"""Reads ONNX models, opsets 7 and up."""

from planck.frontends.onnx.reader import read

SUFFIXES = (".onnx",)

__all__ = ["SUFFIXES", "read"]
