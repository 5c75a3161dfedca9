"""``compare``: files of directions and priors side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.asking import AskedEdits, EditCommand
from latentedit.cli.common import (
    Context,
    OutFile,
    Place,
    cli,
    common,
    how_many,
    is_stdout,
    recorded_generator,
    refuse_existing,
)
from latentedit.cli.drawing import check_place
from latentedit.cli.editing import edit_options
from latentedit.cli.evaluating import say_few
from latentedit.cli.judging import judge_option, load_judge
from latentedit.cli.natural import DEFAULT, draw_for, natural_option
from latentedit.cli.terminal import Progress
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.editing.editors import EditorFile
    from latentedit.metrics.carriers import OwnPictures
    from latentedit.metrics.intervals import Estimate
    from latentedit.metrics.rescoring import Summary
    from latentedit.study.comparison import Comparison

MOST = 6


@cli.command(cls=EditCommand)
@click.argument("files", nargs=-1, required=True, type=Place())
@edit_options
@click.option("--generator", help="[default: the one that the files name, else avatar]")
@judge_option
@click.option("--contents", type=Place(), help="folder of content pictures  [default: test pictures]")
@click.option("--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="of the first picture")
@how_many(200, "pictures to measure on", least=2)
@click.option("--faces", type=click.IntRange(1, 8), default=2, show_default=True, help="faces in the picture")
@click.option("--all-pictures", is_flag=True, help="measure on all pictures, not on those that lack the tag")
@natural_option
@click.option("--out", type=OutFile(".png"), default="compare.png", show_default=True)
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def compare(
    context: Context, asked: AskedEdits, files: tuple[Path, ...], generator: str | None, judge: str | None,
    contents: Path | None, seed: int, n: int, faces: int, all_pictures: bool, natural: int | None, out: Path,
    force: bool,
) -> None:  # fmt: skip
    """Compare FILES of directions or priors on the same pictures: a table with paired differences, and a picture.

    Without --tag: the first six tags that all have.
    """
    beside = out.with_suffix(".json")
    check_place(out, force)
    refuse_existing(beside, force)
    from latentedit import Faces, __version__
    from latentedit.directions.evidence import chance_line
    from latentedit.editing.editor import lines_of
    from latentedit.editing.editors import kind_of, open_editor
    from latentedit.editing.sheets import editors_sheet
    from latentedit.files import atomic_write, jsonable, sha256_of
    from latentedit.pictures.writing import write_picture
    from latentedit.samples.contents import Contents
    from latentedit.study.comparison import check_editors, unique_names
    from latentedit.study.comparison import compare as run
    from latentedit.taggers.tag_names import shared_tags

    editors = dict(zip(unique_names(files), map(open_editor, files), strict=True))
    by_file = dict(zip(files, editors.values(), strict=True))
    names = ((editor.generator_name, file) for file, editor in by_file.items() if editor.generator_name)
    g = context.generator(recorded_generator(generator, *next(names, ("", files[0]))) or "avatar")
    judged = load_judge(context, g, by_file, judge)
    tagger = judged.tagger
    first, *rest = editors.values()
    shared = [shared_tags(first.tags, other.tags) for other in (*rest, tagger)]
    common_tags = [tag for tag in first.tags if all(tag in others for others in shared)][:MOST]
    known = dict.fromkeys(tag for editor in editors.values() for tag in editor.tags)
    chosen = asked.edits(known, default=common_tags, say=context.say)
    for one in chosen:
        _ = one * 1.0  # the picture is of strips, so a goal is refused, before the work
    if not chosen:
        raise LatentEditError(
            f"{', '.join(editors)} have no tag in common that {tagger.id} measures; name one with --tag"
        )
    for name, editor in editors.items():
        if line := chance_line(lines_of(editor, chosen)):
            context.say(f"{name}: {line}")
    folder = contents or getattr(g, "default_test_contents", None)
    bars: dict[str, Progress] = {}

    def progress(name: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(name, Progress(name))(done, total)

    check_editors(g, editors)
    pictured = Contents.find(g, folder).readable(n) if folder is not None else None
    say_few(context, n, len(pictured) if pictured else 0)
    measured = Faces(seeds=range(seed, seed + n), content=pictured)
    own, missing = draw_for(
        context, g, tagger, [one.tag for one in chosen], measured,
        natural=0 if all_pictures else DEFAULT if natural is None else natural,
        edited=n * len(editors) * (1 + len(chosen)),
    )  # fmt: skip
    found = run(
        g, tagger, editors, chosen, measured, among="all" if all_pictures else "lacking",
        batch_size=context.batch_size, own=own, relations=asked.relations, progress=progress,
    )  # fmt: skip
    shown = [one for one in chosen if str(one) not in found.left_out]
    few = Faces(seeds=range(seed, seed + faces), content=pictured).prepare(g, batch_size=context.batch_size)
    sheet = editors_sheet(few, editors, shown, relations=asked.relations)
    write_picture(out, sheet)
    for label, why in found.left_out.items():
        context.say(f"{label} is left out: {why}")
    document = {
        "comparison": found, "picture": str(out), "judge": tagger.id, "judge_name": judged.name, "generator": g.id,
        "judge_fitted_directions": judged.fitted,
        "files": {n: {"path": p, "sha256": sha256_of(p)} for n, p in zip(editors, files, strict=True)},
        "editors": {name: kind_of(editor) for name, editor in editors.items()},
        "finders": {name: _made_by(editor) for name, editor in editors.items()},
        "edits": [str(one) for one in shown], "cosines": _cosines(editors, [one.tag for one in shown]),
        "first_seed": seed, "pictures": n, "latentedit": __version__,
        "own_pictures": None if own is None else own.provenance, "naturalness_note": missing,
    }  # fmt: skip
    note = (
        f"Intervals of values are 95 %; those of the {found.comparisons} differences "
        f"{100 * found.level:.2f} %, so that one of them misleads with a probability of 5 % at most."
    )
    with atomic_write(beside) as temporary:
        temporary.write_text(json.dumps(jsonable(document), indent=2) + "\n", encoding="utf-8")
    numbers = "--json gives every number" if is_stdout(out) else f"every number to {beside}"
    told = [f"wrote {out}, and {numbers}", *wrap(note, 80), *wrap(missing, 80)]
    context.result(document, "\n\n".join([*_tables(found, own), "\n".join(told)]))


SHOWN = 5
"""Rows of a measure in a terminal; of more, the first file's, and the best and worst."""
WIDTH = 26
"""Of a file's name in a terminal."""


def _tables(found: Comparison, own: OwnPictures | None) -> list[str]:
    """A table an edit, 80 columns wide at most: under each measure a line a file."""
    from latentedit.study.columns import cell

    lead = found.names[0]
    width = max(len(_short(name)) for name in found.names) + 2
    texts = []
    for row in found.rows:
        lines = [f"{row.label}, {row.pictures} pictures", f"{'':{width}}{'':22}minus {_short(lead)}"]
        for name, one in _measures(own).items():
            values = {file: one.value(summary) for file, summary in row.summaries.items()}
            if all(value != value for value in values.values()):
                continue  # not known of any
            shown = _shown(values, one.less_is_better)
            lines.append(name)
            for file in shown:
                difference = row.differences[file].get(name) if file != lead else None
                against = "" if difference is None else _against(difference, one.digits + 1)
                lines.append(f"  {_short(file):{width}}{one.cell(row.summaries[file]):22}{against}".rstrip())
            if left := len(values) - len(shown):
                lines.append(f"  and {left} between them")
        if own:
            lines.append(f"{'ceiling of the rise':{width + 2}}{cell(row.summaries[lead].ceiling, 2)}")
        texts.append("\n".join(lines))
    return texts


def _against(difference: Estimate, digits: int) -> str:
    """A difference with its interval, or that none is shown, in 32 columns."""
    if difference.value != difference.value:
        return ""
    text = format(difference, f"+.{digits}f")
    return text if difference.shows_difference else f"none shown {text.partition(' ')[2]}"


@dataclass(frozen=True)
class _Measure:
    """A row of the table: how a summary shows it, and what files are ordered by."""

    cell: Callable[[Summary], str]
    value: Callable[[Summary], float]
    digits: int = 2
    less_is_better: bool = False


def _measures(own: OwnPictures | None) -> dict[str, _Measure]:
    """What is compared, by its name in a comparison."""
    from latentedit.study.columns import cell, natural_cell, natural_value

    found = {
        "target rises by": _Measure(lambda s: cell(s.target, 2), lambda s: s.target.value),
        "others change by": _Measure(
            lambda s: cell(s.off_target, 3), lambda s: s.off_target.value, digits=3, less_is_better=True
        ),
        "selectivity": _Measure(lambda s: cell(s.selectivity, 1), lambda s: s.selectivity.value, digits=1),
        "elsewhere": _Measure(
            lambda s: cell(s.elsewhere, 3), lambda s: s.elsewhere.value, digits=2, less_is_better=True
        ),
    }
    for network in own.networks if own else ():
        for number in ("natural", "gap"):
            found[f"{number} ({network})"] = _Measure(
                partial(natural_cell, network=network, number=number),
                partial(natural_value, network=network, number=number), less_is_better=number == "gap",
            )  # fmt: skip
    return found


def _shown(values: Mapping[str, float], less_is_better: bool) -> list[str]:
    """The files that a terminal shows of a measure: all of a few, else the first, the two best and the two worst."""
    if len(values) <= SHOWN:
        return list(values)
    known = {file: -value if less_is_better else value for file, value in values.items() if value == value}
    ranked = sorted(known, key=known.__getitem__, reverse=True)
    picked = {next(iter(values)), *ranked[:2], *ranked[-2:]}
    return [file for file in ranked if file in picked] or list(values)[:SHOWN]


def _short(text: str, width: int = WIDTH) -> str:
    """A name that fits, its middle left out where it is longer."""
    half = (width - 1) // 2
    return text if len(text) <= width else f"{text[:half]}…{text[-half:]}"


def _made_by(editor: EditorFile) -> dict[str, Any]:
    """The finder that made it, or "prior", with its parameters."""
    from latentedit.prior.prior import Prior

    if isinstance(editor, Prior):
        return {"finder": "prior", "params": editor.about.get("recipe", {})}
    one = next(iter(editor))
    return {"finder": one.finder, "params": one.params}


def _cosines(editors: Mapping[str, EditorFile], tags: Sequence[str]) -> dict[str, dict[str, float]]:
    """Tag → file → cosine of its direction with that of the first file of directions; a prior has no direction."""
    from latentedit import DirectionBank

    banks = {name: editor for name, editor in editors.items() if isinstance(editor, DirectionBank)}
    flat = {name: {tag: bank[tag].vector.flatten().double() for tag in tags} for name, bank in banks.items()}
    first, rest = next(iter(flat), ""), list(flat)[1:]
    return {tag: {name: float(flat[first][tag] @ flat[name][tag]) for name in rest} for tag in tags}
