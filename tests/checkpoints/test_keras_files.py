"""Reading what Keras saved: the same weights as Keras reads, and nothing of what a file may try."""

import json
import struct
import zipfile
from pathlib import Path

import h5py
import keras_models
import numpy as np
import pytest
import torch
from keras_models import PROJECT

from latentedit.checkpoints.keras_files import read_keras
from latentedit.errors import DamagedFileError, UnsafeFileError

KINDS = (
    "InputLayer", "Conv2D", "BatchNormalization", "Activation", "MaxPooling2D", "Add", "GlobalAveragePooling2D",
    "AveragePooling2D", "Flatten", "Dense",
)  # fmt: skip
LAYOUTS = ("keras2.h5", "model-resnet_custom_v3.h5", "model-resnet_custom_v3.keras")


def read(path):
    return read_keras(path, KINDS)


def arrays(layers):
    return {f"{layer.kind} {i} {key}": value for i, layer in enumerate(layers) for key, value in layer.weights.items()}


def refusal(path, match, kind=DamagedFileError):
    """The error that a file is refused with; one line that names it."""
    with pytest.raises(kind, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def small():
    """Two models of one process, so that the numbers in the second one's names do not start at 0."""
    sizes = {"height": 64, "width": 96, "tags": 5, "dense": False}
    keras_models.build([16, 32], [1, 1], **sizes, seed=1)
    return keras_models.build([16, 32], [1, 1], **sizes, seed=2)


# The same as Keras


def test_the_three_layouts_hold_the_same():
    first, *others = [arrays(read(PROJECT / name)) for name in LAYOUTS]
    assert len(first) == 179 + 4 * 178
    for other in others:
        assert other.keys() == first.keys()
        assert all(torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_keras_itself_reads_the_same(small, tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    small.save(path)
    layers = read(path)
    kernels = [layer for layer in layers if layer.kind == "Conv2D"]
    assert int(kernels[0].name.rpartition("_")[2]) > 0  # the names do start elsewhere
    for layer in layers:
        expected = small.get_layer(layer.name).get_weights()
        assert [tuple(value.shape) for value in layer.weights.values()] == [value.shape for value in expected]
        for got, value in zip(layer.weights.values(), expected, strict=True):
            assert np.array_equal(got.numpy(), value)


@pytest.mark.parametrize("name", LAYOUTS)
def test_layers_come_in_the_order_of_numbers_not_of_names(name):
    names = [layer.name for layer in read(PROJECT / name) if layer.kind == "Conv2D"]
    assert names == ["conv2d", *(f"conv2d_{i}" for i in range(1, 179))] != sorted(names)


def test_an_optimizer_beside_the_weights_is_left_out(tmp_path):
    model = keras_models.build([16], [0], height=32, width=32, tags=5)
    model.compile("adam", "binary_crossentropy")
    model.fit(np.zeros((1, 32, 32, 3)), np.ones((1, 5)), verbose=0)
    model.save(tmp_path / "trained.keras")
    with zipfile.ZipFile(tmp_path / "trained.keras") as archive, archive.open("model.weights.h5") as file:
        assert len(h5py.File(file)["optimizer/vars"]) > 10
        assert json.loads(archive.read("config.json"))["compile_config"]["optimizer"]["class_name"] == "Adam"
    model.save(tmp_path / "plain.keras", include_optimizer=False)
    assert arrays(read(tmp_path / "trained.keras")).keys() == arrays(read(tmp_path / "plain.keras")).keys()


# Code


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_a_lambda_layer_is_refused_and_does_not_run(tmp_path, suffix):
    import tensorflow as tf

    marker, path = tmp_path / "ran", tmp_path / f"model{suffix}"
    function = eval(f"lambda x: (open({str(marker)!r}, 'w').close(), x)[1]")
    inputs = tf.keras.Input((32, 32, 3))
    tf.keras.Model(inputs, tf.keras.layers.Lambda(function)(inputs)).save(path)
    marker.unlink()
    assert "Lambda" in refusal(path, "refused.*can carry code", UnsafeFileError)
    assert not marker.exists()
    tf.keras.models.load_model(path, safe_mode=False, compile=False)  # which runs it
    assert marker.exists()


def _replace(key, value, kind="Conv2D"):
    def change(described):
        layer = next(layer for layer in described["config"]["layers"] if layer["class_name"] == kind)
        where = layer if key in ("class_name", "module", "registered_name", "compile_config") else layer["config"]
        where[key] = value

    return change


CODE = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_replace("module", "os"), "module 'os'"),
        (_replace("module", "keras.layers; import os"), "module"),
        (_replace("registered_name", "evil>Layer"), "module"),
        (_replace("class_name", "TFOpLambda"), "TFOpLambda.*can carry code"),
        (_replace("activation", CODE), "class 'function'|activation"),
        (_replace("activation", "softplus", "Activation"), "activation 'softplus'"),
        (_replace("kernel_initializer", CODE), "class 'function'"),
        (_replace("kernel_initializer", {"module": "builtins", "class_name": "eval", "config": {}}), "class 'eval'"),
        (_replace("kernel_regularizer", {"class_name": "L2", "config": {}}), "kernel_regularizer|class 'L2'"),
        (_replace("kernel_constraint", "os.system"), "kernel_constraint"),
        (_replace("dtype", {"module": "subprocess", "class_name": "Policy", "config": {}}), "module 'subprocess'"),
        (_replace("compile_config", {"optimizer": CODE}), "refused"),
        (lambda described: described.update(module="subprocess"), "module 'subprocess'"),
        (lambda described: described["config"].update(extra=CODE), "class 'function'"),
    ],
)
def test_descriptions_that_name_code_are_refused(tmp_path, change, match):
    keras_models.described_h5(tmp_path, change)
    refusal(tmp_path / "model-resnet_custom_v3.h5", match, UnsafeFileError)


def test_a_description_written_anew_is_read(tmp_path):
    keras_models.described_h5(tmp_path, lambda described: None)
    assert len(read(tmp_path / "model-resnet_custom_v3.h5")) == 590


def test_a_model_within_a_model_is_refused(tmp_path):
    keras_models.described_h5(tmp_path, _replace("class_name", "Functional"))
    refusal(tmp_path / "model-resnet_custom_v3.h5", "class 'Functional'")


# Other files


def changed_h5(folder: Path, change) -> Path:
    """The fixture's .h5 with something done to its first kernel's group."""
    path = keras_models.project(folder, suffix=".h5") / "model-resnet_custom_v3.h5"
    with h5py.File(path, "r+") as file:
        group = file["model_weights/conv2d/conv2d"]
        change(file, group)
    return path


def _external_link(file, group):
    with h5py.File(Path(file.filename).with_name("secret.h5"), "w") as other:
        other["kernel"] = np.ones((7, 7, 3, 2), np.float32)
    del group["kernel"]
    group["kernel"] = h5py.ExternalLink("secret.h5", "kernel")


def _external_data(file, group):
    Path(file.filename).with_name("secret.bin").write_bytes(b"\0" * 4 * 7 * 7 * 3 * 2)
    del group["kernel"]
    place = str(Path(file.filename).with_name("secret.bin"))
    group.create_dataset("kernel", (7, 7, 3, 2), "<f4", external=[(place, 0, h5py.h5f.UNLIMITED)])


def _virtual_data(file, group):
    del group["kernel"]
    layout = h5py.VirtualLayout((7, 7, 3, 2), "<f4")
    layout[...] = h5py.VirtualSource("secret.h5", "kernel", (7, 7, 3, 2))
    group.create_virtual_dataset("kernel", layout)


def _huge(file, group):
    del group["kernel"]
    group.create_dataset("kernel", (1 << 14, 1 << 14, 1 << 10), "<f4", chunks=True)  # 1 TB that was never written


def _compressed(file, group):
    del group["kernel"]
    group.create_dataset("kernel", data=np.zeros((1 << 10, 1 << 10), np.float32), compression="gzip")


def _whole_numbers(file, group):
    del group["kernel"]
    group["kernel"] = np.ones((7, 7, 3, 2), np.int64)


def test_what_an_h5_file_refers_to_is_not_followed(tmp_path):
    for name, change in (("data", _external_data), ("virtual", _virtual_data)):
        refusal(changed_h5(tmp_path / name, change), "in another file", UnsafeFileError)
    path = changed_h5(tmp_path / "link", _external_link)
    layer = next(layer for layer in read(path) if layer.name == "conv2d")
    assert not layer.weights  # as if it had none
    with h5py.File(path) as file:
        assert file["model_weights/conv2d/conv2d/kernel"].shape == (7, 7, 3, 2)  # h5py would have followed


SEQUENTIAL = '{"class_name": "Sequential", "config": {"layers": []}}'


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (_huge, "not whole"),
        (_compressed, "compressed"),
        (_whole_numbers, "int64"),
        (lambda file, group: group.move("kernel", "strange"), "no layer for them"),
        (lambda file, group: file.move("model_weights", "others"), "no group 'model_weights'"),
        (lambda file, group: file.attrs.pop("model_config"), "no model of Keras"),
        (lambda file, group: file.attrs.modify("model_config", "{}"), "does not describe"),
        (lambda file, group: file.attrs.modify("model_config", "no JSON"), "does not describe"),
        (lambda file, group: file.attrs.modify("model_config", SEQUENTIAL), "class 'Sequential'"),
    ],
)
def test_h5_files_that_are_not_whole(tmp_path, change, match):
    refusal(changed_h5(tmp_path, change), match)


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.9999])
def test_truncated_files(tmp_path, name, share):
    data = (PROJECT / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(data[: int(len(data) * share)])
    refusal(path, "truncated|no HDF5|damaged")


@pytest.mark.parametrize("name", LAYOUTS)
def test_damaged_bytes_never_end_in_another_error(tmp_path, name):
    data = bytearray((PROJECT / name).read_bytes())
    draw = np.random.default_rng(0)
    path, refused = tmp_path / name, 0
    for _ in range(15):
        damaged = data.copy()
        for place in draw.integers(0, len(data), 40):
            damaged[place] = draw.integers(256)
        path.write_bytes(damaged)
        try:
            read(path)
        except DamagedFileError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused


def test_other_files_and_none(tmp_path):
    refusal(tmp_path / "none.h5", "no such file")
    (tmp_path / "picture.h5").write_bytes((PROJECT / "image_0.png").read_bytes())
    refusal(tmp_path / "picture.h5", "no HDF5 file and no zip archive")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.attrs["layer_names"] = ["conv2d"]
    refusal(tmp_path / "weights.h5", "weights without a model")


def members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path, held, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in held.items():
            archive.writestr(name, content)
    return path


def test_archives_that_are_not_whole(tmp_path):
    held = members(PROJECT / LAYOUTS[2])
    assert len(read(zipped(tmp_path / "same.keras", held))) == 590
    refusal(zipped(tmp_path / "packed.keras", held, zipfile.ZIP_DEFLATED), "compressed or encrypted")
    for name in ("config.json", "model.weights.h5"):
        rest = {key: value for key, value in held.items() if key != name}
        refusal(zipped(tmp_path / f"no-{name}.keras", rest), f"no {name}")
    refusal(zipped(tmp_path / "text.keras", held | {"model.weights.h5": b"text"}), "no HDF5")
    data = bytearray((PROJECT / LAYOUTS[2]).read_bytes())
    entry = data.rfind(b"PK\x01\x02", 0, data.rfind(b"model.weights.h5"))
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    (tmp_path / "long.keras").write_bytes(data)
    refusal(tmp_path / "long.keras", "truncated")
