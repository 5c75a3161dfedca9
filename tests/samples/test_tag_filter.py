"""Which tags are fitted."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

import pytest
from places import FIXTURES, ROOT

from latentedit.directions.pairs import TagRelations
from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.samples.tag_filter import DROPPED, dropped_by, select_tags

OF_OLDER_LISTS = {"face", "frame"}  # halcy's list has them, Danbooru of today has not
COUNTS = {
    "rare": 5, "hair": 10, "smile": 750, "common": 751, "portrait": 300, "rating:safe": 300, "rating:explicit": 2,
    "english_text": 20, "chinese_text": 30, "never": 0,
}  # fmt: skip


def danbooru_tags() -> set[str]:
    lines = (FIXTURES / "danbooru_tags.csv").read_text().splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    return {row["name"] for row in rows if not row["alias_of"]}


def test_the_tag_filter() -> None:
    assert select_tags(COUNTS, 1000) == ("hair", "smile")
    assert select_tags(COUNTS, 1000, high=1.0) == ("hair", "smile", "common")
    assert select_tags(COUNTS, 1000, tags=["rating:safe", "never", "rare"]) == ("rating:safe", "never", "rare")
    with pytest.raises(UnknownNameError, match="did you mean smile"):
        select_tags(COUNTS, 1000, tags=["smiles"])
    with pytest.raises(LatentEditError, match=r"9 tags were seen on 1000 rows, none on 0\.2 to 0\.25 of them; sample"):
        select_tags(COUNTS, 1000, low=0.2, high=0.25)
    for bad in ("hair", []):
        with pytest.raises(LatentEditError, match="list of tags"):
            select_tags(COUNTS, 1000, tags=bad)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        ((), ("hair", "smile")),
        (["portrait"], ("hair", "smile", "portrait")),
        ({"rating:"}, ("hair", "smile", "rating:safe")),  # rating:explicit stays too rare
        (("rating:*",), ("hair", "smile", "rating:safe")),
        (["rating:safe"], ("hair", "smile", "rating:safe")),
        (["english_text"], ("hair", "smile", "english_text")),
        (["_text"], ("hair", "smile", "english_text", "chinese_text")),
        (["*_text", "portrait"], ("hair", "smile", "portrait", "english_text", "chinese_text")),
        (["smile", "rare", "common"], ("hair", "smile")),  # not on the list: the shares decide, as ever
    ],
)
def test_kept_tags_are_off_the_list_but_not_past_the_shares(keep: list[str], expected: tuple[str, ...]) -> None:
    assert select_tags(COUNTS, 1000, keep=keep) == expected


def test_what_to_keep_must_be_known() -> None:
    with pytest.raises(UnknownNameError, match="unknown tag 'portrai'; did you mean portrait") as caught:
        select_tags(COUNTS, 1000, keep=["smile", "portrai"])
    assert "\n" not in str(caught.value)
    for unknown in ("_border", "rating", "text", "", "*"):  # no tag of these counts is of such an entry
        with pytest.raises(UnknownNameError):
            select_tags(COUNTS, 1000, keep=[unknown])
    with pytest.raises(LatentEditError, match="give a list of tags"):
        select_tags(COUNTS, 1000, keep="portrait")
    with pytest.raises(UnknownNameError, match="portrai"):
        select_tags(COUNTS, 1000, tags=["hair"], keep=["portrai"])


def test_the_message_tells_dropped_tags_from_absent_ones() -> None:
    with pytest.raises(LatentEditError, match=r"only portrait, rating:safe on 0\.3 to 0\.4 .* unless kept"):
        select_tags(COUNTS, 1000, low=0.3, high=0.4)


def test_every_entry_drops_a_tag_and_only_its_own() -> None:
    for entry in (entry for entries in DROPPED.values() for entry in entries):
        tag = entry.replace("*", "any")
        assert dropped_by(tag) == entry  # so no entry is written twice, or hidden by one with a star
        assert select_tags({tag: 50, "smile": 50}, 100) == ("smile",)
        assert select_tags({tag: 50, "smile": 50}, 100, keep=[entry]) == (tag, "smile")
        if not entry.endswith("*"):
            assert select_tags({f"{tag}_x": 50, "smile": 50}, 100) == (f"{tag}_x", "smile")
    assert [dropped_by(tag) for tag in ("rating:", "_text", "text", "borders", "portraits", "")] == [None] * 6
    assert [dropped_by(tag) for tag in ("Portrait", "english text")] == ["portrait", "*_text"]  # one tag, one spelling


def test_no_attribute_is_on_the_list() -> None:
    known = TagRelations.load()
    attributes = {tag for pair in known.pairs for tag in (pair.positive, pair.negative)}
    attributes |= {tag for tags in known.groups.values() for tag in tags}
    attributes |= set((ROOT / "data" / "avatar-tags.txt").read_text().split())
    assert {tag for tag in attributes if dropped_by(tag)} == {"portrait", "close-up"}


def misspelt(dropped: Mapping[str, tuple[str, ...]], known: set[str]) -> set[str]:
    entries = {entry for entries in dropped.values() for entry in entries}
    return {entry for entry in entries if not any(fnmatchcase(tag, entry) for tag in known)}


def test_the_list_is_in_danbooru_s_spelling() -> None:
    known = danbooru_tags() | {"rating:safe"}
    assert misspelt(DROPPED, known) == OF_OLDER_LISTS
    wrong = {"writing": ("water_mark", "signature", "*_usernames", "*_text")}
    assert misspelt(wrong, known) == {"water_mark", "*_usernames"}


def documented(text: str) -> dict[str, tuple[str, ...]]:
    section = text.split("## Tags left out before fitting")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\w+) \| (`.*`) \|$", section, re.MULTILINE)
    return {kind: tuple(re.findall(r"`([^`]+)`", tags)) for kind, tags in rows}


def test_the_readme_has_the_same_list() -> None:
    text = (ROOT / "directions" / "README.md").read_text()
    assert documented(text) == DROPPED
    assert documented(text.replace("`watermark`, ", "")) != DROPPED
