"""A compiler process: reads Triton kernels from standard input, answers with cubins."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from planck.codegen.processes import serve
from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.device.cuda.driver import TensorMap
from planck.target import Target


def make(target: Target, source: str, header: dict[str, Any]) -> bytes:
    fields: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in header["code"].items()
    }
    fields["tensors"] = tuple(TensorMap.of_json(tensor) for tensor in fields["tensors"])
    return to_bytes(compile_cubin(TritonCode(source=source, **fields), target))


def to_bytes(cubin: Cubin) -> bytes:
    """Its numbers in a line, then the image."""
    fields = asdict(cubin)
    image: bytes = fields.pop("image")
    return json.dumps(fields).encode() + b"\n" + image


def from_bytes(body: bytes) -> Cubin:
    fields, _, image = body.partition(b"\n")
    return Cubin(image=image, **json.loads(fields))


if __name__ == "__main__":
    serve(make)
