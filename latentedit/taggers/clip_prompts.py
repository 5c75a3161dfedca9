"""Files of prompts: what a picture with a tag, and one without, is called in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentedit.errors import LatentEditError
from latentedit.files import read_toml
from latentedit.taggers.tag_names import found_tag


@dataclass(frozen=True)
class Prompt:
    """Texts for and against a tag; several on a side are averaged."""

    tag: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def read_prompts(path: Path) -> tuple[Prompt, ...]:
    """The prompts in a TOML file: tables ``[prompts.TAG]`` with ``positive`` and ``negative``, a text or a list.

    Raises:
        DamagedFileError: it is missing or not TOML.
        LatentEditError: something in it has another form.
    """
    content = read_toml(path)
    tables = content.get("prompts")
    if set(content) != {"prompts"} or not isinstance(tables, dict) or not tables:
        found = ", ".join(map(repr, content)) or "nothing"
        raise LatentEditError(f"{path}: it has {found}; it must have tables [prompts.TAG] and nothing else")
    try:
        return tuple(_prompt(tag, table) for tag, table in tables.items())
    except LatentEditError as error:
        raise LatentEditError(f"{path}: {error}") from error


def keep(prompts: Sequence[Prompt], tags: str) -> tuple[Prompt, ...]:
    """The prompts whose tags a list with commas names, in their own order.

    Raises:
        LatentEditError: the list is empty.
        UnknownNameError: a tag has no prompt.
    """
    wanted = [tag.strip() for tag in tags.split(",") if tag.strip()]
    if not wanted:
        raise LatentEditError(f"tags is {tags!r}; name some with commas between, as in tags=long_hair,smile")
    known = [prompt.tag for prompt in prompts]
    wanted = [found_tag(tag, known) for tag in wanted]
    return tuple(prompt for prompt in prompts if prompt.tag in wanted)


def _prompt(tag: str, table: Any) -> Prompt:
    if not tag or "," in tag or len(tag.split()) != 1:
        raise LatentEditError(f"tag {tag!r}: write it without spaces and commas, such as long_hair")
    if not isinstance(table, dict) or set(table) != {"positive", "negative"}:
        found = ", ".join(table) if isinstance(table, dict) else repr(table)
        raise LatentEditError(f"[prompts.{tag}] has {found or 'nothing'}; it must have positive and negative")
    prompt = Prompt(tag, *(_texts(tag, side, table[side]) for side in ("positive", "negative")))
    if both := set(prompt.positive) & set(prompt.negative):
        raise LatentEditError(f"[prompts.{tag}]: {min(both)!r} is positive and negative; keep one")
    return prompt


def _texts(tag: str, side: str, value: Any) -> tuple[str, ...]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t.strip() for t in texts):
        raise LatentEditError(f"[prompts.{tag}]: {side} is {value!r}; it must be a text, or a list of texts")
    texts = [" ".join(text.split()) for text in texts]
    if len(set(texts)) != len(texts):
        raise LatentEditError(f"[prompts.{tag}]: {side} says the same twice: {texts}; keep one")
    return tuple(texts)
