"""Which tags are worth a direction: neither rare nor on nearly every picture, and of what a picture shows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from latentedit.errors import LatentEditError, UnknownNameError
from latentedit.taggers.tag_names import found_tag, known_tag, plain_tag

DROPPED: Mapping[str, tuple[str, ...]] = {
    # To the networks ratings are tags like any other; they sum a picture up and are no attribute of it.
    "ratings": ("rating:*",),
    # Edges, bars and how much of the picture a face fills. frame and face are of older lists of tags.
    "framing": (
        "border", "*_border", "frame", "letterboxed", "pillarboxed", "round_image", "rounded_corners", "zoom_layer",
        "close-up", "face", "portrait",
    ),
    # Names, dates, logos and text that somebody put on the picture.
    "writing": (
        "artist_name", "character_name", "circle_name", "company_name", "copyright_name", "group_name", "song_name",
        "signature", "character_signature", "watermark", "sample_watermark", "weibo_watermark", "copyright_notice",
        "*_username", "pixiv_id", "web_address", "dated", "timestamp", "page_number", "content_rating",
        "logo", "artist_logo", "instagram_logo", "patreon_logo", "pixiv_logo", "twitter_logo", "weibo_logo",
        "*_text", "text_focus", "subtitled",
    ),
    # The file: its size, and what copying and scanning did to it.
    "file": (
        "lowres", "highres", "absurdres", "incredibly_absurdres", "huge_filesize", "resolution_mismatch", "tall_image",
        "wide_image", "jpeg_artifacts", "scan", "scan_artifacts", "corrupted_image", "md5_mismatch", "image_sample",
        "resized", "upscaled", "downscaled", "photoshop_(medium)", "painttool_sai_(medium)",
    ),
    # Where a post comes from, and which others belong to it.
    "post": (
        "bad_id", "bad_deviantart_id", "bad_nicoseiga_id", "bad_pixiv_id", "bad_tumblr_id", "bad_twitter_id",
        "bad_link", "bad_source", "non-web_source", "second-party_source", "third-party_source", "source_larger",
        "source_smaller", "protected_link", "inactive_account", "imageboard_desourced", "self-upload",
        "third-party_edit", "duplicate", "pixel-perfect_duplicate", "revision", "variant_set", "large_variant_set",
        "textless_version", "commission", "pixiv_commission", "skeb_commission", "paid_reward",
        "paid_reward_available", "spoilers",
    ),
    # What taggers and translators of a post still have to do, or did.
    "chores": (
        "tagme", "*_request", "commentary", "*_commentary", "commentary_typo", "translated", "partially_translated",
        "hard_translated", "check_translation",
    ),
}  # fmt: skip
"""Tags that are not of what a picture shows, by kind; a star stands for any letters at that end of a tag.

Fitted only when the user names them. The names are Danbooru's (tests/fixtures/danbooru_tags.csv); those that
halcy/AnimeFaceNotebooks drops are among them.
"""


def dropped_by(tag: str) -> str | None:
    """The entry of :data:`DROPPED` that drops a tag, such as ``*_text`` for ``english_text``; None when none does."""
    tag = plain_tag(tag)
    for entries in DROPPED.values():
        for entry in entries:
            if tag == entry or (entry[0] == "*" and tag.endswith(entry[1:]) and len(tag) >= len(entry)):
                return entry
            if entry[-1] == "*" and tag.startswith(entry[:-1]) and len(tag) >= len(entry):
                return entry
    return None


def select_tags(
    counts: Mapping[str, int],
    rows: int | Mapping[str, int],
    *,
    tags: Sequence[str] | None = None,
    keep: Collection[str] = (),
    low: float = 0.01,
    high: float = 0.75,
) -> tuple[str, ...]:
    """The tags to fit: those named by the user as they are, else those on ``low`` to ``high`` of the rows.

    Without names, the tags of :data:`DROPPED` are left out, but for those of ``keep``; names are never filtered.

    Args:
        counts: rows that carry each tag.
        rows: labelled rows in all; or those with a label for each tag, where some lack it.
        keep: tags to fit although DROPPED lists them, if as many rows carry them as others need; an entry with
            a star, with or without it (``rating:``, ``*_text``), keeps all that it drops. Other tags may be named.

    Raises:
        UnknownNameError: a named tag is not in ``counts``, or no tag in there is of a named entry.
        LatentEditError: nothing is left.
    """
    if not 0 <= low <= high <= 1:
        raise LatentEditError(f"low={low}, high={high}: give shares of the rows with 0 <= low <= high <= 1")
    exempt = _exempt_tags(keep, counts)
    if tags is not None:
        if isinstance(tags, str) or not tags:
            raise LatentEditError(f"tags={tags!r}: give a list of tags, or None for all but rare and common ones")
        return tuple(dict.fromkeys(found_tag(tag, counts) for tag in tags))
    of = dict.fromkeys(counts, rows) if isinstance(rows, int) else rows
    common = [tag for tag, count in counts.items() if low * of[tag] <= count <= high * of[tag] and count]
    kept = tuple(tag for tag in common if tag in exempt or dropped_by(tag) is None)
    if not kept:
        seen = sum(1 for count in counts.values() if count)
        shares = f"on {low:.3g} to {high:.3g} of them"
        found = f"only {', '.join(common[:3])} {shares}, dropped unless kept" if common else f"none {shares}"
        raise LatentEditError(
            f"no tag is left to fit: {seen} tags were seen on {max(of.values(), default=0)} rows, {found}; "
            "sample more, or name tags, which takes them whatever their share (--tag; in Python also low= and high=)"
        )
    return kept


def _exempt_tags(keep: Collection[str], counts: Mapping[str, int]) -> frozenset[str]:
    """The tags of ``counts`` that the names in ``keep`` stand for."""
    if isinstance(keep, str):
        raise LatentEditError(f"keep={keep!r}: give a list of tags")
    starred = {entry.strip("*"): entry for entries in DROPPED.values() for entry in entries if "*" in entry}
    exempt = set()
    for name in keep:
        entry = starred.get(name.strip("*"))
        asked = known_tag(name, counts)
        meant = {tag for tag in counts if tag == asked or (entry is not None and dropped_by(tag) == entry)}
        if not meant:
            raise UnknownNameError("tag", name, counts)
        exempt |= meant
    return frozenset(exempt)
