"""Chooses kernels for GPUs: each by its own time, then all of them in the network's graph."""
