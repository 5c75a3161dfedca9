"""How much of a tagger's network is left when it tags: the whole way against the bare network, in one run.

    python benchmarks/tagging.py [--threads 1] [--quick]      # twenty minutes

*bare*: the network on a batch that is ready. *samples*: `latentedit.tag` on stored samples whose pictures come
ready-made, so 8-bit rounding, resizing, padding, scores and Parquet, but no generator. *worker*: the same with the
worker that prepares ahead, whether or not there is a core to spare. *files*: `tag_pictures` on PNG files. *one by one*:
the obvious loop, each picture read with Pillow and scored by itself. All in pictures a second, medians of rounds in
which they take turns; the ratios are to the bare network of the same rounds.

DeepDanbooru's network has the topology of its published model, resnet_custom_v3 (161 M weights, 9,176 tags), at 512
pixels, with random weights; the bundled tagger is what it is.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor

import latentedit as le
from latentedit.pictures.images import to_uint8
from latentedit.samples import fill
from latentedit.samples.tagging import tag_pictures
from latentedit.taggers.base import PictureTagger
from latentedit.taggers.deepdanbooru import TorchTagger
from latentedit.taggers.deepdanbooru_weights import Weights
from latentedit.taggers.networks.deepdanbooru import ResidualNetwork, arrange
from latentedit.taggers.prefetch import halves, one_ahead

V3 = ((256, 3), (512, 8), (1024, 20), (1024, 20), (2048, 3), (4096, 3))  # width and blocks of each stage


class ReadyMade:
    """A generator whose pictures are there already: code (i, 0) is picture i."""

    id, z_dim, dim, layers = "ready:0", 2, 2, ("w",)

    def __init__(self, pictures: Tensor) -> None:
        self.pictures, self.resolution = pictures, pictures.shape[-1]

    def map(self, z: Tensor, **_: object) -> Tensor:
        """z (n, 2) to codes (n, 2)."""
        return z

    def sample_codes(self, seeds: Sequence[int], **_: object) -> Tensor:
        """Codes (n, 2) of seeds."""
        return torch.tensor([[seed, 0] for seed in seeds], dtype=torch.float32)

    def decode(self, codes: Tensor, **_: object) -> Tensor:
        """Codes (n, 2) to pictures (n, 3, H, W)."""
        return self.pictures[codes[:, 0].long() % len(self.pictures)]

    def style_weights(self) -> dict[str, Tensor]:
        """None."""
        return {}


def published_deepdanbooru(size: int) -> TorchTagger:
    """DeepDanbooru's resnet_custom_v3 for 9,176 tags, with random weights."""
    random = torch.Generator().manual_seed(0)

    def kernel(outputs: int, inputs: int, side: int) -> tuple[Tensor, Tensor]:
        scale = math.sqrt(2 / (inputs * side * side))
        return torch.randn(outputs, inputs, side, side, generator=random) * scale, torch.zeros(outputs)

    kernels, width = [kernel(64, 3, 7)], 64
    for outer, blocks in V3:
        for i in range(blocks):
            kernels += [kernel(outer // 4, width, 1), kernel(outer // 4, outer // 4, 3)]
            last = kernel(outer, outer // 4, 1)
            kernels.append((last[0] * 0.1, last[1]))  # residual sums stay finite
            kernels += [kernel(outer, width, 1)] if i == 0 else []
            width = outer
    kernels.append(kernel(9176, width, 1))
    blocks_of = arrange([weight.shape for weight, _ in kernels], dense=False)
    network = ResidualNetwork(kernels, blocks_of, None).eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as it is loaded
    weights = Weights(Path("random"), size, size, [], {}, blocks_of)
    return TorchTagger(network, weights, tuple(f"tag_{i}" for i in range(9176)), "deepdanbooru:random")


def timed(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def race(tagger: PictureTagger, side: int, count: int, batch: int, rounds: int, folder: Path) -> dict[str, list[float]]:
    """Pictures a second of each way, one number a round."""
    pictures = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1
    files = folder / "pictures"
    files.mkdir(parents=True)
    for i, pixels in enumerate(to_uint8(pictures)):
        Image.fromarray(pixels).save(files / f"{i:05d}.png")
    generator = ReadyMade(pictures)
    stored = le.sample(generator, folder / "samples", n=count, shard_size=max(count, 1))
    prepare, predict = halves(tagger)
    ready = [prepare(pictures[start : start + batch]) for start in range(0, count, batch)]

    def bare() -> None:
        for one in ready:
            predict(one)

    def samples() -> None:
        shutil.copytree(folder / "samples", folder / "copy")
        le.tag(folder / "copy", generator, tagger, batch_size=batch)
        shutil.rmtree(folder / "copy")

    def worker() -> None:
        feed, fill.feed = fill.feed, lambda items, tagger: one_ahead(items)  # type: ignore[assignment]
        try:
            samples()
        finally:
            fill.feed = feed

    def one_by_one() -> None:
        for path in sorted(files.iterdir()):
            pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
            tagger.score(pixels[None].float() / 127.5 - 1)

    ways = {
        "bare": bare,
        "samples": samples,
        "worker": worker,
        "files": lambda: tag_pictures(files, tagger, batch_size=batch),
        "one by one": one_by_one,
    }
    assert stored.rows == count
    predict(ready[0])  # the first time costs more
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            rates[name].append(count / timed(work))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of torch  [default: all cores]")
    parser.add_argument("--tagger", choices=("deepdanbooru", "avatar"), help="[default: both]")
    parser.add_argument("--quick", action="store_true", help="one round, few pictures, DeepDanbooru at 128 pixels")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    rounds, size = (1, 128) if options.quick else (options.rounds, 512)
    cases: list[tuple[str, Callable[[], PictureTagger], int, int, int]] = [
        ("DeepDanbooru v3", lambda: published_deepdanbooru(size), 256, 8 if options.quick else 16, 8),
        ("avatar", lambda: le.load_tagger("avatar"), 128, 64 if options.quick else 1024, 32),  # type: ignore[list-item,return-value]
    ]
    table = Table(
        "tagger",
        "pictures",
        "way",
        "pictures a second",
        "of the bare network",
        title=f"{rounds} rounds, {torch.get_num_threads()} threads",
    )
    for name, make, side, count, batch in cases:
        if options.tagger and not name.lower().startswith(options.tagger):
            continue
        tagger = make()
        with tempfile.TemporaryDirectory() as folder:
            rates = race(tagger, side, count, batch, rounds, Path(folder))
        for way, found in rates.items():
            ratios = [rate / bare for rate, bare in zip(found, rates["bare"], strict=True)]
            shown = f"{median(ratios):.1%} ({min(ratios):.1%} to {max(ratios):.1%})"
            table.add_row(name, f"{count} of {side} px", way, f"{median(found):.2f}", "" if way == "bare" else shown)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
