"""What a direction's fit says of it: whether it is more than chance, and which tags share one component.

Only what the direction holds is asked, so that a file says the same as the fit did.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from latentedit.directions.direction import Direction

SHOWN = 8
"""Tags that a line names."""


def above_chance(direction: Direction) -> bool | None:
    """Whether the fit found more than chance finds; None where nothing was measured, as for imported directions.

    Of a component that was given to a tag: its correlation is larger than the largest of as many components would be
    by chance. Else: the 95 % interval of the held-out correlation is above 0 (:mod:`latentedit.directions.held_out`).
    Files of earlier versions hold neither; there the held-out R2 must be above 0.
    """
    found = direction.params
    if "correlation_by_chance" in found:
        return abs(float(found["correlation"])) > float(found["correlation_by_chance"])
    if "held_out_low" in found:
        return float(found["held_out_low"]) > 0
    return None if direction.score is None else direction.score > 0


def chance_line(directions: Iterable[Direction]) -> str | None:
    """A line that names the tags whose directions are no better than chance; None where there are none."""
    tags = [direction.tag for direction in directions if above_chance(direction) is False]
    if not tags:
        return None
    more = f" and {len(tags) - SHOWN} more" if len(tags) > SHOWN else ""
    are, them = ("are", "them") if len(tags) > 1 else ("is", "it")
    return (
        f"{', '.join(tags[:SHOWN])}{more} {are} no better than chance, so expect nothing to move along "
        f"{them}; fit from more samples, or leave {them} out"
    )


def shared_components(directions: Iterable[Direction]) -> dict[str, tuple[str, ...]]:
    """Components that several tags were given, and these tags."""
    tags: dict[str, tuple[str, ...]] = {}
    for direction in directions:
        if component := direction.params.get("component"):
            tags[component] = (*tags.get(component, ()), direction.tag)
    return {component: several for component, several in tags.items() if len(several) > 1}


def shared_line(directions: Iterable[Direction]) -> str | None:
    """A line that says which tags share a component; None where none do."""
    shared = [f"{component} ({', '.join(tags)})" for component, tags in shared_components(directions).items()]
    if not shared:
        return None
    return f"one component under several tags, which therefore move alike (cosine ±1.00): {'; '.join(shared)}"
