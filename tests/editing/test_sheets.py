"""The pictures that ``latentedit edit`` draws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyConditional, ToyGenerator, ToyTranslator

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.editing.editor import strengths_of
from latentedit.editing.sheets import Faces, edit_sheet, named_faces, seeded_faces, with_content
from latentedit.errors import LatentEditError


def direction(tag: str, seed: int) -> Direction:
    vector = torch.randn(16, generator=torch.Generator().manual_seed(seed))
    return Direction(
        tag=tag, vector=vector / vector.norm(), sigma=2.0, generator_id=ToyGenerator().id, layers=("a", "b")
    )


bank = DirectionBank([direction(tag, i) for i, tag in enumerate(["long_hair", "short_hair", "red_hair"])])


def test_before_and_after_and_what_moved() -> None:
    faces = seeded_faces(ToyGenerator(), range(3))
    sheet, moves = edit_sheet(ToyGenerator(), bank, ["long_hair"], faces)
    assert moves == strengths_of(bank, "long_hair")
    two, _ = edit_sheet(ToyGenerator(), bank, ["long_hair", "red_hair"], faces)
    assert two.height > sheet.height  # a row for each tag and one for both
    strip, _ = edit_sheet(ToyGenerator(), bank, ["long_hair"], seeded_faces(ToyGenerator(), range(2)), steps=5)
    assert strip.width > sheet.width


def test_batches_do_not_show() -> None:
    faces = seeded_faces(ToyGenerator(), range(5))
    whole, _ = edit_sheet(ToyGenerator(), bank, ["long_hair"], faces)
    pieces, _ = edit_sheet(ToyGenerator(), bank, ["long_hair"], faces, batch_size=2)
    assert np.abs(np.asarray(whole, int) - np.asarray(pieces, int)).max() <= 1


def test_content_is_a_picture_or_a_folder_of_them(tmp_path: Path) -> None:
    for name, colour in (("a", "white"), ("b", "black")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{name}.png")
    translator = ToyTranslator()
    one = seeded_faces(translator, range(3), content=tmp_path / "a.png")
    assert one.content is not None and one.pictures is not None
    assert len(one.content) == 1 and one.pictures.shape == (1, 3, 16, 16)
    turns = seeded_faces(translator, range(3), content=tmp_path)
    assert turns.content is not None and len(turns.content) == 3
    assert torch.equal(turns.content[0], turns.content[2]) and not torch.equal(turns.content[0], turns.content[1])
    plain, _ = edit_sheet(translator, bank, ["red_hair"], seeded_faces(translator, range(3)))
    beside, _ = edit_sheet(translator, bank, ["red_hair"], one)
    above, _ = edit_sheet(translator, bank, ["red_hair"], turns)
    assert beside.width > plain.width and beside.height == plain.height and above.height > plain.height
    strip, _ = edit_sheet(translator, bank, ["red_hair"], turns, steps=4)
    assert strip.height < above.height * 2 and strip.width > 5 * 16
    with pytest.raises(LatentEditError, match="takes no content"):
        seeded_faces(ToyGenerator(), [0], content=tmp_path / "a.png")


def test_a_class_that_enters_the_decoder_is_content() -> None:
    dark, light = (seeded_faces(ToyConditional(), [4], label=label) for label in (0, 1))
    assert torch.equal(dark.codes, seeded_faces(ToyGenerator(), [4], label=0).codes)
    sheets = [edit_sheet(ToyConditional(), bank, ["red_hair"], faces)[0] for faces in (dark, light)]
    assert np.asarray(sheets[1], float).mean() > np.asarray(sheets[0], float).mean() + 5


def test_codes_of_ones_own_can_be_edited() -> None:
    codes = ToyGenerator().sample_codes([7, 8])
    own = with_content(ToyGenerator(), codes, ("mine", "yours"))
    same, _ = edit_sheet(ToyGenerator(), bank, ["red_hair"], Faces(codes, ("mine", "yours")))
    assert same.tobytes() == edit_sheet(ToyGenerator(), bank, ["red_hair"], own)[0].tobytes()


def test_styles_are_read_from_pictures(tmp_path: Path) -> None:
    for i, colour in enumerate(("white", "black", "red")):
        Image.new("RGB", (16, 16), colour).save(tmp_path / f"{i}.png")
    translator = ToyTranslator()
    faces = named_faces(translator, style=tmp_path, count=2)
    assert faces.names == ("0.png", "1.png") and faces.codes.shape == (2, 16)
    expected = translator.map(translator.encode(torch.ones(1, 3, 16, 16))[1])
    assert torch.allclose(faces.codes[:1], expected, atol=1e-6)
    with pytest.raises(LatentEditError, match="cannot read styles"):
        named_faces(ToyGenerator(), style=tmp_path)
