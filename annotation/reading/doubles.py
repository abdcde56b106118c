"""Rows that say the same twice in one file: left out on request, since public data sets have them and they are nobody's mistake."""

from annotation.reading.fields import Options
from annotation.reading.shapes import Record, SampleRow
from annotation.records import Problems


class Doubles:
    """Remembers which samples have been, by 64 bits of a hash of all they say but their id: two different ones of ten million share it
    once in a hundred thousand such files."""

    def __init__(self, options: Options) -> None:
        self._asked = options.doubles == "exclude"
        self._seen: set[int] = set()

    def again(self, place: int, record: Record, problems: Problems) -> bool:
        """Whether this sample was there before and is to be left out; told of and counted then. Never without the option."""
        if not self._asked or not isinstance(record, SampleRow):
            return False
        said = hash(
            (
                record.instruction, record.input, record.output, record.task_type, record.input_data, record.output_format,
                record.difficulty_level, record.rejected_output, record.error_type, tuple(sorted(record.scores.items())),
            )
        )  # fmt: skip
        if said not in self._seen:
            self._seen.add(said)
            return False
        problems.leave_out(place, "", "The same record stands above; this one was left out.", "import.duplicate")
        return True
