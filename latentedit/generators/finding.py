"""Which part of a file is the generator: the average before the trained half, and what is said of the choice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from torch import Tensor

from latentedit.checkpoints.checkpoint import Checkpoint
from latentedit.checkpoints.unpickling import shown
from latentedit.checkpoints.wrapping import Part

_BUFFER = re.compile(
    r"(^|\.)(running_mean|running_var|kernel|noise_\d+|noise|noise_const|resample_filter|up_filter|down_filter|w_avg|"
    r"freqs|phases|transform|magnitude_ema|lod)$"
)
"""Tensors that no optimiser changes, by the names of all families; averages of parameters alone lack them."""
_UNUSED = re.compile(r"(^|\.)(num_batches_tracked|weight_u|weight_v|latent_avg)$")


class Found(NamedTuple):
    """What a family recognised in a file."""

    tensors: dict[str, Tensor]
    """The generator's, under the file's names."""
    part: str = ""
    """Where in the file they are, such as ``g_ema``."""


class Chosen(NamedTuple):
    """The part of a file that is taken for the generator."""

    found: Found
    checkpoint: Checkpoint
    """The file as seen from there."""
    weights: str = ""
    """Which weights they are, where the file holds others beside them or lacks better ones."""
    warnings: tuple[str, ...] = ()
    """What a user should not miss of the choice."""


class _Hit(NamedTuple):
    found: Found
    view: Checkpoint
    part: Part

    @property
    def name(self) -> str:
        return shown(self.part.name) or "the whole file"


def choose(recognise: Callable[[Checkpoint], Found | None], checkpoint: Checkpoint, average: str = "") -> Chosen | None:
    """The likeliest part of a file that a family recognises, an average if there is a whole one.

    Args:
        recognise: the family's; it sees each part without what wraps it.
        checkpoint: the file.
        average: how files of the family name the average, where they usually have one.
    """
    hits: list[_Hit] = []
    averages: list[Checkpoint] = []
    for view in checkpoint.parts():
        found = recognise(view)
        if view.part is None:
            if found is not None and not hits:
                return Chosen(found, view)
        elif found is not None and not any(_is_within(hit.part, view.part) for hit in hits):
            hits.append(_Hit(found._replace(part=found.part or view.part.name), view, view.part))
        elif view.part.average:
            averages.append(view)
    trained = next((hit for hit in hits if not hit.part.average), None)
    if not hits:
        return None
    if trained is None:
        return _said(hits[0], hits)
    averaged = [(hit.view, hit.found.tensors) for hit in hits if hit.part.average]
    return _averaged(trained, hits, averaged or [(view, view.state()) for view in averages], average)


def _averaged(
    trained: _Hit, hits: Sequence[_Hit], averages: Sequence[tuple[Checkpoint, dict[str, Tensor]]], usual: str
) -> Chosen:
    """The first average that is whole or lacks only what it would share with the trained half, else that half."""
    reason = ""
    for view, tensors in averages:
        if view.part is None or sum(tensor.ndim > 0 for tensor in tensors.values()) < 2:
            continue
        whole, filled, problem = _completed(_named(tensors, trained), trained.found.tensors)
        if whole is None:
            reason = reason or f"{shown(view.part.name)} is not used: {problem}"
            continue
        hit = next((hit for hit in hits if hit.view is view), None)
        found = Found(whole, view.part.name)
        same = view if hit is not None else trained.view
        which = f"average ({_name(view)}) of a file that also holds the trained weights ({trained.name})"
        which += f"; the average has no {filled}, so these are of the trained weights" if filled else ""
        return _said(_Hit(found, same, view.part), hits, which)
    if reason:
        reason = f"trained weights ({trained.name}), since the average {reason}"
    elif (usual and trained.part.generator) or trained.part.trained:
        lacking = f" ({usual})" if usual else ""
        reason = f"trained weights ({trained.name}), since the file has no average of them{lacking}, which draws better"
    return _said(trained, hits, reason, (f"the generator is made of {reason}",) if reason else ())


def _name(view: Checkpoint) -> str:
    return (shown(view.part.name) if view.part is not None else "") or "the whole file"


def _said(hit: _Hit, hits: Sequence[_Hit], weights: str = "", warnings: tuple[str, ...] = ()) -> Chosen:
    """With a line where another part would have done as well."""
    equal = [hit]
    for other in hits:
        apart = all(not _is_within(other.part, one.part) and not _is_within(one.part, other.part) for one in equal)
        if apart and other.part.order[:4] == hit.part.order[:4]:
            equal.append(other)
    if len(equal) > 1:
        names = ", ".join(one.name for one in equal)
        line = f"one ({hit.name}) of {len(equal)} generators ({names})"
        weights = f"{weights}; {line}" if weights else line
        warnings = (*warnings, f"it is {line}; to use another, save that one to a file of its own")
    return Chosen(hit.found, hit.view, weights, warnings)


def _is_within(inner: Part, outer: Part) -> bool:
    return inner.path[: len(outer.path)] == outer.path


def _named(tensors: dict[str, Tensor], trained: _Hit) -> dict[str, Tensor]:
    """An average under the trained half's names, where it has only their order, or no dots in them."""
    names = list(trained.found.tensors)
    if all(name.isdecimal() for name in tensors):
        ordered = [tensors[name] for name in sorted(tensors, key=int)]
        parameters = [name for name in names if not _BUFFER.search(name) and not _UNUSED.search(name)]
        fits = [trained.found.tensors[name].shape for name in parameters] == [tensor.shape for tensor in ordered]
        return dict(zip(parameters, ordered, strict=True)) if fits else tensors
    for start in range(len(trained.part.path) + 1):
        prefix = "".join(trained.part.path[start:]).replace(".", "")
        dotless = {prefix + name.replace(".", ""): name for name in names}
        if len(dotless) == len(names) and any("." in name and key in tensors for key, name in dotless.items()):
            return {name: tensors[key] for key, name in dotless.items() if key in tensors}
    return tensors


def _completed(
    average: Mapping[str, Tensor], trained: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor] | None, str, str]:
    """An average with what it lacks of things that are not trained, the names of these, or else what is wrong."""
    for name in trained.keys() & average.keys():
        if trained[name].shape != average[name].shape:
            shapes = f"{tuple(average[name].shape)} where the trained weights have {tuple(trained[name].shape)}"
            return None, "", f"its {shown(name)} has shape {shapes}"
    missing = [name for name in trained if name not in average and not _UNUSED.search(name)]
    if lost := [name for name in missing if not _BUFFER.search(name)]:
        return None, "", f"it lacks {shown(lost[0])}" + (f" and {len(lost) - 1} more" if len(lost) > 1 else "")
    if not missing:
        return dict(average), "", ""
    filled = {name: average.get(name, tensor) for name, tensor in trained.items()}
    kinds = dict.fromkeys(re.sub(r"_?\d+$", "", name.rpartition(".")[2]) for name in missing)
    return {**filled, **average}, ", ".join(kinds), ""
