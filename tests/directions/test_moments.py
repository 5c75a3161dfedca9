"""Moments against numpy on the same rows, and the laws of a mergeable statistic."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import ToyGenerator, ToyTagger

from latentedit.directions.moments import FOLDS, SCHEMA, Moments, fold_of
from latentedit.directions.statistics import Statistics
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnknownNameError
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples
from latentedit.tensorfile import read_safetensors, write_safetensors

D, TAGS = 7, ("a", "b", "c")
FIELDS = ("count", "mean_x", "c_xx", "mean_y", "c_xy", "c_yy", "count_y", "offset_x")


def rows(n: int = 300, offset: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, D)) @ random.standard_normal((D, D)) + offset
    y = (x[:, :3] - offset + random.standard_normal((n, 3)) > 0.5).astype(float)
    return x, y, np.arange(n)


def fitted(x: np.ndarray, y: np.ndarray, g: np.ndarray, batch: int = 10_000) -> Moments:
    moments = Moments(D, TAGS, generator_id="toy:1")
    for start in range(0, len(x), batch):
        part = slice(start, start + batch)
        moments.update(x[part], y[part], groups=g[part])
    return moments


def expected(x: np.ndarray, y: np.ndarray) -> Statistics:
    """What numpy says of the rows, of each target on the rows where it is not NaN."""
    t, mean_x = y.shape[1], x.mean(0)
    mean_y, c_yy, count_y = np.zeros(t), np.zeros(t), np.zeros(t, np.int64)
    c_xy, offset_x = np.zeros((D, t)), np.zeros((D, t))
    for j in range(t):
        known = ~np.isnan(y[:, j])
        count_y[j] = known.sum()
        if known.any():
            both = np.cov(np.column_stack([x[known], y[known, j]]).T, bias=True) * known.sum()
            mean_y[j], c_yy[j], c_xy[:, j] = y[known, j].mean(), both[D, D], both[:D, D]
            offset_x[:, j] = x[known].mean(0) - mean_x
    c_xx = np.cov(x.T, bias=True) * len(x)
    return Statistics(len(x), mean_x, c_xx, mean_y, c_xy, c_yy, count_y, offset_x)


def with_holes(y: np.ndarray, share: float = 0.4, seed: int = 5) -> np.ndarray:
    """Targets that are missing at random, of the second tag all rows but every third, of the last none."""
    missing = np.random.default_rng(seed).random(y.shape) < share
    missing[:, 1], missing[:, 2] = np.arange(len(y)) % 3 > 0, False
    return np.where(missing, np.nan, y)


def assert_same(a: Statistics, b: Statistics, rtol: float = 1e-10) -> None:
    for name in FIELDS:
        left, right = np.asarray(getattr(a, name)), np.asarray(getattr(b, name))
        np.testing.assert_allclose(left, right, rtol=rtol, atol=rtol * (1 + np.abs(right).max()), err_msg=name)


def assert_all_same(a: Moments, b: Moments, rtol: float = 1e-10) -> None:
    for k in range(FOLDS):
        assert_same(a.fold(k), b.fold(k), rtol)
    for tag in a.tags:
        left, right = a.tagged(tag), b.tagged(tag)
        assert left.count == right.count
        np.testing.assert_allclose(left.mean_x, right.mean_x, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(left.c_xx, right.c_xx, rtol=rtol, atol=rtol * (1 + np.abs(right.c_xx).max()))


@pytest.mark.parametrize("holes", [False, True])
def test_whole_and_folds_are_numpys_moments_of_the_rows(holes: bool) -> None:
    x, y, g = rows(offset=3.0)
    y = with_holes(y) if holes else y
    moments = fitted(x, y, g, batch=37)
    assert_same(moments.whole, expected(x, y))
    for k in range(FOLDS):
        inside = fold_of(g) == k
        assert_same(moments.fold(k), expected(x[inside], y[inside]))
        assert_same(moments.train_without(k), expected(x[~inside], y[~inside]))
    assert moments.label_counts == dict(zip(TAGS, (~np.isnan(y)).sum(0).tolist(), strict=True))
    assert (moments.whole.offset_x == 0).all() is np.bool_(not holes)
    np.testing.assert_array_equal(moments.whole.c_xx, fitted(x, np.zeros_like(y), g, batch=37).whole.c_xx)


def test_a_row_without_a_label_carries_nothing() -> None:
    x, y, g = rows()
    moments = Moments(D, TAGS, generator_id="toy:1")
    moments.update(x, with_holes(y), groups=g, present=np.ones_like(y))
    known = ~np.isnan(with_holes(y))
    assert moments.tag_counts == dict(zip(TAGS, known.sum(0).tolist(), strict=True))
    np.testing.assert_allclose(moments.tagged("a").mean_x, x[known[:, 0]].mean(0))


def test_tagged_rows_about_the_origin_and_about_a_point() -> None:
    x, y, g = rows(offset=5.0)
    moments = fitted(x, y, g, batch=11)
    carrying = x[y[:, 1] == 1]
    tagged = moments.tagged("b")
    assert tagged.count == len(carrying) == moments.tag_counts["b"]
    np.testing.assert_allclose(tagged.about(np.zeros(D)), carrying.T @ carrying, rtol=1e-10)
    point = x.mean(0)
    np.testing.assert_allclose(tagged.about(point), (carrying - point).T @ (carrying - point), rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 120), max_size=5), order=st.randoms(use_true_random=False), holes=st.booleans())
def test_streaming_is_whole_and_merge_is_order_free(cuts: list[int], order, holes: bool) -> None:  # type: ignore[no-untyped-def]
    x, y, g = rows(120, offset=3.0)
    if holes:
        y = with_holes(y)
        y[:40, 0], y[40:, 1] = np.nan, np.nan  # parts where a tag has no label at all
    edges = [0, *sorted(cuts), 120]
    parts = [fitted(x[a:b], y[a:b], g[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    order.shuffle(parts)
    merged = Moments(D, TAGS, generator_id="toy:1")
    for part in parts:
        merged.merge(part)
    assert_all_same(merged, fitted(x, y, g))


@pytest.mark.parametrize("holes", [False, True])
def test_merging_two_ways_round_is_the_same_to_the_bit(holes: bool) -> None:
    x, y, g = rows()
    y = with_holes(y) if holes else y
    ab, ba = fitted(x[:90], y[:90], g[:90]), fitted(x[90:], y[90:], g[90:])
    a, b = ab.clone(), ba.clone()
    ab.merge(b)
    ba.merge(a)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(ab.whole, name), getattr(ba.whole, name))


def test_a_large_mean_costs_no_digits() -> None:
    x, y, g = rows(2000, offset=1e5)
    near, _, _ = rows(2000)
    moments = fitted(x, y, g, batch=64)
    truth = np.cov(near.T, bias=True) * len(x)
    assert np.abs(moments.whole.c_xx / truth - 1).max() < 1e-6
    single = x.astype(np.float32)  # the negative control: raw float32 sums
    raw = single.T @ single - len(x) * np.outer(single.mean(0), single.mean(0))
    assert np.abs(raw / truth - 1).max() > 1


def test_folds_partition_the_rows_and_keep_groups_together() -> None:
    x, y, _ = rows()
    groups = np.repeat(np.arange(100), 3)
    moments = fitted(x, y, groups)
    assert sum(moments.fold(k).count for k in range(FOLDS)) == moments.count == 300
    assert all(len(set(fold_of(groups)[groups == group])) == 1 for group in range(100))
    assert moments.usable_folds == tuple(range(FOLDS))
    assert fitted(x, y, np.zeros(300, int)).usable_folds == ()


@pytest.mark.parametrize("step", [1, 2, 3, 5, 10, 1000])
def test_equally_spaced_groups_fill_all_folds_evenly(step: int) -> None:
    counts = np.bincount(fold_of(np.arange(0, 1000 * step, step)), minlength=FOLDS)
    assert counts.min() > 150
    assert sorted(fold_of(np.arange(7, 12))) == [0, 1, 2, 3, 4]


def test_what_was_handed_out_never_changes() -> None:
    x, y, g = rows()
    moments = fitted(x[:150], y[:150], g[:150])
    whole, fold, tagged, copy = moments.whole, moments.fold(0), moments.tagged("a"), moments.clone()
    before = [whole.c_xx.copy(), fold.c_xx.copy(), tagged.c_xx.copy(), copy.whole.c_xx.copy()]
    moments.update(x[150:], y[150:], groups=g[150:])
    after = [whole.c_xx, fold.c_xx, tagged.c_xx, copy.whole.c_xx]
    assert all((a == b).all() for a, b in zip(before, after, strict=True))
    with pytest.raises(ValueError):
        moments.fold(1).c_xx[0, 0] = 7
    tagged.c_xx[:] = 7
    assert not (moments.tagged("a").c_xx == 7).any()
    x[:] = 0
    assert moments.whole.mean_x.any()


def test_takes_torch_tensors_and_score_targets() -> None:
    x, y, g = rows()
    moments = Moments(D, TAGS, generator_id="toy:1", target="score", threshold=0.35)
    scores = torch.from_numpy(y * 0.4)
    moments.update(torch.from_numpy(x), scores, groups=torch.from_numpy(g))
    assert moments.tag_counts == fitted(x, y, g).tag_counts
    np.testing.assert_allclose(moments.whole.c_xy, 0.4 * fitted(x, y, g).whole.c_xy)


@pytest.mark.parametrize(("where", "value"), [("codes", np.nan), ("codes", np.inf), ("targets", -np.inf)])
def test_values_that_are_not_finite_are_refused_and_change_nothing(where: str, value: float) -> None:
    x, y, g = rows(20)
    (x if where == "codes" else y)[3, 0] = value
    moments = Moments(D, TAGS, generator_id="toy:1")
    with pytest.raises(LatentEditError, match=f"row 3 of {where}"):
        moments.update(x, y, groups=g)
    assert moments.count == 0


def test_wrong_shapes_and_names_are_refused() -> None:
    x, y, g = rows(20)
    moments = Moments(D, TAGS, generator_id="toy:1")
    for codes, targets, groups in ((x[:, :3], y, g), (x, y[:, :2], g), (x, y, g[:5])):
        with pytest.raises(LatentEditError, match="take"):
            moments.update(codes, targets, groups=groups)
    with pytest.raises(LatentEditError, match="present"):
        moments.update(x, y, groups=g, present=np.ones((20, 2)))
    with pytest.raises(UnknownNameError):
        moments.tagged("d")
    with pytest.raises(LatentEditError):
        Moments(D, ["a", "a"], generator_id="toy:1")
    with pytest.raises(UnknownNameError, match="target"):
        Moments(D, TAGS, generator_id="toy:1", target="both")  # type: ignore[arg-type]


def test_merging_moments_of_another_kind_is_refused() -> None:
    for other in (
        Moments(D, TAGS, generator_id="toy:2"),
        Moments(D, TAGS[:2], generator_id="toy:1"),
        Moments(D, TAGS, generator_id="toy:1", target="score"),
        Moments(D, TAGS, generator_id="toy:1", truncation=0.7),
    ):
        with pytest.raises(MismatchError, match="differ in"):
            Moments(D, TAGS, generator_id="toy:1").merge(other)


def test_save_and_load_to_the_bit(tmp_path: Path) -> None:
    moments = Moments(
        D, TAGS, generator_id="toy:1", tagger_id="t:2", layers=("p", "q"), truncation=0.7, threshold=0.35, sources=["s"]
    )
    x, y, g = rows()
    y = with_holes(y)
    moments.update(x, y, groups=g)
    moments.save(tmp_path / "m.safetensors")
    back = Moments.load(tmp_path / "m.safetensors")
    assert back._identity() == moments._identity() and back.sources == ("s",)
    for k in range(FOLDS):
        for name in FIELDS:
            np.testing.assert_array_equal(getattr(back.fold(k), name), getattr(moments.fold(k), name))
    np.testing.assert_array_equal(back.tagged("c").c_xx, moments.tagged("c").c_xx)
    back.update(x, y, groups=g)
    assert back.count == 2 * moments.count
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


def test_files_of_the_first_schema_are_read(tmp_path: Path) -> None:
    path, moments = tmp_path / "m.safetensors", fitted(*rows())
    moments.save(path)
    old = ("mean_x", "c_xx", "mean_y", "c_xy", "c_yy", "count", "tag_count", "tag_mean", "tag_c_xx")
    arrays, metadata = read_safetensors(path, format="latentedit.moments", schema=SCHEMA, names=old)
    write_safetensors(path, arrays, metadata | {"schema": "1"})
    back = Moments.load(path)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(back.whole, name), getattr(moments.whole, name))
    assert set(back.label_counts.values()) == {300}
    write_safetensors(path, arrays, metadata)
    with pytest.raises(DamagedFileError, match="count_y is damaged"):
        Moments.load(path)


def test_damaged_foreign_and_newer_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    fitted(*rows()).save(path)
    whole = path.read_bytes()
    names = (*FIELDS, "tag_count", "tag_mean", "tag_c_xx")
    arrays, metadata = read_safetensors(path, format="latentedit.moments", schema=SCHEMA, names=names)

    def refused(pattern: str) -> None:
        with pytest.raises(DamagedFileError, match=pattern) as caught:
            Moments.load(path)
        assert "\n" not in str(caught.value)

    path.write_bytes(whole[: len(whole) // 2])
    refused("damaged")
    path.write_bytes(b"")
    refused("damaged")
    write_safetensors(path, arrays, metadata | {"format": "other"})
    refused("not a latentedit.moments file")
    write_safetensors(path, arrays, metadata | {"schema": str(SCHEMA + 1)})
    refused("newer")
    write_safetensors(path, arrays, metadata | {"about": "{}"})
    refused("description")
    write_safetensors(path, arrays | {"c_xx": arrays["c_xx"][:2]}, metadata)
    refused("c_xx")
    path.unlink()
    refused("no such file")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    folder = tmp_path_factory.mktemp("run") / "samples"
    return sample(ToyGenerator(), folder, tagger=ToyTagger(), n=600, shard_size=256)


def test_from_samples_is_the_moments_of_the_rows(samples: Samples) -> None:
    seen = []
    moments = Moments.from_samples(samples, cache=False, progress=lambda done, total: seen.append((done, total)))
    codes = np.concatenate([b.codes for b in samples.iter_batches()]).astype(float)
    scores = np.concatenate([b.scores for b in samples.iter_batches() if b.scores is not None])
    present = scores[:, [samples.tags().index(tag) for tag in moments.tags]] >= samples.threshold()
    both = np.cov(np.concatenate([codes, present], 1).T, bias=True) * 600
    np.testing.assert_allclose(moments.whole.c_xy, both[:16, 16:], rtol=1e-9, atol=1e-9)
    assert moments.tag_counts == {tag: samples.tag_counts()[tag] for tag in moments.tags}
    assert all(6 <= count <= 450 for count in moments.tag_counts.values())
    assert moments.generator_id == samples.generator_id and moments.tagger_id == samples.tagger_id()
    assert seen[-1] == (600, 600)


def test_the_cache_is_used_and_its_key_covers_the_choices(samples: Samples, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = samples.path / "moments"
    shutil.rmtree(folder, ignore_errors=True)
    first = Moments.from_samples(samples)
    tags = list(first.tags)
    choices = ({"target": "score"}, {"tags": tags[:2]}, {"tags": tags[1::-1]})
    others = [Moments.from_samples(samples, **choice) for choice in choices]  # type: ignore[arg-type]
    assert len(list(folder.iterdir())) == 4
    assert [m.tags for m in others] == [first.tags, first.tags[:2], first.tags[1::-1]]

    def streamed(*args: object) -> None:
        raise AssertionError("the rows were read again")

    monkeypatch.setattr(Moments, "_stream", streamed)
    again = Moments.from_samples(samples)
    np.testing.assert_array_equal(again.whole.c_xx, first.whole.c_xx)
    with pytest.raises(AssertionError):
        Moments.from_samples(samples, tags=tags[:1])


def test_a_damaged_cache_is_made_again(samples: Samples) -> None:
    first = Moments.from_samples(samples)
    for path in (samples.path / "moments").iterdir():
        path.write_bytes(b"nonsense")
    np.testing.assert_array_equal(Moments.from_samples(samples).whole.c_xx, first.whole.c_xx)


def test_unknown_tags_and_taggers_of_samples_are_refused(samples: Samples) -> None:
    with pytest.raises(UnknownNameError, match="did you mean long_hair"):
        Moments.from_samples(samples, tags=["long_hairs"])
    with pytest.raises(UnknownNameError):
        Moments.from_samples(samples, tagger="nobody")


def test_each_tag_is_present_from_its_own_threshold(tmp_path: Path) -> None:
    class Strict(ToyTagger):
        thresholds = {"long_hair": 0.9, "never_heard_of": 0.2}

    run = sample(ToyGenerator(), tmp_path, tagger=Strict(), n=200)
    scores = np.concatenate([b.scores for b in run.iter_batches() if b.scores is not None])
    limits = np.full(len(run.tags()), 0.5)
    limits[run.tags().index("long_hair")] = np.float16(0.9)
    expected = (scores >= limits).sum(0)
    lenient = (scores >= 0.5).sum(0)
    assert (expected <= lenient).all() and expected.sum() < lenient.sum()
    for target in ("binary", "score"):
        moments = Moments.from_samples(run, tags=run.tags(), target=target, cache=False)
        assert list(moments.tag_counts.values()) == expected.tolist()
    binary = Moments.from_samples(run, tags=run.tags(), cache=False)
    np.testing.assert_allclose(binary.whole.mean_y, expected / 200, atol=1e-12)
