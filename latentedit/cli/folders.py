"""``status``: how far samples are. ``clean``: caches that may go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from latentedit.cli.common import Context, Place, cli, common
from latentedit.cli.terminal import table
from latentedit.errors import LatentEditError

if TYPE_CHECKING:
    from latentedit.samples.progress import Part, Progress


@cli.command()
@click.argument("folder", type=Place(), default="samples")
@common
def status(context: Context, folder: Path) -> None:
    """How far FOLDER (default: samples) is: rows done and missing, failures, time left.

    FOLDER holds samples, or folders of them, as a study and a demo do. While another process is at it, its rate is that
    of the last shards.
    """
    from latentedit.samples.manifest import NAME
    from latentedit.samples.progress import progress_of

    inner = sorted(path.parent for path in folder.glob(f"*/{NAME}") if not path.parent.name.startswith("."))
    places = [folder] if (folder / NAME).exists() or not inner else inner
    found = [progress_of(place) for place in places]
    context.result({"folders": found}, "\n\n".join(map(_text, found)))


def _text(found: Progress) -> str:
    rows = [[part.name, str(part.rows), str(part.missing) if part.missing else ""] for part in found.parts]
    lines = [found.folder, table(("what", "rows", "missing"), rows)]
    lines += [line for part in found.parts for line in _troubles(part)]
    if not found.busy:
        return "\n".join(lines)
    rate = "" if found.rate is None else f", {found.rate:.1f} rows/s"
    left = "; how long is known after the second shard" if found.seconds_left is None else _time(found.seconds_left)
    return "\n".join([*lines, f"another process is writing here{rate}{left}"])


def _troubles(part: Part) -> list[str]:
    lines = [f"{part.name}: {rows} rows failed: {reason}" for reason, rows in part.failed.items()]
    if part.lacking:
        lines.append(
            f"{part.name}: missing or damaged: {', '.join(part.lacking)}; the command that wrote them mends that"
        )
    return lines


def _time(seconds: float) -> str:
    return f", about {seconds / 60:.0f} min left" if seconds >= 90 else f", about {seconds:.0f} s left"


@cli.command()
@click.argument("folder", type=Place(), default=".")
@click.option("--yes", is_flag=True, help="do not ask")
@common
def clean(context: Context, folder: Path, yes: bool) -> None:
    """Remove caches from FOLDER (default: here), after saying what and how much.

    Nothing is lost that cannot be made again: moments beside samples, what stopped fits would go on from, and what
    killed commands left. FOLDER holds samples or directions, or folders of them.
    """
    from latentedit.inspection import caches_of

    caches = caches_of(folder)
    size = sum(cache.size for cache in caches)
    if caches:
        shown = [[cache.what, str(len(cache.files)), f"{cache.size / 1e6:.2f} MB"] for cache in caches]
        click.echo(table(("in " + str(folder), "files", "size"), shown), err=True)
        if not yes and not _confirmed(f"Remove {size / 1e6:.2f} MB?"):
            raise LatentEditError("nothing was removed; --yes removes without asking")
    for cache in caches:
        cache.remove()
    files = [str(file) for cache in caches for file in cache.files]
    text = f"removed {len(files)} files, {size / 1e6:.2f} MB" if files else f"there are no caches in {folder}"
    context.result({"removed": files, "bytes": size}, text)


def _confirmed(question: str) -> bool:
    try:
        return click.confirm(question, err=True)
    except click.Abort:  # Ctrl-C, or nobody is there to answer
        click.echo(err=True)
        return False
