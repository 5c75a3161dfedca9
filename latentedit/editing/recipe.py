"""A recipe: a small JSON that says how a picture was made, and makes it again.

::

    recipe = le.Recipe.load("edit-smile.png")        # every PNG of ``latentedit edit`` holds one; or a JSON file
    recipe.draw().save("again.png")                  # the same pixels on one machine and device
    replace(recipe, edit=le.Edit("smile", 1)).draw()

**JSON**: ``recipe`` (1, the schema), ``edit`` (:meth:`Edit.to_json`), ``faces`` (seeds as ``3,7,12-15``; or codes,
base64 of float32 up to 64 faces, else a file), ``contents``, ``generator`` (name as typed, id), ``editor`` (kind,
files), ``layout``, ``device``, ``dtype``, ``latentedit``. Files are name and sha256. A PNG has it as text under the key
``latentedit``.

A recipe is data from anyone: types and sizes are checked, files are taken only when their sums agree, and a generator
that is code is never loaded because a recipe says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from latentedit import __version__
from latentedit.directions.edits import Edit
from latentedit.editing.editor import Editor
from latentedit.editing.editors import OwnEditor, kind_of, open_editor, settle, shipped_file, side_names
from latentedit.editing.faces import Faces, PreparedFaces
from latentedit.editing.ingredients import EDITORS, ROLES, SHIPPED, Ingredient, found_generator
from latentedit.editing.layout import Layout, draw
from latentedit.editing.recipe_json import (
    EMBEDDED,
    cut,
    faces_document,
    name_of,
    named_file,
    part,
    read_edit,
    read_faces,
    read_files,
    text_of,
    whole_number,
)
from latentedit.errors import DamagedFileError, LatentEditError, UnreadablePictureError
from latentedit.files import decoded
from latentedit.generators import Generator, load_generator
from latentedit.lookalikes import named
from latentedit.pictures.opening import text_in

SCHEMA = 1
KEY = "latentedit"
"""Of a recipe among the texts of a PNG file."""
_LARGEST = 64 << 20  # bytes of a file of a recipe


@dataclass(frozen=True)
class Recipe:
    """How a picture was made.

    Attributes:
        edit: what was changed, with nothing left open.
        faces: of which faces; files by the names that they had.
        generator: name as typed, such as ``avatar`` or ``gnr:FILE``.
        generator_id: of its weights.
        editor: what edited, in words: "lines", "flow" or "settled lines".
        ingredients: files of the editor and the faces, with their sums.
        layout: how the picture is laid out.
        against: what a second editor did beside it, None where there was none.
        device, dtype: on what it was drawn.
        version: of latentedit.
        file: that it was read from; other files are looked for beside it as well.
    """

    edit: Edit
    faces: Faces
    generator: str
    generator_id: str
    editor: str
    ingredients: tuple[Ingredient, ...] = ()
    layout: Layout = field(default_factory=Layout)
    against: Edit | None = None
    device: str = "cpu"
    dtype: str = "float32"
    version: str = __version__
    file: Path | None = field(default=None, compare=False)

    # ---- making

    @classmethod
    def of(
        cls,
        edit: Edit,
        faces: PreparedFaces,
        editor: Editor,
        files: Iterable[Ingredient | str | Path],
        *,
        generator: str,
        told: Faces | None = None,
        layout: Layout | None = None,
        against: Edit | None = None,
        device: str = "cpu",
        dtype: str = "float32",
    ) -> Recipe:
        """The recipe of a picture.

        Args:
            edit: what is changed, with nothing left open.
            faces: that are drawn.
            editor: edits them.
            files: of the editor, or "shipped"; and those of the faces whose names are not where they are now.
            generator: name as typed.
            told: the faces with files as they are to be named; those that are drawn when None.
            layout: a sheet when None.
            against: what a second editor does beside it; its files have that role.
            device, dtype: on what it is drawn.

        Raises:
            LatentEditError: a file cannot be read.
        """
        told = told or faces.faces
        known = [one if isinstance(one, Ingredient) else editor_file(one, editor) for one in files]
        if told.codes is not None and len(faces) <= EMBEDDED * faces.of_each_style:
            told = _with_codes(told, faces)
        for role in ROLES:
            value = getattr(told, role)
            if isinstance(value, (str, Path)) and (role, str(value)) not in [(one.role, one.name) for one in known]:
                known.append(Ingredient.of(role, value))
        kept = tuple(one for one in known if one.role in EDITORS or str(getattr(told, one.role)) == one.name)
        return cls(
            edit, told, generator, faces.generator.id, kind_of(editor), kept, layout or Layout(), against, device, dtype
        )

    def of_face(self, faces: PreparedFaces, i: int) -> Recipe:
        """The recipe of one of its faces in a picture of its own."""
        found = [one for one in self.ingredients if one.role in ("editor", "content")]
        told = replace(self.faces, count=None, every_content=False)
        if self.faces.seeds:
            told = replace(told, seeds=(faces.identity(i)["seed"],))
        else:
            told = replace(told, codes=faces.codes(slice(i, i + 1)).float(), style=None, names=(faces.names[i],))
        if faces.several_contents and (path := faces.content_path(i)) is not None:
            name = str(self.faces.content if path.name == "" else Path(str(self.faces.content)) / path.name)
            found = [*(one for one in found if one.role == "editor"), Ingredient.of("content", name, path)]
            told = replace(told, content=name)
        return replace(self, faces=told, ingredients=tuple(found), layout=Layout("single"), against=None)

    # ---- using

    def open_editor(self, role: str = "editor") -> OwnEditor:
        """The editor, or the second one ("against"), out of its files.

        Raises:
            DamagedFileError: a file is nowhere, or was changed.
        """
        paths = [one.find(self.file) for one in self.ingredients if one.role == role]
        found = [open_editor(path) for path in paths]
        names = " and ".join(map(str, paths))
        if not 1 <= len(found) <= 2:
            raise LatentEditError(f"the recipe has {len(found)} files of an editor; it takes one or two")
        return found[0] if len(found) == 1 else settle(*found, names=names)

    def located(self, faces: Faces | None = None, files: Iterable[Ingredient] | None = None) -> Faces:
        """The recipe's faces, or others, with files where they are now.

        Args:
            faces: the recipe's when None.
            files: of its ingredients that these faces have; all when None.

        Raises:
            DamagedFileError: a file is nowhere, or was changed.
        """
        meant = [one for one in (self.ingredients if files is None else files) if one.role in ROLES]
        now: dict[str, Any] = {one.role: one.named(one.find(self.file)) for one in meant}
        return replace(faces or self.faces, **now)

    def load_generator(self, *, device: str = "cpu") -> Generator:
        """The generator, unless its name is code.

        Raises:
            LatentEditError: it cannot be loaded, is another one by now, or a ``torch:`` one.
        """
        if self.generator.partition(":")[0].strip().lower() == "torch":
            raise LatentEditError(
                f"the recipe is of {self.generator}, which is code; load it yourself, or say that you want it: "
                f"--generator '{self.generator}'"
            )
        short = {"float16": torch.float16, "bfloat16": torch.bfloat16}
        name = self.generator if self.file is None else found_generator(self.generator, self.file)
        generator = load_generator(name, device=device, dtype=short.get(self.dtype, torch.float32))
        self.check_generator(generator)
        return generator

    def check_generator(self, generator: Generator) -> None:
        """Refuse another generator than the recipe's.

        Raises:
            LatentEditError: it has another id.
        """
        if generator.id != self.generator_id:
            raise LatentEditError(
                f"the recipe is of the generator {self.generator_id}, and {self.generator} is {generator.id} now; name "
                "the right one with --generator"
            )

    def draw(self, generator: Generator | None = None, *, batch_size: int = 32) -> Image.Image:
        """The picture; the same pixels on one machine and device, to 1e-5 elsewhere.

        Args:
            generator: to draw with; the recipe's own when None.
            batch_size: pictures decoded at once.

        Raises:
            LatentEditError: something of it cannot be found or loaded.
        """
        generator = generator or self.load_generator()
        faces, editor = self.located().prepare(generator, batch_size=batch_size), self.open_editor()
        if self.against is None:
            return draw(faces, editor, self.edit, self.layout)
        second = self.open_editor("against")
        here, there = side_names((editor, self._names("editor")), (second, self._names("against")))
        sides = {here: (editor, self.edit.parts), there: (second, self.against.parts)}
        return draw(faces, editor, self.edit, self.layout, sides=sides)

    def _names(self, role: str) -> str:
        return " and ".join(dict.fromkeys(one.name for one in self.ingredients if one.role == role))

    # ---- JSON

    def to_json(self) -> str:
        """As one line of JSON, ASCII alone.

        Raises:
            LatentEditError: codes or contents that are neither files nor few enough to stand in it.
        """
        return json.dumps(self.document())

    def document(self) -> dict[str, Any]:
        """The same as JSON values."""
        named = {one.role: {"name": one.name, "id": one.id, "sha256": one.sha256} for one in self.ingredients}
        files = {
            role: [{"path": one.name, "sha256": one.sha256} for one in self.ingredients if one.role == role]
            for role in EDITORS
        }
        found: dict[str, Any] = {
            "recipe": SCHEMA, "latentedit": self.version, "edit": json.loads(self.edit.to_json()),
            "faces": faces_document(self.faces, named),
            "generator": {"name": self.generator, "id": self.generator_id},
            "editor": {"kind": self.editor, "files": files["editor"]},
            "layout": {name: getattr(self.layout, name) for name in ("kind", "steps", "tile", "labels")},
            "device": self.device, "dtype": self.dtype,
        }  # fmt: skip
        if self.against is not None:
            found["against"] = {"edit": json.loads(self.against.to_json()), "files": files["against"]}
        return found | ({"contents": named_file(named, "content")} if self.faces.content is not None else {})

    @classmethod
    def from_json(cls, document: str | Mapping[str, Any]) -> Recipe:
        """The recipe that :meth:`to_json` wrote, as text or as what ``json.loads`` makes of it.

        The document of ``edit --json``, which holds a recipe, does as well.

        Raises:
            LatentEditError: it is something else, a newer one, or larger than recipes are.
        """
        try:
            found = json.loads(document) if isinstance(document, str) else document
        except (ValueError, RecursionError) as error:
            raise LatentEditError(f"it is no JSON ({error})") from error
        if isinstance(found, Mapping) and isinstance(found.get("recipe"), Mapping):
            found = found["recipe"]
        if not isinstance(found, Mapping) or "recipe" not in found:
            raise LatentEditError("it holds no recipe; `latentedit edit` writes one into its PNG files and its --json")
        if (schema := whole_number(found, "recipe", 1, 1 << 31)) > SCHEMA:
            raise LatentEditError(
                f"its recipe has schema {schema}; this latentedit reads up to {SCHEMA}, take a newer one"
            )
        try:
            return cls._read(found)
        except LatentEditError as error:
            raise LatentEditError(cut(str(error), 300)) from error

    @classmethod
    def _read(cls, found: Mapping[str, Any]) -> Recipe:
        generator, editor, layout = (part(found, name) for name in ("generator", "editor", "layout"))
        edit = read_edit(found.get("edit"))
        faces, ingredients = read_faces(part(found, "faces"), found.get("contents"))
        second = part(found, "against") if "against" in found else None
        files = [*read_files("editor", editor), *(read_files("against", second) if second else ())]
        return cls(
            edit, faces, name_of(generator, "name"), text_of(generator, "id"), text_of(editor, "kind"),
            (*files, *ingredients),
            Layout(
                text_of(layout, "kind"),  # type: ignore[arg-type]  # it is checked there
                whole_number(layout, "steps", 2, 100),
                None if layout.get("tile") is None else whole_number(layout, "tile", 1, 4096),
                bool(layout.get("labels", True)),
            ),
            None if second is None else read_edit(second.get("edit")),
            text_of(found, "device"), text_of(found, "dtype"), text_of(found, "latentedit"),
        )  # fmt: skip

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """The recipe in a PNG file that ``latentedit edit`` wrote, or in a JSON file.

        Raises:
            DamagedFileError: no such file, or none that holds a recipe.
        """
        path = Path(path)
        with named(path, "png"):
            return cls._load(path)

    @classmethod
    def _load(cls, path: Path) -> Recipe:
        try:
            with open(path, "rb") as file:
                begins = file.read(8)
                text = text_in(path, KEY) if begins == b"\x89PNG\r\n\x1a\n" else decoded(begins + file.read(_LARGEST))
            if text is None:
                raise LatentEditError("it holds no recipe; a PNG file that `latentedit edit` wrote does")
            return replace(cls.from_json(text), file=path)
        except FileNotFoundError as error:
            raise DamagedFileError(f"{path}: there is no such file") from error
        except UnicodeDecodeError as error:
            raise DamagedFileError(f"{path}: neither JSON nor PNG; a recipe is in either") from error
        except UnreadablePictureError as error:
            raise DamagedFileError(str(error)) from error
        except (LatentEditError, OSError) as error:
            raise DamagedFileError(f"{path}: {error}") from error


def editor_file(name: str | Path, editor: Editor, *, role: str = "editor") -> Ingredient:
    """The file of an editor, by its path, or "shipped"."""
    return Ingredient.of(role, name, shipped_file(editor) if str(name) == SHIPPED else None)


def _with_codes(told: Faces, faces: PreparedFaces) -> Faces:
    """The same faces with their codes in place of the file that these came from."""
    step = faces.of_each_style
    return replace(told, codes=faces.all_codes()[::step].float(), names=tuple(faces.names)[::step], count=None)
