"""DeepDanbooru on both backends, against the package itself and the fixture that it made."""

import functools
import inspect
import io
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import keras_models
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from keras_models import BACKENDS, EXPECTED, PICTURES, PROJECT, TAGS, largest, load, logits_in_torch, noise
from PIL import Image

from latentedit.errors import LatentEditError
from latentedit.pictures.images import read_pixels
from latentedit.taggers import load_tagger
from latentedit.taggers.base import PictureTagger


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """The fixture's project in each of the three layouts."""
    folder = tmp_path_factory.mktemp("projects")
    return {
        "keras": keras_models.project(folder / "keras", suffix=".keras"),
        "h5": keras_models.project(folder / "h5", suffix=".h5"),
        "keras2": keras_models.keras2(folder / "keras2"),
    }


@pytest.fixture(scope="module")
def loaded(projects):
    """The tagger of a layout on a backend, loaded once.

    Each project's Keras model is loaded once, too, whoever asks the package for it: it has hundreds of layers, which
    take several seconds, and as many when it scores its first pictures.
    """
    import deepdanbooru as dd

    load_model = dd.project.load_model_from_project
    once = functools.cache(load_model)

    def load_model_once(folder, compile_model=True):
        return (once if Path(folder) in projects.values() else load_model)(folder, compile_model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dd.project, "load_model_from_project", load_model_once)
        yield functools.cache(lambda layout, backend: load(projects[layout], backend))


@pytest.fixture(scope="module")
def taggers(loaded):
    return {backend: loaded("keras2", backend) for backend in BACKENDS}


@pytest.fixture(scope="module")
def quick_taggers(taggers, small_project):
    """The same in torch, and a small one in TensorFlow, where every new size of a batch takes seconds."""
    return taggers | {"tensorflow": load(small_project, "tensorflow")}


# Conformance


@pytest.mark.parametrize(
    ("backend", "layout"),
    [
        *(("torch", layout) for layout in ("keras", "h5", "keras2")),
        ("tensorflow", "keras"),
        *(pytest.param("tensorflow", layout, marks=pytest.mark.slow) for layout in ("h5", "keras2")),
    ],
)
def test_the_fixture_is_reproduced(loaded, layout, backend):
    tagger = loaded(layout, backend)
    scores = torch.cat([tagger.score(picture[None]) for picture in PICTURES])
    assert scores.dtype == torch.float32 and largest(scores, EXPECTED["scores"]) < 1e-5
    # Another picture's scores are farther away than that.
    assert largest(scores.roll(1, 0), EXPECTED["scores"]) > 1e-2


def test_logits_with_one_thread_and_two(taggers, threads):
    tagger = taggers["torch"]
    found = np.concatenate([logits_in_torch(tagger, picture[None]) for picture in PICTURES])
    assert largest(found, EXPECTED["logits"]) < 1e-4
    assert largest(found, EXPECTED["logits"]) < 1e-5 * np.abs(EXPECTED["logits"]).max()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_does_not_depend_on_its_batch(quick_taggers, backend):
    tagger, pictures = quick_taggers[backend], noise(7, 90, 70)
    whole = tagger.score(pictures)
    assert largest(torch.cat([tagger.score(row[None]) for row in pictures]), whole) < 1e-5
    assert largest(torch.cat([tagger.score(pictures[:3]), tagger.score(pictures[3:])]), whole) < 1e-5
    assert largest(whole[:1], whole[1:2]) > 1e-3  # rows do differ


def test_what_a_tagger_says_of_itself(projects, loaded, taggers):
    for backend, tagger in taggers.items():
        assert isinstance(tagger, PictureTagger) and tagger.tags == tuple(TAGS) and tagger.drops_alpha
        assert tagger.threshold == 0.5 and dict(tagger.thresholds) == {}
        # The network's size, not the 99 x 77 of project.json.
        assert tagger.settings == {"backend": backend, "size": "128 x 128", "resize": "area, edge padding"}
        assert re.fullmatch(r"deepdanbooru:[0-9a-f]{12}", tagger.id)
    ids = {loaded(layout, backend).id for layout in projects for backend in BACKENDS}
    assert ids == {taggers["torch"].id}


def test_the_id_tells_weights_and_tags_apart(tmp_path, taggers):
    swapped = keras_models.project(tmp_path / "tags", suffix=".h5", tags=[TAGS[1], TAGS[0], *TAGS[2:]])

    def change(described):
        layer = next(layer for layer in described["config"]["layers"] if layer["class_name"] == "BatchNormalization")
        layer["config"]["epsilon"] = 0.5

    other = keras_models.described_h5(tmp_path / "epsilon", change)
    assert len({taggers["torch"].id, load(swapped).id, load(other).id}) == 3
    assert largest(load(other).score(PICTURES[0][None]), EXPECTED["scores"][:1]) > 1e-3  # it is read from the file


def as_keras_2_says_it(described):
    """Change a description to what Keras 2 wrote: no modules, axes in lists, links between layers as lists."""

    def plain(part):
        if isinstance(part, dict) and part.get("class_name") == "DTypePolicy":
            return part["config"]["name"]
        if isinstance(part, dict):
            return {key: plain(value) for key, value in part.items() if key not in ("module", "registered_name")}
        return [plain(value) for value in part] if isinstance(part, list) else part

    described["config"] = plain(described["config"])
    for layer in described["config"]["layers"]:
        arguments = [tensor for node in layer["inbound_nodes"] for tensor in node["args"]]
        tensors = arguments[0] if arguments and isinstance(arguments[0], list) else arguments
        links = [[*tensor["config"]["keras_history"], {}] for tensor in tensors]
        layer["inbound_nodes"] = [links] if links else []
        if layer["class_name"] == "BatchNormalization":
            layer["config"]["axis"] = [3]
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_input_shape"] = layer["config"].pop("batch_shape")


def test_descriptions_in_the_words_of_keras_2(tmp_path, taggers):
    tagger = load(keras_models.described_h5(tmp_path / "p", as_keras_2_says_it))
    assert tagger.id == taggers["torch"].id
    assert largest(tagger.score(PICTURES[0][None]), EXPECTED["scores"][:1]) < 1e-5


def test_keras_itself_takes_descriptions_in_the_words_of_keras_2(tmp_path, small_model, small_project):
    folder = keras_models.described_h5(tmp_path / "p", as_keras_2_says_it, small_model)
    pictures = noise(2, 50, 80)
    tagger, found = load(folder, "tensorflow"), load(folder)
    assert tagger.id == found.id == load(small_project).id
    expected = keras_models.scores(small_model, tagger, pictures)
    assert largest(tagger.score(pictures), expected) < 1e-5 and largest(found.score(pictures), expected) < 1e-5


def test_default_backend(small_project, monkeypatch):
    assert load_tagger(f"deepdanbooru:{small_project}").settings["backend"] == "tensorflow"
    for name in ("tensorflow", "deepdanbooru"):
        with monkeypatch.context() as hidden:
            hidden.setitem(sys.modules, name, None)
            assert load_tagger(f"deepdanbooru:{small_project}").settings["backend"] == "torch"
            with pytest.raises(LatentEditError, match=f"needs {name}; pip install 'latentedit\\[deepdanbooru\\]'"):
                load(small_project, "tensorflow")


def test_precision_of_the_weights(projects, taggers):
    half = load(projects["h5"], dtype=torch.bfloat16)
    assert half.network.head.dtype == half.prepare(PICTURES[0][None]).dtype == torch.bfloat16
    scores = half.score(PICTURES[0][None])
    assert scores.dtype == torch.float32 and half.id == taggers["torch"].id
    assert 1e-6 < largest(scores, EXPECTED["scores"][:1]) < 0.05


# The package


@pytest.fixture(scope="module")
def package(projects, loaded):
    """The deepdanbooru package, its model of the fixture and its tags."""
    import deepdanbooru as dd

    folder = str(projects["keras"])
    model = dd.project.load_model_from_project(folder, compile_model=False)
    return dd, model, dd.project.load_tags_from_project(folder)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize(("height", "width"), [(128, 128), (45, 80), (301, 97), (500, 640)])
def test_evaluate_image_agrees(package, taggers, tmp_path, mode, height, width):
    dd, model, tags = package
    draw = np.random.default_rng(height)
    shape = (height, width, len(mode)) if mode != "L" else (height, width)
    file = tmp_path / "picture.png"
    Image.fromarray(draw.integers(0, 256, shape, np.uint8)).save(file)
    assert Image.open(file).mode == mode
    expected = dict(dd.commands.evaluate_image(io.BytesIO(file.read_bytes()), model, tags, 0.0))
    assert list(expected) == list(taggers["torch"].tags)
    pixels = read_pixels(file, drops_alpha=True)[None]
    assert largest(taggers["tensorflow"].score(pixels)[0], list(expected.values())) < 1e-5
    assert largest(taggers["torch"].score(pixels)[0], list(expected.values())) < 1e-5
    if mode == "RGBA":  # laid on white, it is another picture
        white = read_pixels(file, drops_alpha=False)[None]
        assert largest(taggers["tensorflow"].score(white)[0], list(expected.values())) > 1e-4


@pytest.mark.parametrize(("height", "width"), [(128, 128), (127, 128), (97, 300), (2, 2), (700, 500)])
def test_preparation_agrees(package, taggers, height, width):
    dd, _, _ = package
    pictures = noise(2, height, width)
    file = io.BytesIO()
    Image.fromarray(pictures[1].permute(1, 2, 0).numpy()).save(file, "PNG")
    expected = dd.data.load_image_for_evaluate(io.BytesIO(file.getvalue()), 128, 128)
    assert largest(taggers["tensorflow"].prepare(pictures)[1], expected) < 1e-6
    assert largest(taggers["torch"].prepare(pictures)[1].permute(1, 2, 0), expected) < 5e-5


@pytest.fixture
def command(package, monkeypatch):
    """Run a command of the package in this process: command("evaluate", ...) -> what it prints."""
    from deepdanbooru.__main__ import main

    for name in ("CUDA_VISIBLE_DEVICES", "TF_CPP_MIN_LOG_LEVEL"):  # it sets them, and they are to be as they were
        monkeypatch.setenv(name, "-1" if name.startswith("CUDA") else "2")
    return lambda *arguments: CliRunner().invoke(main, [*map(str, arguments)], catch_exceptions=False).stdout


def test_printed_scores_of_the_command_agree(projects, taggers, command, tmp_path):
    files = [shutil.copy(PROJECT / f"image_{i}.png", tmp_path) for i in range(5)]
    out = command("evaluate", *files, "--project-path", projects["keras"], "--threshold", 0)
    found = [re.match(r"\((\d\.\d{3})\) (.*)", line) for line in out.splitlines()]
    printed = [(match[2], float(match[1])) for match in found if match]
    assert [tag for tag, _ in printed] == TAGS * 5
    expected = np.array([score for _, score in printed]).reshape(5, len(TAGS))
    for tagger in taggers.values():
        scores = torch.cat([tagger.score(picture[None]) for picture in PICTURES]).numpy()
        assert np.abs(scores - expected).max() <= 0.0005 + 1e-5
        rounded = np.array([[float(f"{score:.3f}") for score in row] for row in scores])
        assert np.mean(rounded == expected) > 0.98  # a score on the edge may be rounded the other way


QUIET = """
import os, sys, torch
before = dict(os.environ)
from latentedit.taggers import load_tagger
assert "tensorflow" not in sys.modules and "h5py" not in sys.modules
for hidden in (True, False):
    if hidden:
        sys.modules["tensorflow_io"] = None
    tagger = load_tagger(sys.argv[1])
    for n in (1, 2, 3, 4, 5, 6, 7):
        tagger.score(torch.zeros(n, 3, 40, 50))
    assert dict(os.environ) == before
    assert tagger.settings["backend"] == "tensorflow" and "tensorflow" in sys.modules
    assert (sys.modules.get("tensorflow_io", "not there") is None) == hidden
    for name in [name for name in sys.modules if name.partition(".")[0] in ("deepdanbooru", "tensorflow_io")]:
        del sys.modules[name]
"""


@pytest.mark.slow
def test_it_is_quiet_and_needs_no_tensorflow_io(small_project):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("TF_")}
    done = subprocess.run(
        [sys.executable, "-c", QUIET, f"deepdanbooru:{small_project}"],
        capture_output=True, text=True, timeout=200, env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_command_line(small_model, small_project, run, backend):
    name = f"deepdanbooru:{small_project}?backend={backend}"
    files = [str(PROJECT / f"image_{i}.png") for i in range(5)]
    code, out, err = run("tag", *files, "--tagger", name, "--json", "--quiet")
    assert (code, err) == (0, "")
    prepares = load(small_project, "tensorflow")
    for found, file, picture in zip(json.loads(out)["pictures"], files, PICTURES, strict=True):
        (scores,) = keras_models.scores(small_model, prepares, picture[None])
        present = {tag: score for tag, score in zip(TAGS, scores, strict=True) if score >= 0.5}
        assert found["file"] == file and found["tags"].keys() == present.keys() and 0 < len(present) < len(TAGS)
        assert largest(list(found["tags"].values()), [present[tag] for tag in found["tags"]]) < 1e-4
    code, out, err = run("tag", files[0], "--tagger", f"deepdanbooru:{PROJECT / 'none'}?backend={backend}")
    assert code != 0 and out == "" and err.count("\n") == 1 and "no project at" in err


def test_preparing_in_another_thread(quick_taggers):
    from concurrent.futures import ThreadPoolExecutor

    batches = [noise(3, 60 + i, 90, seed=i) for i in range(4)]
    for tagger in quick_taggers.values():
        with ThreadPoolExecutor(4) as workers:
            prepared = list(workers.map(tagger.prepare, batches))
        for batch, ready in zip(batches, prepared, strict=True):
            assert largest(tagger.predict(ready), tagger.score(batch)) == 0


# A user's own project


def trained(folder: Path, command, *options, **described) -> Path:
    """A project made and trained by the package's own commands, 64 x 64 pixels, on eight pictures of noise."""
    command("create-project", folder)
    described = json.loads((folder / "project.json").read_text()) | described
    described |= {"image_width": 64, "image_height": 64, "model": "resnet_custom_v4", "minibatch_size": 4}
    described |= {"epoch_count": 1, "minimum_tag_count": 0, "database_path": str(folder / "posts.sqlite")}
    (folder / "project.json").write_text(json.dumps(described))
    (folder / "tags.txt").write_text("red\nblue\n\nrating:safe\n")
    database = sqlite3.connect(folder / "posts.sqlite")
    database.execute("CREATE TABLE posts (id INTEGER, md5 TEXT, file_ext TEXT, tag_string TEXT, tag_count_general INT)")
    for i in range(8):
        name = f"{i:02x}{'0' * 30}"
        (folder / "images" / name[:2]).mkdir(parents=True)
        pixels = noise(1, 70, 60, seed=i)[0].permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "images" / name[:2] / f"{name}.png")
        words = "red rating:safe" if i % 2 else "blue"
        database.execute("INSERT INTO posts VALUES (?, ?, 'png', ?, 20)", (i, name, words))
    database.commit()
    database.close()
    command("train-project", folder, *options)
    return folder


def agrees_with_the_package(folder: Path, command) -> None:
    """Both backends give the scores that Keras and the package's own command give for a trained project."""
    import tensorflow as tf

    model = folder / "model-resnet_custom_v4.keras"
    expected, found = load(folder, "tensorflow"), load(folder, "torch")
    assert found.tags == ("red", "blue", "rating:safe") and found.id == expected.id
    assert found.settings["size"] == "64 x 64"
    picture = next((folder / "images" / "03").iterdir())
    pixels = read_pixels(picture)[None]
    wanted = keras_models.logits(tf.keras.models.load_model(model, compile=False), expected.prepare(pixels))
    assert largest(logits_in_torch(found, pixels), wanted) < 1e-4 * max(1, np.abs(wanted).max())
    out = command("evaluate", picture, "--project-path", folder, "--threshold", 0)
    printed = [float(score) for score in re.findall(r"^\((\d\.\d{3})\) ", out, re.MULTILINE)]
    for tagger, tolerance in ((expected, 1e-5), (found, 1e-4)):
        scores = tagger.score(pixels)[0].numpy()
        assert np.abs(scores - printed).max() <= 0.0005 + tolerance
        assert largest(scores, 1 / (1 + np.exp(-wanted[0].astype(float)))) < tolerance


def test_a_small_project_that_the_package_trained(command, tmp_path):
    """From a small network, which the package trains further; it makes only large ones itself."""
    model = keras_models.build([16, 32], [0, 0], height=64, width=64, tags=3)
    start = keras_models.project(tmp_path / "start", model, tags=["red", "blue", "rating:safe"])
    source = start / "model-resnet_custom_v3.keras"
    folder = trained(tmp_path / "project", command, "--source-model", source, optimizer="sgd")
    assert load(folder).id != load(start).id  # it did train
    agrees_with_the_package(folder, command)


def in_a_process(*arguments: object) -> str:
    """Run a command of the package as its users do."""
    line = [sys.executable, "-m", "deepdanbooru", *map(str, arguments)]
    return subprocess.run(line, check=True, capture_output=True, text=True, timeout=900).stdout


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_project_that_the_package_trained(tmp_path):
    """Slow: training a network of full width takes over a minute and writes 0.7 GB, which is deleted."""
    folder = trained(tmp_path / "project", in_a_process)
    try:
        agrees_with_the_package(folder, in_a_process)
    finally:
        shutil.rmtree(folder)


def test_a_caller_deep_in_calls_of_its_own_loads_it_too(small_project):
    """Keras walks a network in depth, the package's some 900 calls: this small one's with 60 left of Python's 1,000."""

    def after(calls):
        return after(calls - 1) if calls else load(small_project, "tensorflow")

    load(small_project, "tensorflow")  # what is imported at the first time takes calls as well
    limit = sys.getrecursionlimit()
    assert after(limit - len(inspect.stack(0)) - 60).tags and sys.getrecursionlimit() == limit
