"""A run that is stopped keeps what is finished, and does none of it again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import Tensor
from toy import ToyGenerator, ToyTagger

from latentedit.errors import LatentEditError
from latentedit.samples import writer as writing
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples, open_samples
from latentedit.samples.tagging import tag


class Counting(ToyGenerator):
    """Notes the first number of every code that it decodes."""

    def __init__(self) -> None:
        super().__init__()
        self.decoded: list[float] = []

    def decode(self, codes: Tensor, **options: Any) -> Tensor:
        self.decoded += codes.reshape(len(codes), -1)[:, 0].tolist()
        return super().decode(codes, **options)

    def rows(self, whole: Samples) -> set[int]:
        """Which rows of a run were decoded since this was last asked, each once."""
        known = np.concatenate([batch.codes[:, 0] for batch in whole.iter_batches(scores=False)])
        found = [int(np.abs(known - one).argmin()) for one in self.decoded]
        assert len(set(found)) == len(found)
        self.decoded.clear()
        return set(found)


class Stopping(ToyTagger):
    """Raises at its k-th batch."""

    def __init__(self, at: int, error: BaseException | None = None) -> None:
        super().__init__()
        self.left, self.error = at, error or KeyboardInterrupt()

    def score(self, images: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().score(images)


class Other(ToyTagger):
    """Another tagger of the same tags."""

    def __init__(self) -> None:
        super().__init__()
        self.id = "other:1"


G, T = ToyGenerator(), ToyTagger()
OPTIONS: dict[str, Any] = {"batch_size": 3, "shard_size": 16, "keep_images": True}


def rows_of(path: Path, pattern: str) -> list[dict[str, Any]]:
    """Rows of the files that fit a pattern, in order of name, as any other program sees them."""
    found: list[dict[str, Any]] = pa.concat_tables(
        pq.ParquetFile(file).read() for file in sorted(path.glob(pattern))
    ).to_pylist()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    return sample(G, tmp_path_factory.mktemp("whole"), tagger=T, n=40, **OPTIONS)


def check_same(run: Path, whole: Samples) -> None:
    assert rows_of(run, "codes-*.parquet") == rows_of(whole.path, "codes-*.parquet")
    assert rows_of(run, "tags/*/tags-*.parquet") == rows_of(whole.path, "tags/*/tags-*.parquet")


@pytest.mark.parametrize("stops", [(1,), (2, 1), (0, 3), (5, 1, 2), (6, 6)], ids=str)
def test_every_row_is_decoded_once_however_often_it_is_stopped(
    tmp_path: Path, whole: Samples, stops: tuple[int, ...]
) -> None:
    g, kept = Counting(), 0
    for at in stops:
        with pytest.raises(KeyboardInterrupt):
            sample(g, tmp_path, tagger=Stopping(at), n=40, **OPTIONS)
        done = g.rows(whole)
        assert not done & set(range(kept))  # what was kept is not decoded again
        kept = open_samples(tmp_path).rows if at or kept else 0
        assert set(range(kept)) <= done | set(range(kept)) and len(list(tmp_path.glob("codes-*"))) <= kept // 16 + 1
        assert len(done - set(range(kept))) <= 6  # the batch that was being scored, and the one after it
    sample(g, tmp_path, tagger=T, n=40, **OPTIONS)
    assert g.rows(whole) == set(range(kept, 40))
    check_same(tmp_path, whole)
    assert json.loads((tmp_path / "manifest.json").read_text())["schema_version"] == 2


def test_what_fails_keeps_what_was_finished_before_it(tmp_path: Path, whole: Samples) -> None:
    with pytest.raises(ZeroDivisionError):
        sample(G, tmp_path, tagger=Stopping(2, ZeroDivisionError()), n=40, **OPTIONS)
    part = open_samples(tmp_path)
    assert part.rows == 6
    np.testing.assert_array_equal(part.scores("smile"), whole.scores("smile")[:6])


def test_a_longer_run_takes_all_taggers_out_of_a_short_shard(tmp_path: Path, whole: Samples) -> None:
    g = Counting()
    run = sample(g, tmp_path, tagger=T, n=10, **OPTIONS)
    assert g.rows(whole) == set(range(10))
    tag(run, g, Other())
    assert g.rows(whole) == set(range(10))
    run = sample(g, tmp_path, tagger=T, n=40, **OPTIONS)
    assert g.rows(whole) == set(range(10, 40)) and run.rows == 40
    assert rows_of(tmp_path, "codes-*.parquet") == rows_of(whole.path, "codes-*.parquet")
    assert sum(shard.rows for shard in run.manifest.tagger("other:1").shards) == 10
    with pytest.raises(LatentEditError, match="other:1 cover 10 of 40 rows"):
        run.scores("smile", "other:1")
    assert json.loads((tmp_path / "manifest.json").read_text())["schema_version"] == 3
    with pytest.raises(KeyboardInterrupt):
        stopping = Stopping(1)
        stopping.id = "other:1"
        tag(run, g, stopping, batch_size=3)
    assert g.rows(whole) <= set(range(10, 40))
    tagged = tag(open_samples(tmp_path), g, Other())
    assert g.rows(whole) == set(range(13, 40))
    np.testing.assert_array_equal(tagged.scores("smile", "other:1"), whole.scores("smile"))


def test_codes_alone_are_scored_from_where_tagging_was_stopped(tmp_path: Path, whole: Samples) -> None:
    g = Counting()
    sample(g, tmp_path, n=40, batch_size=3, shard_size=16)
    for at, kept in ((2, 6), (1, 9)):
        with pytest.raises(KeyboardInterrupt):
            tag(tmp_path, g, Stopping(at), batch_size=3)
        assert min(g.rows(whole)) == kept - 3 * at
        assert sum(shard.rows for shard in open_samples(tmp_path).manifest.taggers[0].shards) == kept
    tagged = tag(tmp_path, g, T, batch_size=3)
    assert g.rows(whole) == set(range(9, 40))
    np.testing.assert_array_equal(tagged.scores("smile"), whole.scores("smile"))


@pytest.mark.parametrize("when", ["before", pytest.param("after", marks=pytest.mark.slow)])
def test_a_kill_at_the_change_of_the_manifest(tmp_path: Path, whole: Samples, when: str) -> None:
    """Before it, the shorter shard is listed and there; after it, the longer one; both files lie there then."""
    sample(G, tmp_path, tagger=T, n=10, **OPTIONS)
    killing = f"""
import os
from toy import ToyGenerator, ToyTagger
from latentedit.samples import writer
from latentedit.samples.sampling import sample
real = writer.write_manifest
def write(path, manifest):
    if manifest.rows > 10:
        if {when!r} == "after":
            real(path, manifest)
        os._exit(9)
    real(path, manifest)
writer.write_manifest = write
sample(ToyGenerator(), {str(tmp_path)!r}, tagger=ToyTagger(), n=16, batch_size=3, shard_size=16, keep_images=True)
"""
    support = Path(__file__).parents[1] / "support"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(support), *sys.path])}
    assert subprocess.run([sys.executable, "-c", killing], env=environment, check=False).returncode == 9
    assert len(list(tmp_path.glob("codes-*"))) == len(list(tmp_path.glob("tags/*/tags-*"))) == 2
    killed = open_samples(tmp_path)
    assert killed.rows == (10 if when == "before" else 16)
    np.testing.assert_array_equal(killed.scores("smile"), whole.scores("smile")[: killed.rows])
    g = Counting()
    sample(g, tmp_path, tagger=T, n=40, **OPTIONS)
    assert g.rows(whole) == set(range(killed.rows, 40))
    check_same(tmp_path, whole)


def test_a_shard_that_is_made_again_is_not_listed_shorter(tmp_path: Path, whole: Samples) -> None:
    sample(G, tmp_path, tagger=T, n=40, **OPTIONS)
    (tmp_path / "codes-00000.parquet").unlink()
    with pytest.raises(KeyboardInterrupt):
        sample(G, tmp_path, tagger=Stopping(2), n=40, **OPTIONS)
    assert json.loads((tmp_path / "manifest.json").read_text())["shards"][0]["rows"] == 16
    sample(G, tmp_path, tagger=T, n=40, **OPTIONS)
    check_same(tmp_path, whole)


def test_a_full_disk_does_not_hide_why_it_stopped(
    tmp_path: Path, whole: Samples, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: Any) -> None:
        raise LatentEditError("cannot write: no space left")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_table", full)
        with pytest.raises(LatentEditError, match="no space left"):  # of the vocabulary, before any row
            sample(G, tmp_path / "a", tagger=T, n=40, **OPTIONS)
    sample(G, tmp_path / "b", tagger=T, n=10, **OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(writing, "write_table", full)
        with pytest.raises(KeyboardInterrupt):
            sample(G, tmp_path / "b", tagger=Stopping(1), n=40, **OPTIONS)
    assert open_samples(tmp_path / "b").rows == 10
    sample(G, tmp_path / "b", tagger=T, n=40, **OPTIONS)
    check_same(tmp_path / "b", whole)


def test_a_manifest_whose_files_lead_elsewhere_is_refused(tmp_path: Path) -> None:
    sample(G, tmp_path, tagger=T, n=10, **OPTIONS)
    document = json.loads((tmp_path / "manifest.json").read_text())
    for name in ("../codes-00000-00010.parquet", "x.parquet", "codes-00000.parquet/y", 7):
        document["shards"][0]["file"] = name
        (tmp_path / "manifest.json").write_text(json.dumps(document))
        with pytest.raises(LatentEditError, match="manifest.json is damaged"):
            open_samples(tmp_path)
