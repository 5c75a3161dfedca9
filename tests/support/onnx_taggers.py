"""Small taggers in ONNX, with the interface of WD14 and WD v3."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TAGS = (("general", 9), ("explicit", 9), ("1girl", 0), ("long_hair", 0), ("smile", 0), ("hatsune_miku", 4), (":d", 0))
"""Name and category of each output."""
CELLS = 8  # a side: the model sees a picture as so many averages


def weights(tags: int = len(TAGS)) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (tags, 3 * 8 * 8) and offset (tags,) float32 of the model's last layer."""
    draw = np.random.RandomState(7)
    matrix = draw.randn(tags, 3 * CELLS * CELLS) / 12
    return matrix.astype(np.float32), (draw.randn(tags) / 4).astype(np.float32)


def logits(inputs: np.ndarray) -> np.ndarray:
    """What the model works out, in numpy: (n, size, size, 3) as it takes them to (n, tags) float64."""
    n, size, _, _ = inputs.shape
    block = size // CELLS
    means = inputs.astype(np.float64).reshape(n, CELLS, block, CELLS, block, 3).mean((2, 4)) / 64
    matrix, offset = weights()
    return means.transpose(0, 3, 1, 2).reshape(n, -1) @ matrix.T.astype(np.float64) + offset


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def make_model(
    size: int = 64,
    batch: int | str = "N",
    *,
    nchw: bool = False,
    last: str = "Sigmoid",
    opset: int = 18,
    scale: int = 64,
) -> onnx.ModelProto:
    """Coarse averages of a picture, a linear layer and a sigmoid.

    Args:
        size: pixels a side.
        batch: pictures a run; a text for any number.
        nchw: input is (batch, 3, size, size) rather than (batch, size, size, 3).
        last: name of the last operator, which takes one input.
        opset: that the file asks for.
        scale: that the averages are divided by.
    """
    shape = [batch, 3, size, size] if nchw else [batch, size, size, 3]
    matrix, offset = weights()
    constants = {"scale": np.array(scale, np.float32), "matrix": matrix, "offset": offset}
    block = [size // CELLS] * 2
    order = [0, 1, 2, 3] if nchw else [0, 3, 1, 2]
    nodes = [
        helper.make_node("Transpose", ["input"], ["x"], perm=order),
        helper.make_node("AveragePool", ["x"], ["means"], kernel_shape=block, strides=block),
        helper.make_node("Div", ["means", "scale"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "offset"], ["logits"], transB=1),
        helper.make_node(last, ["logits"], ["output"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tagger",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [batch, len(TAGS)])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def write_table(folder: Path, rows: tuple[tuple[str, int], ...] = TAGS) -> Path:
    """``selected_tags.csv`` as it is published."""
    lines = [f"{9_999_999 - i},{name},{category},{1000 - i}" for i, (name, category) in enumerate(rows)]
    path = folder / "selected_tags.csv"
    path.write_text("\n".join(["tag_id,name,category,count", *lines]) + "\n", encoding="utf-8")
    return path


def write_tagger(folder: Path, model: onnx.ModelProto | None = None) -> Path:
    """A folder with both files, made if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(make_model() if model is None else model, folder / "model.onnx")
    write_table(folder)
    return folder
