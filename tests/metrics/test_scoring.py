"""What is decoded and scored before and after edits, how often, and what is refused."""

import tracemalloc

import numpy as np
import pytest
import torch
from linear_world import TAGS, Linear, Reader, along, bank
from toy import ToyGenerator, ToyTagger, ToyTranslator

from latentedit.directions.bank import DirectionBank
from latentedit.directions.direction import Direction
from latentedit.directions.edits import Edit
from latentedit.directions.pairs import TagPair, TagRelations
from latentedit.editing.faces import Faces
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.metrics import attribute_dependency, rescore, strength_curves
from latentedit.metrics.rescoring import Rescoring
from latentedit.tensorfile import write_safetensors


class Counting(Linear):
    """Remembers what it was asked for."""

    def __init__(self):
        self.drawn, self.decoded = [], []

    def sample_codes(self, seeds, *, label=None, truncation=1.0):
        self.drawn.append(list(seeds))
        return super().sample_codes(seeds)

    def decode(self, codes, *, content=None, noise="stored"):
        self.decoded.append((len(codes), noise))
        return super().decode(codes, content=content)


def toy_bank(generator):
    vector = torch.zeros(generator.dim)
    vector[0] = 1
    return DirectionBank(
        [
            Direction(tag=t, vector=vector.roll(i), sigma=0.5, generator_id=generator.id, layers=("a", "b"))
            for i, t in enumerate(ToyTagger().tags[:3])
        ]
    )  # fmt: skip


# ---- how much is decoded


def test_each_batch_is_decoded_once_and_once_an_edit():
    g = Counting()
    rescore(g, Reader(), bank, ["long_hair", "smile", {"smile": 1.0}], range(20), batch_size=8, n_boot=1)
    assert g.decoded[:2] == [(1, "stored")] * 2  # the same code twice, to see that it gives the same picture
    assert [n for n, _ in g.decoded[2:]] == [8] * 4 + [8] * 4 + [4] * 4
    assert [len(seeds) for seeds in g.drawn] == [8, 8, 4]


@pytest.mark.parametrize("measure", ["curves", "dependency"])
def test_curves_share_the_unedited_pictures_and_draw_codes_once(measure):
    g, steps = Counting(), []

    def progress(done, total):
        steps.append((done, total))

    options = {"batch_size": 8, "n_boot": 1, "progress": progress}
    if measure == "curves":
        strength_curves(g, Reader(), bank, ["long_hair", "smile"], range(20), [1, 2, 3], **options)
    else:
        attribute_dependency(g, Reader(), bank, ["long_hair", "smile"], range(20), strengths=[1, 2, 3], **options)
    assert sum(n for n, _ in g.decoded[2:]) == 20 * (1 + 2 * 3)
    assert [len(seeds) for seeds in g.drawn] == [8, 8, 4]
    assert steps[-1] == (140, 140) and [done for done, _ in steps] == sorted({done for done, _ in steps})


def test_progress_counts_pictures():
    steps = []
    rescore(
        Linear(), Reader(), bank, ["smile"], range(10), batch_size=4, n_boot=1,
        progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert steps == [(8, 20), (16, 20), (20, 20)]


# ---- noise and content


class Noisy(Linear):
    """Noise of its own in every picture: seeded when asked for, else new at each call."""

    def __init__(self, honest):
        self.honest, self.random = honest, torch.Generator().manual_seed(0)

    def decode(self, codes, *, content=None, noise="stored"):
        random = torch.Generator().manual_seed(1 if noise == "stored" else int(noise)) if self.honest else self.random
        spread = torch.rand(1, 3, 4, 4, generator=random) * 0.1
        return super().decode(codes) + spread


def test_noise_is_the_same_before_and_after():
    """An edit of strength 0 changes nothing when it is; a generator whose noise is not is refused."""
    for noise in ("stored", 7):
        faces = Faces(range(12), noise=noise)
        r = rescore(Noisy(True), Reader(), bank, [{"smile": 0.0}], faces, batch_size=5, n_boot=10)
        assert np.array_equal(r.after[0], r.before)
    other = rescore(Noisy(True), Reader(), bank, [{"smile": 0.0}], Faces(range(12), noise=8), n_boot=10)
    assert not np.allclose(other.before, r.before)
    with pytest.raises(LatentEditError, match="one code twice.*must be the same before and after"):
        rescore(Noisy(False), Reader(), bank, ["smile"], range(12), n_boot=10)


def test_content_goes_with_its_seed_whatever_the_batches():
    g = ToyTranslator()
    content = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    a, b = (
        rescore(g, ToyTagger(), toy_bank(g), "long_hair", Faces(range(10), content=content), batch_size=n, n_boot=1)
        for n in (3, 10)
    )
    assert np.allclose(a.before, b.before, atol=1e-5) and np.allclose(a.after, b.after, atol=1e-5)
    alone = rescore(g, ToyTagger(), toy_bank(g), "long_hair", Faces([6], content=content[6:7]), n_boot=1)
    assert np.allclose(alone.before[0], a.before[6], atol=1e-5)
    turned = rescore(g, ToyTagger(), toy_bank(g), "long_hair", Faces(range(10), content=content.flip(0)), n_boot=1)
    assert not np.allclose(turned.before, a.before, atol=1e-3)
    with pytest.raises(LatentEditError, match="3 rows for 10 faces"):
        rescore(g, ToyTagger(), toy_bank(g), "long_hair", Faces(range(10), content=content[:3]))


def test_threads_do_not_matter():
    g, found, before = ToyGenerator(), [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            r = rescore(g, ToyTagger(), toy_bank(g), ["long_hair"], range(40), n_boot=100)
            found.append((r.mean, r.low, r.high))
    finally:
        torch.set_num_threads(before)
    assert np.allclose(*found, rtol=1e-3, atol=1e-7)


# ---- what an edit is


def test_units_layers_opposites_and_knowledge_reach_the_edit():
    def change(what, tag, **options):
        r = rescore(Linear(), Reader(), bank, what, range(30), n_boot=1, **options)
        return r.mean[0, r.tags.index(tag)]

    sigma = change(Edit("smile", 1, opposite=None), "smile")
    latent = change(Edit("smile", 1, opposite=None, unit="latent"), "smile")
    assert sigma == pytest.approx(0.1, abs=0.02) and latent > 3 * sigma
    known = TagRelations((TagPair("smile", "short_hair", -2.0),), {})
    mine = change(Edit("smile", 1), "short_hair", relations=known)
    assert mine == pytest.approx(-0.2, abs=0.05)
    assert change(Edit("smile", 1), "short_hair") == pytest.approx(0, abs=1e-6)
    named = change(Edit("smile", 1, opposite="short_hair", ratio=-2), "short_hair")
    assert named == pytest.approx(mine, abs=1e-6)
    g = ToyGenerator()
    one, first = (
        rescore(g, ToyTagger(), toy_bank(g), Edit("long_hair", 1, layers=slots), range(30), n_boot=1)
        for slots in (None, "0")
    )
    assert one.labels == ("long_hair=1",) and first.labels == ("long_hair=1 @0",)
    assert not np.allclose(one.mean, first.mean, atol=1e-3)


def test_what_cannot_be_done_is_said_before_anything_is_decoded():
    wrong = [
        (dict(edits=["wings"]), UnknownNameError, "wings"),
        (dict(edits=[Edit("smile", layers="9")]), LatentEditError, "no layers"),
        (dict(edits=[Edit("smile", goal=0.5)]), LatentEditError, "only a prior"),
        (dict(edits=[Edit("smile", keep="short_hair")]), LatentEditError, "only a prior"),
        (dict(edits=["smile"], n_boot=0), LatentEditError, "n_boot"),
        (dict(edits=["smile"], batch_size=0), LatentEditError, "batch size"),
        (dict(edits=[{"smile": float("nan")}]), LatentEditError, "finite"),
    ]  # fmt: skip
    for options, kind, words in wrong:
        g = Counting()
        with pytest.raises(kind, match=words):
            rescore(g, Reader(), bank, faces=range(4), **options)
        assert not g.decoded
    for options in (dict(among="some"), dict(others=[["wings"]]), dict(others=["smile"]), dict(n_boot=0)):
        g = Counting()
        with pytest.raises(LatentEditError):
            strength_curves(g, Reader(), bank, ["smile"], range(4), [1.0], **options)
        assert not g.decoded


# ---- judges


def test_a_judge_that_refuses_is_named_with_the_picture():
    class Refusing(Reader):
        def score(self, images):
            raise LatentEditError("it is too dark")

    with pytest.raises(LatentEditError, match=r"the judge cannot score seed 5 ... seed 7 \(unedited\): it is too dark"):
        rescore(Linear(), Refusing(), bank, ["smile"], [5, 6, 7])


@pytest.mark.parametrize(("bad", "words"), [(float("nan"), "nan"), (1.5, "1.5")])
def test_scores_that_are_none_are_named_with_seed_and_edit(bad, words):
    class Broken(Reader):
        def score(self, images):
            scores = super().score(images)
            scores[scores[:, 2] > 0.99, 3] = bad
            return scores

    far = {"smile": 20.0}  # only edited pictures come to that
    with pytest.raises(LatentEditError, match=rf"'hat' of seed 0 \(smile=20 -\) as {words}"):
        rescore(Linear(), Broken(), bank, [far], range(4))


def test_a_judge_without_the_target_still_gives_the_matrix():
    class Partly(Reader):
        tags = TAGS[1:]

        def score(self, images):
            return super().score(images)[:, 1:]

    r = rescore(
        Linear(), Partly(), bank, ["long_hair", {"long_hair": 1.0, "smile": 1.0}, "smile"], range(30), n_boot=20
    )
    assert r.mean.shape == (3, 3) and np.isfinite(r.mean).all()
    assert np.isnan(r.selectivity[:2]).all() and np.isfinite(r.selectivity[2])
    with pytest.raises(LatentEditError, match="does not measure 'long_hair'; it knows short_hair, smile, hat$"):
        r.summary(0)
    with pytest.raises(LatentEditError, match="several targets"):
        r.summary(1)
    c = strength_curves(Linear(), Partly(), bank, ["long_hair"], range(30), [1, 2], n_boot=20)
    assert np.isnan(c.share.value).all() and np.isnan(c.half.value).all() and np.isfinite(c.off_target.value).all()
    d = attribute_dependency(Linear(), Partly(), bank, ["long_hair"], range(30), n_boot=20)
    assert np.isnan(d.change.value).all() and d.pictures.tolist() == [0]


def test_no_others_is_no_selectivity():
    class Alone(Reader):
        tags = ("smile",)

        def score(self, images):
            return super().score(images)[:, 2:3]

    r = rescore(Linear(), Alone(), bank, ["smile"], range(30), n_boot=20)
    s = r.summary(0)
    assert np.isnan(s.off_target.value) and np.isnan(s.selectivity.value) and s.target.value > 0
    assert r.worst_other(0) is None


def test_few_pictures_are_noted_and_one_has_no_interval():
    few = rescore(Linear(), Reader(), bank, ["smile"], range(12), n_boot=20)
    assert "12 pictures" in few.summary(0).note
    assert rescore(Linear(), Reader(), bank, ["smile"], range(20), n_boot=20).summary(0).note == ""
    one = rescore(Linear(), Reader(), bank, ["smile"], [3], n_boot=20)
    assert np.isfinite(one.mean).all() and np.isnan(one.low).all()
    nobody = rescore(Linear(), Reader(), DirectionBank([along("smile", 2)]), ["smile"], [3], n_boot=20)
    found = nobody.summary(0, among="lacking", having="hat")
    assert found.pictures in (0, 1) and not found.target.shows_difference


# ---- thousands of tags, and files


def test_thousands_of_tags_take_their_scores_and_little_more():
    """Scores of 4 edits, 200 pictures and 3,000 tags are 12 MB; a block of resampled means is 64 MB."""
    random = np.random.default_rng(0)
    before = random.random((200, 3000), np.float32)
    after = random.random((4, 200, 3000), np.float32)
    tracemalloc.start()
    r = Rescoring.of_scores(
        before, after, targets=["t1"] * 4, labels=list("abcd"), tags=[f"t{i}" for i in range(3000)],
        thresholds=np.full(3000, 0.5), n_boot=1000,
    )  # fmt: skip
    r.summary(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6  # the block, its copies while it is compared, and one edit's scores in float64
    assert r.after is after and r.mean.shape == (4, 3000)


def test_what_is_loaded_is_what_was_saved(tmp_path):
    r = rescore(Linear(), Reader(), bank, [Edit("long_hair", 2), {"smile": -1.0}], range(25), n_boot=40)
    r.save(tmp_path / "r.safetensors")
    again = Rescoring.load(tmp_path / "r.safetensors")
    for name in ("before", "after", "thresholds", "mean", "low", "high"):
        assert np.array_equal(getattr(again, name), getattr(r, name)), name
    for name in ("targets", "labels", "tags", "n_boot", "provenance"):
        assert getattr(again, name) == getattr(r, name), name
    assert r.before.dtype == np.float32 and r.provenance["edits"] == ["long_hair=2", "smile=-1 -"]
    assert r.provenance["faces"]["seeds"] == [0, 24] and r.provenance["pictures"] == 25


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "r.safetensors"
    with pytest.raises(DamagedFileError, match="no such file"):
        Rescoring.load(path)
    r = rescore(Linear(), Reader(), bank, ["long_hair"], range(5), n_boot=5)
    r.save(path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedFileError, match="r.safetensors"):
        Rescoring.load(path)
    metadata = {
        "format": "latentedit.rescoring", "schema": "1", "targets": '["a"]', "labels": '["a"]', "tags": '["a"]',
        "n_boot": "10", "provenance": "{}",
    }  # fmt: skip
    good = {"before": np.zeros((3, 1), np.float32), "after": np.zeros((1, 3, 1), np.float32), "thresholds": np.ones(1)}
    write_safetensors(path, good, metadata)
    assert Rescoring.load(path).tags == ("a",)
    nothing = np.full((3, 1), np.nan, np.float32)
    for tensors, changed in (
        ({"before": nothing}, {}), ({"after": np.zeros((2, 3, 1), np.float32)}, {}), ({"thresholds": np.ones(2)}, {}),
        ({}, {"tags": '{"a": 1}'}), ({}, {"labels": "[1]"}), ({}, {"n_boot": "many"}), ({}, {"provenance": "[1]"}),
        ({}, {"n_boot": "0"}), ({}, {"tags": "[" * 100_000}),
    ):  # fmt: skip
        write_safetensors(path, good | tensors, metadata | changed)
        with pytest.raises(DamagedFileError, match="score again"):
            Rescoring.load(path)
    for changed, words in (({"schema": "3"}, "newer"), ({"format": "latentedit.directions"}, "not a")):
        write_safetensors(path, good, metadata | changed)
        with pytest.raises(DamagedFileError, match=words):
            Rescoring.load(path)


def test_scores_that_do_not_fit_are_refused():
    names = dict(targets=["a"], labels=["a"], tags=["a", "b"], thresholds=np.ones(2))
    for before, after in (
        (np.zeros((3, 2)), np.zeros((1, 4, 2))), (np.zeros((3, 1)), np.zeros((1, 3, 1))),
        (np.zeros((0, 2)), np.zeros((1, 0, 2))), (np.zeros((3, 2)), np.full((1, 3, 2), np.nan)),
    ):  # fmt: skip
        with pytest.raises(LatentEditError):
            Rescoring.of_scores(before, after, **names)
