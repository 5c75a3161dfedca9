"""Cells that list tags, as captions, prompts and programs write them, to tags and scores.

Commas separate where a column has any, so that tags may hold spaces; else spaces do. Semicolons and bars separate where
they stand right behind words, and a list of JSON or Python is one. What belongs to prompts alone is taken off: weights
and brackets, ``(long hair:1.2)``; ``BREAK``; ``<lora:...>``. ``\\(`` is a bracket, and a number behind a colon a score,
``long hair: 0.93``. Whatever is not the plainest is noted in words.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Sequence

_COMMAS = re.compile("[，、]")
_OTHERS = (
    ("semicolons", re.compile(r"\w\)?;(?:\s|$)"), re.compile(r";(?=\s|$)|(?<=\w);(?=\w)")),
    ("bars", re.compile(r"\w\)?\s*\|\s*\w"), re.compile(r"\s\|\s|(?<=[\w)])\|")),
)
"""What else may separate: its name, what shows it, and where it does."""
_NETWORK = re.compile(r"<(?:lora|lyco|hypernet):[^<>]*>", re.IGNORECASE)
_BREAK = re.compile(r"\bBREAK\b")
_WEIGHT = re.compile(r":\s*\d*\.?\d+(?=[)\]}]+$)")
_SCORE = re.compile(r"(.*\w\)?)\s*:\s*(0?\.\d+|[01]\.\d+)")
_LETTERS = re.compile(r"[^\W\d_]{2}")


def listed(cells: Sequence[str], notes: list[str]) -> tuple[list[list[tuple[str, float]]], bool]:
    """Names and scores that each cell lists, and whether the names may hold spaces; notes are added."""
    if (lists := _literal(cells)) is not None:
        return [[(name.strip(), 1.0) for name in row if name.strip()] for row in lists], True
    plain = [_BREAK.sub(",", _NETWORK.sub(",", cell)) for cell in cells]
    if any(one != cell for one, cell in zip(plain, cells, strict=True)):
        notes.append("BREAK and <lora:...> of prompts are left out")
    if any(_COMMAS.search(cell) for cell in plain):
        plain = [_COMMAS.sub(",", cell) for cell in plain]
    mark = re.compile(",") if any("," in cell for cell in plain) else None
    if mark is None:
        name, mark = next(
            ((name, where) for name, shown, where in _OTHERS if any(map(shown.search, plain))), ("", None)
        )
        notes += [f"tags are separated by {name}"] if mark else []
    rows = [mark.split(cell) if mark else cell.split() for cell in plain]
    taken = [_taken(name) for row in rows for name in row]
    for what, kind in (("weights and brackets of prompts are left out", "bracket"), ("numbers are scores", "score")):
        if odd := next((f"{name!r} is {tag}" for name, tag, _, said in taken if said == kind), None):
            notes.append(f"{what}: {odd}")
    each = iter(taken)
    found = [[(tag, score) for _ in row for _, tag, score, _ in [next(each)] if tag] for row in rows]
    return found, mark is not None


def _literal(cells: Sequence[str]) -> list[list[str]] | None:
    """The lists that all cells are, in JSON's or Python's spelling; None where one is something else."""
    filled = [cell for cell in cells if cell]
    if not filled or not all(cell[0] == "[" and cell[-1] == "]" for cell in filled):
        return None
    found = []
    for cell in cells:
        try:
            one = _parsed(cell) if cell else []
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
        if not isinstance(one, list) or not all(isinstance(name, str) for name in one):
            return None
        found.append(one)
    return found


def _parsed(cell: str) -> object:
    try:
        return json.loads(cell)
    except ValueError:
        return ast.literal_eval(cell)


def _taken(name: str) -> tuple[str, str, float, str]:
    """A name as it was written, the tag it is, its score, and what was taken off: a "bracket", a "score" or nothing."""
    name = name.strip()
    tag = re.sub(r"\\([(\[{<])(.*?)\\([)\]}>])", r"\1\2\3", name)
    if tag == name and (bare := _unwrapped(name)) != name:
        return name, bare, 1.0, "bracket"
    if (found := _SCORE.fullmatch(tag)) and float(found[2]) <= 1:
        return name, found[1].strip(), float(found[2]), "score"
    return name, tag, 1.0, ""


def _unwrapped(name: str) -> str:
    """A name without the brackets and weight that prompts put around one tag or several; emoticons keep theirs."""
    bare = _WEIGHT.sub("", name)
    opening, closing = re.match(r"[(\[{]*", bare), re.search(r"[)\]}]*$", bare)
    assert opening and closing
    left, right = len(opening[0]), len(closing[0])
    inner = bare[left : len(bare) - right]
    balanced = left == right and left > 0 and not re.search(r"[()\[\]{}]", inner)
    lone = (left > 0) != (right > 0) and not re.search(r"[()\[\]{}]", inner)
    return inner.strip() if _LETTERS.search(inner) and (balanced or lone) else name
