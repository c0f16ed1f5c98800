"""The run wing on a real GPU: what `test_context.py` shows on a fake one."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from planck.codegen.triton.code import TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import properties
from planck.errors import DeviceError, MissingExtraError
from planck.plan.model import Plan
from planck.runtime.cuda.engine import CudaEngine
from planck.runtime.cuda.launches import GRAPHS
from planck.runtime.cuda.pipeline import Pipeline
from planck.target import Target, gpu_target
from tests.runtime.cuda.plans import GENERIC, chain, with_references

X, Y = "my input", "my:output"
COUNT, TILE = 1000, 128
LARGE = 100_003  # elements, so many that copies of pinned memory are direct
SOURCE = """
import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait

@triton.jit
def axpy(x, a, b, y, workspace, counters):
    at = tl.program_id(0) * TILE + tl.arange(0, TILE)
    inside = at < COUNT
    factor = tl.load(a + at, inside)
    term = tl.load(b + at, inside)
    gdc_wait()
    gdc_launch_dependents()
    tl.store(workspace + at, tl.load(x + at, inside) * factor, inside)
    tl.store(y + at, tl.load(workspace + at, inside) + term, inside)
"""


@cache
def code(target: Target, count: int = COUNT) -> bytes:
    """The cubin of one step: y = a * x + b, by way of the workspace."""
    kernel = TritonCode(
        symbol="axpy",
        source=SOURCE.replace("TILE", str(TILE)).replace("COUNT", str(count)),
        arguments=("x", "a", "b", "y", "workspace", "counters"),
        types=("*fp32", "*fp32", "*fp32", "*fp32", "*fp32", "*i32"),
        aligned=(True,) * 5 + (False,),
        grid=-(-count // TILE),
        dependent=True,
    )
    return compile_cubin(kernel, target).image


def test_the_kernel_compiles_without_a_gpu() -> None:
    pytest.importorskip("triton")
    assert code(GENERIC).startswith(b"\x7fELF")


@pytest.fixture(scope="module")
def here() -> Target:
    """This machine's GPU."""
    pytest.importorskip("triton")
    try:
        return gpu_target(properties(open_driver(), 0))
    except (DeviceError, MissingExtraError) as error:
        pytest.skip(error.what)


@pytest.fixture
def network(here: Target) -> tuple[Plan, Any]:
    return chain(12, COUNT, here, code(here))


@pytest.fixture
def engine(network: tuple[Plan, Any]) -> Iterator[CudaEngine]:
    with CudaEngine(network[0]) as made:
        yield made


def random(seed: int = 0) -> Any:
    return np.random.default_rng(seed).uniform(-2, 2, COUNT).astype(np.float32)


def check(found: Any, expected: Any) -> None:
    # The GPU may fuse a product and a sum, which then round once: 2**-24 of each step's numbers.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.gpu
def test_arrays_of_the_host(engine: CudaEngine, network: tuple[Plan, Any]) -> None:
    with engine.create_execution_context() as context:
        for seed in range(5):
            check(context(random(seed))[Y], network[1](random(seed)))
            check(engine(random(seed))[Y], network[1](random(seed)))


@pytest.mark.gpu
def test_arrays_of_the_gpu(engine: CudaEngine, network: tuple[Plan, Any]) -> None:
    """More of them than graphs are kept: old graphs are made into new ones."""
    with engine.create_execution_context() as first, engine.create_execution_context() as second:
        for _ in range(2):
            contexts = [engine.create_execution_context() for _ in range(GRAPHS + 3)]
            for seed, other in enumerate(contexts):
                x = other(random(seed), device_outputs=True)[Y]
                check(first(x)[Y], network[1](network[1](random(seed))))
                y = second(x, device_outputs=True)[Y]
                check(y.numpy(), network[1](network[1](random(seed))))
            for other in contexts:
                other.close()


@pytest.mark.gpu
def test_arrays_in_pinned_memory(here: Target) -> None:
    plan, expected = chain(12, LARGE, here, code(here, LARGE))
    rows = np.random.default_rng(0).uniform(-2, 2, (20, LARGE)).astype(np.float32)

    def inputs(engine: CudaEngine) -> Iterator[Any]:
        for row in rows:
            x = engine.empty_inputs()
            x[X][:] = row
            yield x

    with CudaEngine(plan) as engine, engine.device:
        driver = engine.device.driver
        x = engine.empty_inputs()[X]
        plain = np.empty_like(x)
        found = [driver.is_pinned(array.ctypes.data) for array in (x[5:], plain)]
        assert found == [True, False]
        assert not driver.is_pinned(engine.weights_address)
        with Pipeline(engine) as pipeline:
            results = [y[Y] for y in pipeline.run(inputs(engine))]
        with engine.create_execution_context() as context:
            y = context({X: rows[0]})[Y]
            assert driver.is_pinned(y.ctypes.data)
            assert context({X: rows[1]}, {Y: y})[Y] is y
    for row, found in zip((*rows, rows[1]), (*results, y), strict=True):
        check(found, expected(row))


@pytest.mark.gpu
def test_tensors_of_pytorch(engine: CudaEngine, network: tuple[Plan, Any]) -> None:
    torch = pytest.importorskip("torch")
    with engine.create_execution_context() as context:
        x = torch.from_numpy(random()).cuda()
        out = {Y: torch.empty(COUNT, device="cuda")}
        check(context(x, out)[Y].cpu().numpy(), network[1](random()))
        check(context(x[:COUNT])[Y], network[1](random()))
        wide = torch.from_numpy(np.concatenate([random(2)[:1], random(1)])).cuda()
        check(context(wide[1:])[Y], network[1](random(1)))  # not at a multiple of 16 bytes
        y = torch.from_dlpack(context(x, device_outputs=True)[Y])
        check(y.cpu().numpy(), network[1](random()))
        context.bind({X: x}, out)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            x.copy_(torch.from_numpy(random(3)))
            context.execute_async(stream)
            found = out[Y].cpu()
        check(found.numpy(), network[1](random(3)))


@pytest.mark.gpu
def test_outputs_are_read_behind_the_run(engine: CudaEngine, network: tuple[Plan, Any]) -> None:
    torch = pytest.importorskip("torch")
    with engine.create_execution_context() as first, engine.create_execution_context() as second:
        y, stream = first.bind(random())[Y], torch.cuda.Stream()
        for own in (None, stream):
            for _ in range(200):
                first.execute_async(own)
            twice = second({X: y})[Y]
            check(twice, network[1](network[1](random())))
            first.execute_async(own)
            check(torch.from_dlpack(y).cpu().numpy(), network[1](random()))
            first.execute_async(own)
            check(torch.as_tensor(y, device="cuda").cpu().numpy(), network[1](random()))


@pytest.mark.gpu
def test_reference_steps(here: Target) -> None:
    plan, expected = with_references(COUNT)
    plan = replace(plan, target=here, code=code(here), symbols={"axpy": 0})
    with CudaEngine(plan) as engine:
        check(engine(random())[Y], expected(random()))
        assert all(us > 0 for us in engine.create_execution_context().times_us(random()))


@pytest.mark.gpu
def test_profile(engine: CudaEngine) -> None:
    with engine.create_execution_context() as context:
        profile = context.profile(random(), runs=5)
        assert all(0 < step.us < 100 for step in profile.steps)
        print(profile)


@pytest.mark.gpu
def test_runs_begin_at_once(
    engine: CudaEngine, network: tuple[Plan, Any], record_property: Any
) -> None:
    """The host's part of a run is recorded, and printed with -s; it should be under 15 us."""
    with engine.create_execution_context() as context:
        y = context.bind({X: random()})[Y]
        times: list[float] = []
        for _ in range(200):
            start = time.perf_counter_ns()
            context.execute_async()
            times.append((time.perf_counter_ns() - start) / 1e3)
            context.synchronize()
        check(y.numpy(), network[1](random()))
        record_property("execute_async_us", float(np.median(times)))
        print(f"execute_async: {np.median(times):.1f} us of the host")


@pytest.mark.gpu
def test_closing_gives_all_memory_back(network: tuple[Plan, Any]) -> None:
    """Of big workspaces: what the driver keeps for itself, and what others on the GPU take or give
    back meanwhile, is less."""
    cuda: Any = pytest.importorskip("cuda.bindings.driver")
    plan = replace(network[0], workspace_bytes=256 << 20)
    with CudaEngine(network[0]) as other:  # keeps the primary context

        def free() -> int:
            with other.device:
                return int(cuda.cuMemGetInfo()[1])

        CudaEngine(plan).close()
        before = free()
        for _ in range(3):
            with CudaEngine(plan) as engine:
                context = engine.create_execution_context()  # which has it while it is kept
                context(random())
                assert before - free() >= 192 << 20
        assert abs(before - free()) < 64 << 20
