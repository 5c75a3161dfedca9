"""What a file that cannot be used seems to be, and what is needed instead."""

from __future__ import annotations

import codecs
import json
import mmap
import os
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentedit.checkpoints.unpickling import Inert, shown
from latentedit.checkpoints.zip_files import members
from latentedit.errors import DamagedFileError
from latentedit.files import visible_files
from latentedit.lookalikes import HEAD, lookalike

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST_JSON = 16_000_000
_WEIGHTS = (".pt", ".pth", ".pkl", ".ckpt", ".safetensors", ".bin", ".tar")
_NEEDED = "a generator's weights are needed, as torch.save or safetensors wrote them"
_ARRAYS = "codes and directions are read by latentedit convert, and no generator is kept so"
_UNPACK = "unpack it and give the file of weights inside"

_OTHER = {"hdf5": "weights of PyTorch are needed, not of Keras", "npy": _ARRAYS}


def diagnose_file(path: Path) -> str | None:
    """What is wrong with a file, by its first bytes and its size, in one line; None when it may hold weights."""
    if not os.path.exists(path):
        return "there is no such file"
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        return "not a file but a device, pipe or socket"
    if not os.access(path, os.R_OK):
        return "it may not be read; change its permissions"
    size = path.stat().st_size
    with open(path, "rb") as file:
        head = file.read(HEAD)
        file.seek(max(0, size - 8))
        tail = file.read(8)
    found = lookalike(path, head)
    if head[:4] == b"PK\x03\x04":
        return _zip(path)
    if found is not None and found.kind not in ("safetensors", "tar") and found.kind != "cut":
        return str(found) if found.advice else f"{found.what}; {_OTHER.get(found.kind, _NEEDED)}"
    return _safetensors(path, head, size) or _tar(head) or _other_framework(path, head, tail) or _text(path, head, size)


def is_old_pickle(head: bytes) -> bool:
    """Whether a file may be a pickle of protocol 0 or 1, which start with no sign, by its first bytes."""
    if not re.match(rb"[(\]}]|c[\w.]+\n[\w.]+\n", head) or head[8:9] == b"{":
        return False
    try:
        for _ in pickletools.genops(head[:64]):
            pass
    except ValueError as error:
        return len(head) >= 64 and "opcode" not in str(error)  # cut off rather than unknown
    return True


def _folder(path: Path) -> str:
    names = [file.name for file in visible_files(path)]
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    if not weights:
        return "a folder without files of weights; give a file"
    return f"a folder; give one of its files: {_listed(weights)}"


def _listed(names: list[str], most: int = 5) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(shown(name, 80) for name in names[:most]) + more


def _zip(path: Path) -> str | None:
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        try:
            names = list(members(mapped))
        except DamagedFileError as error:
            return str(error)
    if any(name.endswith("/constants.pkl") or "/code/" in name for name in names):
        return (
            "a TorchScript archive, which is code and is not run; save the weights instead: "
            "torch.save(module.state_dict(), 'weights.pt')"
        )
    if any(f"/{name}".endswith("/data.pkl") for name in names):
        return None
    if any(name.endswith(".weights.h5") for name in names):
        return "a Keras model (.keras); weights of PyTorch are needed, not of Keras"
    if names and all(name.endswith(".npy") for name in names):
        return f"numpy arrays (.npz: {_listed([name[:-4] for name in names])}); {_ARRAYS}"
    weights = [name for name in names if name.endswith(_WEIGHTS)]
    if weights:
        return f"a zip archive; unpack it and give the file of weights inside: {_listed(weights)}"
    return f"a zip archive of other things ({_listed(names) or 'nothing'}); {_NEEDED}"


def _safetensors(path: Path, head: bytes, size: int) -> str | None:
    length = int.from_bytes(head[:8], "little")
    if head[8:9] != b"{" or size < 10:
        return None
    if 8 + length > size:
        return (
            f"safetensors, truncated or damaged: its header claims {length} bytes and the file has {size}; "
            "download it again"
        )
    if length > _LONGEST_JSON:
        return f"safetensors with a header of {length} bytes, which no model has"
    with open(path, "rb") as file:
        file.seek(8)
        header = _json(file.read(length))
    try:
        entries = [entry for name, entry in (header or {}).items() if name != "__metadata__"]
        promised = 8 + length + max((int(entry["data_offsets"][1]) for entry in entries), default=0)
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return "safetensors with a damaged header; download it again"
    if promised > size:
        return f"safetensors, truncated: its header promises {promised} bytes and {size} are there; download it again"
    return None


def _json(data: bytes) -> Any:
    """A document, or None when it is none."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _tar(head: bytes) -> str | None:
    if head[257:262] != b"ustar":
        return None
    if head.startswith((b"sys_info\0", b"pickle\0", b"storages\0", b"tensors\0")):
        return "written by torch before version 0.2 (2017); load it in an old torch and save it again"
    name = shown(head[:100].split(b"\0")[0].decode("utf-8", "replace"))
    return f"a tar archive (first: {name}); {_UNPACK}"


def _other_framework(path: Path, head: bytes, tail: bytes) -> str | None:
    suffix = path.suffix.lower()
    field = re.match(rb"\x08[\x01-\x14][\x12\x1a\x22\x3a\x42]", head)  # version, then a field of the model
    if field or suffix == ".onnx":
        return f"an ONNX model; {_NEEDED}"
    table = tail == bytes.fromhex("57fb808b247547db")  # how LevelDB tables end
    if table or re.search(r"\.(index|meta|data-\d+-of-\d+)$", path.name):
        return "part of a TensorFlow checkpoint; convert it to PyTorch first, or take PyTorch weights"
    if head[:1] == b"\x0a" and (suffix == ".pb" or b"Placeholder" in head or b"tensorflow" in head):
        return "a TensorFlow graph; convert it to PyTorch first, or take PyTorch weights"
    return None


def _text(path: Path, head: bytes, size: int) -> str | None:
    """What a file of text is."""
    if head[:1] == b"\x80" or is_old_pickle(head):
        return None
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head, size <= len(head))
    except UnicodeDecodeError:
        return None
    if re.search(r"[\x00-\x08\x0b\x0e-\x1f\x7f]", text):
        return None
    text = text.lstrip("\ufeff \t\r\n")
    if text[:1] in ("{", "["):
        return _document(path, size, text)
    return f"a text file of {size} bytes that starts {shown(' '.join(text[:200].split()), 80)!r}; {_NEEDED}"


def _document(path: Path, size: int, text: str) -> str:
    data = _json(path.read_bytes()) if size <= _LONGEST_JSON else None
    if isinstance(data, dict) and isinstance(data.get("weight_map"), dict):
        shards = sorted({str(name) for name in data["weight_map"].values()})
        return f"a list of the parts of a model (JSON), not the weights; the parts: {_listed(shards)}"
    start = shown(" ".join(text[:300].split()), 120)
    return f"JSON, such as a configuration: {start!r}; {_NEEDED}"


def diagnose_tree(tree: Any) -> str | None:
    """What a pickle that no family recognises seems to be, by its classes; None when there is no telling."""
    things = [tree, *tree] if isinstance(tree, (list, tuple)) and len(tree) < 100 else [tree]
    if any(isinstance(thing, Inert) and thing.class_name.startswith("dnnlib.tflib") for thing in things):
        return (
            "a StyleGAN of NVIDIA's TensorFlow days; convert it with legacy.py of NVIDIA's stylegan3 repository: "
            "python legacy.py --source=OLD.pkl --dest=NEW.pkl"
        )
    return None


_TO_GENERATOR = "the generator's weights are needed"
_NO_STYLES = "it has no style codes to edit; a GAN generator is needed"
_JUDGES = (
    "a discriminator, the half of a GAN that judges pictures; the generator is needed (g_ema, G_ema or "
    "generator_smooth in a training file)"
)
_PSP = (
    "an encoder such as pSp or e4e, whose decoder is a StyleGAN2 of rosinality's layout; take it out: "
    "from latentedit.checkpoints.checkpoint import read_checkpoint; torch.save({'g_ema': {k[8:]: v for k, v in "
    "read_checkpoint(FILE).state('state_dict').items() if k.startswith('decoder.')}}, 'decoder.pt')"
)
# Each answer holds when every pattern of one of its rows is found in some name. One name at a time and no nested
# repetition: names come from files, and must not make a search endless.
_BY_NAMES: tuple[tuple[str, tuple[tuple[str, ...], ...]], ...] = (
    (
        f"a LoRA, small changes to a diffusion or language model; {_NO_STYLES}",
        ((r"\blora_(up|down|A|B)\b",), (r"\blora_(unet|te\d?)_",)),
    ),
    (
        _PSP,
        ((r"\bencoder\.input_layer\.", r"\bdecoder\."),),
    ),
    (
        f"the encoder of a GAN (such as pSp or e4e), which turns pictures into codes; {_TO_GENERATOR}",
        ((r"\binput_layer\.0\.weight$", r"\bstyles\.\d+\."),),
    ),
    (
        f"a diffusion model (such as Stable Diffusion or SDXL); {_NO_STYLES}",
        ((r"\bmodel\.diffusion_model\.",), (r"\bdown_blocks\.\d+\.", r"\btime_embedding\.")),
    ),
    (
        f"the picture encoder and decoder (VAE or VQGAN) of a diffusion model; {_NO_STYLES}",
        ((r"\bfirst_stage_model\.",), (r"\b(post_)?quant_conv\.", r"\bdecoder\.")),
    ),
    (
        f"CLIP or a text encoder; {_NO_STYLES}",
        ((r"\btext_model\.encoder\.",), (r"\bvisual\.(trunk|transformer|conv1|patch|layer1)",)),
    ),
    (
        f"a language model; {_NO_STYLES}",
        (
            (r"\blayers\.\d+\.self_attn\.",), (r"\bh\.\d+\.attn\.c_attn\.",),
            (r"\bencoder\.layer\.\d+\.attention\.", "\\bword_embeddings\\."),
        ),
    ),
    (
        f"the Inception network of FID, which measures pictures; {_TO_GENERATOR}",
        ((r"\bMixed_7c\.",), (r"\bConv2d_1a_3x3\.",)),
    ),
    (
        f"the LPIPS network, which measures pictures; {_TO_GENERATOR}",
        ((r"\blin\d\.model\.\d\.weight$",), (r"\blins\.\d\.model\.\d\.weight$",)),
    ),
    (f"a face recogniser (ArcFace); {_TO_GENERATOR}", ((r"\bbody\.\d+\.res_layer\.", r"\binput_layer\."),)),
    (f"a DeepDanbooru tagger, which labels pictures; {_TO_GENERATOR}", ((r"\bn_Conv_\d+\.weight$",),)),
    (
        f"an image classifier (such as ResNet or VGG); {_TO_GENERATOR}",
        (
            (r"\blayer1\.0\.conv1\.weight$", r"\bfc\."), (r"\bfeatures\.\d+\.", r"\bclassifier\."),
            (r"\bblocks\.\d+\.attn\.qkv\.", r"\bhead\."), (r"^features\.28\.weight$",),
        ),
    ),
    (
        f"a CycleGAN or pix2pix generator; {_NO_STYLES}",
        ((r"\bmodel\.\d+\.conv_block\.",), (r"\bmodel\.model\.1\.model\.",)),
    ),
    (
        _JUDGES,
        (
            (r"\bconvs\.\d+\.conv1\.0\.weight$",), (r"\bfinal_linear\.\d\.weight$",),  # rosinality
            (r"\bb\d+\.fromrgb\.",), (r"\bb4\.out\.weight$",),  # NVIDIA
            (r"\binput\d+\.weight$", r"\blayer\d+\.weight$"),  # genforce
            (r"\bfrom_?rgbs?\.\d+\.",),
        ),
    ),
)  # fmt: skip
_MOMENTUM = re.compile(r"(^|\.)(exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|square_avg|step)$")
_CODES = {"boundary", "eigvec", "latent", "latents", "w", "ws", "w_plus", "codes", "style", "styles"}


def diagnose_tensors(tensors: Mapping[str, Tensor]) -> str | None:
    """What a file of tensors that no family recognises seems to be, in one line; None when there is no telling."""
    if not tensors:
        return (
            "it holds no tensors at all; save the generator's weights: torch.save(generator.state_dict(), 'weights.pt')"
        )
    names = [name[:1000] for name in list(tensors)[:20_000]]
    if all(_MOMENTUM.search(name) for name in names):
        return f"it seems to be the state of an optimiser, without the network; {_TO_GENERATOR}"
    for answer, rows in _BY_NAMES:
        if any(all(any(re.search(pattern, name) for name in names) for pattern in row) for row in rows):
            return f"it seems to be {answer}"
    other = _codes(tensors) or (_JUDGES if _narrows_to_one(tensors) else None)
    return f"it seems to be {other}" if other else None


def _codes(tensors: Mapping[str, Tensor]) -> str | None:
    """Directions or style codes."""
    if "direction" in tensors and "sigma" in tensors:
        return (
            "a file of directions of latentedit, which fit-directions wrote; give it to edit, with a generator's name"
        )
    last = {name.rpartition(".")[2] for name in tensors}
    if len(tensors) == 1 or last & _CODES and len(tensors) < 10:
        name, tensor = next((item for item in tensors.items() if item[0].rpartition(".")[2] in _CODES), None) or next(
            iter(tensors.items())
        )
        return (
            f"directions or codes rather than a network ({shown(name) or 'one tensor'}, shape {tuple(tensor.shape)}); "
            "latentedit convert reads such files"
        )
    return None


def _narrows_to_one(tensors: Mapping[str, Tensor]) -> bool:
    """Whether convolutions (out, in, k, k) lead from pictures to a single channel, as in DCGAN's discriminator."""
    shapes = [tuple(tensor.shape) for tensor in tensors.values() if tensor.ndim == 4]
    chained = all(first[0] == second[1] for first, second in zip(shapes, shapes[1:], strict=False))
    return len(shapes) > 2 and chained and shapes[0][1] in (1, 3, 4) and shapes[-1][0] == 1
