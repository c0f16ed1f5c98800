"""What a model asks for, before anything is translated: opsets, and operators nobody can read."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx
import onnx.version_converter
from onnx import AttributeProto, FunctionProto, ModelProto, NodeProto, OperatorSetIdProto

from planck.errors import ModelFormatError, UnsupportedOperator
from planck.frontends.onnx.tables import TRANSLATIONS

LOG = logging.getLogger(__name__)
OLDEST_OPSET: Final = 7
DEEPEST: Final = 32  # bodies inside each other; protobuf itself allows about 100


def plain_domain(domain: str) -> str:
    """A domain as tables spell it: ONNX's own has two spellings."""
    return "" if domain == "ai.onnx" else domain


def opsets_of(imports: Sequence[OperatorSetIdProto]) -> dict[str, int]:
    """Opset versions by domain."""
    return {plain_domain(entry.domain): int(entry.version) for entry in imports}


@dataclass
class _Gap:
    count: int
    version: int
    first: str


def modern(model: ModelProto) -> ModelProto:
    """A model of an opset before 7, where NumPy's broadcasting came, converted to 7."""
    version = opsets_of(model.opset_import).get("", OLDEST_OPSET)
    if not 1 <= version < OLDEST_OPSET:
        return model
    try:
        converted = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except Exception as error:  # the converter's own errors share no other base class
        LOG.info("opset %d does not convert: %s", version, error)
        return model
    for node in converted.graph.node:
        if node.op_type == "PRelu":  # the converter forgets that its slopes were the channels'
            node.attribute.append(onnx.helper.make_attribute("axis", 1))
    return converted


def survey(model: ModelProto, name: str) -> None:
    """Check a model's opset, and that every node in it can be read.

    name:   what messages call the file
    raises: ModelFormatError; UnsupportedOperator naming every missing operator of the model
    """
    opsets = opsets_of(model.opset_import)
    newest, version = onnx.defs.onnx_opset_version(), opsets.get("", 0)
    if "" in opsets and not OLDEST_OPSET <= version <= newest:
        raise UnsupportedOperator(
            f"{name} uses opset {version}",
            know=f"Planck reads opsets {OLDEST_OPSET} to {newest}",
            try_="convert it: onnx.version_converter.convert_version(model, 17)",
        )
    functions = {(plain_domain(f.domain), f.name) for f in model.functions}
    gaps: dict[tuple[str, str], _Gap] = {}
    total = _look(model.graph.node, opsets, functions, gaps)
    for function in model.functions:
        own = {**opsets, **opsets_of(function.opset_import)}
        total += _look(function.node, own, functions, gaps)
    if not gaps:
        return
    rows = [
        f"{gap.count} x {kind} (domain {domain or 'ai.onnx'}, opset {gap.version}), "
        f'first "{gap.first}"'
        for (domain, kind), gap in sorted(gaps.items())
    ]
    what = "operator" if len(gaps) == 1 else f"{len(gaps)} operators:"
    raise UnsupportedOperator(
        f"planck cannot read {what} " + "; ".join(rows),
        at=f"{name}, {total} nodes",
        know=f"{len(TRANSLATIONS)} ONNX operators; `planck ops` lists them",
        try_="export without them",
    )


def _look(
    nodes: Sequence[NodeProto],
    opsets: dict[str, int],
    functions: Collection[tuple[str, str]],
    gaps: dict[tuple[str, str], _Gap],
) -> int:
    """Note the unreadable nodes; gives the number of all."""
    total = 0
    for node in walk(nodes):
        total += 1
        domain, kind = plain_domain(node.domain), node.op_type
        version = opsets.get(domain, 1)
        if (domain, kind) in TRANSLATIONS or (domain, kind) in functions:
            continue
        if defined_by_function(domain, kind, version):
            continue
        first = node.name or next((out for out in node.output if out), kind)
        gap = gaps.setdefault((domain, kind), _Gap(0, version, first))
        gap.count += 1
    return total


def walk(nodes: Sequence[NodeProto], depth: int = 0) -> Iterator[NodeProto]:
    """Nodes and those of their bodies."""
    if depth > DEEPEST:
        raise ModelFormatError(f"bodies stand more than {DEEPEST} deep in each other")
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                yield from walk(attribute.g.node, depth + 1)


def defined_by_function(domain: str, kind: str, version: int) -> bool:
    """Whether the ONNX specification itself gives the operator a body of simpler ones."""
    try:
        schema = onnx.defs.get_schema(kind, version, domain)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def default_attributes(node: NodeProto, version: int) -> dict[str, AttributeProto]:
    """The attributes that the ONNX specification gives an operator where its node has none."""
    schema = onnx.defs.get_schema(node.op_type, version, plain_domain(node.domain))
    return {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.type != AttributeProto.UNDEFINED
    }


def definition(
    node: NodeProto, version: int, types: Sequence[onnx.TypeProto | None]
) -> FunctionProto:
    """The body that the ONNX specification gives an operator on inputs of these types.

    raises: UnsupportedOperator
    """
    schema = onnx.defs.get_schema(node.op_type, version, plain_domain(node.domain))
    if schema.has_function:
        body: FunctionProto = schema.function_body
        return body
    versions = schema.context_dependent_function_opset_versions
    since = max((v for v in versions if v <= version), default=schema.since_version)
    raw = [b"" if kind is None else kind.SerializeToString() for kind in types]
    function = FunctionProto()
    function.ParseFromString(
        schema.get_context_dependent_function_with_opset_version(
            since, node.SerializeToString(), raw
        )
    )
    if not function.node:
        raise UnsupportedOperator(f"planck cannot read {node.op_type} as it is used here")
    return function
