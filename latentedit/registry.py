"""One registry for everything that is looked up by name: generators, taggers, finders.

Built-ins and other packages come through the same door: a name and a ``module:attribute`` that is
imported when it is asked for. Packages declare theirs as entry points of the registry's group.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from latentedit.errors import LatentEditError, UnknownNameError


def import_object(target: str) -> Any:
    """The object that ``module:attribute`` names.

    Raises:
        LatentEditError: the text has another form, or it cannot be imported.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise LatentEditError(f"{target!r} does not name an object; write package.module:attribute")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except ImportError as error:
        raise LatentEditError(
            f"cannot import {module_name!r} for {target!r}: {error}; is it installed, and in PYTHONPATH?"
        ) from error
    except AttributeError as error:
        raise LatentEditError(f"module {module_name!r} has no {attribute!r}") from error


def parse_name(name: str) -> tuple[str, str, dict[str, str]]:
    """Split ``kind:argument?key=value&key=value`` into kind, argument and options."""
    head, _, query = name.partition("?")
    kind, _, argument = head.partition(":")
    return kind, argument, dict(parse_qsl(query, keep_blank_values=True))


def check_options(kind: str, options: Mapping[str, str], known: Mapping[str, str]) -> None:
    """Refuse options of ``kind:argument?key=value`` that the kind does not have.

    Args:
        kind: of the name.
        options: as they were typed.
        known: option to what it means.

    Raises:
        LatentEditError: there is one.
    """
    if unknown := sorted(set(options) - set(known)):
        allowed = ", ".join(f"{key} ({meaning})" for key, meaning in known.items()) or "none"
        raise LatentEditError(f"{kind} has no option {', '.join(unknown)}; its options: {allowed}")


class Registry:
    """Names to things.

    Args:
        noun: what the things are called in messages.
        group: entry-point group that other packages add to.
        builtin: name to ``module:attribute``.
        advice: what to do with a file's name that came without a kind; ``{}`` stands for the name.
    """

    def __init__(self, noun: str, group: str, builtin: Mapping[str, str], *, advice: str = "") -> None:
        self.noun, self.group, self.advice = noun, group, advice
        self._targets: dict[str, str] = dict(builtin)
        self._objects: dict[str, Any] = {}

    def register(self, name: str) -> Callable[[Any], Any]:
        """Decorator that adds an object under ``name``.

        Raises:
            LatentEditError: the name is taken.
        """

        def add(thing: Any) -> Any:
            if name in self.names():
                raise LatentEditError(f"{self.noun} {name!r} is registered already; choose another name")
            self._objects[name] = thing
            return thing

        return add

    def names(self) -> list[str]:
        """All names in alphabetical order."""
        return sorted({*self._targets, *self._objects, *(e.name for e in entry_points(group=self.group))})

    def get(self, name: str) -> Any:
        """The thing of that name, imported when needed.

        Raises:
            UnknownNameError: there is none.
        """
        if name not in self._objects:
            targets = {e.name: e.value for e in entry_points(group=self.group)} | self._targets
            if name not in targets:
                raise UnknownNameError(self.noun, name, self.names())
            self._objects[name] = import_object(targets[name])
        return self._objects[name]

    def resolve(self, name: str) -> tuple[Any, str, dict[str, str]]:
        """The thing, argument and options that ``kind:argument?key=value`` names.

        Raises:
            UnknownNameError: there is no such kind.
            LatentEditError: the name is a file's, without a kind.
        """
        if Path(name).exists() and name not in self.names():
            kinds = ", ".join(self.names())
            raise LatentEditError(
                f"{name!r} is a file; say what kind of {self.noun} it is, as in KIND:{name} (kinds: {kinds})"
                + self.advice.format(name)
            )
        kind, argument, options = parse_name(name)
        return self.get(kind), argument, options
