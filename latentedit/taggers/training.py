"""Trains a judge: a classifier of labelled pictures, independent of the tagger that directions are fitted with.

The folder holds pictures and ``labels.csv``, in the syntax of the ``csv:`` tagger with a column ``file``. A checkpoint
beside the result is written after every epoch; the same call goes on from it and ends with the same weights.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from latentedit import __version__
from latentedit.checkpoints.checkpoint import read_checkpoint
from latentedit.errors import DamagedFileError, LatentEditError, UnknownNameError
from latentedit.files import sha256_of
from latentedit.pictures.folder import tell_unreadable, unreadable_among
from latentedit.pictures.images import list_pictures, read_pixels
from latentedit.taggers.judge import FORMAT, SCHEMA, Judge, normalised, read_judge, resized
from latentedit.taggers.label_names import meant_pictures
from latentedit.taggers.labels import read_named_labels
from latentedit.taggers.networks.resnet import NETWORKS, ResidualNetwork
from latentedit.taggers.tag_names import found_tag
from latentedit.tensorfile import read_safetensors, write_safetensors

STATE = "latentedit.judge-in-training"
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class JudgeReport:
    """What a judge reaches on the pictures that were held out.

    Attributes:
        tags: k of them.
        accuracy: (k,) share of the pictures that are told right at 0.5.
        average_precision: (k,) area under the precision-recall curve; NaN where nobody carries the tag.
        support: (k,) held-out pictures that carry it.
        pictures: trained on, held out.
        unlabelled, missing: pictures without a row, rows without a picture.
        dropped: tags that all or none of the pictures carry.
        path: of the file.
    """

    tags: tuple[str, ...]
    accuracy: tuple[float, ...]
    average_precision: tuple[float, ...]
    support: tuple[int, ...]
    pictures: tuple[int, int]
    unlabelled: int
    missing: int
    dropped: tuple[str, ...]
    path: Path


@dataclass(frozen=True)
class Recipe:
    """How a judge is trained; what changes its weights.

    Attributes:
        network: a key of :data:`latentedit.taggers.networks.resnet.NETWORKS`.
        size: side of its input.
        epochs: passes over the pictures.
        batch_size: pictures a step.
        learning_rate: of AdamW, falling to zero along half a cosine.
        flip: mirror half of the pictures; wrong for tags such as looking_left.
        blur: soften half of the pictures, since generators draw softer than artists.
        seed: of everything random.
    """

    network: str = "resnet50"
    size: int = 128
    epochs: int = 20
    batch_size: int = 32
    learning_rate: float = 1e-3
    flip: bool = True
    blur: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise UnknownNameError("network", self.network, NETWORKS)
        if self.size < 16 or self.epochs < 1 or self.batch_size < 2 or not self.learning_rate > 0:
            raise LatentEditError(
                f"size {self.size}, {self.epochs} epochs, batches of {self.batch_size}, learning rate "
                f"{self.learning_rate}: they must be 16 or more, 1 or more, 2 or more, and positive"
            )


@dataclass(frozen=True)
class LabelledPictures:
    """Pictures (n, 3, size, size) uint8 and labels (n, k) float32 in {0, 1, NaN: not known}, with what was left out."""

    pictures: Tensor
    labels: Tensor
    tags: tuple[str, ...]
    unlabelled: int
    missing: int
    dropped: tuple[str, ...]


def train_judge(
    folder: str | Path,
    out: str | Path = "judge.safetensors",
    *,
    labels: str | Path | None = None,
    tags: Sequence[str] | None = None,
    recipe: Recipe | None = None,
    validation: float = 0.1,
    start: str | Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
) -> JudgeReport:
    """Train a judge on a labelled folder and write it.

    Args:
        folder: pictures and ``labels.csv``; or the layout of selfie2anime, whose ``trainB`` is meant.
        out: file of the judge.
        labels: the table, when it lies elsewhere.
        tags: of the table, to train on; all when None.
        recipe: how.
        validation: share of the pictures that is held out.
        start: weights of the same network to start from, as torchvision publishes them; their last layer is left out.
        device: as in torch.
        progress: called with (pictures seen, pictures to see in all).

    Raises:
        LatentEditError: no labels, too few pictures, a tag that is not labelled, weights of another network.
    """
    recipe, out = recipe or Recipe(), Path(out)
    place, table = _find_labels(Path(folder), labels)
    held = read_labelled(place, table, recipe.size, tags=tags)
    order = np.random.RandomState(recipe.seed).permutation(len(held.labels))
    count = max(1, round(validation * len(order)))
    if len(order) - count < 2:
        raise LatentEditError(f"{place} has {len(order)} labelled pictures; a judge needs three or more")
    test, train = np.sort(order[:count]), np.sort(order[count:])
    torch.manual_seed(recipe.seed)
    network = ResidualNetwork(recipe.network, len(held.tags))
    if start is not None:
        _start_from(network, start, recipe.network)
    network = network.to(device)
    settings = json.dumps(
        [
            asdict(recipe),
            held.tags,
            len(train),
            sha256_of(table)[:12],
            None if start is None else sha256_of(Path(start)),
        ]
    )
    state = _state_of(out)
    _train(network, held.pictures[train], held.labels[train], recipe, state, settings, progress)
    judge = Judge(network, held.tags, recipe.size, {}, device=torch.device(device), dtype=torch.float32)
    report = _report(judge, held, test, len(train), out)
    _write(out, network, recipe, report)
    state.unlink(missing_ok=True)
    return report


def is_begun(out: str | Path) -> bool:
    """Whether a stopped training of this judge has kept an epoch."""
    return _state_of(Path(out)).exists()


def _state_of(out: Path) -> Path:
    return out.with_name(f".{out.name}.training")


def read_labelled(folder: Path, table: Path, size: int, *, tags: Sequence[str] | None = None) -> LabelledPictures:
    """The labelled pictures of a folder, cropped to their middle square and resized.

    Raises:
        LatentEditError: no picture has a label, or all have the same.
    """
    known, rows = read_named_labels(table)
    paths = {path.name: path for path in list_pictures(folder)}
    meant = meant_pictures(rows, paths)
    rows = {meant.get(name, name): values for name, values in rows.items()}
    names = [name for name in sorted(paths) if name in rows]
    if not names:
        raise LatentEditError(
            f"{table} labels no picture of {folder}: it names {next(iter(rows))}, ..., "
            f"the folder has {next(iter(paths))}, ..."
        )
    tags = None if tags is None else [found_tag(tag, known, "label") for tag in tags]
    found = len(names)
    pictures = _read(folder, [paths[name] for name in names], size)
    if len(pictures) < len(names):
        names = [name for name in names if paths[name] in pictures]
    scores = np.stack([rows[name] for name in names])  # (n, k)
    labelled = ~np.isnan(scores)
    values = np.where(labelled, scores >= 0.5, np.nan)
    wanted = [i for i, tag in enumerate(known) if tags is None or tag in tags]
    kept = [i for i in wanted if 0 < np.nansum(values[:, i]) < labelled[:, i].sum()]
    dropped = tuple(known[i] for i in wanted if i not in kept)
    if not kept:
        raise LatentEditError(f"{table}: all pictures carry the same labels; there is nothing to tell apart")
    if partial := [f"{known[i]} {labelled[:, i].sum()}" for i in kept if not labelled[:, i].all()]:
        more = f" and {len(partial) - 5} more tags" if len(partial) > 5 else ""
        warnings.warn(f"labelled on some of {len(names)} pictures: {', '.join(partial[:5])}{more}", stacklevel=3)
    return LabelledPictures(
        torch.stack([pictures[paths[name]] for name in names]), torch.from_numpy(values[:, kept].astype(np.float32)),
        tuple(known[i] for i in kept), len(paths) - found, len(rows) - found, dropped,
    )  # fmt: skip


def _read(folder: Path, paths: Sequence[Path], size: int) -> dict[Path, Tensor]:
    """The middle squares of pictures, (3, size, size) uint8; of those that can be read, the others are told."""
    found: dict[Path, Tensor] = {}

    def read(path: Path) -> None:
        whole = read_pixels(path)
        side = min(whole.shape[1:])
        top, left = (whole.shape[1] - side) // 2, (whole.shape[2] - side) // 2
        small = resized(whole[None, :, top : top + side, left : left + side], size)
        found[path] = (small * 255).round().to(torch.uint8)[0]

    bad = unreadable_among(paths, read)
    tell_unreadable(str(folder), len(paths), bad, none_left=not found)
    return found


def _find_labels(folder: Path, labels: str | Path | None) -> tuple[Path, Path]:
    """The folder of the pictures and the table of their labels."""
    place = folder / "trainB" if (folder / "trainB").is_dir() else folder
    tried = [Path(labels)] if labels is not None else [place / "labels.csv", folder / "labels.csv"]
    for table in tried:
        if table.is_file():
            return place, table
    raise LatentEditError(
        f"no labels at {tried[0]}; a judge learns from pictures and a table with the columns file and tags, "
        "or file and a column a tag (--labels FILE when it lies elsewhere)"
    )


def _start_from(network: ResidualNetwork, path: str | Path, name: str) -> None:
    """Take over published weights but for the last layer."""
    own = network.state_dict()
    wanted = [key for key in own if not key.startswith("fc.") and not key.endswith("num_batches_tracked")]
    state = read_checkpoint(path).state_with(wanted)
    found = {key: value.float() for key, value in state.items() if not key.startswith("fc.") and key in own}
    for key in wanted:
        if key not in found or found[key].shape != own[key].shape:
            raise LatentEditError(
                f"{path} does not hold the weights of a {name} in torchvision's names: {key} does not fit"
            )
    network.load_state_dict(own | found)


# ---- training


def _train(
    network: ResidualNetwork, pictures: Tensor, labels: Tensor, recipe: Recipe, state: Path, settings: str,
    progress: Progress | None,
) -> None:  # fmt: skip
    """All epochs that are left; the state is written after each."""
    optimizer = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=0.01)
    n, steps = len(pictures), -(-len(pictures) // recipe.batch_size)
    device = next(network.parameters()).device
    for epoch in range(_resume(network, optimizer, state, settings), recipe.epochs):
        random = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
        network.train()
        for i, rows in enumerate(torch.randperm(n, generator=random).split(recipe.batch_size)):
            if len(rows) < 2:
                continue  # batch normalisation needs two
            share = (epoch * steps + i) / (recipe.epochs * steps)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * 0.5 * (1 + np.cos(np.pi * share))
            batch = varied(pictures[rows].float() / 255, random, flip=recipe.flip, blur=recipe.blur)
            loss = _known_loss(network(normalised(batch.to(device))), labels[rows].to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if progress:
                progress(epoch * n + min(n, (i + 1) * recipe.batch_size), recipe.epochs * n)
        _keep(network, optimizer, state, settings, epoch + 1)


def _known_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of logits (n, k) over the labels (n, k) that are known; 0 where none is."""
    known = labels.isfinite()
    each = F.binary_cross_entropy_with_logits(logits[known], labels[known], reduction="none")
    return each.sum() / max(len(each), 1)


def varied(images: Tensor, random: torch.Generator, *, flip: bool, blur: bool) -> Tensor:
    """Pictures (n, 3, s, s) in [0, 1], each mirrored, softened, shifted by up to a sixteenth, and lit at random."""
    n, _, size, _ = images.shape
    coin = torch.rand(3, n, generator=random)
    light = 1 + 0.2 * (torch.rand(n, 1, 1, 1, generator=random) - 0.5)
    if flip:
        images = torch.where((coin[0] < 0.5)[:, None, None, None], images.flip(3), images)
    if blur:
        soft = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, 1)
        amount = torch.where(coin[1] < 0.5, coin[2], torch.zeros(n))[:, None, None, None]
        images = images + amount * (soft - images)
    reach = size // 16
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    tops, lefts = torch.randint(0, 2 * reach + 1, (2, n), generator=random).tolist()
    shifted = [padded[i, :, t : t + size, x : x + size] for i, (t, x) in enumerate(zip(tops, lefts, strict=True))]
    return (torch.stack(shifted) * light).clamp(0, 1)


def _keep(network: ResidualNetwork, optimizer: torch.optim.Optimizer, path: Path, settings: str, epoch: int) -> None:
    arrays = {f"network.{name}": value.cpu().numpy() for name, value in network.state_dict().items()}
    for i, kept in optimizer.state_dict()["state"].items():
        arrays |= {f"optimizer.{i}.{name}": value.cpu().numpy() for name, value in kept.items()}
    metadata = {
        "format": STATE,
        "schema": "1",
        "settings": settings,
        "epoch": str(epoch),
        "names": json.dumps([*arrays]),
    }
    write_safetensors(path, arrays, metadata)


def _resume(network: ResidualNetwork, optimizer: torch.optim.Optimizer, path: Path, settings: str) -> int:
    """Epochs that a stopped run with the same settings has done; its state is taken over."""
    if not path.exists():
        return 0
    try:
        _, metadata = read_safetensors(path, format=STATE, schema=1, names=())
        if metadata.get("settings") != settings:
            return 0
        arrays, _ = read_safetensors(path, format=STATE, schema=1, names=json.loads(metadata["names"]))
    except DamagedFileError:
        return 0
    network.load_state_dict({k.removeprefix("network."): torch.from_numpy(v) for k, v in arrays.items() if k[0] == "n"})
    whole: dict[str, Any] = optimizer.state_dict()
    for name, value in arrays.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            i, _, key = rest.partition(".")
            whole["state"].setdefault(int(i), {})[key] = torch.from_numpy(value)
    optimizer.load_state_dict(whole)
    return int(metadata["epoch"])


# ---- the result


def _report(judge: Judge, held: LabelledPictures, test: np.ndarray, trained: int, out: Path) -> JudgeReport:
    from sklearn.metrics import average_precision_score

    scores = torch.cat([judge.predict(judge.prepare(part)) for part in held.pictures[test].split(64)]).cpu().numpy()
    labels = held.labels[test].numpy()
    right, precision, carriers = [], [], []
    for j in range(len(held.tags)):
        known = ~np.isnan(labels[:, j])
        truth, found = labels[known, j] >= 0.5, scores[known, j]
        carriers.append(int(truth.sum()))
        right.append(float(((found >= 0.5) == truth).mean()) if len(truth) else float("nan"))
        precision.append(float(average_precision_score(truth, found)) if truth.any() else float("nan"))
    sizes = (trained, len(test))
    return JudgeReport(
        held.tags, tuple(right), tuple(precision), tuple(carriers), sizes, held.unlabelled, held.missing, held.dropped,
        out,
    )  # fmt: skip


def _write(out: Path, network: ResidualNetwork, recipe: Recipe, report: JudgeReport) -> None:
    """The judge in half precision, with what it was trained on and reaches."""
    reached = {
        tag: {
            "accuracy": None if np.isnan(a) else round(a, 4),
            "average_precision": None if np.isnan(p) else round(p, 4),
        }
        for tag, a, p in zip(report.tags, report.accuracy, report.average_precision, strict=True)
    }
    about = asdict(recipe) | {
        "tags": report.tags,
        "pictures": report.pictures,
        "held_out": reached,
        "latentedit": __version__,
    }
    arrays = {name: value.cpu() for name, value in network.state_dict().items()}
    halved = {name: (v.half() if v.is_floating_point() else v).numpy() for name, v in arrays.items()}
    write_safetensors(out, halved, {"format": FORMAT, "schema": str(SCHEMA), "judge": json.dumps(about)})
    read_judge(out)
