"""Reading a house's own copies of the data sets: which files they are is checked, and what is read is what is asked and what is right.

A row is {"id", "user", "target", "gold", "choices"}: the question as the model reads it, the answer as a shot shows it, what the scorer
needs as JSON, and the answers to choose from where the likelihoods are compared ("gold" is then the right one's place).
"""

# ruff: noqa: S311 (CLUE's own shuffle, by its seed)

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.engine.clue import brat, codes, longhealth, prompts
from training.engine.clue.longhealth import Ruler
from training.engine.errors import InputError
from training.suite.register import SETS, DataSet, File

Row = dict[str, Any]
# Of each level of ICD10CM, as many questions as make a two-point difference of its mean visible.
ICD_QUESTIONS = 1_000


class MissingSet(InputError):
    """A copy is not where it is looked for; the message says where it is to be had and how its files are to lie."""

    code = "missing_set"

    def __init__(self, wanted: DataSet, missing: Sequence[str]) -> None:
        super().__init__(
            f"{wanted.name} is not here: {', '.join(missing)} is missing from the data folder. Rounds brings no data set. "
            f"Where to get it: {wanted.where}. Expected: {wanted.layout}"
            + (f"; or {', '.join(one.path for one in wanted.other)}: {wanted.other_layout}" if wanted.other else "")
        )


class OtherFile(InputError):
    """A file is not the published one; ``path`` says which."""

    code = "other_file"

    def __init__(self, wanted: DataSet, path: str, found: str) -> None:
        super().__init__(
            f"{wanted.name}: {path} is not the published file (its SHA-256 begins {found[:12]}). Scores on it cannot be compared with the "
            "paper's; to use it all the same, allow other files"
        )
        self.path = path


class Malformed(InputError):
    """A file of a copy is not of the form its layout says. Names file and place, never a text."""

    code = "malformed_set"


@dataclass(frozen=True)
class Loaded:
    """``rows`` to score and ``shots`` to show, ``digests`` of the files they were read from, and which of these are not the published."""

    rows: list[Row]
    shots: list[Row]
    digests: dict[str, str]
    differing: tuple[str, ...] = ()


def load(wanted: DataSet, folder: Path, *, seed: int = 0, allow_other_files: bool = False, ruler: Ruler | None = None) -> Loaded:
    """Raises ``MissingSet``, ``OtherFile`` (unless allowed) and ``Malformed``."""
    files = form(wanted, folder)
    if missing := [one.path for one in files if not (folder / one.path).exists()]:
        raise MissingSet(wanted, missing)
    digests, differing = {}, []
    for one in files:
        digests[one.path] = digest(folder / one.path)
        if one.sha256 and one.sha256 != digests[one.path]:
            differing.append(one.path)
            if not allow_other_files:
                raise OtherFile(wanted, one.path, digests[one.path])
    if wanted.name == "ICD10CM":
        rows, shots = _medconcepts(wanted, folder, files) if files else _icd10cm(wanted, seed)
    elif wanted.name == "LongHealth":
        if ruler is None:
            raise InputError("LongHealth fills a context, so it needs a tokenizer to measure its documents with")
        rows, shots = list(_rows(wanted, lambda _, one: iter(longhealth.rows(_json(folder, one), ruler)), folder, files[0])), []
    else:
        rows, shots = _with_shots(wanted, folder, files)
    if not rows:
        raise Malformed(f"{wanted.name}: no row is left to score")
    return Loaded(rows, shots, digests, tuple(differing))


def form(wanted: DataSet, folder: Path) -> list[File]:
    """The files that are read: those of the other form where any of them is there."""
    if any((folder / one.path).exists() for one in wanted.other):
        return list(wanted.other)
    return [*wanted.files, *([wanted.shot_file] if wanted.shot_file else [])]


def digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, of the names and digests of all files below it."""
    if path.is_dir():
        told = "".join(f"{one.relative_to(path).as_posix()} {digest(one)}\n" for one in sorted(path.rglob("*")) if one.is_file())
        return hashlib.sha256(told.encode()).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def everything(
    names: Sequence[str], folder: Path, *, seed: int, allow_other_files: bool, all_of_them: bool, ruler: Ruler | None,
    say: Callable[[str], None], check: Callable[[], None] = lambda: None,
) -> dict[str, Loaded]:  # fmt: skip
    """Every set that is named and is there. One that is not is told by ``say``, or with ``all_of_them`` raised as ``MissingSet``.

    ``check`` is asked before each. Raises ``InputError`` where none is there, and what ``load`` raises.
    """
    loaded = {}
    for name in names:
        check()
        try:
            loaded[name] = load(SETS[name], folder, seed=seed, allow_other_files=allow_other_files, ruler=ruler)
        except MissingSet as missing:
            if all_of_them:
                raise
            say(missing.message)
    if not loaded:
        raise InputError("none of the data sets is in the data folder")
    return loaded


def _with_shots(wanted: DataSet, folder: Path, files: Sequence[File]) -> tuple[list[Row], list[Row]]:
    """Shots are the first of a shuffle by seed 1, which are then not scored (CLUE); of a split of its own where a set has one."""
    read = _brat if files == list(wanted.other) else READERS[wanted.name]
    rows = [row for one in files if one != wanted.shot_file for row in _rows(wanted, read, folder, one)]
    if wanted.name == "MEDEC":
        return rows, prompts.MEDEC_SHOTS
    if wanted.shot_file:
        others = list(_rows(wanted, read, folder, wanted.shot_file))
        random.Random(1).shuffle(others)
        return rows, others[: wanted.shots]
    if not wanted.shots:
        return rows, []
    random.Random(1).shuffle(rows)
    return rows[wanted.shots :], rows[: wanted.shots]


Reader = Callable[[Path, File], Iterator[Row]]


def _rows(wanted: DataSet, read: Reader, folder: Path, one: File) -> Iterator[Row]:
    number = 0
    try:
        for number, row in enumerate(read(folder, one), start=1):
            yield {"id": f"{Path(one.path).stem}-{number}", "choices": [], "answer": 0} | row
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OSError) as problem:
        raise Malformed(
            f"{wanted.name}: {one.path} cannot be read after row {number} ({type(problem).__name__}). "
            f"Expected: {wanted.other_layout if one in wanted.other else wanted.layout}"
        ) from None


def _json(folder: Path, one: File) -> Any:
    """A file of one value, or of one a line."""
    text = (folder / one.path).read_text(encoding="utf-8-sig")
    try:
        return json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]


def _csv(folder: Path, one: File) -> Iterator[dict[str, str]]:
    with (folder / one.path).open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream)


def _workbook(folder: Path, one: File) -> Iterator[dict[str, str]]:
    import openpyxl

    sheet = openpyxl.load_workbook(folder / one.path, read_only=True).worksheets[0]
    rows = sheet.iter_rows(values_only=True)
    names = [str(name) for name in next(rows) if name is not None]
    for row in rows:
        if any(cell is not None for cell in row[: len(names)]):
            yield {name: str(cell or "") for name, cell in zip(names, row, strict=False)}


def _answered(user: str, target: str) -> Row:
    return {"user": user, "target": target, "gold": json.dumps(target)}


def _mednli(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _answered(prompts.two_sentences(row["sentence1"], row["sentence2"]), row["gold_label"].upper())


def _sdoh_nli(folder: Path, one: File) -> Iterator[Row]:
    labels = {"True": "ENTAILMENT", "False": "NEUTRAL"}
    for row in _csv(folder, one):
        yield _answered(prompts.two_sentences(row["premise"], row["hypothesis"]), labels[row["label"]])


def _pls(folder: Path, one: File) -> Iterator[Row]:
    for row in _csv(folder, one):
        subjective = row["Subjectives"] if "Subjectives" in row else row["Subjective Sections"]
        yield _answered(prompts.problem_list(subjective, row["Assessment"]), row["Summary"].replace(";", ", "))


def _meqsum(folder: Path, one: File) -> Iterator[Row]:
    for row in _workbook(folder, one):
        yield _answered(prompts.consumer_question(row["CHQ"]), row["Summary"].strip())


def _medisumqa(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        letter = row["discharge_summary"] if "discharge_summary" in row else row["without_discharge_summary"]
        yield _answered(prompts.letter_question(letter, row["Question"]), row["Answer"])


def _medisumcode(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        named = [entry["code"] for entry in row["icd_codes"]]
        yield {"user": prompts.letter_codes(row["text"]), "target": "ICD-10 Codes: " + ", ".join(named), "gold": json.dumps(named)}


def _rrs_qa(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _answered(prompts.findings_question(row["findings"], row["question"]), row["answer"])


def _indiana(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _answered(prompts.findings(row["findings"]), row["impression"])


def _medicationqa(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _answered(row["question"], row["answer"])


# What stands in MedicationQA's file where nobody found an answer.
UNANSWERED = frozenset({"no answers", "unanswerable", "n/a"})


def _medication_originals(folder: Path, one: File) -> Iterator[Row]:
    """674 of the file's 690 rows, as many as its authors count: 13 have no answer to compare with, 3 say again word for word what another
    says. (They do not say which 16 they left out.)"""
    seen = set()
    for row in _workbook(folder, one):
        question, answer = row["Question"].strip(), row["Answer"].strip()
        said = tuple(tuple(re.findall(r"\w+", text.lower())) for text in (question, answer))
        if answer.lower() not in UNANSWERED and said not in seen:
            yield _answered(question, answer)
        seen.add(said)


def _medec(folder: Path, one: File) -> Iterator[Row]:
    for row in _csv(folder, one):
        if row["Text ID"]:  # a third of the published file's lines are empty
            sentence = int(row["Error Sentence ID"])
            gold = {"sentence": sentence, "corrected": row["Corrected Sentence"] if sentence >= 0 else ""}
            yield {"id": row["Text ID"], "user": row["Sentences"].strip(), "target": str(sentence), "gold": json.dumps(gold)}


def _aci(folder: Path, one: File) -> Iterator[Row]:
    for row in _csv(folder, one):
        yield {"id": row["encounter_id"]} | _answered(row["dialogue"], row["note"])


def _sdoh(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _with_entities(row["text"], [{key: entry[key] for key in ("entity", "label", "value")} for entry in row["entities"]])


def _brat(folder: Path, one: File) -> Iterator[Row]:
    for name, text, entities in brat.notes(folder / one.path):
        yield {"id": name} | _with_entities(text, entities)


def _with_entities(text: str, entities: list[dict[str, str]]) -> Row:
    return {"user": text, "target": json.dumps(entities), "gold": json.dumps({"text": text, "entities": entities})}


def _choice(question: str, options: Sequence[str], right: int, letters: Sequence[str] = "ABCDEFGH") -> Row:
    """Asked for the letter; ``right`` is the right one's place."""
    shown = letters[: len(options)]
    if not 0 <= right < len(options):
        raise ValueError("the answer is none of the options")
    return {
        "user": prompts.lettered(question, options, shown), "target": shown[right], "choices": list(shown), "answer": right,
        "gold": json.dumps(right),
    }  # fmt: skip


def _medqa(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        named = sorted(row["options"])
        yield _choice(row["question"], [row["options"][name] for name in named], named.index(row["answer_idx"]))


def _medmcqa(folder: Path, one: File) -> Iterator[Row]:
    for row in _json(folder, one):
        yield _choice(row["question"], [row[f"op{letter}"] for letter in "abcd"], row["cop"] - 1)


def _pubmedqa(folder: Path, one: File) -> Iterator[Row]:
    answers = ["yes", "no", "maybe"]
    for number, row in _json(folder, one).items():
        user = prompts.abstract("\n".join(row["CONTEXTS"]), row["QUESTION"])
        right = answers.index(row["final_decision"])
        yield {"id": number, "user": user, "target": answers[right], "choices": answers, "answer": right, "gold": json.dumps(right)}


def _mmlu(folder: Path, one: File) -> Iterator[Row]:
    with (folder / one.path).open(encoding="utf-8", newline="") as stream:
        for question, *options, letter in csv.reader(stream):
            yield _choice(question, options, "ABCD".index(letter))


READERS: dict[str, Reader] = {
    "MedNLI": _mednli, "SDOH-NLI": _sdoh_nli, "PLS": _pls, "MeQSum": _meqsum, "MeDiSumQA": _medisumqa, "MeDiSumCode": _medisumcode,
    "RRS QA": _rrs_qa, "Indiana RRS": _indiana, "MedicationQA": _medicationqa, "MedicationQA originals": _medication_originals,
    "MEDEC": _medec, "ACI-Bench": _aci, "SDoH": _sdoh, "MedQA": _medqa, "MedMCQA": _medmcqa, "PubMedQA": _pubmedqa, "MMLU-med": _mmlu,
}  # fmt: skip


def _icd10cm(wanted: DataSet, seed: int) -> tuple[list[Row], list[Row]]:
    """Each level's shots would be its own in MedConceptsQA; here one hard, one medium and one easy stand before all."""
    rows, shots = [], []
    for level in codes.LEVELS:
        made = codes.questions(codes.full(), level=level, most=ICD_QUESTIONS + 1, seed=seed)
        levelled = [
            {"id": f"{level}-{one['code']}"} | _choice(prompts.icd_question(one["code"]), one["options"], one["answer"]) for one in made
        ]
        shots += levelled[:1]
        rows += levelled[1:]
    return rows, shots[: wanted.shots]


def _medconcepts(wanted: DataSet, folder: Path, files: Sequence[File]) -> tuple[list[Row], list[Row]]:
    """MedConceptsQA's own questions; its shots are the first of each level's dev split."""
    split: dict[str, list[Row]] = {"test": [], "dev": []}
    for one in files:
        level, name = Path(one.path).parent.name, Path(one.path).name.partition("-")[0]
        found = [row | {"id": f"{level}-{row['id']}"} for row in _rows(wanted, _concepts, folder, one)]
        split[name] += found if name == "test" else found[:1]
    return split["test"], split["dev"][: wanted.shots]


def _concepts(folder: Path, one: File) -> Iterator[Row]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(folder / one.path).iter_batches():
        for row in batch.to_pylist():
            options, right = [row[f"option{number}"] for number in (1, 2, 3, 4)], "ABCD".index(row["answer_id"])
            if options[right] != row["answer"]:
                raise ValueError("the answer is not the option that its letter names")
            # The published question lists its options itself, each line indented.
            question = row["question"].strip().split("\n")[0].strip()
            yield {"id": str(row["question_id"])} | _choice(question, options, right)
