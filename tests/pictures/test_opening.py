"""What is said of files that are no pictures, and texts that PNG files carry whatever else is in them."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from picture_bytes import chunk, png
from PIL import Image

from latentedit.errors import UnreadablePictureError
from latentedit.pictures.images import check_picture, read_pixels
from latentedit.pictures.opening import text_in, use_picture

ROWS = bytes(range(48))
TOO_MUCH = chunk(b"zTXt", b"other\0\0" + zlib.compress(bytes(3_000_000)))


def header(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


NO_PICTURES = {
    "nothing": (b"", "the file is empty"),
    "a page": (b"<!DOCTYPE html><html><title>Sign in</title>", "a web page"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "words": (b"face", "no picture, or of a kind that Pillow does not know"),
    "notes of macOS": (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(100), "notes that macOS keeps"),
    "a beginning": (png(4, 4, 8, 2, ROWS)[:20], "cut off"),
    "half": (png(4, 4, 8, 2, ROWS)[:60], "cut off or damaged"),
    "no pixels": (header(4, 4) + chunk(b"IEND", b""), "cut off or damaged"),
    "0 x 4": (header(0, 4) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""), "begins as PNG"),
    "a bomb": (
        header(60_000, 60_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "too many pixels; up to 178,956,970",
    ),
    "the largest bomb": (header(2**31 - 1, 2**31 - 1) + chunk(b"IDAT", b""), "too many pixels"),
    "TIFF of nothing": (b"II*\0", "cut off"),
    "TIFF that is large of itself": (b"II*\0\x08\0\0\0\xff\xff" + bytes(40), "cut off"),
    "numbers that are far": (png(4, 4, 8, 2, ROWS).replace(ROWS[:3], b"abc")[:-40], "cut off"),
}


@pytest.mark.parametrize("name", NO_PICTURES)
def test_no_pictures_are_told_in_a_line_with_what_to_do(tmp_path: Path, name: str) -> None:
    data, said = NO_PICTURES[name]
    path = tmp_path / "face.png"
    path.write_bytes(data)
    with pytest.raises(UnreadablePictureError) as told:
        read_pixels(path)
    assert said in str(told.value) and "\n" not in str(told.value) and str(told.value).count("face.png") == 1
    assert told.value.path == path


def test_folders_and_what_is_not_there(tmp_path: Path) -> None:
    for name, said in (("none.png", "there is no such file"), (".", "directory")):
        with pytest.raises(UnreadablePictureError, match=said):
            check_picture(tmp_path / name)


def test_long_and_tiny_pictures_are_read(tmp_path: Path) -> None:
    for width, height in ((1, 1), (100_000, 1), (1, 100_000)):
        Image.new("RGB", (width, height), "red").save(tmp_path / "long.png")
        assert read_pixels(tmp_path / "long.png").shape == (3, height, width)


def test_lack_of_memory_and_interruptions_go_through(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(4, 4, 8, 2, ROWS))
    for kind in (MemoryError, KeyboardInterrupt):

        def stop(image: Image.Image, kind: type[BaseException] = kind) -> None:
            raise kind

        with pytest.raises(kind):
            use_picture(tmp_path / "a.png", stop)


@pytest.mark.parametrize("odd", [(), (TOO_MUCH,), (chunk(b"tEXt", b"other\0b", sum_is_wrong=True),)])
def test_texts_are_found_beside_odd_chunks(tmp_path: Path, odd: tuple[bytes, ...]) -> None:
    texts = chunk(b"iTXt", b"mine\0\0\0\0\0\xe9\xa1\x94"), chunk(b"tEXt", b"mine2\0no")
    (tmp_path / "a.png").write_bytes(png(4, 4, 8, 2, ROWS, *odd, *texts))
    assert text_in(tmp_path / "a.png", "mine") == "顔"
    assert text_in(tmp_path / "a.png", "others") is None
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    assert text_in(tmp_path / "a.jpg", "mine") is None
