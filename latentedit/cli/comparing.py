"""``compare``: files of directions and priors side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, cli, common, how_many, recorded_generator
from latentedit.cli.drawing import check_place
from latentedit.cli.editing import AskedEdits, edit_options
from latentedit.cli.judging import judge_option, load_judge
from latentedit.cli.natural import DEFAULT, draw_for, natural_option
from latentedit.cli.terminal import Progress, table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.editing.editors import EditorFile
    from latentedit.metrics.rescoring import Summary

MOST = 6


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@edit_options()
@click.option("--generator", help="[default: the one that the files name, else avatar]")
@judge_option
@click.option(
    "--contents", type=click.Path(path_type=Path), help="folder of content pictures  [default: test pictures]"
)
@click.option("--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="of the first picture")
@how_many(200, "pictures to measure on", least=2)
@click.option("--faces", type=click.IntRange(1, 8), default=2, show_default=True, help="faces in the picture")
@click.option("--all-pictures", is_flag=True, help="measure on all pictures, not on those that lack the tag")
@natural_option
@click.option("--out", type=click.Path(path_type=Path), default="compare.png", show_default=True)
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
    check_place(out, force)
    from latentedit import Faces, __version__, load_generator
    from latentedit.editing.editors import kind_of, open_editor
    from latentedit.editing.sheets import editors_sheet
    from latentedit.files import sha256_of
    from latentedit.pictures.writing import write_picture
    from latentedit.study.columns import cell, elsewhere_cell, natural_cell
    from latentedit.study.comparison import check_editors, unique_names
    from latentedit.study.comparison import compare as run
    from latentedit.study.report import against_zero

    editors = dict(zip(unique_names(files), map(open_editor, files), strict=True))
    recorded = next((editor.generator_name for editor in editors.values() if editor.generator_name), "")
    g = load_generator(recorded_generator(generator, recorded, files[0]) or "avatar", device=context.device)
    judged = load_judge(context, g, editors.values(), judge)
    tagger = judged.tagger
    first, *rest = editors.values()
    common_tags = [t for t in first.tags if all(t in editor.tags for editor in rest) and t in tagger.tags][:MOST]
    known = dict.fromkeys(tag for editor in editors.values() for tag in editor.tags)
    chosen = asked.edits(known, default=common_tags)
    for one in chosen:
        _ = one * 1.0  # the picture is of strips, so a goal is refused, before the work
    if not chosen:
        raise LatentEditError(
            f"{', '.join(editors)} have no tag in common that {tagger.id} measures; name one with --tag"
        )
    folder = contents or getattr(g, "default_test_contents", None)
    bars: dict[str, Progress] = {}

    def progress(name: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(name, Progress(name))(done, total)

    check_editors(g, editors)
    measured = Faces(seeds=range(seed, seed + n), content=folder)
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
    few = Faces(seeds=range(seed, seed + faces), content=folder).prepare(g, batch_size=context.batch_size)
    sheet = editors_sheet(few, editors, shown, relations=asked.relations)
    write_picture(out, sheet)
    for label, why in found.left_out.items():
        context.say(f"{label} is left out: {why}")
    lead, *others = found.names
    rows = []
    for row in found.rows:
        compared = row.differences[others[0]]
        cells: dict[str, Callable[[Summary], str]] = {
            "target rises by": lambda s: cell(s.target, 2), "others change by": lambda s: cell(s.off_target, 3),
            "selectivity": lambda s: cell(s.selectivity, 1), "elsewhere": elsewhere_cell,
        }  # fmt: skip
        for network in own.networks if own else ():
            cells[f"natural ({network})"] = partial(natural_cell, network=network, number="natural")
            cells[f"gap ({network})"] = partial(natural_cell, network=network, number="gap")
        for i, (measure, shown_of) in enumerate(cells.items()):
            digits = {"selectivity": 2, "others change by": 4}.get(measure, 3)
            values = [shown_of(row.summaries[name]) for name in found.names]
            gaps = [against_zero(row.differences[n][measure], digits) if measure in compared else "" for n in others]
            rows.append([row.label if not i else "", measure, *values, *gaps])
        if own:
            rows.append(["", "ceiling of the rise", cell(row.summaries[lead].ceiling, 2), *[""] * (2 * len(others))])
    header = ("edit", "measure", *found.names, *(f"{name} − {lead}" for name in others))
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
        f"wrote {out}. Intervals of values are 95 %; those of the {found.comparisons} differences "
        f"{100 * found.level:.2f} %, so that one of them misleads with a probability of 5 % at most."
    )
    context.result(document, "\n".join(filter(None, [table(header, rows), note, missing])))


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
