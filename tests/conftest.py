"""What all tests share: golden files, and the count of ONNX's backend tests at the end of a run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files anew, to be reviewed"
    )


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The cases that passed, summed over the test items (and processes) that ran them."""
    reports = [r for rows in terminalreporter.stats.values() for r in rows]
    counts = [
        dict(report.user_properties)["onnx_backend"]
        for report in reports
        if getattr(report, "when", "") == "call" and "onnx_backend" in dict(report.user_properties)
    ]
    if counts:
        total, passed, compiled = map(sum, zip(*counts, strict=True))
        terminalreporter.write_line(
            f"ONNX backend tests: {passed} of {total} pass, "
            f"{compiled} compiled without a reference step"
        )
