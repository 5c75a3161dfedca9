"""Which faces: a value, and what it becomes for a generator."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy import ToyConditional, ToyGenerator, ToyTranslator

from latentedit import Faces
from latentedit.errors import LatentEditError
from latentedit.samples.contents import Contents


def colours(folder: Path, *names: str) -> Path:
    for i, colour in enumerate(names):
        Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")
    return folder


def test_it_is_a_value() -> None:
    faces = Faces(range(3), truncation=0.5)
    assert faces == Faces([0, 1, 2], truncation=0.5) and hash(faces) == hash(Faces((0, 1, 2), truncation=0.5))
    assert faces != Faces(range(3)) and faces != Faces(range(4), truncation=0.5) and faces != 3
    codes = torch.ones(2, 16)
    assert Faces(codes=codes) == Faces(codes=codes.clone()) and Faces(codes=codes) != Faces(codes=codes + 1)
    assert Faces.of(range(3)) == Faces(range(3)) and Faces.of(faces) is faces


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "none of them"),
        ({"seeds": []}, "none of them"),
        ({"seeds": [1], "codes": torch.ones(1, 16)}, "seeds and codes"),
        ({"codes": "a.npy", "style": "b.png"}, "codes and style"),
        ({"seeds": [-1]}, "seed -1 is outside"),
        ({"seeds": [2**32]}, "is outside"),
        ({"seeds": [1], "noise": "loud"}, "'stored', 'none' or a seed"),
        ({"seeds": [1], "noise": -3}, "'stored', 'none' or a seed"),
        ({"seeds": [1], "noise": True}, "'stored', 'none' or a seed"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(LatentEditError, match=words):
        Faces(**fields)


def test_seeds_are_their_codes_whatever_the_batches() -> None:
    g = ToyGenerator()
    whole, pieces = (Faces(range(5), truncation=0.7).prepare(g, batch_size=n) for n in (5, 2))
    assert list(whole.names) == [f"seed {i}" for i in range(5)] and len(pieces) == 5
    assert [rows for rows in pieces.batches()] == [slice(0, 2), slice(2, 4), slice(4, 5)]
    expected = g.sample_codes(range(5), truncation=0.7)
    assert torch.allclose(whole.codes(slice(0, 5)), expected, atol=1e-6)
    assert torch.allclose(torch.cat([pieces.codes(rows) for rows in pieces.batches()]), expected, atol=1e-6)
    assert torch.allclose(whole.pictures(), pieces.pictures(), atol=1e-6)
    assert torch.allclose(whole.pictures(expected + 1), g.decode(expected + 1).clamp(-1, 1), atol=1e-6)
    with pytest.raises(LatentEditError, match="batch size 0"):
        Faces(range(5)).prepare(g, batch_size=0)


def test_noise_is_that_of_the_faces() -> None:
    stored, other = (Faces([3], noise=noise).prepare(ToyGenerator()).pictures() for noise in ("stored", 5))
    assert not torch.allclose(stored, other) and torch.allclose(stored, other, atol=0.1)


def test_content_is_a_picture_a_folder_of_them_or_given(tmp_path: Path) -> None:
    colours(tmp_path, "white", "black")
    g = ToyTranslator()
    one = Faces(range(3), content=tmp_path / "0.png").prepare(g)
    assert one.content_pictures is not None and one.content_pictures.shape == (1, 3, 16, 16)
    turns = Faces(range(3), content=tmp_path).prepare(g, batch_size=2)
    assert turns.content_pictures is not None and turns.content_pictures.shape == (3, 3, 16, 16)
    codes = torch.cat([turns.codes(rows) for rows in turns.batches()])
    lights = torch.tensor([[1.0], [-1.0], [1.0]]).expand(3, 4)
    assert torch.allclose(turns.pictures(), g.decode(codes, content=lights), atol=1e-5)
    given = Faces(range(3), content=lights).prepare(g, batch_size=2)
    assert torch.allclose(given.pictures(), turns.pictures(), atol=1e-6) and given.content_pictures is None
    shared = Faces(range(3), content=Contents.find(g, tmp_path)).prepare(g)
    assert torch.allclose(shared.pictures(), turns.pictures(), atol=1e-6)
    assert not torch.allclose(one.pictures(), turns.pictures())
    with pytest.raises(LatentEditError, match="takes no content"):
        Faces([0], content=tmp_path / "0.png").prepare(ToyGenerator())
    with pytest.raises(LatentEditError, match="2 rows for 3 faces"):
        Faces(range(3), content=lights[:2]).prepare(g)


def test_a_class_is_in_the_codes_or_is_content() -> None:
    assert torch.equal(
        Faces([4], label=1).prepare(ToyGenerator()).codes(slice(0, 1)), ToyGenerator().sample_codes([4], label=1)
    )
    dark, light = (Faces([4], label=label).prepare(ToyConditional()).pictures() for label in (0, 1))
    assert light.mean() > dark.mean() + 0.1


def test_codes_of_ones_own(tmp_path: Path) -> None:
    g = ToyGenerator()
    codes = g.sample_codes([7, 8, 9])
    given = Faces(codes=codes, count=2).prepare(g)
    assert list(given.names) == ["code 0", "code 1"] and torch.equal(given.codes(slice(0, 2)), codes[:2])
    np.save(tmp_path / "w.npy", codes.numpy())
    read = Faces(codes=tmp_path / "w.npy").prepare(g)
    assert len(read) == 3 and torch.equal(read.pictures(), Faces(codes=codes).prepare(g).pictures())
    with pytest.raises(LatentEditError, match="shape"):
        Faces(codes=torch.zeros(2, 5)).prepare(g)


def test_styles_are_read_from_pictures(tmp_path: Path) -> None:
    colours(tmp_path, "white", "black", "red")
    g = ToyTranslator()
    faces = Faces(style=tmp_path, count=2).prepare(g)
    assert list(faces.names) == ["0.png", "1.png"]
    expected = g.map(g.encode(torch.ones(1, 3, 16, 16))[1])
    assert torch.allclose(faces.codes(slice(0, 1)), expected, atol=1e-6)

    class Inverting(ToyTranslator):
        def invert(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :16]

    class Reading(ToyTranslator):
        def encode_reference(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1)[:, :8]

    inverted = Faces(style=tmp_path / "0.png").prepare(Inverting())
    assert torch.equal(inverted.codes(slice(0, 1)), torch.ones(1, 16))
    assert torch.allclose(
        Faces(style=tmp_path / "0.png").prepare(Reading()).codes(slice(0, 1)), g.map(torch.ones(1, 8))
    )
    with pytest.raises(LatentEditError, match="cannot read styles"):
        Faces(style=tmp_path).prepare(ToyGenerator())


def test_what_a_report_says_of_them(tmp_path: Path) -> None:
    assert Faces(range(5, 9)).document() == {"seeds": [5, 8], "truncation": 1.0, "noise": "stored"}
    told = Faces([5, 9], content=torch.zeros(1, 4), label=2, noise=7).document()
    assert told == {"seeds": [5, 9], "content": "tensor (1, 4)", "label": 2, "truncation": 1.0, "noise": 7}
    colours(tmp_path, "white")
    told = Faces(codes="w.npy", content=Contents.find(ToyTranslator(), tmp_path)).document()
    assert told["codes"] == "w.npy" and told["content"].startswith(f"1 pictures of {tmp_path}")
