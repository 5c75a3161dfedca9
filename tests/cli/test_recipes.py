"""``edit --recipe``: the same picture again, and what is typed changes just that."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import TOY, one_error, told
from made_directions import MINE, lines
from PIL import Image
from toy import TAGS, ToyGenerator

import latentedit as le
from latentedit.errors import LatentEditError

Run = Callable[..., tuple[int, str, str]]
TRANSLATOR = ("--generator", "torch:toy:ToyTranslator")


@pytest.fixture
def own(run: Run) -> Run:
    """A folder with directions of one's own."""
    lines(MINE, *TAGS, "black_hair")
    return run


def recipe_of(path: str | Path) -> dict:
    return json.loads(Image.open(path).info["latentedit"])


def again(run: Run, source: str | Path, *more: object, out: str = "again.png", generator: tuple = TOY) -> dict:
    return told(run("edit", *generator, "--recipe", source, "--out", out, "--force", "--json", *more))


def pictures(folder: Path, *colours: str) -> Path:
    folder.mkdir()
    for i, colour in enumerate(colours):
        Image.new("RGB", (16, 16), colour).save(folder / f"{i}.png")
    return folder


# ---- the same


@pytest.mark.parametrize(
    "options",
    [
        ("--tag", "smile"),
        ("--tag", "long_hair=2 -short_hair/4 @b", "--tag", "red_hair -black_hair", "--seeds", "3,7,12-15"),
        ("--tag", "smile", "--strip", "--steps", 3, "--seed", 4, "-n", 2, "--tile", 32, "--truncation", 0.5),
        ("--tag", "smile=2raw", "--codes", "codes.npy"),
        ("--tag", "smile=1latent -", "--codes", "codes.npy", "-n", 2),
    ],
)
def test_it_is_made_again_to_the_byte(own: Run, options: tuple) -> None:
    np.save("codes.npy", ToyGenerator().sample_codes(range(5)).numpy())
    first = told(own("edit", *TOY, *options, "--out", "first.png", "--json"))
    assert recipe_of("first.png") == first["recipe"]
    Path("codes.npy").unlink()  # so few stand in the recipe
    second = again(own, "first.png")
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    assert {**first, "picture": ""} == {**second, "picture": ""}


def test_json_does_as_well(own: Run) -> None:
    first = told(own("edit", *TOY, "--tag", "smile", "--json"))
    for name, document in {"whole.json": first, "recipe.json": first["recipe"]}.items():
        Path(name).write_text(json.dumps(document))
        again(own, name)
        assert Path("again.png").read_bytes() == Path("edit-smile.png").read_bytes()


def test_a_picture_a_face_has_a_recipe_each(own: Run) -> None:
    pictures(Path("faces"), "red", "blue")
    lines("directions/lit.safetensors", "smile")
    base = ("edit", *TRANSLATOR, "--directions", "directions/lit.safetensors", "--allow-other-generator", "--quiet")
    assert own(*base, "--tag", "smile", "--seeds", "5,9", "--content", "faces", "--out", "out/")[0] == 0
    found = sorted(Path("out").glob("*.png"))
    assert len(found) == 2
    for path in found:
        again(own, path, generator=TRANSLATOR)
        assert np.array_equal(np.array(Image.open("again.png")), np.array(Image.open(path)))
        assert recipe_of("again.png") == recipe_of(path) and recipe_of(path)["layout"]["kind"] == "single"
    assert recipe_of(found[1])["contents"]["name"] == "faces/1.png"
    several = again(own, found[1], "--seeds", "5,9", generator=TRANSLATOR)["recipe"]["layout"]
    assert several["kind"] == "sheet"  # they are no single picture


def test_a_character_sheet_with_contents_and_style(own: Run) -> None:
    pictures(Path("faces"), "red", "blue", "green")
    shutil.copy("faces/1.png", "me.png")
    lines(MINE, "smile", of=None)
    base = ("edit", *TRANSLATOR, "--allow-other-generator", "--directions", MINE, "--tag", "smile", "--quiet", "--json")
    for options in (("--content", "faces", "--style", "me.png"), ("--content", "me.png", "--style", "faces")):
        first = told(own(*base, *options, "--out", "first.png", "--force"))
        assert first["recipe"]["contents"]["name"] == options[1]
        again(own, "first.png", generator=TRANSLATOR)
        assert Path("again.png").read_bytes() == Path("first.png").read_bytes()


def test_many_codes_stay_in_their_file(own: Run) -> None:
    np.save("codes.npy", ToyGenerator().sample_codes(range(65)).numpy())
    first = told(own("edit", *TOY, "--tag", "smile", "--codes", "codes.npy", "--out", "first.png", "--json"))
    assert set(first["recipe"]["faces"]["codes"]) == {"name", "id", "sha256"}
    again(own, "first.png")
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    np.save("codes.npy", ToyGenerator().sample_codes(range(1, 66)).numpy())
    said = one_error(own("edit", *TOY, "--recipe", "first.png"))
    assert "codes.npy of the recipe" in said and "codes.npy is another one" in said and "--codes" in said


def test_two_editors_beside_each_other(own: Run) -> None:
    lines("other.safetensors", "long_hair")  # it knows no opposite
    for i, options in enumerate(((), ("--strip", "--steps", 3))):
        both = ("--tag", "long_hair", "--against", "other.safetensors", "-n", 2, *options)
        first = told(own("edit", *TOY, *both, "--out", f"{i}.png", "--json"))["recipe"]
        assert first["against"]["edit"] == {"tag": "long_hair", "strength": 3.0, "opposite": None}
        assert again(own, f"{i}.png")["recipe"] == first
        assert Path("again.png").read_bytes() == Path(f"{i}.png").read_bytes()
    changed = again(own, "0.png", "--strength", 1)["recipe"]
    assert changed["edit"]["strength"] == changed["against"]["edit"]["strength"] == 1
    drawn = le.Recipe.load("0.png").draw(ToyGenerator())  # type: ignore[arg-type]
    assert np.array_equal(np.array(drawn), np.array(Image.open("0.png")))


# ---- files that moved


def test_files_are_found_again_beside_it_in_directions_and_above(own: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines("made/by/me.safetensors", "smile")
    options = ("--tag", "smile", "--directions", "made/by/me.safetensors")
    assert own("edit", *TOY, *options, "--out", "made/out/first.png", "--quiet")[0] == 0
    first, here = Path("made/out/first.png").read_bytes(), Path.cwd()
    away = here / "elsewhere"
    (away / "directions").mkdir(parents=True)
    monkeypatch.chdir(away)
    for place in ("../made/by", "../made/out", "directions"):
        shutil.move(sorted(here.rglob("me.safetensors"))[0], f"{place}/me.safetensors")
        again(own, here / "made/out/first.png")
        assert Path("again.png").read_bytes() == first
    Path("directions/me.safetensors").unlink()
    lines(str(here / "made/by/me.safetensors"), "smile", "frown")
    said = one_error(own("edit", *TOY, "--recipe", here / "made/out/first.png"))
    assert "made/by/me.safetensors of the recipe" in said and "is another one" in said and "--directions" in said
    again(own, here / "made/out/first.png", "--directions", here / "made/by/me.safetensors")


def test_a_generators_file_is_found_beside_it(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from latentedit.generators.vae import write_vae

    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 192), torch.nn.Tanh(), torch.nn.Unflatten(1, (3, 8, 8))
    write_vae("small.safetensors", torch.nn.Sequential(*layers), range="-1..1")
    generator = le.load_generator("vae:small.safetensors")
    one = le.Direction("smile", torch.eye(4)[0], 1.0, generator.id)
    le.DirectionBank([one], generator_name="vae:small.safetensors").save(MINE)
    first = told(run("edit", "--tag", "smile", "--out", "first.png", "--json"))
    (here := Path.cwd() / "elsewhere").mkdir()
    monkeypatch.chdir(here)
    again(run, "../first.png", generator=())
    assert Path("again.png").read_bytes() == Path("../first.png").read_bytes()
    assert first["recipe"]["generator"]["name"] == "vae:small.safetensors"
    write_vae("../small.safetensors", torch.nn.Sequential(torch.nn.Linear(4, 192), *layers[1:]), range="-1..1")
    assert "--generator" in one_error(run("edit", "--recipe", "../first.png"))


def test_what_ships_is_known_by_its_sum(run: Run) -> None:
    first = told(run("edit", "--tag", "smile", "-n", 1, "--directions", "shipped", "--out", "first.png", "--json"))
    (file,) = first["recipe"]["editor"]["files"]
    assert file["path"] == "shipped" and first["recipe"]["generator"]["name"] == "avatar"
    lines(MINE, "smile")  # the newest file of one's own does not matter
    again(run, "first.png", generator=())
    assert Path("again.png").read_bytes() == Path("first.png").read_bytes()
    document = first["recipe"]
    document["editor"]["files"][0]["sha256"] = "0" * 64
    with pytest.raises(LatentEditError, match="another version of latentedit"):
        le.Recipe.from_json(document).open_editor()


# ---- what is typed changes just that


def test_what_is_typed_changes_just_that(own: Run) -> None:
    options = ("--tag", "smile=3 -closed_mouth/3", "--tag", "long_hair=2 @a", "--seeds", "3,7", "--strip", "--steps", 3)
    first = told(own("edit", *TOY, *options, "--out", "first.png", "--json"))["recipe"]

    def changed(*more: object) -> dict:
        second = again(own, "first.png", *more)["recipe"]
        return {key: second[key] for key in first if second[key] != first[key]}

    assert changed() == {}
    smile, hair = first["edit"]
    assert changed("--tag", "smile=1") == {"edit": [{**smile, "strength": 1.0}, hair]}
    assert changed("--tag", "smile -", "--strength", 1)["edit"][0] == {
        "tag": "smile", "strength": 1.0, "opposite": None
    }  # fmt: skip
    assert changed("--tag", "red_hair")["edit"] == [smile, hair, {"tag": "red_hair", "strength": 3.0, "opposite": None}]
    assert changed("--seeds", "4,8-9") == {"faces": {**first["faces"], "seeds": "4,8-9"}}
    assert changed("--seed", 20) == {"faces": {**first["faces"], "seeds": "20-21"}}
    assert changed("-n", 3) == {"faces": {**first["faces"], "seeds": "3-5"}}
    assert changed("--truncation", 0.5) == {"faces": {**first["faces"], "truncation": 0.5}}
    assert changed("--steps", 5) == {"layout": {**first["layout"], "steps": 5}}
    code, out, err = own("edit", *TOY, "--recipe", "first.png", "--strength", 1)
    assert code == 2 and '--tag "smile=1 -closed_mouth/3"' in err and "long_hair=1" in err
    lines("directions/one.safetensors", "smile")
    assert set(changed("--directions", MINE)) == set()
    told(own("edit", *TOY, "--tag", "smile", "--out", "single.png", "--json"))
    half = again(own, "single.png", "--strength", 1.5, "--layers", "b")["recipe"]["edit"]
    assert half == {"tag": "smile", "strength": 1.5, "opposite": None, "layers": ["b"]}


def test_another_generator_is_edited_by_what_fits_it(own: Run) -> None:
    Path("others.py").write_text("from toy import ToyGenerator\ndef make():\n    return ToyGenerator(seed=50)\n")
    assert own("edit", *TOY, "--tag", "smile", "--out", "first.png", "--quiet")[0] == 0
    other = ("--generator", "torch:others:make")
    assert "come with latentedit" in one_error(own("edit", *other, "--recipe", "first.png", "--quiet"))
    lines("directions/theirs.safetensors", "smile", of=ToyGenerator(seed=50))
    code, out, err = own("edit", *other, "--recipe", "first.png", "--json")
    assert code == 0 and json.loads(out)["file"] == "directions/theirs.safetensors" and "are not of torch:others" in err
    assert json.loads(out)["recipe"]["generator"]["id"] == ToyGenerator(seed=50).id


# ---- data from anyone


def test_a_recipe_imports_no_code(own: Run) -> None:
    assert own("edit", *TOY, "--tag", "smile", "--out", "first.png", "--quiet")[0] == 0
    Path("wicked.py").write_text("raise SystemExit('imported')")
    document = recipe_of("first.png")
    for name in ("torch:wicked:make", "torch:toy:ToyGenerator"):
        document["generator"]["name"] = name
        Path("wicked.json").write_text(json.dumps(document))
        assert f"--generator '{name}'" in one_error(own("edit", "--recipe", "wicked.json"))


def test_what_is_no_recipe_is_one_line(own: Run) -> None:
    Image.new("RGB", (8, 8)).save("plain.png")
    Path("notes.json").write_text('{"a": 1}')
    Path("broken.json").write_text('{"recipe"')
    Path("noise.bin").write_bytes(bytes(range(256)))
    Path("cut.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    wrongs = {"plain.png": "no recipe", "notes.json": "no recipe", "broken.json": "JSON", "noise.bin": "neither",
              "cut.png": "picture", "nothing.png": "no such file", "directions": "directions"}  # fmt: skip
    for name, words in wrongs.items():
        said = one_error(own("edit", *TOY, "--recipe", name))
        assert name in said and words in said, said


def test_recipe_is_public(own: Run) -> None:
    assert own("edit", *TOY, "--tag", "smile", "--out", "first.png", "--quiet")[0] == 0
    recipe = le.Recipe.load("first.png")
    assert le.Recipe.from_json(recipe.to_json()) == recipe and recipe.edit == le.Edit("smile", 3, opposite=None)
    drawn = recipe.draw(ToyGenerator())  # type: ignore[arg-type]
    assert np.array_equal(np.array(drawn), np.array(Image.open("first.png")))
    with pytest.raises(LatentEditError, match="is code"):
        recipe.draw()
