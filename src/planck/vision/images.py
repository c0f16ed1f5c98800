"""Picture files to arrays and back, by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from planck.dtypes import Array
from planck.errors import DTypeError, FileError, InputError, ShapeError
from planck.vision.extra import need_pillow

if TYPE_CHECKING:
    from PIL import Image


def read_image(source: str | Path | bytes) -> Array:
    """Decode a picture, upright as its EXIF orientation says; transparent parts lie on white.

    source: a path, or the bytes of a picture file in any format Pillow reads
    gives:  u8[H, W, 3], RGB; the first frame of an animation; 16-bit greys scaled to 8 bits
    raises: FileError if the file cannot be read, InputError if it is damaged or no picture,
            MissingExtraError without Pillow
    """
    need_pillow("read pictures")
    if isinstance(source, bytes):
        return _decode(source, f"{len(source)} bytes in memory")
    path = Path(source)
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise FileError(f"cannot read the picture {path}", know=reason.lower()) from error
    return _decode(data, str(path))


def write_image(path: str | Path, image: Array) -> None:
    """Write a picture, in the format of the path's ending.

    image:  u8[H, W, 3], RGB
    raises: ShapeError or DTypeError for another array, InputError for an ending Pillow does not
            write, FileError if the file cannot be written, MissingExtraError without Pillow
    """
    need_pillow("write pictures")
    from PIL import Image

    check_image(image)
    path = Path(path)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise InputError(
            f"cannot write a picture as {path.suffix or 'a file without an ending'}",
            at=str(path),
            try_="a name that ends in .png or .jpg",
        )
    encoded = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(encoded, kind)
    try:
        path.write_bytes(encoded.getvalue())
    except OSError as error:
        reason = error.strerror or "it cannot be written"
        raise FileError(f"cannot write the picture {path}", know=reason.lower()) from error


def check_image(image: Any) -> None:
    """Return if image is u8[H, W, 3] with at least one pixel.

    raises: InputError, DTypeError, ShapeError
    """
    if not isinstance(image, np.ndarray):
        raise InputError(
            f"a picture is an array u8[H, W, 3], this is a {type(image).__name__}",
            try_="planck.vision.read_image(path)",
        )
    if image.dtype != np.uint8:
        raise DTypeError(
            f"a picture is u8[H, W, 3], this one has dtype {image.dtype}",
            try_="scale it to 0..255 and image.astype('uint8')",
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ShapeError(
            f"a picture is u8[H, W, 3], this one has shape {list(image.shape)}",
            try_="RGB with the channels last, one picture at a time",
        )


def _decode(data: bytes, name: str) -> Array:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(data)) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            return np.array(_to_rgb(upright))
    except UnidentifiedImageError as error:
        raise InputError(
            "not a picture that Pillow knows",
            at=name,
            know=f"it begins with {data[:8].hex(' ') or 'nothing: it is empty'}",
            try_="PNG, JPEG, WebP, BMP, TIFF or GIF",
        ) from error
    except Exception as error:  # Pillow's decoders raise nearly every kind on damaged data
        raise InputError("the picture is damaged or too large", at=name, know=str(error)) from error


def _to_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion would clip at 255
        grey = np.clip(np.asarray(image).astype(np.int64) >> 8, 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")
