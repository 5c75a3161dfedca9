"""``status``: how far samples are. ``clean``: caches that may go."""

import io
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import toy
from commands import TOY, one_error

import latentedit as le
from latentedit.files import only_writer
from latentedit.samples.manifest import read_manifest, write_manifest
from latentedit.samples.tables import write_table

SAMPLES = Path("samples")


@pytest.fixture
def begun(run):
    """150 rows of 400, in shards of 50; the last ones lack tags."""
    le.sample(toy.ToyGenerator(), SAMPLES, tagger=toy.ToyTagger(), n=100, shard_size=50)
    le.sample(toy.ToyGenerator(), SAMPLES, n=150, shard_size=50)
    write_manifest(SAMPLES, replace(read_manifest(SAMPLES), wanted=400))
    return run


def fail(rows):
    """Give rows of the first tag shard a reason to have failed for."""
    manifest = read_manifest(SAMPLES)
    tagger = manifest.taggers[0]
    path = SAMPLES / "tags" / tagger.folder / "tags-00000.parquet"
    table = pq.read_table(path)
    reasons = pa.array(["out of memory" if i < rows else None for i in range(50)])
    record = write_table(path, table.set_column(table.column_names.index("status"), "status", reasons))
    changed = replace(tagger, shards=(record, *tagger.shards[1:]))
    write_manifest(SAMPLES, replace(manifest, taggers=(changed,)))


def test_status_says_what_is_done_missing_and_failed(begun):
    fail(3)
    told = json.loads(begun("status", "--json")[1])["folders"][0]
    codes, tags = told["parts"]
    assert (codes["rows"], codes["missing"], tags["rows"], tags["missing"]) == (150, 250, 100, 300)
    assert tags["failed"] == {"out of memory": 3} and not told["busy"] and told["seconds_left"] is None
    code, out, _ = begun("status", ".")  # a folder of them
    assert code == 0 and "3 rows failed: out of memory" in out and "another process" not in out
    (SAMPLES / "codes-00001.parquet").unlink()
    assert "codes: missing or damaged: codes-00001.parquet" in begun("status")[1]
    assert "holds no samples" in one_error(begun("status", "nothing"))


def test_status_says_how_long_it_takes_while_another_process_is_at_it(begun):
    pytest.importorskip("fcntl")
    now = time.time()
    tags = sorted(SAMPLES.glob("tags/*/tags-*.parquet"))
    for i, path in enumerate(tags):
        os.utime(path, (now - 10 * (len(tags) - i),) * 2)  # 50 rows in ten seconds, the last ten seconds ago
    with only_writer(SAMPLES):
        told = json.loads(begun("status", "--json")[1])["folders"][0]
        assert told["busy"] and told["rate"] == pytest.approx(5, rel=1e-3)
        assert 40 <= told["seconds_left"] <= 50.1  # 300 rows at 5 a second, less what has gone since
        assert "another process is writing here, 5.0 rows/s, about" in begun("status")[1]
        assert "another process is writing to samples" in one_error(begun("clean", "--yes"))
        tags[1].unlink()
        assert "how long is known after the second shard" in begun("status")[1]


def test_clean_says_what_and_how_much_and_asks(run, monkeypatch):
    assert run("sample", *TOY, "--tagger", "torch:toy:ToyTagger", "-n", 60, "--quiet")[0] == 0
    assert run("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    left = SAMPLES / ".tmp-0011aabb-codes-00003.parquet"
    for path, age in ((left, 7200), (Path(".tmp-0011aabb-e.png"), 0), (Path(".notes.safetensors.old"), 7200)):
        path.write_bytes(b"0" * 1000)
        os.utime(path, (time.time() - age,) * 2)
    (moments,) = SAMPLES.glob("moments/*")
    everything = sorted(Path().rglob("*"))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    code, out, err = run("clean")  # nobody answers
    assert code == 1 and "moments" in err and "Remove 0.03 MB?" in err and "nothing was removed; --yes" in err
    assert sorted(Path().rglob("*")) == everything and out == ""
    told = json.loads(run("clean", "--yes", "--json")[1])
    assert told["removed"] == [str(moments), str(left)] and told["bytes"] > 1000
    assert sorted(Path().rglob("*")) == [path for path in everything if path not in (moments, left, moments.parent)]
    assert "there are no caches" in run("clean")[1]
    assert "there is no such folder" in one_error(run("clean", "nothing"))
    assert run("fit-directions", "--finder", "linear", "--quiet", "--force")[0] == 0


def test_info_knows_folders_and_files_that_commands_write(begun):
    code, out, _ = begun("info", "samples")
    assert code == 0 and "samples: samples" in out and "rows        150" in out and "(100 rows)" in out
    le.sample(toy.ToyGenerator(), SAMPLES, tagger=toy.ToyTagger(), n=150, shard_size=50)
    assert begun("fit-directions", "--finder", "linear", "--quiet")[0] == 0
    (moments,) = SAMPLES.glob("moments/*")
    assert "moments" in (told := begun("info", moments)[1]) and "rows        150" in told
    bank = le.DirectionBank.load("directions/linear.safetensors")
    le.rescore(toy.ToyGenerator(), toy.ToyTagger(), bank, "smile", range(5)).save("scores.safetensors")
    told = json.loads(begun("info", "scores.safetensors", "--json")[1])
    assert told["holds"] == "a re-scoring" and told["facts"]["pictures"] == 5 and told["facts"]["edits"] == ["smile"]
    edit = ("edit", *TOY, "--directions", "directions/linear.safetensors", "--tag", "smile", "-n", 2, "--out", "e.png")
    code, out, err = begun(*edit, "--json", "--quiet")
    assert code == 0, err
    Path("e.json").write_text(out)
    for name in ("e.png", "e.json"):
        told = begun("info", name)[1]
        assert "a recipe" in told and "smile" in told and f"latentedit edit --recipe {name}" in told, name
    Path("study").mkdir()
    Path("study/study.json").write_text('{"title": "toys", "generator": "toy:1", "edits": [{"name": "hair"}]}')
    assert "a study" in (told := begun("info", "study")[1]) and "hair" in told and "not yet" in told


def test_info_tells_a_tagger_of_ones_own_from_a_generator(run):
    assert "torch:toy:ToyTagger: a tagger" in run("info", "torch:toy:ToyTagger")[1]
    assert "16 x 16" in run("info", "torch:toy:ToyGenerator")[1]
    assert "cannot import" in one_error(run("info", "torch:nowhere:make"))
