"""Darknet files with damage: numbers, keys and sections of the cfg changed, weights cut."""

from __future__ import annotations

import random
import struct
from functools import lru_cache
from pathlib import Path

from bench.models import darknet

CFG_FOLDER = Path(__file__).parent.parent / "darknet"
NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "-3", "1000", "65536", "2147483647", "4294967296", "1e9", "nan",
    "inf", "-inf", "0.5", "", " ", "1,2", ",", "0x10", "three", "\u0664", "9" * 40, "1_0",
)  # fmt: skip
EVERY_LAYER = """[net]
channels=3
height=8
width=12
[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
groups=1
dilation=1
activation=mish
[maxpool]
size=3
stride=1
padding=2
[convolutional]
filters=8
size=1
activation=logistic
[sam]
from=-3
activation=linear
[shortcut]
from=-4,-2
activation=leaky
[avgpool]
[scale_channels]
from=-2
activation=relu
[reorg]
stride=2
[route]
layers=-1
groups=2
group_id=1
[reorg3d]
stride=2
[route]
layers=-1,-1
[upsample]
stride=2
scale=2
[dropout]
probability=.5
[route]
layers=6
[convolutional]
filters=14
size=1
activation=linear
[yolo]
mask=0,1
anchors=10,14, 23,27
classes=2
scale_x_y=1.05
new_coords=0
[connected]
output=10
batch_normalize=1
activation=tanh
[softmax]
groups=2
temperature=1.5
"""


@lru_cache(maxsize=1)
def seeds() -> tuple[tuple[str, bytes], ...]:
    """Valid cfg texts with their weights."""
    numbers = random.Random(0).randbytes(1 << 16)
    found = [(EVERY_LAYER, struct.pack("<3iq", 0, 2, 5, 0) + numbers)]
    for file in sorted(CFG_FOLDER.glob("*-tiny.cfg")):
        text = darknet.cfg_text(file.stem, small=True)
        found.append((text, darknet.draw(text)[1]))
    return tuple(found)


def case(draw: random.Random) -> tuple[bytes, bytes | None]:
    """The bytes of a cfg and of its weights; None where there is no weights file."""
    text, weights = draw.choice(seeds())
    lines = text.splitlines()
    for _ in range(draw.choice((1, 1, 1, 2, 4))):
        draw.choice((_number, _number, _number, _key, _line, _section, _section))(lines, draw)
    body = bytearray("\n".join(lines).encode())
    if draw.random() < 0.1:
        for _ in range(8):
            if body:
                body[draw.randrange(len(body))] = draw.randrange(256)
    return bytes(body), _weights(weights, draw)


def _weights(weights: bytes, draw: random.Random) -> bytes | None:
    choice = draw.randrange(8)
    if choice < 4:
        return None
    if choice == 4:
        return weights[: draw.randrange(len(weights))]
    if choice == 5:
        return weights + draw.randbytes(draw.choice((1, 4, 400)))
    if choice == 6:
        return draw.randbytes(20) + weights[20:]
    return weights


def _assignments(lines: list[str]) -> list[int]:
    return [n for n, line in enumerate(lines) if "=" in line]


def _number(lines: list[str], draw: random.Random) -> None:
    """Another value, or one more number in a list."""
    places = _assignments(lines)
    if places:
        at = draw.choice(places)
        key, _, value = lines[at].partition("=")
        more = f"{value},{draw.choice(NUMBERS)}"
        lines[at] = f"{key}={draw.choice((more, *[draw.choice(NUMBERS)] * 4))}"


def _key(lines: list[str], draw: random.Random) -> None:
    """An option of some other section, here."""
    places = _assignments(lines)
    if places:
        lines.insert(draw.choice(places), lines[draw.choice(places)])


def _line(lines: list[str], draw: random.Random) -> None:
    if lines:
        at = draw.randrange(len(lines))
        lines[at : at + 1] = draw.choice(([], [lines[at]] * 2, [lines[at][:-1]], ["["], ["="]))


def _section(lines: list[str], draw: random.Random) -> None:
    """A section gone, doubled, renamed, or moved to the end."""
    starts = [n for n, line in enumerate(lines) if line.startswith("[")]
    if not starts:
        return
    at = draw.choice(starts)
    end = min((n for n in starts if n > at), default=len(lines))
    block = lines[at:end]
    kind = draw.randrange(4)
    if kind == 0:
        del lines[at:end]
    elif kind == 1:
        lines[at:at] = block
    elif kind == 2:
        lines[at] = lines[draw.choice(starts)]
    else:
        del lines[at:end]
        lines += block
