"""``onnx:FOLDER`` whose model has several outputs: which one holds the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx_taggers import write_table

from latentedit.errors import LatentEditError
from latentedit.taggers import load_tagger

TAGS = tuple((f"tag_{i}", 0) for i in range(5))
WEIGHTS = np.random.RandomState(0).standard_normal((3, 5)).astype(np.float32)
BIAS = np.random.RandomState(1).standard_normal(5).astype(np.float32)


def write(folder: Path, names: dict[str, str], *, scale: float = 0.05, sizes: object = 5) -> Path:
    """A tagger: mean colour to ``embedding`` (n, 3), ``logits`` and ``scores`` (n, 5).

    Args:
        names: output to which of the three it is, in order.
        scale: of the weights.
        sizes: what the model says of the five.
    """
    node = helper.make_node
    held = [
        numpy_helper.from_array(WEIGHTS * np.float32(scale), "weights"), numpy_helper.from_array(BIAS, "bias"),
        numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
    ]  # fmt: skip
    nodes = [
        node("ReduceMean", ["in", "axes"], ["embedding0"], keepdims=0),
        node("MatMul", ["embedding0", "weights"], ["product"]),
        node("Add", ["product", "bias"], ["logits0"]), node("Sigmoid", ["logits0"], ["scores0"]),
        *(node("Identity", [f"{what}0"], [name]) for name, what in names.items()),
    ]  # fmt: skip
    results = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3 if what == "embedding" else sizes])
        for name, what in names.items()
    ]
    picture = helper.make_tensor_value_info("in", TensorProto.FLOAT, ["n", 32, 32, 3])
    graph = helper.make_graph(nodes, "g", [picture], results, held)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "model.onnx"
    )
    write_table(folder, TAGS)
    return folder


def expected(images: torch.Tensor, scale: float = 0.05) -> np.ndarray:
    """Scores (n, 5) of pictures (n, 3, 32, 32) of one colour each."""
    colours = ((images[:, :, 0, 0] + 1) * 127.5).round().numpy()[:, ::-1]  # blue, green, red
    return 1 / (1 + np.exp(-(colours @ (WEIGHTS * scale) + BIAS)))


@pytest.fixture
def images() -> torch.Tensor:
    colours = torch.tensor([[0, 60, 255], [10, 20, 30], [255, 255, 255]]) / 127.5 - 1
    return colours[:, :, None, None].expand(3, 3, 32, 32)


@pytest.mark.parametrize("sizes", [5, "tags"], ids=["said", "not said"])
def test_probabilities_are_found_among_outputs(tmp_path: Path, images: torch.Tensor, sizes: object) -> None:
    names = {"vector": "embedding", "raw": "logits", "last": "scores"}
    folder = write(tmp_path, names, sizes=sizes)
    with pytest.warns(
        UserWarning, match=r"vector tensor\(float\) .*raw.*last.* last is used: the one of probabilities"
    ):
        tagger = load_tagger(f"onnx:{folder}")
    np.testing.assert_allclose(tagger.score(images).numpy(), expected(images), atol=1e-5)
    assert tagger.settings["output"] == "last"
    with pytest.warns(UserWarning, match="raw is used: the one of logits"):
        raw = load_tagger(f"onnx:{folder}?outputs=logits")
    np.testing.assert_allclose(raw.score(images).numpy(), expected(images), atol=1e-5)
    assert raw.id != tagger.id


def test_the_one_of_as_many_numbers_as_tags(tmp_path: Path, images: torch.Tensor) -> None:
    with pytest.warns(UserWarning, match="p is used: the only one of 5 numbers"):
        tagger = load_tagger(f"onnx:{write(tmp_path, {'e': 'embedding', 'p': 'scores'})}")
    np.testing.assert_allclose(tagger.score(images).numpy(), expected(images), atol=1e-5)


def test_logits_that_lie_in_0_to_1_are_no_probabilities(tmp_path: Path, images: torch.Tensor) -> None:
    bias = BIAS.copy()
    try:
        BIAS[:] = np.linspace(0.2, 0.8, 5)
        folder = write(tmp_path, {"a": "logits", "b": "scores"}, scale=1e-4)
        with pytest.warns(UserWarning, match="b is used"):
            tagger = load_tagger(f"onnx:{folder}")
        np.testing.assert_allclose(tagger.score(images).numpy(), expected(images, 1e-4), atol=1e-5)
    finally:
        BIAS[:] = bias


def test_an_output_that_is_named_is_taken(
    tmp_path: Path, images: torch.Tensor, recwarn: pytest.WarningsRecorder
) -> None:
    folder = write(tmp_path, {"a": "scores", "b": "scores", "e": "embedding"})
    with pytest.raises(LatentEditError, match=r"which holds the 5 scores is not sure; say it: .*\?output=NAME"):
        load_tagger(f"onnx:{folder}")
    first, second = (load_tagger(f"onnx:{folder}?output={name}") for name in "ab")
    np.testing.assert_allclose(second.score(images).numpy(), expected(images), atol=1e-5)
    assert first.id != second.id and not len(recwarn)
    with pytest.raises(LatentEditError, match=r"no output 'c'; it has a tensor\(float\)"):
        load_tagger(f"onnx:{folder}?output=c")
    with pytest.raises(LatentEditError, match="'e' is not one of 5 tags"):
        load_tagger(f"onnx:{folder}?output=e")


def test_outputs_of_other_lengths_are_told(tmp_path: Path) -> None:
    folder = write(tmp_path, {"e": "embedding", "p": "scores"})
    write_table(folder, TAGS[:4])
    with pytest.raises(LatentEditError, match=r"has outputs e .*3.*p .*5.* and selected_tags.csv lists 4 tags"):
        load_tagger(f"onnx:{folder}")
