"""What wrong files are said to be: one line each, and never a word about right ones."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import re
import sys
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import conformance
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.checkpoints.diagnosis import diagnose_file, diagnose_tensors, diagnose_tree, is_old_pickle
from latentedit.checkpoints.unpickling import Inert
from latentedit.errors import DamagedFileError

PAGE = (
    "<!DOCTYPE html><html><head><title>Google Drive &ndash; Virus scan\n warning</title></head><body>file</body></html>"
)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 381673535\n"
INDEX = {
    "metadata": {},
    "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"},
}


def picture(kind: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    return out.getvalue()


def archive(*names: str, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as opened:
        for name in names:
            opened.writestr(name, b"x" * 100)
    return out.getvalue()


def tarred(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as opened:
        for name in names:
            opened.addfile(tarfile.TarInfo(name))
    return out.getvalue()


def arrays() -> tuple[bytes, bytes]:
    one, several = io.BytesIO(), io.BytesIO()
    np.save(one, np.ones(3))
    np.savez(several, w=np.ones(3), mean=np.ones(3))
    return one.getvalue(), several.getvalue()


WRONG = {
    "empty.pt": (b"", "the file is empty"),
    "pointer.pt": (POINTER.encode(), r"git-lfs pointer, not the file of 381673535 bytes; run: git lfs pull"),
    "page.pkl": (PAGE.encode(), r"a web page \('Google Drive – Virus scan warning'\).*virus-scan.*browser.*raw link"),
    "page2.pt": (b"\n <html><body>\xe9\xff no title", r"a web page, not the file"),
    "denied.pt": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
    "error.pt": (b'{"error": "Repository not found"}', "a server's error message.*Repository not found.*check"),
    "list.pt": (b"[1, 2", "JSON"),
    "model.safetensors.index.json": (json.dumps(INDEX).encode(), "the parts: model-00001-of-00002"),
    "text.pt": (b"Entry not found", "a server's error message .'Entry not found'.*download it"),
    "utf8.pt": ("Không tìm thấy tệp\n".encode(), "starts 'Không tìm thấy tệp'"),
    "steers.pt": (b"a\tb\nc\r\n" * 5000, "a text file of 35000 bytes"),
    "a.png": (picture("PNG"), "a PNG picture"),
    "a.jpg": (picture("JPEG"), "a JPEG picture"),
    "a.gif": (picture("GIF"), "a GIF picture"),
    "a.webp": (picture("WEBP"), "a WebP picture"),
    "a.bmp": (picture("BMP"), "a BMP picture"),
    "a.gz": (gzip.compress(b"x" * 100), "gzip; unpack it"),
    "a.tar": (tarred("net/weights.pt"), r"a tar archive \(first: net/weights.pt\); unpack"),
    "old.pt": (tarred("sys_info", "pickle", "tensors", "storages"), "torch before version 0.2"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\0\4" + bytes(40), "7z archive"),
    "a.rar": (b"Rar!\x1a\x07\x01\0" + bytes(40), "RAR archive"),
    "a.zip": (archive("readme.md", "net/g.pt", "b.safetensors"), "unpack it and give.*inside: net/g.pt, b.safetensors"),
    "pictures.zip": (archive("1.png", "2.png"), r"a zip archive of other things \(1.png, 2.png\)"),
    "none.zip": (archive(), "an empty zip archive"),
    "cut.pt": (archive("a.pt", method=zipfile.ZIP_STORED)[:120], "truncated: 120 bytes are there.*download it again"),
    "script.pt": (archive("m/data.pkl", "m/code/__torch__.py", "m/constants.pkl"), "TorchScript.*state_dict"),
    "a.h5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5, as Keras"),
    "a.keras": (archive("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "a.pb": (b"\x0a\x20\x0a\x0bPlaceholder\x12\x0bPlaceholder", "a TensorFlow graph"),
    "a.ckpt.index": (b"\0\1\2" + bytes(40) + bytes.fromhex("57fb808b247547db"), "part of a TensorFlow checkpoint"),
    "a.ckpt.data-00000-of-00001": (b"\xee\1\2" + bytes(40), "part of a TensorFlow checkpoint"),
    "a.onnx": (b"\x08\x07\x12\x07pytorch\x1a\x032.1:\xf0\x01" + bytes(20), "an ONNX model"),
    "a.tflite": (b"\x1c\0\0\0TFL3" + bytes(20), "TensorFlow Lite"),
    "a.npy": (arrays()[0], r"a numpy array \(.npy\).*latentedit convert"),
    "a.npz": (arrays()[1], r"numpy arrays \(.npz: w, mean\).*latentedit convert"),
    "a.gguf": (b"GGUF\3\0\0\0" + bytes(40), "GGUF"),
    "a.mp4": (b"\0\0\0\x20ftypisom" + bytes(20), "MP4"),
    "a.webm": (b"\x1a\x45\xdf\xa3" + bytes(20), "WebM"),
    "a.pdf": (b"%PDF-1.7\n" + bytes(20), "PDF"),
    "header.safetensors": ((10**10).to_bytes(8, "little") + b'{"a": 1}', "claims 10000000000 bytes and"),
    "entry.safetensors": (b"\x11" + bytes(7) + b'{"a":{"dtype":1}}', "safetensors with a damaged header"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(WRONG))
def test_wrong_files(name: str, tmp_path: Path) -> None:
    data, expected = WRONG[name]
    path = tmp_path / name
    path.write_bytes(data)
    answer = diagnose_file(path)
    assert answer is not None
    assert answer.isprintable() and len(answer) < 500
    with pytest.raises(DamagedFileError, match=expected):
        read_checkpoint(path)


def test_missing_files_folders_and_devices(tmp_path: Path) -> None:
    assert diagnose_file(tmp_path / "no.pt") == "there is no such file"
    assert diagnose_file(tmp_path / ("x" * 5000)) == "there is no such file"
    assert diagnose_file(tmp_path) == "a folder without files of weights; give a file"
    for name in ("g.pt", "d.pkl", "readme.md", "e.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    assert diagnose_file(tmp_path) == "a folder; give one of its files: d.pkl, e.safetensors, g.pt"
    assert "device" in str(diagnose_file(Path(os.devnull)))
    os.mkfifo(tmp_path / "pipe")
    assert "pipe" in str(diagnose_file(tmp_path / "pipe"))  # and does not wait for a writer


def test_truncated_safetensors_say_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "f.safetensors"
    save_file({"a": torch.zeros(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    assert f"promises {len(whole)} bytes and {len(whole) - 100} are there" in str(diagnose_file(path))


def test_right_files_are_not_spoken_of(tmp_path: Path) -> None:
    state = {"w": torch.ones(3, 4), "text": "<html>"}
    torch.save(state, tmp_path / "zip.png")
    torch.save(state, tmp_path / "legacy.onnx.pt", _use_new_zipfile_serialization=False)
    save_file({"w": torch.ones(3)}, tmp_path / "f.html")
    for protocol in range(6):
        (tmp_path / f"{protocol}.pkl").write_bytes(pickle.dumps({"tag": [1.5, "x"]}, protocol))
    paths = [*tmp_path.iterdir(), conformance.FIXTURES / "stylegan2_ada_pkl" / "network.nosrc.pkl"]
    assert {path.name: diagnose_file(path) for path in paths} == {path.name: None for path in paths}


def test_old_pickles_are_told_from_text() -> None:
    for value in ([1], {"a": 1}, (1, 2), {"a": [1.5, "long text\n" * 20]}):
        assert all(is_old_pickle(pickle.dumps(value, protocol)) for protocol in (0, 1))
    assert not any(map(is_old_pickle, (b"", b"Hello", b"(see the notes)", b"{}", b"[1]", b"copy this\nfile to it")))


def conv(channels_out: int, channels_in: int, size: int = 3) -> Tensor:
    return torch.zeros(channels_out, channels_in, size, size)


def named(*names: str) -> dict[str, Tensor]:
    return {name: torch.zeros(2, 2) for name in names}


def dcgan_discriminator() -> dict[str, Tensor]:
    layers = [nn.Conv2d(3, 8, 4), nn.LeakyReLU(), nn.Conv2d(8, 16, 4), nn.BatchNorm2d(16), nn.Conv2d(16, 1, 4)]
    return nn.Sequential(*layers).state_dict()


SEEMS = {
    "none": ({}, "no tensors at all"),
    "rosinality": (named("convs.1.conv1.0.weight", "final_linear.0.weight"), "a discriminator"),
    "rosinality under d": (named("d.convs.1.conv1.0.weight", "d.final_linear.1.weight"), "a discriminator"),
    "nvidia": (named("b8.fromrgb.weight", "b8.conv0.weight", "b4.out.weight", "b4.fc.weight"), "a discriminator"),
    "genforce": (named("input0.weight", "input0.bias", "layer0.weight", "layer12.weight"), "a discriminator"),
    "dcgan": (dcgan_discriminator(), "a discriminator.*the generator is needed"),
    "optimiser": (named("state.0.exp_avg", "state.0.exp_avg_sq", "state.0.step"), "an optimiser"),
    "lora": (named("lora_unet_down_blocks_0.lora_up.weight", "lora_unet_down_blocks_0.alpha"), "a LoRA"),
    "peft": (named("base_model.model.q_proj.lora_A.weight", "base_model.model.q_proj.lora_B.weight"), "a LoRA"),
    "stable diffusion": (named("model.diffusion_model.input_blocks.0.0.weight"), "a diffusion model"),
    "unet": (named("time_embedding.linear_1.weight", "down_blocks.0.resnets.0.conv1.weight"), "a diffusion model"),
    "vae": (named("quant_conv.weight", "decoder.up_blocks.0.resnets.0.conv1.weight"), "VAE"),
    "first stage": (named("first_stage_model.decoder.conv_in.weight"), "VAE"),
    "clip": (named("visual.transformer.resblocks.0.attn.in_proj_weight", "logit_scale"), "CLIP"),
    "text encoder": (named("text_model.encoder.layers.0.self_attn.k_proj.weight", "text_model.norm.weight"), "CLIP"),
    "language": (named("model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"), "a language model"),
    "gpt": (named("transformer.h.0.attn.c_attn.weight", "transformer.wte.weight"), "a language model"),
    "resnet": (named("conv1.weight", "layer1.0.conv1.weight", "fc.weight", "fc.bias"), "an image classifier"),
    "vgg": (named("features.0.weight", "features.28.weight", "classifier.6.weight"), "an image classifier"),
    "danbooru": (named("n_Conv_0.weight", "n_Conv_178.weight"), "DeepDanbooru"),
    "fid": (named("Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch_pool.conv.weight"), "FID"),
    "lpips": (named("lin0.model.1.weight", "lin1.model.1.weight"), "LPIPS"),
    "arcface": (named("input_layer.0.weight", "body.0.res_layer.0.weight", "output_layer.3.weight"), "ArcFace"),
    "e4e": (named("state_dict.encoder.input_layer.0.weight", "state_dict.decoder.convs.0.conv.weight", "latent_avg"),
            r"rosinality's layout; take it out: .*decoder\.pt"),
    "psp": (named("input_layer.0.weight", "styles.0.convs.0.weight"), "encoder of a GAN"),
    "cyclegan": (named("model.1.weight", "model.10.conv_block.1.weight"), "CycleGAN"),
    "ours": (named("direction", "sigma", "coefficient_norm"), "directions of latentedit"),
    "boundary": ({"boundary": torch.ones(1, 512)}, r"boundary, shape \(1, 512\).*latentedit convert"),
    "factor": ({"eigvec": torch.ones(512, 512)}, "latentedit convert"),
    "single": ({"": torch.ones(1, 18, 512)}, r"one tensor, shape \(1, 18, 512\).*latentedit convert"),
    "projector": ({"a.png.img": conv(1, 3), "a.png.latent": torch.ones(512), "a.png.noise.0": conv(1, 1)}, "convert"),
}  # fmt: skip


@pytest.mark.parametrize("kind", list(SEEMS))
def test_tensors_of_other_things(kind: str) -> None:
    tensors, expected = SEEMS[kind]
    answer = diagnose_tensors(tensors)
    assert answer is not None and re.search(expected, answer), answer
    assert answer.isprintable() and (answer.startswith("it seems to be") or not tensors)


GENERATORS = "rosinality_stylegan2 gansnroses sefa_stylegan2 sefa_stylegan sefa_pggan stylegan2_ada stylegan3_t".split()


@pytest.mark.parametrize("fixture", GENERATORS)
def test_generators_are_not_taken_for_something_else(fixture: str) -> None:
    """A generator that its family refuses, for want of a tensor say, must not be called a discriminator."""
    shapes = {t["name"]: torch.empty(t["shape"], device="meta") for t in conformance.manifest(fixture)["tensors"]}
    answer = diagnose_tensors(shapes)
    assert answer is None
    assert diagnose_tensors({f"g_ema.{name}": tensor for name, tensor in shapes.items()}) is None


def test_unknown_tensors_are_not_guessed() -> None:
    assert diagnose_tensors(named("foo.weight", "bar.bias", "baz")) is None
    up = [nn.ConvTranspose2d(8, 16, 4), nn.ConvTranspose2d(16, 4, 4), nn.ConvTranspose2d(4, 3, 4)]
    assert diagnose_tensors(nn.Sequential(*up).state_dict()) is None


def test_names_chosen_by_an_enemy_do_not_take_long() -> None:
    names = [f"{'a.' * 5000}{i}.lora_" + "convs." * 2000 for i in range(2000)]
    assert diagnose_tensors(named(*names)) is None


def test_networks_of_the_tensorflow_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("dnnlib.tflib.network")

    class Network:
        def __init__(self) -> None:
            self.name, self.variables, self.build_module_src = "G", [("w", np.ones((2, 2), np.float32))], "import os"

    Network.__module__, Network.__qualname__ = "dnnlib.tflib.network", "Network"
    module.Network = Network  # type: ignore[attr-defined]
    for name in ("dnnlib", "dnnlib.tflib"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "dnnlib.tflib.network", module)
    path = tmp_path / "karras2019.pkl"
    path.write_bytes(pickle.dumps((Network(), Network(), Network()), 4))
    assert "legacy.py" in str(diagnose_tree(read_checkpoint(path).tree))


def test_trees_of_other_things() -> None:
    trees: list[Any] = [{}, [], (1, 2, 3), Inert("torch.nn.Module"), None, [Inert("x")] * 1000]
    for tree in trees:
        assert diagnose_tree(tree) is None
