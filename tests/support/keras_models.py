"""Small networks of DeepDanbooru's own topologies, built and saved by Keras, and files of its PyTorch port.

Weights are random, scaled so that scores are neither all 0 nor all 1.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from conformance import FIXTURES
from torch import Tensor

from latentedit.pictures.images import read_pixels
from latentedit.taggers import load_tagger

BACKENDS = ("tensorflow", "torch")
PROJECT = FIXTURES / "deepdanbooru"
EXPECTED = np.load(PROJECT / "expected.npz")
PICTURES = [read_pixels(PROJECT / f"image_{i}.png", drops_alpha=True) for i in range(5)]
TAGS = (PROJECT / "tags.txt").read_text(encoding="utf-8").split()
KEYS = ("gamma", "beta", "moving_mean", "moving_variance")

# Output channels and identity blocks of each stage, of the package's builders.
BUILDERS = {
    "resnet_152": ([256, 512, 1024, 2048], [2, 7, 35, 2]),
    "resnet_custom_v1": ([256, 512, 1024, 2048, 4096], [2, 7, 35, 2, 2]),
    "resnet_custom_v2": ([256, 512, 1024, 1024, 1024, 2048], [2, 7, 40, 16, 16, 6]),
    "resnet_custom_v3": ([256, 512, 1024, 1024, 2048, 4096], [2, 7, 19, 19, 2, 2]),
    "resnet_custom_v4": ([256, 512, 1024, 1024, 1024, 2048], [2, 7, 10, 10, 10, 2]),
}


def load(folder: Path, backend: str = "torch", **options: Any) -> Any:
    """The tagger of a project folder or file on a backend."""
    return load_tagger(f"deepdanbooru:{folder}?backend={backend}", **options)


def logits_in_torch(tagger: Any, pictures: Tensor) -> np.ndarray:
    """Logits (n, tags) of a tagger in torch for uint8 pictures (n, 3, H, W)."""
    with torch.inference_mode():
        return tagger.network(tagger.prepare(pictures)).numpy()


def noise(n: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Pictures (n, 3, height, width) uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8, generator=generator)


def largest(a: Any, b: Any) -> float:
    """Largest absolute difference."""
    return float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max())


def build(
    filters: list[int], repeats: list[int], *, height: int, width: int, tags: int, dense: bool = False, seed: int = 0
) -> Any:
    """A network by the package's own functions, with random weights; ``dense`` is resnet_152's head."""
    import deepdanbooru as dd
    import tensorflow as tf

    tf.keras.utils.set_random_seed(seed)
    inputs = tf.keras.Input((height, width, 3))
    x = dd.model.resnet.resnet_original_bottleneck_model(
        inputs, filter_sizes=filters, repeat_sizes=repeats, final_pool=dense
    )
    if dense:
        x = tf.keras.layers.Dense(tags)(tf.keras.layers.Flatten()(x))
    else:
        x = dd.model.layers.conv_gap(x, tags)
    model = tf.keras.Model(inputs, tf.keras.layers.Activation("sigmoid", dtype="float32")(x))
    return scatter(model, seed)


def scatter(model: Any, seed: int) -> Any:
    """Random batch normalisation, and a head that gives logits of about 1; Keras starts with plain ones and zeros."""
    draw = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            c = len(layer.get_weights()[0])
            shift = draw.standard_normal((2, c)) * 0.1
            layer.set_weights([draw.uniform(0.2, 0.6, c), shift[0], shift[1], draw.uniform(0.5, 1.5, c)])
    _, height, width, _ = model.input_shape
    spread = logits(model, draw.random((4, height, width, 3)).astype(np.float32)).std()
    head = next(layer for layer in reversed(model.layers) if type(layer).__name__ in ("Conv2D", "Dense"))
    head.set_weights([value / spread for value in head.get_weights()])
    return model


def logits(model: Any, prepared: np.ndarray) -> np.ndarray:
    """What comes into the network's sigmoid, (n, tags), for prepared pictures (n, H, W, 3).

    Layer by layer: ``predict`` makes a graph first, which takes five times as long as running it once.
    """
    import tensorflow as tf

    return tf.keras.Model(model.input, model.layers[-1].input)(prepared, training=False).numpy()


def small() -> Any:
    """A network of the package's with every kind of layer that it has, but few of them, and one output for each tag."""
    return build([16, 32], [1, 1], height=64, width=64, tags=len(TAGS))


def scores(model: Any, tagger: Any, pictures: Tensor) -> np.ndarray:
    """Scores (n, tags) by Keras of pictures that a tagger in TensorFlow prepares."""
    return 1 / (1 + np.exp(-logits(model, tagger.prepare(pictures)).astype(float)))


def project(folder: Path, model: Any = None, suffix: str = ".keras", *, tags: list[str] | None = None) -> Path:
    """A project folder with a model, or with the fixture's file of that suffix."""
    folder.mkdir(parents=True, exist_ok=True)
    described = json.loads((PROJECT / "project.json").read_text(encoding="utf-8"))
    (folder / "project.json").write_text(json.dumps(described | {"image_width": 99, "image_height": 77}))
    file = folder / f"model-{described['model']}{suffix}"
    if model is None:
        shutil.copyfile(PROJECT / file.name, file)
    else:
        model.save(file)
    (folder / "tags.txt").write_text("\n".join(TAGS if tags is None else tags), encoding="utf-8")
    return folder


def keras2(folder: Path) -> Path:
    """The fixture's project with its model in Keras 2's layout alone."""
    project(folder, suffix=".h5")
    shutil.copyfile(PROJECT / "keras2.h5", folder / "model-resnet_custom_v3.h5")
    return folder


def described_h5(folder: Path, change: Any, model: Any = None) -> Path:
    """A project as .h5, the fixture's or of a model, with a changed description: ``change(description)`` in place."""
    project(folder, model, suffix=".h5")
    with h5py.File(folder / "model-resnet_custom_v3.h5", "r+") as file:
        described = json.loads(file.attrs["model_config"])
        change(described)
        file.attrs["model_config"] = json.dumps(described)
    return folder


# PyTorch port


def folded_convolutions() -> list[dict[str, np.ndarray]]:
    """Weights (out, in, side, side) and biases of the fixture in Keras's order, batch normalisation folded in."""
    convolutions = []
    with h5py.File(PROJECT / "model-resnet_custom_v3.h5") as file:
        held = file["model_weights"]
        for i in range(179):
            name = f"conv2d_{i}" if i else "conv2d"
            weight = held[name][name]["kernel"][()].transpose(3, 2, 0, 1)
            if i == 178:
                convolutions.append({"weight": weight})
                break
            name = name.replace("conv2d", "batch_normalization")
            gamma, beta, mean, variance = (held[name][name][key][()].astype(float) for key in KEYS)
            scale = gamma / np.sqrt(variance + 1e-3)
            folded = weight * scale[:, None, None, None]
            convolutions.append({"weight": folded.astype(np.float32), "bias": (beta - mean * scale).astype(np.float32)})
    return convolutions


def port_order(*, last_stage: int | None = 3) -> list[int]:
    """Keras's places of the port's convolutions: shortcuts come first in their block, in one stage last."""
    order, place = [0], 1
    for stage, count in enumerate(BUILDERS["resnet_custom_v3"][1]):
        reduce, middle, expand, shortcut = range(place, place + 4)
        order += [reduce, middle, expand, shortcut] if stage == last_stage else [shortcut, reduce, middle, expand]
        order += range(place + 4, place + 4 + 3 * count)
        place += 4 + 3 * count
    return [*order, place]


def port(path: Path, order: list[int], **changes: Any) -> Path:
    """A file of the port with the fixture's weights in that order; changed entries that are None are left out."""
    convolutions = folded_convolutions()
    tree: dict[str, Any] = {}
    for i, place in enumerate(order):
        tree |= {f"n_Conv_{i}.{key}": torch.from_numpy(value.copy()) for key, value in convolutions[place].items()}
    tree["tags"] = TAGS
    tree |= changes
    torch.save({key: value for key, value in tree.items() if value is not None}, path)
    return path
