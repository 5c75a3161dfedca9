"""``clip:FOLDER`` or ``clip:ID``: zero-shot tags by CLIP (Radford et al., 2021), for what no tagger was trained on.

A folder is in Hugging Face's layout: ``config.json``, ``model.safetensors``, the tokenizer's files and
``preprocessor_config.json``. Anything that is no folder is taken as an id of the hub, such as
``openai/clip-vit-base-patch32``, and fetched or found in the hub's cache.

Each tag has an antonym pair of prompts (Wang et al., 2023, "Exploring CLIP for Assessing the Look and Feel of
Images"): its score is the softmax over the two similarities, that is the probability that the picture is what the
positive text says rather than what the negative one says. Several texts on a side are one: their normalised
embeddings are averaged and normalised again (Radford et al., 2021, section 3.1.4, prompt ensembling). The texts are
in ``directions/prompts.toml``, or in the file that the option ``prompts`` names.

Pictures are prepared as CLIP's own are: the shorter side is resized and the middle cut out, so the ends of an oblong
picture are not seen.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import home_of, visible_files
from latentedit.generators.base import weights_id
from latentedit.lookalikes import lookalike
from latentedit.registry import check_options
from latentedit.shipped import shipped
from latentedit.taggers.base import PictureTagger
from latentedit.taggers.clip_prompts import Prompt, keep, read_prompts

PROMPTS = "directions/prompts.toml"
_FILES = (("config.json",), ("model.safetensors", "model.safetensors.index.json"),
          ("tokenizer.json", "vocab.json"), ("tokenizer.json", "merges.txt"),
          ("preprocessor_config.json",))  # fmt: skip
_PREPARATION = ("size", "crop_size", "resample", "rescale_factor", "image_mean", "image_std",
                "do_resize", "do_center_crop", "do_rescale", "do_normalize")  # fmt: skip
_TEXTS_AT_ONCE = 64
_NARROWEST = 64  # the longer side by the shorter one; what is resized grows with it


class ClipTagger(PictureTagger):
    """A CLIP model with prompts.

    Args:
        parts: what was loaded, the model on its device and in its precision.
        prompts: a tag's texts each.
        id: of the tagger.
        source: name of the prompts' file.

    Raises:
        LatentEditError: a prompt is too long, or the parts do not belong together.
    """

    threshold = 0.5

    def __init__(self, parts: Parts, prompts: Sequence[Prompt], id: str, source: str) -> None:
        self.id, self.tags = id, tuple(prompt.tag for prompt in prompts)
        self._parts = parts
        self.device = parts.model.device
        side = parts.model.config.vision_config.image_size
        self.settings = {
            "size": f"{side} x {side}",
            "resize": "shorter side, centre crop",
            "prompts": source,
            "tags": str(len(self.tags)),
        }
        tried = torch.zeros(1, 3, 5, 7, dtype=torch.uint8)
        shape = tuple(_called(parts.name, "preprocessor_config.json", lambda: self.prepare(tried)).shape)
        if shape != (1, 3, side, side):
            raise DamagedFileError(
                f"{parts.name}: preprocessor_config.json makes pictures of {shape[3]} x {shape[2]} pixels and the "
                f"model takes {side} x {side}; the files do not belong together"
            )
        embedded = _embed(parts, sorted({text for p in prompts for text in (*p.positive, *p.negative)}))
        sides = [[_average([embedded[text] for text in s]) for s in (p.positive, p.negative)] for p in prompts]
        self._texts = torch.stack([torch.stack(pair) for pair in sides])  # (tags, 2, dim)
        self._scale = float(parts.model.logit_scale.float().exp())

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (n, 3, H, W) uint8 to (n, 3, side, side) float32, as the model was trained on.

        Raises:
            LatentEditError: pictures are more than 64 times longer than wide, or wider than long.
        """
        height, width = pictures.shape[2:]
        if max(height, width) > _NARROWEST * min(height, width):
            raise LatentEditError(
                f"pictures are {width} x {height} pixels, of which only the middle would be seen; crop them"
            )
        images = [Image.fromarray(pixels) for pixels in pictures.permute(0, 2, 3, 1).cpu().numpy()]
        prepared: Tensor = self._parts.processor(images=images, return_tensors="pt")["pixel_values"]
        return prepared

    @torch.inference_mode()
    def predict(self, prepared: Tensor) -> Tensor:
        """Pictures (n, 3, side, side) as prepared to scores (n, tags) float32.

        Raises:
            LatentEditError: the model gives NaN or infinity.
        """
        if not len(prepared):
            return torch.zeros(0, len(self.tags))
        model = self._parts.model
        seen = model.vision_model(pixel_values=prepared.to(self._texts.device, model.dtype)).pooler_output
        images = F.normalize(model.visual_projection(seen).float(), dim=-1)  # (n, dim)
        if not torch.isfinite(images).all():
            raise LatentEditError(f"{self._parts.name} gave NaN or infinity in {model.dtype}; use float32")
        logits = self._scale * torch.einsum("nd,tsd->nts", images, self._texts)
        return logits.softmax(-1)[..., 0]


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> ClipTagger:
    """The tagger that a CLIP model is with prompts.

    Args:
        argument: folder, or id of the hub.
        options: ``prompts``, a file in place of the shipped one; ``tags``, those to keep, with commas between.
        device: where the model goes.
        dtype: of its weights; scores are float32.

    Raises:
        DamagedFileError: a file is missing or damaged.
        LatentEditError: it is no CLIP model, cannot be fetched, transformers is missing, or prompts or options are
            wrong.
    """
    known = {"prompts": "a TOML file in place of the shipped one", "tags": "those to keep, with commas between"}
    check_options("clip", options, known)
    if not argument:
        raise LatentEditError("clip needs a model's folder or id, as in clip:openai/clip-vit-base-patch32")
    path = Path(home_of(options["prompts"])) if "prompts" in options else shipped(PROMPTS)
    prompts = read_prompts(path)
    if "tags" in options:
        prompts = keep(prompts, options["tags"])
    with _quiet() as transformers:
        parts = Parts.open(transformers, argument)
        identity = _identity(parts, prompts)
        parts.model.to(device, dtype)
        return ClipTagger(parts, prompts, identity, path.name)


@dataclass(frozen=True)
class Parts:
    """A model and what belongs to it.

    Attributes:
        name: folder or id, for messages.
        model: ``CLIPModel``, frozen.
        tokenizer: texts to tokens.
        processor: pictures to the model's input.
    """

    name: str
    model: Any
    tokenizer: Any
    processor: Any

    @classmethod
    def open(cls, transformers: Any, name: str) -> Parts:
        """Load a folder or id, the weights in float32; no code of theirs runs.

        Raises:
            DamagedFileError: a file of a folder is missing or damaged, or weights are missing.
            LatentEditError: it cannot be fetched, or is no CLIP model.
        """
        if Path(name).is_dir():
            _check_files(Path(name))
        elif Path(name).exists():
            raise LatentEditError(f"{name} is a file; name the folder that holds it")
        elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
            raise DamagedFileError(f"no folder at {name}; clip takes a model's folder, or an id of the hub")
        config, _ = _called(name, "config.json", lambda: transformers.CLIPConfig.get_config_dict(name))
        held = config.get("model_type") if isinstance(config, dict) else None
        if held != "clip":
            raise LatentEditError(
                f"{name} holds a model of type {held!r}, not 'clip'; CLIP in Hugging Face's layout is needed, such as "
                "openai/clip-vit-base-patch32"
            )
        given = {"use_safetensors": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
        model, info = _called(name, "the weights", lambda: transformers.CLIPModel.from_pretrained(name, **given))
        if wrong := sorted({*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])}):
            raise DamagedFileError(
                f"{name}: its weights lack {wrong[0]}, or have it in another shape than config.json asks for "
                f"({len(wrong)} tensors in all); download it again"
            )
        # Pillow's resizing whether or not torchvision is there, so that scores do not depend on what is installed.
        kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
        return cls(
            name,
            model.float().eval().requires_grad_(False),
            _called(name, "the tokenizer", lambda: transformers.CLIPTokenizer.from_pretrained(name)),
            _called(name, "preprocessor_config.json", lambda: kind.from_pretrained(name)),
        )


def _check_files(folder: Path) -> None:
    for names in _FILES:
        found = [name for name in names if (folder / name).is_file()]
        for name in found:
            if (kind := lookalike(folder / name)) is not None and kind.kind != "safetensors":
                raise DamagedFileError(f"{folder / name}: {kind}")
        if not found:
            if names[0] == "model.safetensors" and [*visible_files(folder, "*.bin"), *visible_files(folder, "*.pt")]:
                raise DamagedFileError(
                    f"{folder} has its weights as a pickle only, which may carry code; take a model.safetensors"
                )
            raise DamagedFileError(f"{folder} has no {' or '.join(names)}; download the whole folder of the model")


def _called(name: str, what: str, call: Callable[[], Any]) -> Any:
    """What a call into transformers gives; what it raises, classes of many packages, as one line."""
    try:
        return call()
    except MemoryError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = (lines[0] if lines else type(error).__name__)[:200]
        if Path(name).is_dir():
            raise DamagedFileError(f"{name}: {what} cannot be read ({reason}); download it again") from error
        raise LatentEditError(
            f"no folder {name!r} is here, and {what} cannot be fetched from the hub ({reason}); download the model's "
            f"folder and name it, as in clip:./{name.rpartition('/')[2]}"
        ) from error


@contextmanager
def _quiet() -> Iterator[Any]:
    """transformers, which says nothing while it loads.

    Raises:
        LatentEditError: it is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import transformers
        except ImportError as error:
            reason = " ".join(str(error).split())
            raise LatentEditError(f"clip needs transformers ({reason}); pip install 'latentedit[clip]'") from error
        say, hub = transformers.utils.logging, logging.getLogger("huggingface_hub")
        before, hub_before, bars = say.get_verbosity(), hub.level, say.is_progress_bar_enabled()
        say.set_verbosity(logging.CRITICAL)
        hub.setLevel(logging.CRITICAL)
        say.disable_progress_bar()
        try:
            yield transformers
        finally:
            say.set_verbosity(before)
            hub.setLevel(hub_before)
            if bars:
                say.enable_progress_bar()


def _identity(parts: Parts, prompts: Sequence[Prompt]) -> str:
    """``clip:`` and 12 hexadecimal digits over weights, preparation, texts and their tokens."""
    settings = parts.processor.to_dict()
    described = {
        "weights": weights_id("clip", parts.model.state_dict()),
        "preparation": {key: settings.get(key) for key in _PREPARATION},
        "prompts": [[p.tag, p.positive, p.negative] for p in prompts],
        "tokens": [parts.tokenizer([*p.positive, *p.negative])["input_ids"] for p in prompts],
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode())
    return f"clip:{digest.hexdigest()[:12]}"


@torch.inference_mode()
def _embed(parts: Parts, texts: Sequence[str]) -> dict[str, Tensor]:
    """Embedding (dim,) float32, of norm 1, of each text.

    Raises:
        LatentEditError: a text is too long, or the tokenizer is not the model's.
    """
    model = parts.model
    for text, tokens in zip(texts, parts.tokenizer(list(texts))["input_ids"], strict=True):
        _check_tokens(parts, text, tokens)
    found: list[Tensor] = []
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        batch = parts.tokenizer(list(texts[start : start + _TEXTS_AT_ONCE]), padding=True, return_tensors="pt")
        read = model.text_model(**batch.to(model.device)).pooler_output
        found += F.normalize(model.text_projection(read).float(), dim=-1)
    for text, embedding in zip(texts, found, strict=True):
        if not torch.isfinite(embedding).all():
            raise LatentEditError(f"{parts.name} gave NaN or infinity for {text!r} in {model.dtype}; use float32")
    return dict(zip(texts, found, strict=True))


def _check_tokens(parts: Parts, text: str, tokens: Sequence[int]) -> None:
    """Check that a text fits, and ends as the model expects it: that is where it reads the meaning off."""
    config = parts.model.config.text_config
    if len(tokens) > config.max_position_embeddings:
        raise LatentEditError(
            f"the prompt {text[:60]!r} has {len(tokens)} tokens, and {parts.name} reads up to "
            f"{config.max_position_embeddings}; shorten it"
        )
    # Configurations before 2023 say 2 whatever the token is; the model then takes the highest one.
    end = max(tokens, default=-1) if config.eos_token_id == 2 else config.eos_token_id
    if not tokens or max(tokens) >= config.vocab_size or tokens[-1] != end or list(tokens).count(end) != 1:
        raise DamagedFileError(
            f"{parts.name}: its tokenizer makes {list(tokens)[:12]} of {text[:60]!r}, which the model cannot read; the "
            "files do not belong together"
        )


def _average(embeddings: list[Tensor]) -> Tensor:
    return F.normalize(torch.stack(embeddings).mean(0), dim=-1)
