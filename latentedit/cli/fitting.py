"""``fit-directions``: a direction for every tag."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.asking import meant
from latentedit.cli.common import Context, OutFile, Place, cli, common, recorded_generator, refuse_existing

if TYPE_CHECKING:
    from latentedit.directions.bank import DirectionBank
    from latentedit.directions.moments import Target
    from latentedit.samples.store import Samples

_SHOWN = 20


@cli.command("fit-directions")
@click.argument("samples", type=Place(), default="samples")
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
@click.option("--out", type=OutFile(".safetensors"), help="[default: directions/FINDER.safetensors]")
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def fit_directions(
    context: Context, samples: Path, finder: str, tags: tuple[str, ...], keep: tuple[str, ...], tagger: str | None,
    target: Target, generator: str | None, out: Path | None, force: bool,
) -> None:  # fmt: skip
    """Find one direction per tag in SAMPLES (default: samples).

    Ratings and tags of how a picture is framed, signed or scanned are dropped, unless --tag or --keep-tag names them.
    """
    from latentedit import fit_directions as run
    from latentedit import open_samples
    from latentedit.directions import resolve_finder

    resolve_finder(finder)
    out = out or Path("directions") / f"{finder.partition('?')[0]}.safetensors"
    refuse_existing(out, force)
    if generator is not None and not samples.exists():
        source: Any = context.generator(generator)
        bank = run(source, finder=finder, progress=context.progress("fit"))
        bank.generator_name = generator
    else:
        source = open_samples(samples)
        tags, keep = meant(tags, source, tagger), meant(keep, source, tagger)
        g = None
        if resolve_finder(finder).needs == "weights":
            name = recorded_generator(generator, source.manifest.generator, samples)
            g = context.generator(name)
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
        _say_partial(context, bank)
    bank.save(out)
    context.result(
        {"directions": str(out), "tags": list(bank.tags)},
        f"{len(bank)} directions in {out}; see them with: latentedit list directions {out}",
    )


def _say_partial(context: Context, bank: DirectionBank) -> None:
    """Name the tags that some labelled rows have no label for, with the rows that have one, fewest first."""
    rows = {d.tag: d.params["labelled_rows"] for d in bank if "labelled_rows" in d.params}
    if rows:
        shown = [f"{tag} {rows[tag]}" for tag in sorted(rows, key=lambda tag: rows[tag])[:_SHOWN]]
        more = f" and {len(rows) - _SHOWN} more tags" if len(rows) > _SHOWN else ""
        context.say(
            f"labelled in some of the rows, and fitted as if the others lacked the label by chance: "
            f"{', '.join(shown)}{more}"
        )


def _say_dropped(
    context: Context, samples: Samples, fitted: Sequence[str], named: Sequence[str], tagger: str | None
) -> None:
    """Name the tags that were common enough and were dropped for what they are."""
    from latentedit.samples.tag_filter import dropped_by

    if named or not samples.taggers:
        return
    rows, counts = samples.label_counts(tagger), samples.tag_counts(tagger)
    common = [tag for tag, count in counts.items() if count and count >= 0.01 * rows[tag]]
    dropped = [tag for tag in common if tag not in fitted and dropped_by(tag)]
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        context.say(f"not fitted, for what they are: {', '.join(dropped[:5])}{more}; --keep-tag TAG fits one")
