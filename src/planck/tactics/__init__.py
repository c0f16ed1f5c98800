"""The ways to run a kernel."""

from typing import Final

from planck.ops.movement import ScatterElements, ScatterND, TopK
from planck.ops.nn import NonMaxSuppression, RoiAlign
from planck.tactics.attention import FusedAttention
from planck.tactics.boxes import Suppression
from planck.tactics.depth_first import FusedDepthwise
from planck.tactics.direct import Direct, Transposed
from planck.tactics.globalpool import GlobalPooling
from planck.tactics.kernel import Tactic
from planck.tactics.loops import Loops
from planck.tactics.matmul import Multiply
from planck.tactics.matmul24 import NarrowMultiply
from planck.tactics.rois import Regions
from planck.tactics.running import Accumulating
from planck.tactics.scatter import Scattering
from planck.tactics.sliding import Depthwise, Grouped, Pooling
from planck.tactics.strassen import StrassenMultiply
from planck.tactics.strassen_convolution import StrassenConvolution
from planck.tactics.strassen_twice import StrassenTwice
from planck.tactics.topk import Largest
from planck.tactics.winograd import WinogradConvolution

TACTICS: tuple[Tactic, ...] = (
    FusedDepthwise(),
    Depthwise(),
    Grouped(),  # before direct code, which would multiply zeros
    WinogradConvolution(),  # before direct code: it offers only where its model saves time
    Direct(),
    StrassenConvolution(),
    Transposed(),
    Multiply(),
    NarrowMultiply(),  # behind Multiply, which is exact: where nothing is timed, the first is taken
    StrassenMultiply(),
    StrassenTwice(),
    FusedAttention(),
    Pooling(),
    GlobalPooling(),
    Suppression(),
    Largest(),
    Scattering(),
    Regions(),
    Accumulating(),
    Loops(),
)
"""In the order in which they are asked; all that offer are compared."""

WITHOUT_BODY: Final = frozenset({NonMaxSuppression, RoiAlign, TopK, ScatterElements, ScatterND})
"""Operators that have no body, and a tactic of their own among these."""
