"""NVIDIA's libraries are looked for where they may be, and old ones refused."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from planck.device.cuda import cublaslt, cudnn
from planck.errors import LibraryError
from planck.knobs import turned
from tests.device.test_cublaslt import Own as OwnCublasLt
from tests.device.test_cudnn import Own as OwnCudnn


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    cublaslt.open_cublaslt.cache_clear()
    cudnn.open_cudnn.cache_clear()
    yield
    cublaslt.open_cublaslt.cache_clear()
    cudnn.open_cudnn.cache_clear()


@pytest.mark.parametrize(
    ("open_", "names", "package", "old", "version"),
    [
        (
            cublaslt.open_cublaslt, ["libcublasLt.so.13", "libcublasLt.so.12"], "nvidia-cublas",
            lambda: OwnCublasLt(version=110_500), "11.5.0",
        ),
        (
            cudnn.open_cudnn, ["libcudnn.so.9"], "nvidia-cudnn",
            lambda: OwnCudnn(version=89_700), "8.97.0",
        ),
    ],
    ids=["cublaslt", "cudnn"],
)  # fmt: skip
def test_a_library_is_looked_for_and_may_be_too_old(
    open_: Any,
    names: list[str],
    package: str,
    old: Any,
    version: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
) -> None:
    tried: list[str] = []

    def load(place: str) -> Any:
        tried.append(place)
        raise OSError(f"{place}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", load)
    with turned(cuda=tmp_path), suppress(LibraryError):
        (tmp_path / "lib64").mkdir()
        (tmp_path / "lib64" / names[-1]).touch()
        open_()
    assert tried[-len(names) :] == names
    assert str(tmp_path / "lib64" / names[-1]) in tried
    with pytest.raises(LibraryError, match="not on this machine") as caught:
        open_()
    assert f"pip install {package}" in caught.value.try_
    monkeypatch.setattr(ctypes, "CDLL", lambda place: old())
    with pytest.raises(LibraryError, match="too old") as caught:
        open_()
    assert version in str(caught.value)
