"""`codes`: builds for GPUs without a compiler."""

from concurrent.futures import Future
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from planck.codegen.triton.code import Cubin
from planck.compiler.cuda import build
from tests.device.fake_cuda import cubin


@pytest.fixture
def codes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was to be compiled, by symbol; each cubin is made at once, of the kernel's name."""
    found: dict[str, Any] = {}

    def submit(code: Any) -> Future[Cubin]:
        found[code.symbol] = code
        future: Future[Cubin] = Future()
        future.set_result(Cubin(cubin(code.symbol), 32 * code.warps, 1 << 14))
        return future

    pool = nullcontext(SimpleNamespace(submit=submit))
    monkeypatch.setattr(build, "CubinPool", lambda target: pool)
    return found
