"""An edit is a value: what it holds, its text and JSON, what is left open, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from places import FIXTURES

from latentedit import Edit, TagPair
from latentedit.directions.edits import DEFAULT_RATIO, DEFAULT_STRENGTH, as_edits, parse_opposite
from latentedit.directions.pairs import TagRelations
from latentedit.errors import LatentEditError, UnknownNameError

TAGS = ("long_hair", "short_hair", "red_hair", "black_hair", "smile")


@functools.cache
def danbooru_tags() -> list[str]:
    lines = (FIXTURES / "danbooru_tags.csv").read_text().splitlines()
    return [row["name"] for row in csv.DictReader(line for line in lines if not line.startswith("#"))]


ODD = [
    "fate/stay_night", ">_<", "+_+", "=_=", "@_@", "!?", "-_-", ":/", "o/\\o", "a,b", "a, b", '"quoted"', "\\",
    "Long Hair", "LONG_HAIR", "1girl, solo", "長い髪", "µ", "İ", " x", "x ", "a\tb", "auto", "-", "+", "p90", "-/2",
    "a -b", "−",
]  # fmt: skip
"""Texts that look like something else; each is a tag when it is given as one."""


def round_trips(edit: Edit) -> None:
    assert Edit.parse(str(edit)) == edit and Edit.from_json(edit.to_json()) == edit
    assert Edit.from_json(json.loads(edit.to_json())) == edit and hash(Edit.parse(str(edit))) == hash(edit)


# ---- texts


def test_the_tags_of_the_lists_come_back_from_text_alone_and_beside_others() -> None:
    known = [*TagRelations.load().tags, *danbooru_tags(), *ODD]
    assert len(set(known)) > 600
    for tag in set(known):
        round_trips(Edit(tag))
        other = "smile" if tag != "smile" else "frown"
        away = None if tag == "auto" else tag
        edit = Edit(
            [Edit(other, 2, opposite=away, keep=(f"{tag}!",), layers=["0-3", tag]), Edit(tag, -0.5, unit="raw")]
        )
        round_trips(edit)


def test_known_tags_need_no_quotes_whatever_signs_they_have() -> None:
    for tag in [*TagRelations.load().tags, *danbooru_tags()]:
        for text in (f"+{tag}=2", f"{tag.replace('_', ' ').upper()}=2"):
            assert Edit.parse(text, tags=danbooru_tags()) == Edit(tag, 2), text
        assert Edit.parse(f"x -{tag}/4", tags=danbooru_tags()) == Edit("x", opposite=tag, ratio=-0.25)


def test_the_space_before_what_is_said_belongs_to_no_tag() -> None:
    for tag in ("x", "日本語"):
        for edit in (Edit(tag, opposite="smile"), Edit(tag, layers="0-3"), Edit(tag, keep="smile")):
            assert Edit.parse(str(edit), tags=[tag, f"{tag} "]) == edit
        assert Edit.parse(f"{tag} ", tags=[f"{tag} "]) == Edit(f"{tag} ")


def test_a_letter_is_one_however_it_is_composed() -> None:
    assert Edit.parse("cafe\u0301=2", tags=["café"]) == Edit("café", 2)
    assert Edit.parse("cafe\u0301=2", tags=["café", "cafe\u0301"]) == Edit("cafe\u0301", 2)
    round_trips(Edit("cafe\u0301", opposite="café"))


@pytest.mark.parametrize("tag", ["fate/stay_night", ">_<", "+_+"])
def test_an_editor_makes_its_tags_known(tag: str) -> None:
    assert Edit.parse(f"{tag}=2 -{tag}x", tags=[tag, f"{tag}x"]) == Edit(tag, 2, opposite=f"{tag}x")
    with pytest.raises(LatentEditError, match="quotes"):
        Edit.parse(f"{tag}=2")


@pytest.mark.parametrize(
    ("text", "edit"),
    [
        ("long_hair", Edit("long_hair")),
        ("+long_hair", Edit("long_hair")),
        ("Long Hair=2.5", Edit("long_hair", 2.5)),
        ("long_hair=-2", Edit("long_hair", -2)),
        ("long_hair=2latent", Edit("long_hair", 2, unit="latent")),
        ("long_hair=15raw -short_hair/3", Edit("long_hair", 15, opposite="short_hair", ratio=-1 / 3, unit="raw")),
        ("long_hair>0.8", Edit("long_hair", goal=0.8)),
        ("long_hair>p90", Edit("long_hair", goal="p90")),
        ("long_hair -", Edit("long_hair", opposite=None)),
        ("long_hair - @0", Edit("long_hair", opposite=None, layers="0")),
        ("long_hair -/2", Edit("long_hair", ratio=-0.5)),
        ("long_hair -short hair", Edit("long_hair", opposite="short_hair")),
        ("+ long_hair − short_hair", Edit("long_hair", opposite="short_hair")),
        ("x -y/-2", Edit("x", opposite="y", ratio=0.5)),
        ("x @0-3,5", Edit("x", layers="0-3,5")),
        ("x@0-3,conv1", Edit("x", layers=["0-3", "conv1"])),
        ('x @"odd, name",2', Edit("x", layers=["odd, name", 2])),
        ("x !smile !open mouth", Edit("x", keep=("smile", "open_mouth"))),
        ("x=1 !smile @2 -y", Edit("x", 1, opposite="y", keep="smile", layers=[2])),
        ("smile, glasses=2", Edit(["smile", Edit("glasses", 2)])),
        ("x @0,1, y", Edit([Edit("x", layers="0,1"), "y"])),
        ("half-closed_eyes=1e-1", Edit("half-closed_eyes", 0.1)),
        ('"fate/stay_night"=2', Edit("fate/stay_night", 2)),
        ('"Long Hair"', Edit("Long Hair")),
    ],
)
def test_what_a_text_means(text: str, edit: Edit) -> None:
    assert Edit.parse(text) == edit
    round_trips(edit)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "expected a tag"),
        ("  ", "expected a tag"),
        ("long_hair=", "a strength as a number"),
        ("long_hair=much", "a strength as a number"),
        ("long_hair>", "a goal"),
        ("long_hair>2", r"score in \[0, 1\]"),
        ("long_hair>p101", "percentile"),
        ("long_hair foo", "at 'foo'"),
        ("long_hair,smile", "', ' and another edit"),
        ("long_hair, ", "expected a tag"),
        ("long_hair -a -b", "opposite stands here twice"),
        ("long_hair @0 @1", "layers stands here twice"),
        ("long_hair @", "expected slots"),
        ("long_hair -a/0", "ratio"),
        ("long_hair -a/x", "ratio"),
        ("long_hair -a/1e-400", "ratio"),
        ("long_hair -auto", "'auto' is no tag"),
        ("long_hair -long_hair", "own opposite"),
        ("long_hair !long_hair", "cannot be kept"),
        ("long_hair -/2 -", "opposite stands here twice"),
        ("long_hair=1e999", "finite"),
        ('"long_hair', "closing quote"),
        ("+_+", "quotes"),
    ],
)
def test_what_is_no_edit_says_where(text: str, words: str) -> None:
    with pytest.raises(LatentEditError, match=words) as caught:
        Edit.parse(text)
    assert "\n" not in str(caught.value) and repr(text)[1:-1] in str(caught.value)


def test_tags_that_differ_in_spelling_alone_are_asked_for() -> None:
    assert Edit.parse("Smile=2", tags=["Smile", "smile"]) == Edit("Smile", 2)
    with pytest.raises(LatentEditError, match="'Hop' or 'hop'"):
        Edit.parse("HOP", tags=["Hop", "hop"])


tags = st.one_of(st.sampled_from([*TAGS, *ODD]), st.text(min_size=1, max_size=8)).filter(
    lambda t: t.strip() and t != "auto"
)
numbers = st.floats(allow_nan=False, allow_infinity=False)
ratios = st.one_of(st.floats(1e-6, 1e6), st.integers(1, 40).map(lambda n: 1 / n)).flatmap(
    lambda r: st.sampled_from([r, -r])
)


@st.composite
def single_edits(draw: st.DrawFn) -> Edit:
    tag, opposite, *keep = draw(st.lists(tags, min_size=2, max_size=4, unique=True))
    how = draw(st.sampled_from(["open", "sigma", "latent", "raw", "goal", "percentile"]))
    fields: dict[str, object] = {"keep": keep, "opposite": draw(st.sampled_from(["auto", None, opposite]))}
    if how in ("sigma", "latent", "raw"):
        fields |= {"strength": draw(numbers), "unit": how}
    elif how != "open":
        fields["goal"] = draw(st.floats(0, 1)) if how == "goal" else f"p{draw(st.floats(0, 100))!r}"
    if fields["opposite"] is not None and draw(st.booleans()):
        fields["ratio"] = draw(ratios)
    if draw(st.booleans()):
        fields["layers"] = draw(st.lists(st.one_of(st.integers(0, 30), tags.filter(str.strip)), min_size=1, max_size=3))
    return Edit(tag, **fields)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.lists(single_edits(), min_size=1, max_size=3))
@example([Edit("a", opposite="b", ratio=-0.1), Edit("b", ratio=-0.3)])
def test_every_edit_is_its_text_and_its_json(parts: list[Edit]) -> None:
    for edit in (*parts, Edit(parts)):
        round_trips(edit)
        assert eval(repr(edit), {"Edit": Edit}) == edit


# ---- the value


def test_it_never_changes_and_can_be_a_key() -> None:
    edit = Edit("smile", 2)
    with pytest.raises(dataclasses.FrozenInstanceError):
        edit.strength = 3  # type: ignore[misc]
    assert {edit: 1}[Edit("smile", 2.0)] == 1 and edit != Edit("smile") and edit != "smile"


def test_several_are_an_edit_as_well() -> None:
    both = Edit(["smile", Edit("red_hair", 2)])
    assert both.tag == "" and both.parts == (Edit("smile"), Edit("red_hair", 2))
    assert Edit([both, "black_hair"]).parts == (*both.parts, Edit("black_hair"))
    assert Edit(["smile"]) == Edit("smile") == Edit(Edit("smile")) and Edit("smile").parts == (Edit("smile"),)
    with pytest.raises(LatentEditError, match="each of several edits says for itself"):
        Edit(["smile", "red_hair"], 2)


def test_short_forms() -> None:
    assert Edit({"smile": 2}) == Edit("smile", 2, opposite=None)
    assert Edit({"smile": 2, "red_hair": -1}).parts == (Edit({"smile": 2}), Edit({"red_hair": -1}))
    assert Edit(TagPair("smile", "frown", -0.5)) == Edit("smile", opposite="frown", ratio=-0.5)
    assert Edit(TagPair("smile", "frown", 0.0)) == Edit("smile", opposite=None)
    assert as_edits("smile") == [Edit("smile")] and as_edits(["smile", {"red_hair": 1}]) == [
        Edit("smile"),
        Edit({"red_hair": 1}),
    ]
    for nothing in ([], {}, 3, None, [3]):
        with pytest.raises(LatentEditError, match="edit"):
            Edit(nothing)  # type: ignore[arg-type]
    with pytest.raises(LatentEditError, match="name a tag"):
        as_edits([])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tag": ""}, "write a tag"),
        ({"tag": " "}, "write a tag"),
        ({"strength": math.nan}, "finite"),
        ({"strength": "2"}, "finite"),
        ({"strength": True}, "finite"),
        ({"goal": 1.5}, "score in"),
        ({"goal": "90"}, "percentile"),
        ({"goal": 0.5, "strength": 2}, "give one of them"),
        ({"opposite": "smile"}, "own opposite"),
        ({"opposite": 3}, "write a tag"),
        ({"ratio": math.inf}, "finite"),
        ({"ratio": -0.5, "opposite": None}, "no opposite to move by it"),
        ({"ratio": 0.0}, "no opposite to move by it"),
        ({"keep": 3}, "give a tag"),
        ({"keep": ["smile"]}, "cannot be kept"),
        ({"keep": "frown", "opposite": "frown"}, "'frown' is changed"),
        ({"layers": []}, "layers is empty"),
        ({"layers": "0,,1"}, "layers is empty"),
        ({"layers": 2.5}, "indices, ranges or names"),
        ({"unit": "metre", "strength": 1}, "unknown unit"),
        ({"unit": "raw"}, "give one"),
    ],
)
def test_what_contradicts_itself_is_refused(fields: dict, words: str) -> None:
    with pytest.raises(LatentEditError, match=words) as caught:
        Edit(**{"tag": "smile"} | fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "document", ["{", "3", '"smile"', "[1]", "{}", '{"tag": 3}', '{"tag": "a", "wings": 1}', "[]", "null"]
)
def test_json_that_is_no_edit_is_refused(document: str) -> None:
    with pytest.raises(LatentEditError):
        Edit.from_json(document)


def test_json_holds_what_is_said_and_nothing_else() -> None:
    assert json.loads(Edit("smile").to_json()) == {"tag": "smile"}
    assert json.loads(Edit("smile", 2, opposite=None).to_json()) == {"tag": "smile", "strength": 2.0, "opposite": None}
    assert len(json.loads(Edit(["smile", "frown"]).to_json())) == 2


# ---- what is left open


def test_a_tag_brings_its_opposite_at_the_pairs_ratio() -> None:
    assert Edit("long_hair").strengths(TAGS) == {"long_hair": DEFAULT_STRENGTH, "short_hair": -DEFAULT_STRENGTH / 3}
    assert Edit("long_hair").strengths(["long_hair"]) == {"long_hair": 3.0}  # the editor does not know the other
    assert Edit("long_hair", 2, opposite=None).strengths(TAGS) == {"long_hair": 2.0}
    assert Edit("long_hair", ratio=-0.5).strengths(TAGS) == {"long_hair": 3.0, "short_hair": -1.5}
    mine = TagRelations((TagPair("long_hair", "smile", -0.25),), {})
    assert Edit("long_hair", 4).strengths(TAGS, mine) == {"long_hair": 4.0, "smile": -1.0}
    assert Edit("long_hair", 4, opposite="smile").strengths(TAGS, mine) == {"long_hair": 4.0, "smile": -1.0}


def test_groups_give_no_opposite_but_the_user_may() -> None:
    assert Edit("red_hair").strengths(TAGS) == {"red_hair": 3.0}
    named = Edit("red_hair", 3, opposite="black_hair")
    assert named.strengths(TAGS) == {"red_hair": 3.0, "black_hair": 3 * DEFAULT_RATIO}
    assert Edit(TagPair("red_hair", "black_hair", -0.5)).at(2).strengths(TAGS) == {"red_hair": 2.0, "black_hair": -1.0}


def test_several_add_up() -> None:
    assert Edit(["long_hair", {"short_hair": 1.0}]).strengths(TAGS) == {"long_hair": 3.0, "short_hair": 0.0}


def test_what_is_resolved_stays() -> None:
    edit = Edit(["long_hair", Edit("smile", 1)])
    done = edit.resolve(TAGS)
    assert done == done.resolve(TAGS) == edit.paired(TAGS).resolve(TAGS)
    assert done == Edit([Edit("long_hair", 3, opposite="short_hair", ratio=-1 / 3), Edit("smile", 1, opposite=None)])


def test_what_priors_alone_take_and_unknown_tags_are_refused() -> None:
    for edit in (Edit("smile", goal=0.5), Edit("smile", keep="red_hair")):
        with pytest.raises(LatentEditError, match="only a prior"):
            edit.resolve(TAGS)
    for edit in (Edit("smlie"), Edit("long_hair", opposite="smlie"), Edit(["long_hair", "smlie"])):
        with pytest.raises(UnknownNameError, match="did you mean smile"):
            edit.paired(TAGS)


def test_how_far() -> None:
    edit = Edit(["long_hair", Edit("smile", 2)])
    assert edit.at(5).parts == (Edit("long_hair", 5), Edit("smile", 10))
    assert (edit * 0.5).parts == (0.5 * edit).parts == (Edit("long_hair", 1.5), Edit("smile", 1))
    assert -edit == edit * -1
    with pytest.raises(TypeError):
        edit * "2"
    with pytest.raises(LatentEditError, match="only a prior"):
        Edit("smile", goal=0.5) * 2


def test_options_fill_in_what_a_text_leaves_open() -> None:
    said = Edit.parse("long_hair=2 -short_hair/4 @1, smile")
    filled = said.filled(strength=5, opposite=None, layers="0")
    assert filled == Edit.parse("long_hair=2 -short_hair/4 @1, smile=5 - @0")
    assert Edit("smile").filled(unit="raw") == Edit("smile", DEFAULT_STRENGTH, unit="raw")
    assert Edit("smile", ratio=-0.5).filled(opposite="frown", ratio=-0.1) == Edit("smile", opposite="frown", ratio=-0.5)
    assert Edit("smile", ratio=-0.5).filled(opposite=None) == Edit("smile", opposite=None)
    assert Edit("smile", goal=0.5).filled(strength=2) == Edit("smile", goal=0.5)
    assert said.filled() == said


def test_an_opposite_as_an_option_has_it() -> None:
    assert parse_opposite("short_hair") == ("short_hair", None)
    assert parse_opposite("short_hair:0.5") == parse_opposite("short_hair:-0.5") == ("short_hair", -0.5)
    assert parse_opposite("rating:general", ["rating:general"]) == ("rating:general", None)
    assert parse_opposite("rating:general:2") == ("rating:general", -2.0)
    for tag in (":3", "x:3", "re:zero", "|:/"):
        assert parse_opposite(tag, [tag, "x"]) == (tag, None)
        assert parse_opposite(f"{tag}:0.5", [tag]) == (tag, -0.5)
    assert parse_opposite("x:3", ["x"]) == ("x", -3.0)
    for unknown in ("short_hair:much", "short_hair:nan", "short_hair:1_0", ":d", ":3"):
        assert parse_opposite(unknown) == (unknown, None), "text, which an editor does not know"
    with pytest.raises(LatentEditError, match="finite"):
        parse_opposite("short_hair:1e999")
