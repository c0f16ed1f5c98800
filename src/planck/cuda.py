"""What GPUs have beside `planck.build`, `planck.load` and engines: several inferences at a time.

`CudaEngine`, `CudaContext` and `DeviceArray` are what engines, contexts and outputs are on a GPU.
"""

from planck.device.cuda.arrays import DeviceArray
from planck.runtime.cuda.context import CudaContext
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.merged import Merged
from planck.runtime.cuda.pipeline import Pipeline

__all__ = ["CudaContext", "CudaEngine", "DeviceArray", "Merged", "Pipeline"]
