"""What a user may give in place of a project of DeepDanbooru's: one line on each, on both backends."""

import json

import keras_models
import numpy as np
import pytest
import torch
from keras_models import BACKENDS, PROJECT, TAGS, load, noise

from latentedit.errors import DamagedFileError, LatentEditError, MismatchError, UnsafeFileError
from latentedit.taggers import load_tagger


def refused(argument, match, kind=LatentEditError, **options):
    """Loading fails with one line on it; the same on either backend unless one is named."""
    for backend in options.get("backends", ("torch",)):
        with pytest.raises(kind, match=match) as caught:
            load(argument, backend)
        assert "\n" not in str(caught.value), caught.value


def test_names_without_a_project(tmp_path):
    with pytest.raises(LatentEditError, match="needs a project folder"):
        load_tagger("deepdanbooru")
    refused(tmp_path / "none", "no project at .*none", DamagedFileError)
    refused(tmp_path, "has no project.json", DamagedFileError)
    refused(PROJECT / "image_0.png", "is a file; name the project folder", DamagedFileError)
    refused(PROJECT / "keras2.h5", "is a file; name the project folder", DamagedFileError)
    with pytest.raises(LatentEditError, match="has no option size; its options: backend"):
        load_tagger(f"deepdanbooru:{PROJECT}?size=3")
    with pytest.raises(LatentEditError, match="backend is 'jax'; it must be tensorflow or torch"):
        load(PROJECT, "jax")


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "{}", '{"model": null}', '{"model": "resnet_custom_v4"}'])
def test_project_files(tmp_path, text):
    folder = keras_models.project(tmp_path / "p", suffix=".h5")
    (folder / "project.json").write_text(text)
    match = (
        r"has no model; .*model-resnet_custom_v4\.keras, .*\.h5, .*\.pt"
        if "v4" in text
        else "must be JSON"
        if text
        else "the file is empty"
    )
    refused(folder, match, DamagedFileError, backends=BACKENDS)


def test_lists_of_tags(tmp_path):
    folder = keras_models.project(tmp_path / "p", suffix=".h5")
    tags = folder / "tags.txt"
    for text, match in [
        ("\n \n", "lists no tags"),
        ("\n".join(TAGS[1:]), "14 outputs and there are 13 tags"),
        ("\n".join([*TAGS, "more"]), "14 outputs and there are 15 tags"),
        ("\n".join([*TAGS[1:], TAGS[3]]), f"'{TAGS[3]}' is there twice"),
    ]:
        tags.write_text(text)
        refused(folder, match, MismatchError if "outputs" in match else DamagedFileError, backends=BACKENDS)
    tags.write_bytes(b"\xff\xfe\x00")
    refused(folder, "UTF-8", DamagedFileError)
    tags.unlink()
    refused(folder, "tags.txt is missing", DamagedFileError)
    tags.write_bytes(("\ufeff\r\n" + "\r\n\r\n".join(f" {tag} " for tag in TAGS)).encode())
    assert load(folder).tags == tuple(TAGS)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_models_that_are_not_whole(tmp_path, suffix):
    folder = keras_models.project(tmp_path / "p", suffix=suffix)
    model = folder / f"model-resnet_custom_v3{suffix}"
    data = model.read_bytes()
    for damaged in (b"", b"nothing", data[: len(data) // 2]):
        model.write_bytes(damaged)
        refused(folder, "Keras did not write it|truncated|the file is empty", DamagedFileError, backends=BACKENDS)


def test_weights_that_are_no_numbers(tmp_path):
    import h5py

    for name, value, match in [
        ("conv2d_9/conv2d_9/kernel", np.nan, "kernel of layer 9 holds values that are not finite"),
        ("batch_normalization/batch_normalization/gamma", np.inf, "gamma of layer 0 holds values that are not finite"),
        ("batch_normalization/batch_normalization/moving_variance", -1.0, "of a variance, negative"),
    ]:
        folder = keras_models.project(tmp_path / name[:8] / str(value), suffix=".h5")
        with h5py.File(folder / "model-resnet_custom_v3.h5", "r+") as file:
            file["model_weights"][name][0] = value
        refused(folder, match, DamagedFileError, backends=BACKENDS)


def _change(kind, number=0, **values):
    def change(described):
        found = [layer for layer in described["config"]["layers"] if layer["class_name"] == kind]
        found[number]["config"].update(values)

    return change


def _add_twice(described):
    layers = described["config"]["layers"]
    first = next(layer for layer in layers if layer["class_name"] == "Add")
    layers.append(json.loads(json.dumps(first).replace('"add"', '"add_999"')))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_change("Conv2D", strides=[1, 1]), "strides of its layer 'conv2d'"),
        (_change("Conv2D", 3, padding="valid"), "padding of its layer"),
        (_change("Conv2D", 3, dilation_rate=[2, 2]), "dilation_rate"),
        (_change("Conv2D", 3, activation="relu"), "activation of its layer"),
        (_change("MaxPooling2D", pool_size=[2, 2]), "pool_size"),
        (_change("BatchNormalization", axis=1), "does not normalise channels"),
        (_change("Activation", -1, activation="relu"), "must end in one sigmoid"),
        (_change("Activation", 5, activation="sigmoid"), "must end in one sigmoid"),
        (_change("InputLayer", batch_shape=[None, None, None, 3]), "its input has shape"),
        (_change("InputLayer", batch_shape=[None, 128, 128, 1]), "its input has shape"),
        (_add_twice, "58 layers of class 'Add'; with 57 blocks"),  # shortcuts over whole stages
    ],
)
def test_networks_of_the_same_shapes_that_are_others(tmp_path, change, match):
    folder = keras_models.described_h5(tmp_path / "p", change)
    refused(folder, match, DamagedFileError, backends=BACKENDS)


def test_networks_of_another_kind(tmp_path):
    import tensorflow as tf

    layers, inputs = tf.keras.layers, tf.keras.Input((64, 64, 3))
    mobile = layers.DepthwiseConv2D(3)(layers.Conv2D(8, 3)(inputs))
    mobile = tf.keras.Model(inputs, layers.Dense(14)(layers.GlobalAveragePooling2D()(mobile)))
    plain = layers.Dense(14, "sigmoid")(layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3)(inputs)))
    lambdas = layers.Lambda(lambda x: x)(inputs)
    for model, match, kind in [
        (mobile, "'DepthwiseConv2D', which no network of DeepDanbooru's has", DamagedFileError),
        (tf.keras.Model(inputs, plain), "'conv2d.*' has the weights|does not fit", DamagedFileError),
        (tf.keras.Model(inputs, lambdas), "'Lambda', which can carry code", UnsafeFileError),
    ]:
        for suffix in (".h5", ".keras"):
            folder = tmp_path / f"{model.name}{suffix}"
            keras_models.project(folder, model, suffix)
            refused(folder, match, kind, backends=BACKENDS)


def test_pictures_too_narrow_to_be_fitted(small_project):
    for backend in BACKENDS:
        tagger = load(small_project, backend)
        with pytest.raises(LatentEditError, match="so narrow that nothing") as caught:
            tagger.score(noise(1, 2, 2000))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"tags": None}, "no file of DeepDanbooru's PyTorch port"),
        ({"tags": [1, 2]}, "no file of DeepDanbooru's PyTorch port"),
        ({"tags": TAGS[:-1]}, "14 outputs and there are 13 tags"),
        ({"tags": [*TAGS[:-1], TAGS[0]]}, "'1girl' is there twice"),
        ({"tags": []}, "lists no tags"),
        ({"n_Conv_3.weight": None}, "does not fit"),
        ({"n_Conv_3.bias": None}, "n_Conv_3 must have"),
        ({"n_Conv_3.bias": torch.zeros(77)}, "n_Conv_3 do not fit together"),
        ({"n_Conv_3.weight": torch.zeros(2, 2)}, "n_Conv_3 must have"),
        ({"n_Conv_0.bias": torch.full((2,), torch.nan)}, "bias of layer 0 holds values that are not finite"),
        ({"n_Conv_178.bias": torch.zeros(14)}, "n_Conv_178 must have"),
    ],
)
def test_wrong_files_of_the_port(tmp_path, changes, match):
    path = keras_models.port(tmp_path / "model.pt", keras_models.port_order(), **changes)
    refused(path, match)
