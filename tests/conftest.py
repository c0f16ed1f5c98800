"""Options and fixtures for all tests, and the count of ONNX's backend tests after a run."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the golden files anew, to be reviewed"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked gpu are skipped, with the reason, where no GPU can be used."""
    if item.get_closest_marker("gpu"):
        from planck.device.cuda.bindings import open_driver
        from planck.errors import DeviceError, MissingExtraError

        try:
            count = open_driver().count()
        except (DeviceError, MissingExtraError) as error:
            pytest.skip(str(error).splitlines()[0])
        if not count:
            pytest.skip("there is no GPU")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell the counts that test items recorded, summed over all items and processes."""
    reports = [r for rows in terminalreporter.stats.values() for r in rows]
    counts = [
        value
        for report in reports
        if getattr(report, "when", "") == "call"
        for key, value in report.user_properties
        if key == "onnx_backend"
    ]
    if counts:
        total, passed, compiled, known = map(sum, zip(*counts, strict=True))
        terminalreporter.write_line(
            f"ONNX backend tests: {passed} of {total} pass, {compiled} compiled without a "
            f"reference step ({known} of them all known while building)"
        )
