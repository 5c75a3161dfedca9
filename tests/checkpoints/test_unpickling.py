"""The pickle machine against Python's own on harmless data, and what it never does."""

from __future__ import annotations

import argparse
import collections
import io
import math
import pickle
import types
from typing import Any

import pytest
from assembler import call, name, number, pickled, stacked, text
from hypothesis import given, settings
from hypothesis import strategies as st

from latentedit.checkpoints.unpickling import Budget, Inert, StandIn, shown, unpickle
from latentedit.errors import DamagedFileError, UnsafeFileError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
SETS = {
    f"{module}.{kind}": lambda items=(): set(items)
    for module in ("builtins", "__builtin__")
    for kind in ("set", "frozenset")
}
BYTES = {
    "_codecs.encode": lambda text, _="": text.encode("latin1"),
    "__builtin__.bytes": bytes,
    "builtins.bytes": bytes,
}
BYTES["builtins.bytearray"] = BYTES["__builtin__.bytearray"] = bytearray
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.tuples(inner, inner, inner, inner)
        | st.dictionaries(st.text() | st.integers(-(2**60), 2**60), inner)
        | st.sets(st.text() | st.integers(-(2**60), 2**60))
    ),
    max_leaves=20,
)


def read(data: bytes, **builders: Any) -> Any:
    return unpickle(io.BytesIO(data), {**SETS, **BYTES, **builders})


@settings(max_examples=150, deadline=None)
@given(plain, st.sampled_from(PROTOCOLS))
def test_plain_data_equal_what_python_reads(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert read(data) == pickle.loads(data) == value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_shared_and_circular_parts_stay_so(protocol: int) -> None:
    part: list[Any] = [1]
    whole = {"a": part, "b": part}
    part.append(whole)
    got = read(pickle.dumps(whole, protocol))
    assert got["a"] is got["b"]
    assert got["a"][1] is got


def test_the_next_pickle_of_a_file_starts_where_the_last_ended() -> None:
    file = io.BytesIO(pickle.dumps([1], 2) + pickle.dumps({"a": math.pi}, 5) + b"rest")
    assert (unpickle(file, {}), unpickle(file, {}), file.read()) == ([1], {"a": math.pi}, b"rest")


class Plain:
    def __init__(self) -> None:
        self.a, self.b = 1, [2]


class Slotted:
    __slots__ = ("a",)


class Dictionary(dict):
    pass


class Sequence(list):
    pass


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_objects_become_inert(protocol: int) -> None:
    slotted, dictionary = Slotted(), Dictionary(x=1)
    slotted.a, dictionary.extra = 3, 4  # type: ignore[attr-defined]
    got = read(pickle.dumps([Plain(), slotted, dictionary, Sequence([5, 6]), Plain], protocol))
    assert [type(thing) for thing in got] == [Inert] * 4 + [StandIn]
    assert [thing.class_name.rpartition(".")[2] for thing in got] == [
        "Plain",
        "Slotted",
        "Dictionary",
        "Sequence",
        "Plain",
    ]
    assert [thing.fields() for thing in got[:4]] == [{"a": 1, "b": [2]}, {"a": 3}, {"extra": 4, "x": 1}, {0: 5, 1: 6}]


def test_a_namespace_is_filled_and_not_made() -> None:
    got = read(pickle.dumps(argparse.Namespace(size=256, kind=int), 2))
    assert (got.class_name, got.state["size"]) == ("argparse.Namespace", 256)
    assert isinstance(got.state["kind"], StandIn)


def test_builders_are_called_and_only_they() -> None:
    data = pickle.dumps(collections.OrderedDict(a=1), 2)
    assert read(data, **{"collections.OrderedDict": dict}) == {"a": 1}
    with pytest.raises(UnsafeFileError, match="asks for collections.OrderedDict"):
        read(data)
    with pytest.raises(UnsafeFileError, match="calls somewhere.else"):
        read(pickled(call(name("somewhere", "else"))))


@pytest.mark.parametrize("module", ["os", "os.path", "builtins", "__builtin__", "sys", "importlib.util", "commands"])
def test_nothing_of_the_standard_library_is_named(module: str) -> None:
    for asked in (name(module, "thing"), stacked(module, "thing"), f"(i{module}\nthing\n".encode()):
        with pytest.raises(UnsafeFileError, match=f"asks for {module}.thing"):
            read(pickled(asked))


def test_builders_cannot_be_changed() -> None:
    def builder() -> None:
        """Left as it is."""

    before = dict(vars(builder)), builder.__defaults__, builder.__code__
    state = b"}" + text("__defaults__") + b"K\1\x85s"
    for change in (state, b"(N" + state + b"t"):
        with pytest.raises(UnsafeFileError, match="changes a function"):
            read(pickled(name("a", "b") + change + b"b"), **{"a.b": builder})
    assert (dict(vars(builder)), builder.__defaults__, builder.__code__) == before


def test_attributes_of_dictionaries_are_left_out() -> None:
    data = pickled(b"}" + b"}" + text("items") + name("a", "b") + b"sb")
    assert list(read(data).items()) == []


def test_references_outside() -> None:
    data = pickled(b"(K\1K\2tQ")
    assert unpickle(io.BytesIO(data), {}, lambda pid: ["found", *pid]) == ["found", 1, 2]
    with pytest.raises(DamagedFileError, match="outside itself"):
        read(data)


@pytest.mark.parametrize(
    "body",
    [b"0", b"a", b"s", b"b", b"R", b"t", b"e", b"\x85", b"\x87", b"2", b"h\5", b"\x93", b"K\1K\2\x93", b"]K\1K\2s",
     b"}K\1a",     b"(K\1o", b"\x90", b"](K\1\x90", b"}(K\1u", b"\xff", b"", b"K\1)R", b"]}]Ns"],
)  # fmt: skip
def test_nonsense_is_damaged(body: bytes) -> None:
    with pytest.raises(DamagedFileError):
        read(pickled(body))


def test_every_cut_is_damaged() -> None:
    data = pickle.dumps({"a": [1, 2.5, "x" * 300, b"y" * 300, (1, 2)], "b": {3}}, 4)
    assert read(data)["b"] == {3}
    for cut in range(len(data)):
        with pytest.raises(DamagedFileError):
            read(data[:cut])


def test_keys_are_plain() -> None:
    good = {1: 0, "a": 0, 2.5: 0, None: 0, b"b": 0, ("a", 1): 0, 2**63: 0}
    assert read(pickle.dumps(good, 4)) == good
    for key in (((1,),), (1,) * 100, 2**65, frozenset([1])):
        with pytest.raises(UnsafeFileError, match="keys"):
            read(pickle.dumps({key: 0}, 4))


def test_a_file_spends_no_more_than_it_may() -> None:
    budget = Budget(1000)
    budget.spend(100_000_000)
    with pytest.raises(UnsafeFileError, match="1000 bytes"):
        budget.spend(10_000)
    with pytest.raises(UnsafeFileError, match="asks for far more memory"):
        read(pickled(b"\x8f" * 1_000_000))
    assert read(pickled(b"\x8f" * 1000)) == set()


def test_newer_protocols_are_refused() -> None:
    with pytest.raises(DamagedFileError, match="protocol 6"):
        read(pickled(b"N", 6))


def test_text_of_a_file_is_shown_in_one_line() -> None:
    assert shown("a\n\x1b[2Jb\u202e") == "a??[2Jb?"
    assert len(shown("x" * 1000)) < 110


def test_numbers_are_not_called() -> None:
    with pytest.raises(UnsafeFileError, match="what it made itself"):
        read(pickled(call(number(5))))


def test_a_stand_in_has_nothing_to_call() -> None:
    assert not callable(StandIn("os.system"))
    assert not isinstance(StandIn("x").class_name, types.FunctionType)
