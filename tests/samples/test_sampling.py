"""Sampling: resumed = whole, larger n extends, batch and shard size change nothing, contents follow the rule."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor
from toy import TAGS, ToyGenerator, ToyTagger, ToyTranslator, as_png

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnreadablePictures
from latentedit.generators.base import seed_latents
from latentedit.pictures.images import read_picture, to_uint8
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples, open_samples

G, T = ToyGenerator(), ToyTagger()


def tables(path: Path) -> dict[str, pa.Table]:
    """Every Parquet file of a run, by relative name; that of a shard that took a shorter one's place by its usual."""
    files = [(p, re.sub(r"(-\d{5})-\d{5}\.", r"\1.", p.relative_to(path).as_posix())) for p in path.rglob("*.parquet")]
    assert len({name for _, name in files}) == len(files)
    return {name: pq.read_table(p) for p, name in sorted(files, key=lambda file: file[1])}


def arrays(samples: Samples, scores: bool = True) -> tuple[np.ndarray, np.ndarray | None]:
    batches = list(samples.iter_batches(scores=scores))
    found = [b.scores for b in batches if b.scores is not None]
    return np.concatenate([b.codes for b in batches]), np.concatenate(found) if found else None


class Breaking(ToyTagger):
    """Raises at its k-th batch."""

    def __init__(self, at: int, error: BaseException) -> None:
        super().__init__()
        self.left, self.error = at, error

    def score(self, images: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            raise self.error
        return super().score(images)


class Counting(ToyGenerator):
    """Counts the rows it decodes."""

    decoded = 0

    def decode(self, codes: Tensor, **options: Any) -> Tensor:
        self.decoded += len(codes)
        return super().decode(codes, **options)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, side in (("b.png", 16), ("a.png", 16), ("c.png", 40)):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).save(folder / name)
    return folder


def test_rows_are_seeds(tmp_path: Path) -> None:
    samples = sample(G, tmp_path, tagger=T, n=20, seed=5, truncation=0.7, batch_size=3, shard_size=8)
    codes, scores = arrays(samples)
    expected = G.map(seed_latents(range(5, 25), 8), truncation=0.7)
    np.testing.assert_allclose(codes, expected.numpy(), atol=1e-6)
    known = T.score(as_png(G.decode(expected))).numpy()
    np.testing.assert_allclose(scores, np.where(known > 0.01, known, 0), atol=1e-3)
    assert samples.tag_counts() == dict(zip(TAGS, (known >= 0.5).sum(0).tolist(), strict=True))
    assert samples.rows == 20 and [s.rows for s in samples.manifest.shards] == [8, 8, 4]
    assert not np.allclose(codes, G.map(seed_latents(range(20), 8), truncation=0.7).numpy(), atol=0.1)


def test_batch_and_shard_size_change_nothing(tmp_path: Path) -> None:
    whole = arrays(sample(G, tmp_path / "whole", tagger=T, n=23, batch_size=23, shard_size=23))
    for batch, shard in ((1, 23), (4, 5), (7, 1), (100, 1000)):
        run = sample(G, tmp_path / f"{batch}-{shard}", tagger=T, n=23, batch_size=batch, shard_size=shard)
        codes, scores = arrays(run)
        np.testing.assert_allclose(codes, whole[0], atol=1e-6)
        np.testing.assert_allclose(scores, whole[1], atol=1e-3)
    other, _ = arrays(sample(G, tmp_path / "other", n=23, seed=1), scores=False)
    np.testing.assert_allclose(other[:-1], whole[0][1:], atol=1e-6)  # another seed is a shift, not another run


def test_without_a_tagger_nothing_is_decoded(tmp_path: Path) -> None:
    g = Counting()
    samples = sample(g, tmp_path / "codes", n=10)
    assert g.decoded == 0 and samples.taggers == [] and not (tmp_path / "codes/tags").exists()
    sample(g, tmp_path / "tags", n=10, tagger=T)
    assert g.decoded == 10


@pytest.mark.parametrize("at", [0, 1, 2, 3, 5, 6])
def test_a_killed_run_resumes_to_the_same_values(tmp_path: Path, at: int) -> None:
    options: dict[str, Any] = {"n": 20, "batch_size": 3, "shard_size": 8, "keep_images": True}
    whole = sample(G, tmp_path / "whole", tagger=T, **options)
    out = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        sample(G, out, tagger=Breaking(at, KeyboardInterrupt()), **options)
    assert not list(out.rglob(".tmp-*"))
    finished = (0, 3, 6, 8, 11, 14, 16)[at]
    if finished:
        part = open_samples(out)
        assert part.rows == finished and len(list(out.glob("codes-*"))) == len(part.manifest.shards)
        np.testing.assert_array_equal(arrays(part)[0], arrays(whole)[0][: part.rows])
    else:
        with pytest.raises(LatentEditError, match="no finished rows yet; run the same `latentedit sample`"):
            open_samples(out)
    counting = Counting()
    resumed = sample(counting, out, tagger=T, **options)
    assert counting.decoded == 20 - finished
    assert tables(out) == tables(tmp_path / "whole") and resumed.manifest == whole.manifest


@pytest.mark.parametrize("stop", range(16))
def test_a_kill_between_any_two_files_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int) -> None:
    sample(G, tmp_path / "whole", tagger=T, n=10, shard_size=4)
    real, left = os.replace, [stop]

    def stopping(source: Any, target: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        real(source, target)

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            sample(G, out, tagger=T, n=6, shard_size=4)
            sample(G, out, tagger=T, n=10, shard_size=4)  # extends, so the short shard is replaced
    assert not list(out.rglob(".tmp-*"))
    if (out / "manifest.json").exists() and json.loads((out / "manifest.json").read_text())["shards"]:
        arrays(open_samples(out))  # what the manifest lists is whole
    sample(G, out, tagger=T, n=10, shard_size=4)
    assert tables(out) == tables(tmp_path / "whole")


def test_a_larger_n_extends_and_a_smaller_one_is_refused(tmp_path: Path) -> None:
    sample(G, tmp_path / "whole", tagger=T, n=20, shard_size=8)
    g = Counting()
    for n in (3, 11, 16, 20, 20):
        assert sample(g, tmp_path / "grown", tagger=T, n=n, shard_size=8).rows == n
    assert tables(tmp_path / "grown") == tables(tmp_path / "whole")
    assert g.decoded == 20  # none of them twice
    with pytest.raises(LatentEditError, match="holds 20 rows, more than 19"):
        sample(g, tmp_path / "grown", tagger=T, n=19, shard_size=8)
    assert open_samples(tmp_path / "grown").rows == 20


def test_an_extension_keeps_the_other_tags_it_can(tmp_path: Path) -> None:
    other = ToyTagger(seed=200)
    sample(G, tmp_path, tagger=T, n=10, shard_size=4)
    samples = sample(G, tmp_path, tagger=other, n=10, shard_size=4)
    assert samples.taggers == [T.id, other.id]
    extended = sample(G, tmp_path, tagger=other, n=12, shard_size=4)
    assert len(list(extended.iter_batches(other.id))) == 3
    with pytest.raises(LatentEditError, match="cover 10 of 12 rows"):
        extended.iter_batches(T.id)
    sample(G, tmp_path, tagger=T, n=12, shard_size=4)
    sample(G, tmp_path / "whole", tagger=T, n=12, shard_size=4)
    np.testing.assert_array_equal(arrays(open_samples(tmp_path))[1], arrays(open_samples(tmp_path / "whole"))[1])


@pytest.mark.parametrize("name", ["codes-00001.parquet", "tags/*/tags-00001.parquet", "tags/_vocabulary-*.parquet"])
def test_damaged_shards_are_refused_then_redone(tmp_path: Path, name: str) -> None:
    def run() -> Samples:
        return sample(G, tmp_path, tagger=T, n=10, shard_size=4)

    run()
    before = tables(tmp_path)
    (file,) = tmp_path.glob(name)
    blob = bytearray(file.read_bytes())
    blob[len(blob) // 2] ^= 1
    for bad, reason in ((bytes(blob), "sha256"), (bytes(blob[:-4]), "bytes where")):
        file.write_bytes(bad)
        with pytest.raises(DamagedFileError, match=f"{file}.*{reason}.*delete it and run the same `latentedit sample`"):
            run()
    file.unlink()
    if "vocabulary" not in name:
        with pytest.raises(DamagedFileError, match="missing"):
            arrays(open_samples(tmp_path))
    run()
    assert tables(tmp_path) == before


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("generator_id", {"generator": ToyGenerator(seed=9)}),
        ("seed", {"seed": 1}),
        ("truncation", {"truncation": 0.5}),
        ("label", {"label": 2}),
        ("noise", {"noise": "none"}),
        ("shard_size", {"shard_size": 5}),
        ("images", {"keep_images": True}),
    ],
)
def test_another_run_is_refused_by_field_and_values(tmp_path: Path, field: str, change: dict[str, Any]) -> None:
    def run(*, generator: ToyGenerator = G, **options: Any) -> Samples:
        return sample(generator, tmp_path, **({"n": 8, "shard_size": 4} | options))

    before = run().manifest
    with pytest.raises(
        MismatchError, match=f"its {field} is .*, this one's is .*; choose another folder, or delete it"
    ):
        run(**change)
    assert run(batch_size=3, styles_per_content=9).manifest == before  # the control: these decide nothing here


def test_contents_follow_the_rule(tmp_path: Path, pictures: Path) -> None:
    g = ToyTranslator()
    out = tmp_path / "s"
    samples = sample(
        g, out, tagger=T, n=20, seed=4, contents=pictures, styles_per_content=2, batch_size=3, shard_size=7
    )
    seeds = np.arange(4, 24)
    groups = np.concatenate([b.groups for b in samples.iter_batches()])
    np.testing.assert_array_equal(groups, seeds // 2 % 3)
    names = [f"{n}#{hashlib.sha256((pictures / n).read_bytes()).hexdigest()[:12]}" for n in ("a.png", "b.png", "c.png")]
    stored = pa.concat_tables(pq.read_table(p) for p in sorted(out.glob("codes-*")))["content"].to_pylist()
    assert stored == [names[i] for i in groups]

    encoded = torch.cat([g.encode(read_picture(pictures / n, 16)[None])[0] for n in ("a.png", "b.png", "c.png")])
    codes = g.sample_codes(seeds.tolist())
    known = T.score(as_png(g.decode(codes, content=encoded[groups]))).numpy()
    _, scores = arrays(samples)
    np.testing.assert_allclose(scores, np.where(known > 0.01, known, 0), atol=1e-3)
    plain = T.score(as_png(g.decode(codes))).numpy()
    assert abs(scores - plain).max() > 0.01  # the content matters

    for batch, shard in ((1, 20), (20, 3)):
        other = sample(
            g,
            tmp_path / f"{shard}",
            tagger=T,
            n=20,
            seed=4,
            contents=[pictures / "c.png", str(pictures / "a.png"), pictures / "b.png"],  # a list, in another order
            styles_per_content=2,
            batch_size=batch,
            shard_size=shard,
        )
        np.testing.assert_allclose(arrays(other)[1], scores, atol=1e-3)
        assert other.manifest.contents == samples.manifest.contents


def test_a_run_with_contents_is_extended_with_the_same_ones_only(tmp_path: Path, pictures: Path) -> None:
    g, out, moved = ToyTranslator(), tmp_path / "s", tmp_path / "moved"

    def run(contents: Any, n: int = 10, styles: int = 3) -> Samples:
        return sample(g, out, tagger=T, n=n, contents=contents, styles_per_content=styles, shard_size=4)

    run(pictures)
    with pytest.raises(MismatchError, match="its styles_per_content is 3, this one's is 2"):
        run(pictures, styles=2)
    with pytest.raises(MismatchError, match="its contents is 3 pictures .*, this one's is None"):
        run(None)
    pictures.rename(moved)
    assert run(moved, n=12).manifest.contents.folder == str(moved)  # type: ignore[union-attr]
    Image.new("RGB", (16, 16)).save(moved / "a.png")
    with pytest.raises(MismatchError, match="its contents is 3 pictures"):
        run(moved, n=14)


def test_an_encoded_content_is_kept(tmp_path: Path, pictures: Path) -> None:
    class Encoding(ToyTranslator):
        calls = 0

        def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
            Encoding.calls += 1
            return super().encode(images)

    sample(Encoding(), tmp_path / "s", tagger=T, n=30, contents=pictures, batch_size=4, shard_size=8)
    assert Encoding.calls == 3


def test_default_content_of_an_image_to_image_generator(tmp_path: Path) -> None:
    g = ToyTranslator()
    samples = sample(g, tmp_path, tagger=T, n=6)
    assert pq.read_table(tmp_path / "codes-00000.parquet")["content"].null_count == 6
    known = T.score(as_png(g.decode(g.sample_codes(range(6))))).numpy()
    np.testing.assert_allclose(arrays(samples)[1], np.where(known > 0.01, known, 0), atol=1e-3)


def test_kept_images_are_the_pictures(tmp_path: Path) -> None:
    samples = sample(G, tmp_path / "s", n=5, keep_images=True, batch_size=2, shard_size=4)
    path = tmp_path / "s/codes-00001.parquet"
    metadata = json.loads(pq.read_schema(path).metadata[b"huggingface"])
    assert metadata == {"info": {"features": {"image": {"_type": "Image"}}}}
    assert pq.read_schema(path).field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    (image,) = pq.read_table(path)["image"].to_pylist()
    assert image["path"] == "4.png"
    pixels = np.asarray(Image.open(io.BytesIO(image["bytes"])))
    np.testing.assert_array_equal(pixels, to_uint8(G.decode(G.sample_codes([4])))[0])
    np.testing.assert_array_equal(arrays(samples, scores=False)[0], G.sample_codes(range(5)).numpy())
    sample(G, tmp_path / "control", n=5)
    assert b"huggingface" not in (pq.read_schema(tmp_path / "control/codes-00000.parquet").metadata or {})


def test_label_and_noise_reach_the_generator(tmp_path: Path) -> None:
    label = sample(G, tmp_path / "label", n=4, label=2)
    assert set(label.to_pandas()["label"]) == {2}
    np.testing.assert_allclose(arrays(label, scores=False)[0], G.sample_codes(range(4), label=2).numpy(), atol=1e-6)
    scores = [arrays(sample(G, tmp_path / f"{v}", n=4, tagger=T, noise=v))[1] for v in ("stored", "none", 3)]
    assert not np.array_equal(scores[0], scores[1]) and not np.array_equal(scores[1], scores[2])


def test_progress(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []

    def report(done: int, total: int) -> None:
        calls.append((done, total))

    sample(G, tmp_path, n=6, batch_size=4, shard_size=5, progress=report)
    assert calls == [(0, 6), (4, 6), (5, 6), (6, 6)]
    calls.clear()
    sample(G, tmp_path, n=12, batch_size=4, shard_size=5, progress=report)
    assert calls == [(6, 12), (10, 12), (12, 12)]


class Bad(ToyGenerator):
    """Answers one method with what a function makes of the right answer."""

    def __init__(self, **answers: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.answers = answers

    def sample_codes(self, seeds: Any, **options: Any) -> Tensor:
        return self.answers.get("codes", lambda x: x)(super().sample_codes(seeds, **options))

    def decode(self, codes: Tensor, **options: Any) -> Tensor:
        return self.answers.get("images", lambda x: x)(super().decode(codes, **options))


def spoil(x: Tensor) -> Tensor:
    x = x.clone()
    x[1].flatten()[0] = float("nan")
    return x


class BadTagger(ToyTagger):
    def __init__(self, answer: Callable[[Tensor], Tensor] = lambda x: x, **options: Any) -> None:
        super().__init__(**options)
        self.answer = answer

    def score(self, images: Tensor) -> Tensor:
        return self.answer(super().score(images))


@pytest.mark.parametrize(
    ("generator", "tagger", "reason"),
    [
        (Bad(codes=lambda x: x[:, :5]), None, r"codes of shape \(6, 5\) for 6 seeds"),
        (Bad(codes=spoil), None, "NaN or infinity for seed 1"),
        (Bad(images=lambda x: x[:1]), T, r"decoded 6 codes to shape \(1, 3, 16, 16\)"),
        (Bad(images=spoil), T, "decoded seed 1 to NaN"),
        (G, BadTagger(lambda x: x[:, :2]), r"scores of shape \(6, 2\) for 6 pictures; its 6 tags"),
        (G, BadTagger(lambda x: x[0]), r"scores of shape \(6,\)"),
        (G, BadTagger(spoil), "scored 'long_hair' of seed 1 as nan"),
        (G, BadTagger(lambda x: x * 9), r"must be in \[0, 1\]"),
        (G, BadTagger(tags=("a", "b", "a")), "the tag 'a' twice"),
        (G, BadTagger(tags=()), "has 0 tags"),
        (G, BadTagger(threshold=0.01), "threshold 0.01"),
    ],
)
def test_wrong_answers_are_one_line(tmp_path: Path, generator: Any, tagger: Any, reason: str) -> None:
    with pytest.raises(LatentEditError, match=reason) as caught:
        sample(generator, tmp_path, n=6, tagger=tagger)
    assert "\n" not in str(caught.value) and not list(tmp_path.rglob("codes-*"))
    assert sample(G, tmp_path, n=6, tagger=T, seed=3).rows == 6  # a run that has no rows is in nobody's way


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2.5}, "n is 2.5"),
        ({"styles_per_content": 0}, "styles_per_content is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"shard_size": -1}, "shard_size is -1"),
        ({"seed": -1}, "seeds -1 "),
        ({"seed": 2**32 - 1}, "choose another seed"),
        ({"truncation": float("nan")}, "truncation is nan"),
        ({"label": -1}, "label is -1"),
        ({"noise": "random"}, "noise is 'random'"),
        ({"noise": -2}, "noise is -2"),
        ({"contents": []}, "empty list"),
        ({"contents": ["nowhere/a.png"]}, "no picture at .*nowhere/a.png.*: there is no such file"),
        ({"contents": "nowhere"}, "no such folder"),
    ],
)
def test_arguments_out_of_range_are_one_line(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(LatentEditError, match=reason) as caught:
        sample(ToyTranslator(), tmp_path / "s", **({"n": 4} | options))
    assert "\n" not in str(caught.value) and not (tmp_path / "s").exists()


def test_contents_that_do_not_fit_are_one_line(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(LatentEditError, match="takes no content"):
        sample(G, tmp_path / "s", n=4, contents=pictures)
    with pytest.raises(LatentEditError, match="given twice"):
        sample(ToyTranslator(), tmp_path / "s", n=4, contents=[pictures / "a.png"] * 2)
    (pictures / "b.png").write_bytes(b"no picture")
    with pytest.warns(UnreadablePictures, match="cannot be read: .*b.png"):
        sample(ToyTranslator(), tmp_path / "s", n=4, contents=pictures, tagger=T)
    for file in pictures.iterdir():
        file.unlink()
    with pytest.raises(LatentEditError, match="no picture in"):
        sample(ToyTranslator(), tmp_path / "s", n=4, contents=pictures)


def test_places_that_cannot_be_written_to_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    for out in (file, file / "below"):
        with pytest.raises(LatentEditError, match=str(out)) as caught:
            sample(G, out, n=4)
        assert "\n" not in str(caught.value)
    calls = []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 9:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(LatentEditError, match="cannot write .*No space left on device; make room"):
            sample(G, tmp_path / "s", tagger=T, n=12, shard_size=4)
    assert not list((tmp_path / "s").rglob(".tmp-*"))
    sample(G, tmp_path / "whole", tagger=T, n=12, shard_size=4)
    sample(G, tmp_path / "s", tagger=T, n=12, shard_size=4)
    assert tables(tmp_path / "s") == tables(tmp_path / "whole")


def test_a_tagger_sees_what_a_png_file_would_hold(tmp_path: Path) -> None:
    seen: list[Tensor] = []

    class Looking(ToyTagger):
        def score(self, images: Tensor) -> Tensor:
            seen.append(images)
            return super().score(images)

    overshooting = Bad(images=lambda x: x * 3)
    sample(overshooting, tmp_path, n=4, tagger=Looking())
    decoded = overshooting.decode(G.sample_codes(range(4)))
    assert torch.equal(seen[0], as_png(decoded)) and not torch.equal(seen[0], decoded.clamp(-1, 1))
    assert overshooting.decode(G.sample_codes(range(4))).abs().max() > 1
