"""Runs a study: samples, directions, and every measurement that its protocol asks for.

What is slow is measured once and kept: scores, features and distances of every picture lie in ``OUT/measured``, each
file with the settings it was made with, and the numbers with their intervals are worked out from them
(:mod:`latentedit.study.results`). The same command goes on where a stopped one ended, redoes what other settings ask
for, and refuses a folder that holds another study.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from latentedit import __version__
from latentedit.directions import fit_directions
from latentedit.directions.bank import DirectionBank
from latentedit.directions.edits import DEFAULT_RATIO, Edit
from latentedit.directions.moments import Moments
from latentedit.editing.editors import EditorFile, open_editor
from latentedit.editing.faces import Faces
from latentedit.errors import DamagedFileError, LatentEditError
from latentedit.files import atomic_write, file_name, read_text, sha256_of
from latentedit.generators import Generator, load_generator
from latentedit.generators.base import picture_size
from latentedit.generators.probe import probe_of
from latentedit.metrics.carriers import Network, OwnPictures, draw_own, natural_networks, network_id
from latentedit.metrics.disentanglement import dci_of_bank
from latentedit.metrics.domain_frechet import dfid_of_picture
from latentedit.metrics.edited_pictures import (
    ORIGINAL,
    Move,
    diversity_of_moves,
    features_of_moves,
    features_of_pictures,
)
from latentedit.metrics.features import FeatureNetwork, load_features
from latentedit.metrics.frechet_distance import FrechetStatistics
from latentedit.metrics.judges import choose_judge
from latentedit.metrics.rescoring import Rescoring, rescore
from latentedit.metrics.scoring import along
from latentedit.pictures.folder import PictureFolder
from latentedit.prior.prior import Prior
from latentedit.samples.contents import Contents
from latentedit.samples.sampling import sample
from latentedit.samples.store import Samples
from latentedit.samples.tag_filter import select_tags
from latentedit.study.protocol import Method, Protocol
from latentedit.taggers import Tagger, load_tagger
from latentedit.taggers.base import thresholds_of
from latentedit.taggers.tag_names import known_tag, known_tags
from latentedit.tensorfile import read_safetensors, write_safetensors

FORMAT = "latentedit.measured"
RECORD = "study.json"
"""The file that says that a folder holds a study, and which."""
SCHEMA = 1
Arrays = dict[str, np.ndarray]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Measured:
    """All that a study measured, before any statistics.

    Attributes:
        protocol: of the study.
        samples: that directions were fitted on.
        banks: finder → its directions; file → the editor in it.
        judge: tags, thresholds and id of who scored.
        scores: method → scores ``before`` (n, k), ``opposed`` (t, n, k) and ``alone`` (t, n, k), rows in the order of
            :meth:`Study.edits_of`; ``groups`` (n,) where pictures share contents; and how the pictures of both look, as
            :meth:`~latentedit.metrics.looks.Looks.arrays` writes it, each name after ``looks ``.
        curves: finder → ``before`` (n, k) and ``after`` (s, t, n, k).
        dci: finder → disentanglement, completeness, informativeness (3,) of the directions that all finders have.
        features, disturbance: ``original`` or ``method/edit`` → (n, d) and (n,).
        target_features: (m, d) of the real pictures.
        domain, diversity: ``original`` or ``method/edit`` → (N,).
        provenance: what every number depends on.
    """

    protocol: Protocol
    samples: Samples
    banks: Mapping[str, EditorFile]
    judge: Tagger
    scores: Mapping[str, Arrays]
    curves: Mapping[str, Arrays]
    dci: Arrays
    features: Arrays
    disturbance: Arrays
    target_features: np.ndarray | None
    domain: Arrays
    diversity: Arrays
    networks: Mapping[str, FeatureNetwork]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def edits_of(protocol: Protocol, bank: EditorFile) -> list[str]:
    """Names of the edits whose tags an editor knows, in the protocol's order."""
    return [
        e.name
        for e in protocol.edits
        if all(known_tag(tag, bank.tags) in bank.tags for tag in (e.positive, e.negative) if tag is not None)
    ]  # fmt: skip


def key_of(method: Method, edit: str) -> str:
    """What an edit by a method is called among the measurements."""
    return f"{method.name}/{edit}"


class Study:
    """One run of a protocol in a folder.

    Args:
        protocol: what to do.
        out: folder; made when missing. None to look at what the protocol names without doing anything.
        device: as in torch.
        dtype: that the generator decodes in.
        batch_size: pictures decoded at once.
        progress: called with (step, done, total).

    Raises:
        LatentEditError: the folder holds another study, or what the protocol names cannot be loaded.
    """

    def __init__(
        self, protocol: Protocol, out: str | Path | None, *, device: str = "cpu",
        dtype: torch.dtype = torch.float32, batch_size: int = 32, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        self.protocol, self.out, self.batch_size, self._progress = protocol, Path(out or "."), batch_size, progress
        self.generator: Generator = load_generator(protocol.generator, device=device, dtype=dtype)
        self.tagger_name = protocol.tagger or getattr(self.generator, "default_tagger", "")
        if not self.tagger_name:
            raise LatentEditError(
                f"no tagger ships for {protocol.generator}; name one with --tagger, or in the protocol"
            )
        self.tagger: Tagger = load_tagger(self.tagger_name, device=device)
        judged = choose_judge(
            self.generator, protocol.judge, fitted=(self.tagger_name, {self.tagger.id}), device=device
        )
        self.judge, self.judge_name = judged.tagger, judged.name
        wanted = {
            "features": protocol.features if {"fid", "dfid"} & set(protocol.metrics) else None,
            "perceptual": protocol.perceptual if "lpips" in protocol.metrics else None,
        }
        self.networks = {use: load_features(name, device=device) for use, name in wanted.items() if name}
        translates = hasattr(self.generator, "encode")
        self.test = None
        if protocol.test and translates:
            found = Contents.find(self.generator, protocol.test)
            self.test = found.readable(len(found))
        if "dfid" in protocol.metrics and self.test is None:
            raise LatentEditError(
                f"dfid asks for an image-to-image generator and test pictures; {protocol.generator} "
                f"{'has none named' if translates else 'takes no content'}: leave dfid out of metrics"
            )
        self.natural: dict[str, Network] = {}
        self.natural_note = ""
        if "natural" in protocol.metrics:
            features = self.networks.get("features", protocol.features)
            self.natural, self.natural_note = natural_networks(self.judge, features, device=device)
        self.files: dict[str, EditorFile] = {}
        for method in protocol.methods:
            if method.file is not None:
                self.files[method.finder] = open_editor(method.file)
                self.files[method.finder].check_generator(self.generator)
        if out is not None:
            self._claim()

    def _claim(self) -> None:
        """Mark the folder as this study's, or refuse."""
        record, text = self.out / RECORD, json.dumps(self._identity(), indent=2)
        if record.exists():
            try:
                held = json.loads(read_text(record))
            except ValueError as error:
                raise DamagedFileError(f"{record}: damaged ({error}); delete it, or name another --out") from error
            differ = [key for key, value in self._identity().items() if held.get(key) != value]
            if differ:
                raise LatentEditError(
                    f"{self.out} holds another study: its {differ[0]} is {held.get(differ[0])!r}, "
                    f"not {self._identity()[differ[0]]!r}; name another --out"
                )
            return
        if self.out.is_dir() and any(not path.name.startswith(".") for path in self.out.iterdir()):
            raise LatentEditError(f"{self.out} is not empty and holds no study; name another --out")
        self.out.mkdir(parents=True, exist_ok=True)
        with atomic_write(record) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")

    def _identity(self) -> dict[str, Any]:
        """What makes it this study; sizes and metrics may grow."""
        p = self.protocol
        return {
            "title": p.title, "generator": self.generator.id, "tagger": self.tagger.id, "seed": p.seed,
            "edits": [[e.name, e.positive, e.negative] for e in p.edits],
        }  # fmt: skip

    def measure(self) -> Measured:
        """Do all that is not done yet.

        Raises:
            LatentEditError: a tag that no sample carries, pictures that cannot be read, ...
        """
        samples, banks = self._fit()
        scores, curves = {}, {}
        own = self._own(banks)
        for method in self.protocol.methods_of("rescoring"):
            seen = own if method in self.protocol.methods_of("natural") else None
            scores[method.name] = self._scores(method, banks[method.finder], seen)
        if {"curves", "dependency"} & set(self.protocol.metrics):
            for method in self.protocol.methods:
                if method.finder not in curves:
                    curves[method.finder] = self._curves(method.finder, banks[method.finder])
        informed = self._dci(samples, banks) if "dci" in self.protocol.metrics else {}
        features, disturbance, targets = self._pictures(banks)
        return Measured(
            protocol=self.protocol, samples=samples, banks=banks, judge=self.judge, scores=scores, curves=curves,
            dci=informed, features=features, disturbance=disturbance, target_features=targets,
            domain=self._domain(banks, targets), diversity=self._diversity(banks), networks=self.networks,
            provenance=self._provenance(samples, banks),
        )  # fmt: skip

    # ---- the steps

    def _fit(self) -> tuple[Samples, dict[str, EditorFile]]:
        """Samples, and the directions of every finder, or the editor in its file."""
        p = self.protocol
        samples = sample(
            self.generator, self.out / "samples", tagger=self.tagger, n=p.sizes.samples, contents=p.train,
            styles_per_content=p.sizes.styles_per_content, batch_size=self.batch_size,
            generator_name=p.generator, tagger_name=self.tagger_name, progress=self._during("sample"),
        )  # fmt: skip
        counts = samples.tag_counts()
        named = [tag for e in p.edits for tag in (e.positive, e.negative) if tag is not None]
        common = select_tags(counts, samples.label_counts(), low=p.low, high=p.high)
        tags = select_tags(counts, samples.label_counts(), tags=[*dict.fromkeys([*named, *common])])
        moments = Moments.from_samples(samples, tags=tags)
        banks: dict[str, EditorFile] = {}
        finders = list(dict.fromkeys(m.finder for m in p.methods))
        for i, finder in enumerate(finders):
            self._during("fit")(i, len(finders))
            if finder in self.files:
                banks[finder] = self.files[finder]
                continue
            path = self.out / "directions" / f"{file_name(finder)}.safetensors"
            found = fit_directions(moments, finder=finder, generator=self.generator)
            banks[finder] = DirectionBank(
                list(found), generator_name=p.generator, generator_probe=probe_of(self.generator)
            )
            path.parent.mkdir(exist_ok=True)
            banks[finder].save(path)
        self._during("fit")(len(finders), len(finders))
        return samples, banks

    def _own(self, banks: Mapping[str, EditorFile]) -> OwnPictures | None:
        """The generator's own pictures, among whose carriers edited ones are natural or not."""
        p = self.protocol
        methods = p.methods_of("natural")
        edited = {name for m in methods for name in edits_of(p, banks[m.finder])}
        targets = [
            tag
            for tag in known_tags((e.positive for e in p.edits if e.name in edited), self.judge.tags)
            if tag in self.judge.tags
        ]
        if not targets:
            return None
        settings = self._settings(
            judge=self.judge.id, targets=targets, pictures=p.sizes.natural_pictures,
            networks={name: network_id(network) for name, network in self.natural.items()},
        )  # fmt: skip

        def compute() -> Arrays:
            own = draw_own(
                self.generator, self.judge, targets, self.faces(p.sizes.rescoring_pictures), networks=self.natural,
                most=p.sizes.natural_pictures, batch_size=self.batch_size, progress=self._during("own pictures"),
            )  # fmt: skip
            groups = {} if own.groups is None else {"groups": own.groups}
            features = {f"features {name}": found for name, found in own.features.items()}
            return {"scores": own.scores, "rows": own.rows, **groups, **features}

        found = self._kept("own", settings, compute)
        return OwnPictures(
            tuple(targets), tuple(self.judge.tags), thresholds_of(self.judge), found["scores"], found["rows"],
            _part(found, "features "), found.get("groups"), self.natural, settings,
        )  # fmt: skip

    def _scores(self, method: Method, bank: EditorFile, own: OwnPictures | None) -> Arrays:
        """Scores before and after a method's edits, with and without the opposing tag, and how the pictures look."""
        edits = [e for e in self.protocol.edits if e.name in edits_of(self.protocol, bank)]
        both = [*(method.edit(e) for e in edits), *(method.edit(e, opposing=False) for e in edits)]
        pictures = self.protocol.sizes.rescoring_pictures
        settings = self._settings(
            bank=bank, judge=self.judge.id, strength=[method.strength, method.opposite, method.unit],
            pictures=pictures, natural=None if own is None else dict(own.provenance), looks=1,
        )  # fmt: skip

        def compute() -> Arrays:
            r = self._rescored(f"re-score {method.name}", bank, both, pictures, own)
            t = len(edits)
            groups = {} if r.groups is None else {"groups": r.groups}
            looks = {} if r.looks is None else {f"looks {name}": held for name, held in r.looks.arrays().items()}
            return {"before": r.before, "opposed": r.after[:t], "alone": r.after[t:], **groups, **looks}

        return self._kept(f"rescoring-{method.name}", settings, compute)

    def _curves(self, finder: str, bank: EditorFile) -> Arrays:
        """Scores before and after every edit at every strength, with the opposing tag at a third."""
        strengths = self.protocol.sizes.curve_strengths
        edits = [e for e in self.protocol.edits if e.name in edits_of(self.protocol, bank)]
        moves = [
            Edit(e.positive, s, opposite=e.negative, ratio=DEFAULT_RATIO if e.negative else None)
            for s in strengths
            for e in edits
        ]
        pictures = self.protocol.sizes.curve_pictures
        settings = self._settings(bank=bank, judge=self.judge.id, strengths=list(strengths), pictures=pictures)

        def compute() -> Arrays:
            r = self._rescored(f"strengths of {finder}", bank, moves, pictures)
            return {"before": r.before, "after": r.after.reshape(len(strengths), len(edits), *r.before.shape)}

        return self._kept(f"curves-{finder}", settings, compute)

    def _dci(self, samples: Samples, banks: Mapping[str, EditorFile]) -> Arrays:
        """DCI of the codes' places along each finder's directions."""
        lines = {finder: bank for finder, bank in banks.items() if isinstance(bank, DirectionBank)}
        if not lines:
            return {}
        first, *rest = lines.values()
        tags = [tag for tag in first.tags if all(tag in bank for bank in rest)]
        found = {}
        for i, (finder, bank) in enumerate(lines.items()):
            shared = bank.only(tags)
            settings = self._settings(bank=shared, samples=samples.fingerprint())

            def compute(shared: DirectionBank = shared) -> Arrays:
                d = dci_of_bank(shared, samples)
                return {"dci": np.array([d.disentanglement, d.completeness, d.informativeness])}

            found[finder] = self._kept(f"dci-{finder}", settings, compute)["dci"]
            self._during("DCI")(i + 1, len(lines))
        return found

    def _rescored(
        self, step: str, bank: EditorFile, edits: Sequence[Edit], pictures: int, own: OwnPictures | None = None
    ) -> Rescoring:
        """Scores before and after, and looks; intervals are worked out later."""
        return rescore(
            self.generator, self.judge, bank, edits, self.faces(pictures), batch_size=self.batch_size, own=own,
            n_boot=1, progress=self._during(step),
        )  # fmt: skip

    def faces(self, pictures: int) -> Faces:
        """The first faces that are measured: a seed each, and the test pictures in turn."""
        return Faces(seeds=range(self.protocol.seed, self.protocol.seed + pictures), content=self.test)

    def moves(self, metric: str, banks: Mapping[str, EditorFile]) -> dict[str, Move]:
        """The moves that a metric is measured of."""
        return {
            key_of(method, e.name): along(banks[method.finder], method.edit(e))
            for method in self.protocol.methods_of(metric)
            for e in self.protocol.edits
            if e.name in edits_of(self.protocol, banks[method.finder])
        }

    def _pictures(self, banks: Mapping[str, EditorFile]) -> tuple[Arrays, Arrays, np.ndarray | None]:
        """Features of edited pictures, how far they are from the unedited ones, and features of the real pictures."""
        p, network = self.protocol, self.networks.get("features")
        if network is None or p.target is None:
            return {}, {}, None
        target = PictureFolder(p.target, picture_size(self.generator))
        settings = {"features": network.id, "pictures": [sha256_of(path)[:12] for path in target.paths]}
        targets = self._kept(
            "target", settings,
            lambda: {"features": features_of_pictures(network, target, progress=self._during("real pictures"))},
        )["features"]  # fmt: skip
        if "fid" not in p.metrics:
            return {}, {}, targets
        moves, perceptual = self.moves("fid", banks), self.networks.get("perceptual")
        settings = self._settings(
            moves=self._recipe("fid", banks), features=network.id, pictures=p.sizes.fid_pictures,
            perceptual=None if perceptual is None else perceptual.id,
        )  # fmt: skip

        def compute() -> Arrays:
            faces = self.faces(p.sizes.fid_pictures).prepare(self.generator, batch_size=self.batch_size)
            features, apart = features_of_moves(
                faces, network, moves, perceptual=perceptual, progress=self._during("FID")
            )
            return {f"features {k}": v for k, v in features.items()} | {f"apart {k}": v for k, v in apart.items()}

        found = self._kept("fid", settings, compute)
        return _part(found, "features "), _part(found, "apart "), targets

    def _domain(self, banks: Mapping[str, EditorFile], targets: np.ndarray | None) -> Arrays:
        """DFID of every source picture; each picture is kept as soon as it is done."""
        p = self.protocol
        if "dfid" not in p.metrics or targets is None or p.test is None:
            return {}
        moves, network = self.moves("dfid", banks), self.networks["features"]
        pictures = PictureFolder(p.test, picture_size(self.generator))
        statistics = FrechetStatistics()
        statistics.update(targets)
        sources, copies = pictures.readable(p.sizes.dfid_pictures), p.sizes.dfid_augmentations
        rows: list[Arrays] = []
        for done, i in enumerate(sources, 1):
            settings = self._settings(
                moves=self._recipe("dfid", banks), features=network.id, augmentations=copies, picture=i,
                target=hashlib.sha256(targets.tobytes()).hexdigest()[:12],
            )  # fmt: skip

            def compute(i: int = i) -> Arrays:
                found = dfid_of_picture(
                    self.generator, network, pictures[i], statistics, moves={ORIGINAL: lambda w: w} | moves,
                    augmentations=copies, seed=p.seed, index=i, batch_size=self.batch_size,
                )  # fmt: skip
                return {name: np.array([value]) for name, value in found.items()}

            rows.append(self._kept(f"dfid-{i:03d}", settings, compute))
            self._during("DFID pictures")(done, len(sources))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _diversity(self, banks: Mapping[str, EditorFile]) -> Arrays:
        """LPIPS between random styles of each source picture."""
        p, network = self.protocol, self.networks.get("perceptual")
        if network is None:
            return {}
        sizes = p.sizes
        settings = self._settings(
            moves=self._recipe("lpips", banks), perceptual=network.id, pictures=sizes.lpips_pictures,
            styles=sizes.lpips_styles,
        )  # fmt: skip
        return self._kept(
            "lpips", settings,
            lambda: diversity_of_moves(
                self.generator, network, self.moves("lpips", banks), sizes.lpips_pictures,
                styles=sizes.lpips_styles, seed=p.seed, contents=self.test, progress=self._during("LPIPS"),
            ),
        )  # fmt: skip

    # ---- keeping

    def _kept(self, name: str, settings: Mapping[str, Any], compute: Callable[[], Arrays]) -> Arrays:
        """Arrays that were measured with these settings before, or are now."""
        path, wanted = self.out / "measured" / f"{file_name(name)}.safetensors", json.dumps(settings, sort_keys=True)
        if path.exists():
            _, held = read_safetensors(path, format=FORMAT, schema=SCHEMA, names=())
            if held.get("settings") == wanted:
                return read_safetensors(path, format=FORMAT, schema=SCHEMA, names=json.loads(held["names"]))[0]
        arrays = compute()
        path.parent.mkdir(exist_ok=True)
        metadata = {"format": FORMAT, "schema": str(SCHEMA), "settings": wanted, "names": json.dumps([*arrays])}
        write_safetensors(path, arrays, metadata)
        return arrays

    def _settings(self, **more: Any) -> dict[str, Any]:
        """What a measurement on generated pictures depends on, a bank by its directions, a prior by its networks."""
        if isinstance(bank := more.get("bank"), EditorFile):
            more["bank"] = _fingerprint(bank)
        contents = None if self.test is None else list(self.test.source.pictures)
        return {"generator": self.generator.id, "seed": self.protocol.seed, "contents": contents, **more}

    def _recipe(self, metric: str, banks: Mapping[str, EditorFile]) -> list[Any]:
        """What the moves of a metric depend on."""
        return [
            [
                m.name,
                _fingerprint(banks[m.finder]),
                m.strength,
                m.opposite,
                m.unit,
                edits_of(self.protocol, banks[m.finder]),
            ]
            for m in self.protocol.methods_of(metric)
        ]

    def _provenance(self, samples: Samples, banks: Mapping[str, EditorFile]) -> dict[str, Any]:
        import torch

        p = self.protocol
        return {
            "latentedit": __version__, "torch": torch.__version__, "threads": torch.get_num_threads(),
            "generator": {"name": p.generator, "id": self.generator.id},
            "tagger": {"name": self.tagger_name, "id": self.tagger.id},
            "judge": {"name": self.judge_name, "id": self.judge.id},
            "networks": {use: {"name": n.name, "id": n.id} for use, n in self.networks.items()},
            "natural": {"networks": [*self.natural], "note": self.natural_note},
            "samples": {"rows": samples.rows, "seeds": [0, samples.rows - 1]},
            "directions": {
                finder: {"sha256": _fingerprint(bank), "tags": list(bank.tags), "params": _params(bank)}
                for finder, bank in banks.items()
            },
            "first_seed": p.seed,
            "contents": 0 if self.test is None else len(self.test),
            "targets": None if p.target is None else str(p.target),
            "sizes": {name: value for name, value in vars(p.sizes).items()},
        }  # fmt: skip

    def _during(self, step: str) -> Callable[[int, int], None]:
        """Progress of a step."""

        def report(done: int, total: int) -> None:
            if self._progress:
                self._progress(step, done, total)

        return report


def _fingerprint(bank: EditorFile) -> str:
    """12 hexadecimal digits over the directions' tags, vectors and units, or a prior's tags and numbers."""
    digest = hashlib.sha256()
    if isinstance(bank, Prior):
        digest.update(json.dumps(bank.tags).encode())
        for values in bank.arrays().values():
            digest.update(values.tobytes())
        return digest.hexdigest()[:12]
    for d in bank:
        digest.update(f"{d.tag} {d.sigma!r} {d.coefficient_norm!r}".encode() + d.vector.numpy().tobytes())
    return digest.hexdigest()[:12]


def _params(bank: EditorFile) -> Any:
    """How it was fitted."""
    return bank.about.get("recipe") if isinstance(bank, Prior) else next(iter(bank)).params


def _part(arrays: Arrays, prefix: str) -> Arrays:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
