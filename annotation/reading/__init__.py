"""Other people's files as records of ours: what a file is, its rows as a stream, each row as samples, completions, preferences, documents.

Pure: no Django, no database; a confined child imports it. `docs/imports.md` has the formats, shapes, mappings and verdicts.
"""

from annotation.reading.detection import Detected, detect
from annotation.reading.doubles import Doubles
from annotation.reading.fields import Options
from annotation.reading.formats import FORMATS, UNITS, lines, rows
from annotation.reading.kinds import SHAPES, Shape, Target
from annotation.reading.limits import LIMITS, Limits

__all__ = ["FORMATS", "LIMITS", "SHAPES", "UNITS", "Detected", "Doubles", "Limits", "Options", "Shape", "Target", "detect", "lines", "rows"]
