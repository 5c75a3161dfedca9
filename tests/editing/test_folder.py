"""A picture and a code a face, in a folder that a stopped run goes on with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from toy import ToyGenerator, ToyTranslator

from latentedit import Direction, DirectionBank, Edit, Faces, to_pil
from latentedit.editing.faces import parse_seeds
from latentedit.editing.folder import write_faces
from latentedit.errors import LatentEditError

g = ToyGenerator()
vectors = torch.nn.functional.normalize(torch.randn(2, 16, generator=torch.Generator().manual_seed(0)))
bank = DirectionBank(
    [
        Direction(tag=tag, vector=vector, sigma=2.0, generator_id=g.id, layers=("a", "b"))
        for tag, vector in zip(("red_hair", "long_hair"), vectors, strict=True)
    ]
)


class Stops:
    """An editor that a user stops after some batches."""

    tags = bank.tags

    def __init__(self, batches: int) -> None:
        self.left = batches

    def edit(self, codes: Tensor, edits: Edit) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return bank.edit(codes, edits)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_each_face_has_its_picture_and_its_code(tmp_path: Path) -> None:
    faces = Faces([3, 17, 4]).prepare(g, batch_size=2)
    written = write_faces(tmp_path, faces, bank, ["red_hair", "long_hair"])
    assert written.names == ("seed-3", "seed-17", "seed-4") and written.drawn == 3
    codes = bank.edit(g.sample_codes([3, 17, 4]), Edit(["red_hair", "long_hair"]))
    for name, code, expected in zip(written.names, codes, to_pil(g.decode(codes)), strict=True):
        read = np.load(tmp_path / f"{name}.npy")
        assert read.shape == (1, 16) and np.abs(read[0] - code.numpy()).max() < 1e-5
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert np.abs(np.asarray(picture, int) - np.asarray(expected, int)).max() <= 1
        again = Faces(codes=tmp_path / f"{name}.npy").prepare(g)
        assert again.names == (name,) and torch.equal(again.all_codes(), torch.from_numpy(read))


def test_a_stopped_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    faces, edit = Faces(range(9)).prepare(g, batch_size=2), Edit("red_hair", 2)
    with pytest.raises(KeyboardInterrupt):
        write_faces(tmp_path / "a", faces, Stops(2), edit)
    early = contents(tmp_path / "a")
    assert len(early) == 8
    seen: list[tuple[int, int]] = []
    assert write_faces(tmp_path / "a", faces, bank, edit, progress=lambda *at: seen.append(at)).drawn == 5
    assert seen[0] == (4, 9) and seen[-1] == (9, 9)
    write_faces(tmp_path / "b", faces, bank, edit)
    assert contents(tmp_path / "a") == contents(tmp_path / "b") and early.items() <= contents(tmp_path / "a").items()
    assert write_faces(tmp_path / "a", faces, bank, edit).drawn == 0
    more = Faces(range(12)).prepare(g, batch_size=5)
    assert write_faces(tmp_path / "a", more, bank, edit).drawn == 3
    (tmp_path / "a" / "seed-4.npy").unlink()
    assert write_faces(tmp_path / "a", more, bank, edit).drawn == 1


def test_a_folder_of_other_pictures_is_refused_unless_forced(tmp_path: Path) -> None:
    faces = Faces(range(3)).prepare(g)
    write_faces(tmp_path, faces, bank, "red_hair", identity="a")
    before = contents(tmp_path)
    for other, by, edit, match in (
        (faces, "a", Edit("red_hair", 2), "edit"),
        (faces, "b", Edit("red_hair"), "by is 'a'"),
        (Faces(range(3), truncation=0.5).prepare(g), "a", Edit("red_hair"), "truncation is 1.0 rather than 0.5"),
        (Faces(range(3), noise=1).prepare(g), "a", Edit("red_hair"), "noise"),
    ):
        with pytest.raises(LatentEditError, match=match):
            write_faces(tmp_path, other, bank, edit, identity=by)
        assert contents(tmp_path) == before
    assert write_faces(tmp_path, faces, bank, Edit("red_hair", 2), force=True).drawn == 3
    Image.new("RGB", (4, 4)).save(tmp_path / "seed-3.png")  # of somebody else
    with pytest.raises(LatentEditError, match=r"seed-3\.png is another picture; name"):
        write_faces(tmp_path, Faces(range(4)).prepare(g), bank, Edit("red_hair", 2))


def test_names_are_all_different(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "A.jpg"):
        Image.new("RGB", (16, 16), "white" if name < "b" else "black").save(tmp_path / name)
    faces = Faces([7, 8], content=tmp_path).prepare(ToyTranslator())
    assert write_faces(tmp_path / "out", faces).names == ("seed-7-A", "seed-8-a")
    styles = Faces(style=tmp_path).prepare(ToyTranslator())
    assert write_faces(tmp_path / "styles", styles).names == ("A", "a-2", "b")


def test_codes_that_changed_under_one_name_are_seen(tmp_path: Path) -> None:
    codes = g.sample_codes([1, 2])
    write_faces(tmp_path, Faces(codes=codes).prepare(g))
    assert write_faces(tmp_path, Faces(codes=codes.clone()).prepare(g)).drawn == 0
    with pytest.raises(LatentEditError, match="code-1.*code is"):
        write_faces(tmp_path, Faces(codes=codes + torch.tensor([[0.0], [1.0]])).prepare(g))


def test_seeds_as_they_are_typed() -> None:
    assert parse_seeds("3,7,12-15") == (3, 7, 12, 13, 14, 15)
    assert parse_seeds(" 9 , 0-2") == (9, 0, 1, 2)


@pytest.mark.parametrize(
    ("text", "match"),
    [("", "3,7,12-15"), ("1,,2", "3,7,12-15"), ("a", "3,7,12-15"), ("-3", "3,7,12-15"), ("5-2", "write 2-5"),
     ("1,0-3", "seed 1 is named twice"), ("0-4294967295", "more than a million"), ("²", "3,7,12-15")],
)  # fmt: skip
def test_what_is_no_seeds(text: str, match: str) -> None:
    with pytest.raises(LatentEditError, match=match):
        parse_seeds(text)
