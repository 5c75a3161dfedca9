"""What the columns of a label table say: tags, classes, categories, scores.

A column is taken by what stands in all its cells; an empty cell is a label that is not known::

    0 and 1, scores between, no and yes     one tag
    -1 and 1                                one tag, -1 is no
    whole numbers, or words                 a tag a class: digit=0, digit=1, ..., hair=red, hair=black

and a column ``tags`` lists them (:mod:`.label_lists`).
What could be meant in two ways is asked about.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from latentedit.errors import LatentEditError
from latentedit.taggers.label_lists import listed
from latentedit.taggers.label_table import LISTS, Table
from latentedit.taggers.tag_names import plain_tag, underscored

MOST_CLASSES = 20
"""Different values of a column up to which they are taken as classes without being told."""
_WORDS = {"no": 0.0, "false": 0.0, "yes": 1.0, "true": 1.0}
_NOTHING = ("nan", "na", "n/a", "#n/a", "null", "?", "-")
_PAIRS = (("n", "y"), ("f", "t"), ("off", "on"), ("nein", "ja"), ("falsch", "wahr"), ("non", "oui"), ("faux", "vrai"))
"""No and yes in other words, of columns that hold these two alone."""
_SHOWN = 3


@dataclass(frozen=True)
class Column:
    """A column: its name, the rows' numbers in the file, and the rows' cells."""

    path: Path
    name: str
    numbers: tuple[int, ...]
    cells: tuple[str, ...]

    @property
    def filled(self) -> dict[str, int]:
        """Different texts but the empty one, each with the number of the row where it is first."""
        found: dict[str, int] = {}
        for number, cell in zip(self.numbers, self.cells, strict=True):
            if cell:
                found.setdefault(cell, number)
        return found

    def ask(self, problem: str) -> LatentEditError:
        """An error that asks about the whole column."""
        return LatentEditError(f"{self.path}: column {self.name!r} {problem}")


def tags_of(table: Table, classes: Collection[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Tags, and the scores (rows, tags) float32 of a table, NaN where there is no label; notes are added to its own.

    Args:
        table: as it was read.
        classes: columns that hold classes, whatever stands in them.

    Raises:
        LatentEditError: cells that are no labels, or that could be meant in two ways.
    """
    if unknown := sorted(set(classes) - set(table.columns)):
        raise LatentEditError(
            f"{table.path}: it has no column {', '.join(unknown)} to hold classes; its columns: "
            f"{', '.join(table.columns)}"
        )
    numbers = tuple(number for number, _, _ in table.rows)
    columns = [
        Column(table.path, name, numbers, tuple(cells[i] for _, _, cells in table.rows))
        for i, name in enumerate(table.columns)
    ]
    if len(columns) == 1 and columns[0].name.lower().replace(" ", "_") in LISTS and not classes:
        return _listed(columns[0], table.notes)
    said = _Said()
    parts = [_read(column, column.name in classes, said) for column in columns]
    table.notes.extend(said.notes())
    names = [tag for tags, _ in parts for tag in tags]
    tags = tuple(_spelled(names, table.notes))
    if twice := next((tag for i, tag in enumerate(tags) if tag in tags[:i]), None):
        raise LatentEditError(f"{table.path}: two columns are the tag {twice!r}; keep one")
    values = [scores for _, scores in parts]
    return tags, np.concatenate(values, 1) if values else np.zeros((len(numbers), 0), np.float32)


class _Said:
    """What columns were taken for, gathered into few words."""

    def __init__(self) -> None:
        self.signed: list[str] = []
        self.decimal: list[str] = []
        self.empty: list[str] = []
        self.classes: list[str] = []

    def notes(self) -> list[str]:
        lines = []
        if self.signed:
            lines.append(f"-1 is no in {_some(self.signed)}")
        if self.decimal:
            lines.append(f"commas in numbers are decimal points in {_some(self.decimal)}")
        if self.empty:
            lines.append(f"{_some(self.empty)} {'are' if len(self.empty) > 1 else 'is'} left out, without any label")
        return lines + self.classes


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _read(column: Column, as_classes: bool, said: _Said) -> tuple[list[str], np.ndarray]:
    """Tags and scores (rows, tags) of one column."""
    filled = column.filled
    if not filled:
        said.empty.append(column.name)
        return [], np.zeros((len(column.cells), 0), np.float32)
    if as_classes:
        return _classes(column, said)
    for no, yes in _PAIRS:
        if {text.lower() for text in filled} == {no, yes}:
            said.classes.append(f"{yes} is yes in {column.name}")
            scores = [float(text.lower() == yes) if text else np.nan for text in column.cells]
            return [column.name], np.array(scores, np.float32)[:, None]
    values = {text: _number(text) for text in filled}
    if any("," in text for text in filled) and None not in values.values():
        said.decimal.append(column.name)
    known = {value for value in values.values() if value is not None}
    if None not in values.values():
        if known <= {-1, 1} and -1 in known:
            said.signed.append(column.name)
            values = {text: (value or 0) / 2 + 0.5 for text, value in values.items()}
        elif {-1, 0} <= known <= {-1, 0, 1}:
            raise column.ask("has -1 and 0; write 0 for no, 1 for yes, and leave a cell empty where it is not known")
        elif not all(0 <= value <= 1 for value in known):
            return _numbers_beyond(column, known, said)
        cells = [values[text] if text else np.nan for text in column.cells]
        return [column.name], np.array(cells, np.float32)[:, None]
    odd = next(text for text in filled if values[text] is None)
    wordless = [text for text in filled if text.lower() in _NOTHING or not any(map(str.isalpha, text))]
    if known or len(filled) == 1 or wordless:
        odd = next((text for text in wordless if values[text] is None), odd)
        raise _not_a_label(column, odd)
    if any(re.search(r"\w,\s*\w", text) for text in filled):
        raise column.ask(
            f"seems to list tags, as in {odd[:40]!r}; call it tags, with nothing beside it but what names the rows, or "
            f"say that it holds classes: csv:{column.path}?classes={column.name}"
        )
    if len({_word(text) for text in filled}) > MOST_CLASSES:
        raise column.ask(
            f"has {len(filled)} different texts, such as {odd[:40]!r}; leave it out, or say that it holds classes: "
            f"csv:{column.path}?classes={column.name}"
        )
    return _classes(column, said)


def _numbers_beyond(column: Column, known: set[float], said: _Said) -> tuple[list[str], np.ndarray]:
    """A column of numbers that are not all in 0 to 1: classes where they are few whole ones."""
    filled = column.filled
    outside = next(text for text in filled if not 0 <= (_number(text) or 0) <= 1)
    if len(known) < 2 or not all(value >= 0 and value == int(value) for value in known):
        raise _not_a_label(column, outside)
    if len(known) > MOST_CLASSES:
        raise column.ask(
            f"has {len(known)} whole numbers, {min(known):.0f} ... {max(known):.0f}; where they are classes, say so: "
            f"csv:{column.path}?classes={column.name}; where they are amounts, write scores between 0 and 1"
        )
    return _classes(column, said)


def _classes(column: Column, said: _Said) -> tuple[list[str], np.ndarray]:
    """A tag a class, in the order of numbers or letters."""
    names, tag = [_word(cell) for cell in column.cells], "_".join(column.name.split())
    found = sorted(set(names) - {""}, key=lambda name: (_number(name) is None, _number(name) or 0, name))
    shown = [f"{tag}={name}" for name in found]
    listed = ", ".join(shown) if len(shown) <= _SHOWN else f"{shown[0]} ... {shown[-1]}"
    said.classes.append(f"{column.name} holds {len(found)} classes ({listed})")
    known = np.array([name != "" for name in names])
    scores = np.array([[name == wanted for wanted in found] for name in names], np.float32)
    scores[~known] = np.nan
    return shown, scores


def _word(text: str) -> str:
    """Name of a class: 3 of 3.0, dark_red of "Dark red"."""
    value = _number(text)
    if value is not None and text.lower() not in _WORDS and "%" not in text and value == int(value):
        return str(int(value))
    return "_".join(text.lower().split())


def _number(text: str) -> float | None:
    """A finite number, with a decimal comma too; of no and yes 0 and 1; None of everything else."""
    if (word := _WORDS.get(text.lower())) is not None:
        return word
    if text.endswith("%"):
        part = _number(text[:-1].strip())
        return None if part is None else part / 100
    if re.fullmatch(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?", text) is None:
        return None
    if re.fullmatch(r"[+-]?[1-9]\d*,\d{3}", text):  # which may as well be thousands
        return None
    return float(text.replace(",", "."))


def _not_a_label(column: Column, text: str) -> LatentEditError:
    if text.lower() in _NOTHING:
        advice = "leave the cell empty where there is no label"
    else:
        advice = "write 0, 1 or a score between, or no or yes"
    number = column.filled[text]
    return LatentEditError(
        f"{column.path}, row {number}: {column.name!r} is {text!r}; {advice}; "
        f"of a column of classes say so: csv:{column.path}?classes={column.name}"
    )


def _listed(column: Column, notes: list[str]) -> tuple[tuple[str, ...], np.ndarray]:
    """Tags and scores (rows, tags) of a column that lists them."""
    rows, spaced = listed(column.cells, notes)
    pieces = list(dict.fromkeys(name for row in rows for name, _ in row))
    for number, row in zip(column.numbers, rows, strict=True):
        if spaced and (two := next((name for name, _ in row if " " in name and "_" in name), None)):
            raise LatentEditError(
                f"{column.path}, row {number}: {two!r} has spaces and underscores, and other rows separate tags by "
                "commas; write commas between tags in all rows"
            )
    names = dict(zip(pieces, _spelled(pieces, notes), strict=True))
    tags = tuple(dict.fromkeys(names.values()))
    if not tags:
        raise LatentEditError(f"{column.path}: it names no tag")
    place = {tag: i for i, tag in enumerate(tags)}
    scores = np.zeros((len(rows), len(tags)), np.float32)
    for i, row in enumerate(rows):
        for name, score in row:
            j = place[names[name]]
            scores[i, j] = max(scores[i, j], score)
    return tags, scores


def _spelled(names: list[str], notes: list[str]) -> list[str]:
    """Tags of names, with underscores for spaces; of names that are one tag, the first one's spelling."""
    first: dict[str, str] = {}
    tags = [first.setdefault(plain_tag(name), underscored(name)) for name in names]
    if changed := [f"{name!r} is {tag}" for name, tag in zip(names, tags, strict=True) if name != tag]:
        how = "tags have underscores for spaces" if any(" " in name for name in names) else "one tag in two spellings"
        notes.append(f"{how}: {_some(changed)}")
    return tags
