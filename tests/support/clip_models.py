"""A small CLIP model with random weights and a real tokenizer, saved as models of the hub are."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers

SIDE = 32  # pixels of the model's input
CONTEXT = 77  # tokens


def alphabet() -> list[str]:
    """The 256 signs that stand for bytes in byte-level byte-pair encoding (Radford et al., 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in plain] + [chr(256 + i) for i in range(256 - len(plain))]


def write_tokenizer(folder: Path) -> int:
    """``vocab.json`` and ``merges.txt`` that know a few whole words; gives the number of tokens."""
    merges, words = [], ["long</w>", "short</w>", "hair</w>", "an</w>", "face</w>", "anime</w>", "with</w>"]
    pieces: list[str] = []
    for word in words:
        letters = [*word[:-4]]
        letters[-1] += "</w>"
        left = letters[0]
        for right in letters[1:]:
            if (left, right) not in merges:
                merges.append((left, right))
                pieces.append(left + right)
            left += right
    tokens = [*alphabet(), *(sign + "</w>" for sign in alphabet()), *pieces, "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(tokens)}), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(tokens)


def write_clip(folder: Path, *, seed: int = 0, old_end: bool = False) -> Path:
    """A folder with everything, made if it is missing.

    Args:
        seed: of the weights.
        old_end: the configuration says 2 for the last token, as those of OpenAI's own models do.
    """
    folder.mkdir(parents=True, exist_ok=True)
    count = write_tokenizer(folder)
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    end = 2 if old_end else count - 1
    text = {**layers, "vocab_size": count, "max_position_embeddings": CONTEXT}
    config = transformers.CLIPConfig(
        text_config={**text, "bos_token_id": count - 2, "eos_token_id": end, "pad_token_id": count - 1},
        vision_config={**layers, "image_size": SIDE, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(seed)
    model = transformers.CLIPModel(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:  # the usual start is so small that pictures hardly differ
                weight.mul_(4 if "embedding" in name else 2)
        model.logit_scale.fill_(4.6)  # about 100, where training ends
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    kind = getattr(transformers, "CLIPImageProcessorPil", None) or transformers.CLIPImageProcessor
    kind(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder
