"""Any of Pillow's modes as 8-bit RGB on white.

Pillow cuts what is deeper than 8 bits at 255, where it should be scaled, and knows some transparencies only in other
depths than its pixels.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from PIL import Image

from latentedit.errors import LatentEditError

_BITS, _MEANING, _WHITE_IS_ZERO, _FORMAT, _SIGNED = 258, 262, 0, 339, 2  # tags of TIFF, and values of theirs
_HALF = 0.5 / 255  # what is no further beyond is an error of rounding
_SAVE_ANEW = "save it with 8 bits (PNG)"


def to_rgb(image: Image.Image, *, drops_alpha: bool) -> Image.Image:
    """A picture that was opened, as RGB of 8 bits; loads it.

    Args:
        image: as Pillow opens it, in any mode.
        drops_alpha: transparency is dropped; otherwise the picture is laid on white.

    Raises:
        LatentEditError: which of its numbers is white cannot be told.
    """
    packed, covered = _packed(image), _covered(image)
    if image.mode == "P" and image.palette is None:
        raise LatentEditError(f"it lacks the list of its colours; {_SAVE_ANEW}")
    image.load()
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey(image, tags)
    elif image.mode == "L" and _SIGNED in _several(tags.get(_FORMAT)):
        raise LatentEditError(f"its numbers have signs, and which of them is white is not known; {_SAVE_ANEW}")
    elif image.mode == "LAB":
        image = _of_lab(image)
    elif image.mode in ("La", "RGBa"):
        image = image.convert(image.mode.upper())
    elif covered is not None and "transparency" not in image.info:  # Pillow fills the rest with some colour
        first = image.convert("RGB").crop(covered)
        image = Image.new("RGBA", image.size)
        image.paste(first, covered[:2])
    if image.mode in ("RGBA", "LA", "P", "PA") or "transparency" in image.info:
        _scale_key(image, packed)
        if drops_alpha and image.mode not in ("RGBA", "LA", "P", "PA"):
            return image.convert("RGB")
        image = image.convert("RGBA")
        if not drops_alpha:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _packed(image: Image.Image) -> str:
    """How pixels lie in the file, as Pillow names it, such as ``L;4``; only before they are loaded."""
    tiles = getattr(image, "tile", None)
    said = tiles[0][3] if tiles else ""
    return said if isinstance(said, str) else ""


def _covered(image: Image.Image) -> tuple[int, int, int, int] | None:
    """The part of a GIF that its first picture covers; None for all of it; only before it is loaded."""
    tiles = getattr(image, "tile", None)
    return tiles[0][1] if image.format == "GIF" and tiles and tiles[0][1] != (0, 0, *image.size) else None


def _scale_key(image: Image.Image, packed: str) -> None:
    """Bring the transparent colour of a PNG, which Pillow keeps as the file has it, to the depth of the pixels."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = {"L;2": key % 4 * 85, "L;4": key % 16 * 17}.get(packed, key % 256)
    elif image.mode == "RGB" and isinstance(key, tuple):
        # Of 16 bits Pillow leaves the upper 8, so what differs from the transparent colour below them is as well.
        image.info["transparency"] = tuple(one >> 8 if packed == "RGB;16B" else one % 256 for one in key)


def _grey(image: Image.Image, tags: Any) -> Image.Image:
    """Grey pixels that are deeper than 8 bits, as 8: L, or LA where a grey is transparent."""
    values = np.asarray(image)
    if image.mode == "F":
        least, most = float(values.min()), float(values.max())
        if not (least > -_HALF and most < 1 + _HALF):  # NaN is neither
            raise LatentEditError(
                f"its numbers are fractions from {least:g} to {most:g}; they are read where they are from 0 (black) to "
                f"1 (white); {_SAVE_ANEW}"
            )
        warnings.warn("a picture of fractions (float TIFF) is taken as it is: 0 black, 1 white, no gamma", stacklevel=2)
        eight = (values.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    else:
        white = _white(image, tags)
        eight = ((values.astype(np.uint32) * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    if image.format == "TIFF" and tags.get(_MEANING) == _WHITE_IS_ZERO:
        eight = 255 - eight  # Pillow does that for 8 bits alone
    grey = Image.fromarray(eight)
    key = image.info.get("transparency")
    if isinstance(key, int):
        grey.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return grey


def _white(image: Image.Image, tags: Any) -> int:
    """Which whole number is white."""
    if image.format in ("PNG", "PPM", "JPEG2000"):  # Pillow scales the last two to 16 bits
        return 65535
    if image.format == "TIFF" and image.mode.startswith("I;16"):
        return int(2 ** _several(tags.get(_BITS, 16))[0]) - 1
    raise LatentEditError(
        f"its numbers are whole ones of 32 bits or with signs, and which of them is white is not known; {_SAVE_ANEW}"
    )


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _of_lab(image: Image.Image) -> Image.Image:
    from PIL import ImageCms  # seldom needed

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(image, *profiles, outputMode="RGB")
    assert shown is not None
    return shown
