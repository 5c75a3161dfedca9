"""Where the pictures of commands go, and what they show, from outside."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
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


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_folder_has_a_picture_and_a_code_a_face(drawn: Run) -> None:
    Path("there").mkdir()
    for out in ("plain", "dotted.v2/", "there"):
        told = done(drawn(*EDIT, "--seeds", "3,7,12-13", "--out", out))
        assert "4 pictures and codes" in told
        assert names(out) == [f"seed-{s}.{kind}" for s in (12, 13, 3, 7) for kind in ("npy", "png")]
    codes = np.load("plain/seed-7.npy")
    done(drawn("edit", *TOY, "--directions", "lines.safetensors", "--tag", "smile=0", "--codes", "plain/seed-7.npy",
               "--out", "again", "--quiet"))  # fmt: skip
    assert np.abs(np.load("again/seed-7.npy") - codes).max() < 1e-5
    with Image.open("again/seed-7.png") as again, Image.open("plain/seed-7.png") as first:
        assert np.abs(np.asarray(again, int) - np.asarray(first, int)).max() <= 1 and first.size == (16, 16)


def test_a_folder_goes_on_and_keeps_edits_apart(drawn: Run) -> None:
    base = (*EDIT, "--out", "faces/", "--sheet", "all.png", "--json")
    assert json.loads(done(drawn(*base, "-n", 3)))["drawn"] == 3
    before = {path: path.read_bytes() for path in Path("faces").iterdir()}
    assert "all.png exists" in one_error(drawn(*base, "-n", 5))
    more = json.loads(done(drawn(*EDIT, "--out", "faces/", "-n", 5, "--json")))
    assert more["drawn"] == 2 and more["faces"] == [f"seed-{i}" for i in range(5)] and more["folder"] == "faces"
    assert all(path.read_bytes() == data for path, data in before.items())
    info = done(drawn("info", "faces"))
    assert "pictures and codes of faces" in info and "smile=3" in info and ToyGenerator().id in info
    other = ("--tag", "red_hair", "--out", "faces/")
    assert "--force" in one_error(drawn(*EDIT, *other)) and len(names("faces")) == 10
    told = done(drawn(*EDIT, *other, "--force"))
    assert "after all edits together" in told and "+3.00 σ smile, +3.00 σ red_hair" in told
    assert before[Path("faces/seed-0.png")] != Path("faces/seed-0.png").read_bytes()


def test_a_stopped_folder_says_what_is_kept(drawn: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, left = ToyGenerator.decode, [0]

    def until_a_user_stops_it(self: ToyGenerator, codes: torch.Tensor, **rest: Any) -> torch.Tensor:
        left[0] += len(codes) == 2  # a batch of faces
        if left[0] == 4 and len(codes) == 2:
            raise KeyboardInterrupt
        return decode(self, codes, **rest)

    monkeypatch.setattr(ToyGenerator, "decode", until_a_user_stops_it)
    command = (*EDIT, "-n", 11, "--batch-size", 2, "--out", "faces/")
    code, out, err = drawn(*command)
    assert (code, out) == (130, "") and "6 of 11 faces are kept in faces; the same command goes on" in err
    assert "wrote 5 pictures" in (told := done(drawn(*command))) and "6 were there" in told


def test_a_folder_shows_how_far_it_is(drawn: Run) -> None:
    code, _, err = drawn(*EDIT[:-1], "-n", 40, "--batch-size", 8, "--out", "faces/")
    assert code == 0 and "draw" in err and "40" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--out", "d/", "--strip"), "--sheet"),
        (("--out", "a.png", "--sheet", "b.png"), "--out DIR/"),
        (("--sheet", "b.png"), "--out DIR/"),
        (("--out", "d/", "--sheet", "b.xyz"), ".png"),
        (("--seeds", "1,2", "-n", 3), "leave --seed and -n out"),
        (("--seeds", "1,2", "--count", 3), "leave --seed and -n out"),
        (("--seeds", "1,2", "--seed", 3), "leave --seed and -n out"),
        (("--seeds", "1,2", "--codes", "a.npy"), "--seeds and --codes"),
        (("--seeds", "one"), "3,7,12-15"),
        (("--out", "lines.safetensors/"), "is a file"),
        (("--out", "smiles.v2"), "or in / for a folder"),
    ],
)
def test_what_does_not_go_together(drawn: Run, options: tuple[str, ...], words: str) -> None:
    assert words in one_error(drawn(*EDIT, *options))


def test_decode_draws_codes(drawn: Run) -> None:
    done(drawn(*EDIT, "-n", 3, "--out", "faces/"))
    np.save("many.npy", np.concatenate([np.load(f"faces/seed-{i}.npy") for i in range(3)]))
    told = done(drawn("decode", "many.npy", *TOY, "--quiet"))
    assert "decode-many.png" in told and "3 codes" in told
    done(drawn("decode", "many.npy", *TOY, "--quiet"))
    assert Path("decode-many-2.png").is_file()
    done(drawn("decode", "faces", *TOY, "--out", "again", "--sheet", "all.jpg", "-n", 2, "--quiet"))
    assert names("again") == ["seed-0.npy", "seed-0.png", "seed-1.npy", "seed-1.png"] and Path("all.jpg").is_file()
    for name in ("seed-0.png", "seed-1.png"):
        with Image.open(f"again/{name}") as again, Image.open(f"faces/{name}") as first:
            assert np.abs(np.asarray(again, int) - np.asarray(first, int)).max() <= 1
    done(drawn("decode", "faces/seed-2.npy", "many.npy", *TOY, "--out", "four.png", "--tile", 16, "--quiet"))
    with Image.open("four.png") as picture:
        assert picture.width >= 4 * 18
    np.save("slots.npy", np.zeros((1, 2, 16), np.float32))
    assert "one kind" in one_error(drawn("decode", "many.npy", "slots.npy", *TOY))
    Path("empty").mkdir()
    assert "no .npy" in one_error(drawn("decode", "empty", *TOY))
    assert "16" in one_error(drawn("decode", "many.npy"))  # not of the bundled generator


def test_one_style_with_several_contents_is_a_character_sheet(drawn: Run) -> None:
    Path("poses").mkdir()
    for name, colour in (("front", "white"), ("left", "grey"), ("right", "black")):
        Image.new("RGB", (16, 16), colour).save(f"poses/{name}.png")
    translator = ("--generator", "torch:toy:ToyTranslator", "--allow-other-generator", "--content", "poses")
    np.save("hero.npy", np.ones((1, 16), np.float32))
    for i, style in enumerate((("--seeds", "7"), ("--codes", "hero.npy"), ("-n", 1), ("--style", "poses/left.png"))):
        code, _, err = drawn(*EDIT[:-1], *translator, *style, "--out", f"{i}.png")
        assert code == 0 and "all 3 contents" in err, err
        with Image.open(f"{i}.png") as sheet, Image.open("0.png") as first:
            assert sheet.size == first.size and sheet.width > 3 * 128
    done(drawn(*EDIT, *translator, "--seeds", "7", "--out", "poses7"))
    assert names("poses7") == [f"seed-7-{n}.{kind}" for n in ("front", "left", "right") for kind in ("npy", "png")]
    pictures = [np.asarray(Image.open(f"poses7/seed-7-{name}.png"), int) for name in ("front", "left", "right")]
    assert pictures[0].mean() > pictures[1].mean() > pictures[2].mean()
    in_turn = drawn(*EDIT[:-1], *translator, "--seeds", "7,8", "--out", "two.png")
    assert in_turn[0] == 0 and "contents" not in in_turn[2]


def test_two_editors_side_by_side(drawn: Run) -> None:
    bank = DirectionBank.load("lines.safetensors")
    DirectionBank([replace(bank["smile"], vector=-bank["smile"].vector), bank["red_hair"]]).save("other.safetensors")
    two = (*EDIT, "--against", "other.safetensors", "-n", 1)
    told = json.loads(done(drawn(*two, "--out", "two.png", "--tile", 16, "--json")))
    assert told["against"] == {"editor": "lines", "file": "other.safetensors"}
    done(drawn(*EDIT, "-n", 1, "--out", "plus", "--tile", 16))
    done(drawn(*EDIT[:-3], "--tag", "smile=-3", "-n", 1, "--out", "minus", "--quiet"))
    page = np.asarray(Image.open("two.png"), int)
    for folder in ("plus", "minus"):
        face = np.asarray(Image.open(f"{folder}/seed-0.png"), int)
        spots = [x for x in range(page.shape[1] - 15) if np.abs(page[-18:-2, x : x + 16] - face).max() <= 1]
        assert len(spots) == 1, folder
    assert drawn(*two[:-2], "-n", 3, "--strip", "--steps", 3, "--out", "s.png")[0] == 0
    assert drawn(*two, "--strip", "--steps", 3, "--out", "s.gif")[0] == 0
    with Image.open("s.gif") as moving:
        assert moving.n_frames == 3 and moving.height > 2 * 128
    assert "already" in one_error(drawn(*EDIT, "--against", "lines.safetensors"))
    assert "glasses" in one_error(drawn(*EDIT[:-3], "--tag", "glasses", "--against", "other.safetensors"))
    assert "--sheet" in one_error(drawn(*two, "--out", "folder/"))
