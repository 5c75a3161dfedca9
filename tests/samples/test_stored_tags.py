"""Stored tags: names that other programs read, who carries them, cells without a label, thresholds that change."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from commands import TOY
from toy import TAGS, ToyGenerator, ToyTagger

import latentedit as le
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.samples.manifest import Manifest
from latentedit.samples.writer import open_writer

G = ToyGenerator()
OLD = Path(__file__).parents[1] / "fixtures/samples-version-1"
"""Ten rows of the toy generator with the toy tagger's tags and labels of six rows, by the first version."""


def tags_of(path: Path) -> dict[str, Any]:
    """Every file of tags, by its name below the folder of samples."""
    return {
        p.relative_to(path).as_posix(): pq.read_table(p) for p in sorted(path.rglob("*.parquet")) if "tags" in p.parts
    }


def scores_of(samples: le.Samples, tagger: str | None = None) -> np.ndarray:
    return np.concatenate([b.scores for b in samples.iter_batches(tagger) if b.scores is not None])


@pytest.fixture(scope="module")
def close_to_the_threshold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tag is at its threshold, or next to it, on every row; 0.45 is no number of float16."""
    folder = tmp_path_factory.mktemp("close") / "samples"
    scores = np.zeros((300, 3), np.float32)
    steps = np.arange(-150, 150, dtype=np.float32)
    scores[:, 0], scores[:, 1], scores[7] = 0.45 + steps * 2e-6, 0.45 + steps * 1e-3, np.nan
    run = Manifest("toy:0", "toy", 4, ("a",), 0, 1.0, None, "stored", None, 3, 128, False)
    with open_writer(folder, run) as writer:
        writer.add_tagger("t:1", name="t", tags=TAGS[:3], threshold=0.45)
        for number, rows in enumerate((slice(0, 128), slice(128, 256), slice(256, 300))):
            codes = np.random.default_rng(number).standard_normal((rows.stop - rows.start, 4)).astype(np.float32)
            writer.write_shard(number, codes=codes, tagger_id="t:1", scores=scores[rows])
    return folder


def carriers(folder: Path) -> dict[str, int]:
    """How many rows directions are fitted on as carriers of each tag."""
    return le.Moments.from_samples(le.open_samples(folder), tags=TAGS[:3], cache=False).tag_counts


def test_pandas_reads_the_folder_and_finds_the_carriers(close_to_the_threshold: Path) -> None:
    table = pd.read_parquet(close_to_the_threshold / "tags/t-1")
    assert table.columns.tolist() == ["seed", "tag", "score", "present", "status"] and len(table) == 300
    assert table["present"][7] is None and table["status"].isna().all()
    found = {tag: sum(tag in names for names in table["present"].dropna()) for tag in TAGS[:3]}
    assert found == carriers(close_to_the_threshold) == le.open_samples(close_to_the_threshold).tag_counts()
    assert 60 < found[TAGS[0]] < 240 and found[TAGS[1]] == 150 and found[TAGS[2]] == 0
    plain = (0.45 + np.arange(-150, 150, dtype=np.float32) * 2e-6 >= 0.45).sum()
    assert found[TAGS[0]] != plain  # the scores as they were before they were stored would give other rows


def test_duckdb_reads_the_folders_and_finds_the_carriers(close_to_the_threshold: Path) -> None:
    for tag, count in carriers(close_to_the_threshold).items():
        files = f"{close_to_the_threshold}/tags/*/tags-*.parquet"
        rows = duckdb.sql(f"select seed from '{files}' where list_contains(present, '{tag}')").fetchall()
        assert len(rows) == count


class SomeLabels:
    """Labels of rows that are there for some tags only: each row lacks one, and every seventh all of them."""

    id, tags, threshold = "some:0", TAGS[:3], 0.5

    def score(self, images: Any) -> Any:
        raise AssertionError("pictures are not needed")

    def label_rows(self, seeds: np.ndarray, names: list[str] | None) -> np.ndarray:
        labels = (seeds[:, None] // np.array([1, 2, 4]) % 2).astype(np.float32)
        labels[np.arange(len(seeds)), seeds % 3] = np.nan
        labels[seeds % 7 == 3] = np.nan
        return labels


def test_a_tag_without_a_label_in_a_labelled_row(tmp_path: Path) -> None:
    stored = le.tag(le.sample(G, tmp_path, n=30, shard_size=8), G, SomeLabels())
    expected = SomeLabels().label_rows(np.arange(30), None)
    np.testing.assert_array_equal(scores_of(stored), expected)
    for j, tag in enumerate(SomeLabels.tags):
        found = stored.scores(tag)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected[:, j])
    assert stored.labelled() == 30 - 4
    assert stored.tag_counts() == dict(zip(TAGS[:3], np.nansum(expected, 0).astype(int).tolist(), strict=True))
    np.testing.assert_array_equal(stored.to_pandas()[list(TAGS[:3])].to_numpy(), expected)

    table = pd.read_parquet(tmp_path / "tags/some-0").set_index("seed")
    assert table["tag"][3] is None and table["score"][3] is None and table["present"][3] is None
    for seed in (row for row in range(30) if row % 7 != 3):
        scores = dict(zip(table["tag"][seed], table["score"][seed], strict=True))
        assert np.isnan(scores.pop(TAGS[seed % 3])) and TAGS[seed % 3] not in table["present"][seed]
        assert set(scores) == set(table["present"][seed])  # labels are 0 or 1
    assert pq.read_table(tmp_path / "tags/some-0")["score"][0].values.null_count == 1  # null, as in databases


def test_scores_of_one_tag(tmp_path: Path) -> None:
    stored = le.sample(G, tmp_path, tagger=ToyTagger(), n=30, shard_size=8)
    known = scores_of(stored)
    for j, tag in enumerate(TAGS):
        np.testing.assert_array_equal(stored.scores(tag), known[:, j])
    with pytest.raises(UnknownNameError, match="did you mean long_hair"):
        stored.scores("long_hairs")


def test_samples_show_themselves(tmp_path: Path) -> None:
    stored = le.sample(
        G, tmp_path / "s", tagger=ToyTagger(), n=5, seed=3, generator_name="torch:<b>", tagger_name="toy"
    )
    (text,) = repr(stored).splitlines()
    assert len(text) < 200 + len(str(tmp_path)) and "5 rows of toy:" in text
    rows = ElementTree.fromstring(stored._repr_html_()).iter("tr")
    facts = {name.text: value.text for name, value in rows}
    assert facts["folder"] == str(tmp_path / "s") and facts["generator"] == f"torch:<b> ({G.id})"
    assert facts["samples"] == "5, seeds 3 … 7" and facts["tagger"].endswith("): 6 tags of 5 samples")


# Other thresholds.


class Lenient(ToyTagger):
    """The toy tagger with other thresholds: the same weights, so the same id."""

    thresholds = {"smile": 0.05, "red_hair": 0.9}


def test_other_thresholds_are_other_carriers_in_the_files_too(tmp_path: Path) -> None:
    first = le.sample(G, tmp_path / "s", tagger=ToyTagger(), n=20, shard_size=8)
    before, counted, decoded = scores_of(first), first.tag_counts(), []

    class Watched(ToyGenerator):
        def decode(self, *given: Any, **options: Any) -> Any:
            decoded.append(1)
            return super().decode(*given, **options)

    changed = le.tag(tmp_path / "s", Watched(), Lenient())
    assert not decoded and changed.taggers == first.taggers
    np.testing.assert_array_equal(scores_of(changed), before)
    le.sample(G, tmp_path / "fresh", tagger=Lenient(), n=20, shard_size=8)
    assert tags_of(tmp_path / "s") == tags_of(tmp_path / "fresh")
    assert changed.tag_counts() != counted and changed.fingerprint() != first.fingerprint()
    le.tag(tmp_path / "s", G, ToyTagger())  # and back
    assert first.fingerprint() == le.open_samples(tmp_path / "s").fingerprint()


def killed_after(replacements: int, work: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do some work, and stop it before it gives a file its name for that many times and one; whether it stopped."""
    left, real = [replacements], os.replace

    def replace(source: Any, target: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace)
        try:
            work()
        except KeyboardInterrupt:
            return True
    return False


def test_a_kill_while_thresholds_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    le.sample(G, tmp_path / "before", tagger=ToyTagger(), n=10, shard_size=4)
    le.sample(G, tmp_path / "after", tagger=Lenient(), n=10, shard_size=4)
    known, stop = scores_of(le.open_samples(tmp_path / "after")), 0
    while True:
        run = tmp_path / f"killed-{stop}"
        shutil.copytree(tmp_path / "before", run)
        if not killed_after(stop, lambda run=run: le.tag(run, G, Lenient()), monkeypatch):  # type: ignore[misc]
            break
        again = le.tag(run, G, Lenient())
        np.testing.assert_array_equal(scores_of(again), known)
        assert tags_of(run) == tags_of(tmp_path / "after") and not list(run.glob("tags/.*"))
        stop += 1
    assert stop == 9  # three shards and a vocabulary, made and put in place, and a manifest


# Runs of the first version.


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_runs_of_the_first_version_are_read(old: Path) -> None:
    files = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    stored = le.open_samples(old)
    assert stored.tags() == TAGS and stored.labelled() == 10 and stored.labelled("csv:labels.csv") == 6
    known = ToyTagger().score(G.decode(G.sample_codes(range(10)))).numpy()
    np.testing.assert_allclose(scores_of(stored), np.where(known > 0.01, known, 0), atol=0.01)
    labels = scores_of(stored, "csv:labels.csv")
    there = [0, 1, 2, 5, 6, 7]
    np.testing.assert_array_equal(labels[there], [[s % 2, s % 3 == 0] for s in there])
    assert np.isnan(labels[[3, 4, 8, 9]]).all()
    np.testing.assert_array_equal(stored.scores("red_hair", "csv:labels.csv"), labels[:, 1])
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == files


def test_runs_of_the_first_version_are_extended_with_names(old: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    before = scores_of(le.open_samples(old))
    code, _, err = run("sample", old, *TOY, "--tagger", "torch:toy:ToyTagger", "-n", 10, "--quiet")
    assert code == 1 and "its shard_size is 4, this one's is 2048" in err  # the control: another run
    extended = le.sample(G, old, tagger=ToyTagger(), n=14, shard_size=4, batch_size=4)
    np.testing.assert_array_equal(scores_of(extended)[:8], before[:8])
    le.sample(G, old.parent / "new", tagger=ToyTagger(), n=14, shard_size=4, batch_size=4)
    np.testing.assert_allclose(scores_of(extended), scores_of(le.open_samples(old.parent / "new")), atol=1e-3)
    table = pd.read_parquet(old / "tags" / extended.manifest.taggers[0].folder)
    assert table["seed"].tolist() == list(range(14))
    found = {tag: sum(tag in names for names in table["present"]) for tag in TAGS}
    assert found == extended.tag_counts()
    assert sorted(p.name for p in (old / "tags").glob("*voc*")) == ["_vocabulary-toytags-451512a20d46.parquet"]
    assert not list((old / "tags").glob("toytags*/*voc*"))
    # Those of the other tagger stay as they are, and stay readable.
    assert sorted(p.name for p in (old / "tags").glob("csv*/*voc*")) == ["vocabulary.parquet"]
    with pytest.raises(LatentEditError, match="cover 10 of 14 rows"):
        extended.labelled("csv:labels.csv")
    assert le.open_samples(old).manifest.tagger("csv:labels.csv").numbered


def test_a_kill_while_a_run_of_the_first_version_gets_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known, stop = scores_of(le.open_samples(OLD)), 0
    while True:
        run = Path(shutil.copytree(OLD, tmp_path / f"killed-{stop}"))
        if not killed_after(stop, lambda run=run: le.tag(run, G, ToyTagger()), monkeypatch):  # type: ignore[misc]
            break
        np.testing.assert_array_equal(scores_of(le.tag(run, G, ToyTagger())), known)
        assert len(pd.read_parquet(run / "tags/toytags-451512a20d46")) == 10 and not list(run.glob("tags/.*"))
        stop += 1
    assert stop == 9


def test_a_damaged_shard_is_not_written_anew(old: Path) -> None:
    (file,) = old.glob("tags/toytags*/tags-00001.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(DamagedFileError, match=f"{file}.*delete it"):
        le.tag(old, G, ToyTagger())
    file.unlink()
    tagged = le.tag(old, G, ToyTagger())
    np.testing.assert_allclose(scores_of(tagged), scores_of(le.open_samples(OLD)), atol=1e-3)
    assert tagged.labelled() == 10
