"""Tables of directions as text: a row a direction, its name in a column of its own, or nowhere.

Separated by commas, semicolons or tabs, in UTF-8 or UTF-16, with headings or without. Between semicolons and tabs a
number may have a decimal comma.
"""

from __future__ import annotations

import codecs
import csv
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from latentedit.directions.statistics import Array
from latentedit.errors import DamagedFileError
from latentedit.files import decoded
from latentedit.lookalikes import refuse_lookalike

TABLES = (".csv", ".tsv")
"""How the name of a table ends."""
_NAMES = ("name", "names", "tag", "tags", "direction", "directions", "label")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_table(path: Path) -> Array | dict[str, Array]:
    """The directions of a table: names with (d,), or (k, d) where no column holds names.

    Raises:
        DamagedFileError: it is no text, its rows differ in length, a name comes twice, or a cell is no number.
    """
    rows, decimal_comma = _cells(path)
    headings = rows.pop(0) if _is_heading(rows[0]) else []
    if not rows:
        raise DamagedFileError(f"{path}: a heading and no row below it")
    names = _column_of_names(path, rows, headings)
    index = 0 if headings and names != 0 and _is_index(headings[0], [row[0] for row in rows]) else None
    if index is not None:
        warnings.warn(f"{path}: the first column counts rows, and is passed over", stacklevel=2)
    columns = [i for i in range(len(rows[0])) if i not in (names, index)]
    if not columns:
        raise DamagedFileError(f"{path}: a name in each row, and no numbers")
    numbers = np.array([[_number(path, row, i, decimal_comma) for i in columns] for row in rows])  # (k, d)
    if names is None:
        return numbers
    found: dict[str, Array] = {}
    for row, values in zip(rows, numbers, strict=True):
        if row[names] in found or not row[names]:
            raise DamagedFileError(f"{path}: {f'{row[names]!r} comes twice' if row[names] else 'a row has no name'}")
        found[row[names]] = values
    return found


def _cells(path: Path) -> tuple[list[list[str]], bool]:
    """The rows of cells, all as long, and whether a comma may be a decimal one."""
    raw = path.read_bytes()
    refuse_lookalike(path, raw)
    try:
        text = decoded(raw)
        first = next((line for line in text.splitlines() if line.strip()), "")
        separator = next((one for one in "\t;" if one in first), ",")
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=separator)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DamagedFileError(f"{path}: no table in UTF-8 or UTF-16 ({error})") from error
    rows = [row for row in rows if any(row)]
    if not rows:
        raise DamagedFileError(f"{path}: empty")
    if lengths := sorted({len(row) for row in rows} - {len(rows[0])}):
        raise DamagedFileError(f"{path}: a row of {lengths[0]} cells where the first has {len(rows[0])}")
    return rows, separator != ","


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", "."))
    except ValueError:
        return False
    return True


def _is_heading(row: Sequence[str]) -> bool:
    """Whether a first row names columns: by words or emptiness, or by counting them as pandas does."""
    rest = row[1:]
    counted = len(rest) > 2 and rest in ([str(i) for i in range(len(rest))], [str(i + 1) for i in range(len(rest))])
    named = not row[0] or any(cell.lower() in _NAMES for cell in row)
    return named or counted or not any(map(_is_number, row))


def _column_of_names(path: Path, rows: Sequence[Sequence[str]], headings: Sequence[str]) -> int | None:
    """Which column holds the names: what is headed so, else the one that is not of numbers."""
    headed = [i for i, cell in enumerate(headings) if cell.lower() in _NAMES]
    words = [i for i in range(len(rows[0])) if not any(_is_number(row[i]) for row in rows)]
    found = headed[:1] or words
    if len(found) > 1:
        called = ", ".join(headings[i] if headings else str(i + 1) for i in found[:4])
        raise DamagedFileError(f"{path}: columns {called} are no numbers; head the one with the names by 'name'")
    return found[0] if found else None


def _is_index(heading: str, cells: Sequence[str]) -> bool:
    return (heading == "" or heading.lower().startswith(("unnamed", "index"))) and cells == [
        str(i) for i in range(len(cells))
    ]


def _number(path: Path, row: Sequence[str], column: int, decimal_comma: bool) -> float:
    cell = row[column].replace(",", ".") if decimal_comma else row[column]
    try:
        return float(cell)
    except ValueError as error:
        raise DamagedFileError(f"{path}: {row[column]!r} in column {column + 1} is no number") from error
