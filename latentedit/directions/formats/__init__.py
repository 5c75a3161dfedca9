"""Directions and style codes in the file formats of other projects, read without running code, and written."""

from __future__ import annotations

from latentedit.directions.formats.codes import (
    codes_of_generator,
    read_codes,
    read_named_codes,
    read_scores,
    write_codes,
    write_scores,
)
from latentedit.directions.formats.conversion import Converted, convert_file, foreign
from latentedit.directions.formats.reading import Rows
from latentedit.directions.formats.recognition import FORMATS
from latentedit.directions.formats.transfer import export_directions, import_directions

__all__ = [
    "FORMATS",
    "Converted",
    "Rows",
    "codes_of_generator",
    "convert_file",
    "export_directions",
    "foreign",
    "import_directions",
    "read_codes",
    "read_named_codes",
    "read_scores",
    "write_codes",
    "write_scores",
]
