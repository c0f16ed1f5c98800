"""The shape of the code: floors, wings, public names, and commands that say how they are used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from onnx import TensorProto, helper

import planck
from planck.cli import COMMANDS

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "planck"
BUILD_WING = {"codegen", "frontends", "passes", "tactics", "tune", "compiler"}
RUN_WING = {"device", "plan", "runtime", "vision", "benchmark"}
ROOF = "planck"  # the package itself: public names, imported late

# Imports that go up on purpose, at the time of a call: (importing module, floor it reaches).
LATE = {
    ("planck.ir.parse", "ops"): "finds the operators when it is given none",
    ("planck.plan.format", ROOF): "asks for the version",
}


class Import(NamedTuple):
    module: str
    line: int
    target: str

    @property
    def unit(self) -> str:
        return _unit(self.module)

    def __str__(self) -> str:
        return f"{self.module}, line {self.line}, imports {self.target}"


def _unit(module: str) -> str:
    unit = module.partition(".")[2].partition(".")[0]
    return unit if unit and unit != "__main__" else ROOF


def _floors() -> dict[str, int]:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^ {4}floor (\d+) +(.+)$", text, re.MULTILINE)
    return {unit: int(floor) for floor, units in rows for unit in units.split()}


def _imports() -> Iterator[Import]:
    """Every import of planck in the source, late ones too; not those that only types need."""
    for file in sorted(SOURCE.rglob("*.py")):
        parts = ("planck", *file.relative_to(SOURCE).with_suffix("").parts)
        module = ".".join(parts).removesuffix(".__init__")
        tree = ast.parse(file.read_text())
        hidden = {
            id(inner)
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if id(node) in hidden:
                continue
            for target in _targets(node):
                if target.split(".")[0] == "planck":
                    yield Import(module, node.lineno, target)


def _targets(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert not node.level, "relative imports hide which floor they reach"
        if node.module == "planck":
            names = [f"planck.{alias.name}" for alias in node.names]
            return [n if _is_module(n) else "planck" for n in names]
        return [node.module or ""]
    return []


def _is_module(name: str) -> bool:
    path = SOURCE.joinpath(*name.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


def test_floors_name_every_part() -> None:
    units = {p.stem for p in SOURCE.iterdir() if p.is_dir() or p.suffix == ".py"}
    units = {u for u in units if not u.startswith("__")}
    assert set(_floors()) == units


def test_imports_go_down() -> None:
    floors = _floors()
    broken = []
    for found in _imports():
        below = _unit(found.target)
        if found.unit in (ROOF, below) or (found.module, below) in LATE:
            continue
        if below == ROOF:
            if found.unit == "cli":
                continue
            broken.append(f"{found}: only cli stands above planck itself")
        elif floors[below] > floors[found.unit]:
            broken.append(f"{found}: floor {floors[found.unit]} reaches up to {floors[below]}")
        elif floors[below] == floors[found.unit]:
            broken.append(f"{found}: siblings on floor {floors[below]}")
    assert not broken, "\n".join(broken)


def test_late_imports_are_all_used() -> None:
    found = {(i.module, _unit(i.target)) for i in _imports()}
    assert set(LATE) <= found


def test_run_wing_stays_apart() -> None:
    broken = [str(i) for i in _imports() if i.unit in RUN_WING and _unit(i.target) in BUILD_WING]
    assert not broken, "\n".join(broken)


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_run_wing_needs_no_compiler() -> None:
    """Runs where llvmlite, onnx and the command line's packages are not installed."""
    code = """
import sys
for name in ("llvmlite", "onnx", "typer", "rich"):
    sys.modules[name] = None
import planck, planck.runtime, planck.plan.format, planck.device, planck.vision, planck.ir.parse
import planck.benchmark.roofline, planck.benchmark.timing, planck.benchmark.picture
from planck import Engine, ExecutionContext
wing = {"codegen", "frontends", "passes", "tactics", "tune", "compiler"}
print(sorted(m for m in sys.modules if m.split(".")[0] == "planck" and m.split(".")[1:2]
             and m.split(".")[1] in wing))
"""
    done = _python(code)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_import_is_light() -> None:
    heavy = "{'llvmlite', 'onnx', 'typer', 'rich', 'PIL', 'numpy'}"
    done = _python(f"import sys, planck; print({heavy} & set(sys.modules))")
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr


@pytest.mark.parametrize("name", planck.__all__)
def test_public_names_exist(name: str) -> None:
    value = getattr(planck, name)
    assert value.__doc__, f"planck.{name} has no docstring"


def test_unknown_public_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'biuld'"):
        planck.biuld  # noqa: B018


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.__name__)
def test_commands_show_examples(command: object) -> None:
    text = command.__doc__ or ""
    name = command.__name__  # type: ignore[attr-defined]
    assert "Examples:" in text
    assert f"planck {name}" in text
    assert f"`planck {name}" in (ROOT / "docs" / "cli.md").read_text()


@pytest.mark.parametrize(
    "file", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE))
)
def test_files_say_what_they_are_for(file: Path) -> None:
    assert ast.get_docstring(ast.parse(file.read_text())), f"{file} has no docstring"


DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_pages_have_python_that_compiles(page: Path) -> None:
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        compile(block, str(page), "exec")


@pytest.mark.slow
def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a model of one layer in place of a YOLO."""
    monkeypatch.chdir(tmp_path)
    shapes = {"images": [1, 3, 640, 640], "output0": [1, 3, 10, 10]}
    entries = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    pool = helper.make_node(
        "MaxPool", ["images"], ["output0"], kernel_shape=[64, 64], strides=[64, 64]
    )
    graph = helper.make_graph([pool], "one", entries[:1], entries[1:])
    Path("yolov5s.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    text = (ROOT / "README.md").read_text()
    block = re.search(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    exec(compile(block[1], "README.md", "exec"), {})
    assert Path("yolov5s.plan").is_file()
    assert "median of" in capsys.readouterr().out


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_pages_link_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", DOCS, ids=lambda p: p.name)
def test_pages_name_code_that_exists(page: Path) -> None:
    """Paths like `compiler/place.py` lead somewhere."""
    paths = re.findall(r"`((?:\w+/)+\w+\.py|\w+\.py)`", page.read_text())
    missing = [p for p in paths if not (SOURCE / p).exists() and not (ROOT / p).exists()]
    assert not missing
