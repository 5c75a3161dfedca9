"""Pictures in and out: reading, and 8-bit conversion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.files import visible_files
from latentedit.pictures.metadata import turn_of
from latentedit.pictures.modes import to_rgb
from latentedit.pictures.opening import use_picture
from latentedit.pictures.video import is_video, read_frame

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})


def list_pictures(folder: str | Path) -> list[Path]:
    """Picture files of a folder in name order, by suffix; hidden files are passed over, subfolders not entered.

    Raises:
        LatentEditError: no such folder, or no picture in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        came = "is not a folder" if folder.exists() else "there is no such folder"
        raise LatentEditError(f"{str(folder)!r}: {came}; name a folder of pictures")
    found = [path for path in visible_files(folder) if path.suffix.lower() in SUFFIXES]
    if not found:
        hidden = sum(path.suffix.lower() in SUFFIXES for path in folder.iterdir() if path.name.startswith("."))
        but = f" but hidden ones ({hidden}), whose names begin with a dot" if hidden else ""
        raise LatentEditError(f"no picture in {str(folder)!r}{but}; it takes {', '.join(sorted(SUFFIXES))}")
    return found


def read_picture(path: str | Path, size: int | tuple[int, int]) -> Tensor:
    """A picture, or a frame of a video (``clip.mp4#t=12.5``), as (3, size, size) float32 in [-1, 1].

    Turned as its EXIF says, scaled to 8 bits where it is deeper, laid on white where it is transparent, cropped to the
    middle square, resized bilinearly. Where the size is (height, width), cropped to that shape.

    Raises:
        UnreadablePictureError: there is no such file, it is no picture that Pillow can read, or nobody knows which of
            its numbers is white.
    """
    image = _read(path, drops_alpha=False)
    height, width = (size, size) if isinstance(size, int) else size
    scale = min(image.width / width, image.height / height)
    across, down = (max(1, round(side * scale)) for side in (width, height))
    left, top = (image.width - across) // 2, (image.height - down) // 2
    image = image.crop((left, top, left + across, top + down)).resize((width, height), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


def read_pixels(path: str | Path, *, drops_alpha: bool = False) -> Tensor:
    """A picture, or a frame of a video, as it is: (3, H, W) uint8, turned as its EXIF says.

    Args:
        path: of the picture.
        drops_alpha: transparency is dropped; otherwise the picture is laid on white.

    Raises:
        UnreadablePictureError: there is no such file, or it is no picture that Pillow can read.
    """
    return torch.from_numpy(np.array(_read(path, drops_alpha=drops_alpha))).permute(2, 0, 1)


def check_picture(path: str | Path) -> None:
    """Read a picture file's header.

    Raises:
        UnreadablePictureError: there is no such file, or it is no picture that Pillow can read.
    """
    if not is_video(path):
        use_picture(path, lambda image: None)


def _read(path: str | Path, *, drops_alpha: bool) -> Image.Image:
    if is_video(path):
        return to_rgb(read_frame(path), drops_alpha=drops_alpha)

    def read(image: Image.Image) -> Image.Image:
        shown = to_rgb(image, drops_alpha=drops_alpha)
        turn = turn_of(image)
        return shown if turn is None else shown.transpose(turn)

    return use_picture(path, read)


def quantised(images: Tensor) -> Tensor:
    """Pictures in [-1, 1] to uint8 of the same shape: floor(clip((x + 1) * 127.5 + 0.5, 0, 255))."""
    return ((images.float() + 1) * 127.5 + 0.5).clamp(0, 255).to(torch.uint8)  # the conversion cuts the fraction off


def to_uint8(images: Tensor) -> np.ndarray:
    """Pictures (n, 3, H, W) in [-1, 1] to (n, H, W, 3) uint8."""
    return quantised(images).permute(0, 2, 3, 1).cpu().numpy()


def to_pil(images: Tensor) -> list[Image.Image]:
    """Pictures as Pillow has them, clamped and rounded: what a generator decodes leaves [-1, 1] by a little.

    Args:
        images: (n, 3, H, W), or one (3, H, W), in [-1, 1].

    Returns:
        RGB pictures, a list of one for one.

    Raises:
        LatentEditError: another shape.
    """
    given = images[None] if images.ndim == 3 else images
    if given.ndim != 4 or given.shape[1] != 3:
        raise LatentEditError(f"pictures of shape {tuple(images.shape)}; they are (n, 3, H, W), or one (3, H, W)")
    return [Image.fromarray(pixels) for pixels in to_uint8(given.detach())]
