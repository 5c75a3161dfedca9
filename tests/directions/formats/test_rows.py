"""Several directions in one file: with names and without, and rows that may be two things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from foreign import G, Sized, normal, only, refused, save

from latentedit.directions.bank import DirectionBank
from latentedit.directions.formats import convert_file, export_directions, import_directions
from latentedit.errors import DamagedFileError, UnknownNameError

ONE_SLOT = Sized(16, 1)
FIVE = normal(5, 16)


def holds(bank: DirectionBank, rows: np.ndarray) -> None:
    """The bank's directions are these rows, in order."""
    raw = np.stack([d.vector.numpy() * np.float32(d.coefficient_norm or 1) for d in bank])
    np.testing.assert_allclose(raw, rows, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".npy", ".pt"])
def test_rows_that_may_be_directions_or_slots_are_asked_for(tmp_path: Path, suffix: str) -> None:
    values = normal(3, 16)
    three = save(tmp_path / f"three{suffix}", values if suffix == ".npy" else torch.from_numpy(values))
    refused("3 directions, or one for the 3 slots.*--as directions or --as slots", import_directions, three, G)
    refused("--as directions or --as slots", import_directions, three, G, tags=["a", "b"])
    with pytest.warns(UserWarning, match="3 directions without names, called three_00 to three_02"):
        holds(import_directions(three, G, rows="directions"), values)
    holds(import_directions(three, G, rows="slots"), values[None])
    holds(import_directions(three, G, tags=["a", "b", "c"]), values)  # as many tags as rows leave one reading
    assert import_directions(three, G, tags=["three_01"]).tags == ("three_01",)
    with pytest.warns(UserWarning, match="one direction for 3 slots"):
        assert only(import_directions(three, G, tags=["smile"])).vector.shape == (3, 16)
    with pytest.warns(UserWarning, match="called three_00"):
        holds(import_directions(three, ONE_SLOT), values)  # no slots: nothing to ask
    refused("unknown kind of rows 'slot'; did you mean slots", import_directions, three, G, rows="slot")


def test_rows_without_names_are_called_after_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "five.npy", FIVE)
    with pytest.warns(UserWarning, match="called five_00 to five_04; give a tag for each of the 5 rows"):
        bank = import_directions(path, G)
    assert bank.tags == ("five_00", "five_01", "five_02", "five_03", "five_04")
    holds(bank, FIVE)
    named = import_directions(path, G, tags=list("abcde"))
    assert named.tags == tuple("abcde")
    holds(named, FIVE)
    chosen = import_directions(path, G, tags=["five_03", "five_01"])
    holds(chosen, FIVE[[3, 1]])
    refused("5 directions without names; give a tag for each row, not 2", import_directions, path, G, tags=["a", "b"])
    export_directions(chosen, tmp_path / "back.npy", tags=["five_03"])
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), FIVE[3:4], rtol=1e-6)
    by_slot = save(tmp_path / "slots.npy", normal(2, 3, 16))
    holds(import_directions(by_slot, G, rows="directions", tags=["a", "b"]), normal(2, 3, 16))


def test_many_rows_look_like_codes(tmp_path: Path) -> None:
    path = save(tmp_path / "w.npy", normal(40, 16))
    refused("40 rows of 16 numbers look like codes.*--as directions", import_directions, path, ONE_SLOT)
    with pytest.warns(UserWarning, match="w_00 to w_39"):
        assert len(import_directions(path, ONE_SLOT, rows="directions")) == 40


def test_a_generator_of_one_slot_has_no_slots_to_speak_of(tmp_path: Path) -> None:
    three = save(tmp_path / "a.npy", normal(3, 16))
    refused(r"3 rows, .* has 1 slot; one direction is \(16,\)$", import_directions, three, ONE_SLOT, rows="slots")
    codes = save(tmp_path / "b.npy", normal(2, 3, 16))
    refused(r"one direction is \(16,\);", import_directions, codes, ONE_SLOT, format="npy")


@pytest.mark.parametrize("name", ["d.npz", "d.pt", "d.pkl"])
def test_arrays_by_name(tmp_path: Path, name: str) -> None:
    tree = dict(zip(["smile", "file", "age", "b", "c"], FIVE, strict=True))
    held = {tag: torch.from_numpy(row) for tag, row in tree.items()} if name == "d.pt" else tree
    path = tmp_path / name
    save(path, held) if name != "d.npz" else np.savez(path, **{k: v for k, v in tree.items() if k != "file"})
    bank = import_directions(path, G, tags=["age", "smile"])
    holds(bank, FIVE[[2, 0]])
    assert bank.tags == ("age", "smile") and len(import_directions(path, G)) == 5 - (name == "d.npz")
    refused("unknown direction 'ages'; did you mean age", import_directions, path, G, tags=["ages"],
            kind=UnknownNameError)  # fmt: skip


def test_named_files_come_back_as_they_were_written(tmp_path: Path) -> None:
    bank = import_directions(save(tmp_path / "d.pkl", dict(zip(["smile", "file"], FIVE, strict=False))), G)
    bank.save(tmp_path / "bank.safetensors")
    done = convert_file(tmp_path / "bank.safetensors", tmp_path / "out.npz")
    assert done.target_format == "named" and set(np.load(tmp_path / "out.npz")) == {"smile", "file"}
    holds(import_directions(tmp_path / "out.npz", G), FIVE[:2])


def test_arrays_whose_names_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", FIVE)
    with pytest.warns(UserWarning, match="called a_00 to a_04"):
        holds(import_directions(tmp_path / "a.npz", G), FIVE)
    np.savez(tmp_path / "b.npz", *FIVE[:3])  # arr_0, arr_1, arr_2: rows without names, and as many as slots
    refused("--as directions or --as slots", import_directions, tmp_path / "b.npz", G)
    holds(import_directions(tmp_path / "b.npz", G, tags=list("abc")), FIVE[:3])
    save(tmp_path / "c.npz", {"smile": FIVE[:3]})
    refused("--as directions or --as slots", import_directions, tmp_path / "c.npz", G)
    assert only(import_directions(tmp_path / "c.npz", G, rows="slots")).tag == "smile"


def written(values: np.ndarray, *, comma: str = ",", decimal: str = ".") -> list[str]:
    return [comma.join(f"{x:.9g}".replace(".", decimal) for x in row) for row in values]


def table(kind: str) -> bytes:
    plain, tags = written(FIVE), list("abcde")
    named = [f"{tag},{row}" for tag, row in zip(tags, plain, strict=True)]
    counted = ",".join(map(str, range(16)))
    excel = [f"{tag};{row}" for tag, row in zip(tags, written(FIVE, comma=";", decimal=","), strict=True)]
    texts = {
        "plain": named,
        "headed": ["name," + ",".join(f"w{i}" for i in range(16)), *named],
        "pandas": ["," + counted, *named],
        "index": [",tag," + counted, *(f"{i},{row}" for i, row in enumerate(named))],
        "last": [counted + ",tag", *(f"{row},{tag}" for tag, row in zip(tags, plain, strict=True))],
        "tabs": [line.replace(",", "\t") for line in named],
        "excel": ["name;" + ";".join(f"w{i}" for i in range(16)), *excel],
    }
    if kind == "utf16":
        return "\r\n".join(texts["tabs"]).encode("utf-16")
    return ("\ufeff" * (kind == "excel") + "\n".join(texts[kind]) + "\n\n").encode()


@pytest.mark.parametrize("kind", ["plain", "headed", "pandas", "last", "tabs", "excel", "utf16"])
def test_tables_with_a_column_of_names(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(table(kind))
    bank = import_directions(path, G)
    assert bank.tags == tuple("abcde")
    holds(bank, FIVE)
    holds(import_directions(path, G, tags=["c"]), FIVE[2:3])


def test_tables_with_an_index_or_without_names(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_bytes(table("index"))
    with pytest.warns(UserWarning, match="the first column counts rows, and is passed over"):
        holds(import_directions(tmp_path / "d.csv", G), FIVE)
    np.savetxt(tmp_path / "e.csv", FIVE, delimiter=",")
    with pytest.warns(UserWarning, match="called e_00"):
        holds(import_directions(tmp_path / "e.csv", G), FIVE)
    np.savetxt(tmp_path / "f.csv", FIVE[:3], delimiter=",")
    refused("--as directions or --as slots", import_directions, tmp_path / "f.csv", G)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("name,0,1\n", "no row below"),
        ("a,1,2\nb,1\n", "a row of 2 cells where the first has 3"),
        ("a,1,2\na,3,4\n", "'a' comes twice"),
        ("name,1,2\n,3,4\n", "a row has no name"),
        ("a,1,x\nb,1,2\n", "'x' in column 3 is no number"),
        ("a,x,1\nb,y,2\n", "columns 1, 2 are no numbers"),
        ("a,1,2\nb,3,nan\n", "not finite"),
        ("a,1,2\nb,3,4\n", "directions of 2 numbers, toy:.* has codes of 16"),
        ("name\na\n", "no numbers"),
    ],
)
def test_tables_that_are_none_say_why_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    refused(words, import_directions, tmp_path / "d.csv", G)
    (tmp_path / "e.csv").write_bytes(b"\x80\x81\xff")
    refused("UTF-8 or UTF-16", import_directions, tmp_path / "e.csv", G, kind=DamagedFileError)
