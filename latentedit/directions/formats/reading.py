"""What directions a file of another project holds, as it holds them: not yet of unit length, and without σ.

**An array (k, d) says nothing about its rows.** They are k directions, or, where k is the number of the generator's
slots, what one direction adds in each slot. Where both fit, the one who asks must say which; what only one reading fits
is read so. Rows without names are called after the file: ``seven_00``, ``seven_01``, ...
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from latentedit.directions.formats.containers import Array, Held, is_numbers, numbers
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.generators.base import Generator
from latentedit.taggers.tag_names import found_tag, known_tags

Rows = Literal["directions", "slots"]
"""What the rows of an array are."""


class Raw(NamedTuple):
    """A direction as the file has it."""

    tag: str
    values: Array
    """(d,), (1, d), (layers, d) or (1, layers, d)."""
    params: dict[str, Any]


def raw_directions(
    held: Held, name: str, generator: Generator, *, tags: Sequence[str] | None, rows: Rows | None
) -> list[Raw]:
    """The directions of a file in the format of that name, those of ``tags`` where it has names.

    Raises:
        DamagedFileError: it is not of that format.
        UnknownNameError: it names no such direction.
        LatentEditError: what its rows are must be said, or is not so.
    """
    if rows not in (None, "directions", "slots"):
        raise UnknownNameError("kind of rows", str(rows), ("directions", "slots"))
    if name in _READERS:
        return _named(_READERS[name](held), tags)
    stem = held.path.stem
    if name == "named":
        held, stem = _unnamed(held)
    if name in ("named", "csv") and isinstance(held.tree, Mapping):
        return _named(_tag_dirs(held), tags)
    values = numbers(held.tree, str(held.path))
    if values.ndim < 2 or values.size == values.shape[-1]:
        return [_one(held, values, tags, stem)]
    check_size(values, generator, str(held.path))
    names = _names_of_rows(stem, len(values))
    if _kind_of_rows(held, values, generator, tags, rows, names) == "slots":
        return [_one(held, values, tags, stem)]
    return _several(held, values, tags, names)


def check_size(values: Array, generator: Generator, where: str) -> None:
    """Refuse rows of another length than codes have.

    Raises:
        LatentEditError: what came, and what is needed.
    """
    if values.shape[-1:] != (generator.dim,):
        scores = "; one number a row is a file of scores" if values.shape[-1:] == (1,) else ""
        last = values.shape[-1] if values.ndim else 0
        raise LatentEditError(
            f"{where}: directions of {last} numbers, {generator.id} has codes of {generator.dim}{scores}"
        )


def _shapes(generator: Generator) -> str:
    """The shapes of one direction of a generator, in words."""
    slots = len(generator.layers)
    return f"({generator.dim},)" + (f", or by slot ({slots}, {generator.dim})" if slots > 1 else "")


def _check_slots(rows: int, generator: Generator, where: str) -> None:
    slots = len(generator.layers)
    if rows != slots:
        has = f"{slots} slot{'s' if slots > 1 else ''}"
        raise LatentEditError(f"{where}: {rows} rows, {generator.id} has {has}; one direction is {_shapes(generator)}")


def _kind_of_rows(
    held: Held, values: Array, generator: Generator, tags: Sequence[str] | None, rows: Rows | None,
    names: Sequence[str],
) -> Rows:  # fmt: skip
    """What the rows of an array (k, d) or (k, layers, d) are, k > 1 or layers > 1; asked where both readings fit."""
    where, k, slots = held.path, len(values), len(generator.layers)
    if values.ndim == 3:
        if k > 1 and rows != "directions":
            raise LatentEditError(
                f"{where}: shape {values.shape} is that of codes; one direction is {_shapes(generator)}; "
                f"if these are {k} directions, say --as directions (rows='directions')"
            )
        return "directions" if k > 1 else "slots"
    if rows is not None:
        if rows == "slots":
            _check_slots(k, generator, str(where))
        return rows
    if tags is not None and (len(tags) == k or set(known_tags(tags, names)) <= set(names)):
        return "directions"
    if k == slots and (tags is None or len(tags) > 1):
        raise LatentEditError(
            f"{where}: shape {values.shape} is {k} directions, or one for the {k} slots of {generator.id}; "
            "say which: --as directions or --as slots (rows='directions' or 'slots')"
        )
    if k > generator.dim:
        raise LatentEditError(
            f"{where}: {k} rows of {generator.dim} numbers look like codes, for there are no more than {generator.dim} "
            "directions that differ; if they are directions, say --as directions (rows='directions')"
        )
    if k == slots and tags is not None:
        warnings.warn(f"{where}: one direction for {k} slots, as one tag was given for it", stacklevel=2)
        return "slots"
    return "directions"


def _several(held: Held, values: Array, tags: Sequence[str] | None, names: Sequence[str]) -> list[Raw]:
    """A direction a row, by tags that name all rows or choose some."""
    found = [Raw(name, values[i : i + 1], {}) for i, name in enumerate(names)]
    if tags is None:
        warnings.warn(
            f"{held.path}: {len(names)} directions without names, called {names[0]} to {names[-1]}; give a tag for "
            f"each of the {len(names)} rows to name them",
            stacklevel=2,
        )
        return found
    if set(known_tags(tags, names)) <= set(names):
        return _named(found, tags)
    if len(tags) != len(names):
        raise LatentEditError(
            f"{held.path} holds {len(names)} directions without names; give a tag for each row, not {len(tags)}, or "
            f"choose among {names[0]} to {names[-1]}"
        )
    return [raw._replace(tag=tag) for raw, tag in zip(found, tags, strict=True)]


def _names_of_rows(stem: str, k: int) -> list[str]:
    width = max(2, len(str(k - 1)))
    return [f"{stem}_{i:0{width}d}" for i in range(k)]


def _unnamed(held: Held) -> tuple[Held, str]:
    """A file of names, or the array (k, d) where its names name no direction, and what its rows are called after.

    So it is with one array of rows, and with those that ``np.savez`` numbered.
    """
    if not hasattr(held.tree, "items"):
        raise DamagedFileError(f"{held.path}: holds no names, so it is not of that format; leave it out (--from)")
    tree, stem = {name: held.tree[name] for name in held.tree}, held.path.stem
    numbered = all(re.fullmatch(r"arr_[0-9]+", str(name)) for name in tree)
    if len(tree) == 1 and is_numbers(value := next(iter(tree.values()))) and value.ndim > 1 and len(value) > 1:
        return held._replace(tree=value), stem if numbered else str(next(iter(tree)))
    if tree and numbered and all(is_numbers(value) for value in tree.values()):
        rows = [numbers(value, f"{held.path}: {name}") for name, value in tree.items()]
        if all(row.size == row.shape[-1] == rows[0].size for row in rows):
            return held._replace(tree=np.stack([row.reshape(-1) for row in rows])), stem
    return held._replace(tree=tree), stem


def _one(held: Held, values: Array, tags: Sequence[str] | None, stem: str) -> Raw:
    if tags is not None and len(tags) != 1:
        raise LatentEditError(f"{held.path} holds one direction; give one tag for it, not {len(tags)}")
    return Raw(stem if tags is None else tags[0], values, {})


def _ganspace(held: Held) -> list[Raw]:
    """``lat_comp`` (k, 1, d) and ``lat_stdev`` (k,); e4e keeps the same as ``comp`` and ``std``."""
    names = ("lat_comp", "lat_stdev") if "lat_comp" in held.tree else ("comp", "std")
    if missing := [name for name in names if name not in held.tree]:
        raise DamagedFileError(
            f"{held.path}: has no {', '.join(missing)}, so it is not GANSpace's; leave the format out (--from)"
        )
    components, deviations = (numbers(held.tree[name], f"{held.path}: {name}") for name in names)
    k, size = len(components) if components.ndim else 0, deviations.size
    if components.ndim not in (2, 3) or size != k:
        raise DamagedFileError(
            f"{held.path}: {names[0]} is {components.shape}, {names[1]} {deviations.shape}; not (k, 1, d), (k,)"
        )
    stdevs = [float(s) for s in deviations.ravel()]
    return [Raw(f"ganspace_{i:02d}", components[i], {"lat_stdev": stdevs[i]}) for i in range(k)]


def _factor(held: Held) -> list[Raw]:
    """``eigvec`` (d, k), a direction a column, in the file's order."""
    if "eigvec" not in held.tree:
        raise DamagedFileError(f"{held.path}: has no eigvec, so it is not of closed_form_factorization")
    columns = numbers(held.tree["eigvec"], f"{held.path}: eigvec")
    if columns.ndim != 2 or columns.shape[1] > columns.shape[0]:
        raise DamagedFileError(
            f"{held.path}: eigvec has shape {columns.shape}; (d, k) with directions in columns is needed"
        )
    checkpoint = held.tree.get("ckpt")
    params = {"ckpt": checkpoint} if isinstance(checkpoint, str) else {}
    return [Raw(f"factor_{i:02d}", np.ascontiguousarray(column), params) for i, column in enumerate(columns.T)]


def _tag_dirs(held: Held) -> list[Raw]:
    """Tag to array, (d,), (1, d) or (layers, d)."""
    wrong = [tag for tag, value in held.tree.items() if not isinstance(tag, str) or not is_numbers(value)]
    shapes = {tuple(value.shape) for tag, value in held.tree.items() if tag not in wrong}
    if len(shapes) > 1:
        raise DamagedFileError(
            f"{held.path}: arrays of shapes {', '.join(map(str, sorted(shapes)))}; all must be alike"
        )
    if wrong or not held.tree:
        raise DamagedFileError(
            f"{held.path}: tag -> array is needed, for {wrong[0]!r} it is not" if wrong else f"{held.path}: empty"
        )
    return [Raw(tag, numbers(value, f"{held.path}: {tag}"), {}) for tag, value in held.tree.items()]


def _of_names(reader: Callable[[Held], list[Raw]]) -> Callable[[Held], list[Raw]]:
    """A reader of files that hold names, which says so when one does not."""

    def read(held: Held) -> list[Raw]:
        if not hasattr(held.tree, "items"):
            raise DamagedFileError(f"{held.path}: holds no names, so it is not of that format; leave it out (--from)")
        return reader(held)

    return read


_READERS = {"ganspace": _of_names(_ganspace), "factor": _of_names(_factor), "halcy": _of_names(_tag_dirs)}


def _named(found: list[Raw], tags: Sequence[str] | None) -> list[Raw]:
    by_tag = {raw.tag: raw for raw in found}
    return found if tags is None else [by_tag[found_tag(tag, by_tag, "direction")] for tag in tags]


def shaped(values: Array, generator: Generator, where: str) -> Array:
    """(d,), (1, d), (layers, d) or (1, layers, d) to (d,) or (layers, d).

    Raises:
        LatentEditError: another shape.
    """
    check_size(values, generator, where)
    rows = values[0] if values.ndim == 3 and len(values) == 1 else values
    if rows.ndim == 1 or (rows.ndim == 2 and len(rows) == 1):
        return rows.reshape(generator.dim)
    if rows.ndim != 2:
        raise LatentEditError(f"{where}: shape {values.shape} is that of codes; one direction is {_shapes(generator)}")
    _check_slots(len(rows), generator, where)
    return rows
