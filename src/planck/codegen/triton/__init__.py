"""Kernels for NVIDIA GPUs: Triton source, written by Planck, compiled ahead of time to cubins."""
