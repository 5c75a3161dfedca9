"""``onnx:FOLDER`` against numpy and Pillow: preparation and scores; and everything that may be wrong with the files."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from onnx_taggers import TAGS, logits, make_model, sigmoid, weights, write_table, write_tagger
from PIL import Image
from toy import ToyGenerator

from latentedit.errors import DamagedFileError, LatentEditError, UnsafeFileError
from latentedit.samples.sampling import sample
from latentedit.samples.tables import SCORE_FLOOR
from latentedit.taggers import Tagger, load_tagger
from latentedit.taggers.base import thresholds_of

RUNTIME = 1e-5  # between onnxruntime in float32 and numpy in float64, in scores


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Colours that change over the picture, other ones for each seed, with noise: (height, width, 3) uint8."""
    draw = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width] / max(height, width)
    plain = np.stack([255 * x, 200 * y, 255 - 180 * x * y], -1)[..., draw.permutation(3)] * draw.uniform(0.3, 1, 3)
    return (plain + draw.randint(-40, 41, plain.shape)).clip(0, 255).astype(np.uint8)


def score(tagger: Tagger, *pictures: np.ndarray) -> np.ndarray:
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return tagger.score(stacked.float() / 127.5 - 1).numpy()


def white_square(pixels: np.ndarray, side: int) -> np.ndarray:
    """Pillow's own pasting of a picture into the middle."""
    canvas = Image.new("RGB", (side, side), (255, 255, 255))
    canvas.paste(Image.fromarray(pixels), ((side - pixels.shape[1]) // 2, (side - pixels.shape[0]) // 2))
    return np.asarray(canvas)


def enlarged(pixels: np.ndarray, size: int) -> np.ndarray:
    """As published with v3, by Pillow, in BGR."""
    square = white_square(pixels, max(pixels.shape[:2]))
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC), np.float64)[..., ::-1]


def padded(pixels: np.ndarray, size: int) -> np.ndarray:
    """As published with v1.4, in BGR, by whole numbers below 2**53, thus exact.

    Counted in 1 / (size * side) of the picture, a new pixel is ``side`` wide and an old one ``size``.
    """
    square = white_square(pixels, max(size, *pixels.shape[:2]))
    side = len(square)
    new, old = np.arange(size)[:, None] * side, np.arange(side)[None] * size
    shared = (np.minimum(new + side, old + size) - np.maximum(new, old)).clip(0).astype(float)
    sums = shared @ square.transpose(2, 0, 1).astype(float) @ shared.T  # (3, size, size)
    averages = sums.transpose(1, 2, 0) / side**2
    return (np.floor(averages + 0.5) if side == 2 * size else np.rint(averages))[..., ::-1]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tagger(tmp_path / "wd")


def test_it_fulfils_the_contract(folder: Path) -> None:
    tagger = load_tagger(f"onnx:{folder}")
    assert isinstance(tagger, Tagger) and re.fullmatch(r"onnx:[0-9a-f]{12}", tagger.id)
    assert tagger.tags == ("rating:general", "rating:explicit", "1girl", "long_hair", "smile", "hatsune_miku", ":d")
    assert thresholds_of(tagger).tolist() == [0.35] * 5 + [0.85, 0.35]
    scores = tagger.score(torch.rand(3, 3, 40, 30) * 2 - 1)
    assert scores.shape == (3, 7) and scores.dtype == torch.float32
    assert tagger.score(torch.zeros(0, 3, 40, 30)).shape == (0, 7)
    prepared = tagger.prepare(torch.zeros(2, 3, 40, 30, dtype=torch.uint8))
    assert prepared.shape == (2, 64, 64, 3) and prepared.dtype == np.float32 and prepared.flags.c_contiguous


@pytest.mark.parametrize(("small", "prepared"), [("enlarge", enlarged), ("pad", padded)])
@pytest.mark.parametrize("batch", ["N", 1], ids=["like v3", "like v1.4"])
def test_published_size(
    tmp_path: Path, small: str, prepared: Callable[[np.ndarray, int], np.ndarray], batch: int | str
) -> None:
    """448 pixels, and pictures of the sizes that generators make."""
    tagger = load_tagger(f"onnx:{write_tagger(tmp_path, make_model(448, batch))}?small={small}")
    for height, width in ((128, 128), (448, 448), (1024, 1024), (300, 500)):
        pixels = picture(height, width)
        expected = sigmoid(logits(prepared(pixels, 448)[None]))[0]
        np.testing.assert_allclose(score(tagger, pixels)[0], expected, atol=RUNTIME)


@pytest.mark.parametrize(
    "size", [(64, 64), (2, 2), (3, 64), (63, 64), (64, 65), (128, 128), (192, 192), (100, 100), (37, 130), (200, 2)]
)
def test_every_size_of_picture_is_prepared_as_published(folder: Path, size: tuple[int, int]) -> None:
    """The same numbers: Pillow is Pillow, and averages of whole numbers are rounded alike, but next to a half."""
    pixels = picture(*size)
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    found = load_tagger(f"onnx:{folder}").prepare(tensor)[0]
    np.testing.assert_array_equal(found, enlarged(pixels, 64))
    shrunk = load_tagger(f"onnx:{folder}?small=pad").prepare(tensor)[0]
    difference = np.abs(shrunk - padded(pixels, 64))
    assert difference.max() <= 1 and difference.mean() <= 1e-3
    if max(size) < 64:
        assert np.abs(shrunk - found).max() > 100  # the readers differ where pictures are small
        assert (shrunk[0] == 255).all() and (shrunk[-1] == 255).all()


def test_halves_are_rounded_as_opencv_does(folder: Path) -> None:
    tagger = load_tagger(f"onnx:{folder}?small=pad")
    for side, expected in ((128, 11.0), (256, 10.0)):  # exactly half the side: upwards; else to even
        stripes = np.zeros((side, side, 3), np.uint8)
        stripes[:, 0::2], stripes[:, 1::2] = 10, 11
        assert set(tagger.prepare(torch.from_numpy(stripes).permute(2, 0, 1)[None]).ravel().tolist()) == {expected}


def test_a_margin_that_is_odd_is_larger_below_and_right(folder: Path) -> None:
    black = torch.zeros(1, 3, 63, 61, dtype=torch.uint8)
    rows = load_tagger(f"onnx:{folder}?small=pad").prepare(black)[0, :, :, 0] == 0
    assert rows.any(1).nonzero()[0].tolist() == list(range(63)) and rows.any(0).nonzero()[0].tolist() == [*range(1, 62)]


def test_other_taggers_say_what_they_take(tmp_path: Path) -> None:
    """Each option against numpy; and the default against each, which must differ."""
    pixels = picture(50, 64)
    plain = enlarged(pixels, 64)
    inputs = {
        "": plain, "channels=rgb": plain[..., ::-1], "range=0..1": plain / 255, "range=-1..1": plain / 127.5 - 1,
        "channels=rgb&range=-1..1": plain[..., ::-1] / 127.5 - 1,
    }  # fmt: skip
    folder = write_tagger(tmp_path / "a")
    default = score(load_tagger(f"onnx:{folder}"), pixels)[0]
    for options, expected in inputs.items():
        found = score(load_tagger(f"onnx:{folder}?{options}"), pixels)[0]
        np.testing.assert_allclose(found, sigmoid(logits(expected[None]))[0], atol=RUNTIME)
        assert not options or np.abs(found - default).max() > 0.05
    twice = sigmoid(sigmoid(logits(plain[None])))[0]  # the common mistake
    assert np.abs(default - twice).max() > 0.05
    raw = write_tagger(tmp_path / "b", make_model(last="Identity"))
    np.testing.assert_allclose(score(load_tagger(f"onnx:{raw}?outputs=logits"), pixels)[0], default, atol=RUNTIME)


def test_the_sigmoid_of_large_logits_is_finite(tmp_path: Path) -> None:
    raw = write_tagger(tmp_path, make_model(last="Identity", scale=1))
    found = score(load_tagger(f"onnx:{raw}?outputs=logits&small=pad"), picture(64, 64))
    assert np.isfinite(found).all() and found.min() < 1e-6 and found.max() > 1 - 1e-6


@pytest.mark.parametrize("batch", ["N", 1, 2, 4, 8])
@pytest.mark.parametrize("nchw", [False, True], ids=["NHWC", "NCHW"])
def test_a_row_does_not_depend_on_its_batch(tmp_path: Path, batch: int | str, nchw: bool) -> None:
    tagger = load_tagger(f"onnx:{write_tagger(tmp_path, make_model(batch=batch, nchw=nchw))}")
    pictures = [picture(60, 80, seed) for seed in range(5)]
    together = score(tagger, *pictures)
    assert together.std(0).min() > 1e-3  # the rows are not alike
    for pixels, row in zip(pictures, together, strict=True):
        np.testing.assert_allclose(score(tagger, pixels)[0], row, atol=1e-6)
        np.testing.assert_allclose(row, sigmoid(logits(enlarged(pixels, 64)[None]))[0], atol=RUNTIME)


def test_settings_say_how_pictures_are_prepared(tmp_path: Path) -> None:
    folder = write_tagger(tmp_path, make_model(nchw=True))
    settings = load_tagger(f"onnx:{folder}?small=pad&channels=rgb").settings
    assert settings == {
        "size": "64 x 64", "layout": "NCHW", "resize": "white square, area average, never enlarged",
        "small": "pad", "channels": "rgb", "range": "0..255", "outputs": "probabilities", "output": "output",
    }  # fmt: skip


def test_the_id_is_of_what_changes_scores(folder: Path, tmp_path: Path) -> None:
    first = load_tagger(f"onnx:{folder}").id
    assert load_tagger(f"onnx:{folder / 'model.onnx'}").id == first
    assert load_tagger(f"onnx:{folder}?channels=bgr&small=enlarge&range=0..255&outputs=probabilities").id == first
    ids = {load_tagger(f"onnx:{folder}?{o}").id for o in ("small=pad", "channels=rgb", "range=0..1", "outputs=logits")}
    ids.add(load_tagger(f"onnx:{write_tagger(tmp_path / 'b', make_model(scale=65))}").id)
    write_table(folder, (("other", 0), *TAGS[1:]))
    ids.add(load_tagger(f"onnx:{folder}").id)
    assert len(ids | {first}) == 7


def test_weights_beside_the_model_are_part_of_it(tmp_path: Path) -> None:
    name = "w" * 150 + ".bin"  # its length takes two bytes
    for place in ("weights.bin", name):
        folder = write_tagger(tmp_path / place[:9])
        onnx.save(
            make_model(), folder / "model.onnx", save_as_external_data=True, location=place, size_threshold=0,
        )  # fmt: skip
        tagger = load_tagger(f"onnx:{folder}")
        pixels = picture(64, 64)
        np.testing.assert_allclose(
            score(tagger, pixels)[0], sigmoid(logits(enlarged(pixels, 64)[None]))[0], atol=RUNTIME
        )
        data = bytearray((folder / place).read_bytes())
        data[-1] ^= 1
        (folder / place).write_bytes(data)
        assert load_tagger(f"onnx:{folder}").id != tagger.id
        (folder / place).unlink()
        with pytest.raises(DamagedFileError, match="keeps weights in .*which is not there; put it beside"):
            load_tagger(f"onnx:{folder}")


@pytest.mark.parametrize("place", ["../weights.bin", "/etc/hostname", "a/../../weights.bin"])
def test_weights_from_elsewhere_are_refused(folder: Path, place: str) -> None:
    model = make_model()
    tensor = model.graph.initializer[1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    (folder.parent / "weights.bin").write_bytes(weights()[0].tobytes())
    with pytest.raises(UnsafeFileError, match="outside its folder; it is not to be trusted"):
        load_tagger(f"onnx:{folder}")


def test_nothing_is_printed(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither for a good file nor for a damaged one, by Python or by the runtime underneath."""
    score(load_tagger(f"onnx:{folder}"), picture(64, 64))
    whole = (folder / "model.onnx").read_bytes()
    nameless = whole.replace(b"\x0a\x06scaled", b"\x0a\x06sc\xffled")  # its own message is no UTF-8 then
    for data in (whole[:-2000], nameless):
        assert data != whole
        (folder / "model.onnx").write_bytes(data)
        with pytest.raises(DamagedFileError):
            load_tagger(f"onnx:{folder}")
    assert capfd.readouterr() == ("", "")


def test_samples_are_tagged(folder: Path, tmp_path: Path) -> None:
    tagger = load_tagger(f"onnx:{folder}")
    run = sample(ToyGenerator(), tmp_path / "run", tagger=tagger, n=9, batch_size=4)
    g = ToyGenerator()
    expected = tagger.score(g.decode(g.sample_codes(range(9))))
    stored = np.concatenate([b.scores for b in run.iter_batches(tagger.id) if b.scores is not None])
    assert (np.abs(stored - expected.numpy())[expected >= SCORE_FLOOR] <= 2.5e-4).all()  # half precision, 11 bits
    assert dict(run.manifest.taggers[0].settings)["small"] == "enlarge"
    assert run.thresholds(tagger.id).tolist() == pytest.approx([0.35] * 5 + [0.85, 0.35], abs=1e-3)


# Bad input


def refused(name: str) -> str:
    with pytest.raises(LatentEditError) as caught:
        load_tagger(name)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def test_missing_files_are_named(folder: Path, tmp_path: Path) -> None:
    assert "needs a folder with model.onnx and selected_tags.csv, as in onnx:" in refused("onnx:")
    assert f"no tagger at {tmp_path / 'no'}; onnx takes a folder" in refused(f"onnx:{tmp_path / 'no'}")
    (folder / "model.onnx").rename(folder / "eva.onnx")
    assert f"has no model.onnx; it has eva.onnx, name one as onnx:{folder / 'eva.onnx'}" in refused(f"onnx:{folder}")
    assert load_tagger(f"onnx:{folder / 'eva.onnx'}").tags[2] == "1girl"
    (folder / "selected_tags.csv").unlink()
    assert "has no selected_tags.csv; put the table that came with eva.onnx" in refused(f"onnx:{folder / 'eva.onnx'}")
    (folder / "eva.onnx").unlink()
    assert "has no model.onnx; download the whole folder" in refused(f"onnx:{folder}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the file is empty; download it again"),
        ("tag_id,tag,category\n1,smile,0\n", "its first line is 'tag_id,tag,category'"),
        ("name,category\n", "lists no tag"),
        ("name,category\nsmile,0,3\n", "row 2: 3 cells where the header has 2"),
        ("name,category\nsmile,0\n,0\n", "row 3: ',0'; it must have a name and a category"),
        ("name,category\nsmile,general\n", "row 2: 'smile,general'; it must have a name and a category"),
        ("name,category\nsmile,0\nfrown,0\nsmile,4\n", "lists 'smile' 2 times"),
        ("name,category\nsmile,0\n", "has 7 outputs and selected_tags.csv lists 1 tags"),
    ],
)
def test_bad_tables(folder: Path, text: str, words: str) -> None:
    (folder / "selected_tags.csv").write_text(text)
    assert words in refused(f"onnx:{folder}")


def test_a_table_in_another_encoding(folder: Path) -> None:
    (folder / "selected_tags.csv").write_bytes("name,category\nfianc\xe9e,0\n".encode("latin1"))
    assert "byte 0xe9 at 19 is not UTF-8; save it as UTF-8" in refused(f"onnx:{folder}")
    (folder / "selected_tags.csv").write_bytes("name,category\r\nfiancée,0\r\n".encode("utf-16"))
    assert "7 outputs and selected_tags.csv lists 1 tags" in refused(f"onnx:{folder}")


def test_tables_may_have_other_columns_and_whole_numbers_with_a_point(folder: Path) -> None:
    rows = [f"{category}.0,{name},{i}" for i, (name, category) in enumerate(TAGS)]
    (folder / "selected_tags.csv").write_text("\ufeffcategory, name ,x\r\n" + "\r\n".join(rows), encoding="utf-8")
    tagger = load_tagger(f"onnx:{folder}")
    assert tagger.tags[0] == "rating:general" and tagger.thresholds == {"hatsune_miku": 0.85}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty; download it again"),
        (b"no model\n" * 100, "is no model that onnxruntime"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 378536310\n",
            "a git-lfs pointer, not the file of 378536310 bytes",
        ),
        (b"<!doctype html><html>not found</html>", "it is a web page, not the file"),
        (make_model().SerializeToString()[:-2000], "is no model that onnxruntime"),
        (make_model(opset=99).SerializeToString(), "opset"),
        (make_model(last="NoSuchOperator").SerializeToString(), "NoSuchOperator"),
    ],
    ids=["empty", "text", "pointer", "page", "truncated", "new opset", "unknown operator"],
)
def test_bad_models(folder: Path, data: bytes, words: str) -> None:
    (folder / "model.onnx").write_bytes(data)
    message = refused(f"onnx:{folder}")
    assert words in message and str(folder / "model.onnx") in message


def graph_of(*inputs: tuple[int, list[int | str]], said: list[int | str] | None = None) -> bytes:
    """A model that takes these inputs, type and shape, and gives zeros (1, 7).

    Args:
        said: shape of the outputs that it declares instead; theirs is then worked out from the pictures.
    """
    values = [helper.make_tensor_value_info(f"in{i}", kind, shape) for i, (kind, shape) in enumerate(inputs)]
    wanted = helper.make_tensor("wanted", TensorProto.INT64, [2], [1, 7])
    node = helper.make_node
    nodes = [node("ConstantOfShape", ["wanted"], ["out"])]
    if said:
        nothing = helper.make_tensor("nothing", TensorProto.FLOAT, [], [0.0])
        nodes = [
            node("Constant", [], ["nothing"], value=nothing), node("ReduceSum", ["in0"], ["sum"], keepdims=0),
            node("Mul", ["sum", "nothing"], ["zero"]), node("Cast", ["zero"], ["whole"], to=TensorProto.INT64),
            node("Add", ["wanted", "whole"], ["shape"]), node("ConstantOfShape", ["shape"], ["out"]),
        ]  # fmt: skip
    result = helper.make_tensor_value_info("out", TensorProto.FLOAT, said or [1, 7])
    graph = helper.make_graph(nodes, "g", values, [result], [wanted])
    opset = helper.make_opsetid("", 18)
    return helper.make_model(graph, opset_imports=[opset], ir_version=10).SerializeToString()


FLOAT, WHOLE = TensorProto.FLOAT, TensorProto.INT64


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([(FLOAT, [64, 64, 3])], "takes tensor(float) [64, 64, 3]; this reader needs one input"),
        ([(FLOAT, ["N", 64, 64, 1])], "[n, size, size, 3] or [n, 3, size, size]"),
        ([(FLOAT, ["N", "H", "W", 3])], "with a fixed size"),
        ([(FLOAT, ["N", 64, 32, 3])], "takes tensor(float) ['N', 64, 32, 3]"),
        ([(FLOAT, ["N", 64, 64, 3]), (FLOAT, [1])], "tensor(float) ['N', 64, 64, 3], tensor(float) [1]"),
        ([(WHOLE, ["N", 64, 64, 3])], "takes tensor(int64)"),
        ([], "takes nothing"),
    ],
    ids=["three axes", "grey", "any size", "oblong", "two inputs", "whole numbers", "no input"],
)
def test_models_of_another_kind(folder: Path, inputs: list[tuple[int, list[int | str]]], words: str) -> None:
    (folder / "model.onnx").write_bytes(graph_of(*inputs))
    assert words in refused(f"onnx:{folder}")


def test_outputs_of_another_shape(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(graph_of((FLOAT, ["N", 64, 64, 3])))
    tagger = load_tagger(f"onnx:{folder}")
    assert tagger.score(torch.zeros(1, 3, 64, 64)).tolist() == [[0.0] * 7]
    with pytest.raises(LatentEditError, match=r"outputs of shape \(1, 7\) for 2 pictures and 7 tags"):
        tagger.score(torch.zeros(2, 3, 64, 64))
    write_table(folder, TAGS[:3])
    (folder / "model.onnx").write_bytes(graph_of((FLOAT, ["N", 64, 64, 3]), said=["rows", "tags"]))
    with pytest.raises(LatentEditError, match=r"outputs of shape \(1, 7\) for 1 pictures and 3 tags of selected_tags"):
        load_tagger(f"onnx:{folder}").score(torch.zeros(1, 3, 64, 64))


def test_outputs_that_are_no_probabilities(tmp_path: Path) -> None:
    raw = load_tagger(f"onnx:{write_tagger(tmp_path / 'a', make_model(last='Identity'))}")
    with pytest.raises(LatentEditError, match=r"no probabilities; if they are logits, add outputs=logits"):
        raw.score(torch.zeros(1, 3, 64, 64))
    broken = load_tagger(f"onnx:{write_tagger(tmp_path / 'b', make_model(last='Log'))}")  # of negative numbers
    pixels = torch.full((3, 3, 64, 64), 1.0)
    with pytest.raises(LatentEditError, match="gave NaN or infinity for picture 0 of the batch"):
        broken.score(pixels)


def test_pictures_that_are_too_long(folder: Path) -> None:
    with pytest.raises(LatentEditError, match="pictures are 16385 x 2 pixels; this tagger takes up to 16384 a side"):
        load_tagger(f"onnx:{folder}").score(torch.zeros(1, 3, 2, 16385))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("size=448", "onnx has no option size; its options: small (enlarge or pad), channels (bgr or rgb)"),
        ("small=stretch", "small is 'stretch'; it must be enlarge or pad"),
        ("channels=", "channels is ''; it must be bgr or rgb"),
        ("range=0..256", "range is '0..256'; it must be 0..255 or 0..1 or -1..1"),
        ("outputs=softmax", "outputs is 'softmax'; it must be probabilities or logits"),
    ],
)
def test_bad_options(folder: Path, options: str, words: str) -> None:
    assert words in refused(f"onnx:{folder}?{options}")


def test_without_onnxruntime(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert refused(f"onnx:{folder}").endswith("pip install 'latentedit[onnx]'")


def test_a_runtime_without_cuda(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(LatentEditError, match="cannot use cuda; install onnxruntime-gpu in its place, or run on the"):
        load_tagger(f"onnx:{folder}", device="cuda")


def test_the_command_says_it_in_one_line(folder: Path, run: Callable[..., tuple[int, str, str]]) -> None:
    Image.fromarray(picture(70, 50)).save("a.png")
    code, out, _ = run("tag", "a.png", "--tagger", f"onnx:{folder}")
    assert code == 0 and "a.png" in out
    (folder / "model.onnx").write_text("nothing")
    code, out, err = run("tag", "a.png", "--tagger", f"onnx:{folder}")
    assert code != 0 and out == "" and len(err.strip().splitlines()) == 1 and "Traceback" not in err
