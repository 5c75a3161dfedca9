"""Stored samples: what is written is what is read, and what does not fit the manifest is refused by name."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import latentedit.samples.manifest as manifest_module
import latentedit.samples.places as places
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.files import atomic_write, only_writer, sha256_of
from latentedit.samples.manifest import ContentSource, FileRecord, Manifest, tagger_folder, write_manifest
from latentedit.samples.store import Samples, open_samples
from latentedit.samples.writer import open_writer

TAGS = ("long_hair", "short_hair", "red_hair")
PLAIN = Manifest(
    generator_id="toy:000000000000",
    generator="toy",
    dim=4,
    layers=("a", "b"),
    seed=7,
    truncation=1.0,
    label=None,
    noise="stored",
    contents=None,
    styles_per_content=3,
    shard_size=5,
    images=False,
)


def make(path: Path, manifest: Manifest = PLAIN, rows: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Store random codes (rows, 4) and scores (rows, 3) of tagger ``t:1``."""
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((rows, 4)).astype(np.float32)
    scores = rng.random((rows, 3)).astype(np.float32) ** 4
    scores[1] = 0.0
    with open_writer(path, manifest) as writer:
        writer.add_tagger("t:1", name="t", tags=TAGS, threshold=0.3)
        for number in range(-(-rows // 5)):
            part = slice(number * 5, number * 5 + 5)
            writer.write_shard(number, codes=codes[part], tagger_id="t:1", scores=scores[part])
    return codes, scores


def rewrite(path: Path, folder: Path, table: pa.Table) -> None:
    """Replace a shard and make the manifest agree with the new file."""
    pq.write_table(table, path)
    file = folder / "manifest.json"
    document = json.loads(file.read_text())
    records = document["shards"] if path.name.startswith("codes") else document["taggers"][0]["shards"]
    blob = path.read_bytes()
    records[int(path.stem[-5:])] |= {"bytes": len(blob), "sha256": hashlib.sha256(blob).hexdigest()}
    file.write_text(json.dumps(document))


def read_all(samples: Samples) -> int:
    return sum(len(batch.seeds) for batch in samples.iter_batches(batch_size=3))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    codes, scores = make(tmp_path / "s")
    samples = open_samples(tmp_path / "s")
    assert (len(samples), samples.dim, samples.generator_id, samples.taggers) == (12, 4, "toy:000000000000", ["t:1"])
    assert "12 rows of toy:000000000000" in repr(samples)
    assert samples.tags() == samples.tags("t") == TAGS
    for batch_size in (1, 3, 4096):
        batches = list(samples.iter_batches(batch_size=batch_size))
        assert max(len(b.seeds) for b in batches) == min(batch_size, 5)
        assert np.concatenate([b.seeds for b in batches]).tolist() == list(range(7, 19))
        assert np.concatenate([b.groups for b in batches]).tolist() == list(range(7, 19))
        np.testing.assert_array_equal(np.concatenate([b.codes for b in batches]), codes)
        got = np.concatenate([b.scores for b in batches if b.scores is not None])
        assert got.dtype == np.float32 and got.shape == (12, 3)
        np.testing.assert_allclose(got, np.where(scores > 0.01, scores, 0), atol=3e-4)
        assert not (got[scores <= 0.01]).any()
    assert all(b.scores is None for b in samples.iter_batches(scores=False))
    with pytest.raises(FrozenInstanceError):
        samples.manifest.seed = 1  # type: ignore[misc]


def test_columns_are_those_of_the_format(tmp_path: Path) -> None:
    make(tmp_path)
    codes = pq.read_schema(tmp_path / "codes-00000.parquet")
    assert codes.names == ["seed", "content", "label", "style"]
    assert codes.field("seed").type == pa.int64() and codes.field("style").type == pa.list_(pa.float32(), 4)
    tags = pq.read_schema(tmp_path / "tags/t-1/tags-00000.parquet")
    names = pa.list_(pa.string())
    expected = {"seed": pa.int64(), "tag": names, "score": pa.list_(pa.float16()), "present": names}
    assert {field.name: field.type for field in tags} == expected | {"status": pa.string()}
    file = pq.ParquetFile(tmp_path / "tags/t-1/tags-00000.parquet")
    table, group = file.read(), file.metadata.row_group(0)
    assert table["tag"][1].as_py() == table["present"][1].as_py() == []  # labelled, and no tag on it
    assert table["status"].null_count == 5
    columns = {group.column(i).path_in_schema: group.column(i).encodings for i in range(group.num_columns)}
    assert all("RLE_DICTIONARY" in columns[f"{name}.list.element"] for name in ("tag", "present"))


def test_counts_agree_with_the_scores_and_read_no_codes(tmp_path: Path) -> None:
    _, scores = make(tmp_path)
    expected = (scores.astype(np.float16) >= np.float16(0.3)).sum(0)
    samples = open_samples(tmp_path)
    for shard in tmp_path.glob("codes-*"):
        shard.write_bytes(b"")
    assert samples.tag_counts() == dict(zip(TAGS, expected.tolist(), strict=True))
    assert sum(samples.tag_counts(threshold=0.9).values()) < expected.sum()
    for refused in (0.01, 0.0, 1.5):
        with pytest.raises(LatentEditError, match="threshold"):
            samples.tag_counts(threshold=refused)


def test_a_score_at_the_threshold_counts_after_rounding(tmp_path: Path) -> None:
    with open_writer(tmp_path, PLAIN) as writer:
        writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.45)  # float16(0.45) is below 0.45
        writer.write_shard(
            0,
            codes=np.zeros((2, 4), np.float32),
            tagger_id="t:1",
            scores=np.array([[0.45, 0.44, 0.0]] * 2, np.float32),
        )
    assert open_samples(tmp_path).tag_counts() == {"long_hair": 2, "short_hair": 0, "red_hair": 0}


def test_rows_without_labels_are_null_lists_and_read_as_nan(tmp_path: Path) -> None:
    scores = np.array([[0.5, 0, 0], [np.nan] * 3, [0, 0, 0.25]], np.float32)
    with open_writer(tmp_path, PLAIN) as writer:
        writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.5)
        writer.write_shard(0, codes=np.zeros((3, 4), np.float32), tagger_id="t:1", scores=scores)
    column = pq.read_table(tmp_path / "tags/t-1/tags-00000.parquet")["score"]
    assert column.is_null().to_pylist() == [False, True, False]
    for size in (1, 2, 3):
        got = np.concatenate([b.scores for b in open_samples(tmp_path).iter_batches(batch_size=size)])
        np.testing.assert_array_equal(got, scores)
    assert open_samples(tmp_path).tag_counts()["long_hair"] == 1


def test_groups_are_contents_when_there_are_some(tmp_path: Path) -> None:
    source = ContentSource("/pictures", ("a.png#000000000000", "b.png#111111111111"))
    make(tmp_path, replace(PLAIN, contents=source, seed=0))
    samples = open_samples(tmp_path)
    groups = np.concatenate([b.groups for b in samples.iter_batches()])
    assert groups.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert samples.to_pandas()["content"].tolist() == [source.pictures[i] for i in groups]


def test_pandas(tmp_path: Path) -> None:
    codes, scores = make(tmp_path, replace(PLAIN, label=3))
    table = open_samples(tmp_path).to_pandas()
    assert table.index.name == "seed" and table.index.tolist() == list(range(7, 19))
    assert table.columns.tolist() == ["content", "label", "style", *TAGS]
    assert set(table["label"]) == {3} and table["content"].isna().all()
    np.testing.assert_array_equal(np.stack(table["style"]), codes)
    assert isinstance(table, pd.DataFrame) and abs(table["red_hair"] - scores[:, 2]).max() < 0.011


def test_runs_without_tags_and_unfinished_tags(tmp_path: Path) -> None:
    with open_writer(tmp_path, PLAIN) as writer:
        writer.write_shard(0, codes=np.zeros((5, 4), np.float32))
        writer.write_shard(1, codes=np.zeros((2, 4), np.float32))
    samples = open_samples(tmp_path)
    assert samples.taggers == [] and len(list(samples.iter_batches(scores=False))) == 2
    assert samples.to_pandas().columns.tolist() == ["content", "label", "style"]
    for read in (samples.tags, samples.tag_counts, samples.iter_batches, samples.threshold, samples.fingerprint):
        with pytest.raises(LatentEditError, match="holds no tags; label it with `latentedit tag"):
            read()
    with open_writer(tmp_path) as writer:
        writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.5)
        writer.write_shard(0, tagger_id="t:1", scores=np.zeros((5, 3), np.float32))
    with pytest.raises(LatentEditError, match="t:1 cover 5 of 7 rows"):
        open_samples(tmp_path).iter_batches()
    with pytest.raises(UnknownNameError, match="known: t:1"):
        open_samples(tmp_path).tags("nobody")
    with pytest.raises(LatentEditError, match="batch_size"):
        samples.iter_batches(scores=False, batch_size=0)


def test_fingerprint_holds_what_changes_the_answer(tmp_path: Path) -> None:
    make(tmp_path / "a")
    make(tmp_path / "b")
    make(tmp_path / "c", rows=11)
    a, b, c = (open_samples(tmp_path / name) for name in "abc")
    assert a.fingerprint() == b.fingerprint() != c.fingerprint()
    assert a.fingerprint() != a.fingerprint(scores=False)
    with open_writer(tmp_path / "b") as writer:
        writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.7)
    b = open_samples(tmp_path / "b")
    assert b.manifest.taggers[0].name == "t" and b.threshold() == pytest.approx(0.7, abs=1e-3)
    assert a.fingerprint() != b.fingerprint() and a.fingerprint(scores=False) == b.fingerprint(scores=False)


# Damage: each is refused by name, and the control reads.


@pytest.mark.parametrize("name", ["codes-00001.parquet", "tags/t-1/tags-00001.parquet", "tags/_vocabulary-t-1.parquet"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    file = tmp_path / name
    whole = file.read_bytes()
    assert read_all(open_samples(tmp_path)) == 12  # the control
    edited = bytearray(whole)
    edited[len(whole) // 2] ^= 1
    for blob, reason in ((whole[:-9], "bytes where the manifest says"), (bytes(edited), "sha256"), (None, "missing")):
        file.write_bytes(blob) if blob is not None else file.unlink()
        with pytest.raises(DamagedFileError, match=f"{file}.*{reason}.*`latentedit sample`") as caught:
            read_all(open_samples(tmp_path))
        assert "\n" not in str(caught.value)
    file.write_bytes(whole)
    assert read_all(open_samples(tmp_path)) == 12


def test_a_missing_or_cut_code_shard_is_found_on_opening(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "codes-00002.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedFileError, match="codes-00002"):
        open_samples(tmp_path)


def test_a_file_is_hashed_once_a_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    hashed: list[str] = []
    monkeypatch.setattr(places, "sha256_of", lambda path: (hashed.append(path.name), sha256_of(path))[1])
    samples = open_samples(tmp_path)
    assert hashed == []
    read_all(samples)
    read_all(samples)
    assert sorted(hashed) == sorted(set(hashed)) and len(hashed) == 7


def test_codes_that_are_not_finite_are_named(tmp_path: Path) -> None:
    make(tmp_path)
    path = tmp_path / "codes-00001.parquet"
    table = pq.read_table(path)
    for bad in (np.nan, np.inf):
        codes = np.stack(table["style"].to_numpy()).copy()
        codes[3, 2] = bad
        style = pa.FixedSizeListArray.from_arrays(pa.array(codes.reshape(-1)), 4)
        rewrite(path, tmp_path, table.set_column(3, "style", style))
        with pytest.raises(DamagedFileError, match=r"codes-00001.*seed 15 holds NaN or infinity"):
            read_all(open_samples(tmp_path))
    rewrite(path, tmp_path, table)
    assert read_all(open_samples(tmp_path)) == 12


def test_shards_that_agree_with_the_manifest_and_are_wrong_inside(tmp_path: Path) -> None:
    make(tmp_path)
    codes, tags = tmp_path / "codes-00000.parquet", tmp_path / "tags/t-1/tags-00000.parquet"
    table, labels = pq.read_table(codes), pq.read_table(tags)

    def seeds(values: list[int]) -> pa.Array:
        return pa.array(values, pa.int64())

    wide = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(15, np.float32)), 3)
    names, numbers = pa.array([["grey_hair"]] * 5), pa.array([[2]] * 5, pa.list_(pa.uint16()))
    ones, twos = (pa.array([[score]] * 5, pa.list_(pa.float16())) for score in (np.float16(1), np.float16(2)))
    cases = [
        (codes, table.set_column(0, "seed", seeds([7, 8, 8, 10, 11])), "row 2 is seed 8 where seed 9 belongs"),
        (codes, table.set_column(0, "seed", seeds([8, 7, 9, 10, 11])), "row 0 is seed 8 where seed 7 belongs"),
        (codes, table.slice(0, 4), "4 rows where the manifest says 5"),
        (codes, table.drop_columns(["style"]), "no column style"),
        (codes, table.set_column(3, "style", wide), "codes are not 4 float32"),
        (tags, labels.set_column(0, "seed", seeds([7, 8, 9, 10, 12])), "row 4 is seed 12 where seed 11 belongs"),
        (tags, labels.set_column(1, "tag", names).set_column(2, "score", ones), "do not fit each other or the voc"),
        (tags, labels.set_column(1, "tag", numbers).set_column(2, "score", ones), "lists of names"),
        (tags, labels.set_column(2, "score", ones), "do not fit"),
        (tags, labels.set_column(1, "tag", pa.array([[TAGS[0]]] * 5)).set_column(2, "score", twos), "outside"),
        (tags, labels.slice(1), "4 rows"),
    ]
    for path, changed, reason in cases:
        rewrite(path, tmp_path, changed)
        with pytest.raises(DamagedFileError, match=f"{path}.*{reason}"):
            read_all(open_samples(tmp_path))
        rewrite(codes, tmp_path, table)
        rewrite(tags, tmp_path, labels)
    assert read_all(open_samples(tmp_path)) == 12


def test_manifests_that_are_not(tmp_path: Path) -> None:
    with pytest.raises(DamagedFileError, match=r"manifest.json is missing.*`latentedit sample`"):
        open_samples(tmp_path / "nowhere")
    make(tmp_path)
    file = tmp_path / "manifest.json"
    text = file.read_text()
    document = json.loads(text)
    bad_folder = document | {"taggers": [document["taggers"][0] | {"folder": "../../etc"}]}
    bad_rows = document | {"shards": [document["shards"][2], *document["shards"][1:]]}
    no_dim = {key: value for key, value in document.items() if key != "dim"}
    for blob in (
        text[:-40],
        "[]",
        "{}",
        "\0",
        *map(json.dumps, (bad_folder, bad_rows, no_dim, document | {"seed": "x"})),
    ):
        file.write_text(blob)
        with pytest.raises(DamagedFileError, match="manifest.json is damaged") as caught:
            open_samples(tmp_path)
        assert "\n" not in str(caught.value)
    file.write_text(text)
    assert len(open_samples(tmp_path)) == 12
    file.unlink()
    with pytest.raises(DamagedFileError, match="code shards and no manifest"), open_writer(tmp_path, PLAIN):
        pass


def test_newer_schemas_are_refused_and_older_ones_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    file = tmp_path / "manifest.json"
    document = json.loads(file.read_text())
    file.write_text(json.dumps(document | {"schema_version": 4, "unheard": 1}))
    with pytest.raises(LatentEditError, match="schema version 4; this latentedit reads up to 3: install a newer one"):
        open_samples(tmp_path)
    monkeypatch.setattr(manifest_module, "SCHEMA_VERSION", 5)
    assert read_all(open_samples(tmp_path)) == 12


def test_folders_of_taggers() -> None:
    assert tagger_folder("avatar:0123abcd4567", []) == "avatar-0123abcd4567"
    assert tagger_folder("../..", []) == "tagger"
    other = tagger_folder("A/b", ["a-b"])
    assert other.startswith("A-b-") and other != "A-b"
    assert len(tagger_folder("x" * 500, [])) == 80


# Files.


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file.txt"
    with atomic_write(target) as temporary:
        assert temporary.suffix == ".txt" and temporary.parent == tmp_path
        temporary.write_text("old")
    for error in (KeyboardInterrupt, ValueError):
        with pytest.raises(error), atomic_write(target) as temporary:
            temporary.write_text("half")
            raise error
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with (
            pytest.raises(LatentEditError, match="file.txt: No space left on device"),
            atomic_write(target) as temporary,
        ):
            temporary.write_text("new")
    assert target.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    with pytest.raises(LatentEditError, match="cannot write"), atomic_write(target / "below"):
        pass


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    make(tmp_path, rows=5)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_writer(tmp_path) as writer:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the system refuses larger files, as a full disk does
        try:
            with pytest.raises(LatentEditError, match="cannot write .*codes-00001.parquet") as caught:
                writer.write_shard(1, codes=np.zeros((5, 4), np.float32))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert read_all(open_samples(tmp_path)) == 5 and not list(tmp_path.rglob(".tmp-*"))


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    make(tmp_path)
    with only_writer(tmp_path):
        with pytest.raises(LatentEditError, match="another process is writing"), open_writer(tmp_path):
            pass
        assert read_all(open_samples(tmp_path)) == 12  # reading stays free
    with open_writer(tmp_path):
        pass


def test_a_writer_clears_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path)
    left = [tmp_path / ".tmp-0011aabb-codes-00003.parquet", tmp_path / "tags/t-1/.tmp-0011aabb-tags-00000.parquet"]
    foreign = tmp_path / ".tmp-0011aabb-edit.png"
    for file in (*left, foreign):
        file.touch()
    with open_writer(tmp_path):
        assert not any(file.exists() for file in left) and foreign.exists()


def test_reading_imports_no_torch() -> None:
    code = "import sys, latentedit.samples.store; sys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ}).returncode == 0


def test_tags_have_thresholds_of_their_own(tmp_path: Path) -> None:
    scores = np.tile(np.linspace(0.05, 0.95, 10, dtype=np.float32)[:, None], (1, len(TAGS)))

    def write(exceptions: dict[str, float]) -> Samples:
        with open_writer(tmp_path, replace(PLAIN, shard_size=10)) as writer:
            writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.5, thresholds=exceptions)
            if not writer.manifest.shards:
                codes = np.zeros((10, writer.manifest.dim), np.float32)
                writer.write_shard(0, codes=codes, tagger_id="t:1", scores=scores)
        return open_samples(tmp_path)

    first = write({TAGS[1]: 0.9, "of another tagger": 0.1})
    expected = [0.5, 0.9, *[0.5] * (len(TAGS) - 2)]
    np.testing.assert_allclose(first.thresholds(), expected, atol=1e-3)
    counts = first.tag_counts()
    assert counts[TAGS[0]] == 5 and counts[TAGS[1]] == 1 and first.tag_counts(threshold=0.2)[TAGS[1]] == 8
    again = write({TAGS[0]: 0.2})  # the same scores, read anew
    assert again.tag_counts()[TAGS[0]] == 8 and again.tag_counts()[TAGS[1]] == 5
    assert again.fingerprint() != first.fingerprint()


def test_vocabularies_without_thresholds_are_read(tmp_path: Path) -> None:
    with open_writer(tmp_path, PLAIN) as writer:
        writer.add_tagger("t:1", name=None, tags=TAGS, threshold=0.3)
        scores = np.full((4, len(TAGS)), 0.4, np.float32)
        writer.write_shard(0, codes=np.zeros((4, writer.manifest.dim), np.float32), tagger_id="t:1", scores=scores)
        record = writer.manifest.taggers[0]
        (file,) = tmp_path.glob("tags/_vocabulary-*.parquet")
        pq.write_table(pq.read_table(file, columns=["tag"]), file)
        old = FileRecord(record.vocabulary.rows, file.stat().st_size, sha256_of(file))
        write_manifest(tmp_path, replace(writer.manifest, taggers=(replace(record, vocabulary=old),)))
    stored = open_samples(tmp_path)
    assert stored.threshold() == pytest.approx(0.3, abs=1e-3)
    assert stored.thresholds().tolist() == [stored.threshold()] * len(TAGS)
    assert set(stored.tag_counts().values()) == {4}
