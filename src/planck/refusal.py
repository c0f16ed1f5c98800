"""`No`: a refusal that keeps its reason. Rules, tactics and filters return it instead of None."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class No:
    """False in a condition; its reason is what `planck why` prints.

    >>> answer = No("needs C divisible by 16, C is 3")
    >>> bool(answer), str(answer)
    (False, 'needs C divisible by 16, C is 3')
    """

    reason: str

    def __bool__(self) -> Literal[False]:
        return False

    def __str__(self) -> str:
        return self.reason
