"""Label tables as people and programs save them: what lists hold, what files are, which pictures names mean."""

from __future__ import annotations

import csv
import io
import random
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from toy import ToyGenerator, ToyTranslator

from latentedit.errors import LatentEditError
from latentedit.samples.sampling import sample
from latentedit.samples.tagging import tag
from latentedit.taggers import load_tagger
from latentedit.taggers.label_names import meant_pictures
from latentedit.taggers.labels import Labeller


def read(file: Path, options: str = "") -> tuple[Labeller, str]:
    """The labels of a file, and what was said."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tagger = load_tagger(f"csv:{file}{options}")
    assert isinstance(tagger, Labeller)
    return tagger, " ".join(str(one.message) for one in caught)


@pytest.mark.parametrize(
    ("cell", "expected", "said"),
    [
        ("1girl, long hair,", {"1girl": 1, "long_hair": 1}, "underscores"),
        ("1girl,, smile , ", {"1girl": 1, "smile": 1}, None),
        (r"miku \(vocaloid\), \||/, \o/", {"miku_(vocaloid)": 1, r"\||/": 1, r"\o/": 1}, "underscores"),
        ("1girl, (long hair:1.2), ((smile)), [hat]", {"1girl": 1, "long_hair": 1, "smile": 1, "hat": 1}, "brackets"),
        ("(long hair, smile:1.2), :), (9), o_o", {"long_hair": 1, "smile": 1, ":)": 1, "(9)": 1, "o_o": 1}, "brackets"),
        ("1girl BREAK smile, <lora:some:0.8>, hat", {"1girl": 1, "smile": 1, "hat": 1}, "BREAK"),
        ("1girl: 0.98, long hair: 0.25", {"1girl": 0.98, "long_hair": 0.25}, "numbers are scores"),
        ('["1girl", "long hair"]', {"1girl": 1, "long_hair": 1}, "underscores"),
        ("['1girl', \"don't\"]", {"1girl": 1, "don't": 1}, None),
        ("1girl; long hair; ;)", {"1girl": 1, "long_hair": 1, ";)": 1}, "semicolons"),
        ("1girl|long hair", {"1girl": 1, "long_hair": 1}, "bars"),
        ("1girl、長い髪，smile", {"1girl": 1, "長い髪": 1, "smile": 1}, None),
        (r"smile ;) \||/ :d :D", {"smile": 1, ";)": 1, r"\||/": 1, ":d": 1, ":D": 1}, None),
        ("Smile, smile, long_hair, Long Hair", {"Smile": 1, "long_hair": 1}, "Long Hair"),
    ],
)  # fmt: skip
def test_lists_as_people_write_them(tmp_path: Path, cell: str, expected: dict[str, float], said: str | None) -> None:
    with (tmp_path / "l.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["seed", "tags"], ["3", cell]])
    tagger, notes = read(tmp_path / "l.csv")
    found = dict(zip(tagger.tags, tagger.label_rows(np.array([3]), None)[0].tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert (said in notes) if said else not notes


@pytest.mark.parametrize(
    ("text", "tags", "said"),
    [
        ("seed,tags\n3,1girl, long hair\n4,1girl\n", ("1girl", "long_hair"), "underscores"),
        ("seed|a|b\n3|1|0\n", ("a", "b"), "bars"),
        ('"sep=;"\nseed;a\n3;1\n', ("a",), "semicolons"),
        ("\n\nseed,a\n3.0,1.0\n3.0,1.0\n", ("a",), "1 row says again"),
        ("seed,a\n3,50%\n4,100 %\n", ("a",), None),
        ("seed,a\n3,WAHR\n4,FALSCH\n", ("a",), "wahr is yes in a"),
        ("path,tag_string\nx/img%203.png,a b\n", ("a", "b"), "img%203.png is seed 3"),
        ("seed ,Long Hair \r3,1\r", ("Long_Hair",), "underscores"),
    ],
)
def test_tables_of_other_habits(tmp_path: Path, text: str, tags: tuple[str, ...], said: str | None) -> None:
    (tmp_path / "l.csv").write_bytes(text.encode())
    tagger, notes = read(tmp_path / "l.csv")
    assert tagger.tags == tags and tagger.label_rows(np.array([3]), None)[0, 0] in (0.5, 1)
    assert (said in notes) if said else not notes


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PAR1....", "it is Parquet"),
        (b'{"seed": 0}\n', "it is JSON"),
        (b'[{"seed": 0}]', "it is JSON"),
        (b"\xef\xbb\xbf<!DOCTYPE html>", "a web page"),
        (b"<table><tr>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer"),
        (b"\x1f\x8b\x08..", "it is compressed"),
        (b"\x89PNG\r\n\x1a\n", "it is no text"),
        (b"| seed | a |\r\n|---|---|\r\n| 0 | 1 |\r\n", "a table of Markdown"),
        ("seed,a\n0,1\n".encode("utf-16-be"), "encoding=utf-16-be"),
        (b"seed,a\n0,1\0\n", "zero bytes; save it again"),
        (b'seed,tags\n0,a\n1,"b\n', "row 3: .* never closed"),
        (b"seed,caption\n0,\"1girl, hat\"\n1,b\n", "'caption' seems to list tags.*call it tags"),
        (b"seed,Long Hair,long_hair\n0,1,1\n", "two columns are the tag"),
    ],
)  # fmt: skip
def test_what_is_no_such_table_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "l.csv").write_bytes(content)
    with pytest.raises(LatentEditError, match=words) as caught:
        read(tmp_path / "l.csv")
    assert "\n" not in str(caught.value)


def test_which_pictures_names_mean() -> None:
    wide, narrow = "é.png", unicodedata.normalize("NFD", "é.png")
    assert wide != narrow and meant_pictures([wide], [narrow]) == {wide: narrow}
    pictures = ["a/b.png", "c d.PNG", "e.png"]
    for name, meant in {
        "b.png": "a/b.png", "./a\\b.png": "a/b.png", "C:\\x\\B.png": "a/b.png", "c%20d.png": "c d.PNG", "x.png": None,
    }.items():  # fmt: skip
        assert meant_pictures([name, "e.png"], pictures) == ({name: meant} if meant else {}) | {"e.png": "e.png"}
    assert meant_pictures(["a.png", "A.png"], ["A.png", "a.png"]) == {"a.png": "a.png", "A.png": "A.png"}
    with pytest.raises(LatentEditError, match="may be 'x/a.png' or 'y/a.png'; write the whole name"):
        meant_pictures(["a.png"], ["x/a.png", "y/a.png"])
    with pytest.raises(LatentEditError, match="are both 'a.png'; keep one"):
        meant_pictures([".\\a.png", "./a.png"], ["a.png"])


def test_content_pictures_may_be_named_as_files(tmp_path: Path) -> None:
    folder = tmp_path / "contents"
    folder.mkdir()
    for i, name in enumerate((unicodedata.normalize("NFD", "é.png"), "b.png")):
        Image.fromarray(np.full((16, 16, 3), 90 * i, np.uint8)).save(folder / name)
    run = sample(ToyTranslator(), tmp_path / "run", n=4, contents=folder, styles_per_content=2)
    (tmp_path / "l.csv").write_text("file,smile\né.png,1\nB.PNG,0\n", encoding="utf-8")
    tagger, said = read(tmp_path / "l.csv")
    assert "file holds names of content pictures" in said
    tagged = tag(run, ToyTranslator(), tagger)
    np.testing.assert_array_equal(tagged.scores("smile"), [0, 0, 1, 1])
    with pytest.raises(LatentEditError, match=r"samples have none; label rows by seed.*such as 17\.png"):
        tag(sample(ToyGenerator(), tmp_path / "other", n=4), ToyGenerator(), tagger)


# ---- many tables

NAMES = ("long hair", "smile", ":d", "miku (x)", "長い髪", "don't")
DEFECTS = (*["none"] * 9, "cut", "ragged", "quote", "zero", "twice", "word", "header")


def written(random: random.Random) -> tuple[bytes, dict[int, dict[str, float]], bool]:
    """A table as some program writes it, what it says (seed → tag → score) and whether it must be read."""
    tags, seeds = random.sample(NAMES, random.randint(1, 4)), random.sample(range(50), random.randint(2, 6))
    as_list, mark = random.random() < 0.5, random.choice(",;\t|")
    truth: dict[int, dict[str, float]] = {}
    rows: list[list[str]] = []
    for i, seed in enumerate(seeds):
        values = {name: float(random.random() < 0.5 or i == 0) for name in tags}
        truth[seed] = values
        own = random.choice([str(seed), f" {seed} "])
        if as_list:
            rows.append([own, ", ".join(name for name in tags if values[name]) + ","])
        else:
            forms: dict[float, Any] = {0.0: ["0", "no", "0.0", "FALSE"], 1.0: ["1", "yes", "1.0", "TRUE"]}
            rows.append([own, *(random.choice(forms[values[name]]) for name in tags)])
    header = ["seed", "tags"] if as_list else ["Seed", *tags]
    defect = random.choice(DEFECTS)
    if defect == "ragged":
        rows[1] = rows[1][:1]
    if defect == "twice":
        rows.append([rows[0][0], "other," if as_list else "0.25", *rows[0][2:]])
    if defect == "word":
        rows[1][0] = "many"
    if defect == "header":
        header[0] = "id"
    out = io.StringIO()
    end = random.choice(["\n", "\r\n", "\r"])
    quoting = random.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    csv.writer(out, delimiter=mark, lineterminator=end, quoting=quoting).writerows([header, *rows])
    text = random.choice(["", end, f"sep={mark}{end}"]) + out.getvalue()
    if defect == "quote":
        text += '9,"never closed'
    if defect == "zero":
        text += "\0"
    encoding = random.choice([*["utf-8"] * 4, "utf-8-sig", "utf-8-sig", "utf-16", "utf-16", "cp932", "utf-16-le"])
    data = text.encode(encoding)
    if defect == "cut" and len(data) > 40:
        return data[:-7], truth, False
    plain = encoding not in ("cp932", "utf-16-le") or (encoding == "cp932" and text.isascii())
    return data, truth, defect == "none" and plain


@pytest.mark.parametrize("seed", range(10))
def test_two_hundred_tables_are_read_right_or_refused_in_a_line(tmp_path: Path, seed: int) -> None:
    drawn, done = random.Random(seed), 0
    for _ in range(20):
        data, truth, must = written(drawn)
        (tmp_path / "l.csv").write_bytes(data)
        try:
            tagger, _said = read(tmp_path / "l.csv")
        except LatentEditError as error:
            assert "\n" not in str(error) and not must, (str(error), data)
            continue
        done += 1
        if must:
            scores = tagger.label_rows(np.array(list(truth)), None)
            places = {name.replace("_", " "): j for j, name in enumerate(tagger.tags)}
            assert set(places) == {name for row in truth.values() for name in row}, data
            found = {s: {n: float(row[j]) for n, j in places.items()} for s, row in zip(truth, scores, strict=True)}
            assert found == truth, data
    assert done >= 5
