"""The accuracy budget: a plan with inexact kernels is compared with float64 before it is given out.

Each kernel errs little, but a network may amplify what its layers err. So the whole plan runs once
on random inputs, and the network once by its definition in float64. Where the plan errs more than
the budget, kernels step down their ladders (tune/ladder.py), those first that contribute the most,
until it holds. docs/architecture.md says why it is done so.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from planck.codegen.processes import CompilePool
from planck.dtypes import Array
from planck.errors import PlanckError
from planck.ir.graph import Graph, Value
from planck.ops.float64 import interpret_float64
from planck.plan.codec import plan_to_json
from planck.plan.model import Plan
from planck.refusal import No
from planck.runtime import engine_of
from planck.tactics.kernel import Kernel, Tactic
from planck.tune.cache import Timing, TimingCache
from planck.tune.choose import Choice, Report, offers
from planck.tune.error import relative_error, rounded
from planck.tune.ladder import ladders

log = logging.getLogger(__name__)

BUDGET: Final = 1e-4
# On other inputs than the check's, errors were mostly up to a quarter larger: so much is left free.
AIM: Final = 0.8

# Where float32 itself errs more than the budget, a plan may err so many times what the plan of the
# least error does: as much as that one's error differs from one random input to the next (four
# inputs of an ill-conditioned YOLOv5s, exact tactics only: 1.0e-4, 1.1e-4, 1.2e-4, 1.4e-4).
SLACK: Final = 1.25

Choices = dict[str, Choice]


@dataclass(frozen=True)
class Check:
    """What a check needs to know of a build.

    graph:     the network as its frontend gave it: float64 runs this one, so that mistakes and
               rounding of passes count too; in fp16 as the passes leave it, with rounded weights
    assembled: the plan for a choice of each kernel, by key
    """

    graph: Graph
    kernels: Mapping[str, Kernel]
    tactics: Sequence[Tactic]
    pool: CompilePool
    cache: TimingCache
    budget: float
    weights_from_memory: bool
    assembled: Callable[[Choices], Plan]
    report: Report


def hold_budget(check: Check, choices: Choices) -> tuple[Plan, Choices]:
    """The plan within the budget, and the choices it is made of.

    Plan.build["accuracy"] says what was found, except where all tactics are exact: then nothing is
    there to check.
    """
    plan = check.assembled(choices)
    if all(choice.tactic.exact for choice in choices.values()):
        return plan, choices
    key = _digest(plan, check.budget)
    known = check.cache.checks.get(key)
    replaced = _replayed(check, known) if known else None
    if known is not None and replaced is not None:
        record = known["record"]
    else:
        replaced, record = _checked(check, plan, choices)
        check.cache.checks[key] = {
            "record": record,
            "rows": {k: [row.as_json() for row in c.timings] for k, c in replaced.items()},
        }
        check.cache.changed = True
        check.cache.save()
    if replaced:
        choices = {**choices, **replaced}
        plan = check.assembled(choices)
    return replace(plan, build={**plan.build, "accuracy": record}), choices


def _digest(plan: Plan, budget: float) -> str:
    """Of all that decides what the plan computes."""
    head = {**plan_to_json(plan), "build": {}, "budget": budget, "aim": AIM}
    for step in head["steps"]:
        step["measured_us"] = 0.0
    whole = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    whole.update(plan.code)
    whole.update(plan.weights)
    return whole.hexdigest()[:24]


def _replayed(check: Check, known: Mapping[str, Any]) -> dict[str, Choice] | None:
    """The choices that an earlier check replaced; None if they are not offered any more."""
    building = []
    for key, rows in known["rows"].items():
        timings = tuple(Timing.from_json(row) for row in rows)
        offered, _ = offers(check.kernels[key], check.tactics)
        same = [
            c
            for c in offered
            if c.tactic.name == timings[0].tactic and dict(c.config) == dict(timings[0].config)
        ]
        if not same:
            return None
        code = same[0].tactic.build(check.kernels[key], same[0].config)
        building.append((key, same[0], code, check.pool.submit(code.llvm, code.level), timings))
    return {
        key: Choice(c.tactic, c.config, code, future.result(), timings)
        for key, c, code, future, timings in building
    }


# The comparison


def _checked(
    check: Check, plan: Plan, choices: Choices
) -> tuple[dict[str, Choice], dict[str, Any]]:
    """The kernels' new choices, none if the plan is within the budget; and the record."""
    check.report("check", 0, 1, "")
    truth = truth_of(check.graph)
    if isinstance(truth, No):
        log.warning("the plan's error is not known: %s", truth)
        return {}, {"budget": check.budget, "error": None, "replaced": []}
    inputs, want = truth
    error = error_of(run_plan(plan, inputs), want)
    log.info("whole plan: %.1e of the largest output from float64", error)
    record: dict[str, Any] = {"budget": check.budget, "error": rounded(error), "replaced": []}
    if error <= AIM * check.budget:
        return {}, record
    inexact = {k: check.kernels[k] for k, c in choices.items() if not c.tactic.exact}
    steps = ladders(
        inexact,
        choices,
        check.tactics,
        check.pool,
        weights_from_memory=check.weights_from_memory,
        report=check.report,
    )

    def outputs(at: Mapping[str, int]) -> list[Array]:
        mixed = {key: steps[key].rungs[rung] for key, rung in at.items()}
        return run_plan(check.assembled({**choices, **mixed}), inputs)

    last = {key: len(ladder.rungs) - 1 for key, ladder in steps.items()}
    best = outputs(last)
    least = error_of(best, want)
    record["least"] = rounded(least)
    allowed = max(AIM * check.budget, min(SLACK * least, check.budget))
    if least > check.budget:
        allowed = SLACK * least
        log.warning(
            "float32 itself errs by %.1e of the largest output on this network, the budget is %.1e",
            least,
            check.budget,
        )
    if error <= allowed:
        return {}, record
    shares = {}
    for number, key in enumerate(steps):
        check.report("check", number, len(steps), key)
        shares[key] = error_of(outputs({**last, key: 0}), best) if last[key] else 0.0
    at, held = step_down(
        {key: ladder.errors() for key, ladder in steps.items()},
        shares,
        least,
        allowed,
        lambda at: error_of(outputs(at), want),
    )
    where = "over" if error > check.budget else "too near"
    reason = f"whole-plan error {error:.1e} {where} the budget {check.budget:.1e}"
    replaced = {key: steps[key].choice(rung, reason) for key, rung in at.items() if rung}
    record |= {"error": rounded(held), "before": rounded(error)}
    record["replaced"] = [_row(key, choices[key], new) for key, new in replaced.items()]
    log.warning(
        "%s: %d kernels replaced, the error is %.1e now",
        reason,
        len(replaced),
        held,
    )
    return replaced, record


def _row(key: str, old: Choice, new: Choice) -> dict[str, Any]:
    return {
        "kernel": key,
        "was": {"tactic": old.tactic.name, "config": dict(old.config)},
        "now": {"tactic": new.tactic.name, "config": dict(new.config)},
    }


def step_down(
    ladders: Mapping[str, Sequence[float]],
    shares: Mapping[str, float],
    least: float,
    allowed: float,
    error_of: Callable[[Mapping[str, int]], float],
) -> tuple[dict[str, int], float]:
    """The rung of each ladder for a plan that errs no more than allowed, and its error.

    ladders:   each kernel's errors on its own, rung by rung; the first is its present one
    shares:    what each kernel adds to the network's error while on its first rung
    least:     the network's error with all kernels on their last rungs
    error_of:  measures the network's error with kernels on given rungs

    Errors of different kernels are taken to be independent: their squares add. A kernel's share
    shrinks as its own error does. That tells how far to go; error_of tells whether it was enough,
    and how wrong the estimate is.
    """
    at = dict.fromkeys(ladders, 0)

    def square(key: str, rung: int) -> float:
        own = ladders[key]
        if rung == len(own) - 1:
            return 0.0
        return (shares[key] * own[rung] / own[0]) ** 2

    def estimate() -> float:
        return math.sqrt(least**2 + sum(square(key, rung) for key, rung in at.items()))

    def step() -> bool:
        """The kernel that has the most to give goes down; False if all are on their last rungs."""
        free = [key for key in at if at[key] < len(ladders[key]) - 1]
        if free:
            at[max(free, key=lambda key: square(key, at[key]) - square(key, at[key] + 1))] += 1
        return bool(free)

    factor = 1.0
    while step():
        while factor * estimate() > allowed and step():
            pass
        error = error_of(at)
        if error <= allowed:
            return at, error
        factor = max(factor, error / estimate())
    return at, error_of(at)


def truth_of(graph: Graph) -> tuple[list[Array], list[Array | None]] | No:
    """Random inputs, and the outputs in float64; None for outputs that are no floats.

    Integers are ones where the network takes them (as indices, lengths, masks), else zeros.
    """
    refusal = No("")
    for integer in (1, 0):
        try:
            return _evaluated(graph, integer)
        except (IndexError, ValueError, PlanckError) as error:
            refusal = No(f"integer inputs of {integer}: {error}")
    return refusal


def _evaluated(graph: Graph, integer: int) -> tuple[list[Array], list[Array | None]]:
    draw = np.random.default_rng(0)
    inputs = [_draw(value, draw, integer) for value in graph.inputs]
    names = [value.name for value in graph.inputs]
    found = interpret_float64(graph, dict(zip(names, inputs, strict=True)))
    return inputs, [found[v.name] if v.type.dtype.is_float else None for v in graph.outputs]


def _draw(value: Value, draw: np.random.Generator, integer: int) -> Array:
    """Images (floats of four axes or more) uniform in 0..1, other floats normal."""
    type_ = value.type
    if not type_.dtype.is_float:
        return np.full(type_.dims, integer, type_.dtype.numpy)
    image = len(type_.dims) >= 4
    array = draw.random(type_.dims, np.float32) if image else draw.standard_normal(type_.dims)
    return array.astype(type_.dtype.numpy)


def run_plan(plan: Plan, inputs: Sequence[Array]) -> list[Array]:
    engine = engine_of(plan)
    names = [binding.name for binding in engine.inputs]
    with engine.create_execution_context() as context:
        results = context(dict(zip(names, inputs, strict=True)))
    return [results[binding.name] for binding in engine.outputs]


def error_of(got: Sequence[Array], want: Sequence[Array | None]) -> float:
    """The largest of all outputs."""
    pairs = zip(got, want, strict=True)
    return max((relative_error(g, w) for g, w in pairs if w is not None), default=0.0)
