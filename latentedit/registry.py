"""Things that are looked up by name: the registries of generators, taggers, finders and feature networks.

Built-ins and other packages come through the same door: a name and a ``module:attribute`` that is
imported when it is asked for. Packages declare theirs as entry points of the registry's group.

Behind ``torch:package.module:factory?key=value`` are objects that a user's own code makes. They are imported, called
with their options and read with care here (:class:`Supplied`): whatever is wrong with them becomes one line that names
the factory. What is wanted of a generator, a tagger or a feature network is in the ``custom`` module of its folder.
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import unquote

import torch
from torch import Tensor, nn

from latentedit.errors import LatentEditError, UnknownNameError, out_of_memory
from latentedit.files import home_of

_KEYWORDS = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


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
    """Split ``kind:argument?key=value&key=value`` into kind, argument and options.

    A file's own name may have a ``?``: the longest argument that is a file or folder is the one. A ``~`` at its start
    is the home folder, unless a file is called so.
    """
    kind, _, argument, query = split_name(name)
    return kind, argument, read_options(query)


def split_name(name: str) -> tuple[str, str, str, str]:
    """What :func:`parse_name` reads, with the options as they were typed: kind, ":" or "", argument, options."""
    kind, colon, rest = name.partition(":")
    if not colon:
        kind, _, query = name.partition("?")
        return kind, "", "", query
    for path, query in readings(rest):
        if path and os.path.exists(argument := home_of(path)):
            return kind, colon, argument, query
    argument, _, query = rest.partition("?")
    return kind, colon, home_of(argument), query


def readings(text: str) -> Iterator[tuple[str, str]]:
    """What ``path?options`` may mean, path and options, the longest path first: it may have a ``?`` itself."""
    for end in (len(text), *(i for i in range(len(text) - 1, -1, -1) if text[i] == "?")):
        yield text[:end], text[end + 1 :]


def read_options(query: str) -> dict[str, str]:
    """The options in ``key=value&key=value``; a ``%26`` in a value stands for ``&``, as in addresses of the web."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return {unquote(key): unquote(value) for key, _, value in pairs}


def usable_device(device: str | torch.device) -> torch.device:
    """A device that this machine has.

    Raises:
        LatentEditError: it has none of that name, or it does not work; the message says which there are.
    """
    found, there = named_device(device), devices()
    try:
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        listed = str(found) in there or f"{found}:0" in there
        reason = f" that works ({str(error).splitlines()[0][:100]})" if listed else ""
        raise LatentEditError(f"no device {str(device)!r} here{reason}; there are: {', '.join(there)}") from error
    return found


def named_device(device: str | torch.device) -> torch.device:
    """The device of a name, whether it is here or not.

    Raises:
        LatentEditError: torch knows no such device, or it computes nothing.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # of names that torch gives up
            found = torch.device(device)
        if found.type == "meta":
            raise RuntimeError("it holds no numbers")
    except (RuntimeError, TypeError) as error:
        raise LatentEditError(f"no device {str(device)!r}; there are: {', '.join(devices())}") from error
    return found


def devices() -> list[str]:
    """Names of the devices that torch finds on this machine, the processor first."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return ["cpu", *cuda, *(["mps"] if torch.backends.mps.is_available() else [])]


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
        if os.path.exists(name) and name not in self.names():
            kinds = ", ".join(self.names())
            raise LatentEditError(
                f"{name!r} is a file; say what kind of {self.noun} it is, as in KIND:{name} (kinds: {kinds})"
                + self.advice.format(name)
            )
        kind, argument, options = parse_name(name)
        return self.get(kind), argument, options


class Supplied:
    """What a factory returned, and the name it goes by in messages.

    Args:
        name: as the user wrote it, such as ``torch:mine:generator?size=64``.
        thing: the object.
    """

    def __init__(self, name: str, thing: Any) -> None:
        self.name, self.thing = name, thing
        self.device, self.dtype = torch.device("cpu"), torch.float32

    def error(self, problem: str) -> LatentEditError:
        """The error that says what is wrong with this object."""
        return LatentEditError(f"{self.name}: {problem}")

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Turns what the user's code raises into one line, and the original stays its cause."""
        try:
            yield
        except Exception as error:
            if isinstance(error, LatentEditError) or out_of_memory(error):
                raise
            raise self.error(f"{what} raised {_one_line(error)}") from error

    def get(self, name: str, default: Any = None) -> Any:
        """An attribute, or the default where there is none."""
        with self._reading(name):
            return getattr(self.thing, name, default)

    def count(self, name: str, default: Any = None) -> int:
        """An attribute that is a whole number from 1.

        Raises:
            LatentEditError: it is missing without a default, or something else.
        """
        value = self.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"{name} is {value!r}; it must be a whole number from 1")
        return value

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text of one or more characters."""
        value = self.get(name, default)
        if not isinstance(value, str) or not value:
            raise self.error(f"{name} is {value!r}; it must be a text")
        return value

    def words(self, name: str, default: tuple[str, ...] | None = None) -> tuple[str, ...]:
        """An attribute that is a sequence of different texts, at least one.

        Raises:
            LatentEditError: it is missing without a default, or something else.
        """
        value = self.get(name, default)
        fits = isinstance(value, (list, tuple)) and value and all(isinstance(word, str) and word for word in value)
        if not fits or len(set(value)) != len(value):
            raise self.error(f"{name} is {value!r}; it must be a tuple of different texts, at least one")
        return tuple(value)

    def has(self, method: str) -> bool:
        """Whether the object has a method of that name.

        Raises:
            LatentEditError: it has something of that name that cannot be called.
        """
        value = self.get(method)
        if value is not None and not callable(value):
            raise self.error(f"{method} is a {type(value).__name__}; it must be a method")
        return value is not None

    def require(self, *methods: str) -> None:
        """Check that the methods are there.

        Raises:
            LatentEditError: one is missing.
        """
        if missing := [method for method in methods if not self.has(method)]:
            raise self.error(f"the factory returned a {type(self.thing).__name__} without {' and '.join(missing)}")

    def takes(self, method: str, keyword: str) -> bool:
        """Whether the method has a keyword argument of that name."""
        parameters = _parameters(self.get(method))
        if keyword in parameters:
            return parameters[keyword].kind in _KEYWORDS
        return _takes_anything(parameters)

    def call(self, method: str, *given: Any, **offered: Any) -> Any:
        """Call a method without gradients, with those of the offered keyword arguments that its signature has."""
        taken = {keyword: value for keyword, value in offered.items() if self.takes(method, keyword)}
        with self._reading(method), torch.inference_mode():
            return self.get(method)(*given, **taken)

    def tensor(self, method: str, value: Any, shape: tuple[int | None, ...], meaning: str) -> Tensor:
        """Check what a method returned: a float32 copy that the object's own memory cannot reach.

        Args:
            method: the method that returned ``value``.
            value: a tensor of floating point numbers, if all is well.
            shape: what is expected; None stands for any number.
            meaning: the shape in words.

        Raises:
            LatentEditError: another type, shape or dtype, or values that are not finite.
        """
        if not isinstance(value, Tensor):
            raise self.error(f"{method} returned a {type(value).__name__}; it must return a torch.Tensor, {meaning}")
        got = tuple(value.shape)
        if len(shape) != len(got) or any(a not in (None, b) for a, b in zip(shape, got, strict=True)):
            raise self.error(f"{method} returned shape {got}; it must be {meaning}")
        if not value.is_floating_point():
            raise self.error(f"{method} returned {value.dtype}; it must be floating point, {meaning}")
        value = value.detach().clone().float()
        if not torch.isfinite(value).all():
            raise self.error(f"{method} returned values that are not finite (NaN or infinity)")
        return value

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor of the object's modules and attributes by name.

        An object without tensors is known by its factory and options, as the name of an empty one.
        """
        found: dict[str, Tensor] = {}
        for name, value in _holdings(self.thing):
            state = value.state_dict(prefix=name) if isinstance(value, nn.Module) else {name: value}
            found |= {key: tensor for key, tensor in state.items() if isinstance(tensor, Tensor)}
        return found or {self.name: torch.zeros(0)}

    def settle(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the object's modules, switch them to evaluation and freeze them."""
        self.device, self.dtype = device, dtype
        with self._reading(f"moving to {device}"):
            for _, value in _holdings(self.thing):
                if isinstance(value, nn.Module):
                    value.to(device, dtype).eval().requires_grad_(False)

    def place(self, value: Tensor) -> Tensor:
        """A tensor where the object's modules are."""
        return value.to(self.device, self.dtype)


def build(noun: str, argument: str, options: Mapping[str, str], *, own: Collection[str] = ()) -> Supplied:
    """Import the factory that ``package.module:factory`` names and call it with the options.

    The working directory can be imported from, as with ``python -m``.

    Args:
        noun: what is wanted, for messages.
        argument: ``package.module:factory``.
        options: keyword arguments, all text.
        own: options that are the caller's, and not handed to the factory.

    Raises:
        LatentEditError: it cannot be imported, takes other options, or raises.
    """
    query = "&".join(f"{key}={value}" for key, value in sorted(options.items()))
    name = f"{noun} torch:{argument}" + (f"?{query}" if query else "")
    factory = _import_factory(name, argument)
    given = {key: value for key, value in options.items() if key not in own}
    _check_options(name, argument, factory, given)
    try:
        return Supplied(name, factory(**given))
    except (Exception, SystemExit) as error:
        raise LatentEditError(f"{name}: the factory raised {_one_line(error)}") from error


def _import_factory(name: str, argument: str) -> Callable[..., Any]:
    module, _, attribute = argument.partition(":")
    if module.endswith(".py") or "/" in module or os.sep in module:
        dotted = module.removesuffix(".py").strip("./").replace(os.sep, "/").replace("/", ".")
        raise LatentEditError(
            f"{name}: {module!r} is a file name; write the module's name, as in torch:{dotted}:{attribute or 'factory'}"
        )
    if not {"", os.getcwd()} & set(sys.path):
        sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        if module and attribute:
            importlib.import_module(module)
        factory = import_object(argument)
    except LatentEditError as error:
        raise LatentEditError(f"{name}: {error}") from error
    except ImportError as error:
        raise LatentEditError(
            f"{name}: cannot import {module!r}: {_one_line(error)}; is it installed, in PYTHONPATH or in this folder?"
        ) from error
    except (Exception, SystemExit) as error:
        raise LatentEditError(f"{name}: importing {module!r} raised {_one_line(error)}") from error
    if isinstance(factory, nn.Module) or not callable(factory):
        raise LatentEditError(
            f"{name}: {attribute} is a {type(factory).__name__}, not a factory; write a function that returns it"
        )
    return factory


def _check_options(name: str, argument: str, factory: Callable[..., Any], options: Mapping[str, str]) -> None:
    parameters = _parameters(factory)
    if not parameters and not options:
        return
    known = [key for key, parameter in parameters.items() if parameter.kind in _KEYWORDS]
    if not _takes_anything(parameters) and (unknown := sorted(set(options) - set(known))):
        named, allowed = ", ".join(map(repr, unknown)), ", ".join(known) or "none"
        raise LatentEditError(f"{name}: the factory has no option {named}; its options: {allowed}")
    missing = [
        key
        for key, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind in _KEYWORDS and key not in options
    ]
    if missing:
        query = "&".join(f"{key}=..." for key in missing)
        raise LatentEditError(f"{name}: the factory needs {', '.join(missing)}; write torch:{argument}?{query}")


def _parameters(function: Any) -> Mapping[str, inspect.Parameter]:
    """The parameters of a callable; none for those of C code that do not tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}


def _takes_anything(parameters: Mapping[str, inspect.Parameter]) -> bool:
    return any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())


def _holdings(thing: Any) -> Iterator[tuple[str, nn.Module | Tensor]]:
    """Prefix and value of what holds the object's numbers: itself, or its attributes."""
    if isinstance(thing, nn.Module):
        yield "", thing
        return
    for name, value in sorted(getattr(thing, "__dict__", {}).items()):
        if isinstance(value, nn.Module):
            yield f"{name}.", value
        elif isinstance(value, Tensor):
            yield name, value


def _one_line(error: BaseException) -> str:
    """``KeyError: 'x'``, without line breaks and not longer than a few lines of a terminal."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
