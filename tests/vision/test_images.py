"""Picture files: formats, orientation, modes, and every kind of bad file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from planck.errors import FileError, InputError, MissingExtraError, PlanckError, ShapeError
from planck.vision import extra, read_image, write_image

RGB = np.random.default_rng(3).integers(0, 256, (7, 11, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("ending", [".png", ".bmp", ".tiff", ".PNG"])
def test_lossless_formats_come_back(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"picture{ending}"
    write_image(path, RGB)
    for source in (path, str(path), path.read_bytes()):
        image = read_image(source)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, RGB)
        assert image.flags.writeable


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (5, RGB.transpose(1, 0, 2)),
        (6, np.rot90(RGB, -1)),
        (7, RGB[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(RGB, 1)),
    ],
)
def test_exif_orientation_is_obeyed(orientation: int, upright: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation  # EXIF 2.3, 4.6.4: the Orientation tag
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(RGB), exif=exif)), upright)


def test_greys_and_palettes_become_rgb() -> None:
    grey = RGB[..., 0]
    three = np.repeat(grey[..., None], 3, 2)
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(grey))), three)
    palette = Image.fromarray(grey).convert("P")
    np.testing.assert_array_equal(read_image(encoded(palette)), three)
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(encoded(deep)), three)


def test_transparent_parts_lie_on_white() -> None:
    clear = np.concatenate((RGB, np.zeros((7, 11, 1), np.uint8)), 2)
    clear[0, :, 3] = 255
    image = read_image(encoded(Image.fromarray(clear)))
    np.testing.assert_array_equal(image[0], RGB[0])
    assert (image[1:] == 255).all()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"absent\.png"):
        read_image(tmp_path / "absent.png")
    with pytest.raises(FileError, match="directory"):
        read_image(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no picture at all", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture(data: bytes) -> None:
    with pytest.raises(InputError):
        read_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_cut_picture(kind: str) -> None:
    whole = encoded(Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)), kind)
    with pytest.raises(InputError, match="damaged"):
        read_image(whole[: len(whole) // 2])


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage that it can read past
@given(st.sampled_from(["PNG", "JPEG", "BMP", "GIF"]), st.data())
def test_damage_is_a_planck_error_or_a_picture(kind: str, data: st.DataObject) -> None:
    damaged = bytearray(encoded(Image.fromarray(RGB), kind))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at] = data.draw(st.integers(0, 255))
    try:
        image = read_image(bytes(damaged))
    except PlanckError:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(InputError, match="too large"):
        read_image(encoded(Image.fromarray(RGB)))


def test_writing_what_or_where_one_cannot(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.xyz"):
        write_image(tmp_path / "a.xyz", RGB)
    with pytest.raises(InputError, match="without an ending"):
        write_image(tmp_path / "a", RGB)
    with pytest.raises(FileError, match=r"b\.png"):
        write_image(tmp_path / "absent" / "b.png", RGB)
    with pytest.raises(ShapeError):
        write_image(tmp_path / "c.png", RGB[..., 0])


def test_without_pillow_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"planckrt\[vision\]"):
        read_image(b"")
