"""What tables say of an edit beside its scores: elsewhere, naturalness by each network, gap."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from latentedit.metrics.elsewhere import TOO_MUCH
from latentedit.metrics.intervals import Estimate
from latentedit.metrics.rescoring import Rescoring, Summary

READING = (
    "Ceiling: the mean score of the generator's own pictures that carry the tag, less that of those that lack it. "
    "Elsewhere: mean absolute change, of values in [-1, 1], outside the quarter of the picture where the edit changes "
    f"most, and the share of pictures above {TOO_MUCH:g}. Natural: density of edited pictures among the generator's "
    "own carriers of the tag over that of fresh carriers; 1 as natural as these, by each network. Gap: distance to the "
    "carriers over that of the unedited faces; 0 as its own, 1 no nearer than without the edit, blank where unedited "
    "faces are not surely apart."
)
"""What the columns mean, in a note under a table."""


def networks_of(rescorings: Iterable[Rescoring]) -> tuple[str, ...]:
    """The networks that naturalness was seen with, in any edit of any re-scoring."""
    looks = [r.looks for r in rescorings if r.looks is not None]
    return tuple(dict.fromkeys(name for one in looks for networks in one.natural for name in networks))


def look_header(networks: tuple[str, ...]) -> list[str]:
    """Names of the columns of :func:`look_cells`."""
    return ["elsewhere", *(f"natural ({name})" for name in networks), *(f"gap ({name})" for name in networks[:1])]


def look_cells(summary: Summary, networks: tuple[str, ...]) -> list[str]:
    """Cells of one edit: elsewhere, naturalness by each network, the gap by the first; blank if not known."""
    natural = [natural_cell(summary, name, "natural") for name in networks]
    return [elsewhere_cell(summary), *natural, *(natural_cell(summary, name, "gap") for name in networks[:1])]


def elsewhere_cell(summary: Summary) -> str:
    """How much changes elsewhere, and in which share of the pictures too much."""
    if np.isnan(summary.elsewhere.value):
        return ""
    return f"{summary.elsewhere:.3f}, {summary.too_much.value:.0%} above {TOO_MUCH:g}"


def natural_cell(summary: Summary, network: str, number: str) -> str:
    """``natural``, ``matched`` or ``gap`` of an edit by a network; blank if not known."""
    value = summary.natural.get(network, {}).get(number)
    return cell(value, 2) if isinstance(value, Estimate) else ""


def natural_value(summary: Summary, network: str, number: str) -> float:
    """The number of :func:`natural_cell`; NaN if not known."""
    value = summary.natural.get(network, {}).get(number)
    return value.value if isinstance(value, Estimate) else float("nan")


def cell(one: Estimate, digits: int) -> str:
    """A number with its interval; blank if not known."""
    return "" if np.isnan(one.value) else format(one, f".{digits}f")
