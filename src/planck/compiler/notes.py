"""What a build says of itself: which steps run by their reference and why, what was timed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from planck.compiler.assemble import Chosen
from planck.compiler.options import Options
from planck.compiler.split import Launch
from planck.dtypes import string
from planck.errors import BuildError
from planck.ir.graph import Graph
from planck.refusal import No

log = logging.getLogger(__name__)


def refuse_strings(graph: Graph) -> None:
    """raises: BuildError naming the first tensor of strings: a plan has numbers only"""
    for value in graph.values():
        if value.type.dtype is string:
            maker = graph.producers().get(value.name)
            raise BuildError(
                f"%{value.name} is a tensor of strings, which planck does not compile",
                at=", ".join(maker.origin) if maker else "",
                try_="cut the model before it: strings only work where they are constants",
            )


def references(launches: list[Launch], answers: Mapping[str, object]) -> dict[str, str]:
    """Why steps run by their reference, by the step's name."""
    reasons: dict[str, str] = {}
    for launch in launches:
        name = launch.node.outputs[0].name if launch.node.outputs else "nothing"
        answer = answers.get(launch.kernel.key) if launch.kernel else None
        if launch.kernel is None:
            reasons[name] = f"nothing compiles this {type(launch.node.op).__name__}"
        elif isinstance(answer, No):
            reasons[name] = answer.reason
    return reasons


def or_reference(launch: Launch, answers: Mapping[str, object]) -> Launch:
    """The launch, or a reference step where no tactic takes its kernel."""
    answer = answers.get(launch.kernel.key) if launch.kernel else None
    if not isinstance(answer, No):
        return launch
    log.warning(
        "%s runs as a reference step, slowly: %s",
        ", ".join(launch.node.origin) or launch.node.outputs[0].name,
        answer,
    )
    return Launch(launch.node, None, launch.names)


def record(
    options: Options,
    references: Mapping[str, str],
    choices: Mapping[str, Chosen],
    refused: list[tuple[str, str]],
) -> dict[str, Any]:
    """What `planck why` and `inspect` say about the build; nothing in it depends on the clock."""
    return {
        "level": options.level,
        "timings": {
            key: [timing.as_json() for timing in choice.timings] for key, choice in choices.items()
        },
        "references": dict(references),
        "copies": [list(row) for row in refused],
        **options.notes,
    }
