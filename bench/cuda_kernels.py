"""Speed of single GPU kernels by layer and configuration, beside cuDNN's, cuBLASLt's and PyTorch's.

python -m bench.cuda_kernels [--batches 1,8,64] [--jobs 16] [--json FILE] [name part ...]

Every configuration that tactics offer is compiled (in processes), compared with PyTorch's float32
result, and timed in a CUDA graph of many launches, each dependent on the one before as in a
network, with as many copies of all operands as do not fit into L2 together.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from bench import cuda_peers
from bench.cuda_layers import Layer, arrays_of, layers, logical, physical
from bench.on_gpu import OnGpu
from planck.codegen.triton.code import Cubin, TritonCode
from planck.codegen.triton.compile import compile_cubin
from planck.device.cuda.bindings import open_driver
from planck.device.cuda.device import Device
from planck.device.cuda.driver import Parameters
from planck.dtypes import Array
from planck.errors import BuildError
from planck.plan.model import COUNTERS, WORKSPACE
from planck.tactics.kernel import Config
from planck.tactics.triton import TACTICS
from planck.target import Target

REPEATS: Final = 24  # launches of one graph
COLD_BYTES: Final = 64 << 20  # beyond L2
MAX_COPIES: Final = 12
TOLERANCE: Final = 4e-3  # of the largest result, in fp16
SHOWN: Final = 3

Job = tuple[Any, Config, TritonCode]


def compiled(job: tuple[TritonCode, Target]) -> Cubin | str:
    try:
        return compile_cubin(*job)
    except BuildError as error:
        return str(error)


class Bench(OnGpu):
    """A GPU, its stream, and what is on it for one layer."""

    def __init__(self, target: Target) -> None:
        super().__init__(Device(open_driver()))
        self.target = target

    def measure(
        self, layer: Layer, job: Job, cubin: Cubin, inputs: list[dict[str, int]],
        constants: dict[str, Array], out: list[int], wanted: Any,
    ) -> dict[str, Any]:  # fmt: skip
        """One configuration's time and error."""
        tactic, config, code = job
        (result,) = layer.kernel.graph.outputs
        with self.resources() as own:
            packed = tactic.pack(layer.kernel, config, constants)
            weights = [{n: self.put(own, a) for n, a in packed.items()} for _ in inputs]
            shared = {WORKSPACE: own.memory(code.workspace_bytes),
                      COUNTERS: self.filled(own, 4 * max(1, code.counters))}  # fmt: skip
            function = self.driver.function(own.module(cubin.image), code.symbol)
            self.driver.allow_shared(function, cubin.shared_bytes)
            launches = []
            for k, of_inputs in enumerate(inputs):
                places = {**of_inputs, **weights[k], **shared, result.name: out[k]}
                parameters = Parameters(
                    [places[name] for name in code.arguments], code.tensors, self.driver.encode
                )
                launches.append(self.driver.prepare(
                    function, code.grid, cubin.threads, cubin.shared_bytes, code.dependent,
                    parameters,
                ))  # fmt: skip
            like = np.empty(result.type.physical, result.type.dtype.numpy)
            self.driver.fill(out[0], 255, like.nbytes, self.stream)
            self.driver.launch(launches[0], self.stream)
            got = logical(self.get(out[0], like), result.type).astype(np.float32)
            error = None
            if wanted is not None:
                error = float(np.abs(got - wanted).max() / np.abs(wanted).max())
                error = error if np.isfinite(error) else 9.9
            us = self.replayed_us([launches[k % len(launches)] for k in range(REPEATS)])
            left = self.get(shared[COUNTERS], np.zeros(max(1, code.counters), np.int32))
        return {
            "tactic": tactic.name, "config": dict(config), "us": us, "error": error,
            "registers": cubin.registers, "shared_bytes": cubin.shared_bytes, "grid": code.grid,
            "counters_left": bool(left.any()),
        }  # fmt: skip

    def layer(self, layer: Layer, jobs: list[Job], cubins: list[Cubin | str]) -> dict[str, Any]:
        arrays = arrays_of(layer)
        kernel = layer.kernel
        (result,) = kernel.graph.outputs
        bytes_ = sum(a.nbytes for a in arrays.values()) + result.type.bytes
        copies = max(2, min(MAX_COPIES, -(-COLD_BYTES // bytes_)))
        wanted = cuda_peers.reference(layer, arrays)
        constants = {n: arrays[n] for n in kernel.constants}
        rows: list[dict[str, Any]] = []
        with self.device, self.resources() as own:
            inputs = [
                {v.name: self.put(own, physical(arrays[v.name], v.type))
                 for v in kernel.graph.inputs if v.name not in kernel.constants}
                for _ in range(copies)
            ]  # fmt: skip
            out = [own.memory(result.type.bytes) for _ in range(copies)]
            for job, cubin in zip(jobs, cubins, strict=True):
                if isinstance(cubin, str):
                    rows.append({"tactic": job[0].name, "config": dict(job[1]), "failed": cubin})
                    continue
                rows.append(self.measure(layer, job, cubin, inputs, constants, out, wanted))
        peer = cuda_peers.measure(layer, arrays, copies, REPEATS)
        return {"layer": layer.name, "batch": layer.batch, "flops": layer.flops, "bytes": bytes_,
                "peer_us": peer, "configs": rows}  # fmt: skip


def jobs_of(layer: Layer) -> list[Job]:
    made: list[Job] = []
    for tactic in TACTICS:
        if tactic.name.startswith("loops"):
            continue
        offers = tactic.offers(layer.kernel) or ()
        made += [(tactic, config, tactic.build(layer.kernel, config)) for config in offers]
    return made


def show(found: dict[str, Any]) -> None:
    """The fastest configurations, and what was the first guess."""
    peer = found["peer_us"]
    print(
        f"{found['layer']:30} b{found['batch']:<3} peer " + (f"{peer:8.2f}" if peer else "      --")
    )
    right = [r for r in found["configs"] if "us" in r and (r["error"] or 0) <= TOLERANCE]
    first = next((r for r in found["configs"] if "us" in r), None)
    for row in sorted(right, key=lambda r: r["us"])[:SHOWN] + ([first] if first else []):
        config = " ".join(f"{k}={v}" for k, v in row["config"].items() if v not in ("", False))
        speed = found["flops"] / row["us"] / 1e6
        mark = " (first guess)" if row is first else ""
        print(f"    {row['us']:8.2f} us {speed:6.1f} TFLOP/s {row['tactic']} {config}{mark}")
    for row in found["configs"]:
        if "failed" in row or (row["error"] or 0) > TOLERANCE or row["counters_left"]:
            print(f"    WRONG: {row}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*")
    parser.add_argument("--batches", default="1,8,64")
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--json", type=Path, default=Path("bench-output/cuda-kernels.json"))
    options = parser.parse_args()
    own = open_driver().properties(0)
    target = Target(f"sm_{own.sm}", "cuda", machine=own.name, cores=own.multiprocessors,
                    l1_bytes=own.shared_bytes, l2_bytes=own.l2_bytes)  # fmt: skip
    batches = tuple(int(b) for b in options.batches.split(","))
    wanted = layers(batches, target, options.parts)
    begun = time.time()
    jobs = [jobs_of(layer) for layer in wanted]
    found = []
    with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
        flat = [pool.submit(compiled, (code, target)) for own in jobs for _, _, code in own]
        bench, at = Bench(target), 0
        for layer, own_jobs in zip(wanted, jobs, strict=True):
            cubins = [future.result() for future in flat[at : at + len(own_jobs)]]
            at += len(own_jobs)
            found.append(bench.layer(layer, own_jobs, cubins))
            show(found[-1])
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps({"gpu": own.name, "layers": found}, indent=1))
    print(f"{sum(map(len, jobs))} kernels, {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()
