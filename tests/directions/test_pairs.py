"""What is shipped about tags: its spelling, its rules, and how a user's file overrides it.

The spelling is held against names and aliases of Danbooru (tests/fixtures/danbooru_tags.csv), looked up for this
and not made from the file under test.
"""

from __future__ import annotations

import csv
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from places import FIXTURES, ROOT

from latentedit.directions.pairs import TagPair, TagRelations, _read
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError

SHIPPED = ROOT / "directions" / "pairs.toml"
ALLOWED = re.compile(r"[a-z0-9:;<>/|+_().-]+")  # of the tags in use; Danbooru itself has more


def danbooru() -> tuple[dict[str, int | None], dict[str, str]]:
    """Post counts of real tags, and the tag that each wrong spelling stands for."""
    lines = (FIXTURES / "danbooru_tags.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len({row["name"] for row in rows}) == len(rows)
    counts = {row["name"]: int(row["posts"]) if row["posts"] else None for row in rows if not row["alias_of"]}
    return counts, {row["name"]: row["alias_of"] for row in rows if row["alias_of"]}


def all_tags(known: TagRelations) -> set[str]:
    paired = {tag for pair in known.pairs for tag in (pair.positive, pair.negative)}
    return paired | {tag for lists in (known.groups, known.related) for tags in lists.values() for tag in tags}


def own_names(text: str) -> set[str]:
    """The tags that a file marks as not being Danbooru's."""
    return {
        name for line in re.findall(r"^# not Danbooru's own: (.*)$", text, re.MULTILINE) for name in line.split(", ")
    }


def faults(path: Path) -> list[str]:
    """Tags of a file that are no names of Danbooru, nor marked as the project's own."""
    counts, _ = danbooru()
    known = set(counts) | own_names(path.read_text())
    return sorted(tag for tag in all_tags(_read(path)) if not ALLOWED.fullmatch(tag) or tag not in known)


def changed(tmp_path: Path, old: str, new: str) -> Path:
    """A copy of the shipped file with the first occurrence of a text replaced."""
    text = SHIPPED.read_text()
    assert old in text
    path = tmp_path / "pairs.toml"
    path.write_text(text.replace(old, new, 1))
    return path


# ---- the shipped file


def test_every_tag_is_danbooru_s_or_marked() -> None:
    assert faults(SHIPPED) == []
    assert own_names(SHIPPED.read_text()) == {"open_eyes"}
    counts, aliases = danbooru()
    assert not own_names(SHIPPED.read_text()) & (set(counts) | set(aliases))
    assert set((ROOT / "data" / "avatar-tags.txt").read_text().split()) - set(counts) == {"open_eyes"}


def test_every_known_misspelling_is_found(tmp_path: Path) -> None:
    counts, aliases = danbooru()
    assert set(aliases.values()) <= set(counts) and not set(aliases) & set(counts)
    tested = 0
    for wrong, right in aliases.items():
        if f'"{right}"' in SHIPPED.read_text():
            copy = tmp_path / "pairs.toml"
            copy.write_text(SHIPPED.read_text().replace(f'"{right}"', f'"{wrong}"'))
            assert faults(copy) == [wrong]
            tested += 1
    assert tested >= 40
    for wrong in ("Bald", "ba ld", "baldd"):
        assert faults(changed(tmp_path, '"bald"', f'"{wrong}"')) == [wrong]
    assert faults(changed(tmp_path, "# not Danbooru's own: open_eyes", "#")) == ["open_eyes"]


def test_pairs_and_groups_are_many_and_apart() -> None:
    known = TagRelations.load()
    assert len(known.pairs) + len(known.groups) >= 60
    paired = Counter(tag for pair in known.pairs for tag in (pair.positive, pair.negative))
    grouped = Counter(tag for tags in known.groups.values() for tag in tags)
    assert set(paired.values()) == {1} and set(grouped.values()) == {1}
    home = {tag: name for name, tags in known.groups.items() for tag in tags}
    assert all(home.get(pair.positive) == home.get(pair.negative) for pair in known.pairs)
    assert min(map(len, known.groups.values())) >= 2
    content = tomllib.loads(SHIPPED.read_text())
    assert len(content["pair"]) == len(known.pairs) and len(content["groups"]) == len(known.groups)


def test_an_opposite_s_opposite_is_the_tag_itself() -> None:
    known = TagRelations.load()
    for tag in all_tags(known):
        pair = known.opposite_of(tag)
        if pair is None:
            continue
        back = known.opposite_of(pair.negative)
        assert pair.positive == tag and back == TagPair(pair.negative, tag, pair.ratio)
        assert pair.ratio == -1 / 3
        assert set(known.group_of(tag)) == set(known.group_of(pair.negative)) >= {tag, pair.negative}
    assert known.opposite_of("smile") == TagPair("smile", "frown", -1 / 3)
    assert known.opposite_of("1girl") == TagPair("1girl", "1boy", -1 / 3)
    assert known.opposite_of("red_hair") is None and known.opposite_of("unheard_of") is None


@pytest.mark.parametrize(
    ("together", "why"),
    [
        (("long_hair", "short_hair", "medium_hair", "bald", "very_long_hair"), "lengths"),
        (("ponytail", "twintails"), "tails"),
        (("cat_ears", "rabbit_ears", "pointy_ears"), "kinds of ears"),
        (("portrait", "upper_body", "cowboy_shot", "full_body"), "sizes of the figure"),
        (("day", "night"), "times of day"),
    ],
)
def test_what_excludes_each_other_is_one_group(together: tuple[str, ...], why: str) -> None:
    known = TagRelations.load()
    assert len({known.group_of(tag) for tag in together}) == 1, why


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("braid", "ponytail"), ("hair_bun", "twintails"), ("blush", "smile"), ("angry", "frown"), ("glasses", "hat"),
        ("looking_up", "looking_at_viewer"), ("white_background", "simple_background"), ("mustache", "beard"),
        ("1girl", "solo"), ("open_mouth", "smile"), ("closed_eyes", "smile"), ("dark_skin", "blush"),
        ("1girl", "2boys"), ("from_above", "from_side"), ("teeth", "open_mouth"), ("animal_ears", "cat_ears"),
    ],
)  # fmt: skip
def test_what_goes_together_is_not_one_group(one: str, other: str) -> None:
    known = TagRelations.load()
    assert other not in known.group_of(one) and one not in known.group_of(other)


def test_groups_of_the_shipped_directions_are_as_they_were_measured() -> None:
    """A tag of the bundled tagger excludes these of its tags; side effects are counted over the rest."""
    tags = (ROOT / "data" / "avatar-tags.txt").read_text().split()
    known = TagRelations.load()
    groups = {frozenset(known.group_of(tag)) & frozenset(tags) for tag in tags}
    hair = {f"{c}_hair" for c in "black brown blonde red grey green blue pink purple orange".split()}
    grounds = {f"{c}_background" for c in "blue white grey pink yellow green".split()}
    assert {group for group in groups if len(group) > 1} == {
        frozenset(group)
        for group in (
            hair, grounds, {"long_hair", "short_hair", "bald"}, {"open_mouth", "closed_mouth"}, {"smile", "frown"},
            {"closed_eyes", "open_eyes", "half-closed_eyes", "one_eye_closed"}, {"glasses", "sunglasses"},
            {"ponytail", "twintails"},
        )
    }  # fmt: skip


# ---- what is related


def bundled(tags: tuple[str, ...]) -> set[str]:
    return set(tags) & set((ROOT / "data" / "avatar-tags.txt").read_text().split())


TIED = {"ponytail", "twintails", "braid", "hair_bun", "hair_flower"}
LENGTHS = {"long_hair", "short_hair", "bald"}
COLORS = {f"{c}_hair" for c in "black brown blonde red grey green blue pink purple orange".split()}
MOUTH = {"open_mouth", "closed_mouth", "smile", "frown", "teeth", "tongue_out", "lipstick"}
EYES = {"closed_eyes", "open_eyes", "half-closed_eyes", "one_eye_closed"}


@pytest.mark.parametrize(
    ("tags", "related"),
    [
        (LENGTHS | TIED, LENGTHS | TIED), (COLORS, COLORS), (MOUTH, MOUTH), (EYES, EYES),
        ({"glasses", "sunglasses"}, {"glasses", "sunglasses"}), ({"earrings"}, {"earrings"}), ({"blush"}, {"blush"}),
    ],
)  # fmt: skip
def test_what_may_change_with_a_tag_of_the_bundled_tagger(tags: set[str], related: set[str]) -> None:
    """Of any tag of such a set, members of the group or not, all of it and nothing else."""
    known = TagRelations.load()
    for tag in tags:
        assert bundled(known.related_to(tag)) == related, tag
        assert set(known.group_of(tag)) <= set(known.related_to(tag)), tag
        assert len(set(known.related_to(tag))) == len(known.related_to(tag)), tag


def test_related_goes_one_step_and_both_ways() -> None:
    known = TagRelations(
        groups={"a": ("a1", "a2"), "b": ("b1", "b2"), "c": ("c1", "c2")},
        related={"a": ("x", "b1"), "b": ("b1", "y", "z"), "c": ()},
    )
    assert known.related_to("a1") == ("a1", "a2", "x", "b1")
    assert known.related_to("x") == ("x", "a1", "a2", "b1")
    assert known.related_to("b2") == ("b1", "b2", "y", "z")
    assert known.related_to("b1") == ("b1", "b2", "a1", "a2", "x", "y", "z")  # stands in both
    assert known.related_to("y") == ("y", "b1", "b2", "z")  # not a's, which b1 is related to as well
    assert known.related_to("c1") == ("c1", "c2") and known.related_to("unheard_of") == ("unheard_of",)
    assert known.tags == ("a1", "a2", "b1", "b2", "c1", "c2", "x", "y", "z")
    all_of = {tag: set(known.related_to(tag)) for tag in known.tags}
    assert all((one in all_of[other]) == (other in all_of[one]) for one in all_of for other in all_of)


def test_a_group_that_is_named_is_the_widened_one() -> None:
    known = TagRelations.load()
    assert bundled(known.named("mouth")) == MOUTH and "parted_lips" in known.named("mouth")
    assert bundled(known.named("hair_length")) == LENGTHS | TIED
    assert known.named("tied_hair") == known.groups["tied_hair"]  # nothing is related to it
    assert known.named("hair") == (*known.named("hair_length"), *known.named("hair_color"))
    mine = TagRelations(groups={"hair": ("wig", "cap")}, related={"hair": ("bow",)})
    assert mine.named("hair") == ("wig", "cap", "bow")
    for name, message in (
        ("hair_lenght", "unknown group 'hair_lenght'; did you mean hair_length"),
        ("smile", "unknown group 'smile'; .*known: .*, hair, hair_color, hair_length"),
    ):
        with pytest.raises(UnknownNameError, match=message):
            known.named(name)
    with pytest.raises(UnknownNameError, match="unknown group 'hair'; .*known: eyes$"):
        TagRelations(groups={"eyes": ("a", "b")}).named("hair")


def test_a_users_related_list_has_the_last_word(tmp_path: Path) -> None:
    ours = TagRelations.load()
    known = loaded(tmp_path, "[related]\nmouth = ['open_mouth', 'blush']\nhats = ['hair_flower']\n")
    assert set(known.related_to("open_mouth")) == {"open_mouth", "closed_mouth", "parted_lips", "blush"}
    assert known.related_to("smile") == ours.group_of("smile")
    assert "beret" in known.related_to("hair_flower") and "long_hair" in known.related_to("hair_flower")
    assert known.groups == ours.groups and known.pairs == ours.pairs
    assert known.related_to("closed_eyes") == ours.related_to("closed_eyes")


def test_a_users_group_comes_without_the_shipped_related_list(tmp_path: Path) -> None:
    group = "[groups]\neyes = ['closed_eyes', 'open_eyes']\n"
    known = loaded(tmp_path, group)
    assert known.related_to("closed_eyes") == ("closed_eyes", "open_eyes") == known.named("eyes")
    assert known.related_to("one_eye_closed") == ("one_eye_closed",)
    known = loaded(tmp_path, f"{group}[related]\neyes = ['wink']\n")
    assert known.related_to("wink") == ("wink", "closed_eyes", "open_eyes")
    assert loaded(tmp_path, "[groups]\nhead = ['hat', 'crown']\n").related == TagRelations.load().related


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"medium_hair", ', '"medium_hair", "smile", ', "'smile' is in group 'hair_length' and again in 'expression'"),
        ('"medium_hair", ', '"medium_hair", "bald", ', "'bald' is in group 'hair_length' and again in 'hair_length'"),
        ('negative = "frown"', 'negative = "happy"', "'smile', 'happy' needs one group .* 'expression' and 'emotion'"),
        ('negative = "frown"', 'negative = "braid"', "'smile', 'braid' needs one group .* 'expression' and none"),
        ('negative = "frown"', 'negative = "pout"\n[[pair]]\npositive = "grin"\nnegative = "pout"', "'pout' is in two"),
        ("[[pair]]", '[[pair]]\npositive = "long_hair"\nnegative = "short_hair"\n[[pair]]', "'long_hair' is in two"),
        ('negative = "frown"', 'negative = "smile"', "its own opposite"),
    ],
)
def test_a_copy_that_breaks_a_rule_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = changed(tmp_path, old, new)
    with pytest.raises(LatentEditError, match=message) as caught:
        TagRelations.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


# ---- a user's file


def loaded(tmp_path: Path, text: str) -> TagRelations:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return TagRelations.load(path)


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert loaded(tmp_path, "") == TagRelations.load() == loaded(tmp_path, SHIPPED.read_text())


def test_a_users_pair_keeps_the_group_that_holds_both(tmp_path: Path) -> None:
    known = loaded(tmp_path, '[[pair]]\npositive = "red_hair"\nnegative = "black_hair"\nratio = -1\n')
    assert known.opposite_of("black_hair") == TagPair("black_hair", "red_hair", -1.0)
    assert known.group_of("red_hair") == TagRelations.load().group_of("red_hair")
    assert len(known.pairs) == len(TagRelations.load().pairs) + 1


def test_a_users_pair_and_group_have_the_last_word(tmp_path: Path) -> None:
    pair = '[[pair]]\npositive = "open_mouth"\nnegative = "pout"\nratio = -0.5\n'
    known = loaded(tmp_path, f'{pair}[groups]\nmouth = ["open_mouth", "pout"]\n')
    assert known.opposite_of("pout") == TagPair("pout", "open_mouth", -0.5)
    assert known.group_of("pout") == ("open_mouth", "pout") and "pout" not in known.group_of("grin")
    assert known.opposite_of("closed_mouth") is None and known.group_of("closed_mouth") == ("closed_mouth",)
    assert known.opposite_of("long_hair") is not None
    new = loaded(tmp_path, '[[pair]]\npositive = "wings"\nnegative = "tail"\n')
    assert new.group_of("tail") == ("tail", "wings") and new.group_of("unheard_of") == ("unheard_of",)


def test_a_users_pair_across_shipped_groups_leaves_them(tmp_path: Path) -> None:
    known = loaded(tmp_path, '[[pair]]\npositive = "smile"\nnegative = "angry"\n')
    assert known.opposite_of("angry") == TagPair("angry", "smile", -1 / 3)
    assert known.group_of("smile") == ("smile", "angry")
    assert known.opposite_of("frown") is None
    assert "frown" in known.group_of("grin") and "smile" not in known.group_of("grin")
    assert "sad" in known.group_of("happy") and "angry" not in known.group_of("happy")


def test_a_users_group_takes_tags_and_the_pairs_it_tears_apart(tmp_path: Path) -> None:
    known = loaded(tmp_path, '[groups]\nbright = ["smile", "happy", "sad"]\nhats = ["fez", "cap"]\n')
    assert known.group_of("smile") == ("smile", "happy", "sad")
    assert known.opposite_of("smile") is None and known.opposite_of("frown") is None  # frown is elsewhere
    assert known.opposite_of("happy") == TagPair("happy", "sad", -1 / 3)  # both moved
    assert known.group_of("fez") == ("fez", "cap") and known.group_of("beret") == ("beret",)
    assert known.opposite_of("hat") is not None


def test_a_users_group_of_one_end_of_an_ungrouped_pair(tmp_path: Path) -> None:
    known = loaded(tmp_path, '[groups]\nhead = ["hat", "crown"]\n')
    assert known.opposite_of("hat") is None and known.group_of("hat") == ("hat", "crown")


def test_user_and_shipped_never_contradict_each_other(tmp_path: Path) -> None:
    """Any pair of shipped tags, alone or in a group with a third, can be a user's."""
    tags = sorted(all_tags(TagRelations.load()))
    for one, other, third in zip(tags, tags[7:], tags[100:], strict=False):
        pair = f"[[pair]]\npositive = '{one}'\nnegative = '{other}'\n"
        known = loaded(tmp_path, pair)
        assert known.opposite_of(one) == TagPair(one, other) and {one, other} <= set(known.group_of(other))
        known = loaded(tmp_path, f"{pair}[groups]\nmine = ['{one}', '{other}', '{third}']\n")
        assert known.group_of(third) == (one, other, third)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"pair = 3", "must be a list"),
        (b"[[pair]]\npositive = 'a'", "write positive and negative"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nrate = 1", "write positive and negative"),
        (b"[[pair]]\npositive = 'a'\nnegative = 3", "negative is 3; write a tag in quotes"),
        (b"[[pair]]\npositive = 'a'\nnegative = ''", "write a tag in quotes"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nratio = true", "must be a number"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nratio = 'x'", "must be a number"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nratio = nan", "not a finite number"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nratio = inf", "not a finite number"),
        (b"[[pair]]\npositive = 'a'\nnegative = 'b'\nratio = 1" + b"0" * 400, "too large"),
        (b"[groups]\ng = 'a'", "must be a list"),
        (b"[groups]\ng = [1]", "write a tag in quotes"),
        (b"[groups]\n\"g\\nh\" = ['a', 'b']\n[[pair]]\npositive = 'a'\nnegative = 'c'", "one group for both"),
        (b"related = 3", r"\[related\] is 3; it must be a table"),
        (b"[related]\nmouth = 'smile'", "related 'mouth' is 'smile'; it must be a list"),
        (b"[related]\nmouth = [['smile']]", "a tag of related 'mouth' is .*; write a tag in quotes"),
        (b"[related]\nmouth = ['smile', '']", "write a tag in quotes"),
        (b"[related]\nmouth = ['smile', 'teeth', 'smile']", "'smile' is twice among those related to 'mouth'"),
        (b"[related]\nmouht = ['smile']", "unknown group to which tags are related 'mouht'; did you mean mouth"),
        (b"[groups]\n\"g\\nh\" = ['a', 'b']\n[related]\nwings = ['a']", "related 'wings'; did you mean"),
        (b"[[pairs]]\npositive = 'a'", "unknown key 'pairs'; known: pair, groups, related"),
        (b"= nonsense", "cannot be read as TOML"),
        (b"\xff\xfe[", "is not UTF-16-LE; save it as UTF-8"),
        (b"a = " + b"[" * 100_000, "cannot be read as TOML"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(LatentEditError, match=message) as caught:
        TagRelations.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "absent.toml", "there is no such file"), (tmp_path, "cannot be read")):
        with pytest.raises(DamagedFileError, match=why) as caught:
            TagRelations.load(path)
        assert "\n" not in str(caught.value)
