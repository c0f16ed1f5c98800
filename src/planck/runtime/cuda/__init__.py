"""Runs plans for NVIDIA GPUs: the same engine and contexts, with one CUDA graph an inference."""
