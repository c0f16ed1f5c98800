"""The GPU benchmark without a GPU: what its table says of what was measured, and of what failed."""

from __future__ import annotations

from bench.cuda import row


def test_a_row_has_milliseconds_and_ratios() -> None:
    planck = {"us": 100.0, "error": 1e-3, "steps": 3, "reference_steps": 0, "build_s": 1.0}
    failed = {"failed": "RuntimeError: no\nmemory"}
    text = row(
        "net-b1-fp16", {"contenders": {"planck": planck, "eager": {"us": 250.0}, "x": failed}}
    )
    assert "planck 0.100 ms (1.00x); eager 0.250 ms (2.50x); x memory; error 1.0e-03" in text


def test_a_case_that_failed_says_why_in_one_line() -> None:
    assert row("net", {"failed": "Traceback\nRuntimeError: no GPU"}).endswith(
        "RuntimeError: no GPU"
    )
