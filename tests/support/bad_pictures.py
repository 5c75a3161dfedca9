"""A folder of pictures, some of which are none."""

from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image


def _png(seed: int, side: int = 16) -> bytes:
    buffer = BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (side, side, 3), np.uint8)
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


BAD = {
    "p01-empty.png": (b"", "the file is empty"),
    "p02-text.png": (b"a note to myself\n", "it is no picture"),
    "p05-page.jpg": (b"<!DOCTYPE html><html>404", "it is a web page"),
    "p09-pointer.webp": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs pointer"),
    "p11-zeros.bmp": (bytes(500), "nothing but zeros where 500 bytes should be"),
    "p13-head.png": (_png(0)[:20], "cut off or damaged"),
    "p17-cut.png": (_png(0)[:300], "cut off or damaged"),
}
"""Name → what is in the file, and a part of what is said of it. Of the last one the header is good."""


def fill(folder: Path, good: int = 21, bad: Iterable[str] = BAD) -> list[str]:
    """Good pictures and these bad ones among them, a hidden file and a folder; the names of the good ones."""
    folder.mkdir(exist_ok=True)
    names = [f"p{i:02d}.png" for i in range(good)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(_png(i))
    for name in bad:
        (folder / name).write_bytes(BAD[name][0])
    (folder / "._p00.png").write_bytes(b"\0\5\x16\7")
    (folder / "x.png").mkdir()
    return names
