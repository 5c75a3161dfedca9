"""What generators and taggers show of themselves: a line, and in a notebook a table and small pictures."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import latentedit as le
from latentedit.generators.vae import write_vae


class Checks(nn.Module):
    """Pictures of 8 x 8 whose code is their colour, chequered."""

    dim, layers = 3, ("low", "high")

    def decode(self, codes: Tensor) -> Tensor:
        chequered = torch.arange(8)[:, None] + torch.arange(8) & 1
        return torch.tanh(codes.mean(1))[:, :, None, None] * chequered


class Glow:
    tags = ("<bright>", *(f"tag{i}" for i in range(20)))
    thresholds = {"tag1": 0.75}
    settings = {"size": "8 x 8"}

    def score(self, images: Tensor) -> Tensor:
        return torch.zeros(len(images), 21)


def checks() -> Checks:
    return Checks()


def glow() -> Glow:
    return Glow()


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'<img src="data:image/png;base64,([^"]*)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


@pytest.fixture
def vae(tmp_path: Path) -> str:
    decoder = nn.Sequential(nn.Linear(5, 3 * 8 * 8), nn.Tanh(), nn.Unflatten(1, (3, 8, 8)))
    write_vae(tmp_path / "own.safetensors", decoder, range="-1..1")
    return f"vae:{tmp_path / 'own.safetensors'}"


@pytest.mark.parametrize("kind", ["avatar", "custom", "vae"])
def test_generators(kind: str, request: pytest.FixtureRequest) -> None:
    name = {"avatar": "avatar", "custom": f"torch:{__name__}:checks"}.get(kind) or request.getfixturevalue("vae")
    generator: Any = le.load_generator(name)
    line = repr(generator)
    assert "\n" not in line and len(line) < 200
    side, slots = generator.resolution, len(generator.layers)
    for part in (generator.id, f"{side} x {side}", f"{generator.dim} numbers", f"{slots} slot"):
        assert part in line
    html = generator._repr_html_()
    for part in (generator.id, f"{side} x {side}", f"{generator.dim} numbers", ", ".join(generator.layers)):
        assert part in html
    shown, known = pictures_in(html), le.to_pil(generator.decode(generator.sample_codes(range(4))))
    assert len(shown) == 4
    for one, other in zip(shown, known, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))
    if kind == "custom":
        assert f"torch:{__name__}:checks" in line and f"torch:{__name__}:checks" in html


def test_large_pictures_are_one_and_small() -> None:
    generator: Any = le.load_generator(f"torch:{__name__}:large")
    (shown,) = pictures_in(generator._repr_html_())
    assert max(shown.size) < 400 and len(generator._repr_html_()) < 200_000


def large() -> Any:
    thing = Checks()
    thing.decode = lambda codes: torch.linspace(-1, 1, 800) * codes[:, 0, :, None, None].tanh().expand(-1, 3, 400, 1)  # type: ignore
    return thing


def test_one_that_cannot_draw_says_so() -> None:
    generator: Any = le.load_generator(f"torch:{__name__}:checks")
    generator.decode = lambda codes: torch.zeros(1) @ codes
    html = generator._repr_html_()
    assert generator.id in html and "no pictures" in html and "<img" not in html


@pytest.mark.parametrize("kind", ["avatar", "judge:avatar", "custom", "csv"])
def test_taggers(kind: str, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("seed,smile,hat\n0,1,0\n1,0,1\n")
    name = {"custom": f"torch:{__name__}:glow", "csv": f"csv:{table}"}.get(kind, kind)
    tagger: Any = le.load_tagger(name)
    line, html = repr(tagger), tagger._repr_html_()
    assert "\n" not in line and len(line) < 300
    for shown in (line, html):
        assert tagger.id in shown
    assert f"{len(tagger.tags)} tags: " in line and tagger.tags[0] in line
    assert f"{len(tagger.tags)}: " in html and tagger.tags[1] in html
    if kind == "custom":
        assert "&lt;bright&gt;" in html and "<bright>" not in html and "tag1 0.75" in html and "8 x 8" in html
        assert "9 more" in html and "tag19" not in html
