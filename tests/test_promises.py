"""What the README promises of a built network, on a small one: memory, threads, reproducibility."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import planck
from bench import models
from planck.runtime import Engine

NAME = "mobilenet_v2"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return planck.build(models.build(NAME, small=True), threads=2, optimization_level=0)


@pytest.fixture(scope="module")
def inputs() -> dict[str, np.ndarray]:
    return models.inputs(models.build(NAME, small=True))


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's process memory")
def test_ten_thousand_inferences_do_not_grow_the_process(
    engine: Engine, inputs: dict[str, np.ndarray]
) -> None:
    with engine.create_execution_context(threads=1) as context:
        out = context(inputs)
        for _ in range(200):
            context(inputs)
            context(inputs, out=out)
        before = resident_bytes()
        for _ in range(5000):
            context(inputs)
            context(inputs, out=out)
        assert resident_bytes() - before < 1_000_000


def test_two_contexts_in_two_threads(engine: Engine) -> None:
    model = models.build(NAME, small=True)
    cases = [models.inputs(model, seed) for seed in range(2)]
    wants = [engine(case) for case in cases]

    def work(number: int) -> None:
        with engine.create_execution_context(threads=1) as context:
            for _ in range(300):
                got = context(cases[number])
                assert all(np.array_equal(got[k], wants[number][k]) for k in got)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(work, range(2)))


def test_a_build_from_the_same_cache_gives_the_same_bytes(tmp_path: Path) -> None:
    model = models.build("squeezenet", small=True)
    cache = tmp_path / "planck.cache"
    plans = []
    for number in range(3):
        engine = planck.build(model, threads=1, optimization_level=1, timing_cache=cache)
        engine.save(tmp_path / f"{number}.plan")
        plans.append((tmp_path / f"{number}.plan").read_bytes())
    assert plans[0] == plans[1] == plans[2]


def test_a_plan_runs_where_no_compiler_is_installed(
    engine: Engine, inputs: dict[str, np.ndarray], tmp_path: Path
) -> None:
    engine.save(tmp_path / "net.plan")
    np.savez(tmp_path / "inputs.npz", **inputs)
    script = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("onnx", "llvmlite", "google"):
            raise ModuleNotFoundError(f"no {name} here")
sys.meta_path.insert(0, Refuse())
import numpy as np, planck
engine = planck.load(sys.argv[1])
np.savez(sys.argv[3], **engine(dict(np.load(sys.argv[2]))))
"""
    paths = [str(tmp_path / name) for name in ("net.plan", "inputs.npz", "outputs.npz")]
    subprocess.run([sys.executable, "-c", script, *paths], check=True)
    got = np.load(tmp_path / "outputs.npz")
    for name, want in engine(inputs).items():
        assert np.array_equal(got[name], want)
