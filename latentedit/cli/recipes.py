"""What ``edit --recipe`` makes again, and what is typed in place of that."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from latentedit.cli.common import DTYPES, Context, recorded_generator
from latentedit.cli.drawing import AskedOutput
from latentedit.cli.faces import AskedFaces, with_all_contents

if TYPE_CHECKING:
    from latentedit.cli.editing import AskedEditor, Opened
    from latentedit.editing.faces import Faces
    from latentedit.editing.ingredients import Ingredient
    from latentedit.editing.recipe import Recipe


def typed(name: str) -> bool:
    """Whether an option of the running command was typed, rather than read from ``latentedit.toml``."""
    return click.get_current_context().get_parameter_source(name) == ParameterSource.COMMANDLINE


def repeated_editor(recipe: Recipe, asked: AskedEditor, context: Context) -> Opened:
    """The recipe's editor and generator, unless others are typed.

    Raises:
        LatentEditError: a file that is nowhere or was changed, or a generator that is code and was not typed.
    """
    from latentedit.cli.editing import Opened
    from latentedit.editing.ingredients import found_generator

    given = asked.generator if typed("generator") or asked.generator == recipe.generator else None
    if recipe.device.partition(":")[0] != str(context.device).partition(":")[0]:
        context.say(f"the recipe is of the device {recipe.device}; pictures of {context.device} differ by up to 1e-5")
    if not typed("dtype") and recipe.dtype in DTYPES:
        context.dtype_name = recipe.dtype
    name = recorded_generator(given, recipe.generator, recipe.file or Path("the recipe"), look=False)
    if asked.directions is not None or asked.prior is not None:
        return replace(asked, generator=name).load(context)
    found = found_generator(name, recipe.file) if given is None and recipe.file is not None else name
    generator = context.generator(found)
    if given is None:
        recipe.check_generator(generator)
    editor = recipe.open_editor()
    if not asked.allow_other_generator and editor.generator_id == generator.id:
        editor.check_generator(generator)  # its code may have changed
    elif not asked.allow_other_generator and generator.id != recipe.generator_id:
        opened = replace(asked, generator=name).load(context)
        context.say(f"the recipe's {recipe.editor} are not of {name}, which is edited by {opened.where}")
        return opened
    files = tuple(one for one in recipe.ingredients if one.role == "editor")
    return Opened(generator, editor, " and ".join(dict.fromkeys(one.name for one in files)), files, name)


def repeated_rival(recipe: Recipe, opened: Opened) -> Opened:
    """The recipe's second editor, beside what edits.

    Raises:
        LatentEditError: a file that is nowhere or was changed.
    """
    files = tuple(one for one in recipe.ingredients if one.role == "against")
    return replace(opened, editor=recipe.open_editor("against"), where=files[0].name, files=files)


def repeated_faces(recipe: Recipe, which: AskedFaces, context: Context) -> tuple[Faces, Faces, list[Ingredient]]:
    """The recipe's faces as they are named, the same with files where they are now, and these files.

    What is typed is in place of what the recipe has.

    Raises:
        LatentEditError: a file that is nowhere or was changed, or seeds that are none.
    """
    from latentedit.editing.faces import parse_seeds
    from latentedit.editing.ingredients import ROLES

    told, values = recipe.faces, dict[str, Any]()
    if typed("seeds") and which.seeds is not None:
        values["seeds"] = parse_seeds(which.seeds)
    elif "seed" in which.given or ("n" in which.given and told.seeds):
        first = which.seed if "seed" in which.given or not told.seeds else told.seeds[0]
        values["seeds"] = range(first, first + (which.n if "n" in which.given else len(told.seeds) or which.n))
    values |= {name: str(getattr(which, name)) for name in ("codes", "style") if typed(name)}
    if values:  # they say which faces, all of them
        values = {"seeds": (), "codes": None, "style": None, "names": (), "count": None} | values
    if "n" in which.given and not values.get("seeds"):
        values["count"] = which.n
    values |= {name: getattr(which, name) for name in ("content", "label", "truncation") if typed(name)}
    told = replace(told, **values)
    if typed("content"):
        told = with_all_contents(context, told, len(told.seeds))
    kept = [one for one in recipe.ingredients if one.role in ROLES and one.role not in values]
    kept = [one for one in kept if getattr(told, one.role) == one.name]
    return told, recipe.located(told, kept), kept


def repeated_output(recipe: Recipe, output: AskedOutput, faces: int) -> AskedOutput:
    """The options of output with the recipe's layout, but for what is typed; several faces are no single picture."""
    changes: dict[str, Any] = {name: getattr(output, name) for name in ("steps", "tile") if typed(name)}
    if typed("strip"):
        changes["kind"] = "strip"
    elif recipe.layout.kind == "single" and faces > 1:
        changes["kind"] = "sheet"
    return replace(output, base=replace(recipe.layout, **changes))
