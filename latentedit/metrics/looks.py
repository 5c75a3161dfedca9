"""What scores do not show of the same pictures: how natural they are, and how much they change elsewhere.

:class:`Watch` looks at the pictures while they are scored, so that each is decoded once; what it keeps of one is a map
of 32 x 32 changes and, where the face lacks the edit's tag and carriers are at hand, its features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from latentedit.directions.edits import Edit
from latentedit.metrics.carriers import OwnPictures, checked_features
from latentedit.metrics.elsewhere import change_of
from latentedit.metrics.intervals import Estimate
from latentedit.metrics.naturalness import Naturalness, Seen, measure_naturalness

_ARRAYS = ("density", "fresh", "matched", "fresh_matched", "groups", "fresh_groups")
_ABOUT = "about"


@dataclass(frozen=True, eq=False)
class Looks:
    """How the pictures of t edits of n faces look.

    Attributes:
        changes: (t, n, h, w) float32 mean absolute change of the cells of each picture, see
            :mod:`latentedit.metrics.elsewhere`.
        natural: of each edit, network → naturalness of the faces that lack its tag, in their order; empty where it was
            not measured: no own pictures were given, the edit has no tag among their targets, or takes its tag away.
        ceilings: target → carriers' mean score less lackers', of the generator's own pictures.
        notes: what to say of targets with too few carriers.
    """

    changes: np.ndarray
    natural: tuple[Mapping[str, Naturalness], ...]
    ceilings: Mapping[str, Estimate] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def part(self, rows: slice) -> Looks:
        """Those of some edits."""
        return replace(self, changes=self.changes[rows], natural=self.natural[rows])

    def resampled(self, n_boot: int) -> Looks:
        """The same with intervals of so many bootstrap repetitions."""
        natural = tuple({name: replace(one, n_boot=n_boot) for name, one in edit.items()} for edit in self.natural)
        return replace(self, natural=natural)

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it as arrays, for a file; the JSON document among them holds what is no array."""
        found: dict[str, np.ndarray] = {"changes": self.changes}
        seen = []
        for i, networks in enumerate(self.natural):
            of_edit = {}
            for network, one in networks.items():
                arrays = {name: value for name in _ARRAYS if (value := getattr(one, name)) is not None}
                found |= {f"natural.{i}.{network}.{name}": value for name, value in arrays.items()}
                gap = [one.gap.value, one.gap.low, one.gap.high]
                of_edit[network] = {"reference": one.reference, "gap": gap, "arrays": [*arrays], "n_boot": one.n_boot}
            seen.append(of_edit)
        ceilings = {tag: [one.value, one.low, one.high] for tag, one in self.ceilings.items()}
        document = {"natural": seen, "ceilings": ceilings, "notes": list(self.notes)}
        return found | {_ABOUT: np.frombuffer(json.dumps(document).encode(), np.uint8)}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Looks:
        """What :meth:`arrays` gave.

        Raises:
            KeyError, ValueError, TypeError: it is something else.
        """
        document = json.loads(arrays[_ABOUT].tobytes())
        natural = []
        for i, of_edit in enumerate(document["natural"]):
            networks = {}
            for network, about in of_edit.items():
                held = {name: arrays[f"natural.{i}.{network}.{name}"] for name in about["arrays"]}
                gap = Estimate(*map(float, about["gap"]))
                networks[network] = Naturalness(int(about["reference"]), gap=gap, n_boot=int(about["n_boot"]), **held)
            natural.append(networks)
        ceilings = {tag: Estimate(*map(float, ends)) for tag, ends in document["ceilings"].items()}
        return cls(arrays["changes"], tuple(natural), ceilings, tuple(document["notes"]))


class Watch:
    """Looks at the pictures of n faces before and after t edits, a batch at a time.

    Args:
        edits: t of them.
        tags: of the judge.
        thresholds: (k,) of its tags.
        own: the generator's own pictures; None: only changes are kept.
    """

    def __init__(
        self, edits: Sequence[Edit], tags: Sequence[str], thresholds: np.ndarray, own: OwnPictures | None
    ) -> None:
        self._edits, self._tags, self._thresholds, self._own = tuple(edits), list(tags), thresholds, own
        self._targets = [self._target_of(one) for one in edits]
        self._seen = [tag if own and tag and len(own.carriers(tag)) else "" for tag in self._targets]  # else in vain
        self._before = torch.zeros(0)
        self._lacking = np.zeros((0, 0), bool)  # (edits, b) of the batch
        self._changes: list[list[np.ndarray]] = [[] for _ in edits]
        names = () if own is None else own.networks
        self._unedited: list[dict[str, list[np.ndarray]]] = [{name: [] for name in names} for _ in edits]
        self._edited: list[dict[str, list[np.ndarray]]] = [{name: [] for name in names} for _ in edits]

    def _target_of(self, one: Edit) -> str:
        """The tag among whose carriers an edit's pictures belong; "" where there is none."""
        away = (one.strength or 1) < 0 or (isinstance(one.goal, float) and one.goal < 0.5)
        known = self._own is not None and one.tag in self._own.targets
        return one.tag if known and not away else ""

    def __call__(self, move: int, images: Tensor, scores: np.ndarray) -> None:
        """Take in pictures (b, 3, H, W) of the next faces and the judge's scores (b, k): the unedited ones as move 0,
        then those of each edit, from 1 on."""
        if move == 0:
            self._before = images
            self._lacking = np.stack([self._lacks(scores, target) for target in self._seen])
            self._keep_unedited(images)
            return
        i = move - 1
        self._changes[i].append(change_of(self._before, images))
        self._keep(self._edited[i], images, self._lacking[i])

    def _lacks(self, scores: np.ndarray, target: str) -> np.ndarray:
        if not target:
            return np.zeros(len(scores), bool)
        column = self._tags.index(target)
        lacking: np.ndarray = scores[:, column] < self._thresholds[column]
        return lacking

    def _keep_unedited(self, images: Tensor) -> None:
        """Features of the faces that any edit's tag is lacking in, each once."""
        wanted = np.flatnonzero(self._lacking.any(0))
        if not len(wanted) or self._own is None:
            return
        place = np.zeros(self._lacking.shape[1], int)
        place[wanted] = np.arange(len(wanted))
        for name, network in self._own.networks.items():
            found = checked_features(name, network, images[torch.from_numpy(wanted).to(images.device)])
            for kept, lacking in zip(self._unedited, self._lacking, strict=True):
                kept[name].append(found[place[lacking]])

    def _keep(self, kept: dict[str, list[np.ndarray]], images: Tensor, rows: np.ndarray) -> None:
        if not rows.any() or self._own is None:
            return
        for name, network in self._own.networks.items():
            kept[name].append(checked_features(name, network, images[torch.from_numpy(rows).to(images.device)]))

    def looks(
        self, scores: np.ndarray, own_tags: Sequence[set[str]], groups: np.ndarray | None, *, n_boot: int = 1000
    ) -> Looks:
        """What was seen.

        Args:
            scores: (1 + t, n, k) of all that was taken in.
            own_tags: of each edit, the tags that may change with its target.
            groups: (n,) which faces share a content.
            n_boot: bootstrap repetitions.
        """
        natural: list[Mapping[str, Naturalness]] = []
        for i, target in enumerate(self._targets):
            if self._own is None or not target:
                natural.append({})
                continue
            rows = self._lacks(scores[0], target)
            edited, unedited = (
                {name: np.concatenate(parts) if parts else np.zeros((0, 1)) for name, parts in one[i].items()}
                for one in (self._edited, self._unedited)
            )
            seen = Seen(edited, unedited, scores[1 + i][rows], None if groups is None else groups[rows])
            keeping = np.array([tag not in own_tags[i] for tag in self._tags])
            natural.append(measure_naturalness(seen, self._own, target, keeping=keeping, n_boot=n_boot))
        targets = dict.fromkeys(one.tag for one in self._edits if one.tag in self._tags) if self._own else ()
        notes = [self._own.note(t) for t in dict.fromkeys(self._targets) if t] if self._own else []
        return Looks(
            np.stack([np.concatenate(parts) for parts in self._changes]), tuple(natural),
            {tag: self._own.ceiling(tag) for tag in targets} if self._own else {}, tuple(filter(None, notes)),
        )  # fmt: skip
