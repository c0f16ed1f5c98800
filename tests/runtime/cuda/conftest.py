"""A GPU that only pretends, for the tests of engines and contexts."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.plans import fake

COUNT = 1000  # elements of the plans' tensors


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    """A GPU on which nothing may be left at the end of a test.

    What other tests have left is not looked through each time that this one's garbage is collected.
    """
    gc.collect()
    gc.freeze()
    made = fake(COUNT)
    yield made
    made.finish()
    gc.unfreeze()
