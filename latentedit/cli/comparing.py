"""``compare``: files of directions side by side."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli.common import Context, cli, common, recorded_generator, refuse_existing
from latentedit.cli.terminal import Progress, table
from latentedit.errors import LatentEditError

MOST = 6


@cli.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--tag", "tags", multiple=True, help=f"edit to compare; repeat it  [default: the first {MOST} that all have]"
)
@click.option("--generator", help="[default: the one that the directions name, else avatar]")
@click.option("--judge", default="avatar", show_default=True, help="tagger that scores; judge:avatar is independent")
@click.option("--strength", type=float, help="in σ  [default: 3]")
@click.option("--opposite", metavar="TAG[:RATIO]", help="tag to take away  [default: the usual opposite]")
@click.option("--no-opposite", is_flag=True, help="move along the tag's direction alone")
@click.option("--layers", help="slots to move, as in 0-3,5  [default: all]")
@click.option("--raw", is_flag=True, help="strength in the regression's own coefficients")
@click.option(
    "--contents", type=click.Path(path_type=Path), help="folder of content pictures  [default: test pictures]"
)
@click.option("--seed", type=click.IntRange(0), default=1_000_000, show_default=True, help="of the first picture")
@click.option("--count", type=click.IntRange(2), default=200, show_default=True, help="pictures to measure on")
@click.option("--faces", type=click.IntRange(1, 8), default=2, show_default=True, help="faces in the picture")
@click.option("--all-pictures", is_flag=True, help="measure on all pictures, not on those that lack the tag")
@click.option("--out", type=click.Path(path_type=Path), default="compare.png", show_default=True)
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def compare(
    context: Context, files: tuple[Path, ...], tags: tuple[str, ...], generator: str | None, judge: str,
    strength: float | None, opposite: str | None, no_opposite: bool, layers: str | None, raw: bool,
    contents: Path | None, seed: int, count: int, faces: int, all_pictures: bool, out: Path, force: bool,
) -> None:  # fmt: skip
    """Compare FILES of directions on the same pictures: a table with paired differences, and a picture."""
    if opposite and no_opposite:
        raise click.UsageError("--opposite and --no-opposite exclude each other")
    refuse_existing(out, force)
    import numpy as np

    from latentedit import DirectionBank, __version__, load_generator, load_tagger
    from latentedit.editing.editor import DEFAULT_STRENGTH
    from latentedit.files import atomic_write, sha256_of
    from latentedit.samples.contents import Contents
    from latentedit.study.comparison import MEASURES, comparison_sheet, unique_names
    from latentedit.study.comparison import compare as run
    from latentedit.study.report import against_zero

    banks = dict(zip(unique_names(files), map(DirectionBank.load, files), strict=True))
    recorded = next((b.generator_name for b in banks.values() if b.generator_name), "")
    g = load_generator(recorded_generator(generator, recorded, files[0]) or "avatar", device=context.device)
    tagger = load_tagger(judge, device=context.device)
    first, *rest = banks.values()
    chosen = list(tags) or [t for t in first.tags if all(t in b for b in rest) and t in tagger.tags][:MOST]
    if not chosen:
        raise LatentEditError(
            f"{', '.join(banks)} have no tag in common that {tagger.id} measures; name one with --tag"
        )
    folder = contents or getattr(g, "default_test_contents", None)
    pictures = None if folder is None else Contents.find(g, folder)
    away, unit = None if no_opposite else opposite or "auto", "raw" if raw else "sigma"
    bars: dict[str, Progress] = {}

    def progress(name: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(name, Progress(name))(done, total)

    found = run(
        g, tagger, banks, chosen, range(seed, seed + count), strength=strength, opposite=away, unit=unit, layers=layers,
        content=None if pictures is None else pictures(np.arange(count) % len(pictures)),
        among="all" if all_pictures else "lacking", batch_size=context.batch_size, progress=progress,
    )  # fmt: skip
    most = DEFAULT_STRENGTH if strength is None else strength
    sheet = comparison_sheet(
        g, banks, [row.label for row in found.rows], range(seed, seed + faces), np.linspace(-most, most, 7).tolist(),
        opposite=away, unit=unit, layers=layers, content=None if pictures is None else pictures(np.arange(faces)),
    )  # fmt: skip
    with atomic_write(out) as temporary:
        sheet.save(temporary, "PNG")
    for label, why in found.left_out.items():
        context.say(f"{label} is left out: {why}")
    fitted = {d.tagger_id for bank in banks.values() for d in bank}
    if tagger.id in fitted:
        context.say(f"the judge {tagger.id} is the tagger that directions here were fitted with, which flatters them")
    lead, *others = found.names
    rows = []
    for row in found.rows:
        for name, measure in zip(("target", "off_target", "selectivity"), MEASURES, strict=True):
            digits = {"target": 2, "off_target": 3, "selectivity": 1}[name]
            cells = [format(getattr(row.summaries[bank], name), f".{digits}f") for bank in found.names]
            gaps = [against_zero(row.differences[bank][measure], digits + 1) for bank in others]
            rows.append([row.label if name == "target" else "", measure, *cells, *gaps])
    header = ("edit", "measure", *found.names, *(f"{name} − {lead}" for name in others))
    document = {
        "comparison": found, "picture": str(out), "judge": tagger.id, "generator": g.id,
        "judge_fitted_directions": tagger.id in fitted,
        "files": {n: {"path": p, "sha256": sha256_of(p)} for n, p in zip(banks, files, strict=True)},
        "finders": {n: {"finder": next(iter(b)).finder, "params": next(iter(b)).params} for n, b in banks.items()},
        "first_seed": seed, "pictures": count, "strength": most, "unit": unit, "latentedit": __version__,
    }  # fmt: skip
    note = (
        f"wrote {out}. Intervals of values are 95 %; those of the {found.comparisons} differences "
        f"{100 * found.level:.2f} %, so that one of them misleads with a probability of 5 % at most."
    )
    context.result(document, f"{table(header, rows)}\n{note}")
