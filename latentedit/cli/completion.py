"""What shells complete after options, by what the option is called; torch stays out of it, so that it is quick.

Bash, zsh and fish ask by an environment variable, as click has it.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from latentedit.errors import LatentEditError

BUILT_IN = {
    "generators": ("avatar", "dcgan:", "genforce:", "gnr:", "nvlabs:", "stylegan2:", "torch:", "vae:"),
    "taggers": ("avatar", "clip:", "csv:", "deepdanbooru:", "judge:", "onnx:", "torch:"),
    "finders": ("lasso", "linear", "sefa", "svd"),
}
"""Names of the registries, which cannot be asked without torch; names that need more after them end in a colon."""
_OWN = Path("directions")


def _names(kind: str) -> Callable[[click.Context], Iterable[str]]:
    return lambda context: [*BUILT_IN[kind], *(one.name for one in entry_points(group=f"latentedit.{kind}"))]


def _tags(context: click.Context) -> list[str]:
    """Tags of the named samples or files, else of the newest file in ``./directions``, else of what ships."""
    from latentedit.files import visible_files
    from latentedit.shipped import shipped
    from latentedit.tensorfile import tags_in

    given = context.params
    if "samples" in (parameter.name for parameter in context.command.params):
        from latentedit.samples.store import open_samples

        try:
            return list(open_samples(given.get("samples") or "samples").tags())
        except LatentEditError:
            return []
    named = [path for key in ("directions", "prior", "file") if isinstance(path := given.get(key), Path)]
    named += given.get("files") or ()
    newest = sorted(visible_files(_OWN, "*.safetensors"), key=lambda path: -path.stat().st_mtime)
    for files in (named, newest[:1], [shipped("directions/avatar.safetensors")]):
        if found := [tag for file in files for tag in tags_in(file)]:
            return found
    return []


class _Name(click.types.StringParamType):
    """Text that completes to a name."""

    def __init__(self, names: Callable[[click.Context], Iterable[str]]) -> None:
        self.names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """What there is of these names."""
        return [CompletionItem(name) for name in sorted(set(self.names(ctx))) if name.startswith(incomplete)]


class _EditText(_Name):
    """Text of an edit, whose end, from the last sign of its syntax on, completes to a tag."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The same, with another tag at its end."""
        head = incomplete.rstrip(_IN_TAGS) if incomplete[-1:] in _IN_TAGS else incomplete
        found = super().shell_complete(ctx, param, incomplete[len(head) :])
        return [CompletionItem(head + item.value) for item in found]


class _AnyFile(click.types.StringParamType):
    """A name or a file."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Any files."""
        return [CompletionItem(incomplete, type="file")]


class _EditorFile(click.Path):
    """A file of directions or a prior.

    Args:
        kind: what reads it.
    """

    def __init__(self, kind: click.ParamType[Any]) -> None:
        super().__init__()
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """As without completion."""
        return self.kind.convert(value, param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Such files here and in ``./directions``, else any files."""
        from latentedit.files import visible_files

        found = sorted({*visible_files(_OWN, "*.safetensors"), *visible_files(Path(), "*.safetensors")})
        fitting = [CompletionItem(path.as_posix()) for path in found if path.as_posix().startswith(incomplete)]
        return fitting or super().shell_complete(ctx, param, incomplete)


_IN_TAGS = string.ascii_letters + string.digits + "_:()"
_COMPLETED: dict[str, Callable[[], click.ParamType[Any]]] = {
    "generator": lambda: _Name(_names("generators")),
    "tagger": lambda: _Name(_names("taggers")),
    "judge": lambda: _Name(_names("taggers")),
    "finder": lambda: _Name(_names("finders")),
    "texts": lambda: _EditText(_tags),
    "steps": lambda: _EditText(_tags),
    "tags": lambda: _Name(_tags),
    "opposite": lambda: _Name(_tags),
    "file": _AnyFile,
}
"""By the name of the option: what it takes, where that is plain text."""
_COMPLETED_FILES = ("directions", "prior", "files")
"""Names of options that take files of editors."""


def complete(parameters: Iterable[click.Parameter]) -> None:
    """Let shells complete what options of these names take."""
    for parameter in parameters:
        if parameter.name in _COMPLETED and type(parameter.type) is click.types.StringParamType:
            parameter.type = _COMPLETED[parameter.name]()
        elif parameter.name in _COMPLETED_FILES and isinstance(parameter.type, click.Path):
            parameter.type = _EditorFile(parameter.type)
