"""The generator's own pictures: the carriers of each tag, its lackers, and what two unrelated networks see in them.

::

    networks, note = natural_networks(judge)
    own = draw_own(generator, judge, ["long_hair", "glasses"], faces, networks=networks)
    own.ceiling("long_hair")                      carriers' mean score less lackers'
    le.rescore(generator, judge, editor, edits, faces, own=own)      naturalness, gap and ceiling of every edit

One pass serves all tags and all editors: pictures are decoded with the contents, class, truncation and noise of the
faces that are measured, in the order of their seeds, until every tag has enough carriers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentedit.editing.faces import Faces, FacesLike
from latentedit.errors import LatentEditError, MismatchError
from latentedit.generators import Generator
from latentedit.metrics.features import DEFAULT_FEATURES, FeatureNetwork, load_features
from latentedit.metrics.intervals import Estimate, difference_of_means, in_turn
from latentedit.pictures.pieces import in_pieces
from latentedit.samples.fill import checked_scores
from latentedit.taggers import Tagger
from latentedit.taggers.base import thresholds_of
from latentedit.taggers.tag_names import known_tag, known_tags

WANTED = 600
"""Carriers of a tag: a reference of 400 that edited pictures are compared with, and 200 fresh ones that are compared
with it in the same way, to know what a natural picture reads; two thirds and a third where there are fewer."""
FEWEST = 60
"""Carriers below which nothing is said."""
MOST = 6_000
"""Own pictures that are drawn at most."""
FIRST_OWN = 2_000_000
"""Seed of the first of them: far from those that directions are fitted on and edits are measured on."""
JUDGE = "judge"
"""What the judge's own trunk is called among the networks."""

Network = Callable[[Tensor], Tensor]
"""Pictures (n, 3, H, W) in [-1, 1] to features (n, f)."""
Progress = Callable[[int, int], None]


def natural_networks(
    judge: Tagger, features: str | FeatureNetwork | None = DEFAULT_FEATURES, *, device: str | torch.device = "cpu"
) -> tuple[dict[str, Network], str]:
    """The networks that naturalness is seen with: a feature network, and the judge's trunk where it gives one.

    Args:
        judge: with ``features(images) -> (n, f)``, or without.
        features: a feature network, or the name of one; None: the judge alone.
        device: where a named one runs.

    Returns:
        Name → network, two of them at best; and what a table must say where one is missing, else "".
    """
    found: dict[str, Network] = {}
    missing = []
    try:
        network = load_features(features, device=device) if isinstance(features, str) else features
        if network is not None:
            found[network.name] = network.features
    except LatentEditError as error:
        missing.append(str(error))
    trunk = getattr(judge, "features", None)
    if callable(trunk):
        found[JUDGE] = trunk
    else:
        missing.append(f"the judge {judge.id} gives no features")
    if not missing:
        return found, ""
    why = "; ".join(missing)
    return found, f"naturalness by {' and '.join(found)} alone: {why}" if found else f"no naturalness: {why}"


def network_id(network: Network) -> str:
    """The id of whose method a network is; "" where it is nobody's."""
    return str(getattr(getattr(network, "__self__", None), "id", ""))


@dataclass(frozen=True, eq=False)
class OwnPictures:
    """Pictures that the generator drew by itself.

    Attributes:
        targets: the tags whose carriers were looked for.
        tags: of the judge, k of them.
        thresholds: (k,) score from which each counts as present.
        scores: (n, k) float32 of every picture, in the order of the seeds.
        rows: (r,) the pictures whose features are kept: the first 600 carriers of each target.
        features: network → (r, f) float32.
        groups: (n,) which pictures share a content; None when all or none do.
        networks: the same networks, for pictures to come; empty when read from a file.
        provenance: what they depend on; JSON values.
    """

    targets: tuple[str, ...]
    tags: tuple[str, ...]
    thresholds: np.ndarray
    scores: np.ndarray
    rows: np.ndarray
    features: Mapping[str, np.ndarray]
    groups: np.ndarray | None = None
    networks: Mapping[str, Network] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.scores)

    def check(self, generator: Generator, judge: Tagger) -> None:
        """Refuse to be compared with pictures of another generator, or of another judge's scores.

        Raises:
            MismatchError: they belong to others.
            LatentEditError: features were kept, and no networks to see other pictures with.
        """
        for kind, thing in (("generator", generator), ("judge", judge)):
            if self.provenance.get(kind, thing.id) != thing.id:
                raise MismatchError(
                    f"own pictures are of the {kind} {self.provenance[kind]}, not {thing.id}; draw again"
                )
        if self.tags != tuple(judge.tags):
            raise MismatchError(f"own pictures were scored for other tags than {judge.id} has; draw them again")
        if self.features and not self.networks:
            raise LatentEditError("own pictures have lost their networks; draw them again")

    def carrying(self, tag: str) -> np.ndarray:
        """Which pictures (n,) carry a tag.

        Raises:
            LatentEditError: the judge does not measure it.
        """
        column = self._column(tag)
        carrying: np.ndarray = self.scores[:, column] >= self.thresholds[column]
        return carrying

    def carriers(self, tag: str) -> np.ndarray:
        """Places in ``rows`` of the first 600 carriers of a target; none where there are fewer than 60.

        Raises:
            LatentEditError: it is none of the targets.
        """
        if tag not in self.targets:
            raise LatentEditError(f"carriers were drawn of {', '.join(self.targets)}, not of {tag!r}; draw them again")
        found = np.flatnonzero(self.carrying(tag)[self.rows])[:WANTED]
        return found if len(found) >= FEWEST else found[:0]

    def note(self, tag: str) -> str:
        """What to say of a target with too few carriers or not all that are wanted, else ""."""
        count = int(self.carrying(tag).sum())
        if count < FEWEST:
            return f"{tag}: {count} of {len(self)} own pictures carry it, and naturalness needs {FEWEST}: draw more"
        if count < WANTED:
            return f"{tag}: over {count} carriers among {len(self)} own pictures, of {WANTED} wanted"
        return ""

    def ceiling(self, tag: str) -> Estimate:
        """Carriers' mean score of a tag less lackers': how far an edit of lackers can be expected to go.

        Raises:
            LatentEditError: the judge does not measure it.
        """
        return difference_of_means(self.scores[:, self._column(tag)], self.carrying(tag), groups=self.groups)

    def _column(self, tag: str) -> int:
        tag = known_tag(tag, self.tags)
        if tag not in self.tags:
            raise LatentEditError(f"the judge does not measure {tag!r}; it knows {', '.join(self.tags[:20])}")
        return self.tags.index(tag)


@torch.no_grad()
def draw_own(
    generator: Generator,
    judge: Tagger,
    targets: Sequence[str],
    faces: FacesLike,
    *,
    networks: Mapping[str, Network],
    most: int = MOST,
    seed: int = FIRST_OWN,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> OwnPictures:
    """Draw pictures until every target has 600 carriers, or ``most`` are drawn.

    The result does not depend on the batch size.

    Args:
        generator: decodes.
        judge: says which pictures carry what.
        targets: tags whose carriers are wanted; those that the judge does not measure are left out.
        faces: those that are measured; their contents (in turn), class, truncation and noise are used.
        networks: see :func:`natural_networks`; they see wanted carriers alone.
        most: pictures drawn at most.
        seed: of the first.
        batch_size: pictures decoded at once.
        progress: called with (pictures drawn, pictures drawn at most); at last with as many as were drawn, twice.

    Raises:
        LatentEditError: fewer than one picture, seeds beyond 2**32, a picture that cannot be decoded or scored,
            features of another shape or not finite.
    """
    if most < 1:
        raise LatentEditError(
            f"{most} own pictures; draw {FEWEST} or more (--natural) for naturalness, {MOST} for rare tags"
        )
    wanted = [tag for tag in dict.fromkeys(known_tags(targets, judge.tags)) if tag in judge.tags]
    thresholds = thresholds_of(judge)
    columns = [list(judge.tags).index(tag) for tag in wanted]
    counts = np.zeros(len(wanted), int)
    scores, kept, drawn = [], [], 0
    features: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    batches, contents = _batches(generator, Faces.of(faces), range(seed, seed + most), batch_size)
    for rows, images in batches:
        found = checked_scores(judge, judge.score(images), [f"seed {seed + i}" for i in range(rows.start, rows.stop)])
        carrying = found[:, columns] >= thresholds[columns]  # (b, targets)
        order = counts + carrying.cumsum(0)  # (b, targets): how many there are up to this picture
        keep = np.flatnonzero((carrying & (order <= WANTED)).any(1))
        full = (order >= WANTED).all(1)  # from this picture on, no more is needed
        stop = int(full.argmax()) + 1 if wanted and full.any() else len(found)
        keep = keep[keep < stop]
        scores.append(found[:stop])
        kept.append(rows.start + keep)
        for name, network in networks.items():
            if len(keep):
                features[name].append(checked_features(name, network, images[torch.from_numpy(keep).to(images.device)]))
        counts, drawn = counts + carrying.sum(0), rows.start + stop
        done = bool(wanted) and bool(full.any())
        if progress:
            progress(drawn, drawn if done else most)
        if done:
            break
    provenance = {
        "generator": generator.id, "first_seed": seed, "pictures": drawn, "at_most": most, "judge": judge.id,
        "targets": wanted, "networks": {name: network_id(network) for name, network in networks.items()},
    }  # fmt: skip
    return OwnPictures(
        tuple(wanted), tuple(judge.tags), thresholds, np.concatenate(scores), np.concatenate(kept),
        {name: np.concatenate(parts) if parts else np.zeros((0, 1), np.float32) for name, parts in features.items()},
        groups=in_turn(drawn, contents), networks=dict(networks),
        provenance=provenance,
    )  # fmt: skip


def _batches(
    generator: Generator, faces: Faces, seeds: range, batch_size: int
) -> tuple[Iterator[tuple[slice, Tensor]], int]:
    """Own pictures a batch at a time, rows and pictures (b, 3, H, W), and how many contents are taken in turn."""
    own = partial(replace, faces, codes=None, style=None, count=None)
    content = faces.content
    if not isinstance(content, Tensor) or len(content) == 1:
        whole = own(seeds=seeds).prepare(generator, batch_size=batch_size)
        groups = whole.content_groups
        pictures = ((rows, whole.decode(whole.codes(rows), rows)) for rows in whole.batches())
        return pictures, 0 if groups is None else int(groups.max()) + 1

    def in_turn() -> Iterator[tuple[slice, Tensor]]:
        for start in range(0, len(seeds), batch_size):
            rows = slice(start, min(start + batch_size, len(seeds)))
            some = content[torch.arange(rows.start, rows.stop) % len(content)]  # never all at once: they may be large
            part = own(seeds=seeds[rows], content=some).prepare(generator, batch_size=batch_size)
            here = slice(0, len(part))
            yield rows, part.decode(part.codes(here), here)

    return in_turn(), len(content)


def checked_features(name: str, network: Network, images: Tensor) -> np.ndarray:
    """Features (n, f) float32 of pictures (n, 3, H, W) in [-1, 1].

    Raises:
        LatentEditError: the network gives another shape, or values that are not finite.
    """
    owner = getattr(network, "__self__", network)  # of a method its network
    found = in_pieces(lambda rows: network(images[rows]), len(images), owner)
    if found.ndim != 2 or len(found) != len(images) or not torch.isfinite(found).all():
        raise LatentEditError(
            f"{name} gave features of shape {tuple(found.shape)} for {len(images)} pictures, or values that are not "
            f"finite; naturalness needs finite ({len(images)}, f)"
        )
    features: np.ndarray = found.float().cpu().numpy()
    return features
