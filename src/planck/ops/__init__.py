"""The operator set: attributes, shape inference, reference, loop body."""

from __future__ import annotations

from typing import Final

from planck.ir.graph import Op
from planck.ops.identity import Identity

OPERATORS: Final[tuple[type[Op], ...]] = (Identity,)

BY_NAME: Final = {operator.__name__: operator for operator in OPERATORS}
