"""Assembly for GPUs: launches and choices -> the plan of cubins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from planck.codegen.triton.code import Cubin
from planck.codegen.triton.image import join, launch_of
from planck.compiler.assemble import (
    Packs,
    Places,
    compiled_step,
    network_names,
    network_slots,
    reference_step,
)
from planck.compiler.place import Placement
from planck.compiler.split import Launch
from planck.ir.graph import Graph
from planck.plan.model import Plan, Step, aligned
from planck.target import Target
from planck.tune.cuda.choice import Choice

COUNTER_BYTES = 4
_LANE_ALIGN = 256


class Assembly:
    """Makes steps one by one, in several ways if that is wanted, and a plan that holds them.

    packs:     keeps packed weights for another assembly with other choices
    parallel:  steps that may run side by side
    """

    def __init__(
        self,
        graph: Graph,
        placement: Placement,
        launches: Sequence[Launch],
        packs: Packs,
        parallel: Sequence[range] = (),
    ) -> None:
        self.graph, self.launches, self.packs = graph, launches, packs
        self.places = Places(placement, launches, graph, parallel)
        self.cubins: dict[str, Cubin | None] = {}
        self.workspace_bytes = self.counters = 0

    def step(self, launch: Launch, choice: Choice | None) -> Step:
        """The step of a launch; one of its reference where there is no choice."""
        if launch.kernel is None or choice is None:
            return reference_step(launch, self.places)
        code = choice.code
        self.cubins[code.symbol] = choice.cubin
        self.workspace_bytes = max(self.workspace_bytes, code.workspace_bytes)
        self.counters = max(self.counters, code.counters)
        step = compiled_step(launch, launch.kernel, choice, self.places, self.packs)
        return replace(step, launch=launch_of(code, choice.cubin))

    def plan(
        self, steps: Iterable[Step], target: Target, precision: str, build: dict[str, Any]
    ) -> Plan:
        """The plan of steps that were made here."""
        graph, places = self.graph, self.places
        steps, sizes = self._apart(tuple(steps))
        code, symbols = join(self.cubins)
        return Plan(
            name=graph.name,
            target=target,
            precision=precision,
            threads=1,
            inputs=network_slots(graph.inputs, "input"),
            outputs=network_slots(graph.outputs, "output"),
            slots=tuple(places.slots.values()),
            steps=steps,
            arena_bytes=places.arena_bytes,
            code=code,
            symbols=symbols,
            weights=places.weights.image(),
            names=network_names(graph),
            build={**build, **places.notes(graph)},
            workspace_bytes=sizes["workspace"],
            counter_bytes=sizes["counters"],
        )

    def _apart(self, steps: tuple[Step, ...]) -> tuple[tuple[Step, ...], dict[str, int]]:
        """The steps with a workspace and counters for each lane, and the sizes of all of these."""
        lanes = 1 + max((step.lane for step in steps), default=0)
        sizes = {"workspace": self.workspace_bytes, "counters": COUNTER_BYTES * self.counters}
        if lanes == 1:
            return steps, sizes
        pitch = {space: aligned(size, _LANE_ALIGN) for space, size in sizes.items()}

        def moved(step: Step) -> Step:
            arguments = (
                replace(p, offset_bytes=p.offset_bytes + step.lane * pitch.get(p.space, 0))
                for p in step.arguments
            )
            return replace(step, arguments=tuple(arguments)) if step.lane else step

        return tuple(map(moved, steps)), {space: lanes * size for space, size in pitch.items()}
