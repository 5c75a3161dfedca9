"""``train-judge``: a classifier of labelled pictures that re-scores edits."""

from __future__ import annotations

from pathlib import Path

import click

from latentedit.cli.common import GOES_ON, Context, OutFile, Place, cli, common, refuse_existing
from latentedit.cli.terminal import table


@cli.command("train-judge")
@click.argument("folder", type=Place())
@click.option(
    "--labels",
    type=Place(),
    help="table with a column file, and tags or a column a tag  [default: FOLDER/labels.csv]",
)
@click.option("--tag", "tags", multiple=True, help="learn this one; repeat it for several  [default: all of the table]")
@click.option(
    "--network",
    default="resnet50",
    show_default=True,
    help="resnet50, as the 2022 study's; resnet18; resnet-small for processors",
)
@click.option("--size", type=click.IntRange(16), default=128, show_default=True, help="side of the network's input")
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="passes over the pictures")
@click.option("--learning-rate", type=float, default=1e-3, show_default=True, help="of AdamW, falling to zero")
@click.option("--no-flip", is_flag=True, help="do not mirror pictures; for tags such as looking_left")
@click.option("--start", type=Place(), help="torchvision's weights of the network to start from")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="of everything random")
@click.option("--out", type=OutFile(".safetensors"), default="judge.safetensors", show_default=True)
@click.option("--force", is_flag=True, help="overwrite OUT")
@common
def train_judge(
    context: Context, folder: Path, labels: Path | None, tags: tuple[str, ...], network: str, size: int, epochs: int,
    learning_rate: float, no_flip: bool, start: Path | None, seed: int, out: Path, force: bool,
) -> None:  # fmt: skip
    """Train a judge on the pictures of FOLDER and their labels; use it as judge:OUT.

    A stopped training goes on with the same command.
    """
    refuse_existing(out, force)
    from latentedit.taggers.training import Recipe, is_begun
    from latentedit.taggers.training import train_judge as run

    recipe = Recipe(
        network=network, size=size, epochs=epochs, batch_size=context.batch_size, learning_rate=learning_rate,
        flip=not no_flip, seed=seed,
    )  # fmt: skip
    context.kept = lambda: f"the epochs that are done are kept; {GOES_ON}" if is_begun(out) else "nothing is kept yet"
    r = run(
        folder, out, labels=labels, tags=list(tags) or None, recipe=recipe, start=start, device=context.device,
        progress=context.progress("train"),
    )  # fmt: skip
    if r.unlabelled or r.missing:
        context.say(f"{r.unlabelled} pictures have no label and {r.missing} labels no picture; they were left out")
    if r.dropped:
        context.say(f"left out, since all pictures or none carry them: {', '.join(r.dropped)}")
    rows = [
        [tag, "" if a != a else f"{100 * a:.1f} %", "" if p != p else f"{p:.3f}", str(n)]
        for tag, a, p, n in zip(r.tags, r.accuracy, r.average_precision, r.support, strict=True)
    ]
    header = ("tag", "right", "average precision", "carry it")
    text = f"{table(header, rows)}\non {r.pictures[1]} held-out pictures; use it as judge:{out}"
    context.result({"judge": r}, text)
