"""Five hundred pictures, drawn by lot from modes, formats, orientations, odd metadata and cuts: right, or one line.

What is right is worked out beside them, from the numbers that the picture was made of.
"""

from __future__ import annotations

import io
import struct
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_bytes import chunk, exif, png, segments, tiff, turned
from PIL import Image

from latentedit.errors import UnreadablePictureError
from latentedit.pictures.images import read_pixels

Lot = np.random.Generator


@dataclass
class Drawn:
    """A file, and what it shows before it is turned: (H, W, 3) uint8, None where it is to be refused."""

    data: bytes
    shows: np.ndarray | None
    levels: int = 0
    turns: bool = True
    suffix: str = field(default=".png")


def on_white(colours: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) under alpha (H, W) on white."""
    share = alpha[..., None] / 255
    return np.round(colours * share + 255 * (1 - share)).astype(np.uint8)


def size(lot: Lot) -> tuple[int, int]:
    return int(lot.integers(1, 25)), int(lot.integers(1, 25))


def noise(lot: Lot, *channels: int, of: int = 256) -> np.ndarray:
    return lot.integers(0, of, (*size(lot), *channels)).astype(np.uint8)


def smooth(lot: Lot) -> np.ndarray:
    """A slope in each colour, which JPEG keeps."""
    height, width = size(lot)
    slope = np.add.outer(np.arange(height), np.arange(width))[..., None] * lot.integers(0, 3, 3)
    return (slope + lot.integers(0, 100, 3)).astype(np.uint8)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(orientation: int, lot: Lot) -> bytes:
    """EXIF with an orientation among entries that make no sense, which may end before what these point to."""
    order = "<>"[int(lot.integers(2))]
    odd = [
        (0x10F, 2, 400, struct.pack(f"{order}I", 70000)), (0x11A, 2, 3, b"72\0\0"), (0x8769, 4, 1, bytes(4)),
        (0x11B, 5, 1, bytes(8)), (0x9999, 77, 3, b"abcd"), (0x128, 3, 2, b"\7\7\7\7"), (0x132, 1, 9, bytes(9)),
    ]  # fmt: skip
    entries = sorted([*(one for one in odd if lot.random() < 0.3), turned(orientation, order)])
    whole = exif(*entries, order=order, follows=int(lot.integers(3)) * 8)
    return whole[: max(16 + 12 * len(entries), len(whole) - int(lot.integers(0, 12)))]


def png_of(lot: Lot, orientation: int) -> Drawn:
    chunks = [
        chunk(b"zTXt", lot.bytes(int(lot.integers(9)))), chunk(b"iCCP", lot.bytes(int(lot.integers(9)))),
        chunk(b"tEXt", lot.bytes(9), sum_is_wrong=True), chunk(b"gAMA", b""), chunk(b"pHYs", b"\0\1"),
        chunk(b"acTL", b"abc"), chunk(b"fcTL", bytes(26)), chunk(b"prIv", lot.bytes(5)),
        chunk(b"iTXt", b"a\0\1\0\0\0zz"),
    ]  # fmt: skip
    odd = [one for one in chunks if lot.random() < 0.25]
    before = [chunk(b"eXIf", exif_of(orientation, lot)[6:]), *(odd if lot.random() < 0.5 else [])]
    after = [] if len(before) > 1 else odd

    def file(values: np.ndarray, bits: int, colours: int, *more: bytes) -> bytes:
        return png(values.shape[1], values.shape[0], bits, colours, values.tobytes(), *more, *before, after=after)

    a = noise(lot, 4)
    grey, colours, alpha = a[..., 0], a[..., :3], a[..., 3]
    threes = grey[..., None].repeat(3, 2)
    deep = a.astype(">u2") * 257
    palette = lot.integers(0, 256, (256, 3)).astype(np.uint8)
    alphas = lot.integers(0, 256, 256).astype(np.uint8)
    listed = chunk(b"PLTE", palette.tobytes())
    key = chunk(b"tRNS", struct.pack(">H", int(grey[0, 0])))
    key_of_deep = chunk(b"tRNS", struct.pack(">H", int(grey[0, 0]) * 257))
    key_of_colours = chunk(b"tRNS", struct.pack(">3H", *map(int, colours[0, 0])))
    without_grey = np.where(grey == grey[0, 0], 0, 255)
    without_colour = np.where((colours == colours[0, 0]).all(2), 0, 255)
    kinds: list[Callable[[], tuple[bytes, np.ndarray]]] = [
        lambda: (file(grey, 8, 0), threes),
        lambda: (file(grey, 8, 0, key), on_white(threes, without_grey)),
        lambda: (file(deep[..., 0], 16, 0), threes),
        lambda: (file(deep[..., 0], 16, 0, key_of_deep), on_white(threes, without_grey)),
        lambda: (file(colours, 8, 2), colours),
        lambda: (file(colours, 8, 2, key_of_colours), on_white(colours, without_colour)),
        lambda: (file(deep[..., :3], 16, 2), colours),
        lambda: (file(grey, 8, 3, listed), palette[grey]),
        lambda: (file(grey, 8, 3, listed, chunk(b"tRNS", alphas.tobytes())), on_white(palette[grey], alphas[grey])),
        lambda: (file(a[..., 2:], 8, 4), on_white(a[..., 2:3].repeat(3, 2), alpha)),
        lambda: (file(deep[..., 2:], 16, 4), on_white(a[..., 2:3].repeat(3, 2), alpha)),
        lambda: (file(a, 8, 6), on_white(colours, alpha)),
        lambda: (file(deep, 16, 6), on_white(colours, alpha)),
    ]
    return Drawn(*kinds[int(lot.integers(len(kinds)))](), levels=1)


def jpeg_of(lot: Lot, orientation: int) -> Drawn:
    colours, kind = smooth(lot), int(lot.integers(3))
    shows = colours if kind else colours[..., :1].repeat(3, 2)
    image = Image.fromarray(colours if kind else np.ascontiguousarray(colours[..., 0]))
    if kind == 2:
        ink = np.concatenate([255 - colours, np.zeros_like(colours[..., :1])], axis=2)
        image = Image.frombytes("CMYK", (ink.shape[1], ink.shape[0]), ink.tobytes())
    data = saved(image, "JPEG", quality=99, progressive=bool(lot.integers(2)), **({"subsampling": 0} if kind else {}))
    kinds = (0xE0, 0xE2, 0xE5, 0xED, 0xEE, 0xFE)
    begins = (b"JFIF\0", b"ICC_PROFILE\0", b"", b"Photoshop 3.0\x008BIM", b"Ado", b"MPF\0", b"FPXR\0")
    odd = [
        (kinds[lot.integers(len(kinds))], begins[lot.integers(len(begins))] + lot.bytes(int(lot.integers(9))))
        for _ in range(lot.integers(3))
    ]
    return Drawn(data[:2] + segments((0xE1, exif_of(orientation, lot)), *odd) + data[2:], shows, 8, suffix=".jpg")


def webp_of(lot: Lot, orientation: int) -> Drawn:
    a, told = noise(lot, 4), exif_of(orientation, lot)
    if lot.random() < 0.5:
        data, shows = saved(Image.fromarray(a[..., :3]), "WEBP", lossless=True, exif=told), a[..., :3]
    else:
        data = saved(Image.fromarray(a), "WEBP", lossless=True, exact=True, exif=told, xmp=lot.bytes(20))
        shows = on_white(a[..., :3], a[..., 3])
    return Drawn(data, shows, 1, suffix=".webp")


def tiff_of(lot: Lot, orientation: int) -> Drawn:
    a, order = noise(lot, 4), "<>"[int(lot.integers(2))]
    grey, alpha = a[..., 0], a[..., 3]
    threes = grey[..., None].repeat(3, 2)
    odd = [
        (282, 2, 3, b"72\0"), (306, 2, 200, struct.pack(f"{order}I", 99999)),
        (34665, 4, 1, struct.pack(f"{order}I", 9999)), (34853, 2, 4, b"abc\0"),
        (296, 3, 1, b"\7\7"), (700, 1, 5, b"<xmp>"), (34675, 7, 3, b"icc"),
    ]  # fmt: skip
    more = [one for one in odd if lot.random() < 0.25] + [turned(orientation, order)]

    def file(values: np.ndarray, bits: list[int], meaning: int, signs: int = 1, alpha: bytes = b"") -> bytes:
        extra = [(338, 3, 1, struct.pack(f"{order}H", 2))] if alpha else []
        rows = values.astype(values.dtype.newbyteorder(order)).tobytes()
        return tiff(
            values.shape[1], values.shape[0], rows, bits, meaning, signs=signs, order=order, more=[*more, *extra]
        )

    kinds: list[Callable[[], tuple[bytes, np.ndarray | None]]] = [
        lambda: (file(grey, [8], 1), threes),
        lambda: (file(grey, [8], 0), 255 - threes),
        lambda: (file(grey.astype(np.uint16) * 257, [16], 1), threes),
        lambda: (file((grey / 255).astype(np.float32), [32], 1, 3), threes),
        lambda: (file((grey / 255 + 1.5).astype(np.float32), [32], 1, 3), None),
        lambda: (file(grey.astype(np.int32), [32], 1, 2), None),
        lambda: (file(grey.astype(np.int16), [16], 1, 2), None),
        lambda: (file(a[..., :3], [8] * 3, 2), a[..., :3]),
        lambda: (file(a[..., :3].astype(np.uint16) * 257, [16] * 3, 2), a[..., :3]),
        lambda: (file(a, [8] * 4, 2, alpha=b"2"), on_white(a[..., :3], alpha)),
        lambda: (file(a.astype(np.uint16) * 257, [16] * 4, 2, alpha=b"2"), on_white(a[..., :3], alpha)),
        lambda: (file(a, [8] * 4, 5), (255 - a[..., :3]) * ((255 - alpha[..., None]) / 255)),
    ]
    return Drawn(*kinds[int(lot.integers(len(kinds)))](), levels=1, suffix=".tif")


def simple_of(lot: Lot, orientation: int) -> Drawn:
    """Formats without an orientation."""
    kind, suffix = (("BMP", ".bmp"), ("GIF", ".gif"))[int(lot.integers(2))]
    palette = lot.integers(0, 256, (256, 3)).astype(np.uint8)
    indices = noise(lot)
    image = Image.fromarray(indices, "P")
    image.putpalette(palette.tobytes())
    shows, options = palette[indices], {}
    if kind == "GIF" and lot.random() < 0.5:
        options["transparency"] = int(indices[0, 0])
        shows = on_white(shows, np.where(indices == indices[0, 0], 0, 255))
    if kind == "GIF":
        options["comment"] = lot.bytes(300)
    return Drawn(saved(image, kind, **options), shows, turns=False, suffix=suffix)


# From how a picture is stored to how it is shown.
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90,
}  # fmt: skip
FORMATS = (png_of, png_of, jpeg_of, webp_of, tiff_of, simple_of)


def outcome(path: Path, drawn: Drawn, orientation: int, *, cut: bool) -> str:
    """What became of a picture; asserts that it is right, or was refused for a reason and in one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's
            read = read_pixels(path).permute(1, 2, 0).numpy()
    except UnreadablePictureError as error:
        assert cut or drawn.shows is None, error
        assert str(path) in str(error) and "\n" not in str(error) and error.path == path
        return "cut" if cut else "refused"
    assert drawn.shows is not None
    wanted = TURNS.get(orientation, lambda a: a)(drawn.shows) if drawn.turns else drawn.shows
    assert read.shape == wanted.shape
    assert np.abs(read.astype(float) - wanted).max() <= drawn.levels
    return "whole"


@pytest.mark.parametrize("half", range(2))
def test_any_picture_is_right_or_refused_in_a_line(tmp_path: Path, half: int) -> None:
    found = Counter[str]()
    for seed in range(half * 250, half * 250 + 250):
        lot = np.random.default_rng(seed)
        orientation = int(lot.integers(0, 10))
        drawn = FORMATS[lot.integers(len(FORMATS))](lot, orientation)
        cut = bool(lot.random() < 0.25)
        path = tmp_path / f"{seed}{drawn.suffix}"
        path.write_bytes(drawn.data[: lot.integers(len(drawn.data))] if cut else drawn.data)
        try:
            found[outcome(path, drawn, orientation, cut=cut)] += 1
        except BaseException as error:
            raise AssertionError(f"picture {seed}, orientation {orientation}, cut {cut}") from error
    assert found["whole"] > 150 and found["cut"] > 30 and found["refused"] > 3  # the lot draws all three
