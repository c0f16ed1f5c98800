"""What must hold of a plan before its code runs: every number stays inside what it indexes."""

from __future__ import annotations

from itertools import chain
from typing import Final

from planck.device.cuda.library import (
    ALGORITHM_BYTES,
    CUBLASLT,
    CUDNN,
    STEPS,
    Call,
    Convolution,
    Product,
)
from planck.errors import PlanFormatError, PlanTargetError
from planck.plan.model import SHARED, Place, Plan, Step
from planck.plan.record import CLOCK, RUN, STOP, WORKER
from planck.target import GENERIC, Target

# What CUDA allows of a launch in one dimension, on every GPU that Planck knows.
_MOST_BLOCKS: Final = 2**31 - 1
_MOST_THREADS: Final = 1024
_WARP: Final = 32
MOST_LANES: Final = 16  # of a plan: each has a workspace of its own
_WORD: Final = 16  # hexadecimal digits of a number in cuDNN's algorithms
_LONGEST: Final = 2**31 - 1  # of what a library counts
_HEX: Final = "0123456789abcdef"
_ORDER = ("portable", "avx2", "avx512")  # each runs on processors of all that follow


def check_plan(plan: Plan) -> None:
    """raises: PlanFormatError naming the step or slot that points outside the plan"""
    for name in () if plan.target.is_cuda else (RUN, WORKER, STOP, CLOCK):
        if name not in plan.symbols:
            raise PlanFormatError(f"the plan has no engine loop: symbol {name} is missing")
    if plan.workspace_bytes < 0 or plan.counter_bytes < 0:
        raise PlanFormatError("the plan has impossible sizes")
    for name, offset in plan.symbols.items():
        if not 0 <= offset < len(plan.code):
            raise PlanFormatError(f"symbol {name} lies outside the plan's code")
    for slot in (*plan.inputs, *plan.outputs, *plan.slots):
        at = f"slot {slot.name}"
        if slot.strides and len(slot.strides) != len(slot.type.physical):
            raise PlanFormatError("a slot has strides of another rank than its shape", at=at)
        if slot.place.space in SHARED:
            raise PlanFormatError("a tensor lies where only kernels work", at=at)
        _check_place(plan, slot.place, at, slot.extent_bytes)
    for number, step in enumerate(plan.steps):
        _check_step(plan, step, number, f"step {number}, {step.name}")


def _check_step(plan: Plan, step: Step, number: int, at: str) -> None:
    coded = step.symbol and not isinstance(step.launch, Call)
    if coded and step.symbol not in plan.symbols:
        raise PlanFormatError(f"the plan has no code for {step.symbol}", at=at)
    if not step.symbol and not step.reference:
        raise PlanFormatError("a step has neither code nor a reference", at=at)
    if step.tiles < 0 or step.grain < 1 or step.scratch_bytes < 0:
        raise PlanFormatError(
            "a step has impossible sizes",
            at=at,
            know=f"tiles {step.tiles}, grain {step.grain}, scratch {step.scratch_bytes} bytes",
        )
    before = all(0 <= other < number for other in step.after)
    if not before or not 0 <= step.lane < MOST_LANES:
        raise PlanFormatError(
            "a step waits for what is not before it, or is in an impossible branch",
            at=at,
            know=f"lane {step.lane}, after {step.after}",
        )
    _check_launch(plan, step, at)
    for slot in (*step.reads, *step.writes):
        if not 0 <= slot < len(plan.slots):
            raise PlanFormatError(f"a step uses slot {slot}, which does not exist", at=at)
    for place in step.arguments:
        _check_place(plan, place, at, 0)
    for tensor in step.launch.tensors if step.launch else ():
        if not 0 <= tensor.argument < len(step.arguments) or tensor.bytes <= 0:
            raise PlanFormatError("a step has an impossible tensor map", at=at, know=str(tensor))
        _check_place(plan, step.arguments[tensor.argument], at, tensor.bytes)


def _check_launch(plan: Plan, step: Step, at: str) -> None:
    launch = step.launch
    if (launch is not None) != (plan.target.is_cuda and bool(step.symbol)):
        kind = "no launch" if launch is None else "a launch"
        raise PlanFormatError(f"a step of a plan for {plan.target} has {kind}", at=at)
    if launch is None:
        return
    if isinstance(launch, Call):
        _check_call(plan, step, launch, at)
        return
    fits = (
        0 < launch.grid <= _MOST_BLOCKS,
        0 < launch.threads <= _MOST_THREADS and launch.threads % _WARP == 0,
        0 <= launch.shared_bytes <= plan.target.l1_bytes,
    )
    if not all(fits):
        raise PlanFormatError(
            "a step has an impossible launch",
            at=at,
            know=f"grid {launch.grid}, threads {launch.threads}, "
            f"shared memory {launch.shared_bytes} of {plan.target.l1_bytes} bytes",
        )


def _check_call(plan: Plan, step: Step, call: Call, at: str) -> None:
    """Whether a library may be given a step's numbers."""
    product = call.product
    fits = (
        set(call.algorithm + call.image) <= set(_HEX)
        and len(call.image) % 2 == 0
        and 0 <= call.workspace_bytes <= plan.workspace_bytes
        and all(dtype in ("f16", "bf16", "f32") for dtype in (product.dtype, product.result))
        and (
            _fits_cublaslt(call, product)
            if isinstance(product, Product)
            else _fits_cudnn(call, product)
        )
        and len(step.arguments) == call.arguments
    )
    if not fits:
        raise PlanFormatError(
            "a step has an impossible call of a library",
            at=at,
            know=f"{call.library}, {product}, workspace {call.workspace_bytes} of "
            f"{plan.workspace_bytes} bytes, {len(step.arguments)} arguments",
        )
    for place, bytes_ in zip(step.arguments, call.spans, strict=True):
        _check_place(plan, place, at, bytes_)


def _fits_cublaslt(call: Call, product: Product) -> bool:
    sides = (product.a, product.b, product.d, *([product.c] if product.c else ()))
    sizes = (product.rows, product.columns, product.depth, product.batch)
    return (
        call.library == CUBLASLT
        and len(call.algorithm) == 2 * ALGORITHM_BYTES
        and all(0 < size <= _LONGEST for size in sizes)
        and all(0 < side.stride <= _LONGEST and side.batch >= 0 for side in sides)
        and product.activation in ("", "relu", "gelu_tanh")
    )


def _fits_cudnn(call: Call, own: Convolution) -> bool:
    images = (own.a, own.d, *([own.c] if own.c else ()))
    pairs = (own.size, own.out, own.taps, own.strides, own.dilations)
    sizes = (own.batch, own.channels, own.columns, own.groups, *chain(*pairs))
    strides = [stride for image in images for stride in image.strides]
    words, over = divmod(len(call.algorithm), _WORD)
    return (
        call.library == CUDNN
        and not over
        and all(len(pair) == 2 for pair in (*pairs, own.before, own.after))
        and words % 2 == 1  # an engine, then pairs of a knob and its value
        and all(0 < size <= _LONGEST for size in sizes)
        and all(0 <= n <= _LONGEST for n in (*strides, *own.before, *own.after))
        and own.channels % own.groups == own.columns % own.groups == 0
        and set(own.steps) <= set(STEPS)
        and own.steps.count("bias") <= 1
        and own.steps.count("beside") == (own.c is not None)
        and own.result == own.dtype
        and own.reaches
    )


def _check_place(plan: Plan, place: Place, at: str, bytes_: int) -> None:
    sizes = {
        "arena": plan.arena_bytes,
        "weights": len(plan.weights),
        "workspace": plan.workspace_bytes,
        "counters": plan.counter_bytes,
    }
    if place.space in sizes:
        size, indices = sizes[place.space], 1
        if not size and place.space in SHARED:
            raise PlanFormatError(f"the plan has no {place.space}", at=at)
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


def check_target(built: Target, here: Target, any_machine: bool, at: str = "") -> None:
    """Whether a plan built for one machine should run on another.

    any_machine:  accept another processor model as long as it has the instructions
    raises:       PlanTargetError with the field that differs and its two values
    """
    fields = [("architecture", built.arch, here.arch, built.arch == here.arch)]
    if built.is_cuda and here.is_cuda:
        fields += _gpu_fields(built, here)
    else:
        fields += _processor_fields(built, here)
    for name, theirs, ours, fits in fields:
        if not fits:
            raise PlanTargetError(
                f"the plan cannot run on this {'GPU' if here.is_cuda else 'processor'}: "
                f"its {name} differs",
                at=at,
                know=f"{name}: {theirs} in the plan, {ours} here",
                try_="build the plan from its model on this machine",
            )
    tuned = built.machine != GENERIC or not built.is_cuda
    if built.machine != here.machine and tuned and not any_machine:
        raise PlanTargetError(
            "the plan was tuned for another machine",
            at=at,
            know=f"machine: {built.machine} in the plan, {here.machine} here",
            try_="build it again here, or load it as it is with any_machine=True",
        )


def _processor_fields(built: Target, here: Target) -> list[tuple[str, str, str, bool]]:
    """What must fit of a processor: name, value in the plan, value here, whether it does."""
    if built.isa in _ORDER and here.isa in _ORDER:
        runs = _ORDER.index(built.isa) <= _ORDER.index(here.isa)
    else:
        runs = built.isa in (here.isa, "portable")
    missing = [extra for extra in built.extras if extra not in here.extras]
    has = ", ".join(here.extras) or "none"
    return [
        ("instruction set", built.isa, here.isa, runs),
        ("extra instructions", ", ".join(built.extras), has, not missing),
    ]


def _gpu_fields(built: Target, here: Target) -> list[tuple[str, str, str, bool]]:
    """The same of a GPU: cubins run on the compute capability they are for, and on later minor
    ones."""
    runs = built.sm // 10 == here.sm // 10 and built.sm <= here.sm
    return [
        ("compute capability", built.isa, here.isa, runs),
        (
            "shared memory of a block",
            f"{built.l1_bytes} bytes",
            f"{here.l1_bytes} bytes",
            built.l1_bytes <= here.l1_bytes,
        ),
    ]
