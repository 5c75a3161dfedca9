"""What a file or folder of ours or of others, a generator or a tagger is: for ``info`` and ``clean``."""

from latentedit.inspection.caches import Cache, caches_of
from latentedit.inspection.models import (
    EditorInfo,
    GeneratorInfo,
    TaggerInfo,
    inspect_editor,
    inspect_generator,
    inspect_tagger,
    is_editor,
    is_tagger,
)
from latentedit.inspection.stored import StoredInfo, inspect_stored

__all__ = [
    "Cache",
    "EditorInfo",
    "GeneratorInfo",
    "StoredInfo",
    "TaggerInfo",
    "caches_of",
    "inspect_editor",
    "inspect_generator",
    "inspect_stored",
    "inspect_tagger",
    "is_editor",
    "is_tagger",
]
