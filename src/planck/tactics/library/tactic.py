"""What the tactics of all libraries share: whom they ask, and a bias as libraries want it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from planck.device.cuda.library import Algorithm, Problem
from planck.dtypes import BY_NAME, Array
from planck.errors import LibraryError
from planck.refusal import No
from planck.tactics.library.source import Source
from planck.tactics.pattern import Anchored, constant


class LibraryTactic:
    """Asks a library.

    source:  or why there is none
    """

    def __init__(self, source: Source | No) -> None:
        self._source = source

    @property
    def source(self) -> Source:
        """Of a tactic that offers anything."""
        assert not isinstance(self._source, No), self._source
        return self._source

    @property
    def version(self) -> int:
        """Of the library; 0 where there is none."""
        return 0 if isinstance(self._source, No) else self._source.version

    def found(self, problem: Problem) -> Sequence[Algorithm] | No:
        """At least one algorithm."""
        if isinstance(self._source, No):
            return self._source
        try:
            found = self._source.algorithms(problem)
        except LibraryError as error:
            return No(f"{error.what}: {error.know}")
        return found or No("the library has no algorithm for it")


def packed_bias(
    form: Anchored, bias: str, constants: Mapping[str, Array], dtype: str
) -> dict[str, Array]:
    """A constant bias, one number a channel; empty where there is none. dtype: by its name"""
    if not bias or not form.is_constant(bias):
        return {}
    numbers = constant(form.kernel, constants, bias).reshape(-1)
    return {bias: np.ascontiguousarray(numbers.astype(BY_NAME[dtype].numpy))}
