"""The ways to run a kernel by a library of NVIDIA's."""
