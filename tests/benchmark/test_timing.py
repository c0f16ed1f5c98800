"""Who is called when and how often; what a failing stream does to the others."""

from __future__ import annotations

import threading
import time

import pytest

from planck.benchmark import timing
from planck.benchmark.timing import Contender, Effort, time_in_turn, time_streams


def test_one_stream_runs_here_and_as_often_as_asked() -> None:
    threads = []
    (stream,) = time_streams(
        [lambda: threads.append(threading.current_thread())], Effort(3, 10, 0.0)
    )
    assert len(stream.times_us) == 10
    assert threads == [threading.current_thread()] * 13
    assert stream.elapsed_s * 1e6 >= stream.times_us.sum()


def test_a_duration_is_kept() -> None:
    (stream,) = time_streams([lambda: time.sleep(0.005)], Effort(0, 1, 0.05))
    assert stream.elapsed_s >= 0.05
    assert 1 <= len(stream.times_us) <= 10
    assert stream.times_us.min() >= 5000
    assert stream.calls_per_s == pytest.approx(len(stream.times_us) / stream.elapsed_s)


def test_streams_run_at_once_until_the_slowest_is_done() -> None:
    fast, slow = time_streams(
        [lambda: time.sleep(0.001), lambda: time.sleep(0.02)], Effort(1, 5, 0.0)
    )
    assert len(slow.times_us) == 5
    assert len(fast.times_us) > 5


@pytest.mark.parametrize("warm", [0, 2])
def test_a_stream_that_fails_ends_all_with_its_own_error(warm: int) -> None:
    calls = []

    def fails() -> None:
        calls.append(1)
        if len(calls) > warm:
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        time_streams([lambda: time.sleep(0.001), fails], Effort(1, 3, 0.0))


def test_turns_alternate_and_who_begins_rotates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SLICE_S", 0.0)
    order: list[str] = []
    both = [Contender(lambda: order.append("a")), Contender(lambda: order.append("b"))]
    found = time_in_turn(both, Effort(2, 1, 0.0))
    assert order[:4] == ["a", "a", "b", "b"]  # warming up
    slices = [order[at : at + 4] for at in range(4, len(order), 4)]
    assert all(len(set(one)) == 1 for one in slices)
    assert "".join(one[0] for one in slices) == "abba" * (timing.LEAST_ROUNDS // 2)
    # The first of the four calls of a slice does not count.
    assert [[len(times) for times in rounds] for rounds in found] == [[3] * 12, [3] * 12]


def test_turns_go_on_until_each_has_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SLICE_S", 0.0)
    found = time_in_turn(
        [Contender(lambda: None), Contender(lambda: time.sleep(0.001))], Effort(0, 60, 0.0)
    )
    assert [sum(map(len, rounds)) for rounds in found] == [60, 60]


def test_what_is_on_its_way_ends_in_its_own_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a queue, as long as what fills it, only calls count that wait for another to end."""
    monkeypatch.setattr(timing, "SLICE_S", 0.0)
    waiting: list[int] = []

    def push() -> None:
        waiting.append(0)
        if len(waiting) > 3:
            waiting.pop()
            time.sleep(0.002)

    def other() -> None:
        assert not waiting
        time.sleep(0.001)

    queue = Contender(push, 4, waiting.clear)
    mine, theirs = time_in_turn([queue, Contender(other)], Effort(2, 1, 0.0))
    assert min(map(min, mine)) >= 2000
    assert min(map(min, theirs)) >= 1000
