"""GPUs of other kinds than those that kernels are measured on: their code compiles, and fits."""

from __future__ import annotations

import pytest

import planck
from bench import models
from planck.device.cuda.driver import Properties
from planck.errors import NoDeviceError
from planck.target import gpu_target, resolve

CASES = [
    ("sm_80", "resnet50", "fp16"),
    ("sm_89", "bert_base", "fp16"),
    ("sm_100", "squeezenet", "bf16"),
    ("sm_120", "yolov4_tiny", "tf32"),
]


@pytest.mark.parametrize(("isa", "name", "precision"), CASES)
def test_a_network_compiles(isa: str, name: str, precision: str) -> None:
    pytest.importorskip("triton")
    model = models.build(name, small=True)
    plan = planck.build(
        model, target=f"cuda:{isa}", precision=precision, optimization_level=0, accuracy=None
    ).plan
    room = resolve(f"cuda:{isa}").l1_bytes
    assert all(step.symbol for step in plan.steps)
    launches = [step.launch for step in plan.steps]
    assert max(launch.shared_bytes for launch in launches) <= room
    # Programmatic dependent launches came with compute capability 9.0.
    assert {launch.dependent for launch in launches} == {isa not in ("sm_80", "sm_89")}


def test_gpus_that_are_too_old_are_refused() -> None:
    old = Properties("Tesla T4", "0000:01:00", 75, 40, 4 << 20, 64 << 10, 16 << 30)
    with pytest.raises(NoDeviceError, match="does not run on Tesla T4") as caught:
        gpu_target(old)
    assert "compute capability 7.5; 8.0 is needed" in caught.value.know
