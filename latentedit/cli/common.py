"""What every command shares: the group, the common options, and how results and progress are shown."""

from __future__ import annotations

import functools
import json
import logging
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from latentedit import __version__
from latentedit.cli.settings import Command, defaults, from_settings, read_settings
from latentedit.cli.terminal import Progress
from latentedit.errors import LatentEditError, UnreadablePictures, unreadable

if TYPE_CHECKING:
    import torch

    from latentedit.generators import Generator
    from latentedit.taggers import Tagger


T = TypeVar("T")
AUTO = "auto"
DTYPES = ("float32", "float16", "bfloat16")


class Interrupted(LatentEditError):
    """Ctrl-C; the message says what is kept."""


def _nothing() -> str:
    return "nothing is kept"


class Context:
    """What every command shares: device, batch size, and how to speak.

    Attributes:
        dtype_name: of what generators decode in, as torch calls it.
        kept: says what is kept when Ctrl-C ends the command; a command that keeps something sets another one.
    """

    def __init__(
        self, device: str, dtype: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool
    ) -> None:
        self._device, self.dtype_name, self.batch_size, self.threads = device, dtype, batch_size, threads
        self.as_json, self.quiet, self._chosen = as_json, quiet, device == AUTO
        self._hints: list[str] = []
        self.kept: Callable[[], str] = _nothing
        self._unreadable: dict[str, tuple[int, dict[str, str]]] = {}

    def prepare(self) -> None:
        """Set what torch needs before a command uses it."""
        import torch

        from latentedit.registry import usable_device

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where the home folder cannot be written to
        if self.threads is not None:
            torch.set_num_threads(self.threads)
        coarse = self.dtype_name != "float32"  # else float32 is what it says, on CUDA too
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = coarse
        if self._device != AUTO:
            usable_device(self._device)

    @property
    def device(self) -> str:
        """As torch names it; ``auto`` is chosen, and said, when a command first asks."""
        if self._device == AUTO:
            self._device = _fastest(self.say)
        return self._device

    @property
    def dtype(self) -> torch.dtype:
        """What generators decode in."""
        import torch

        found: torch.dtype = getattr(torch, self.dtype_name)
        return found

    def generator(self, name: str) -> Generator:
        """The generator of that name, on the device and in the dtype that were asked for.

        Raises:
            LatentEditError: it cannot be loaded.
        """
        from latentedit import load_generator

        return self._placed(partial(load_generator, name, dtype=self.dtype), name)

    def tagger(self, name: str) -> Tagger:
        """The tagger of that name, on the device that was asked for.

        Raises:
            LatentEditError: it cannot be loaded.
        """
        from latentedit import load_tagger

        return self._placed(partial(load_tagger, name), name)

    def _placed(self, load: Callable[..., T], name: str) -> T:
        """Loaded on the device; on the processor where the device was our choice and does not do."""
        try:
            return load(device=self.device)
        except LatentEditError as error:
            if not self._chosen or self.device == "cpu":
                raise
            found = load(device="cpu")  # or that is the error
            self.say(f"{name} is on the processor: {error}")
            return found

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.quiet:
            click.echo(text, err=True)

    def hint(self, text: str) -> None:
        """A line for people, on stderr when the result is there; errors stay alone."""
        self._hints.append(text)

    def part(self, text: str) -> None:
        """A part of the result, on stdout as soon as it is there; a JSON document has it in the end."""
        if not self.as_json:
            click.echo(text)

    def result(self, document: dict[str, Any], text: str) -> None:
        """The result on stdout: text for people, one JSON document for machines, null for what is not known.

        Where the text was printed in parts, it is empty.
        """
        from latentedit.files import jsonable

        if bad := {file: why for _, found in self._unreadable.values() for file, why in found.items()}:
            document = {**document, "unreadable": [{"file": file, "why": why} for file, why in bad.items()]}
        shown = json.dumps(jsonable(document), indent=2) if self.as_json else text
        taken = click.get_current_context().meta.get(_STDOUT)
        if shown:
            click.echo(shown.replace(str(taken), "-") if taken else shown, err=taken is not None)
        for hint in self._hints:
            self.say(hint)

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Remembers the pictures that cannot be read of which warnings tell; the rest being done, they are an error.

        Raises:
            LatentEditError: there were such pictures.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("always", UnreadablePictures)
            show = warnings.showwarning

            def hear(message: Warning | str, *rest: Any, **more: Any) -> None:
                if isinstance(message, UnreadablePictures):
                    _, known = self._unreadable.setdefault(message.where, (message.of, {}))
                    if known.keys() >= message.why.keys():
                        return  # the folder is read once more
                    known.update(message.why)
                show(message, *rest, **more)

            warnings.showwarning = hear
            yield
        if self._unreadable:
            every = {file: why for _, found in self._unreadable.values() for file, why in found.items()}
            raise LatentEditError(
                f"{unreadable(every, sum(of for of, _ in self._unreadable.values()))}; all else is done"
            )

    def progress(self, what: str) -> Callable[[int, int], None] | None:
        """A progress callback that shows rate and time left, or None when quiet."""
        return None if self.quiet else Progress(what)


def _fastest(say: Callable[[str], None]) -> str:
    """The device that is likely to be fastest: CUDA or an Apple GPU where torch finds one that works."""
    import torch

    from latentedit.registry import usable_device

    found = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    for device in (name for name, there in found.items() if there):
        name = f"{torch.cuda.get_device_name()} (cuda)" if device == "cuda" else "the Apple GPU (mps)"
        try:
            usable_device(device)
        except LatentEditError as error:
            say(f"{name} cannot be used: {error}; computing on the processor")
            continue
        say(f"computing on {name}; --device cpu is the processor")
        return device
    return "cpu"


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every working command takes, handed over as one Context."""

    @functools.wraps(command)
    def wrapper(
        device: str, dtype: str, batch_size: int, threads: int | None, as_json: bool, quiet: bool, **rest: Any
    ) -> Any:
        context = Context(device, dtype, batch_size, threads, as_json, quiet)
        try:
            context.prepare()
            with context.hearing():
                return command(context, **rest)
        except KeyboardInterrupt:
            raise Interrupted(context.kept()) from None

    options = [
        click.option(
            "--device", default=AUTO, show_default=True,
            help="as in torch: cpu, cuda, cuda:1, mps; auto is a GPU where torch finds one",
        ),
        click.option(
            "--dtype", type=click.Choice(DTYPES), default="float32", show_default=True,
            help="what generators decode in; the shorter ones are for a GPU: faster, less exact",
        ),
        click.option(
            "--batch-size", type=click.IntRange(1), default=32, show_default=True, help="pictures decoded at once"
        ),
        click.option("--threads", type=click.IntRange(1), help="of the processor; torch decides when not given"),
        click.option("--json", "as_json", is_flag=True, help="print one JSON document"),
        click.option("--quiet", is_flag=True, help="no progress"),
    ]  # fmt: skip
    for option in reversed(options):
        wrapper = option(wrapper)
    return wrapper


def how_many(
    default: int, help: str, *, least: int = 1, most: int | None = None, old: str = "--count"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``-n N``, the option that says how many, handed over as ``n``.

    Args:
        default: where it is not given.
        help: of what.
        least, most: that are taken.
        old: what it was called before; goes on working until 1.0, hidden, with a line; "" for none.
    """

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        kind = click.IntRange(least, most)
        if old:
            command = renamed(old, "n", "-n", type=kind)(command)
        return click.option("-n", "--n", type=kind, metavar="N", default=default, show_default=True, help=help)(command)

    return decorate


def renamed(old: str, parameter: str, new: str, **settings: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An old spelling of an option: hidden, it goes on working until 1.0 and says on stderr what it is called now."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def wrapper(*given: Any, **values: Any) -> Any:
            value = values.pop(f"old_{parameter}")
            if value is not None:
                click.echo(f"{old} is called {new} now; the old spelling goes with 1.0", err=True)
                values[parameter] = value
            return command(*given, **values)

        return click.option(old, f"old_{parameter}", hidden=True, **settings)(wrapper)

    return decorate


_ORDER = (
    "demo",
    "sample",
    "tag",
    "compare-tags",
    "fit-directions",
    "fit-prior",
    "edit",
    "decode",
    "evaluate",
    "compare",
    "train-judge",
    "info",
    "status",
    "clean",
    "convert",
    "list",
)


class Ordered(click.Group):
    """A group that lists its commands in the order of work; so do the groups in it."""

    command_class = Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each command with the whole first sentence of its help; click would cut it to a line."""
        shown = [(name, self.commands[name]) for name in self.list_commands(ctx) if not self.commands[name].hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=1_000)) for name, command in shown])


Ordered.group_class = Ordered


_COMPLETION = """\b
Completion of options, tags, generators, finders and files, in bash, zsh or fish:
  eval "$(_LATENTEDIT_COMPLETE=bash_source latentedit)"    or zsh_source
  _LATENTEDIT_COMPLETE=fish_source latentedit | source
"""


@click.group(
    cls=Ordered, epilog=_COMPLETION, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="latentedit")
@click.pass_context
def cli(context: click.Context) -> None:
    """Find sliders in a pretrained image generator, and use them.

    \b
    latentedit edit --tag long_hair          edit with what ships
    latentedit sample                        draw and tag samples of a generator
    latentedit fit-directions                find a direction for every tag, in seconds
    latentedit fit-prior                     learn how codes and tags go together: natural edits
    latentedit demo                          all of it, with a report
    """
    assert isinstance(context.command, click.Group)
    context.default_map = defaults(context.command, read_settings())


class Place(click.Path):
    """A file or folder; ``~`` is the home folder where no shell has said so."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path; one that begins with ``~`` and is there is meant itself."""
        from latentedit.files import home_of

        return Path(home_of(str(super().convert(value, param, ctx))))


_STDOUT = "latentedit.stdout"


class OutFile(Place):
    """A file that a command writes; ``-`` is standard output, and then all text goes to stderr.

    Commands see a temporary file, which is copied when the command ends well.

    Args:
        suffix: of what ``-`` stands for.
    """

    def __init__(self, suffix: str = "") -> None:
        super().__init__()
        self.suffix = suffix

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, that of a temporary file for ``-``."""
        path = super().convert(value, param, ctx)
        if str(path) != "-" or ctx is None or ctx.resilient_parsing:
            return path
        if sys.stdout.isatty():
            self.fail("- is standard output, and that is a terminal; send it to a file or a program, as in > FILE")
        stdout = Path(ctx.with_resource(tempfile.TemporaryDirectory())) / f"stdout{self.suffix}"
        ctx.meta[_STDOUT] = stdout
        ctx.call_on_close(lambda: _copy_to_stdout(stdout))
        return stdout


def is_stdout(path: Path) -> bool:
    """Whether a path that :class:`OutFile` gave stands for standard output."""
    return click.get_current_context().meta.get(_STDOUT) == path


def _copy_to_stdout(path: Path) -> None:
    if path.exists():
        with open(path, "rb") as file:
            shutil.copyfileobj(file, sys.stdout.buffer)
        sys.stdout.buffer.flush()


GOES_ON = "the same command goes on from there"


def rows_kept(samples: Path, tagger_id: str | None = None) -> str:
    """What Ctrl-C leaves in a folder of samples: its rows, or those that a tagger has tagged."""
    from latentedit import open_samples

    try:
        manifest = open_samples(samples).manifest
        shards = manifest.shards if tagger_id is None else manifest.tagger(tagger_id).shards
    except LatentEditError:  # it was not begun
        shards = ()
    rows = sum(shard.rows for shard in shards)
    return f"{rows} rows are kept in {samples}; {GOES_ON}" if rows else f"no rows are kept in {samples} yet"


def recorded_generator(asked: str | None, recorded: str, file: Path, *, look: bool = True) -> str:
    """The generator that was typed, else the one that a file names, unless that name is code; else the settings' one.

    Args:
        asked: what was typed, or stands in the settings.
        recorded: what the file names.
        file: which names it.
        look: for the generator's own file near that one, where it is not where the name says.

    Raises:
        LatentEditError: it is ``torch:...``, and files do not choose what is imported and called; its file is nowhere.
    """
    is_code = recorded.startswith("torch:")
    if asked is None and is_code:
        raise LatentEditError(f"{file} is of {recorded}, which is code; say that you want it: --generator '{recorded}'")
    from_file = recorded and not is_code and from_settings(click.get_current_context(), "generator")
    if asked and not from_file:
        return asked
    if not look:
        return recorded
    from latentedit.editing.ingredients import found_generator

    if (found := found_generator(recorded, file)) != recorded:
        click.echo(f"{recorded}, the generator of {file}, is {found} now", err=True)
    return found


def only_one_in(folder: Path) -> None:
    """Make a folder when it is missing, and refuse it while another process writes there; until the command ends.

    Raises:
        LatentEditError: another process is writing there, or it cannot be made.
    """
    from latentedit.files import only_writer

    click.get_current_context().with_resource(only_writer(folder))


def refuse_existing(path: Path, force: bool) -> None:
    """Refuse to overwrite a file, and to write one that another process is writing while this command runs.

    Raises:
        LatentEditError: there is one, or another process is writing it, or its folder cannot be written to.
    """
    from latentedit.files import destination, only_writer_of

    destination(path)
    if path.exists() and not force:
        raise LatentEditError(f"{path} exists; name another file, or overwrite it with --force")
    if path.is_dir():
        raise LatentEditError(f"{path} is a folder; name a file")
    context = click.get_current_context()
    mine = context.meta.setdefault("latentedit.written", set())
    if path.absolute() not in mine:
        context.with_resource(only_writer_of(path))
        mine.add(path.absolute())
