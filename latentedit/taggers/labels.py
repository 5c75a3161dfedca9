"""``csv:FILE``: labels that people gave, or any scores that were worked out elsewhere.

A table with a header. One column says which rows are meant::

    seed        the seed of a sample; index, or a first column without a name, where there is none of these
    file        name of its picture with the seed at its end: 17.png, seed-17.jpg, img_00017.png; folders do not matter;
                also called filename, path or image. Where none ends in a number they are content pictures
    content     name of a content picture (:mod:`.label_names`); its labels hold for every sample of that content

and the others say what is on them, in one of two ways::

    seed,tags                        seed,long_hair,smile,hair
    17,long_hair smile               17,1,1,red
    18,                              18,0,,black

either the tags of a row or a column a tag, a class or a category (:mod:`.label_columns`). Semicolons and tabs separate
as well, and the text is UTF-8, UTF-16 with its mark, or what ``?encoding=cp1252`` says (:mod:`.label_table`);
``?classes=age,shoe_size`` says which columns hold classes where that is not plain. Whatever is taken in another way
than the plainest is said in one line.

An empty cell is a label that is not known: the row has no part in that tag, and its part in others. Rows that the
table does not name, and rows whose cells are all empty, are left out of fits.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from latentedit.errors import LatentEditError
from latentedit.registry import check_options
from latentedit.taggers.label_columns import tags_of
from latentedit.taggers.label_names import last_part, meant_pictures
from latentedit.taggers.label_table import Table, read_table
from latentedit.taggers.showing import Shown

_OPTIONS = {"encoding": "of the text, such as cp1252", "classes": "columns that hold classes, with commas between"}
_SEED = re.compile(r"\d+(?:\.0+)?")
_NUMBERED = r"(|.*[^\d.])(\d+)"
_SHOWN = 5
Name = TypeVar("Name", int | str, str)
Labels = dict[int | str, np.ndarray]


class Labeller(Shown):
    """Labels by row; it has seen no picture, so it can tag stored samples and nothing else.

    Args:
        path: of the table, for messages.
        key: "seed" or "content".
        tags: the vocabulary.
        labels: scores (tags,) of each seed, or of each content picture's name; NaN where one is not known.
        files: names of pictures that end in these seeds, where the table has such names.
    """

    threshold = 0.5

    def __init__(self, path: Path, key: str, tags: tuple[str, ...], labels: Labels, files: Sequence[str] = ()) -> None:
        self.path, self.key, self.tags = path, key, tags
        self._labels, self._files = labels, tuple(files)
        self._meant: dict[frozenset[str], dict[str, str]] = {}  # pictures → theirs among names of the table
        digest = hashlib.sha256("\n".join((key, *tags)).encode())
        for row in sorted(labels, key=str):
            digest.update(f"{row}".encode() + labels[row].tobytes())
        self.id = f"csv:{digest.hexdigest()[:12]}"
        self.settings = {"rows": f"{len(labels)} by {key}"}

    def score(self, images: Tensor) -> Tensor:
        """Refuses: labels belong to samples, not to pictures.

        Raises:
            LatentEditError: always.
        """
        raise LatentEditError(f"{self.path} holds labels of stored samples and cannot score other pictures")

    def check_rows(self, seeds: np.ndarray, contents: Sequence[str] | None) -> None:
        """Check that some of these rows are labelled, and warn of labels of no row; arguments as of :meth:`label_rows`.

        Raises:
            LatentEditError: none is, or content pictures are named and the rows have none.
        """
        if self.key == "content" and contents is None:
            raise LatentEditError(
                f"{self.path} labels content pictures, and these samples have none; label rows by seed, or by file "
                "with the seed at the end of its name, such as 17.png or img_00017.png"
            )
        rows = self._rows(seeds, contents)
        if not any(row in self._labels for row in rows):
            theirs = sorted(self._labels, key=str)
            ours = [rows[0], rows[-1]] if self.key == "seed" or contents is None else [contents[0], contents[-1]]
            raise LatentEditError(
                f"{self.path} labels none of these samples: it has {self.key} {theirs[0]!r} ... {theirs[-1]!r}, "
                f"the samples have {ours[0]!r} ... {ours[-1]!r}"
            )

        if contents and self._files and len(meant_pictures(self._files, set(contents))) == len(self._files):
            warnings.warn(
                f"{self.path}: {self._files[0]} is seed {next(iter(self._labels))}, and a content picture is called so "
                "too; where that is meant, call the column content",
                stacklevel=2,
            )
        if strangers := sorted(set(self._labels) - set(rows), key=lambda row: (isinstance(row, str), row)):
            more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
            warnings.warn(
                f"{self.path}: {len(strangers)} of {len(self._labels)} labelled rows name no sample of this run: "
                f"{self.key} {', '.join(str(row) for row in strangers[:_SHOWN])}{more}",
                stacklevel=2,
            )

    def label_rows(self, seeds: np.ndarray, contents: Sequence[str] | None) -> np.ndarray:
        """Scores (n, tags) float32 of rows, NaN where a label is not known.

        Args:
            seeds: (n,) of the rows.
            contents: name of each row's content picture, if they have any.
        """
        nothing = np.full(len(self.tags), np.nan, np.float32)
        return np.stack([self._labels.get(row, nothing) for row in self._rows(seeds, contents)])

    def _rows(self, seeds: np.ndarray, contents: Sequence[str] | None) -> Sequence[int | str]:
        if self.key != "content" or contents is None:
            return [int(seed) for seed in seeds]
        pictures = frozenset(contents)
        if pictures not in self._meant:
            meant = meant_pictures(map(str, self._labels), pictures)
            self._meant[pictures] = {picture: name for name, picture in meant.items()}
        return [self._meant[pictures].get(name, name) for name in contents]


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> Labeller:
    """The labels in a file; warns of what is taken in another way than the plainest.

    Raises:
        DamagedFileError: it is missing or is no table of text.
        LatentEditError: a line that is not as this module says, or that could be meant in two ways.
    """
    check_options("csv", options, _OPTIONS)
    if not argument:
        raise LatentEditError("csv needs a file, as in csv:labels.csv")
    table, tags, scores = _read(Path(argument), options)
    key, names = _names(table)
    files = [cell for _, cell, _ in table.rows] if table.key == "file" and key == "seed" else []
    return Labeller(table.path, key, tags, _by_name(table, names, scores, "row"), files)


def read_named_labels(path: str | Path) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Tags, and the scores (tags,) float32 of each picture by its file name, of a table with a column ``file``.

    A score is NaN where a cell is empty. Warns of what is taken in another way than the plainest.

    Raises:
        DamagedFileError: it is missing or is no table of text.
        LatentEditError: a line that is not as this module says, or no column ``file``.
    """
    table, tags, scores = _read(Path(path), {})
    if table.key not in ("file", "index"):
        raise LatentEditError(f"{path} labels rows by {table.key}; pictures need a column file with their names")
    names = [last_part(cell) for _, cell, _ in table.rows]
    return tags, _by_name(table, names, scores, "picture")


def _by_name(table: Table, names: Sequence[Name], scores: np.ndarray, noun: str) -> dict[Name, np.ndarray]:
    """Name to scores (tags,) of the rows that have any label; says what was taken in another way than the plainest.

    Raises:
        LatentEditError: a name twice, or no label at all.
    """
    found: dict[Name, np.ndarray] = {}
    twice = 0
    for (number, cell, _), name, values in zip(table.rows, names, scores, strict=True):
        if np.isnan(values).all():
            continue
        if name in found and np.array_equal(found[name], values, equal_nan=True):
            twice += 1
            continue
        if name in found:
            raise LatentEditError(f"{table.path}, row {number}: {table.named} {cell!r} is labelled twice; keep one")
        found[name] = values
    if not found:
        raise LatentEditError(f"{table.path}: it labels no {noun}")
    if twice:
        table.notes.append(f"{twice} {'row says' if twice == 1 else 'rows say'} again what another one does")
    _say(table)
    return found


def _read(path: Path, options: dict[str, str]) -> tuple[Table, tuple[str, ...], np.ndarray]:
    table = read_table(path, options.get("encoding"))
    classes = [name.strip() for name in options.get("classes", "").split(",") if name.strip()]
    return table, *tags_of(table, classes)


def _say(table: Table) -> None:
    if table.notes:
        warnings.warn(f"{table.path}: {'; '.join(table.notes)}", stacklevel=4)


def _names(table: Table) -> tuple[str, list[int | str]]:
    """What the rows are named by, "seed" or "content", and their names."""
    cells = [cell for _, cell, _ in table.rows]
    if table.key == "content":
        return "content", list(cells)
    numbers = all(_SEED.fullmatch(cell) for cell in cells)
    if table.key == "file" and cells and not any(re.fullmatch(_NUMBERED, _stem(cell)) for cell in cells):
        table.notes.insert(0, f"{table.named} holds names of content pictures")
        return "content", list(cells)
    if table.key == "index":
        what = "the seed" if numbers else "the picture's name"
        table.notes.insert(0, f"{table.named} is {what}")
    if table.key == "seed" or numbers:
        for number, cell, _ in table.rows:
            if not _SEED.fullmatch(cell):
                raise LatentEditError(f"{table.path}, row {number}: seed is {cell!r}; it must be a whole number")
        return "seed", [int(cell.partition(".")[0]) for cell in cells]
    return "seed", list(_seeds_of_files(table))


def _seeds_of_files(table: Table) -> list[int]:
    """The seeds at the end of pictures' names; what stands before is the same wherever it holds digits too."""
    seeds: list[int] = []
    before: dict[str, str] = {}  # to the first name that begins so
    for number, cell, _ in table.rows:
        match = re.fullmatch(_NUMBERED, _stem(cell))
        if match is None:
            raise LatentEditError(
                f"{table.path}, row {number}: file is {cell!r}; it must be named by its seed, such as 17.png or "
                "img_00017.png (names of content pictures stand in a column content)"
            )
        seeds.append(int(match[2]))
        if before.setdefault(match[1], cell) == cell and len(before) > 1 and re.search(r"\d", "".join(before)):
            names = " and ".join(repr(name) for name in list(before.values())[:2])
            raise LatentEditError(
                f"{table.path}, row {number}: {names} hold several numbers; name pictures by their seed alone, "
                "such as 17.png, or give a column seed"
            )
    odd = next((i for i, (_, cell, _) in enumerate(table.rows) if cell in before.values() and _is_odd(cell)), None)
    if odd is not None:
        table.notes.insert(0, f"{table.rows[odd][1]} is seed {seeds[odd]}")
    return seeds


def _is_odd(name: str) -> bool:
    """Whether a picture is called more than seed 17."""
    return not re.fullmatch(r"(seed)?[ _-]?\d+", _stem(name), re.IGNORECASE)


def _stem(name: str) -> str:
    return PurePath(last_part(name)).stem
