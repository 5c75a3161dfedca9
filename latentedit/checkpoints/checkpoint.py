"""Foreign files of weights: what is in them, whatever they were written with, and never any code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from latentedit.checkpoints.diagnosis import diagnose_file, diagnose_tensors, diagnose_tree, is_old_pickle
from latentedit.checkpoints.torch_files import LEGACY_MAGIC, read_legacy_file, read_pickle, read_zip
from latentedit.checkpoints.trees import check_extent, tensors_of
from latentedit.checkpoints.unpickling import shown
from latentedit.checkpoints.wrapping import Part, Unwrapped
from latentedit.errors import DamagedFileError, UnsafeFileError
from latentedit.lookalikes import named

_LONGEST_HEADER = 16_000_000  # of safetensors, in bytes; a model of 2000 tensors has 0.2 MB
_LEGACY_START = b"\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little")


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds.

    Attributes:
        path: the file.
        container: "safetensors", "torch zip", "torch legacy" or "pickle".
        tree: nested dictionaries and lists of tensors, numbers and texts; what else a pickle named is
            :class:`latentedit.checkpoints.unpickling.Inert` or :class:`latentedit.checkpoints.torch_files.Call`.
        metadata: of safetensors.
        part: which part of a file it is, of those of :meth:`parts`; None for a file as it is.
        whole: the file that it is a part of.
    """

    path: Path
    container: str
    tree: Any
    metadata: Mapping[str, str] = field(default_factory=dict)
    part: Part | None = None
    whole: Checkpoint | None = None

    def parts(self) -> Iterator[Checkpoint]:
        """What may be a network in the file, without what wraps it, the likeliest first; last the file as it is.

        Raises:
            UnsafeFileError: the tree refers to itself.
        """
        if self._unwrapped is not None:
            for part in self._unwrapped.parts:
                tree = self._unwrapped.subtree(part.path)
                yield Checkpoint(self.path, self.container, tree, self.metadata, part, self)
        yield self

    def state_with(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Tensors of the likeliest part that has all of these names; where none has, of the file as it is."""
        wanted = list(names)
        states = (part.state() for part in self.parts())
        return next((state for state in states if all(name in state for name in wanted)), None) or self.state()

    def nearest(self, name: str) -> Tensor | None:
        """A tensor that lies in this part of a file or, where there is none, nearest outside of it."""
        if self.whole is None or self.part is None or self.whole._unwrapped is None:
            return self.state().get(name)
        return self.whole._unwrapped.nearest(self.part.path, name)

    @cached_property
    def _unwrapped(self) -> Unwrapped | None:
        tensors = self.state()
        return Unwrapped(tensors, self.tree) if tensors else None

    def state(self, *keys: str) -> dict[str, Tensor]:
        """Tensors by dotted name under the first of the keys that the tree has, or of the whole tree without keys.

        Objects of ``torch.nn.Module`` that were saved whole, with or without NVIDIA's persistence, have the
        names that their ``state_dict`` would have. Empty when there is none of the keys.

        Raises:
            UnsafeFileError: the tree refers to itself.
        """
        if not keys and self.part is not None and self.whole is not None and self.whole._unwrapped is not None:
            return self.whole._unwrapped.tensors(self.part.path)
        tree = self.tree
        if keys:
            held = tree if isinstance(tree, Mapping) else {}
            tree = next((held[key] for key in keys if key in held), None)
        try:
            return dict(tensors_of(tree))
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{self.path}: {error}") from error

    def diagnosis(self) -> str | None:
        """What other kind of file it seems to be, in a line; None when there is no telling."""
        return diagnose_tree(self.tree) or diagnose_tensors(self.state())

    def seems_to_be(self) -> str:
        """What the file holds, in a line, for one that no family of generators recognises."""
        if (seems := self.diagnosis()) is not None:
            return seems
        tensors = self.state()
        listed = [f"{shown(name)} {tuple(tensor.shape)}" for name, tensor in list(tensors.items())[:6]]
        more = f", ... ({len(tensors)} tensors)" if len(tensors) > 6 else ""
        return f"no family of generators knows it; it holds {', '.join(listed)}{more}"


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a file of weights: safetensors, ``torch.save`` in both layouts, or NVIDIA's pickles.

    No code runs, whatever the file asks for; memory stays near the file's size.

    Raises:
        DamagedFileError: no such file, truncated, or something else, and what it seems to be.
        UnsafeFileError: it asks for code, or claims to be larger than it is.
    """
    path = Path(path)
    if problem := diagnose_file(path):
        raise DamagedFileError(f"{path}: {problem}")
    try:
        with named(path, "zip", "safetensors"):
            checkpoint = _read(path)
            check_extent(checkpoint.tree)
        return checkpoint
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: refused: {error}") from error
    except DamagedFileError as error:
        raise DamagedFileError(f"{path}: {error}") from error
    except OSError:
        raise
    except MemoryError as error:
        raise DamagedFileError(f"{path}: it needs more memory than there is") from error
    except Exception as error:  # a damaged file can go wrong with any exception there is
        raise DamagedFileError(f"{path}: damaged ({type(error).__name__}: {shown(str(error))})") from error


def _read(path: Path) -> Checkpoint:
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:4] == b"PK\x03\x04":
        return Checkpoint(path, "torch zip", read_zip(path))
    if _LEGACY_START in head[:32]:
        return Checkpoint(path, "torch legacy", read_legacy_file(path))
    if head[8:9] != b"{" and (head[:1] == b"\x80" or is_old_pickle(head)):  # a header's length may start so too
        return Checkpoint(path, "pickle", read_pickle(path))
    tensors, metadata = _read_safetensors(path, int.from_bytes(head[:8], "little"))
    return Checkpoint(path, "safetensors", tensors, metadata)


def _read_safetensors(path: Path, header: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    if header > _LONGEST_HEADER:
        raise DamagedFileError(
            "no file of torch.save, pickle or safetensors that this program knows; if it is one, download it again"
        )
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise DamagedFileError(
            f"no file of torch.save, and as safetensors it is truncated or damaged ({shown(str(error))}); "
            "download it again"
        ) from error
