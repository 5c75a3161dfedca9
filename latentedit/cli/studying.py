"""``demo`` and ``evaluate study``: the whole job at once, as a report."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli.common import GOES_ON, Context, Place, cli, common, how_many, only_one_in, rows_kept
from latentedit.cli.evaluating import FEATURES_HELP, PERCEPTUAL_HELP, evaluate
from latentedit.cli.terminal import Progress, table
from latentedit.errors import LatentEditError


@cli.command()
@click.argument("place", type=Place(), required=False, metavar="")
@click.option("--out", type=Place(), default="demo", show_default=True, help="folder of everything")
@how_many(3_000, "samples to draw", least=200, old="")
@common
def demo(context: Context, place: Path | None, out: Path, n: int) -> None:
    """Sample, fit all finders, edit, re-score and write OUT/report.html."""
    if place is not None:
        context.say(f"demo {place} is demo --out {place} now; the old spelling goes with 1.0")
        out = place
    from latentedit.study.demo import demo as run

    bars: dict[str, Progress] = {}

    def progress(step: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(step, Progress(step))(done, total)

    only_one_in(out)
    context.kept = lambda: f"{rows_kept(out / 'samples')}; demo measures anew"
    report = run(out, n=n, device=context.device, dtype=context.dtype, batch_size=context.batch_size, progress=progress)
    context.result({"report": str(report)}, f"wrote {report}; open it in a browser")


@evaluate.command()
@click.argument("protocol", type=Place(), required=False)
@click.option("--out", type=Place(), default="study", show_default=True, help="folder of the study")
@click.option("--full", is_flag=True, help="at the sizes of the protocol's [full]; the 2022 study's take hours")
@click.option("--plan", is_flag=True, help="say what would be decoded and how long it takes, and stop")
@click.option("--generator", help="another one than the protocol's")
@click.option("--tagger", help="another one than the protocol's")
@click.option("--judge", help="another one than the protocol's")
@click.option("--features", help=f"for FID and DFID: {FEATURES_HELP}")
@click.option("--perceptual", help=f"for LPIPS: {PERCEPTUAL_HELP}")
@click.option("--pictures", type=Place(), help="folder with trainA, testA, testB, as selfie2anime has them")
@click.option("--metric", "metrics", multiple=True, help="measure only this; repeat it for several")
@common
def study(
    context: Context, protocol: Path | None, out: Path, full: bool, plan: bool, generator: str | None,
    tagger: str | None, judge: str | None, features: str | None, perceptual: str | None, pictures: Path | None,
    metrics: tuple[str, ...],
) -> None:  # fmt: skip
    """Run a study: sample, fit every finder, edit, measure; tables here, and all of it in OUT/report.html.

    PROTOCOL is a TOML file; without one, the 2022 study's on the bundled generator. A stopped study goes on with
    the same command.
    """
    from latentedit.study.plan import steps_of, timed
    from latentedit.study.protocol import read_protocol
    from latentedit.study.report import evaluate as run
    from latentedit.study.report import tables_of
    from latentedit.study.results import as_json
    from latentedit.study.run import Study

    written = read_protocol(protocol, full=full)
    typed = {"generator": generator, "tagger": tagger, "judge": judge, "features": features, "perceptual": perceptual}
    asked = written.changed(**typed, metrics=metrics or None)
    for part, value in typed.items():
        name = getattr(asked, part)
        if value is None and name.startswith("torch:"):  # a file does not choose what is imported and called
            raise LatentEditError(
                f"{part} of {protocol} is {name}, which is code; say that you want it: --{part} '{name}'"
            )
    if pictures is not None:
        asked = asked.with_pictures(pictures)
    if plan:
        steps = timed(Study(asked, None, device=context.device, dtype=context.dtype, batch_size=context.batch_size))
        rows = [[s.name, str(s.pictures), f"{s.seconds / 60:.1f} min"] for s in steps]
        pictures_in_all, seconds = sum(s.pictures for s in steps), sum(s.seconds for s in steps)
        rows.append(["all", str(pictures_in_all), f"{seconds / 60:.1f} min"])
        context.result({"steps": steps, "seconds": seconds}, table(("step", "pictures", "about"), rows))
        return
    only_one_in(out)
    context.say(f"{sum(s.pictures for s in steps_of(asked))} pictures to decode when nothing is done yet")
    bars: dict[str, Progress] = {}

    def progress(step: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(step, Progress(step))(done, total)

    context.kept = lambda: f"what is finished is kept in {out}; {GOES_ON}"
    results = run(
        asked, out, device=context.device, dtype=context.dtype, batch_size=context.batch_size, progress=progress
    )
    judged = results.provenance["judge"]
    context.say(f"judge: {judged['name']} ({judged['id']})")
    lines = []
    for section in tables_of(results):
        for one in section.tables:
            lines += [section.heading, table(one.header, one.rows), one.note, ""]
    lines.append(f"wrote {out / 'report.html'} and {out / 'results.json'}")
    context.result(as_json(results), "\n".join(lines))
