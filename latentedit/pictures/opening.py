"""Opening picture files whatever their metadata are, and what is said of those that cannot be read."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from latentedit.errors import LatentEditError, UnreadablePictureError
from latentedit.lookalikes import lookalike
from latentedit.pictures.metadata import is_tiff, without_metadata

T = TypeVar("T")
_BEGINNINGS = {
    b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"GIF8": "GIF", b"RIFF": "WebP", b"BM": "BMP", b"II*\0": "TIFF",
    b"MM\0*": "TIFF", b"II+\0": "TIFF", b"MM\0+": "TIFF",
}  # fmt: skip
_ANOTHER = "take another copy of it"


def use_picture(path: str | Path, use: Callable[[Image.Image], T], *, text: str | None = None) -> T:
    """What a function makes of a picture file that Pillow opened.

    Where that fails, it is done once more without the file's metadata, which stop Pillow and nobody else. In TIFF they
    are left out at once: where one is broken Pillow goes on without those behind it, which may say what pixels mean.

    Args:
        path: of the file.
        use: gets the picture, not loaded; of those that move, the first one.
        text: name of a text of PNG that is wanted of the metadata.

    Raises:
        UnreadablePictureError: there is no such file, or it is no picture that Pillow can read.
    """
    with _told(path):
        if not is_tiff(path):
            try:
                with Image.open(path) as image:
                    return use(image)
            except Exception as error:
                plain = None if _is_final(error) else without_metadata(Path(path).read_bytes(), text=text)
                if plain is None:
                    raise
        else:
            plain = without_metadata(Path(path).read_bytes())
            assert plain is not None
        with Image.open(io.BytesIO(plain)) as image:
            return use(image)


def text_in(path: str | Path, key: str) -> str | None:
    """A text that a PNG file carries under a key, or None.

    Raises:
        UnreadablePictureError: there is no such file, or it is no picture that Pillow can read.
    """
    found = use_picture(path, lambda image: image.info.get(key) if image.format == "PNG" else None, text=key)
    return found if isinstance(found, str) else None


def _is_final(error: Exception) -> bool:
    """Whether metadata are not to blame, whatever they are."""
    return isinstance(error, (LatentEditError, MemoryError, FileNotFoundError, Image.DecompressionBombError))


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    """Turns whatever reading a picture raises into one line."""
    try:
        yield
    except MemoryError:
        raise
    except FileNotFoundError as error:
        why = "there is no such file"
        raise UnreadablePictureError(path, f"no picture at {str(path)!r}: {why}", why) from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        side = f"{math.isqrt(most):,}"
        why = f"too many pixels; up to {most:,} are read, such as {side} x {side}: make it smaller"
        raise UnreadablePictureError(path, f"{str(path)!r} has {why}", why) from error
    except Exception as error:
        why = _reason(path, error)
        raise UnreadablePictureError(path, f"cannot read {str(path)!r} as a picture: {why}", why) from error


def _reason(path: str | Path, error: Exception) -> str:
    if isinstance(error, LatentEditError):
        return str(error)
    if isinstance(error, UnidentifiedImageError):
        return _instead(path)
    if isinstance(error, OSError) and error.strerror and error.filename:  # the system's, of opening it
        return error.strerror
    return f"it is cut off or damaged ({' '.join(str(error).split()) or type(error).__name__}); {_ANOTHER}"


def _instead(path: str | Path) -> str:
    """What a file is that Pillow does not take for a picture."""
    with open(path, "rb") as file:
        head = file.read(512)
    kind = next((kind for begins, kind in _BEGINNINGS.items() if head.startswith(begins)), None)
    if kind is not None:
        return f"it begins as {kind} and is cut off, damaged or of a rare kind; save it anew as PNG, or {_ANOTHER}"
    if (found := lookalike(path)) is not None:
        return str(found) if found.kind == "empty" else f"it is {found}"
    return f"it is no picture, or of a kind that Pillow does not know; save it as PNG, or {_ANOTHER}"
