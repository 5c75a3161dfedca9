"""How edits are asked for: several of them, what edits, unknown tags, what is left out, names of pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import TOY, one_error, told
from made_directions import MINE, lines
from toy import TAGS, ToyGenerator

import latentedit as le
from latentedit import Edit
from latentedit.editing.sheets import edit_sheet

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def own(run: Run) -> Run:
    """A folder with directions of one's own."""
    lines(MINE, *TAGS, "black_hair")
    return run


EDIT = ("edit", *TOY, "-n", 1)


# ---- several at once


def test_each_of_several_tags_has_its_own(own: Run) -> None:
    found = told(own(*EDIT, "--tag", "+smile=3 -closed_mouth/3", "--tag", "long_hair=1", "--json"))
    assert found["moves"] == {"smile": 3.0, "closed_mouth": -1.0, "long_hair": 1.0, "short_hair": -1 / 3}


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (
            ("--tag", "red_hair", "--opposite", "black_hair", "--tag", "smile"),
            '--tag "red_hair -black_hair" --tag smile',
        ),
        (
            ("--tag", "red_hair", "--strength", 3, "--tag", "smile", "--strength", 1),
            "--tag red_hair=3 --tag smile=1",
        ),
        (
            ("--tag", "red_hair", "--tag", "smile", "--strength", 2),
            "--tag red_hair --tag smile=2, or for all of them: --tag red_hair=2 --tag smile=2",
        ),
        (("--opposite", "black_hair", "--tag", "red_hair", "--tag", "smile"), '--tag "red_hair -black_hair"'),
        (("--tag", "red_hair", "--no-opposite", "--tag", "smile"), '--tag "red_hair -" --tag smile'),
        (("--tag", "red_hair", "--layers", "0", "--tag", "smile"), '--tag "red_hair @0" --tag smile'),
        (("--tag", "red_hair", "--strength", 15, "--raw", "--tag", "smile"), "--tag red_hair=15raw --tag smile"),
        (("--tag", "red_hair, smile", "--strength", 2), '--tag "red_hair=2, smile=2"'),
    ],
)
def test_an_option_that_may_mean_one_of_several_is_refused(own: Run, options: tuple, shown: str) -> None:
    code, out, err = own(*EDIT, *options)
    assert code == 2 and out == "" and shown in err.replace("\n", " "), err
    assert not list(Path().glob("*.png"))


def test_the_text_that_a_refusal_shows_does_what_was_typed(own: Run) -> None:
    found = told(own(*EDIT, "--tag", "red_hair -black_hair", "--tag", "smile", "--json"))
    assert found["moves"] == {"red_hair": 3.0, "black_hair": -1.0, "smile": 3.0}


def test_options_before_all_tags_are_for_all(own: Run) -> None:
    found = told(own(*EDIT, "--strength", 2, "--no-opposite", "--tag", "long_hair", "--tag", "smile=1", "--json"))
    assert found["moves"] == {"long_hair": 2.0, "smile": 1.0}


def test_an_opposite_is_for_no_more_than_one_tag(own: Run) -> None:
    judge = ("--judge", "torch:toy:ToyTagger", "--natural", 0, "-n", 4)
    code, _, err = own("evaluate", "rescoring", *TOY, *judge, "--opposite", "black_hair")
    assert code == 2 and "-black_hair" in err


def test_an_option_that_changes_nothing_says_so(own: Run) -> None:
    code, out, err = own(*EDIT, "--tag", "smile=15", "--raw", "--json")
    assert code == 0 and json.loads(out)["edit"] == "smile=15 -" and "--raw changes nothing" in err


def test_a_tag_twice_and_two_of_one_group_get_a_line(own: Run) -> None:
    code, out, err = own(*EDIT, "--tag", "smile", "--tag", "smile=1", "--strip", "--json")
    assert code == 0 and json.loads(out)["moves"] == {"smile": 4.0}
    assert "smile is asked for 2 times: the strip adds them up" in err
    code, out, err = own(*EDIT, "--tag", "red_hair", "--tag", "black_hair", "--json")
    assert code == 0 and len(json.loads(out)["moves"]) == 2
    assert "red_hair and black_hair are of one group, of which a picture has one: each has a row" in err
    assert "group" not in own(*EDIT, "--tag", "red_hair", "--tag", "black_hair=-1")[2]


# ---- spelling


@pytest.mark.parametrize("spelt", ["Long_Hair", "long hair", "LONG HAIR"])
def test_spaces_and_case_do_not_matter(own: Run, spelt: str) -> None:
    assert told(own(*EDIT, "--tag", spelt, "--json"))["moves"]["long_hair"] == 3.0
    assert told(own(*EDIT, "--tag", "red_hair", "--opposite", f"{spelt}:0.5", "--json"))["moves"]["long_hair"] == -1.5


def test_spaces_and_case_do_not_matter_to_what_fits(run: Run) -> None:
    assert run("sample", *TOY, "--tagger", "torch:toy:ToyTagger", "-n", 100, "--quiet")[0] == 0
    fit = ("fit-directions", "--finder", "linear", "--quiet", "--json")
    assert told(run(*fit, "--tag", "Long Hair", "--tag", "smile"))["tags"] == ["long_hair", "smile"]
    assert told(run(*fit, "--keep-tag", "Red Hair", "--force"))["tags"]


# ---- what edits


def test_what_was_fitted_last_is_used_and_said(own: Run) -> None:
    lines("directions/older.safetensors", "slanted")
    os.utime("directions/older.safetensors", (1_700_000_000,) * 2)
    code, out, _ = own(*EDIT, "--tag", "smile")
    assert code == 0 and f"(lines, {MINE})" in out
    code, out, err = own("list", "directions", "--json")
    assert code == 0 and len(json.loads(out)["directions"]) == 7 and MINE in err
    few = ("--judge", "torch:toy:ToyTagger", "--natural", 0, "-n", 4, "--tag", "smile", "--json")
    code, out, err = own("evaluate", "rescoring", *TOY, *few)
    assert code == 0 and json.loads(out)["provenance"]["file"] == MINE and f"edited by: lines, {MINE}" in err


def test_what_ships_can_be_named(own: Run) -> None:
    same = ("edit", "--tag", "smile", "-n", 1, "--json")
    assert "torch:toy:ToyGenerator" in one_error(own(*same))  # the newest file's generator, which is code
    found = told(own(*same, "--directions", "shipped"))
    assert (found["editor"], found["file"]) == ("lines", "shipped")
    assert "Tags of what ships (flow):" in own("edit", "--prior", "shipped")[2]
    assert "(settled lines)" in own("edit", "--directions", "shipped", "--prior", "shipped")[2]
    assert "come with latentedit" in one_error(own(*EDIT, "--tag", "smile", "--directions", "shipped"))
    assert "long_hair" in own("list", "directions", "shipped")[1]


def test_an_unknown_tag_is_looked_for_elsewhere_and_else_the_nearest_are_named(own: Run) -> None:
    lines("directions/older.safetensors", "slanted")
    os.utime("directions/older.safetensors", (1_700_000_000,) * 2)
    has = "directions/older.safetensors has it: --directions directions/older.safetensors"
    assert has in one_error(own(*EDIT, "--tag", "slanted"))
    assert has in one_error(own(*EDIT, "--tag", "smile -slanted"))
    few = ("--judge", "torch:toy:ToyTagger", "--natural", 0, "-n", 4)
    assert has in one_error(own("evaluate", "rescoring", *TOY, *few, "--tag", "slanted", "--quiet"))
    assert "did you mean smile or " in one_error(own(*EDIT, "--tag", "slanter"))


def test_what_ships_for_another_generator_is_no_guess(run: Run) -> None:
    said = one_error(run("edit", "--tag", "slanted"))
    assert "unknown tag 'slanted'" in said and "did you mean" not in said and "(what ships)" in said
    assert "did you mean long_hair" in one_error(run("edit", "--tag", "long_hiar"))


# ---- what is left out, and what is far out


def test_without_a_tag_there_is_a_list_of_them(own: Run) -> None:
    code, out, err = own(*EDIT)
    assert code == 2 and out == "" and all(tag in err for tag in TAGS) and "--tag long_hair" in err and MINE in err


def test_a_tag_without_its_option_is_understood(run: Run) -> None:
    code, out, err = run("edit", "smile=2", "glasses")
    assert code == 2 and out == "" and "edit --tag smile=2 --tag glasses" in err


def test_a_strength_out_of_all_measure_is_said(own: Run) -> None:
    code, out, err = own(*EDIT, "--tag", "smile", "--strength", "1e9", "--json")
    assert code == 0 and json.loads(out)["moves"] == {"smile": 1e9} and "far outside the codes ever seen" in err
    for raw in ("smile=4raw", "smile=8latent"):  # 16 σ both
        assert "smile by +16 is far" in own(*EDIT, "--tag", raw)[2]
    assert "far" not in own(*EDIT, "--tag", "smile=2raw", "--tag", "long_hair=-9")[2]
    few = ("--judge", "torch:toy:ToyTagger", "--natural", 0, "-n", 4, "--tag", "smile=20")
    assert "smile by +20 is far outside" in own("evaluate", "rescoring", *TOY, *few)[2]
    for infinite in ("inf", "1e300"):
        assert "finite" in one_error(own(*EDIT, "--tag", "smile", "--strength", infinite, "--quiet"))


def test_the_strength_that_was_used_is_told(own: Run) -> None:
    assert told(own(*EDIT, "--tag", "long_hair", "--json"))["edit"] == "long_hair=3 -short_hair/3"
    few = ("--judge", "torch:toy:ToyTagger", "--natural", 0, "-n", 4, "--tag", "smile", "--json", "--quiet")
    assert told(own("evaluate", "rescoring", *TOY, *few))["provenance"]["edits"] == ["smile=3 -"]


def test_default_names_count_up_and_named_ones_are_kept(own: Run) -> None:
    names = [told(own(*EDIT, "--tag", "smile", "--json"))["picture"] for _ in range(3)]
    assert names == ["edit-smile.png", "edit-smile-2.png", "edit-smile-3.png"]
    assert told(own(*EDIT, "--tag", "smile", "--force", "--json"))["picture"] == "edit-smile.png"
    assert "--force" in one_error(own(*EDIT, "--tag", "smile", "--out", "edit-smile.png"))


def test_help_sets_apart_what_most_need(run: Run) -> None:
    shown = run("edit", "--help")[1]
    first, rest = shown.split("Other options:")
    assert all(name in first for name in ("--tag", "--strength", "--seed", "-n", "--out", "--strip"))
    assert all(name in rest for name in ("--layers", "--raw", "--truncation", "--device"))
    assert first.count("  --") < 14


# ---- what directions are worth


def test_directions_that_are_no_better_than_chance_say_so_when_they_are_used(run: Run) -> None:
    bank = le.DirectionBank.load(lines("x.safetensors", "smile", "red_hair", "short_hair"))
    scores = {"smile": 0.0, "red_hair": 0.4, "short_hair": -0.1}
    found = [replace(one, score=scores[one.tag]) for one in bank]
    le.DirectionBank(found, generator_name=bank.generator_name).save("x.safetensors")
    edit = (*EDIT, "--directions", "x.safetensors", "--json", "--out", "a.png", "--force")
    code, out, err = run(*edit, "--tag", "smile", "--tag", "red_hair")
    assert code == 0 and [line for line in err.splitlines() if "chance" in line] == [
        "smile is no better than chance, so expect nothing to move along it; fit from more samples, or leave it out"
    ]
    assert "chance" not in out
    assert "chance" not in run(*edit, "--tag", "red_hair")[2]
    assert "smile, short_hair are no better" in run(*edit, "--tag", "smile -short_hair")[2]


def test_a_look_moves_as_it_was_built(run: Run) -> None:
    bank = le.DirectionBank.load(lines("x.safetensors", "smile", "red_hair"))
    look = (2 * bank["smile"] - 1 * bank["red_hair"]).named("happy")
    le.DirectionBank([*bank, look], generator_name=bank.generator_name).save("x.safetensors")
    edit = (*EDIT, "--directions", "x.safetensors", "--force")
    assert told(run(*edit, "--tag", "happy", "--out", "a.png", "--json"))["moves"] == {"happy": 1.0}
    faces = le.Faces(seeds=[0]).prepare(ToyGenerator())
    bank = le.DirectionBank.load("x.safetensors")
    strips = [edit_sheet(faces, bank, one, steps=3, headed=False) for one in ("happy", Edit("happy", 1))]
    assert np.array_equal(*map(np.asarray, strips))


def test_tags_of_any_signs_are_edited_told_and_written_to_one_visible_file(run: Run) -> None:
    odd = [
        "fate/stay_night",
        "\\||/",
        ".hack//",
        ":3",
        ":d",
        "-_-",
        "=_=",
        "日本語",
        "a, b",
        "rating:general",
        "x" * 300,
    ]
    file = lines("lines.safetensors", *odd, "x")
    there = {"lines.safetensors"}
    for tag in odd:
        code, out, err = run("edit", *TOY, f"--tag={tag}", "--directions", file, "-n", 1, "--opposite", "x:0.5")
        assert code == 0 and f"+3.00 σ {tag}, -1.50 σ x (" in out, err
        (new,) = set(os.listdir()) - there
        there.add(new)
        assert new.startswith("edit-") and new.endswith(".png") and Path(new).is_file() and len(os.fsencode(new)) < 130
        assert run("edit", *TOY, "--recipe", new, "--out", "again.png", "--force")[0] == 0
        assert Path("again.png").read_bytes() == Path(new).read_bytes()
        Path("again.png").unlink()
        for opposite, moved in ((tag, "-1.00"), (f"{tag}:0.5", "-1.50")):
            named = ("--tag", "x", f"--opposite={opposite}")
            _, out, _ = run("edit", *TOY, *named, "--directions", file, "-n", 1, "--out", "o.png", "--force")
            assert f"+3.00 σ x, {moved} σ {tag} (" in out
        Path("o.png").unlink()
