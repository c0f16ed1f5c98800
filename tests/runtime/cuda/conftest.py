"""A GPU that only pretends, for the tests of engines and contexts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.device.fake_cuda import FakeDriver
from tests.runtime.cuda.plans import fake

COUNT = 1000  # elements of the plans' tensors


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    """A GPU on which nothing may be left at the end of a test."""
    made = fake(COUNT)
    yield made
    made.finish()
