"""From a TritonCode's text to a cubin, without a GPU and without a file of Planck's own."""

from __future__ import annotations

import linecache
import struct
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.ptx import mend_stages
from planck.errors import BuildError, MissingExtraError
from planck.target import Target

WARP: Final = 32
SWIZZLE_128: Final = 3  # CU_TENSOR_MAP_SWIZZLE_128B, as `TensorMap` has it
MODULE: Final = "planck_kernel"  # that the functions are said to stand in: no module, no path
_SHOWN_LINES: Final = 12  # of what the compiler says
_LOCK: Final = threading.Lock()  # Triton's knobs are of the whole process


def compile_cubin(code: TritonCode, target: Target) -> Cubin:
    """A kernel's machine code. The same text gives the same bytes, wherever it is compiled.

    raises: BuildError with the compiler's first lines; MissingExtraError without Triton
    """
    triton = _triton()
    from triton.backends.compiler import GPUTarget

    with _LOCK, function_of(code) as function, _quiet(triton):
        attributes = {
            (k,): [["tt.divisibility", WARP // 2]] for k, yes in enumerate(code.aligned) if yes
        }
        signature = dict(zip(function.arg_names, code.types, strict=True))
        source = triton.compiler.ASTSource(function, signature, None, attributes)
        options = {
            "num_warps": code.warps,
            "num_stages": code.stages,
            "enable_fp_fusion": True,  # Triton 3.10 changes what is the default
        }
        try:
            made = triton.compile(source, GPUTarget("cuda", target.sm, WARP), options)
        except Exception as error:
            raise BuildError(
                f"the GPU kernel {code.symbol} does not compile",
                know=_first_lines(error),
                try_="PLANCK_DUMP=folder keeps the kernel's source",
            ) from error
    meta = made.metadata
    scratch = (meta.global_scratch_size, meta.profile_scratch_size)
    assert meta.name == code.symbol, f"{meta.name} is not {code.symbol}"
    assert scratch == (0, 0), f"{code.symbol} wants scratch memory: {scratch}"
    boxes = [tuple(own["block_size"]) for own in getattr(meta, "tensordesc_meta", None) or ()]
    swizzles = {own["swizzle"] for own in getattr(meta, "tensordesc_meta", None) or ()}
    assert boxes == [tensor.box for tensor in code.tensors], f"{code.symbol} wants boxes {boxes}"
    assert swizzles <= {SWIZZLE_128}, f"{code.symbol} wants swizzles {swizzles}"
    image = made.asm["cubin"]
    return Cubin(image, WARP * meta.num_warps, meta.shared, _registers(image))


@contextmanager
def function_of(code: TritonCode) -> Iterator[Any]:
    """The kernel as Triton sees it. Its source is found in memory while the context is open."""
    file = f"<{code.symbol}>"
    linecache.cache[file] = (len(code.source), None, code.source.splitlines(keepends=True), file)
    try:
        space: dict[str, Any] = {"__name__": MODULE}
        try:
            exec(compile(code.source, file, "exec"), space)
        except Exception as error:
            raise BuildError(
                f"the GPU kernel {code.symbol} is no Python", know=_first_lines(error)
            ) from error
        yield space[code.symbol]
    finally:
        del linecache.cache[file]


def missing_triton() -> MissingExtraError:
    return MissingExtraError("building for a GPU needs Triton", try_="pip install 'planckrt[cuda]'")


def _triton() -> Any:
    try:
        import triton
    except ImportError as error:
        raise missing_triton() from error
    return triton


@contextmanager
def _quiet(triton: Any) -> Iterator[None]:
    """No line numbers in the code, nothing left on the disk, and PTX that ptxas gets right."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        for knobs in (triton.knobs.cache, triton.knobs.compilation, triton.knobs.runtime):
            stack.enter_context(knobs.scope())
        triton.knobs.cache.dir = folder
        triton.knobs.compilation.disable_line_info = True
        triton.knobs.runtime.add_stages_inspection_hook = mend_stages
        yield


def _first_lines(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    if error.__cause__ is not None:
        lines += [line for line in str(error.__cause__).splitlines() if line.strip()]
    return f"{type(error).__name__}: " + "\n        ".join(lines[:_SHOWN_LINES])


def _registers(image: bytes) -> int:
    """Of one thread: the number in the attribute EIATTR_REGCOUNT; 0 if there is none.

    source: what cuobjdump and readelf print of cubins side by side
    """
    at = image.find(b"\x04\x2f\x08\x00")  # with two words: the function's symbol, the number
    return int(struct.unpack_from("<I", image, at + 8)[0]) if at >= 0 else 0
