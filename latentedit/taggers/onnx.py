"""``onnx:FOLDER``: taggers of anime pictures in ONNX, such as WD14 v1.4 and WD v3.

A folder has ``model.onnx`` and ``selected_tags.csv``; ``onnx:FILE.onnx`` names a model with the table beside it. The
size of pictures, the order of axes and the batch are read from the model. The table has a tag a row, in the order of
the model's outputs, with at least the columns ``name`` and ``category`` (9 rating, 4 character, 0 general).

These models take blue, green, red, float32, 0 to 255, without mean and deviation, and give probabilities: a sigmoid
is inside. Two readers were published with them, by the same author, and they prepare pictures differently:

* ``small=enlarge`` (default): laid on a white square of the longer side, then resized by Pillow's bicubic filter,
  smaller or larger. SmilingWolf's space "wd-tagger", which came with v3 and reads v1.4 too.
* ``small=pad``: laid on a white square of the longer side, but at least of the network's, then shrunk by area
  averages; a small picture stays small, with white around it. ``dbimutils.py`` of SmilingWolf's SW-CV-ModelZoo and of
  toriato's stable-diffusion-webui-wd14-tagger, which came with v1.4.

Both keep the odd pixel of a margin at the right and the bottom. Thresholds 0.35, and 0.85 for characters, are the
space's too. Options for other taggers of the same two files say what is different.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import read_text, sha256_of, visible_files
from latentedit.lookalikes import named
from latentedit.registry import check_options
from latentedit.taggers.base import PictureTagger
from latentedit.taggers.networks.onnx import Network, outside_weights
from latentedit.taggers.resizing import area_resize

MODEL, TABLE = "model.onnx", "selected_tags.csv"
OPTIONS = {
    "small": ("enlarge", "pad"),
    "channels": ("bgr", "rgb"),
    "range": ("0..255", "0..1", "-1..1"),
    "outputs": ("probabilities", "logits"),
}
"""Each option's values, the default first."""

OUTPUT = "output"
"""The option that names which of several outputs of a model holds the scores."""

_GENERAL_THRESHOLD, _CHARACTER_THRESHOLD = 0.35, 0.85
_CHARACTER, _RATING = 4, 9
_LONGEST_SIDE = 16_384  # pixels; its white square takes 0.8 GB
_ROUNDING = 1e-3  # of half precision, beyond [0, 1]


class OnnxTagger(PictureTagger):
    """A model in an onnxruntime session.

    Args:
        network: the session, and what its input is like.
        vocabulary: tags in the order of the outputs.
        options: a value for each of OPTIONS.
        id: of the tagger.
    """

    threshold = _GENERAL_THRESHOLD

    def __init__(self, network: Network, vocabulary: Vocabulary, options: Mapping[str, str], id: str) -> None:
        self.id, self.tags = id, vocabulary.tags
        self.thresholds = {tag: _CHARACTER_THRESHOLD for tag in vocabulary.characters}
        self._network, self._options = network, dict(options)
        self.device = network.device
        self._square = _padded if options["small"] == "pad" else _enlarged
        filters = {"enlarge": "Pillow's bicubic", "pad": "area average, never enlarged"}
        self.settings = {
            "size": f"{network.size} x {network.size}",
            "layout": "NHWC" if network.channels_last else "NCHW",
            "resize": f"white square, {filters[options['small']]}",
            **options,
            OUTPUT: network.output,
        }

    def prepare(self, pictures: Tensor) -> np.ndarray:
        """Pictures (n, 3, H, W) uint8 to (n, size, size, 3) or (n, 3, size, size) float32, as the model takes them.

        Raises:
            LatentEditError: a side is longer than 16384 pixels.
        """
        height, width = pictures.shape[2:]
        if max(height, width) > _LONGEST_SIDE:
            raise LatentEditError(
                f"pictures are {width} x {height} pixels; this tagger takes up to {_LONGEST_SIDE} a side, crop them"
            )
        pixels = pictures.permute(0, 2, 3, 1).cpu().numpy()
        squares: np.ndarray = np.empty((len(pixels), self._network.size, self._network.size, 3), np.float32)
        for square, picture in zip(squares, pixels, strict=True):
            square[:] = self._square(picture, self._network.size)
        if self._options["channels"] == "bgr":
            squares = squares[..., ::-1]
        if self._options["range"] != "0..255":
            squares = squares / 255 if self._options["range"] == "0..1" else squares / 127.5 - 1
        if not self._network.channels_last:
            squares = squares.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(squares, np.float32)

    def predict(self, prepared: np.ndarray) -> Tensor:
        """What :meth:`prepare` gave to scores (n, tags) float32.

        Raises:
            LatentEditError: the model fails, or gives another number of outputs, NaN, or what is no probability.
        """
        if not len(prepared):
            return torch.zeros(0, len(self.tags))
        found = self._network.run(prepared)
        if found.shape != (len(prepared), len(self.tags)):
            raise LatentEditError(
                f"{self._network.path} gave outputs of shape {found.shape} for {len(prepared)} pictures and "
                f"{len(self.tags)} tags of {TABLE}; the two files do not belong together"
            )
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found)).any(1).argmax())
            raise LatentEditError(
                f"{self._network.path} gave NaN or infinity for picture {bad} of the batch; the file is damaged, or "
                "its range is another one (option range)"
            )
        scores = torch.from_numpy(found)
        if self._options["outputs"] == "logits":
            return scores.sigmoid()
        if found.min() < -_ROUNDING or found.max() > 1 + _ROUNDING:
            raise LatentEditError(
                f"{self._network.path} gave values from {found.min():.4g} to {found.max():.4g}, which are no "
                "probabilities; if they are logits, add outputs=logits"
            )
        return scores.clamp(0, 1)


def load(argument: str, options: dict[str, str], *, device: torch.device, dtype: torch.dtype) -> OnnxTagger:
    """The tagger in a folder, or in a file with its table beside it.

    Args:
        argument: the folder or file.
        options: of OPTIONS, those left out have their defaults; and ``output``, the name of the output that holds
            the scores. Where that is not given, it is the one of as many numbers as there are tags; of several, the
            one of probabilities (or of logits, with ``outputs=logits``), by a few pictures.
        device: where it runs; all but CUDA means the processor.
        dtype: means nothing here: the file holds the precision.

    Raises:
        DamagedFileError: something is missing, damaged, or no such model.
        UnsafeFileError: the model wants weights from outside its folder.
        LatentEditError: an unknown option or value, tags that do not fit the model, or onnxruntime is missing.
    """
    chosen = _chosen({key: value for key, value in options.items() if key != OUTPUT})
    path = _find(argument)
    vocabulary = Vocabulary.read(path.with_name(TABLE))
    weights = [path, *outside_weights(path)]
    network = Network.open(path, device)
    network = _with_output(network, vocabulary, chosen, options.get(OUTPUT))
    digest = hashlib.sha256("\n".join(vocabulary.tags).encode())
    for file in weights:
        digest.update(sha256_of(file).encode())
    for key, value in sorted(chosen.items()):
        if value != OPTIONS[key][0]:  # the default and leaving it out are the same
            digest.update(f"{key}={value}".encode())
    if network.output != network.session.get_outputs()[0].name:
        digest.update(f"{OUTPUT}={network.output}".encode())
    return OnnxTagger(network, vocabulary, chosen, f"onnx:{digest.hexdigest()[:12]}")


def _with_output(network: Network, vocabulary: Vocabulary, chosen: Mapping[str, str], asked: str | None) -> Network:
    """The network with the output that holds the scores; said where the model has several and none was asked for."""
    fits, tags = network.outputs_of(len(vocabulary.tags), TABLE), len(vocabulary.tags)
    if asked is not None:
        found = network.giving(asked)
        if asked not in fits:
            raise LatentEditError(f"{network.path}: output {asked!r} is not one of {tags} tags; these may be: {fits}")
        return found
    if len(network.session.get_outputs()) == 1:
        return network
    why = f"the only one of {tags} numbers"
    if len(fits) > 1:
        fits, why = _by_pictures(network, vocabulary, chosen, fits), f"the one of {chosen['outputs']}"
    if len(fits) != 1:
        raise LatentEditError(
            f"{network.path} has outputs {network.told()}, and which holds the {tags} scores is not sure; say it: "
            f"onnx:{network.path}?{OUTPUT}={(fits or ['NAME'])[-1]}"
        )
    warnings.warn(f"{network.path}: of its outputs {network.told()}, {fits[0]} is used: {why}", stacklevel=3)
    return network.giving(fits[0])


def _by_pictures(network: Network, vocabulary: Vocabulary, chosen: Mapping[str, str], names: list[str]) -> list[str]:
    """Those of several outputs whose values for a few pictures are what the option ``outputs`` says."""
    pictures = torch.randint(0, 256, (4, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    pictures[:2] = torch.tensor([0, 255], dtype=torch.uint8)[:, None, None, None]
    prepared = OnnxTagger(network, vocabulary, chosen, "").prepare(pictures)
    found = {name: network.giving(name).run(prepared) for name in names}
    found = {name: values for name, values in found.items() if values.shape == (4, len(vocabulary.tags))}
    within = [name for name, a in found.items() if a.min() >= -_ROUNDING and a.max() <= 1 + _ROUNDING]
    if len(within) > 1:  # logits may lie in [0, 1] by chance, but are not the sigmoid of another output
        within = [a for a in within if any(_is_sigmoid_of(found[a], found[b]) for b in found if b != a)]
    if chosen["outputs"] == "probabilities":
        return within
    return [name for name in found if name not in within]


def _is_sigmoid_of(values: np.ndarray, logits: np.ndarray) -> bool:
    return bool(np.allclose(torch.from_numpy(logits).sigmoid().numpy(), values, atol=_ROUNDING))


def _chosen(options: Mapping[str, str]) -> dict[str, str]:
    known = {key: " or ".join(values) for key, values in OPTIONS.items()}
    check_options("onnx", options, known | {OUTPUT: "name of the output that holds the scores"})
    for key, value in options.items():
        if value not in OPTIONS[key]:
            raise LatentEditError(f"{key} is {value!r}; it must be {' or '.join(OPTIONS[key])}")
    return {key: options.get(key, values[0]) for key, values in OPTIONS.items()}


def _find(argument: str) -> Path:
    """The model's file; the table is beside it."""
    if not argument:
        raise LatentEditError(f"onnx needs a folder with {MODEL} and {TABLE}, as in onnx:wd-vit-tagger-v3")
    given = Path(argument)
    path = given / MODEL if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        others = [file.name for file in visible_files(given, "*.onnx")]
        hint = f"; it has {', '.join(others[:5])}, name one as onnx:{given / others[0]}" if others else ""
        raise DamagedFileError(f"{given} has no {MODEL}{hint or '; download the whole folder of the tagger'}")
    if not path.is_file():
        raise DamagedFileError(f"no tagger at {given}; onnx takes a folder with {MODEL} and {TABLE}, or an .onnx file")
    if not path.with_name(TABLE).is_file():
        raise DamagedFileError(f"{path.parent} has no {TABLE}; put the table that came with {path.name} beside it")
    return path


@dataclass(frozen=True)
class Vocabulary:
    """What the outputs mean.

    Attributes:
        tags: of all outputs in order; ratings are called ``rating:general`` and so on.
        characters: those among them that name somebody.
    """

    tags: tuple[str, ...]
    characters: tuple[str, ...]

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """The table at a path.

        Raises:
            DamagedFileError: it is no table of tags.
        """
        with named(path):
            try:
                rows = list(_rows(path, csv.reader(io.StringIO(read_text(path)), strict=True)))
            except csv.Error as error:
                raise DamagedFileError(f"{path}: cannot be read as a CSV table ({error})") from error
            if not rows:
                raise DamagedFileError(f"{path} lists no tag; download it again")
        name, count = Counter(name for name, _ in rows).most_common(1)[0]
        if count > 1:
            raise DamagedFileError(f"{path} lists {name!r} {count} times; a tag has one output, download it again")
        return cls(tuple(name for name, _ in rows), tuple(name for name, kind in rows if kind == _CHARACTER))


def _rows(path: Path, lines: Iterator[list[str]]) -> Iterator[tuple[str, int]]:
    """Tag and category of each row; other columns are not looked at."""
    header = [cell.strip() for cell in next(lines, [])]
    if not {"name", "category"} <= set(header):
        raise DamagedFileError(
            f"{path}: its first line is {','.join(header)[:80]!r}; it must name columns, name and category among them"
        )
    name, category = header.index("name"), header.index("category")
    for number, cells in enumerate(lines, 2):
        if not cells:
            continue
        if len(cells) != len(header):
            raise DamagedFileError(f"{path}, row {number}: {len(cells)} cells where the header has {len(header)}")
        tag, kind = cells[name].strip(), re.fullmatch(r"(\d)(\.0*)?", cells[category].strip())
        if not tag or kind is None:
            raise DamagedFileError(
                f"{path}, row {number}: {','.join(cells)[:80]!r}; it must have a name and a category, "
                "such as 0 general, 4 character, 9 rating"
            )
        yield (f"rating:{tag}" if int(kind[1]) == _RATING else tag), int(kind[1])


def _white_square(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) in the middle of a white square; of an odd margin the larger part is right and below."""
    height, width, _ = picture.shape
    if height == width == side:
        return picture
    square = np.full((side, side, 3), 255, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _enlarged(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 to (size, size, 3) uint8, as the space for v3 does it."""
    square = _white_square(picture, max(picture.shape[:2]))
    if len(square) == size:
        return square
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BICUBIC))


def _padded(picture: np.ndarray, size: int) -> np.ndarray:
    """A picture (H, W, 3) uint8 to (size, size, 3) whole numbers float32, as the reader for v1.4 does it.

    OpenCV rounds halves to even numbers, but upwards where it halves a picture exactly (``INTER_AREA`` in
    ``modules/imgproc/src/resize.cpp``).
    """
    square = _white_square(picture, max(size, *picture.shape[:2]))
    if len(square) == size:
        return square
    shrunk = area_resize(torch.from_numpy(square).permute(2, 0, 1)[None], size, size)[0].permute(1, 2, 0)
    rounded = (shrunk + 0.5).floor() if len(square) == 2 * size else shrunk.round()
    return rounded.numpy()
