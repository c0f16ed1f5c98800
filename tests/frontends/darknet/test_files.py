"""Darknet files that are damaged, cut, or do not belong together."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from planck.errors import (
    FileError,
    ModelError,
    ModelFormatError,
    PlanckError,
    ShapeError,
    UnsupportedOperator,
)
from planck.frontends import darknet
from planck.ir.interpret import interpret
from planck.ir.text import same
from tests.frontends.darknet.plain import Network, Section

SHAPE = (1, 3, 6, 8)
SECTIONS: list[Section] = [
    ("convolutional", {"filters": 4, "size": 3, "batch_normalize": 1, "activation": "leaky"}),
    ("maxpool", {"size": 2, "stride": 2}),
    ("convolutional", {"filters": 2, "activation": "linear"}),
]


@pytest.fixture
def net() -> Network:
    return Network(SHAPE, SECTIONS)


def read_text(folder: Path, text: str) -> object:
    path = folder / "net.cfg"
    path.write_text(text)
    return darknet.read(path)


@pytest.mark.parametrize("version", [(0, 1, 0), (0, 2, 0), (0, 2, 5), (1, 0, 0)])
def test_header_versions(tmp_path: Path, net: Network, version: tuple[int, int, int]) -> None:
    path = net.write(tmp_path)
    path.with_suffix(".weights").write_bytes(net.weights(version))
    graph = darknet.read(path)
    (result,) = interpret(graph, {graph.inputs[0].name: net.input}).values()
    np.testing.assert_allclose(result, net.layers[-1], rtol=2e-5, atol=2e-5)


def test_weights_too_short(tmp_path: Path, net: Network) -> None:
    path = net.write(tmp_path)
    path.with_suffix(".weights").write_bytes(net.weights()[:-12])
    with pytest.raises(ModelFormatError, match="ends inside the weights") as error:
        darknet.read(path)
    assert "layer 2, [convolutional]" in error.value.at
    assert "wants 8 numbers here, 5 are left" in error.value.know


def test_weights_too_long(tmp_path: Path, net: Network) -> None:
    path = net.write(tmp_path)
    path.with_suffix(".weights").write_bytes(net.weights() + b"\0" * 8)
    with pytest.raises(ModelFormatError, match="holds 2 numbers more") as error:
        darknet.read(path)
    assert error.value.at == "after layer 2, [convolutional]"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "too short"),
        (b"\0" * 15, "too short"),
        (b"PK\3\4" * 8, "not a Darknet weights file"),
        (b"\0" * 21, "is cut"),
    ],
    ids=["empty", "short", "zip", "odd"],
)
def test_no_weights_file(tmp_path: Path, net: Network, body: bytes, message: str) -> None:
    path = net.write(tmp_path)
    path.with_suffix(".weights").write_bytes(body)
    with pytest.raises(ModelFormatError, match=message):
        darknet.read(path)


def test_missing_files(tmp_path: Path, net: Network) -> None:
    with pytest.raises(FileError, match=r"cannot read .*gone\.cfg"):
        darknet.read(tmp_path / "gone.cfg")
    path = net.write(tmp_path)
    with pytest.raises(FileError, match=r"there is no weights file .*gone\.weights"):
        darknet.read(path, weights=tmp_path / "gone.weights")


def test_random_weights_say_so(
    tmp_path: Path, net: Network, caplog: pytest.LogCaptureFixture
) -> None:
    path = net.write(tmp_path)
    path.with_suffix(".weights").unlink()
    with caplog.at_level(logging.WARNING):
        first, second = darknet.read(path), darknet.read(path)
    assert "using random weights" in caplog.text
    assert same(first, second)


NET = "[net]\nchannels=3\nheight=6\nwidth=8\n"


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "does not begin with", "line 1"),
        ("filters=3\n", "neither a", "line 1"),
        ("[convolutional]\n", "does not begin with", "line 1"),
        ("[net\n", "is no section", "line 1"),
        (NET, "has no layers", "line 1"),
        (NET + "rubbish\n", "neither a", "line 5"),
        (NET + "[convolutional]\nfilters=three\n", "filters=three must be a whole", "line 6"),
        (NET + "[convolutional]\nfilters=-2\n", "filters=-2 must be from 1", "line 6"),
        (NET + "[convolutional]\nstride=0\n", "stride=0 must be from 1", "line 6"),
        (NET + "[convolutional]\nfilters=4\ngroups=3\n", "groups=3 does not divide", "line 5"),
        (NET + "[convolutional]\nactivation=wobble\n", "activation=wobble is not", "line 5"),
        (NET + "[convolutional]\nsize=9\n", "no window fits", "layer 0"),
        (NET + "[convolutional]\nxnor=1\n", "xnor=1 is not supported", "layer 0"),
        (NET + "[route]\nlayers=-1\n", "layer -1 is not one of the 0", "layer 0"),
        (NET + "[route]\nlayers=x\n", "layers=x must be a whole number", "line 6"),
        (NET + "[avgpool]\n[shortcut]\n", r"\[shortcut\] has no from=", "layer 1"),
        (NET + "[avgpool]\n[shortcut]\nfrom=-9\n", "layer -9 is not", "layer 1"),
        (NET + "[maxpool]\nsize=20\npadding=0\n", "does not fit", "layer 0"),
        (NET + "[reorg]\nstride=4\n", "does not divide", "layer 0"),
        (NET + "[softmax]\ngroups=5\n", "groups=5 does not divide", "layer 0"),
        (NET + "[yolo]\nanchors=1,2,3\n", "pairs of width and height", "layer 0"),
        (NET + "[yolo]\nanchors=1,2\n", "3 channels do not hold 1 anchors", "layer 0"),
        (NET + "[yolo]\nanchors=1;2\n", "must be numbers between commas", "line 6"),
        (NET + "[upsample]\nscale=big\n", "scale=big must be a number", "line 6"),
        (NET.replace("height=6", "height=none"), "height=none must be", "line 3"),
    ],
    ids=lambda value: None if "\n" in str(value) or not value else str(value)[:24],
)
def test_bad_cfg(tmp_path: Path, text: str, message: str, place: str) -> None:
    with pytest.raises(ModelFormatError, match=message) as error:
        read_text(tmp_path, text)
    assert "net.cfg" in error.value.at
    assert place in error.value.at


def test_unknown_layers_all_at_once(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperator, match=r"\[gru\], \[lstm\]") as error:
        read_text(tmp_path, NET + "[lstm]\n[avgpool]\n[gru]\n[lstm]\n")
    assert "line 5" in error.value.at
    assert "line 7" in error.value.at
    assert "convolutional" in error.value.know


def test_nothing_to_compute(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="computes nothing"):
        read_text(tmp_path, NET + "[dropout]\n")


def test_shapes_of_no_input(tmp_path: Path, net: Network) -> None:
    path = net.write(tmp_path)
    for shapes in ({"images": (1, 3, 6, 8)}, {"input": (1, 4, 6, 8)}, {"input": (3, 6, 8)}):
        with pytest.raises(ShapeError, match="shapes= does not fit"):
            darknet.read(path, shapes=shapes)


def test_a_folder_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").mkdir()
    with pytest.raises(PlanckError):
        darknet.read(tmp_path / "net.cfg")


def test_a_binary_is_no_cfg(tmp_path: Path) -> None:
    path = tmp_path / "net.cfg"
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    with pytest.raises(ModelError):
        darknet.read(path)


def test_comments_and_spaces(tmp_path: Path) -> None:
    text = (
        "# a comment\n; another\n [net] \nchannels = 3\nheight=6 # rows\nwidth\t=8\n\n[avgpool]\n"
    )
    graph = read_text(tmp_path, text)
    assert str(graph.inputs[0].type) == "f32[1,3,6,8]"  # type: ignore[attr-defined]
