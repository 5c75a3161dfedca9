"""A picture's suffix is its format, or it is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from latentedit.errors import LatentEditError
from latentedit.pictures.writing import format_of, suffixes, write_picture


def gradient(side: int = 32) -> Image.Image:
    rows, columns = np.mgrid[:side, :side] * 255 // (side - 1)
    return Image.fromarray(np.stack([rows, columns, 255 - rows], -1).astype(np.uint8))


@pytest.mark.parametrize("suffix", suffixes())
def test_a_suffix_is_what_it_says(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix.upper()}"
    write_picture(path, gradient())
    with Image.open(path) as read:
        assert read.format == format_of(path)
        off = np.abs(np.asarray(read.convert("RGB"), int) - np.asarray(gradient(), int))
    assert off.max() <= {"PNG": 0, "TIFF": 0, "WEBP": 0, "JPEG": 12, "AVIF": 12, "GIF": 64}[format_of(path)]


@pytest.mark.parametrize("name", ["a.xyz", "a.mp4", "a", "a.bmp"])
def test_other_suffixes_are_refused_with_what_is_allowed(name: str, tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match=r"\.png.*\.gif"):
        write_picture(tmp_path / name, gradient())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_several_pictures_move(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    write_picture(tmp_path / f"a{suffix}", frames)
    with Image.open(tmp_path / f"a{suffix}") as read:
        assert read.n_frames == 3 and read.info["loop"] == 0
        for i, frame in enumerate(frames):
            read.seek(i)
            assert read.convert("RGB").getpixel((4, 4)) == frame.getpixel((4, 4))
    with pytest.raises(LatentEditError, match=r"does not move.*\.gif or \.webp"):
        write_picture(tmp_path / "a.png", frames)


def test_a_png_file_carries_text(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", gradient(), text={"latentedit": '{"tag": "笑顔"}'})
    with Image.open(tmp_path / "a.png") as read:
        assert read.text == {"latentedit": '{"tag": "笑顔"}'}
    write_picture(tmp_path / "a.jpg", gradient(), text={"latentedit": "not there"})  # carries none


def test_a_picture_too_large_for_its_format_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LatentEditError, match="WEBP does not take 17000 x 1"):
        write_picture(tmp_path / "a.webp", Image.new("RGB", (17_000, 1)))
    assert not list(tmp_path.iterdir())
