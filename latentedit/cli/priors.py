"""``fit-prior``: a prior of a generator's codes, for edits that stay natural."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from latentedit.cli.asking import meant
from latentedit.cli.common import (
    GOES_ON,
    Context,
    OutFile,
    Place,
    cli,
    common,
    how_many,
    recorded_generator,
    refuse_existing,
)
from latentedit.cli.terminal import Progress

if TYPE_CHECKING:
    from latentedit.generators import Generator
    from latentedit.prior.prior import Prior
    from latentedit.samples.store import Samples

STAGES = {"look": "look at pictures", "draw": "draw codes", "read": "learn to read codes", "learn": "learn the flow"}


@cli.command("fit-prior")
@click.argument("samples", type=Place(), default="samples")
@click.option("--generator", help="the samples name theirs; alone, without samples, its prior knows no tags")
@click.option(
    "--tag", "tags", multiple=True, help="only these; repeat it for several  [default: tags on 1-75 % of the samples]"
)
@click.option("--tagger", help="whose tags, when the samples have several: an id or a name")
@click.option("--steps", type=click.IntRange(1), default=8_000, show_default=True, help="of the flow; more is better")
@how_many(90_000, "codes to draw beside those of the samples", least=0, old="--codes")
@click.option(
    "--pictures", type=click.IntRange(0), default=10_000, show_default=True,
    help="of samples to look at, so that edits keep what no tag describes",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of everything random")
@click.option(
    "--out", type=OutFile(".safetensors"), default="directions/prior.safetensors", show_default=True,
    help="file of the prior",
)  # fmt: skip
@click.option("--force", is_flag=True, help="overwrite OUT")
@click.option(
    "--from",
    "start",
    type=Place(),
    metavar="PRIOR",
    help="learn on where this one's flow stands; it knows these tags, or more",
)
@common
def fit_prior(
    context: Context, samples: Path, generator: str | None, tags: tuple[str, ...], tagger: str | None, steps: int,
    n: int, pictures: int, seed: int, out: Path, force: bool, start: Path | None,
) -> None:  # fmt: skip
    """Learn how the codes of SAMPLES (default: samples) and their tags go together; edits by it stay natural.

    Minutes on two cores. The same command goes on where a stopped one ended.
    """
    refuse_existing(out, force)
    from latentedit import Prior, open_samples
    from latentedit.generators.probe import probe_of
    from latentedit.prior.fitting import PriorRecipe, forget, is_begun

    recipe = PriorRecipe(steps=steps, codes=n, pictures=pictures, seed=seed)
    former = None if start is None else Prior.load(start)
    stored: Samples | None = None
    loaded: Generator | None = None
    name = generator or ""
    if generator is None or samples.exists():
        stored = open_samples(samples)
        tags = meant(tags, stored, tagger)
        name = recorded_generator(generator, stored.manifest.generator or "", samples)
    if name:
        loaded = context.generator(name)
        if stored is not None:
            stored.check_generator(loaded.id, probe=probe_of(loaded))
    _say_plan(context, stored, loaded, tags, tagger, recipe)
    bars: dict[str, Progress] = {}

    def progress(stage: str, done: int, total: int) -> None:
        if not context.quiet:
            bars.setdefault(stage, Progress(STAGES[stage]))(done, total)

    source: Any = loaded if stored is None else stored
    context.kept = lambda: f"what is done is kept; {GOES_ON}" if is_begun(out) else "nothing is kept yet"
    fitted = Prior.fit(
        source, generator=loaded, tags=tags or None, tagger=tagger, recipe=recipe, state=out,
        device=context.device, batch_size=context.batch_size, progress=progress, start=former,
    )  # fmt: skip
    prior = replace(fitted, generator_name=name)
    prior.save(out)
    forget(out)
    context.result(
        {
            "prior": str(out), "generator": prior.generator_id, "tagger": prior.tagger_id, "tags": list(prior.tags),
            "poor": prior.about["poor"], "loss": prior.about["loss"], "codes": prior.about["codes"],
            "pictures": prior.about["pictures"], "recipe": prior.about["recipe"], "bytes": out.stat().st_size,
        },
        _text(prior, out),
    )  # fmt: skip


def _say_plan(
    context: Context, samples: Samples | None, generator: Generator | None, tags: tuple[str, ...], tagger: str | None,
    recipe: Any,
) -> None:  # fmt: skip
    """What will be done, and about how long that takes."""
    if context.quiet:
        return
    from latentedit.prior.plan import plan_of

    plan = plan_of(samples, generator, tags=tags or None, tagger=tagger, recipe=recipe, device=context.device)
    parts = [f"{STAGES[name]}: {step.count}" for name, step in plan.items() if step.count]
    minutes = sum(step.seconds for step in plan.values()) / 60
    long = f"about {minutes:.0f} min" if minutes >= 1 else "less than a minute"
    context.say(f"{'; '.join(parts)}; {long} when nothing is done yet")
    if generator is None:
        context.say(f"{samples and samples.path} names no generator; --generator NAME lets edits keep more")


def _text(prior: Prior, out: Path) -> str:
    """The result for people."""
    size = out.stat().st_size / 1e6
    count = f"{len(prior.tags)} tag{'' if len(prior.tags) == 1 else 's'}" if prior.tags else "no tags"
    lines = [f"wrote {out}: a prior of {count}, loss {prior.about['loss']:.3f}, {size:.1f} MB"]
    if poor := prior.about["poor"]:
        lines.append(f"read poorly off codes, so known only from samples: {', '.join(poor)}")
    use = f"latentedit edit --tag {prior.tags[0]}" if prior.tags else "latentedit edit --directions FILE"
    lines.append(f"edit with: {use} --prior {out}")
    return "\n".join(lines)
