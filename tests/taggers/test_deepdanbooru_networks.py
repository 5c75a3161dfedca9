"""DeepDanbooru's topologies and the PyTorch port, against Keras."""

import json

import keras_models
import numpy as np
import pytest
import torch
from keras_models import BUILDERS, EXPECTED, PICTURES, PROJECT, TAGS, largest, load, logits_in_torch, noise

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.taggers import load_tagger
from latentedit.taggers.networks.deepdanbooru import arrange


def widths(filters, repeats, tags=7, dense_inputs=None):
    """Shapes of the convolutions of a network, in Keras's order."""
    shapes, inputs = [(filters[0] // 4, 3, 7, 7)], filters[0] // 4
    for outputs, count in zip(filters, repeats, strict=True):
        inner = outputs // 4
        shapes += [(inner, inputs, 1, 1), (inner, inner, 3, 3), (outputs, inner, 1, 1), (outputs, inputs, 1, 1)]
        shapes += [(inner, outputs, 1, 1), (inner, inner, 3, 3), (outputs, inner, 1, 1)] * count
        inputs = outputs
    return shapes if dense_inputs else [*shapes, (tags, inputs, 1, 1)]


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("tags", [1, 256, 1024, 2048, 4096, 9176])
def test_shapes_tell_the_builders_apart(name, tags):
    filters, repeats = BUILDERS[name]
    dense = name == "resnet_152"
    shapes = widths(filters, repeats, tags, dense_inputs=dense)
    assert len(shapes) == {"resnet_152": 155, "resnet_custom_v1": 166, "resnet_custom_v2": 287,
                           "resnet_custom_v3": 179, "resnet_custom_v4": 149}[name]  # fmt: skip
    blocks = arrange(shapes, dense=dense)
    starts = [i for i, block in enumerate(blocks) if block.shortcut is not None] + [len(blocks)]
    assert [after - before - 1 for before, after in zip(starts, starts[1:], strict=False)] == repeats
    assert [blocks[i].stride for i in starts[:-1]] == [1, *[2] * (len(repeats) - 1)]
    assert all(block.stride == 1 for block in blocks if block.shortcut is None)


def test_strange_shapes_are_refused():
    shapes = widths(*BUILDERS["resnet_custom_v4"])
    arrange(shapes, dense=False)
    for place, shape in [(0, (64, 3, 3, 3)), (2, (64, 64, 5, 5)), (4, (128, 64, 1, 1)), (40, (9, 9, 1, 1)),
                         (148, (7, 1024, 1, 1))]:  # fmt: skip
        with pytest.raises(DamagedFileError, match="does not fit; it must be a residual network of DeepDanbooru's"):
            arrange([*shapes[:place], shape, *shapes[place + 1 :]], dense=False)
    middle = next(i for i in range(90, 149) if shapes[i][2] == 3)
    for count in (0, 1, 3, 5, 7, middle + 1):
        with pytest.raises(DamagedFileError):
            arrange(shapes[:count], dense=False)


def agrees(model, folder, *, suffix, seed=3):
    """Both backends agree with a Keras model on a few pictures; logits relative to their size."""
    tags = [f"tag_{i}" for i in range(model.output_shape[1])]
    keras_models.project(folder, model, suffix, tags=tags)
    expected, found = load(folder, "tensorflow"), load(folder, "torch")
    assert found.id == expected.id
    for height, width in [(90, 90), (131, 60)]:
        pictures = noise(2, height, width, seed)
        wanted = keras_models.logits(model, expected.prepare(pictures))
        assert 0.2 < np.abs(wanted).max() < 20  # scores that are neither 0 nor 1
        assert largest(logits_in_torch(found, pictures), wanted) < 1e-5 * max(1, np.abs(wanted).max())
        assert largest(found.score(pictures), expected.score(pictures)) < 1e-5


@pytest.mark.parametrize(
    ("height", "width", "suffix"),
    [(224, 224, ".h5"), pytest.param(225, 500, ".keras", marks=pytest.mark.slow), (224, 231, ".keras")],
)
def test_a_dense_head(tmp_path, height, width, suffix):
    model = keras_models.build([16, 32, 48, 64], [1, 2, 1, 1], height=height, width=width, tags=5, dense=True)
    agrees(model, tmp_path / "p", suffix=suffix)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (99, 77), (131, 66), (7, 5)])
def test_sizes_that_do_not_halve_evenly(tmp_path, height, width):
    model = keras_models.build([16, 16, 32], [0, 1, 1], height=height, width=width, tags=5)
    agrees(model, tmp_path / "p", suffix=".keras")


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILDERS)
def test_the_packages_topologies(tmp_path, name):
    """A sixteenth of each builder's channels; Keras takes up to a minute to build, save and load one."""
    filters, repeats = BUILDERS[name]
    dense = name == "resnet_152"
    side = 224 if dense else 128
    narrow = [width // 16 for width in filters]
    model = keras_models.build(narrow, repeats, height=side, width=side, tags=9, dense=dense)
    agrees(model, tmp_path / "p", suffix=".h5")


# PyTorch port


def test_the_port_gives_the_same_scores(tmp_path):
    order = keras_models.port_order()
    assert [order.index(place) for place in (4, 14, 39, 100, 161, 171)] == [1, 11, 36, 100, 158, 168]  # shortcuts
    keras_models.project(tmp_path / "p", suffix=".h5")
    (tmp_path / "p" / "model-resnet_custom_v3.h5").unlink()
    keras_models.port(tmp_path / "p" / "model-resnet_custom_v3.pt", order)
    described = json.loads((tmp_path / "p" / "project.json").read_text())
    (tmp_path / "p" / "project.json").write_text(json.dumps(described | {"image_width": 128, "image_height": 128}))
    (tmp_path / "p" / "tags.txt").unlink()  # they are in the file
    tagger = load_tagger(f"deepdanbooru:{tmp_path / 'p'}")
    assert tagger.tags == tuple(TAGS) and tagger.settings["backend"] == "torch" and tagger.id != load(PROJECT).id
    found = np.concatenate([logits_in_torch(tagger, picture[None]) for picture in PICTURES])
    assert largest(found, EXPECTED["logits"]) < 1e-5


def test_a_file_of_the_port_alone_takes_512_pixels(tmp_path):
    path = keras_models.port(tmp_path / "model-resnet_custom_v3.pt", keras_models.port_order())
    by_file, by_folder = load_tagger(f"deepdanbooru:{path}"), load_tagger(f"deepdanbooru:{tmp_path}?backend=torch")
    assert by_file.id == by_folder.id and by_file.settings["size"] == "512 x 512"
    prepared = by_file.prepare(PICTURES[4][None])
    with torch.inference_mode():
        expected = load(PROJECT).network(prepared)  # the size does not matter to the network
    assert largest(logits_in_torch(by_file, PICTURES[4][None]), expected) < 1e-5
    with pytest.raises(LatentEditError, match="is of the PyTorch port; TensorFlow cannot read it, use backend=torch"):
        load(path, "tensorflow")


def test_another_order_in_the_port_gives_other_scores(tmp_path):
    order = keras_models.port_order()
    first, second = order.index(101), order.index(104)  # identity blocks of the stage with equal widths
    order[first : first + 3], order[second : second + 3] = order[second : second + 3], order[first : first + 3]
    wrong = keras_models.port(tmp_path / "wrong.pt", order)
    right = keras_models.port(tmp_path / "right.pt", keras_models.port_order())
    scores = [load(path).score(PICTURES[0][None]) for path in (right, wrong)]
    assert largest(*scores) > 1e-4
    # That stage's shortcut before its block, as in the others: by shapes it then belongs to the block before.
    swapped = keras_models.port(tmp_path / "swapped.pt", keras_models.port_order(last_stage=None))
    assert largest(load(swapped).score(PICTURES[0][None]), scores[0]) > 1e-3
