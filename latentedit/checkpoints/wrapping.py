"""The parts of a file that may each be a network: what wrappers and trainers put around one is taken off here, once.

Wrappers of modules (data parallelism, ``torch.compile``, FSDP) add a step to names, in front or in the middle, and it
is left out wherever it stands. Trainers keep several networks side by side, or one twice, as trained and as the moving
average of what was trained: each is a part, under the keys or the prefix that lead to it. Which part is a network is
for those to say who know its names; here parts are only put in order, the most likely one first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
from torch import Tensor

from latentedit.checkpoints.trees import WALKED, children, module_fields

Path = tuple[str, ...]

WRAPPERS = frozenset({
    "module", "_module", "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module",
    "_forward_module",
})  # fmt: skip
"""Steps in names that wrappers of modules add."""
_COUNTERS = {"n_averaged", "initted", "step", "num_updates", "decay", "optimization_step", "counter"}
_AVERAGE = {"ema", "smooth", "smoothed", "avg", "average", "averaged", "averaging", "shadow", "swa", "polyak", "gs"}
_TRAINED = {"online", "current"}
_GENERATOR = {"g", "gs", "gen", "generator", "netg"}
_CONTAINERS = {
    "state", "dict", "model", "models", "network", "networks", "net", "nets", "gan", "ckpt", "checkpoint", "weights",
    "params", "callbacks",
}  # fmt: skip
_OTHERS = {
    "d", "dis", "disc", "discriminator", "discriminators", "netd", "critic", "optim", "optims", "optimizer",
    "optimizers", "optimiser", "opt", "scheduler", "schedulers", "encoder", "enc", "e", "decoder", "lpips", "vgg",
    "loss", "losses", "criterion", "augment", "collected",
}  # fmt: skip
_KNOWN = _AVERAGE | _TRAINED | _GENERATOR | _CONTAINERS
_DEEPEST, _MOST_PARTS, _MOST_NAMES, _MOST_NODES, _MOST_UNKNOWN = 8, 100, 200_000, 2_000, 50


@dataclass(frozen=True)
class Part:
    """Some of a file's tensors, which may be a network.

    Attributes:
        path: the keys and prefixes that lead to it, without wrappers; empty for the whole file.
        average: it is a moving average of what was trained.
        trained: it is named as the trained half of such a pair.
        generator: its name says that it is a generator, or the trained half of one.
        kind: 0 for a container or module of its own in the file, 1 for a common start of names, 2 for a container that
            holds others.
        guessed: its name says nothing, and things beside it may belong to it.
    """

    path: Path
    average: bool
    trained: bool
    generator: bool
    kind: int
    guessed: bool

    @property
    def name(self) -> str:
        """The path as text, such as ``state_dict.generator``; empty for the whole file."""
        return ".".join(self.path)

    @property
    def order(self) -> tuple[bool | int, ...]:
        """The lower, the likelier."""
        depth = (0, -len(self.path)) if self.generator else (self.kind, len(self.path))
        return (not self.average, not self.generator, self.guessed, self.trained, *depth)


class Unwrapped:
    """The tensors of a file by their names without wrappers, and the parts that they make.

    Args:
        tensors: by the names in the file.
        tree: what the file holds.
    """

    def __init__(self, tensors: Mapping[str, Tensor], tree: Any) -> None:
        held = _without_wrappers({tuple(name.split(".", 64)): tensor for name, tensor in tensors.items()})
        self._averages = {path[:-1] for path in held if path[-1] == "n_averaged"}  # torch's AveragedModel counts there
        self._steps = {path: t for path, t in held.items() if path[-1] not in _COUNTERS or t.numel() > 1}
        self._tree = tree

    def tensors(self, path: Path) -> dict[str, Tensor]:
        """Those under a path, by the rest of their names, in the file's order."""
        n = len(path)
        return {".".join(steps[n:]): t for steps, t in self._steps.items() if steps[:n] == path and len(steps) > n}

    def nearest(self, path: Path, name: str) -> Tensor | None:
        """The tensor of a name that lies in a part or nearest outside of it."""
        over = (path[:n] for n in range(len(path), -1, -1))
        return next((self._steps[(*steps, name)] for steps in over if (*steps, name) in self._steps), None)

    def subtree(self, path: Path) -> Any:
        """What the file holds under a path; None where that is only a common start of names."""
        thing = _inside(self._tree)
        for step in path:
            thing = _inside(next((held for key, held in children(thing) if str(key) == step), None))
        return thing

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Every part that is worth a look, the likeliest first."""
        most = min(_MOST_PARTS, max(1, _MOST_NAMES // max(1, len(self._steps))))
        found = islice(_parts(_branches(self._steps), _nodes(self._tree), self._averages), most)
        return tuple(sorted(found, key=lambda part: part.order))


def _without_wrappers(tensors: Mapping[Path, Tensor]) -> Mapping[Path, Tensor]:
    """By names without wrappers; with them where two names would become one."""
    bare: dict[Path, Tensor] = {}
    for steps, tensor in tensors.items():
        short = tuple(step for step in steps if step not in WRAPPERS)
        if short in bare or not short:
            return tensors
        bare[short] = tensor
    return bare


def _inside(thing: Any) -> Any:
    """What a wrapper holds, where a thing is one, is a key of one, or is a module around one."""
    while True:
        held = dict(islice(children(thing), 1000))
        wrapped = [key for key in held if key in WRAPPERS]
        if len(wrapped) != 1 or not isinstance(held[wrapped[0]], WALKED) or isinstance(held[wrapped[0]], Tensor):
            return thing
        thing = held[wrapped[0]]


def _branches(names: Mapping[Path, Tensor]) -> dict[Path, dict[str, bool]]:
    """What stands directly under each path, and whether it has more under it."""
    found: dict[Path, dict[str, bool]] = {(): {}}
    for steps in names:
        for n in range(min(len(steps), _DEEPEST + 1)):
            held = found.setdefault(steps[:n], {})
            held[steps[n]] = held.get(steps[n], False) or len(steps) > n + 1
    return found


def _nodes(tree: Any) -> set[Path]:
    """Paths of containers, and of modules that were saved whole but not of what is in these."""
    found: set[Path] = set()
    waiting: list[tuple[Path, Any]] = [((), tree)]
    while waiting and len(found) < _MOST_NODES:
        path, thing = waiting.pop(0)
        found.add(path)
        if module_fields(thing) is not None or len(path) >= _DEEPEST:
            continue
        for key, held in islice(children(thing), _MOST_NODES):
            if isinstance(held, WALKED) and not isinstance(held, (Tensor, np.ndarray)):
                steps = tuple(step for step in str(key).split(".", 64) if step not in WRAPPERS)
                waiting.append(((*path, *steps), held))
    return found


def _parts(branches: Mapping[Path, Mapping[str, bool]], nodes: set[Path], averages: set[Path]) -> Iterator[Part]:
    """Parts from the whole file on, level by level."""
    containers = {path[:n] for path in nodes if path in branches for n in range(len(path))}
    waiting = [
        Part((), () in averages, trained=False, generator=False, kind=2 if () in containers else 0, guessed=False)
    ]
    while waiting:
        over = waiting.pop(0)
        held = branches.get(over.path, {})
        if not _only_wraps(over.path, branches):
            yield over
        others = {step for step in held if _words(step) & _OTHERS}
        unknown = {
            step for step in held
            if step not in others and (*over.path, step) not in nodes and not _words(step) & _KNOWN
        }  # fmt: skip
        for step, deeper in held.items():
            if not deeper or step in others or (step in unknown and (over.guessed or len(unknown) > _MOST_UNKNOWN)):
                continue
            path, words = (*over.path, step), _words(step)
            waiting.append(Part(
                path,
                average=(over.average or _is_average(step, held) or path in averages) and not words & _TRAINED,
                trained=over.trained or bool(words & _TRAINED),
                generator=bool(words & (_GENERATOR | _TRAINED)),
                kind=2 if path in containers else 0 if path in nodes else 1,
                guessed=over.guessed or (step in unknown and len(unknown) > 1),
            ))  # fmt: skip


def _is_average(step: str, beside: Mapping[str, bool]) -> bool:
    """By its name; Lightning's averaging puts the trained half beside and leaves the average in the usual place."""
    is_lightning = step == "state_dict" and "current_model_state" in beside
    return bool(_words(step) & _AVERAGE) or step == "g_running" or is_lightning


def _only_wraps(path: Path, branches: Mapping[Path, Mapping[str, bool]]) -> bool:
    """Whether all under a part is an attribute ``model`` of a trainer's module, with modules by name in it."""
    held = list(branches.get(path, {}))
    inner = branches.get((*path, *held), {}) if len(held) == 1 and held[0] in ("model", "net", "network") else {}
    return bool(path and inner) and all(deeper and not step.isdecimal() for step, deeper in inner.items())


def _words(step: str) -> set[str]:
    """``netG_ema`` to net, g, ema."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", step[:100])}
