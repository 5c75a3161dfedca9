"""Pictures whose metadata are odd or broken are read, and turned as their orientation says."""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from picture_bytes import chunk, exif, ifd, png, segments, tiff, turned
from PIL import Image

from latentedit.errors import LatentEditError
from latentedit.pictures.images import check_picture, read_pixels

COLOURS = [[[250, 0, 0], [0, 250, 0], [0, 0, 250]], [[9, 9, 9], [90, 90, 90], [240, 240, 240]]]
UPRIGHT = np.kron(np.array(COLOURS), np.ones((8, 8, 1))).astype(np.uint8)  # (16, 24, 3)
# What is done to a picture that is upright, so that its orientation brings it back.
LAID: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2), 6: np.rot90, 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a, -1),
}  # fmt: skip
TEXT_AS_NUMBER = (0x11A, 2, 3, b"72\0\0")
BEYOND = (0x10F, 2, 400, struct.pack("<I", 5000))  # a maker's name that lies after the end


def laid(orientation: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(LAID[orientation](UPRIGHT)))


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg(orientation: int, *extra: tuple[int, bytes]) -> bytes:
    data = saved(laid(orientation), "JPEG", quality=98, subsampling=0)
    return data[:2] + segments(*extra) + data[2:]


def read(path: Path, data: bytes) -> np.ndarray:
    path.write_bytes(data)
    check_picture(path)
    return read_pixels(path).permute(1, 2, 0).numpy()


def same(found: np.ndarray, wanted: np.ndarray, levels: int) -> bool:
    return found.shape == wanted.shape and int(np.abs(found.astype(int) - wanted).max()) <= levels


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(tmp_path: Path, orientation: int) -> None:
    for order in "<>":
        told = exif(turned(orientation, order), order=order)
        assert same(read(tmp_path / "a.jpg", jpeg(orientation, (0xE1, told))), UPRIGHT, 6)
        for kind in ("PNG", "WEBP", "TIFF"):
            data = saved(laid(orientation), kind, exif=told, **({"lossless": True} if kind == "WEBP" else {}))
            assert same(read(tmp_path / f"a.{kind.lower()}", data), UPRIGHT, 0), kind
    grey = LAID[orientation](UPRIGHT[..., 0]).astype(">u2") * 257 if orientation < 5 else None
    if grey is not None:  # and deeper than 8 bits
        rows, (height, width) = np.ascontiguousarray(grey).tobytes(), grey.shape
        data = png(width, height, 16, 0, rows, chunk(b"eXIf", exif(turned(orientation))[6:]))
        assert same(read(tmp_path / "deep.png", data), UPRIGHT[..., :1].repeat(3, 2), 0)


EXIFS = {
    "text where a number is due": exif(turned(6), TEXT_AS_NUMBER),
    "a value beyond the end": exif(BEYOND, turned(6)),
    "cut off after the orientation": exif(turned(6), TEXT_AS_NUMBER)[:30],
    "a directory that follows itself": exif(turned(6), follows=8),
    "a directory inside that is the outer one": exif(turned(6), (0x8769, 4, 1, struct.pack("<I", 8))),
    "a directory inside beyond the end": exif(turned(6), (0x8769, 4, 1, struct.pack("<I", 9999))),
    "rationals over 0": exif(turned(6), (0x11A, 10, 1, struct.pack("<ii", -1, 0))),
    "a type that is none": exif((0x100, 99, 1, b"abcd"), turned(6)),
    "begun twice": b"Exif\0\0" + exif(turned(6)),
    "many orientations": exif((0x112, 3, 2, struct.pack("<HH", 6, 3))),
    "a long orientation": exif((0x112, 4, 1, struct.pack("<I", 6))),
    "more entries than there are": exif(turned(6))[:14] + b"\xff\xff" + exif(turned(6))[16:],
}
NOT_TURNED = {
    "orientation 0": exif(turned(0)),
    "orientation 9": exif(turned(9)),
    "orientation in words": exif((0x112, 2, 4, b"six\0")),
    "nothing": b"Exif\0\0",
    "noise": b"Exif\0\0" + bytes(range(60)),
    "a directory beyond the end": b"Exif\0\0II*\0\xff\xff\xff\x7f",
    "big": b"Exif\0\0II+\0\x08\0\0\0",
}


@pytest.mark.parametrize("name", [*EXIFS, *NOT_TURNED])
def test_exif_is_used_for_the_orientation_alone(tmp_path: Path, name: str) -> None:
    told = {**EXIFS, **NOT_TURNED}[name]
    orientation = 6 if name in EXIFS else 1
    assert same(read(tmp_path / "a.jpg", jpeg(orientation, (0xE1, told))), UPRIGHT, 6)
    for kind, suffix in (("PNG", ".png"), ("WEBP", ".webp")):
        data = saved(laid(orientation), kind, exif=told, lossless=True)
        assert same(read(tmp_path / f"a{suffix}", data), UPRIGHT, 0), kind


def test_a_photo_that_is_not_turned_back_differs(tmp_path: Path) -> None:
    assert not same(read(tmp_path / "a.jpg", jpeg(6)), UPRIGHT, 6)
    assert not same(read(tmp_path / "a.jpg", jpeg(3)), UPRIGHT, 6)


def test_orientation_in_xmp_and_as_text(tmp_path: Path) -> None:
    said = b'<x:xmpmeta><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    assert same(read(tmp_path / "a.jpg", jpeg(3, (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + said))), UPRIGHT, 6)
    assert same(read(tmp_path / "a.webp", saved(laid(3), "WEBP", xmp=said, lossless=True)), UPRIGHT, 0)
    rows, (height, width) = np.ascontiguousarray(LAID[3](UPRIGHT)).tobytes(), UPRIGHT.shape[:2]
    in_png = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + said)
    hexadecimal = "\nexif\n  26\n" + exif(turned(3)).hex()
    for one in (in_png, chunk(b"tEXt", b"Raw profile type exif\0" + hexadecimal.encode())):
        assert same(read(tmp_path / "a.png", png(width, height, 8, 2, rows, one)), UPRIGHT, 0)
    both = jpeg(1, (0xE1, exif(turned(1))), (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + said))
    assert same(read(tmp_path / "a.jpg", both), UPRIGHT, 6)  # EXIF first


JPEGS = {
    "short JFIF": (0xE0, b"JFIF\0"), "short Adobe": (0xEE, b"Adobe"), "short ICC": (0xE2, b"ICC_PROFILE\0"),
    "MPF without a directory": (0xE2, b"MPF\0"), "MPF of noise": (0xE2, b"MPF\0" + bytes(range(90))),
    "MPF of many": (0xE2, b"MPF\0II*\0\x08\0\0\0" + ifd([(0xB001, 4, 1, struct.pack("<I", 2))], 8)),
    "Photoshop cut off": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10ab"), "a comment": (0xFE, b"\xff\xd8\xff"),
    "FlashPix": (0xE2, b"FPXR\0"), "XMP of noise": (0xE1, b"http://ns.adobe.com/xap/1.0/\0\xff\xfe\0"),
    "empty": (0xE5, b""),
}  # fmt: skip


@pytest.mark.parametrize("name", JPEGS)
def test_odd_segments_of_jpeg(tmp_path: Path, name: str) -> None:
    data = jpeg(6, JPEGS[name], (0xE1, exif(turned(6), TEXT_AS_NUMBER)))
    assert same(read(tmp_path / "a.jpg", data), UPRIGHT, 6)


LONG = bytes(3_000_000)
PNG_CHUNKS = {
    "a text that unpacks to too much": [chunk(b"zTXt", b"k\0\0" + zlib.compress(LONG))],
    "many texts": [chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(1_000_000)))] * 70,
    "an unknown packing": [chunk(b"zTXt", b"k\0\7abc")],
    "broken packing": [chunk(b"zTXt", b"k\0\0abc"), chunk(b"iTXt", b"k\0\1\0\0\0abc"), chunk(b"iCCP", b"k\0\0abc")],
    "a profile of an unknown packing": [chunk(b"iCCP", b"k\0\5abc")],
    "a profile without an end": [chunk(b"iCCP", b"k")],
    "wrong sums": [chunk(kind, bytes(9), sum_is_wrong=True) for kind in (b"gAMA", b"pHYs", b"tEXt", b"teSt")],
    "short ones": [chunk(kind, b"\1") for kind in (b"gAMA", b"cHRM", b"pHYs", b"acTL", b"fcTL", b"tIME", b"bKGD")],
    "empty ones": [chunk(kind, b"") for kind in (b"sRGB", b"gAMA", b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"hIST")],
    "no transparency that fits": [chunk(b"tRNS", b"\1")],
    "a sequence that is wrong": [chunk(b"acTL", b"\0\0\0\2" + bytes(4)), chunk(b"fcTL", b"\0\0\0\5" + bytes(22))],
}  # fmt: skip


@pytest.mark.parametrize("name", PNG_CHUNKS)
@pytest.mark.parametrize("after", [False, True])
def test_odd_chunks_of_png(tmp_path: Path, name: str, after: bool) -> None:
    rows, (height, width) = np.ascontiguousarray(LAID[3](UPRIGHT)).tobytes(), UPRIGHT.shape[:2]
    told, odd = chunk(b"eXIf", exif(turned(3), TEXT_AS_NUMBER)[6:]), PNG_CHUNKS[name]
    data = png(width, height, 8, 2, rows, told, *(() if after else odd), after=odd if after else ())
    assert same(read(tmp_path / "a.png", data), UPRIGHT, 0)


TIFF_ENTRIES = {
    "a resolution in words": (282, 2, 3, b"72\0"), "a date beyond the end": (306, 2, 200, struct.pack("<I", 99999)),
    "EXIF beyond the end": (34665, 4, 1, struct.pack("<I", 99999)), "GPS in words": (34853, 2, 4, b"abc\0"),
    "EXIF that is the picture": (34665, 4, 1, struct.pack("<I", 8 + 16 * 24 * 3)),
    "an empty profile": (34675, 7, 0, b""),
    "XMP as numbers": (700, 3, 2, struct.pack("<HH", 7, 8)), "a zero resolution": (283, 5, 1, bytes(8)),
    "a unit that is none": (296, 3, 1, struct.pack("<H", 77)), "Photoshop as numbers": (34377, 4, 1, bytes(4)),
    "orientation in words": (274, 2, 4, b"six\0"),
}  # fmt: skip


@pytest.mark.parametrize("name", TIFF_ENTRIES)
def test_odd_entries_of_tiff(tmp_path: Path, name: str) -> None:
    entry = TIFF_ENTRIES[name]
    orientation = 1 if entry[0] == 274 else 3
    rows = np.ascontiguousarray(LAID[orientation](UPRIGHT)).tobytes()
    more = [entry] if orientation == 1 else [turned(3), entry]
    assert same(read(tmp_path / "a.tif", tiff(24, 16, rows, [8] * 3, 2, more=more)), UPRIGHT, 0)


def test_odd_exif_of_avif(tmp_path: Path) -> None:
    odd = saved(laid(1), "AVIF", quality=100, subsampling="4:4:4", exif=exif(TEXT_AS_NUMBER))
    broken = re.sub(rb"II\*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f", odd)
    for one in (odd, broken, odd.replace(b"II*\0", b"none")):
        assert same(read(tmp_path / "a.avif", one), UPRIGHT, 8)


def test_meaning_is_not_lost_behind_a_broken_entry_of_tiff(tmp_path: Path) -> None:
    path, beyond = tmp_path / "a.tif", (306, 2, 200, struct.pack("<I", 99999))  # a date, and behind it the signs
    path.write_bytes(tiff(2, 1, struct.pack("<2h", -5, 100), [16], 1, signs=2, more=[beyond]))
    with pytest.raises(LatentEditError, match="which of them is white is not known"):
        read_pixels(path)
    whole = tiff(2, 1, bytes([1, 2]), [8], 1, more=[turned(3)])
    for left in range(5, 60):  # a directory that is cut off, and with it the orientation
        path.write_bytes(whole[:-left])
        with pytest.raises(LatentEditError, match="cut off"):
            read_pixels(path)


def test_what_moves_is_its_first_picture(tmp_path: Path) -> None:
    frames = [Image.fromarray(UPRIGHT), Image.new("RGB", (24, 16), "white"), Image.new("RGB", (24, 16), "black")]
    for kind, suffix in (("GIF", ".gif"), ("PNG", ".png"), ("WEBP", ".webp"), ("TIFF", ".tiff")):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert same(read(tmp_path / f"a{suffix}", data), UPRIGHT, 0), kind


def test_metadata_do_not_make_good_what_is_not(tmp_path: Path) -> None:
    rows, (height, width) = UPRIGHT.tobytes(), UPRIGHT.shape[:2]
    whole = png(width, height, 8, 2, rows, *PNG_CHUNKS["wrong sums"])
    (tmp_path / "a.png").write_bytes(whole[: len(whole) - 60])
    with pytest.raises(LatentEditError, match="cut off, damaged"):
        read_pixels(tmp_path / "a.png")
