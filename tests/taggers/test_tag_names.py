"""Which spellings are one tag, wherever tags are looked up."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from made_directions import D, direction
from toy import ToyGenerator, ToyTagger

from latentedit import DirectionBank, Edit, TagPair
from latentedit.directions.moments import Moments
from latentedit.directions.pairs import TagRelations
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.metrics.agreement import tagger_agreement
from latentedit.metrics.rescoring import rescore
from latentedit.samples.sampling import sample
from latentedit.samples.tag_filter import dropped_by, select_tags
from latentedit.samples.tagging import tag
from latentedit.taggers.tag_names import found_tag, known_tag, plain_tag, shared_tags

SPELLINGS = ("long_hair", "long hair", "Long Hair", "LONG_HAIR", " long  hair ")


def test_spaces_underscores_and_case_are_one_tag_but_not_in_emoticons() -> None:
    assert {plain_tag(name) for name in SPELLINGS} == {"long_hair"}
    assert plain_tag(unicodedata.normalize("NFD", "Pokémon")) == plain_tag("pokémon")
    assert len({plain_tag(name) for name in (":D", ":d", "XD", "xd", "^_^", "^^")}) == 6


def test_a_known_tag_as_written_wins_and_a_lone_one_is_found_in_any_case() -> None:
    assert known_tag(":D", [":d", ":D"]) == ":D" and known_tag(":D", [":d"]) == ":d"
    assert known_tag("Long Hair", ["long hair", "long_hair"]) == "long hair"  # one tag twice: the first
    assert known_tag("long_hair", ["long hair", "long_hair"]) == "long_hair"
    assert known_tag("wings", ["long_hair"]) == "wings"
    with pytest.raises(LatentEditError, match="may be 'XD' or 'xd'; write one of them"):
        known_tag("Xd", ["XD", "xd"])
    with pytest.raises(UnknownNameError, match="unknown look 'wings'"):
        found_tag("wings", ["long_hair"], "look")


def test_tags_that_two_vocabularies_share() -> None:
    assert shared_tags(["long hair", "smile", ":D"], ["Smile", "long_hair", ":d"]) == {
        "long hair": "long_hair", "smile": "Smile",
    }  # fmt: skip
    both = ["long_hair", "long hair"]
    assert shared_tags(both, both[::-1]) == {"long_hair": "long_hair", "long hair": "long hair"}
    assert shared_tags(both, ["long hair"]) == {"long hair": "long hair"}


def bank(*tags: str) -> DirectionBank:
    return DirectionBank([direction(tag, seed=i) for i, tag in enumerate(tags)])


@pytest.mark.parametrize("written", SPELLINGS)
def test_lines_are_found_by_any_spelling(written: str) -> None:
    codes, lines = torch.randn(2, D), bank("long hair", "Short_Hair", "smile")
    assert lines[written].tag == "long hair" and written in lines and "wings" not in lines
    assert lines.only([written]).tags == ("long hair",)
    expected = lines.edit(codes, Edit("long hair", 3, opposite="Short_Hair", ratio=-1 / 3))
    for asked in (written, Edit(written), Edit(written, opposite="short hair"), TagPair(written, "SHORT HAIR")):
        torch.testing.assert_close(lines.edit(codes, asked), expected)
    torch.testing.assert_close(lines.edit(codes, {written: 3}), lines.edit(codes, {"long hair": 3}))
    assert Edit(written, 1).strengths(lines.tags) == {"long hair": 1, "Short_Hair": pytest.approx(-1 / 3)}
    with pytest.raises(LatentEditError, match="own opposite"):
        lines.edit(codes, Edit("long hair", opposite="Long_Hair"))


def test_an_editors_spelling_is_read_from_text_whatever_the_lists_have() -> None:
    assert Edit.parse("Long Hair=2 -short hair", tags=["long hair"]) == Edit("long hair", 2, opposite="short_hair")


def test_pairs_and_groups(tmp_path: Path) -> None:
    shipped = TagRelations.load()
    assert shipped.opposite_of("Long Hair") == shipped.opposite_of("long_hair") is not None
    assert shipped.group_of("red hair") == shipped.group_of("red_hair") != ("red_hair",)
    assert shipped.related_to("Open Mouth") == shipped.related_to("open_mouth")
    file = tmp_path / "pairs.toml"
    file.write_text('[[pair]]\npositive = "Long Hair"\nnegative = "Bob Cut"\nratio = -0.5\n')
    own = TagRelations.load(file).opposite_of("long_hair")
    assert own is not None and (own.positive, own.ratio) == ("long_hair", -0.5)
    assert plain_tag(own.negative) == "bob_cut"
    with pytest.raises(LatentEditError, match="own opposite"):
        TagPair("long hair", "long_hair")
    assert "long hair" in shipped.spelled_as(["long hair"]).group_of("short_hair")


class Renamed(ToyTagger):
    """The same scores under another spelling."""

    def __init__(self) -> None:
        super().__init__()
        self.id, self.tags = "toy:renamed", tuple(name.replace("_", " ").title() for name in self.tags)


def test_samples_and_two_taggers(tmp_path: Path) -> None:
    toy, renamed, generator = ToyTagger(), Renamed(), ToyGenerator()
    run = tag(sample(generator, tmp_path / "run", tagger=toy, n=40), generator, renamed)
    name, odd = toy.tags[0], toy.tags[0].replace("_", " ").upper()
    np.testing.assert_array_equal(run.scores(odd, toy.id), run.scores(name, renamed.id))
    found = tagger_agreement(run, toy.id, renamed.id)
    assert found.tags == toy.tags and not found.missing_first + found.missing_second
    assert not found.only_first.any() and (found.correlation > 0.999).any()
    moments = Moments.from_samples(run, tagger=toy.id)
    assert moments.columns([odd]) == [0]
    assert select_tags({name: 5}, 10, tags=[odd]) == (name,)
    with pytest.raises(UnknownNameError, match="wings"):
        run.scores("wings", toy.id)


def test_a_judge_of_another_spelling_measures_the_same() -> None:
    generator, toy = ToyGenerator(), ToyTagger()
    lines = DirectionBank([direction("long_hair", generator_id=generator.id)])
    one, other = (rescore(generator, judge, lines, "LONG HAIR", range(6), n_boot=5) for judge in (toy, Renamed()))
    assert other.targets == (Renamed().tags[0],)
    np.testing.assert_array_equal(one.effects(0).target, other.effects(0).target)
    assert len(one.others(0)) == len(other.others(0))


def test_what_is_dropped_in_another_spelling() -> None:
    assert dropped_by("English Text") == "*_text" and dropped_by("long hair") is None
