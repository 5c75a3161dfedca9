"""Hostile files: refused in one line, nothing run, nothing changed, little memory; damaged ones never a traceback."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import conformance
import hostile
import pytest
import torch
import watched_reader
from assembler import call, name, pickled, text
from places import ROOT, SUPPORT
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import Checkpoint, read_checkpoint
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.generators.family import Family, Found
from latentedit.generators.networks.base import Network, Slot

NETWORK = conformance.FIXTURES / "stylegan2_ada_pkl" / "network.nosrc.pkl"
MARGIN = 200_000_000  # bytes of memory above the file's size
REFUSED = ("UnsafeFileError", "DamagedFileError")
PLACES = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{SUPPORT}", "OMP_NUM_THREADS": "1"}
CONTROL = """
import pickle, sys, watched_reader
from pathlib import Path
sys.addaudithook(watched_reader.hook)
for path in sys.argv[1:]:
    data = Path(path).read_bytes()
    try:
        watched_reader.watching = True
        pickle.loads(data)
    except RuntimeError as error:
        print(str(error).startswith("forbidden"))
    watched_reader.watching = False
"""


def watched(folder: Path, names: list[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """What became of each file in a watched process, by name, and what it changed."""
    run = subprocess.run(
        [sys.executable, watched_reader.__file__, str(folder), *hostile.good(folder)],
        input=json.dumps(names),
        capture_output=True,
        text=True,
        timeout=200,
        env=PLACES,
    )
    assert run.returncode == 0, f"the reader died: {run.stdout[-300:]} {run.stderr[-2000:]}"
    *reports, last = map(json.loads, run.stdout.splitlines())
    assert [report["file"] for report in reports] == names
    return {report["file"]: report for report in reports}, last


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """All hostile and harmless files, read in one process."""
    folder = tmp_path_factory.mktemp("hostile")
    marker = folder / "marker"
    attacks, oddities = hostile.write(folder, marker), hostile.harmless(folder)
    data = NETWORK.read_bytes()
    cuts = [20, 1000, len(data) // 3, len(data) // 2, len(data) - 5000, len(data) - 1]
    for cut in cuts:
        (folder / f"network-{cut}.pkl").write_bytes(data[:cut])
    reports, last = watched(folder, [*attacks, *(f"network-{cut}.pkl" for cut in cuts), *oddities])
    for path in folder.iterdir():
        if path != marker:
            path.unlink()
    return reports, last, marker, oddities


def test_hostile_files_are_refused(outcome: tuple[Any, ...]) -> None:
    reports, _, _, oddities = outcome
    assert len(reports) > 500
    wrong = {file: r["outcome"] + r["message"] for file, r in reports.items() if r["outcome"] not in REFUSED}
    assert set(wrong) == set(oddities), wrong
    assert {file: wrong[file] for file in oddities if not wrong[file].startswith("read")} == {}


def test_calls_are_refused_as_unsafe(outcome: tuple[Any, ...]) -> None:
    """And not because the file was put together wrongly."""
    reports = outcome[0]
    calls = [file for file in reports if file.startswith(("reduce-", "stack-", "inst-", "object-", "build-", "empty-"))]
    assert len(calls) > 250
    assert {f: reports[f]["message"] for f in calls if reports[f]["outcome"] != "UnsafeFileError"} == {}


def test_nothing_runs(outcome: tuple[Any, ...]) -> None:
    reports, _, marker, _ = outcome
    assert not marker.exists()
    assert {file: r["noted"] for file, r in reports.items() if r["noted"]} == {}


def test_nothing_of_ours_changes(outcome: tuple[Any, ...]) -> None:
    last = outcome[1]
    assert last["changed"] == []
    assert last["watched"] > 1000


def test_memory_stays_near_the_size_of_the_file(outcome: tuple[Any, ...]) -> None:
    reports = outcome[0]
    assert {f: r["grown"] for f, r in reports.items() if r["grown"] > r["size"] + MARGIN} == {}
    assert max(r["grown"] for r in reports.values()) > 50_000_000  # some do try


def test_refusals_are_one_printable_line(outcome: tuple[Any, ...]) -> None:
    reports = outcome[0]
    assert {
        f: r["message"] for f, r in reports.items() if not r["message"].isprintable() or len(r["message"]) > 500
    } == {}


def test_no_file_takes_long(outcome: tuple[Any, ...]) -> None:
    assert {f: r["seconds"] for f, r in outcome[0].items() if r["seconds"] > 30} == {}


def test_the_attacks_work_on_python_itself(tmp_path: Path) -> None:
    """The control: the same bytes, read by ``pickle``, run, and the watched process would see it."""
    marker = tmp_path / "marker"
    attacks = dict(hostile.code(marker))
    working = ["reduce-os.system.pkl", "stack-posix.system.pkl", "inst-os.system.pkl", "text-0.pkl", "text-2.pkl",
               "reduce-builtins.eval.pkl", "object-posix.system.pkl"]  # fmt: skip
    for what in working:
        (tmp_path / what).write_bytes(attacks[what])
    paths = [str(tmp_path / what) for what in working]
    run = subprocess.run([sys.executable, "-c", CONTROL, *paths], capture_output=True, text=True, env=PLACES)
    assert run.stdout.split() == ["True"] * len(working), run.stderr
    assert not marker.exists()
    for path in paths:
        subprocess.run([sys.executable, "-c", "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))", path])
        assert marker.exists(), path
        marker.unlink()


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A file with some bytes changed, or a piece cut out, doubled or overwritten."""
    out, way = bytearray(data), rng.randrange(5)
    if way < 3:
        for _ in range(rng.choice((1, 2, 8))):
            out[rng.randrange(len(out))] = rng.randrange(256)
    start = rng.randrange(len(out))
    length = rng.randrange(1, 40)
    if way == 3:
        out[start : start + length] = b""
    if way == 4:
        out[start:start] = out[rng.randrange(len(out)) :][:length]
    return bytes(out[:start] if rng.random() < 0.1 else out)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    rng = random.Random(0)
    names = []
    for kind in hostile.good(tmp_path):
        data = (tmp_path / kind).read_bytes()
        for number in range(200):
            names.append(f"{number}.{kind}")
            (tmp_path / names[-1]).write_bytes(damaged(data, rng))
    reports, last = watched(tmp_path, names)
    leaked = {
        f: f"{r['outcome']}: {r['message']}" for f, r in reports.items() if r["outcome"] not in (*REFUSED, "read")
    }
    assert leaked == {}
    assert last["changed"] == [] and not any(r["noted"] for r in reports.values())
    assert all(r["grown"] < MARGIN for r in reports.values())
    refused = sum(r["outcome"] in REFUSED for r in reports.values())
    assert 200 < refused < len(names)  # both happen


def test_good_files_beside_them_are_read(tmp_path: Path) -> None:
    names = hostile.good(tmp_path)
    reports, _ = watched(tmp_path, names)
    assert {report["outcome"] for report in reports.values()} == {"read"}
    tensors = read_checkpoint(tmp_path / "good.zip.pt").state()
    assert torch.equal(tensors["a"], torch.arange(12.0).reshape(3, 4))


class Small(Network):
    """A generator of a file with one weight (4, 2)."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.z_dim = self.dim = 2
        self.resolution, self.slots = 2, (Slot("w", 2, 4),)
        self.mapping, self.weight = lambda z, label: z, tensors["w"]
        self.synthesis = nn.Identity()

    def style_weights(self) -> dict[str, Tensor]:
        return {"w": self.weight}


def found(checkpoint: Checkpoint) -> Found | None:
    tensors = checkpoint.state("g")
    return Found({"w": tensors["w"]}, "g") if "w" in tensors else None


SMALL = Family("small", "a small network", found, lambda f, checkpoint, options: Small(f.tensors))


def load(path: Path) -> Any:
    return SMALL(str(path), {}, device=torch.device("cpu"), dtype=torch.float32)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.float64])
def test_weights_that_are_not_finite_are_refused(bad: float, dtype: torch.dtype, tmp_path: Path) -> None:
    weight = torch.ones(4, 2, dtype=dtype)
    torch.save({"g": {"w": weight}}, tmp_path / "f.pt")
    assert load(tmp_path / "f.pt").id.startswith("small:")
    weight[2, 1] = bad
    torch.save({"g": {"w": weight}}, tmp_path / "f.pt")
    with pytest.raises(DamagedFileError, match="w are not finite") as caught:
        load(tmp_path / "f.pt")
    assert "\n" not in str(caught.value)


def test_a_hostile_file_is_refused_through_a_family(tmp_path: Path) -> None:
    (tmp_path / "f.pt").write_bytes(pickled(b"}" + text("g") + call(name("os", "system"), text("true")) + b"s"))
    with pytest.raises(LatentEditError, match="asks for os.system"):
        load(tmp_path / "f.pt")
    assert pickle.loads((tmp_path / "f.pt").read_bytes()) == {"g": 0}  # it does run elsewhere


def test_a_change_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = watched_reader.fingerprint()
    assert watched_reader.fingerprint() == before
    monkeypatch.setattr("latentedit.checkpoints.builders._first", print)
    monkeypatch.setattr("latentedit.checkpoints.unpickling.Inert.extra", 1, raising=False)
    after = watched_reader.fingerprint()
    assert {key.rpartition(".")[2] for key in before | after if before.get(key) != after.get(key)} >= {
        "_first",
        "extra",
    }
