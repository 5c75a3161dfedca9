"""Where the pictures of commands go, and what they show, from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import TOY, one_error
from PIL import Image
from toy import ToyGenerator

from latentedit import Direction, DirectionBank
from latentedit.pictures.writing import format_of, suffixes

Run = Callable[..., tuple[int, str, str]]
EDIT = ("edit", *TOY, "--directions", "lines.safetensors", "--tag", "smile", "--quiet")


@pytest.fixture
def drawn(run: Run, tmp_path: Path) -> Run:
    """Run a command where there is a file of directions of the toy generator."""
    random = torch.Generator().manual_seed(0)
    vectors = torch.nn.functional.normalize(torch.randn(3, 16, generator=random))
    made: dict[str, Any] = {"sigma": 2.0, "generator_id": ToyGenerator().id, "layers": ("a", "b")}
    tags = ("smile", "red_hair", "glasses")
    DirectionBank([Direction(tag=t, vector=v, **made) for t, v in zip(tags, vectors, strict=True)]).save(
        tmp_path / "lines.safetensors"
    )
    return run


def done(result: tuple[int, str, str]) -> str:
    code, out, err = result
    assert code == 0, err
    return out


def test_the_suffix_of_out_is_honoured(drawn: Run) -> None:
    for suffix in suffixes():
        done(drawn(*EDIT, "--out", f"e{suffix}"))
        with Image.open(f"e{suffix}") as picture:
            assert picture.format == format_of(f"e{suffix}") and getattr(picture, "n_frames", 1) == 1


@pytest.mark.parametrize("name", ["e.xyz", "e.mp4"])
def test_another_suffix_is_refused_before_anything_is_loaded(drawn: Run, name: str) -> None:
    commands = (
        (*EDIT, "--directions", "no.safetensors", "--out", name),
        ("compare", "no.safetensors", "--out", name),
        ("compare-tags", "no", "--picture", name),
        ("evaluate", "rescoring", "--directions", "no.safetensors", "--out", name),
    )
    for command in commands:
        assert ".png" in one_error(drawn(*command)) and not Path(name).exists()


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_a_strip_moves_where_the_format_does(drawn: Run, suffix: str) -> None:
    done(drawn(*EDIT, "--strip", "--steps", 5, "-n", 2, "--out", f"s{suffix}"))
    done(drawn(*EDIT, "-n", 2, "--out", f"e{suffix}"))
    done(drawn(*EDIT, "--strip", "--steps", 5, "-n", 2, "--out", "s.png"))
    with Image.open(f"s{suffix}") as moving, Image.open("s.png") as still, Image.open(f"e{suffix}") as sheet:
        assert moving.n_frames == 5 and sheet.n_frames == 1
        assert 2 * 130 <= moving.width < 5 * 130 <= still.width


def test_many_faces_are_a_grid_of_any_size(drawn: Run) -> None:
    for n in (64, 100):
        done(drawn(*EDIT, "-n", n, "--out", f"{n}.png"))
        done(drawn(*EDIT, "-n", n, "--strip", "--out", f"strip-{n}.png"))
        for name in (f"{n}.png", f"strip-{n}.png"):
            with Image.open(name) as picture:
                assert 0.8 < picture.width / picture.height < 2.2
    assert "smaller tile" in one_error(drawn(*EDIT, "-n", 100_000, "--out", "all.png"))


def test_tile_is_the_size_of_a_face(drawn: Run) -> None:
    sizes = {}
    for tile in (16, 64, 70):
        done(drawn(*EDIT, "-n", 1, "--tile", tile, "--out", f"{tile}.png"))
        with Image.open(f"{tile}.png") as picture:
            sizes[tile] = picture.height
            inner = np.asarray(picture)[-66:-2, -66:-2] if tile > 16 else None
        if inner is not None:  # whole factors, no blur
            assert (inner.reshape(16, 4, 16, 4, 3) == inner[::4, ::4].reshape(16, 1, 16, 1, 3)).all()
    assert sizes[64] == sizes[70] > sizes[16]
