"""Each command on a small model, end to end: what it prints, what it writes, how it exits."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from onnx import load as load_onnx

import planck
from planck.plan.format import save_plan
from planck.runtime import Engine, ExecutionContext
from tests.cli.conftest import Command
from tests.runtime.cuda.plans import chain

SHAPE = "x:1x3x8x8"
FAST = ("--threads", 1, "-O", 0)
NEGATION = """graph "net"(%x: f32[1,4]) {
  %y: f32[1,4] = Pointwise(%x, fn="neg")
  return %y
}
"""


def test_build(command: Command, model: Path, tmp_path: Path) -> None:
    path, cache = tmp_path / "a.plan", tmp_path / "times.cache"
    done = command(
        "build", model, "-o", path, "--shape", SHAPE, "--threads", 1, "--timing-cache", cache
    )
    assert (done.code, done.err) == (0, "")
    assert str(path) in done.out.replace("\n", "")
    assert planck.load(path).inputs[0].shape == (1, 3, 8, 8)
    assert json.loads(cache.read_text())["entries"]


def test_build_json(command: Command, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    done = command("build", model, "-o", path, "--shape", SHAPE, *FAST, "--json")
    assert done.code == 0
    assert done.json["bytes"] == path.stat().st_size
    assert done.json["threads"] == 1
    assert done.json["reference_steps"] == 0


def test_build_refuses_what_is_no_accuracy(command: Command, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.plan"
    done = command("build", model, "-o", path, "--shape", SHAPE, *FAST, "--accuracy", 2)
    assert (done.code, done.out) == (1, "")
    assert "accuracy must be a number from 0 to 1, not 2.0" in done.err
    assert not path.exists()


def test_stages_can_be_stopped_at_and_resumed(
    command: Command, model: Path, plan: Path, tmp_path: Path
) -> None:
    text, resumed = tmp_path / "net.graph", tmp_path / "b.plan"
    done = command("build", model, "--shape", SHAPE, "--stop-after", "fuse", "-o", text)
    assert done.code == 0
    assert "Region(" in text.read_text()
    text.write_text(text.read_text().replace('fn="relu"', 'fn="abs"'))
    assert command("build", text, "-o", resumed, *FAST).code == 0
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    (changed,), (original,) = planck.load(resumed)(x).values(), planck.load(plan)(x).values()
    assert changed.shape == original.shape
    assert not np.allclose(changed, original)


def test_a_stage_does_not_overwrite_its_model(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "net.graph"
    path.write_text(NEGATION)
    done = command("build", path, "--stop-after", "simplify")
    assert (done.code, done.out) == (1, "")
    assert "InputError: the graph would overwrite the model" in done.err
    assert "name another file: -o" in done.err
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("net.graph", NEGATION)]
    assert command("build", path, "--stop-after", "simplify", "-o", path).code == 0


def test_run(command: Command, plan: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    given, written = tmp_path / "x.npy", tmp_path / "y.npz"
    np.save(given, x)
    done = command("run", plan, "-i", f"x={given}", "-o", written)
    assert done.code == 0
    assert "float32" in done.out
    with np.load(written) as outputs:
        np.testing.assert_array_equal(outputs["y"], planck.load(plan)(x)["y"])


def test_outputs_of_any_name_and_dtype_are_written_whole(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, given, written = (tmp_path / name for name in ("a.graph", "x.npy", "y.npz"))
    path.write_text(
        """graph "net"(%x: f32[2,3]) {
          %file: f32[2,3] = Pointwise(%x, fn="neg")
          %b: bf16[2,3] = Cast(%x, to=bf16)
          return %file, %b
        }"""
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.save(given, x)
    assert command("run", path, "-i", given, *FAST, "-o", written).code == 0
    expected, wanted = planck.build(path, threads=1, optimization_level=0)(x), tmp_path / "w.npz"
    np.savez(wanted, b=expected["b"])
    with np.load(written) as outputs, np.load(wanted) as others:
        assert set(outputs) == {"file", "b"}
        np.testing.assert_array_equal(outputs["file"], -x)
        assert outputs["b"].dtype == others["b"].dtype
        assert outputs["b"].tobytes() == others["b"].tobytes()
    before = written.read_bytes()

    def full(*given: Any, **options: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    done = command("run", path, "-i", given, *FAST, "-o", written)
    assert (done.code, "FileError: cannot write" in done.err) == (1, True)
    assert written.read_bytes() == before


def test_run_keeps_to_threads_and_processors(
    command: Command, plan: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ExecutionContext] = []
    create = Engine.create_execution_context

    def recorded(self: Engine, *arguments: Any, **options: Any) -> ExecutionContext:
        made.append(create(self, *arguments, **options))
        return made[-1]

    monkeypatch.setattr(Engine, "create_execution_context", recorded)
    cpu = min(os.sched_getaffinity(0))
    assert command("run", plan, "--cpus", cpu).code == 0
    assert command("run", plan, "--threads", 3).code == 0
    assert [(c.threads, c.cpus) for c in made] == [(1, (cpu,)), (3, ())]
    assert "4095" in command("run", plan, "--cpus", "4095").err


def test_run_json_on_a_model(command: Command, model: Path) -> None:
    (row,) = command("run", model, "--shape", SHAPE, "--threads", 1, "--json").json
    assert (row["name"], row["shape"], row["dtype"]) == ("y", [1, 5], "float32")
    assert row["min"] <= row["mean"] <= row["max"]


def test_numbers_that_json_does_not_have_are_null(command: Command, tmp_path: Path) -> None:
    path, given = tmp_path / "net.graph", tmp_path / "x.npy"
    path.write_text(NEGATION)
    for x, shown, nulls in (
        ((1, np.inf, 2, -np.inf), ["-inf", "nan", "inf"], [None, None, None]),
        ((1, np.inf, 2, 3), ["-inf", "-inf", "-1"], [None, None, -1]),
        ((1, np.nan, 2, 3), ["nan", "nan", "nan"], [None, None, None]),
    ):
        np.save(given, np.array([x], np.float32))
        done = command("run", path, "-i", given, *FAST)
        assert (done.err, done.out.split()[-3:]) == ("", shown)
        done = command("run", path, "-i", given, *FAST, "--json")
        (row,) = json.loads(done.out, parse_constant=pytest.fail)
        assert [row[key] for key in ("min", "mean", "max")] == nulls


def test_stages_as_json(command: Command, tmp_path: Path) -> None:
    path, written = tmp_path / "net.graph", tmp_path / "stage.graph"
    path.write_text(NEGATION)
    assert command("inspect", path, "--stage", "read", "--json").json == {
        "stage": "read",
        "text": NEGATION,
    }
    done = command("build", path, "--stop-after", "read", "-o", written, "--json")
    assert done.json == {"graph": str(written), "stage": "read", "nodes": 1}
    assert written.read_text() == NEGATION


def test_inspect(command: Command, plan: Path) -> None:
    done = command("inspect", plan)
    assert "stem/conv" in done.out
    assert "reference steps 0" in done.out
    report = command("inspect", plan, "--json").json
    assert report["inputs"] == ["x: f32[1,3,8,8]"]
    assert report["steps"][0]["tactic"]


@pytest.mark.parametrize("name", ["inspect", "why"])
def test_a_plan_for_a_gpu_is_what_the_options_ask_for(
    command: Command, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "gpu.plan"
    save_plan(chain(1)[0], path)
    step = ["axpy0"] if name == "why" else []
    fits = ("--precision", "fp32", "--batch", 1000, "--shape", "my input:1000")
    assert command(name, path, *step, *fits).code == 0
    for options, what in (
        (("--precision", "fp16"), "BuildError: the plan was built for another precision"),
        (("--batch", 7), "ShapeError: the plan was built for other shapes than batch 7"),
        (("--shape", "my input:7"), "ShapeError: the plan was built for other shapes than my"),
    ):
        done = command(name, path, *step, *options)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(what)


@pytest.mark.parametrize(
    ("stage", "holds"), [("read", "Conv("), ("fuse", "Region("), ("layout", ":c")]
)
def test_inspect_stage(command: Command, model: Path, stage: str, holds: str) -> None:
    done = command("inspect", model, "--shape", SHAPE, "--stage", stage)
    assert done.code == 0
    assert holds in done.out


def test_why_by_number_and_by_origin(command: Command, plan: Path) -> None:
    by_number = command("why", plan, 0, "--json").json
    by_origin = command("why", plan, "stem/conv", "--json").json
    assert by_number == by_origin
    assert by_number["considered"][0]["tactic"] == by_number["tactic"]
    shown = command("why", plan, 0)
    assert "chosen" in shown.out
    assert by_number["tactic"] in shown.out


def test_why_of_no_layer(command: Command, plan: Path) -> None:
    done = command("why", plan, "stern/conv")
    assert (done.code, done.out) == (1, "")
    assert "InputError: 'stern/conv' names no layer" in done.err
    assert "give the step's number" in done.err


def test_why_of_a_copy(command: Command, tmp_path: Path) -> None:
    """An input that is joined to something cannot be written in place."""
    path = tmp_path / "joined.graph"
    path.write_text(
        """graph "joined"(%x: f32[1,4,8]) {
          %a: f32[1,4,8] = Pointwise(%x, fn="tanh")
          %y: f32[1,8,8] = Concat(%x, %a, axis=1)
          return %y
        }"""
    )
    plan = path.with_suffix(".plan")
    assert command("build", path, "-o", plan, *FAST).code == 0
    names = [step["name"] for step in command("inspect", plan, "--json").json["steps"]]
    assert sorted(names) == ["a", "x_part"]
    assert "a copy stands here because %x lies elsewhere" in command("why", plan, "x_part").out


def test_ops(command: Command) -> None:
    found = command("ops", "--json").json
    assert {"Conv", "Pointwise"} <= {row["name"] for row in found["graph"]}
    assert "relu" in found["pointwise"]
    assert {"Conv", "Relu"} <= set(found["onnx"])
    assert "yolo" in found["darknet"]
    shown = command("ops").out
    assert all(name in shown for name in ("Conv", "scale_channels"))


@pytest.mark.parametrize("form", ["x", "x:", "x:1xx3", "1x3x8x8", "x:-1x3"])
def test_bad_shape(command: Command, model: Path, form: str) -> None:
    done = command("build", model, "--shape", form)
    assert done.code == 1
    assert f"--shape {form} is not NAME:DIMS" in done.err


def test_open_shape_says_what_to_write(command: Command, model: Path, tmp_path: Path) -> None:
    proto, path = load_onnx(model), tmp_path / "open.onnx"
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    path.write_bytes(proto.SerializeToString())
    done = command("build", path)
    assert done.code == 1
    assert "dimension 2 (H) of input 'x' is open" in done.err
    assert "shapes={'x': (...)}" in done.err


def test_why_of_a_reference_step(command: Command, tmp_path: Path) -> None:
    """Nothing compiles a determinant: `why` says so."""
    path = tmp_path / "det.onnx"
    values = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])]
    node = helper.make_node("Det", ["x"], ["y"], name="best")
    graph = helper.make_graph([node], "det", values, outputs)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    done = command("why", path, "best")
    assert done.code == 0
    assert "nothing compiles this Det" in done.out


@pytest.mark.parametrize("suffix", [".onnx", ".plan", ".cfg", ".graph"])
def test_missing_file(command: Command, tmp_path: Path, suffix: str) -> None:
    done = command("run", tmp_path / f"gone{suffix}")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("FileError: ")
    assert "gone" in done.err


@pytest.mark.parametrize("suffix", [".onnx", ".plan", ".cfg", ".graph"])
def test_damaged_file(command: Command, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(b"\x00\x01damaged\xff" * 9)
    done = command("run", path)
    assert done.code == 1
    assert "Error: " in done.err
    assert "Traceback" not in done.err


def test_unknown_suffix(command: Command, tmp_path: Path) -> None:
    done = command("run", tmp_path / "net.pt")
    assert done.code == 1
    assert "it reads .onnx, .cfg, .graph" in done.err


def test_unknown_stage(command: Command, model: Path) -> None:
    done = command("inspect", model, "--shape", SHAPE, "--stage", "magic")
    assert done.code == 1
    assert "there is no stage 'magic'" in done.err
    assert "simplify" in done.err


def test_a_plan_has_no_stages(command: Command, plan: Path) -> None:
    assert "a plan has no stages left" in command("inspect", plan, "--stage", "fuse").err


def test_unknown_target(command: Command, model: Path) -> None:
    done = command("build", model, "--shape", SHAPE, "--target", "tpu")
    assert done.code == 1
    assert "no target 'tpu'" in done.err


@pytest.mark.parametrize(
    "arguments",
    [("fly",), ("run",), ("run", "--what"), ("bench", "a.plan", "--threads", "0"), ("-x",)],
)
def test_wrong_command_line(command: Command, arguments: tuple[str, ...]) -> None:
    done = command(*arguments)
    assert (done.code, done.out) == (2, "")
    assert "Usage:" in done.err


def test_unwritable_output(command: Command, plan: Path, model: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "no" / "where"
    assert "cannot write" in command("run", plan, "-o", nowhere).err
    built = command("build", model, "--shape", SHAPE, *FAST, "-o", nowhere)
    assert built.code == 1
    assert "FileError" in built.err


@pytest.mark.parametrize("stage", [(), ("--stop-after", "fuse")])
def test_a_build_for_no_folder_does_not_begin(
    command: Command, tmp_path: Path, stage: tuple[str, ...]
) -> None:
    """Where it began, it would miss the model."""
    nowhere = tmp_path / "no" / "where"
    for arguments in ((tmp_path / "gone.onnx", "-o", nowhere), (nowhere.with_suffix(".onnx"),)):
        done = command("build", *arguments, *stage)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"FileError: cannot write {nowhere}")
        assert "check that the folder exists" in done.err


def test_unsupported_operator(command: Command, model: Path, tmp_path: Path) -> None:
    proto, path = load_onnx(model), tmp_path / "odd.onnx"
    proto.graph.node[1].op_type = "Wobble"
    path.write_bytes(proto.SerializeToString())
    done = command("run", path, "--shape", SHAPE)
    assert done.code == 1
    assert "UnsupportedOperator" in done.err
    assert "Wobble" in done.err
    assert "stem/relu" in done.err


def test_version_and_help(command: Command) -> None:
    assert command("--version").out == f"planck {planck.__version__}\n"
    done = command("--help")
    assert done.code == 0
    assert all(name in done.out for name in ("build", "detect", "why"))


@pytest.mark.parametrize("name", ["build", "run", "bench", "inspect", "why", "ops", "detect"])
def test_help_shows_examples_line_by_line(command: Command, name: str) -> None:
    lines = [line.strip() for line in command(name, "--help").out.splitlines()]
    assert "Examples:" in lines
    assert any(line.startswith(f"planck {name}") for line in lines)
