"""Plan <-> JSON values: everything of a plan but its code, weights and graph text."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from planck.device.cuda.driver import TensorMap
from planck.device.cuda.library import CUDNN, Call, Convolution, Image, Product, Side
from planck.dtypes import BY_NAME
from planck.errors import PlanFormatError
from planck.ir.types import Quant, TensorType
from planck.plan.model import Launch, Place, Plan, Slot, Step
from planck.target import Target

_SPACES = ("arena", "weights", "input", "output", "workspace", "counters")
# What few plans have stands only in theirs.
_SHARED_SIZES = ("workspace_bytes", "counter_bytes")


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """JSON values that `plan_from_json` turns back; the same plan always gives the same values."""
    return {
        "name": plan.name,
        "target": target_to_json(plan.target),
        "precision": plan.precision,
        "threads": plan.threads,
        "inputs": [slot_to_json(s) for s in plan.inputs],
        "outputs": [slot_to_json(s) for s in plan.outputs],
        "slots": [slot_to_json(s) for s in plan.slots],
        "steps": [_step_to_json(s) for s in plan.steps],
        "arena_bytes": plan.arena_bytes,
        "symbols": plan.symbols,
        "names": plan.names,
        "build": plan.build,
        **{name: size for name in _SHARED_SIZES if (size := getattr(plan, name))},
    }


def plan_from_json(text: bytes, code: bytes, weights: memoryview | bytes, graph: bytes) -> Plan:
    """The plan of a description in JSON, and of what goes beside it.

    raises: PlanFormatError for anything that planck does not write
    """
    try:
        data = json.loads(text)
        return Plan(
            name=str(data["name"]),
            target=target_from_json(data["target"]),
            precision=str(data["precision"]),
            threads=int(data["threads"]),
            inputs=tuple(slot_from_json(s) for s in data["inputs"]),
            outputs=tuple(slot_from_json(s) for s in data["outputs"]),
            slots=tuple(slot_from_json(s) for s in data["slots"]),
            steps=tuple(_step_from_json(s) for s in data["steps"]),
            arena_bytes=int(data["arena_bytes"]),
            code=code,
            symbols={str(k): int(v) for k, v in data["symbols"].items()},
            weights=weights,
            graph=graph.decode(),
            names={str(k): str(v) for k, v in data["names"].items()},
            build=dict(data["build"]),
            **{name: int(data.get(name, 0)) for name in _SHARED_SIZES},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PlanFormatError(
            "the plan's description is not one that planck writes",
            know=f"{type(error).__name__}: {error}",
        ) from error


def target_to_json(target: Target) -> dict[str, Any]:
    return {**asdict(target), "extras": list(target.extras)}


def target_from_json(data: dict[str, Any]) -> Target:
    return Target(**{**data, "extras": tuple(data["extras"])})


def slot_to_json(slot: Slot) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": slot.name,
        "shape": list(slot.type.dims),
        "dtype": slot.type.dtype.name,
        "place": _place_to_json(slot.place),
    }
    if slot.type.block:
        row["block"] = slot.type.block
    if slot.type.quant:
        row["quant"] = asdict(slot.type.quant)
    if slot.strides:
        row["strides"] = list(slot.strides)
    return row


def slot_from_json(data: dict[str, Any]) -> Slot:
    quant = data.get("quant")
    type_ = TensorType(
        tuple(int(d) for d in data["shape"]),
        BY_NAME[data["dtype"]],
        int(data.get("block", 0)),
        Quant(tuple(quant["scale"]), tuple(quant["zero_point"]), quant["axis"]) if quant else None,
    )
    strides = tuple(int(s) for s in data.get("strides", ()))
    return Slot(str(data["name"]), type_, _place_from_json(data["place"]), strides)


def _place_to_json(place: Place) -> list[str | int]:
    return [place.space, place.offset_bytes, place.index]


def _place_from_json(data: list[Any]) -> Place:
    space, offset_bytes, index = data
    if space not in _SPACES:
        raise ValueError(f"no memory space {space!r}")
    return Place(space, int(offset_bytes), int(index))


def _step_to_json(step: Step) -> dict[str, Any]:
    row = {
        **{name: getattr(step, name) for name in Step.__slots__ if name != "launch"},
        "arguments": [_place_to_json(p) for p in step.arguments],
        "config": dict(step.config),
    }
    if step.launch:
        row["launch"] = asdict(step.launch)
        if isinstance(step.launch, Call) and not step.launch.image:
            del row["launch"]["image"]
    for name in ("lane", "after"):  # of parallel branches, which most plans lack
        if not row[name]:
            del row[name]
    return row


def _step_from_json(data: dict[str, Any]) -> Step:
    tuples = {name: tuple(data[name]) for name in ("reads", "writes", "origin")}
    arguments = tuple(_place_from_json(p) for p in data["arguments"])
    launch = _launch_from_json(data["launch"]) if "launch" in data else None
    after = tuple(int(n) for n in data.get("after", ()))
    return Step(**{**data, **tuples, "arguments": arguments, "launch": launch, "after": after})


def _launch_from_json(data: dict[str, Any]) -> Launch | Call:
    if "library" not in data:
        tensors = tuple(TensorMap.of_json(fields) for fields in data.get("tensors", ()))
        return Launch(**{**data, "tensors": tensors})
    product = dict(data["product"])
    if data["library"] == CUDNN:
        return Call(**{**data, "product": _convolution_from_json(product)})
    for side in ("a", "b", "c", "d"):
        if product[side] is not None:
            product[side] = Side(**product[side])
    return Call(**{**data, "product": Product(**product)})


def _convolution_from_json(data: dict[str, Any]) -> Convolution:
    images = {name: Image(**data[name]) if data[name] else None for name in ("a", "d", "c")}
    tuples = {name: tuple(value) for name, value in data.items() if isinstance(value, list)}
    return Convolution(**{**data, **tuples, **images})
