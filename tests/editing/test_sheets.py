"""The pictures that ``latentedit edit`` and ``compare`` draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyConditional, ToyGenerator, ToyTranslator
from toy_prior import prior

from latentedit import Direction, DirectionBank, Edit, Faces
from latentedit.editing.sheets import edit_sheet, editors_sheet, moves_text
from latentedit.errors import LatentEditError


def direction(tag: str, seed: int) -> Direction:
    vector = torch.randn(16, generator=torch.Generator().manual_seed(seed))
    return Direction(
        tag=tag, vector=vector / vector.norm(), sigma=2.0, generator_id=ToyGenerator().id, layers=("a", "b")
    )


bank = DirectionBank([direction(tag, i) for i, tag in enumerate(["long_hair", "short_hair", "red_hair"])])
g = ToyGenerator()


def test_before_and_after_of_one_or_several() -> None:
    faces = Faces(range(3)).prepare(g)
    sheet = edit_sheet(faces, bank, "long_hair")
    two = edit_sheet(faces, bank, ["long_hair", "red_hair"])
    assert two.height > sheet.height  # a row for each tag and one for both
    strip = edit_sheet(Faces(range(2)).prepare(g), bank, "long_hair", steps=5)
    assert strip.width > sheet.width


def test_the_title_says_what_moves() -> None:
    assert moves_text("long_hair", bank) == "+3 σ long_hair -1 σ short_hair"
    assert moves_text(["long_hair", {"red_hair": 2.0, "short_hair": 1.0}], bank) == (
        "+3 σ long_hair +0 σ short_hair +2 σ red_hair"
    )
    told = moves_text(Edit("red_hair", 15, unit="raw"), bank, digits=".2f", between=", ")
    assert told == "+15.00 red_hair"
    assert moves_text([Edit("red_hair", 2, unit="latent"), "red_hair"], bank) == "+2 long red_hair +3 σ red_hair"


def test_the_title_of_a_prior_has_no_sigma_and_says_where_goals_go() -> None:
    assert moves_text("long_hair", prior()) == "+3 long_hair -3 short_hair"
    told = moves_text([Edit("smile", goal=0.7), Edit("long_hair", goal="p90"), Edit("red_hair", -2)], prior())
    assert told == "-2 red_hair smile to 0.7 long_hair to p90 away from short_hair"
    sheet = edit_sheet(Faces(range(3)).prepare(g), prior(), Edit("smile", goal=0.7))
    assert sheet.height == edit_sheet(Faces(range(3)).prepare(g), bank, "red_hair").height
    with pytest.raises(LatentEditError, match="no strip"):
        edit_sheet(Faces(range(3)).prepare(g), prior(), Edit("smile", goal=0.7), steps=3)


def pixels(sheet: Image.Image) -> np.ndarray:
    return np.asarray(sheet, int)


def test_a_strip_goes_from_minus_to_plus_in_even_steps() -> None:
    faces = Faces([1]).prepare(g)
    strip = edit_sheet(faces, bank, Edit("red_hair", 2), steps=3)
    ends = [faces.pictures(bank.edit(faces.all_codes(), Edit("red_hair", s))) for s in (-2, 0, 2)]
    tiles = [
        np.asarray(strip)[-130:-2:8, -390 + 130 * i :][:, :128:8].astype(int) for i in range(3)
    ]  # 8 times as large
    for tile, picture in zip(tiles, ends, strict=True):
        expected = ((picture[0].permute(1, 2, 0).numpy() + 1) * 127.5).round()
        assert np.abs(tile - expected).max() <= 1
    together = edit_sheet(faces, bank, [Edit("red_hair", 2), "long_hair"], steps=3)  # strengths of their own
    assert together.size == strip.size or together.width >= strip.width


def test_batches_do_not_show() -> None:
    whole, pieces = (edit_sheet(Faces(range(5)).prepare(g, batch_size=n), bank, "long_hair") for n in (5, 2))
    assert np.abs(pixels(whole) - pixels(pieces)).max() <= 1


def test_content_pictures_stand_beside(tmp_path: Path) -> None:
    for name, colour in (("a", "white"), ("b", "black")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    translator = ToyTranslator()
    plain, beside, above = (
        edit_sheet(Faces(range(3), content=content).prepare(translator), bank, "red_hair")
        for content in (None, tmp_path / "a.png", tmp_path)
    )
    assert beside.width > plain.width and beside.height == plain.height and above.height > plain.height
    strip = edit_sheet(Faces(range(3), content=tmp_path).prepare(translator), bank, "red_hair", steps=4)
    assert strip.height < above.height * 2 and strip.width > 5 * 16


def test_a_class_that_enters_the_decoder_shows() -> None:
    dark, light = (edit_sheet(Faces([4], label=n).prepare(ToyConditional()), bank, "red_hair") for n in (0, 1))
    assert pixels(light).mean() > pixels(dark).mean() + 5


def test_editors_side_by_side() -> None:
    faces = Faces(range(2)).prepare(g)
    turned = DirectionBank(
        [-bank["red_hair"] if tag == "red_hair" else bank[tag] for tag in ("long_hair", "short_hair")]
    )
    sheet = editors_sheet(faces, {"a": bank, "b": turned}, ["long_hair"], steps=3)
    more = editors_sheet(faces, {"a": bank, "b": turned}, ["long_hair", Edit("short_hair", 2)], steps=3)
    assert more.height > 1.8 * sheet.height and np.asarray(sheet).std() > 0
