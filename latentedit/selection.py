"""Which tags are worth a direction: neither rare nor on nearly every picture, and of what a picture shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from latentedit.errors import LatentEditError, UnknownNameError

DROPPED_TAGS = frozenset(
    {"artist_name", "black_border", "border", "close-up", "face", "frame", "letterboxed", "pillarboxed", "portrait"}
)
"""Tags of how a picture is framed, not of what it shows; dropped unless the user names them."""
DROPPED_PREFIXES = ("rating:",)
"""DeepDanbooru's ratings are ordinary tags to its network, and no attributes to edit."""


def select_tags(
    counts: Mapping[str, int], rows: int, *, tags: Sequence[str] | None = None, low: float = 0.01, high: float = 0.75
) -> tuple[str, ...]:
    """The tags to fit: those named by the user as they are, else those on ``low`` to ``high`` of the rows.

    Without names, tags of DROPPED_TAGS and with DROPPED_PREFIXES are left out; names are never filtered.

    Args:
        counts: rows that carry each tag.
        rows: labelled rows in all.

    Raises:
        UnknownNameError: a named tag is not in ``counts``.
        LatentEditError: nothing is left.
    """
    if not 0 <= low <= high <= 1:
        raise LatentEditError(f"low={low}, high={high}: give shares of the rows with 0 <= low <= high <= 1")
    if tags is not None:
        if isinstance(tags, str) or not tags:
            raise LatentEditError(f"tags={tags!r}: give a list of tags, or None for all but rare and common ones")
        for tag in tags:
            if tag not in counts:
                raise UnknownNameError("tag", tag, counts)
        return tuple(dict.fromkeys(tags))
    kept = tuple(
        tag
        for tag, count in counts.items()
        if low * rows <= count <= high * rows
        and count
        and tag not in DROPPED_TAGS
        and not tag.startswith(DROPPED_PREFIXES)
    )
    if not kept:
        seen = sum(1 for count in counts.values() if count)
        raise LatentEditError(
            f"no tag is left to fit: {seen} tags were seen on {rows} rows, none on {low:.3g} to {high:.3g} of them; "
            "sample more, widen low and high, or name tags"
        )
    return kept
