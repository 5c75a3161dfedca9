"""What every command shares: the group, the common options, and how results and progress are shown."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from latentedit import __version__
from latentedit.cli.terminal import Progress
from latentedit.errors import LatentEditError


class Context:
    """What every command shares: device, batch size, and how to speak."""

    def __init__(self, device: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool) -> None:
        self.device, self.batch_size, self.threads, self.as_json, self.quiet = (
            device,
            batch_size,
            threads,
            as_json,
            quiet,
        )
        self._hints: list[str] = []

    def prepare(self) -> None:
        """Set what torch needs before a command uses it."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise LatentEditError(f"device {self.device!r} cannot be used: {reason}; cpu always works") from error

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    def hint(self, text: str) -> None:
        """A line for people, on stderr when the result is there; errors stay alone."""
        self._hints.append(text)

    def result(self, document: dict[str, Any], text: str) -> None:
        """The result on stdout: text for people, one JSON document for machines, null for what is not known."""
        from latentedit.files import jsonable

        click.echo(json.dumps(jsonable(document), indent=2) if self.as_json else text)
        for hint in self._hints:
            self.say(hint)

    def progress(self, what: str) -> Callable[[int, int], None] | None:
        """A progress callback that shows rate and time left, or None when quiet."""
        return None if self.quiet else Progress(what)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every working command takes, handed over as one Context."""

    @functools.wraps(command)
    def wrapper(device: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool, **rest: Any) -> Any:
        context = Context(device, batch_size, threads, as_json, quiet)
        context.prepare()
        return command(context, **rest)

    options = [
        click.option("--device", default="cpu", show_default=True, help="as in torch: cpu, cuda, cuda:1, mps"),
        click.option(
            "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="pictures decoded at once"
        ),
        click.option("--threads", type=click.IntRange(1), help="of the processor; torch decides when not given"),
        click.option("--json", "as_json", is_flag=True, help="print one JSON document"),
        click.option("--quiet", is_flag=True, help="no progress"),
    ]
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper


_ORDER = (
    "demo",
    "sample",
    "tag",
    "compare-tags",
    "fit-directions",
    "fit-prior",
    "edit",
    "evaluate",
    "compare",
    "train-judge",
    "info",
    "convert",
    "list",
)


class Ordered(click.Group):
    """A group that lists its commands in the order of work."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))


@click.group(cls=Ordered, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="latentedit")
def cli() -> None:
    """Find sliders in a pretrained image generator, and use them.

    \b
    latentedit edit --tag long_hair          edit with what ships
    latentedit sample                        draw and tag samples of a generator
    latentedit fit-directions                find a direction for every tag, in seconds
    latentedit fit-prior                     learn how codes and tags go together: natural edits
    latentedit demo                          all of it, with a report
    """


def recorded_generator(asked: str | None, recorded: str, file: Path) -> str:
    """The generator that was asked for, else the one that a file names, unless that name is code.

    Raises:
        LatentEditError: it is ``torch:...``, and files do not choose what is imported and called.
    """
    if asked is None and recorded.startswith("torch:"):
        raise LatentEditError(f"{file} is of {recorded}, which is code; say that you want it: --generator '{recorded}'")
    return asked or recorded


def refuse_existing(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise LatentEditError(f"{path} exists; name another file, or overwrite it with --force")
