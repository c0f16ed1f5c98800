"""The check of a GPU's plan: it runs once, beside the network in float64.

All kernels are exact, so nothing is replaced: in float32 a plan beyond the budget is a mistake, or
an ill-conditioned network, and the build says so. With operands of 16 bits, or TF32's 10 bits of
fraction, the error is what their rounding makes of this network: it is told, and held to nothing.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any, Final

from planck.compiler import work
from planck.compiler.accuracy import error_of, run_plan, truth_of
from planck.ir.graph import Graph
from planck.plan.model import Plan
from planck.refusal import No
from planck.tune.error import rounded

log = logging.getLogger(__name__)

MOST_FLOPS: Final = 5e10  # that NumPy computes in float64: a few seconds


def check(plan: Plan, graph: Graph, budget: float) -> Plan:
    """The plan with what was found in Plan.build["accuracy"]. raises: DeviceError"""
    flops = sum(work.flops(node) for node in graph.nodes)
    if flops > MOST_FLOPS:
        log.info("not compared with float64: %.0f GFLOP", flops / 1e9)
        return plan
    truth = truth_of(graph)
    held = plan.precision == "fp32"
    error: float | None = None
    if isinstance(truth, No):
        log.warning("the plan's error is not known: %s", truth)
    else:
        inputs, want = truth
        error = rounded(error_of(run_plan(plan, inputs), want))
        log.info("whole plan: %.1e of the largest output from float64", error)
        if held and error > budget:
            log.warning("the plan errs by %.1e of the largest output from float64", error)
    found: dict[str, Any] = {"budget": budget if held else None, "error": error, "replaced": []}
    return replace(plan, build={**plan.build, "accuracy": found})
