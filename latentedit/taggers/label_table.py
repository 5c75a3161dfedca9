"""A table of labels as people save it: its encoding, its separator, its columns, and which of them names the rows.

What is taken in another way than the plainest, UTF-8 and commas, is noted in words.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.lookalikes import named, refuse_lookalike

KEYS = {"seed": "seed", "content": "content"} | dict.fromkeys(
    ("file", "filename", "file_name", "file_path", "filepath", "path", "image", "image_name", "image_path", "img_path"),
    "file",
)
"""Names of the column that says which rows are meant, and what it holds."""
INDEX = ("index", "", "unnamed:_0")
"""Names of a column that does so where no other does: pandas' index, with its name, without, and read again."""
LISTS = ("tags", "tag_string")
"""Names of a column that lists tags."""
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig", ""),
    (codecs.BOM_UTF32_LE, "utf-32", "read as UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32", "read as UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16", "read as UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16", "read as UTF-16"),
)
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_LEGACY = ("cp1252", "cp1251", "cp932", "gb18030")
"""Code pages that tables were saved in before UTF-8: Western, Cyrillic, Japanese, Chinese."""


@dataclass(frozen=True)
class Table:
    """Cells of a table.

    Attributes:
        path: of the file, for messages.
        key: "seed", "file" or "content": what the row's name is, or "index" where only the rows can tell.
        named: the column that says it, as it is called.
        columns: the other columns' names.
        rows: number of the row in the file, the row's name, and the other cells.
        notes: what was taken in another way than the plainest.
    """

    path: Path
    key: str
    named: str
    columns: tuple[str, ...]
    rows: tuple[tuple[int, str, tuple[str, ...]], ...]
    notes: list[str] = field(default_factory=list)


def read_table(path: Path, encoding: str | None = None) -> Table:
    """The table in a file.

    Args:
        path: of the file.
        encoding: of its text; None: what its first bytes say, else UTF-8.

    Raises:
        DamagedFileError: it is missing or is no table of text.
        LatentEditError: no column names the rows, or several do; two columns of one name; a row of another length.
    """
    notes: list[str] = []
    with named(path, "office", "zip"):
        text = _text(path, encoding, notes)
    lines = _lines(path, text, notes)
    header = [name.strip() for name in lines[0][1]] if lines else []
    while len(header) > 1 and not header[-1] and not any("".join(cells[len(header) - 1 :]) for _, cells in lines[1:]):
        header.pop()  # what spreadsheets leave of columns that were once there
    place, key, spare = _find_key(path, header, notes)
    kept = [i for i in range(len(header)) if i != place and i not in spare]
    columns = tuple(header[i] for i in kept)
    _check_columns(path, header[place], columns)
    # Where tags come last, what stands beyond the header is of the list, whose commas nobody put in quotes.
    loose = len(columns) == 1 and _plain(columns[0]) in LISTS and kept[-1] == len(header) - 1
    rows = []
    for number, cells in lines[1:]:
        if not any(cells):
            continue
        if loose and len(cells) > len(header):
            cells = [*cells[: len(header) - 1], ", ".join(cells[len(header) - 1 :])]
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise LatentEditError(f"{path}, row {number}: {len(cells)} cells where the header has {len(header)}")
        rows.append((number, cells[place], tuple(cells[i] for i in kept)))
    return Table(path, key, header[place] or "the first column", columns, tuple(rows), notes)


def _text(path: Path, encoding: str | None, notes: list[str]) -> str:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedFileError(f"no labels at {path}; it is a table with a header") from error
    except OSError as error:
        raise DamagedFileError(f"{path}: cannot be read as a CSV table ({error.strerror or error})") from error
    refuse_lookalike(path, raw)
    if what := _other(raw):
        raise DamagedFileError(f"{path}: cannot be read as a CSV table, it is {what}")
    for mark, name, note in _MARKS:
        if encoding is None and raw.startswith(mark):
            encoding = name
            notes += [note] if note else []
    try:
        text = raw.decode(encoding or "utf-8").removeprefix("\ufeff")
    except LookupError as error:
        raise LatentEditError(
            f"csv: there is no encoding {encoding!r}; utf-8, utf-16, cp1252, cp932 are some"
        ) from error
    except UnicodeDecodeError as error:
        what = f"in {encoding}" if encoding else "in UTF-8"
        raise DamagedFileError(f"{path}: cannot be read as a CSV table {what}{_legacy(path, raw, error)}") from error
    if "\0" in text:
        end = "be" if raw[0::2].count(0) > raw[1::2].count(0) else "le"
        wide = max(raw[0::2].count(0), raw[1::2].count(0)) > len(raw) // 4
        advice = f"perhaps it is UTF-16: csv:{path}?encoding=utf-16-{end}" if wide else "save it again as CSV (UTF-8)"
        raise DamagedFileError(f"{path}: cannot be read as a CSV table, it holds zero bytes; {advice}")
    return text


_SAVE = "save it as CSV (UTF-8)"
_KINDS = (
    (rb"PK\x03\x04|\xd0\xcf\x11\xe0", f"a workbook; {_SAVE}"),
    (rb"PAR1", f"Parquet; {_SAVE}"),
    (rb"SQLite format 3", f"a database of SQLite; {_SAVE}"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "compressed; unpack it and name what is inside"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP|\x93NUMPY|\x80[\x02-\x05]|\x89HDF|%PDF", "no text"),
    (rb"<[!?a-zA-Z]", f"a web page or XML; download the table itself, or {_SAVE}"),
    (rb"\{\\rtf", f"a document (RTF); {_SAVE}"),
    (rb"[{\[]\s*[\[{\"\]}]", f"JSON; {_SAVE}, with a header and a row each"),
    (rb"\|[^\n]*\n\s*\|[ :|-]+\n", f"a table of Markdown; {_SAVE}"),
)


def _other(raw: bytes) -> str:
    """What a file is that is no table, by its first bytes, and what to do; "" where it may be one."""
    head = raw[:4096].removeprefix(codecs.BOM_UTF8).lstrip().replace(b"\r", b"")
    return next((said for pattern, said in _KINDS if re.match(pattern, head)), "")


def _legacy(path: Path, raw: bytes, error: UnicodeDecodeError) -> str:
    """What the first word that is not UTF-8 says in code pages of old, and what to write."""
    words = re.compile(rb"[^\s,;\"]*").finditer(raw)
    word = next((w[0] for w in words if w.start() <= error.start < w.end()), raw[error.start : error.end])
    readings = []
    for page in _LEGACY:
        try:
            readings.append((page, word.decode(page)))
        except UnicodeDecodeError:
            continue
    if not readings or b"\0" in raw:
        return f" ({error.reason}); save it as CSV (UTF-8)"
    shown = ", ".join(f"{text!r} in {page}" for page, text in readings)
    return (
        f" but perhaps in a legacy code page: a word of it is {shown}; "
        f"name the one, as in csv:{path}?encoding={readings[0][0]}, or save it as CSV (UTF-8)"
    )


def _lines(path: Path, text: str, notes: list[str]) -> list[tuple[int, list[str]]]:
    """Numbers and stripped cells of all lines, the header first, with the separator whose header names the rows."""
    lines = list(io.StringIO(text, newline=""))
    first = 0
    known = list(_SEPARATORS)
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first < len(lines) and (stated := re.fullmatch(r'\s*"?sep=(.)"?\s*', lines[first])):  # Excel's own line
        first, known = first + 1, [stated[1]]
    headers = {mark: _header(lines[first:], mark) for mark in known}
    by_key = [mark for mark in known if not set(KEYS).isdisjoint(map(_plain, headers[mark]))]
    mark = (by_key or sorted(known, key=lambda mark: -len(headers[mark])))[0]
    if mark != ",":
        notes.append(f"cells are separated by {_SEPARATORS.get(mark, repr(mark))}")
    found: list[tuple[int, list[str]]] = []
    try:
        for row in _rows(lines[first:], mark):
            found.append((first + 1 + len(found), row))
    except csv.Error as error:
        row_number = first + 1 + len(found)
        reason = "a quote that is never closed" if "end of data" in str(error) else str(error)
        raise DamagedFileError(f"{path}, row {row_number}: cannot be read as a CSV table ({reason})") from error
    return found


def _rows(lines: list[str], separator: str) -> Iterator[list[str]]:
    for row in csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True):
        yield [cell.strip() for cell in row]


def _header(lines: list[str], separator: str) -> list[str]:
    try:
        return next(_rows(lines, separator), [])
    except csv.Error:  # quotes that end where this separator does not stand
        return []


def _plain(name: str) -> str:
    return name.strip().lower().replace(" ", "_")


def _find_key(path: Path, header: list[str], notes: list[str]) -> tuple[int, str, list[int]]:
    """Place and kind of the column that names the rows, and places of columns that only count them."""
    found = [i for i, name in enumerate(header) if _plain(name) in KEYS]
    spare = [i for name in INDEX for i, other in enumerate(header) if _plain(other) == name and (name or i == 0)]
    if len(found) == 1:
        if spare:
            names = " and ".join(header[i] or "the first column" for i in spare)
            notes.append(f"{names} is left out beside {header[found[0]]}")
        return found[0], KEYS[_plain(header[found[0]])], spare
    if found or not spare or len(header) < 2:
        raise LatentEditError(
            f"{path}: its first line is {','.join(header)[:80]!r}; it must have one column seed, file or content "
            "(a file's may be called filename or image, and the first column nothing, or index), and between columns "
            "commas, semicolons, tabs or bars"
        )
    return spare[0], "index", spare


def _check_columns(path: Path, named: str, columns: tuple[str, ...]) -> None:
    shown = ",".join((named, *columns))[:80]
    if len({*columns, named}) != len(columns) + 1 or "" in columns:
        raise LatentEditError(f"{path}: two columns have the same name, or one has none: {shown!r}")
    if not columns:
        raise LatentEditError(f"{path}: it has no tags; add a column tags, or one column a tag")
    if not set(LISTS).isdisjoint(map(_plain, columns)) and len(columns) > 1:
        raise LatentEditError(f"{path}: beside a column tags there is only {named}; it has {shown!r}")
