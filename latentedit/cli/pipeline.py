"""``demo``, ``sample`` and ``fit-directions``: from a generator to its directions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.common import Context, cli, common, recorded_generator, refuse_existing
from latentedit.cli.tagging import TAGGER_HELP
from latentedit.cli.terminal import Progress

if TYPE_CHECKING:
    from latentedit.samples.store import Samples


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default="demo")
@click.option("--n", type=click.IntRange(200), default=3_000, show_default=True, help="samples to draw")
@common
def demo(context: Context, out: Path, n: int) -> None:
    """Sample, fit all finders, edit, re-score and write OUT/report.html (default: demo)."""
    from latentedit.study.demo import demo as run

    bars: dict[str, Progress] = {}

    def progress(step: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(step, Progress(step))(done, total)

    report = run(out, n=n, device=context.device, batch_size=context.batch_size, progress=progress)
    context.result({"report": str(report)}, f"wrote {report}; open it in a browser")


@cli.command()
@click.argument("out", type=click.Path(path_type=Path), default="samples")
@click.option(
    "--generator",
    default="avatar",
    show_default=True,
    help="avatar, gnr:FILE, stylegan2:FILE, nvlabs:FILE, ..., torch:package.module:factory",
)
@click.option("--tagger", default="avatar", show_default=True, help=f"{TAGGER_HELP}, or none")
@click.option("--n", type=click.IntRange(1), default=10_200, show_default=True, help="samples to have in the end")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of the first sample")
@click.option(
    "--contents",
    type=click.Path(path_type=Path),
    help="folder of content pictures, or one picture, for image-to-image generators  [default: the generator's own]",
)
@click.option(
    "--styles-per-content",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="samples in a row with the same content",
)
@click.option(
    "--truncation", type=float, default=1.0, show_default=True, help="1 for none, towards 0 for the mean code"
)
@click.option("--label", type=int, help="class, for conditional generators")
@click.option("--keep-images", is_flag=True, help="store the pictures as well")
@common
def sample(
    context: Context, out: Path, generator: str, tagger: str, n: int, seed: int, contents: Path | None,
    styles_per_content: int, truncation: float, label: int | None, keep_images: bool,
) -> None:  # fmt: skip
    """Draw N style codes into OUT (default: samples), decode and tag them.

    The same command goes on where a stopped one ended; a larger --n adds to what is there.
    """
    from latentedit import load_generator, load_tagger
    from latentedit import sample as run

    g = load_generator(generator, device=context.device)
    t = None if tagger == "none" else load_tagger(tagger, device=context.device)
    context.say(f"{n} codes of {g.dim} numbers need about {n * (g.dim * 4 + 100) / 1e6:.0f} MB in {out}")
    samples = run(
        g, out, tagger=t, n=n, seed=seed, contents=contents, styles_per_content=styles_per_content,
        truncation=truncation, label=label, batch_size=context.batch_size, keep_images=keep_images,
        generator_name=generator, tagger_name=tagger if t else None, progress=context.progress("sample"),
    )  # fmt: skip
    counts = dict(sorted(samples.tag_counts().items(), key=lambda item: -item[1])) if t else {}
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    document = {
        "samples": str(out),
        "rows": samples.rows,
        "generator": samples.generator_id,
        "bytes": size,
        "tags": counts,
    }
    top = ", ".join(f"{tag} {count}" for tag, count in list(counts.items())[:6])
    context.result(
        document, f"{samples.rows} samples in {out} ({size / 1e6:.1f} MB)" + (f"; most frequent: {top}" if top else "")
    )


@cli.command("fit-directions")
@click.argument("samples", type=click.Path(path_type=Path), default="samples")
@click.option(
    "--finder",
    default="lasso",
    show_default=True,
    help="sefa, linear, lasso, svd, ...; options as in sefa?variant=raw&k=16",
)
@click.option(
    "--tag",
    "tags",
    multiple=True,
    help="only these tags; repeat it for several  [default: tags on 1-75 % of the samples]",
)
@click.option(
    "--keep-tag", "keep", multiple=True, help="fit this one of the dropped tags as well; rating: for all of these"
)
@click.option("--tagger", help="whose tags, when the samples have several: an id or a name")
@click.option(
    "--target", type=click.Choice(["binary", "score"]), default="binary", show_default=True, help="what is regressed"
)
@click.option("--generator", help="for sefa without samples; the samples name theirs")
@click.option("--out", type=click.Path(path_type=Path), help="[default: directions/FINDER.safetensors]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def fit_directions(
    context: Context, samples: Path, finder: str, tags: tuple[str, ...], keep: tuple[str, ...], tagger: str | None,
    target: str, generator: str | None, out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Find one direction per tag in SAMPLES (default: samples).

    Ratings and tags of how a picture is framed, signed or scanned are dropped, unless --tag or --keep-tag names them.
    """
    from latentedit import DirectionBank, load_generator, open_samples
    from latentedit import fit_directions as run
    from latentedit.directions import resolve_finder

    resolve_finder(finder)
    out = out or Path("directions") / f"{finder.partition('?')[0]}.safetensors"
    refuse_existing(out, force)
    if generator is not None and not samples.exists():
        source: Any = load_generator(generator, device=context.device)
        bank = DirectionBank(
            list(run(source, finder=finder, progress=context.progress("fit"))), generator_name=generator
        )
    else:
        source = open_samples(samples)
        g = None
        if resolve_finder(finder).needs == "weights":
            name = recorded_generator(generator, source.manifest.generator, samples)
            g = load_generator(name, device=context.device)
        bank = run(
            source,
            finder=finder,
            tags=tags or None,
            keep=keep,
            tagger=tagger,
            target=target,
            generator=g,
            progress=context.progress("fit"),
        )
        _say_dropped(context, source, bank.tags, tags, tagger)
    bank.save(out)
    context.result(
        {"directions": str(out), "tags": list(bank.tags)},
        f"{len(bank)} directions in {out}; see them with: latentedit list directions {out}",
    )


def _say_dropped(
    context: Context, samples: Samples, fitted: Sequence[str], named: Sequence[str], tagger: str | None
) -> None:
    """Name the tags that were common enough and were dropped for what they are."""
    from latentedit.samples.tag_filter import dropped_by

    if named or not samples.taggers:
        return
    rows, counts = samples.labelled(tagger), samples.tag_counts(tagger)
    dropped = [tag for tag, count in counts.items() if count >= 0.01 * rows and tag not in fitted and dropped_by(tag)]
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        context.say(f"not fitted, for what they are: {', '.join(dropped[:5])}{more}; --keep-tag TAG fits one")
