"""Which kernels read the same weights time after time."""

from __future__ import annotations

import pytest

from planck.compiler.split import Launch, repeated
from tests.compiler.test_weigh import kernel_of, launch_of

WIDE, NARROW = kernel_of(64), kernel_of(32)
LOOSE = Launch(launch_of(WIDE, "a").node, None, {})  # a step without weights of its own


@pytest.mark.parametrize(
    ("steps", "found"),
    [
        ([(WIDE, "a"), (WIDE, "a"), (WIDE, "a")], {WIDE.key}),
        ([(WIDE, "a"), (WIDE, "b"), (WIDE, "c")], set()),
        ([(WIDE, "a"), (NARROW, "b"), (WIDE, "a"), (NARROW, "b")], set()),
        ([(NARROW, "b"), (WIDE, "a"), (WIDE, "a"), (WIDE, "a"), (NARROW, "c")], {WIDE.key}),
        ([], set()),
    ],
)
def test_recurrences_repeat_their_weights(steps: list[tuple[object, str]], found: set[str]) -> None:
    launches = [launch for kernel, name in steps for launch in (launch_of(kernel, name), LOOSE)]  # type: ignore[arg-type]
    assert repeated(launches) == found
