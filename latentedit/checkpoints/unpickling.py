"""Reading pickles without running anything that they carry.

A pickle is a program: it may import any function, call it, and set attributes of what it got. It is read
here by a machine of our own, which imports nothing, sets no attribute and calls only what is in a table of
builders. A class that is not in the table becomes an inert stand-in that keeps its state; a function that is
not in the table, and anything of Python's standard library, ends the reading. Every instruction has a price
in bytes, and a file that spends far more than its size is refused before the memory is taken.

The instructions: ``pickletools`` in Python's standard library, and PEP 307, 3154 and 574.
"""

from __future__ import annotations

import pickletools
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from latentedit.errors import DamagedFileError, UnsafeFileError

_STANDARD = sys.stdlib_module_names | {"__builtin__", "copy_reg", "commands", "exceptions"}
_TYPES = "int long float complex bool str unicode bytes list tuple dict object".split()
_TYPING = "Any Union Optional Dict List Tuple Set Sequence Mapping Callable Literal".split()
_HARMLESS = {"argparse.Namespace", "uuid.UUID"} | {  # of the standard library, and only ever named or filled
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in _TYPES),
    *(f"typing.{name}" for name in _TYPING),
}
_CONTAINERS = (
    "MARK", "EMPTY_LIST", "EMPTY_DICT", "EMPTY_SET", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "LIST",
    "DICT", "FROZENSET", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "SETITEM", "SETITEMS", "ADDITEMS",
)  # fmt: skip
_CALLS = ("REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ", "GLOBAL", "STACK_GLOBAL", "PERSID", "BINPERSID")
_PRICES = dict.fromkeys(_CONTAINERS, 240) | dict.fromkeys(_CALLS, 700)  # bytes, rounded up; any other: 32
_PLAIN = (str, bytes, int, float, bool, type(None))


class Budget:
    """How much memory a file may ask for: a share that any file has, and three times its length.

    Three, because old pickles hold an array as text, which becomes bytes and then numbers.

    Args:
        size: of the file, in bytes.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._left, self._unclaimed = 3 * size + 100_000_000, 8 * size + 100_000_000

    def spend(self, count: int) -> None:
        """Bytes that are about to be taken.

        Raises:
            UnsafeFileError: more than the file may have.
        """
        self._left -= count
        if self._left < 0:
            raise UnsafeFileError(f"it has {amount(self.size)} and asks for far more memory")

    def affords(self, count: int) -> bool:
        """Whether that many bytes may be taken."""
        return count <= self._left

    def claim(self, count: int) -> None:
        """Bytes that a tensor shows; several may show the same, but not without end.

        Raises:
            UnsafeFileError: more than the file may have.
        """
        self._unclaimed -= count
        if self._unclaimed < 0:
            raise UnsafeFileError(f"it has {amount(self.size)} and its tensors claim far more")


class StandIn:
    """A class or function that a file names; it is not imported and never called."""

    __slots__ = ("class_name",)

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name


class Inert:
    """An object of a class that was not imported.

    Attributes:
        class_name: module and name of its class.
        args: what it was made with.
        state: its attributes, a dictionary unless the class has a way of its own.
        entries: of a dictionary's or a list's subclass; a list's by index.
    """

    __slots__ = ("args", "class_name", "entries", "state")

    def __init__(self, class_name: str, args: tuple[Any, ...] = ()) -> None:
        self.class_name, self.args = class_name, args
        self.state: Any = {}
        self.entries: dict[Any, Any] = {}

    def fields(self) -> dict[Any, Any]:
        """Attributes and entries together; not to be changed."""
        state = self.state if isinstance(self.state, dict) else {}
        return {**state, **self.entries} if state and self.entries else state or self.entries


class Fillable:
    """What a builder makes and a file then fills, by ``take_state(state)``."""

    def take_state(self, state: Any) -> None:
        """Take the state, or raise DamagedFileError."""
        raise NotImplementedError


def unpickle(
    file: BinaryIO,
    builders: Mapping[str, Any],
    persistent_load: Callable[[Any], Any] | None = None,
    budget: Budget | None = None,
) -> Any:
    """The next pickle of a file, as plain containers, what the builders make, and :class:`Inert` objects.

    Args:
        file: opened for reading, seekable; afterwards at the end of the pickle. Its ``read`` must not set
            memory aside for more than there is: bytes in memory, or a file mapped into it.
        builders: ``module.name`` to what stands in its place; functions and classes among them are called.
        persistent_load: what references to data outside the pickle become.
        budget: shared with other pickles of the same file.

    Raises:
        UnsafeFileError: it asks for code, or for far more memory than it has bytes.
        DamagedFileError: truncated, or not a pickle.
    """
    if budget is None:
        start = file.tell()
        budget = Budget(file.seek(0, 2) or file.tell())
        file.seek(start)
    machine = _Machine(builders, persistent_load, budget)
    try:
        for instruction, argument, _ in pickletools.genops(file):
            machine.step(instruction.name, argument)
        return machine.stack.pop()
    except DamagedFileError:
        raise
    except MemoryError as error:
        raise DamagedFileError("it needs more memory than there is") from error
    except Exception as error:  # a damaged pickle can go wrong with any exception there is
        reason = f"{type(error).__name__}: {error}" if len(error.args) == 1 else type(error).__name__
        raise DamagedFileError(f"its pickle is truncated or damaged ({shown(reason)}); download it again") from error


def shown(text: str, most: int = 100) -> str:
    """Text of a file as an error message can have it: short, in one line, nothing that steers a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text[:most]) + ("..." if len(text) > most else "")


class _Machine:
    """The stack machine that pickles are programs for."""

    def __init__(
        self, builders: Mapping[str, Any], persistent_load: Callable[[Any], Any] | None, budget: Budget
    ) -> None:
        self.stack: list[Any] = []
        self._below: list[list[Any]] = []  # stacks under each mark
        self._memo: dict[int, Any] = {}
        self._builders, self._persistent, self._budget = builders, persistent_load, budget
        self._callable = {id(thing) for thing in builders.values() if callable(thing)}
        self._names: dict[str, StandIn] = {}

    def step(self, name: str, argument: Any) -> None:
        """Follow one instruction."""
        self._budget.spend(_PRICES.get(name, 32) + (0 if argument is None else sys.getsizeof(argument)))
        method = _STEPS.get(name)
        if method is not None:
            method(self, argument)
        elif name in _PUSHED:
            self.stack.append(argument)
        else:
            raise UnsafeFileError(f"its instruction {name} is not read: it asks for code or data from outside")

    def _marked(self) -> list[Any]:
        """Everything above the last mark."""
        items, self.stack = self.stack, self._below.pop()
        return items

    def _constant(self, value: Any) -> None:
        self.stack.append(value)

    def _protocol(self, version: int) -> None:
        if version > 5:
            raise DamagedFileError(f"its pickle is of protocol {version}; up to 5 are read")

    def _mark(self, _: Any) -> None:
        self._below.append(self.stack)
        self.stack = []

    def _pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self._marked()

    def _pop_mark(self, _: Any) -> None:
        self._marked()

    def _duplicate(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    def _put(self, index: int) -> None:
        self._memo[index] = self.stack[-1]

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _get(self, index: int) -> None:
        self.stack.append(self._memo[index])

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise DamagedFileError("its pickle is damaged: a tuple lacks elements")
        start = len(self.stack) - count
        self.stack[start:] = [tuple(self.stack[start:])]

    def _marked_tuple(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(tuple(items))

    def _marked_list(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(items)

    def _marked_dict(self, _: Any) -> None:
        items = self._marked()
        self.stack.append({})
        self._set_items(items)

    def _marked_frozenset(self, _: Any) -> None:
        items = self._marked()
        self.stack.append(frozenset(map(key, items)))

    def _append(self, _: Any) -> None:
        value = self.stack.pop()
        self._extend([value])

    def _appends(self, _: Any) -> None:
        self._extend(self._marked())

    def _extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.entries.update(enumerate(values, len(target.entries)))
            self._budget.spend(64 * len(values))
        elif type(target) is list:
            target.extend(values)
        else:
            raise DamagedFileError("its pickle is damaged: it appends to what is not a list")

    def _set_item(self, _: Any) -> None:
        pair = self.stack[-2:]
        del self.stack[-2:]
        self._set_items(pair)

    def _marked_items(self, _: Any) -> None:
        self._set_items(self._marked())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        entries = target.entries if isinstance(target, Inert) else target
        if not isinstance(entries, dict) or len(items) % 2:
            raise DamagedFileError("its pickle is damaged: it sets entries of what is not a dictionary")
        self._budget.spend(32 * len(items))
        for name, value in zip(items[::2], items[1::2], strict=True):
            entries[key(name)] = value

    def _add_items(self, _: Any) -> None:
        items = self._marked()
        if type(self.stack[-1]) is not set:
            raise DamagedFileError("its pickle is damaged: it adds to what is not a set")
        self._budget.spend(64 * len(items))
        self.stack[-1].update(map(key, items))

    def _named(self, full: str) -> Any:
        if full in self._builders:
            return self._builders[full]
        if full.partition(".")[0] in _STANDARD and full not in _HARMLESS:
            raise UnsafeFileError(f"it asks for {shown(full)}, and no code that a file names is ever run")
        if full not in self._names:
            self._names[full] = StandIn(full)
        return self._names[full]

    def _global(self, pair: str) -> None:
        self.stack.append(self._named(pair.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        module, name = self.stack[-2:]
        if not isinstance(module, str) or not isinstance(name, str):
            raise DamagedFileError("its pickle is damaged: it names a class by what is not text")
        self.stack[-2:] = [self._named(f"{module}.{name}")]

    def _call(self, function: Any, args: Any) -> Any:
        if id(function) in self._callable:
            if not isinstance(args, tuple):
                raise DamagedFileError("its pickle is damaged: it calls without arguments")
            return function(*args)
        if isinstance(function, StandIn):
            raise UnsafeFileError(f"it calls {shown(function.class_name)}, and no code that a file names is ever run")
        raise UnsafeFileError("it calls what it made itself, and no code of a file is ever run")

    def _make(self, cls: Any, args: Any) -> Any:
        if isinstance(cls, StandIn):
            return Inert(cls.class_name, args if isinstance(args, tuple) else ())
        return self._call(cls, args)

    def _reduce(self, _: Any) -> None:
        function, args = self.stack[-2:]
        self.stack[-2:] = [self._call(function, args)]

    def _new(self, _: Any) -> None:
        cls, args = self.stack[-2:]
        self.stack[-2:] = [self._make(cls, args)]

    def _new_with_keywords(self, _: Any) -> None:
        cls, args, _keywords = self.stack[-3:]
        self.stack[-3:] = [self._make(cls, args)]

    def _instance(self, pair: str) -> None:
        args = self._marked()
        self._instantiate(self._named(pair.replace(" ", ".", 1)), tuple(args))

    def _object(self, _: Any) -> None:
        cls, *args = self._marked()
        self._instantiate(cls, tuple(args))

    def _instantiate(self, cls: Any, args: tuple[Any, ...]) -> None:
        """The way of protocols 0 and 1, where a class and a function to be called look alike."""
        self.stack.append(self._call(cls, args) if args else self._make(cls, args))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, Inert):
            slots = isinstance(state, tuple) and len(state) == 2 and all(isinstance(x, dict | None) for x in state)
            target.state = {**(state[0] or {}), **(state[1] or {})} if slots else state
        elif isinstance(target, Fillable):
            target.take_state(state)
        elif not isinstance(target, dict | list | set):  # attributes of those, such as _metadata, are left out
            raise UnsafeFileError(f"it changes a {type(target).__name__}, and only its own objects may be filled")

    def _refer(self, pid: Any) -> None:
        if self._persistent is None:
            raise DamagedFileError("it refers to data outside itself")
        self.stack.append(self._persistent(pid))


def key(thing: Any) -> Any:
    """A key of a dictionary or element of a set, unless hashing or comparing it could take for ever.

    Nested tuples are hashed without limit of depth or time.

    Raises:
        UnsafeFileError: it is not a plain value or a short tuple of such.
    """
    if isinstance(thing, tuple) and len(thing) < 20 and all(_is_plain(x) for x in thing):
        return thing
    if isinstance(thing, tuple | frozenset) or (isinstance(thing, int) and not _is_plain(thing)):
        raise UnsafeFileError("it uses nested tuples or huge numbers as keys, which no checkpoint does")
    return thing


def _is_plain(thing: Any) -> bool:
    return isinstance(thing, _PLAIN) and not (isinstance(thing, int) and thing.bit_length() > 64)


def amount(count: int) -> str:
    """A number of bytes, for error messages."""
    for power, unit in ((9, "GB"), (6, "MB")):
        if count >= 10**power:
            return f"{count / 10**power:.3g} {unit}"
    return f"{count} bytes"


_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "NONE": lambda m, _: m._constant(None), "NEWTRUE": lambda m, _: m._constant(True),
    "NEWFALSE": lambda m, _: m._constant(False), "EMPTY_LIST": lambda m, _: m._constant([]),
    "EMPTY_DICT": lambda m, _: m._constant({}), "EMPTY_SET": lambda m, _: m._constant(set()),
    "EMPTY_TUPLE": lambda m, _: m._constant(()), "TUPLE1": lambda m, _: m._tuple(1),
    "TUPLE2": lambda m, _: m._tuple(2), "TUPLE3": lambda m, _: m._tuple(3), "TUPLE": _Machine._marked_tuple,
    "LIST": _Machine._marked_list, "DICT": _Machine._marked_dict, "FROZENSET": _Machine._marked_frozenset,
    "PROTO": _Machine._protocol, "FRAME": lambda m, _: None, "STOP": lambda m, _: None, "MARK": _Machine._mark,
    "POP": _Machine._pop, "POP_MARK": _Machine._pop_mark, "DUP": _Machine._duplicate, "MEMOIZE": _Machine._memoize,
    "PUT": _Machine._put, "BINPUT": _Machine._put, "LONG_BINPUT": _Machine._put,
    "GET": _Machine._get, "BINGET": _Machine._get, "LONG_BINGET": _Machine._get,
    "APPEND": _Machine._append, "APPENDS": _Machine._appends, "SETITEM": _Machine._set_item,
    "SETITEMS": _Machine._marked_items, "ADDITEMS": _Machine._add_items,
    "GLOBAL": _Machine._global, "STACK_GLOBAL": _Machine._stack_global, "REDUCE": _Machine._reduce,
    "NEWOBJ": _Machine._new, "NEWOBJ_EX": _Machine._new_with_keywords, "INST": _Machine._instance,
    "OBJ": _Machine._object, "BUILD": _Machine._build,
    "PERSID": _Machine._refer, "BINPERSID": lambda m, _: m._refer(m.stack.pop()),
}  # fmt: skip
