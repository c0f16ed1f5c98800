"""NVIDIA GPUs through the CUDA driver API: memory, streams, modules, launches, graphs.

Nothing here touches a GPU, or imports `cuda.bindings`, before a device is opened.
"""
