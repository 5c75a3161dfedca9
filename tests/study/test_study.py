"""A whole study on toys: its numbers are those of the metrics, it goes on, and it refuses what is not its own."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import toy_prior
from PIL import Image
from toy import ToyTagger, ToyTranslator
from toy_features import Pool

import latentedit.study.run as study_module
from latentedit import DirectionBank, Faces, Prior, rescore
from latentedit.directions.edits import Edit
from latentedit.errors import DamagedFileError, LatentEditError, MismatchError
from latentedit.metrics import dfid, fid
from latentedit.metrics.frechet_distance import FrechetStatistics
from latentedit.metrics.perceptual import pairwise_lpips
from latentedit.pictures.folder import PictureFolder
from latentedit.samples.contents import Contents
from latentedit.study.plan import steps_of
from latentedit.study.protocol import Method, Protocol, Sizes, StudyEdit
from latentedit.study.report import evaluate, tables_of
from latentedit.study.results import as_json

SIZES = Sizes(
    samples=200, rescoring_pictures=30, natural_pictures=90, curve_pictures=10, curve_strengths=(0.0, 2.0, 4.0),
    fid_pictures=24, dfid_pictures=3, dfid_augmentations=12, lpips_pictures=3, lpips_styles=4, n_boot=100,
)  # fmt: skip
SEED = 5000


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Twelve content pictures and twenty real ones."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for name, count in (("test", 12), ("real", 20)):
        (root / name).mkdir()
        for i in range(count):
            Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8)).save(root / name / f"{i:02d}.png")
    return root


@pytest.fixture(scope="module")
def protocol(folders):
    return Protocol(
        title="A toy study", generator="torch:toy:ToyTranslator", tagger="torch:toy:ToyTagger",
        judge="torch:toy:ToyTagger", features="torch:toy_features:Pool", perceptual="torch:toy_features:Pool",
        edits=(StudyEdit("hair", "short_hair", "long_hair"), StudyEdit("smile", "smile")),
        methods=(Method("line", "linear", 15, -5, "raw"), Method("SVD", "svd", 3, -1, metrics=("rescoring",))),
        sizes=SIZES, seed=SEED, test=folders / "test", train=folders / "test", target=folders / "real",
        low=0.02, high=0.98, published={"fid": {"original": 80.0, "line": {"hair": 90.0}}}, source="somebody",
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(protocol, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "out"
    return out, evaluate(protocol, out)


HAIR = Edit("short_hair", 15, opposite="long_hair", ratio=-1 / 3, unit="raw")
"""What the study's first method does to hair."""


def contents(folders, generator, n):
    return Contents.find(generator, folders / "test")(np.arange(n) % 12)


def test_rescoring_is_that_of_the_metric(done, folders):
    out, results = done
    generator = ToyTranslator()
    bank = DirectionBank.load(out / "directions" / "linear.safetensors")
    judge = study_module.load_tagger("torch:toy:ToyTagger")
    direct = rescore(
        generator, judge, bank, [HAIR, Edit("smile", 15, opposite=None, unit="raw")],
        Faces(range(SEED, SEED + 30), content=folders / "test"), n_boot=100,
    )  # fmt: skip
    opposed, alone = results.rescorings["line"]
    assert np.allclose(opposed.mean, direct.mean, atol=1e-6) and np.allclose(opposed.low, direct.low, atol=1e-6)
    assert opposed.labels == ("hair", "smile") and opposed.targets == ("short_hair", "smile")
    assert np.allclose(opposed.mean[1], alone.mean[1]) and not np.allclose(opposed.mean[0], alone.mean[0], atol=1e-3)


def moved(out, codes):
    """Codes after the study's hair edit by its first method."""
    bank = DirectionBank.load(out / "directions" / "linear.safetensors")
    return bank.edit(codes, HAIR)


def test_frechet_distances_are_those_of_the_metric(done, folders):
    out, results = done
    generator, network = ToyTranslator(), Pool()
    codes = generator.sample_codes(range(SEED, SEED + 24))
    content = contents(folders, generator, 24)
    real = network.features(torch.stack(list(PictureFolder(folders / "real", 16))))
    before = network.features(generator.decode(codes, content=content))
    after = network.features(generator.decode(moved(out, codes), content=content))
    unedited, hair = results.find("fid", "original"), results.find("fid", "line", "hair")
    with pytest.warns(UserWarning):
        assert unedited.estimate.value == pytest.approx(fid(before, real), rel=1e-5)
        assert hair.estimate.value == pytest.approx(fid(after, real), rel=1e-5)
    assert hair.difference.value == pytest.approx(hair.estimate.value - unedited.estimate.value, rel=1e-6)
    assert (unedited.published, hair.published, hair.pictures) == (80.0, 90.0, 24)
    assert results.find("fid", "SVD", "hair") is None  # that method has metrics of its own
    assert results.notes["fid"] and results.names["fid"].startswith("FD-")


def test_dfid_is_that_of_the_metric(done, folders):
    out, results = done
    generator, network = ToyTranslator(), Pool()
    target = FrechetStatistics()
    target.update(network.features(torch.stack(list(PictureFolder(folders / "real", 16)))))
    pictures = PictureFolder(folders / "test", 16)[:3]
    direct = dfid(
        generator, network, pictures, target, augmentations=12, seed=SEED,
        moves={"original": lambda codes: codes, "hair": lambda codes: moved(out, codes)},
    )  # fmt: skip
    for name, method in (("original", "original"), ("hair", "line")):
        found = results.find("dfid", method, "" if name == "original" else "hair")
        assert found.estimate.value == pytest.approx(direct.means[name].value, rel=1e-5)


def test_diversity_is_the_mean_over_pairs(done, folders):
    _, results = done
    generator, network = ToyTranslator(), Pool()
    means = []
    for i in range(3):
        codes = generator.sample_codes(range(SEED + 4 * i, SEED + 4 * i + 4))
        content = Contents.find(generator, folders / "test")(np.array([i]))
        apart = pairwise_lpips(generator.decode(codes, content=content), network=network)
        means.append(float(apart[~torch.eye(4, dtype=bool)].mean()))
    found = results.find("lpips", "original")
    assert found.estimate.value == pytest.approx(np.mean(means), rel=1e-4) and found.pictures == 3
    assert results.find("disturbance", "line", "hair").estimate.value > 0
    assert results.find("disturbance", "original") is None


def test_the_files_hold_every_number(done):
    out, results = done
    document = json.loads((out / "results.json").read_text())
    assert document == json.loads(json.dumps(as_json(results)))
    assert {n["metric"] for n in document["numbers"]} == {"fid", "dfid", "lpips", "disturbance"}
    assert document["provenance"]["judge"]["id"] == document["provenance"]["tagger"]["id"]
    assert document["provenance"]["directions"].keys() == {"linear", "svd"}
    page = (out / "report.html").read_text()
    for text in ("A toy study", "somebody: FID", "flatters", "Re-scoring", "hair: + short_hair − long_hair"):
        assert text in page
    assert "NaN" not in (out / "results.json").read_text()
    assert any(table.rows for section in tables_of(results) for table in section.tables)


LOADED = 1 + 4 + 4
"""Pictures that are looked at each time an own generator is loaded: one to try it, four for its probe, twice."""


def counted(monkeypatch):
    """Counts the codes that the toy decodes."""
    seen = [0]
    decode = ToyTranslator.decode

    def counting(self, codes, **rest):
        seen[0] += len(codes)
        return decode(self, codes, **rest)

    monkeypatch.setattr(ToyTranslator, "decode", counting)
    return seen


def test_a_second_run_measures_nothing_again(done, protocol, monkeypatch):
    out, results = done
    seen = counted(monkeypatch)
    again = evaluate(protocol, out)
    assert as_json(again) == as_json(results)
    shown = 2 * (1 + 2) * 6  # the report's own pictures
    assert seen[0] <= shown + 2 * LOADED


def test_only_what_changed_is_measured_again(done, protocol, monkeypatch):
    out, _ = done
    seen = counted(monkeypatch)
    more = evaluate(replace(protocol, sizes=replace(SIZES, lpips_pictures=4)), out)
    assert more.find("lpips", "original").pictures == 4
    assert 0 < seen[0] - 2 * (1 + 2) * 6 <= 4 * 4 * 3 + 2 * LOADED
    evaluate(protocol, out)


def test_a_stopped_run_goes_on_to_the_same_numbers(done, protocol, tmp_path):
    def stop(step, finished, total):
        if step == "DFID pictures" and finished == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(protocol, tmp_path / "out", progress=stop)
    assert not (tmp_path / "out" / "results.json").exists()
    assert len(list((tmp_path / "out" / "measured").glob("dfid-*"))) == 2
    assert as_json(evaluate(protocol, tmp_path / "out"))["numbers"] == as_json(done[1])["numbers"]


def test_batches_do_not_matter(done, protocol, tmp_path):
    other = evaluate(protocol, tmp_path / "out", batch_size=7)
    for a, b in zip(done[1].numbers, other.numbers, strict=True):
        assert a.estimate.value == pytest.approx(b.estimate.value, rel=1e-3), (a.metric, a.method, a.edit)


def test_folders_of_others_are_left_alone(done, protocol, tmp_path):
    out, _ = done
    with pytest.raises(LatentEditError, match="holds another study: its seed is 5000, not 6000"):
        evaluate(replace(protocol, seed=6000), out)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(LatentEditError, match="is not empty and holds no study"):
        evaluate(protocol, tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.json").write_text("{")
    with pytest.raises(LatentEditError, match="damaged"):
        evaluate(protocol, tmp_path / "out")
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_generators_without_content(protocol, tmp_path):
    plain = replace(protocol, generator="torch:toy:ToyGenerator", test=None, train=None)
    with pytest.raises(LatentEditError, match="leave dfid out"):
        evaluate(plain, tmp_path / "out")
    results = evaluate(replace(plain, metrics=("rescoring", "fid", "lpips")), tmp_path / "out")
    assert {n.metric for n in results.numbers} == {"fid", "lpips", "disturbance"}


def test_edits_whose_tag_no_finder_found_are_left_out(protocol, tmp_path):
    odd = replace(protocol, metrics=("rescoring",), edits=(*protocol.edits, StudyEdit("odd", "mustache")))
    with pytest.raises(LatentEditError, match="mustache"):
        evaluate(odd, tmp_path / "out")


def test_a_file_is_measured_as_it_is(protocol, tmp_path, monkeypatch):
    files = (Method("flow", "prior", file=toy_prior.saved()), Method("line", "linear"))
    plain = replace(
        protocol, generator="torch:toy:ToyGenerator", test=None, train=None, methods=files,
        metrics=("rescoring", "curves", "dci"),
    )  # fmt: skip
    results = evaluate(plain, tmp_path / "out")
    direct = rescore(
        toy_prior.generator, study_module.load_tagger("torch:toy:ToyTagger"), Prior.load(toy_prior.saved()),
        ["short_hair", "smile"], range(SEED, SEED + 30), n_boot=100,
    )  # fmt: skip
    assert np.allclose(results.rescorings["flow"][0].mean, direct.mean, atol=1e-5)
    assert set(results.curves) == {"prior", "linear"} and set(results.dci) == {"linear"}
    assert results.provenance["directions"]["prior"]["params"]["steps"] == 300
    seen = counted(monkeypatch)
    assert np.allclose(evaluate(plain, tmp_path / "out").rescorings["flow"][0].mean, direct.mean, atol=1e-5)
    assert seen[0] < 100  # nothing is measured again but what the report shows
    alone = replace(plain, methods=files[:1], metrics=("rescoring", "dci"))
    assert evaluate(alone, tmp_path / "alone").dci == {}
    replace(toy_prior.prior(), generator_id="another").save(tmp_path / "other.safetensors")
    with pytest.raises(MismatchError, match="fit-prior"):
        other = replace(files[0], file=tmp_path / "other.safetensors")
        evaluate(replace(plain, methods=(other,)), tmp_path / "other")
    with pytest.raises(DamagedFileError, match="no such file"):
        evaluate(replace(plain, methods=(Method("x", "x", file=tmp_path / "x"),)), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_plan_counts_what_is_decoded(protocol, tmp_path, monkeypatch):
    seen = counted(monkeypatch)
    evaluate(protocol, tmp_path / "out")
    planned = sum(step.pictures for step in steps_of(protocol))
    assert (
        planned <= seen[0] <= planned + 2 * (1 + 2) * 6 + 2 * 2 * 6 + 16
    )  # the report, its least natural pictures, and one code each time something is loaded or checked


def test_one_tagger_as_fitter_and_another_as_judge(protocol):
    assert ToyTagger(seed=7).id != ToyTagger().id
