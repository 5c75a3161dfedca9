"""Any depth and mode as 8-bit RGB on white, beside what is worked out by hand."""

from __future__ import annotations

import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from picture_bytes import chunk, png, tiff
from PIL import Image

from latentedit.errors import LatentEditError
from latentedit.pictures.images import read_pixels

GREY = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = GREY.astype(np.uint16) * 257


def pixels(path: Path, data: bytes | None = None, *, drops_alpha: bool = False) -> list[list[int]]:
    """The first row as it is read."""
    if data is not None:
        path.write_bytes(data)
    found: list[list[int]] = read_pixels(path, drops_alpha=drops_alpha)[:, 0].T.tolist()
    return found


def grey(path: Path) -> np.ndarray:
    """A grey picture as it is read, (H, W)."""
    read = read_pixels(path).numpy()
    assert (read == read[:1]).all()
    return read[0]


def sixteen_bits(path: Path, kind: str) -> None:
    if kind == "II":
        path.write_bytes(tiff(16, 16, DEEP.astype("<u2").tobytes(), [16], 1))
    elif kind == "MM":
        path.write_bytes(tiff(16, 16, DEEP.astype(">u2").tobytes(), [16], 1, order=">"))
    else:
        Image.fromarray(DEEP).save(path, **({"compression": kind} if kind else {}))


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".png", ""), (".tif", ""), (".tif", "tiff_lzw"), (".tif", "tiff_adobe_deflate"), (".tif", "II"),
        (".tif", "MM"), (".pgm", ""), (".jp2", ""),
    ],
)  # fmt: skip
def test_sixteen_bits_of_grey_are_the_picture_of_eight(tmp_path: Path, suffix: str, kind: str) -> None:
    path = tmp_path / f"deep{suffix}"
    sixteen_bits(path, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is assumed here
        assert np.array_equal(grey(path), GREY)


def test_other_depths_have_whites_of_their_own(tmp_path: Path) -> None:
    # Twelve bits, two numbers in three bytes; a white of 1023; white is 0; colours; grey with transparency.
    assert pixels(tmp_path / "12.tif", tiff(2, 1, b"\xff\xf8\x00", [12], 1)) == [[255] * 3, [128] * 3]
    assert pixels(tmp_path / "10.pgm", b"P5 2 1 1023\n" + struct.pack(">2H", 1023, 512)) == [[255] * 3, [128] * 3]
    data = struct.pack("<2H", 65535, 257)
    assert pixels(tmp_path / "zero.tif", tiff(2, 1, data, [16], 0)) == [[0] * 3, [254] * 3]
    assert pixels(tmp_path / "one.tif", tiff(2, 1, data, [16], 1)) == [[255] * 3, [1] * 3]
    colours = struct.pack(">6H", 257, 514, 65535, 0, 1, 255)
    assert pixels(tmp_path / "rgb.png", png(2, 1, 16, 2, colours)) == [[1, 2, 255], [0, 0, 0]]
    assert pixels(tmp_path / "rgb.tif", tiff(2, 1, colours, [16] * 3, 2, order=">")) == [[1, 2, 255], [0, 0, 0]]
    with_alpha = struct.pack(">4H", 257, 65535, 257, 0)
    assert pixels(tmp_path / "la.png", png(2, 1, 16, 4, with_alpha)) == [[1] * 3, [255] * 3]


def test_fractions_are_read_from_black_to_white(tmp_path: Path) -> None:
    path = tmp_path / "fractions.tif"
    Image.fromarray((GREY / 255).astype(np.float32)).save(path)
    with pytest.warns(UserWarning, match="0 black, 1 white"):
        assert np.array_equal(grey(path), GREY)
    for order in "<>":
        path.write_bytes(tiff(2, 1, struct.pack(f"{order}2f", 0.0, 1.0), [32], 0, signs=3, order=order))
        with pytest.warns(UserWarning, match="fraction"):
            assert pixels(path) == [[255] * 3, [0] * 3]  # white is zero


@pytest.mark.parametrize("values", [[0.0, 255.0], [-0.5, 0.5], [0.0, float("nan")], [float("inf"), 0.0], [0.0, 1.01]])
def test_fractions_beyond_are_refused(tmp_path: Path, values: list[float]) -> None:
    path = tmp_path / "beyond.tif"
    Image.fromarray(np.array([values], np.float32)).save(path)
    with pytest.raises(LatentEditError, match=r"beyond\.tif.*fractions from .* save it with 8 bits"):
        read_pixels(path)


@pytest.mark.parametrize(
    ("code", "bits", "signs"), [("i", 32, 2), ("I", 32, 1), ("h", 16, 2), ("b", 8, 2)], ids=["i32", "u32", "i16", "i8"]
)
def test_whole_numbers_without_a_known_white_are_refused(tmp_path: Path, code: str, bits: int, signs: int) -> None:
    path = tmp_path / "unsure.tif"
    path.write_bytes(tiff(2, 1, struct.pack(f"<2{code}", 5, 100), [bits], 1, signs=signs))
    with pytest.raises(LatentEditError, match=r"which of them is white is not known; save it with 8 bits"):
        read_pixels(path)


KEY2, KEY6 = (lambda a: chunk(b"tRNS", struct.pack(">H", a))), (lambda *a: chunk(b"tRNS", struct.pack(">3H", *a)))
PALETTE = chunk(b"PLTE", bytes([200, 0, 0, 0, 100, 0, 0, 0, 50]))
PNGS = {
    "1 bit": (png(8, 1, 1, 0, b"\x3f", KEY2(0)), [255] * 8),
    "2 bits": (png(4, 1, 2, 0, b"\x1b", KEY2(1)), [0, 255, 170, 255]),
    "4 bits": (png(2, 1, 4, 0, b"\x1e", KEY2(1)), [255, 238]),
    "8 bits": (png(2, 1, 8, 0, b"\x05\x07", KEY2(5)), [255, 7]),
    "8 bits, the upper ones are nothing": (png(2, 1, 8, 0, b"\x05\x07", KEY2(0x1105)), [255, 7]),
    "16 bits": (png(2, 1, 16, 0, struct.pack(">2H", 1000, 1001), KEY2(1000)), [255, 4]),
    "colours of 8 bits": (png(2, 1, 8, 2, bytes([5, 6, 7, 5, 6, 8]), KEY6(5, 6, 7)), [[255] * 3, [5, 6, 8]]),
    "colours of 16 bits": (
        png(2, 1, 16, 2, struct.pack(">6H", 257, 514, 771, 300, 900, 900), KEY6(257, 514, 771)),
        [[255] * 3, [1, 3, 3]],
    ),
    "one colour of a palette": (
        png(3, 1, 8, 3, b"\0\1\2", PALETTE, chunk(b"tRNS", b"\xff\0")), [[200, 0, 0], [255] * 3, [0, 0, 50]],
    ),
    "a palette": (
        png(3, 1, 8, 3, b"\0\1\2", PALETTE, chunk(b"tRNS", b"\xff\x80\0")), [[200, 0, 0], [127, 177, 127], [255] * 3],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PNGS)
def test_transparent_colours_of_png_are_white(tmp_path: Path, name: str) -> None:
    data, wanted = PNGS[name]
    assert pixels(tmp_path / "key.png", data) == [[one] * 3 if isinstance(one, int) else one for one in wanted]
    opaque = pixels(tmp_path / "key.png", data, drops_alpha=True)
    assert opaque != pixels(tmp_path / "key.png") and [255] * 3 not in opaque[:1]


@pytest.mark.parametrize(
    ("mode", "suffix", "value", "wanted"),
    [
        ("1", ".png", 1, [255] * 3), ("L", ".gif", 90, [90] * 3), ("CMYK", ".tif", (0, 255, 255, 0), [255, 0, 0]),
        ("CMYK", ".jpg", (0, 255, 255, 0), [254, 0, 0]), ("LA", ".webp", (0, 0), [255] * 3),
        ("LAB", ".tif", (255, 128, 128), [255] * 3), ("LAB", ".tif", (0, 128, 128), [0] * 3),
        ("RGBA", ".tif", (9, 9, 9, 0), [255] * 3), ("RGBA", ".png", (0, 0, 0, 128), [127] * 3),
        ("PA", ".tif", (0, 0), [255] * 3), ("RGBA", ".avif", (0, 0, 0, 0), [255] * 3),
    ],
)  # fmt: skip
def test_every_mode(tmp_path: Path, mode: str, suffix: str, value: object, wanted: list[int]) -> None:
    path = tmp_path / f"one{suffix}"
    if mode == "PA":
        path.write_bytes(
            tiff(1, 1, b"\0\0", [8, 8], 3, more=[(320, 3, 768, bytes(1536)), (338, 3, 1, struct.pack("<H", 2))])
        )
    else:
        Image.new(mode, (8, 8), value).save(path)  # type: ignore[arg-type]
    assert np.abs(np.array(pixels(path)[0]) - wanted).max() <= 1


def test_colours_multiplied_by_their_transparency(tmp_path: Path) -> None:
    path, half = tmp_path / "associated.tif", bytes([100, 0, 0, 128])
    path.write_bytes(tiff(1, 1, half, [8] * 4, 2, more=[(338, 3, 1, struct.pack("<H", 1))]))
    assert pixels(path) == [[227, 127, 127]]  # 100 + 127 of white


@pytest.mark.parametrize("mode", ["L", "P"])
def test_what_the_first_picture_of_a_gif_leaves_free_is_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "part.gif"
    Image.new("L", (8, 6), 90).convert("RGB").quantize(2).convert(mode).save(path)
    data = bytearray(path.read_bytes())
    data[6:10] = struct.pack("<2H", 12, 9)  # the canvas grows, the picture does not
    path.write_bytes(data)
    wanted = np.full((9, 12), 255)
    wanted[:6, :8] = 90
    assert np.array_equal(grey(path), wanted)


def test_a_grey_gif_with_a_transparent_colour(tmp_path: Path) -> None:
    path = tmp_path / "grey.gif"
    Image.fromarray(GREY).save(path, transparency=7)
    assert Image.open(path).mode == "L"
    assert np.array_equal(grey(path), np.where(GREY == 7, 255, GREY))


def test_a_palette_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match="lacks the list of its colours"):
        pixels(tmp_path / "none.png", png(2, 1, 8, 3, b"\0\1"))
