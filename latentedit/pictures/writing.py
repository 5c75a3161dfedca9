"""Pictures into files: which suffix is which format, and what each format takes.

``PNG``, ``TIFF`` and ``WebP`` keep every pixel; ``JPEG`` and ``AVIF`` lose what nobody sees; ``GIF`` has 256 colours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, features
from PIL.PngImagePlugin import PngInfo

from latentedit.errors import LatentEditError
from latentedit.files import write_bytes

FORMATS = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".avif": "AVIF", ".gif": "GIF", ".tif": "TIFF",
    ".tiff": "TIFF",
}  # fmt: skip
"""Suffix to Pillow's name of the format."""
MOVING = frozenset({"GIF", "WEBP"})
"""Formats in which pictures move."""
_FRAME, _LAST = 120, 600  # milliseconds
_OPTIONS: dict[str, dict[str, Any]] = {
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"lossless": True},
    "AVIF": {"quality": 90, "subsampling": "4:4:4"},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}


class UnknownSuffixError(LatentEditError):
    """A file's suffix is that of no picture that can be written."""


def suffixes() -> tuple[str, ...]:
    """Suffixes of pictures that can be written here; AVIF depends on how Pillow was built."""
    return tuple(suffix for suffix, name in FORMATS.items() if name != "AVIF" or features.check("avif"))


def format_of(path: str | Path) -> str:
    """Pillow's name of the format that a file's suffix asks for.

    Raises:
        UnknownSuffixError: a suffix that no picture has, or none.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in suffixes():
        came = f"{suffix} is no picture that can be written" if suffix else "it has no suffix"
        raise UnknownSuffixError(f"{path}: {came}; end its name in {', '.join(suffixes())}")
    return FORMATS[suffix]


def write_picture(
    path: str | Path, picture: Image.Image | Sequence[Image.Image], *, text: Mapping[str, str] | None = None
) -> None:
    """Write a picture in the format of its suffix, whole or not at all.

    Args:
        path: of the file.
        picture: RGB; or several of one size, which GIF and WebP show in turn.
        text: keys, of Latin letters, and texts that a PNG file carries; other formats carry none.

    Raises:
        LatentEditError: a suffix that no picture has, several pictures for a format that does not move, a picture
            larger than the format allows, a disk that is full.
    """
    kind = format_of(path)
    frames = [picture] if isinstance(picture, Image.Image) else list(picture)
    several = not isinstance(picture, Image.Image)
    if several and kind not in MOVING:
        raise LatentEditError(f"{path}: {kind} does not move; end its name in .gif or .webp")
    if kind == "GIF":
        frames = _few_colours(frames)
    options = dict(_OPTIONS.get(kind, {}))
    if kind == "PNG" and text:
        options["pnginfo"] = info = PngInfo()
        for key, value in text.items():
            info.add_itxt(key, value, zip=len(value.encode()) < 1 << 20)  # Pillow reads no larger ones that are packed
    if several:
        durations = [_FRAME] * (len(frames) - 1) + [_LAST]
        options |= {"save_all": True, "append_images": frames[1:], "duration": durations, "loop": 0}
    try:
        write_bytes(path, lambda file: frames[0].save(file, kind, **options))
    except (ValueError, SystemError) as error:
        size = "{} x {}".format(*frames[0].size)
        raise LatentEditError(f"{path}: {kind} does not take {size} pixels ({error}); try .png") from error


def _few_colours(frames: Sequence[Image.Image]) -> list[Image.Image]:
    """The same in 256 colours, which all frames share so that nothing flickers."""
    width, height = frames[0].size
    column = Image.new("RGB", (width, height * len(frames)))
    for i, frame in enumerate(frames):
        column.paste(frame, (0, i * height))
    palette = column.quantize(256)
    return [frame.quantize(palette=palette) for frame in frames]
