"""Where the pictures of commands go, and what they show, from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

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
