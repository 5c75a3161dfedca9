"""A recipe is a value with a JSON, and data from anyone: types and sizes are checked."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from made_directions import lines
from toy import ToyGenerator

import latentedit as le
from latentedit.editing.ingredients import Ingredient
from latentedit.editing.layout import Layout
from latentedit.editing.recipe_json import seeds_text
from latentedit.errors import DamagedFileError, LatentEditError

FILE = Ingredient("editor", "a/lines.safetensors", "0" * 64)
CONTENT = Ingredient("content", "me.jpg", "1" * 64)
CODES = torch.linspace(-1, 1, 64).reshape(2, 2, 16)
RECIPES = {
    "seeds": le.Recipe(le.Edit("smile", 3, opposite=None), le.Faces((3, 7, 8, 9)), "avatar", "gnr:1", "lines", (FILE,)),
    "codes": le.Recipe(
        le.Edit([le.Edit("smile", goal="p90", keep="hat"), le.Edit("hat", -1, opposite="bald", ratio=-1 / 3)]),
        le.Faces(codes=CODES, names=("a", "長い"), content="me.jpg", label=3, truncation=0.1, noise=4),
        "gnr:/x/y.pt", "gnr:1", "settled lines", (FILE, FILE, replace(FILE, role="against"), CONTENT),
        Layout("strip", 5, 32, False), le.Edit("smile", 1), "cuda:1", "float16", "9.9",
    ),
    "files": le.Recipe(
        le.Edit("smile", 2, unit="raw", layers="0-1"), le.Faces(style="faces", count=2, every_content=True), "avatar",
        "gnr:1", "flow", (Ingredient("editor", "shipped", "2" * 64), Ingredient("style", "faces", "3" * 64)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_it_is_its_json(name: str) -> None:
    recipe = RECIPES[name]
    text = recipe.to_json()
    assert text.isascii() and "\n" not in text
    assert le.Recipe.from_json(text) == le.Recipe.from_json(json.loads(text)) == recipe
    assert le.Recipe.from_json(text).to_json() == text
    assert le.Recipe.from_json({"picture": "x.png", "recipe": json.loads(text)}) == recipe


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (3, 7, 12, 13, 14, 15), (9, 3, 4), (2**32 - 2, 2**32 - 1)])
def test_seeds_are_written_as_they_are_typed(seeds: tuple[int, ...]) -> None:
    from latentedit.editing.faces import parse_seeds

    assert parse_seeds(seeds_text(seeds)) == seeds
    assert seeds_text((3, 7, 12, 13, 14, 15)) == "3,7,12-15"


def test_what_has_no_name_does_not_fit() -> None:
    for faces in (le.Faces(codes=torch.ones(65, 16)), le.Faces((1,), content=torch.ones(1, 4)), le.Faces(style="x")):
        recipe = le.Recipe(le.Edit("smile"), faces, "avatar", "gnr:1", "lines", (FILE,))
        with pytest.raises(LatentEditError, match="of a recipe must be a file|do not fit a recipe"):
            recipe.to_json()


JUNK: tuple[Any, ...] = (
    None, True, -1, 0, 1e308, float("nan"), 10**30, "", "x", "\x00", "//host/share/x", "\\\\host\\share", "z" * 100_000,
    [], [[]], [None], {}, {"a": 1}, "0-4000000000", "1,1",
)  # fmt: skip


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    """(Container, key) of all that a document holds."""
    keys = document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for key in list(keys):
        yield document, key
        yield from places(document[key])


@pytest.mark.parametrize("name", RECIPES)
def test_whatever_it_holds_it_is_a_recipe_or_refused_in_one_line(name: str) -> None:
    document = json.loads(RECIPES[name].to_json())
    refused = 0
    for i in range(len(list(places(document)))):
        for junk in JUNK:
            changed = copy.deepcopy(document)
            container, key = list(places(changed))[i]
            container[key] = junk
            try:
                found = le.Recipe.from_json(changed)
            except LatentEditError as error:
                refused += 1
                assert "\n" not in str(error) and len(str(error)) < 400, (key, junk)
            else:
                assert found == le.Recipe.from_json(found.to_json()), (key, junk)
        changed = copy.deepcopy(document)
        container, key = list(places(changed))[i]
        del container[key]
        try:
            le.Recipe.from_json(changed)
        except LatentEditError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"recipe": 2}, "schema 2"),
        ({"generator": {"name": "gnr://host/x.pt", "id": "gnr:1"}}, "name of a file here"),
        ({"generator": {"name": "gnr:\\\\host\\x.pt", "id": "gnr:1"}}, "name of a file here"),
        ({"faces": {"seeds": "0-20000"}}, "10000 at most"),
        ({"faces": {"codes": {"shape": [1, 2**40], "float32": "AAAA"}}}, "at most"),
        ({"faces": {"codes": {"shape": [65, 1], "float32": "AAAA" * 87}}}, "at most"),
        ({"faces": {"codes": {"shape": [1, 1], "float32": "AADAfw=="}}}, "not finite"),
        ({"faces": {"codes": {"shape": [1, 2], "float32": "AAAA"}}}, "3 bytes"),
        ({"faces": {"codes": {"shape": [1, 1], "float32": "*"}}}, "base64"),
        ({"faces": {"seeds": "1", "wings": 2}}, "'wings'"),
        ({"layout": {"kind": "strip", "steps": 10**9, "tile": None}}, "2 to 100"),
        ({"layout": {"kind": "sheet", "steps": 7, "tile": 10**9}}, "1 to 4096"),
        ({"edit": [{"tag": "smile"}] * 1001}, "10000 at most"),
        ({"edit": "smile"}, "is none"),
    ],
)
def test_what_is_too_much_is_refused(change: dict, words: str) -> None:
    with pytest.raises(LatentEditError, match=words):
        le.Recipe.from_json(json.loads(RECIPES["seeds"].to_json()) | change)


def test_depth_without_end_is_refused() -> None:
    with pytest.raises(LatentEditError, match="JSON"):
        le.Recipe.from_json("[" * 100_000)


def test_a_file_that_only_looks_like_it_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    file = Ingredient.of("editor", "a.safetensors", lines("a.safetensors", "smile"))
    recipe = tmp_path / "elsewhere" / "x.png"
    assert file.find(recipe) == Path("a.safetensors")
    same = shutil.copy("a.safetensors", "kept")
    lines("a.safetensors", "smile", "frown")
    shutil.copy(same, "elsewhere/b.safetensors")  # under another name
    with pytest.raises(DamagedFileError, match="a.safetensors is another one"):
        file.find(recipe)
    shutil.copy(same, "elsewhere/a.safetensors")
    assert file.find(recipe) == tmp_path / "elsewhere" / "a.safetensors"
    with pytest.raises(DamagedFileError, match="not found; put it beside"):
        Ingredient("content", "nowhere.png", "0" * 64).find(None)


def test_names_are_of_codes() -> None:
    faces = le.Faces(codes=torch.ones(2, 16), names=("a", "b"))
    assert list(faces.prepare(ToyGenerator()).names) == ["a", "b"]  # type: ignore[arg-type]
    for wrong in ({"seeds": (1,), "names": ("a",)}, {"codes": torch.ones(2, 16), "names": ("a",)}):
        with pytest.raises(LatentEditError, match="names"):
            le.Faces(**wrong)  # type: ignore[arg-type]
