"""What must hold of a plan before its code runs: every number stays inside what it indexes."""

from __future__ import annotations

from planck.errors import PlanFormatError, PlanTargetError
from planck.plan.model import Place, Plan, Slot, Step
from planck.plan.record import CLOCK, RUN, STOP, WORKER
from planck.target import Target

_ORDER = ("portable", "avx2", "avx512")  # each runs on processors of all that follow


def check_plan(plan: Plan) -> None:
    """raises: PlanFormatError naming the step or slot that points outside the plan"""
    for name in (RUN, WORKER, STOP, CLOCK):
        if name not in plan.symbols:
            raise PlanFormatError(f"the plan has no engine loop: symbol {name} is missing")
    for name, offset in plan.symbols.items():
        if not 0 <= offset < len(plan.code):
            raise PlanFormatError(f"symbol {name} lies outside the plan's code")
    for slot in (*plan.inputs, *plan.outputs, *plan.slots):
        at = f"slot {slot.name}"
        if slot.strides and len(slot.strides) != len(slot.type.physical):
            raise PlanFormatError("a slot has strides of another rank than its shape", at=at)
        _check_place(plan, slot.place, at, _extent_bytes(slot))
    for number, step in enumerate(plan.steps):
        _check_step(plan, step, f"step {number}, {step.name}")


def _check_step(plan: Plan, step: Step, at: str) -> None:
    if step.symbol and step.symbol not in plan.symbols:
        raise PlanFormatError(f"the plan has no code for {step.symbol}", at=at)
    if not step.symbol and not step.reference:
        raise PlanFormatError("a step has neither code nor a reference", at=at)
    if step.tiles < 0 or step.grain < 1 or step.scratch_bytes < 0:
        raise PlanFormatError(
            "a step has impossible sizes",
            at=at,
            know=f"tiles {step.tiles}, grain {step.grain}, scratch {step.scratch_bytes} bytes",
        )
    for number in (*step.reads, *step.writes):
        if not 0 <= number < len(plan.slots):
            raise PlanFormatError(f"a step uses slot {number}, which does not exist", at=at)
    for place in step.arguments:
        _check_place(plan, place, at, 0)


def _check_place(plan: Plan, place: Place, at: str, bytes_: int) -> None:
    sizes = {"arena": plan.arena_bytes, "weights": len(plan.weights)}
    if place.space in sizes:
        size, indices = sizes[place.space], 1
    else:
        slots = plan.inputs if place.space == "input" else plan.outputs
        indices = len(slots)
        size = slots[place.index].type.bytes if 0 <= place.index < indices else 0
    inside = 0 <= place.offset_bytes <= place.offset_bytes + bytes_ <= size
    if not inside or not 0 <= place.index < indices:
        raise PlanFormatError(
            f"a pointer lies outside the plan's {place.space}",
            at=at,
            know=f"index {place.index}, bytes {place.offset_bytes} + {bytes_} of {size}",
        )


def _extent_bytes(slot: Slot) -> int:
    """Bytes from a slot's first element to the end of its last."""
    extents = slot.type.physical
    if 0 in extents or not slot.strides:
        return slot.type.bytes
    last = sum((extent - 1) * stride for extent, stride in zip(extents, slot.strides, strict=True))
    return (last + 1) * slot.type.dtype.bytes


def check_target(built: Target, here: Target, any_machine: bool, at: str = "") -> None:
    """Whether a plan built for one machine should run on another.

    any_machine:  accept another processor model as long as it has the instructions
    raises:       PlanTargetError with the field that differs and its two values
    """
    fields = [("architecture", built.arch, here.arch, built.arch == here.arch)]
    if built.isa in _ORDER and here.isa in _ORDER:
        runs = _ORDER.index(built.isa) <= _ORDER.index(here.isa)
    else:
        runs = built.isa in (here.isa, "portable")
    fields.append(("instruction set", built.isa, here.isa, runs))
    missing = [extra for extra in built.extras if extra not in here.extras]
    has = ", ".join(here.extras) or "none"
    fields.append(("extra instructions", ", ".join(built.extras), has, not missing))
    for name, theirs, ours, fits in fields:
        if not fits:
            raise PlanTargetError(
                f"the plan cannot run on this processor: its {name} differs",
                at=at,
                know=f"{name}: {theirs} in the plan, {ours} here",
                try_="build the plan from its model on this machine",
            )
    if built.machine != here.machine and not any_machine:
        raise PlanTargetError(
            "the plan was tuned for another machine",
            at=at,
            know=f"machine: {built.machine} in the plan, {here.machine} here",
            try_="build it again here, or load it as it is with any_machine=True",
        )
