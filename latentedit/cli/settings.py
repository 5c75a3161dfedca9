"""``latentedit.toml`` in the current folder: generator, tagger, judge and device, so that they are typed once.

The file is the user's own, as a Makefile is, so it may name ``torch:`` code, which no other file may; one that belongs
to another user may not. What is typed wins, and so does a generator that a named file records, unless that is code.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from latentedit.cli.completion import complete
from latentedit.errors import LatentEditError, UnknownNameError

FILE = Path("latentedit.toml")
KEYS = ("generator", "tagger", "judge", "device")
_TAGS = ("sample", "tag")
"""Commands that tag; elsewhere ``--tagger`` says whose tags are meant."""
_ELSEWHERE = ("study",)
"""Commands that read all but the device from a file of their own."""


def read_settings() -> dict[str, str]:
    """What the file says; nothing when there is none.

    Raises:
        LatentEditError: it is not TOML, holds another key or what is no text, or is another user's and names code.
    """
    if not FILE.is_file():
        return {}
    from latentedit.files import read_toml

    found = read_toml(FILE)
    for key, value in found.items():
        if key not in KEYS:
            raise UnknownNameError(f"key of {FILE}", key, KEYS)
        if not isinstance(value, str):
            raise LatentEditError(f"{FILE}: {key} is {value!r}; write a name in quotes, as --{key} takes it")
        if value.startswith("torch:") and not _is_own():
            raise LatentEditError(f"{FILE} is another user's and names code; say that you want it: --{key} '{value}'")
    return found


def _is_own() -> bool:
    return not hasattr(os, "getuid") or FILE.stat().st_uid in (os.getuid(), 0)


def defaults(group: click.Group, settings: Mapping[str, str]) -> dict[str, Any]:
    """Command → option → value, as click's ``default_map`` wants it."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found[name] = defaults(command, settings)
        else:
            known = {option.name for option in command.params} - (set() if name in _TAGS else {"tagger"})
            known &= {"device"} if name in _ELSEWHERE else set(KEYS)
            found[name] = {key: value for key, value in settings.items() if key in known}
    return found


def from_settings(context: click.Context, key: str) -> bool:
    """Whether an option of the running command was read from the file."""
    return context.get_parameter_source(key) == ParameterSource.DEFAULT_MAP


class Command(click.Command):
    """A command that says what it read from the file, and whose options shells complete."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        complete(self.params)

    def invoke(self, ctx: click.Context) -> Any:
        """Say it, and run."""
        if read := [f"{key} = {ctx.params[key]}" for key in KEYS if key in ctx.params and from_settings(ctx, key)]:
            if not ctx.params.get("quiet"):
                click.echo(f"{FILE}: {', '.join(read)}", err=True)
        return super().invoke(ctx)
