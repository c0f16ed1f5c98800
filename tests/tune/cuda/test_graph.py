"""Settling in the whole graph: a rival stays where the network is faster with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from planck.codegen.triton.image import join, launch_of
from planck.errors import CudaError
from planck.plan.model import Plan, Step
from planck.tune.cuda.choice import Choice
from planck.tune.cuda.clock import FaultError
from planck.tune.cuda.graph import FaultyError, settle
from tests.tune.cuda.pretending import TARGET, Compilers, Pretence, Timer, Timing, kernel


def ways(name: str, channels: int) -> list[Choice]:
    tactic = Pretence(name)
    own = kernel(channels)
    made = []
    for config in tactic.configs[:3]:
        code = tactic.build(own, config)
        made.append(Choice(tactic, config, code, Compilers(tactic).submit(code).result()))
    return made


def settled(
    us: dict[Any, float], seconds: float = 10.0, faulty: str = ""
) -> tuple[dict[str, int], Any, Timer]:
    """Kernels a, b, a in a row; all begin with tile 0."""
    found = {"a": ways("a", 16), "b": ways("b", 24)}
    timer = Timer(us, faulty)

    def step(place: int, choice: Choice) -> Step:
        launch = launch_of(choice.code, choice.cubin)
        return Step(f"s{place}", "", choice.code.symbol, (), (), (), launch=launch)

    def plan(steps: Sequence[Step]) -> Plan:
        all_ways = [way for own in found.values() for way in own]
        code, symbols = join({way.code.symbol: way.cubin for way in all_ways})
        return Plan("g", TARGET, "fp32", 1, (), (), (), tuple(steps), 0, code, symbols, b"")

    choices, record = settle(
        ["a", "b", "a"],
        {name: own[0] for name, own in found.items()},
        {name: own[1:] for name, own in found.items()},
        step,
        plan,
        timer,
        (),
        seconds=seconds,
    )
    return {name: choice.config["tile"] for name, choice in choices.items()}, record, timer


def test_a_rival_that_makes_the_network_faster_stays() -> None:
    choices, record, timer = settled({"tile0": 10.0, "tile1": 9.0, "tile2": 11.0})
    assert choices == {"a": 1, "b": 1}
    assert record == {"before": 30.0, "after": 27.0}
    assert timer.live == 0


def test_a_kernel_is_judged_in_all_its_places_at_once() -> None:
    """Faster in the first place, slower in the last: all in all, nothing is gained."""
    choices, record, _ = settled({"tile0": 10.0, ("tile1", 0): 8.0, "tile1": 12.0, "tile2": 20.0})
    assert choices == {"a": 0, "b": 0}
    assert record["before"] == record["after"]


@pytest.mark.parametrize(("gain", "tile"), [(0.001, 0), (0.003, 1)])
def test_less_than_two_in_a_thousand_is_noise(gain: float, tile: int) -> None:
    us = {"tile0": 10.0, ("tile1", 1): 10.0 - 30.0 * gain, "tile1": 11.0, "tile2": 20.0}
    assert settled(us)[0] == {"a": 0, "b": tile}


def test_when_time_is_over_the_best_so_far_stays() -> None:
    choices, record, _ = settled({"tile0": 10.0, "tile1": 9.0}, seconds=-1.0)
    assert choices == {"a": 0, "b": 0}
    assert record == {"before": 30.0, "after": 30.0}


def test_a_rival_that_the_gpu_fails_in_is_told() -> None:
    us = {"tile0": 10.0, "tile1": 9.0, "tile2": 11.0}
    with pytest.raises(FaultyError) as caught:
        settled(us, faulty="tile2")
    assert (caught.value.key, caught.value.way.config) == ("a", {"tile": 2})
    with pytest.raises(FaultError) as first:
        settled(us, faulty="tile0")
    assert not isinstance(first.value, FaultyError)


def test_no_rival_is_blamed_for_what_had_run_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU fails at last in the graph that all are compared with."""
    run_us, runs = Timing.run_us, 0

    def failing(self: Timing, graph: list[str], cold: bool) -> float:
        nonlocal runs
        rival = any(symbol.endswith("tile1") for symbol in graph)
        runs += rival
        if runs and not rival:
            self.timer.live = 0
            raise CudaError("cuStreamSynchronize failed")
        return run_us(self, graph, cold)

    monkeypatch.setattr(Timing, "run_us", failing)
    with pytest.raises(FaultError) as caught:
        settled({"tile0": 10.0, "tile1": 9.0, "tile2": 11.0})
    assert caught.value.number == 0
    assert not isinstance(caught.value, FaultyError)
