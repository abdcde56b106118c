"""Verify an evidence pack of Rounds, on any machine with Python 3.9 or newer: nothing of Rounds and no package is needed.

    python verify.py PACK [--digest SHA256]

PACK is the zip as it was downloaded, or a folder it was unpacked into. It is checked that every file is there and no other, that no byte
has changed since the pack was made, and that verdict, harm, length, held-out and suite figures follow from the votes and items in it.
Without --digest a pack that was made up from the first byte to the last would pass: the digest that Rounds shows on the study's evidence
page, and keeps in its audit trail, says which pack is the study's. Exit status: 0 it verifies, 1 it does not, and the files are named.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":
    # Run from a folder that is to be verified: its files must not be taken for Python's own modules, and nothing is written beside them.
    sys.dont_write_bytecode = True
    if not sys.flags.isolated and not getattr(sys.flags, "safe_path", False):
        del sys.path[0]

import argparse
import io
import json
import math
import os
import re
import stat
import struct
import types
import zipfile
import zlib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

FORMAT = "rounds-evidence-1"
MANIFEST, DIRECTORY = "MANIFEST.json", "the archive's own directory"
# What every pack holds; besides, the outcomes of held-out pairs and the results of suites, where there are any.
FILES = (
    "README.txt", "analysis.json", "campaign.json", "card.json", "card.md", "decision.json", "evaluation.json", "figures.py",
    "guideline.txt", "harm.py", "protocol.json", "prov.json", "rubric.json", "study.json", "verdict.py", "verify.py", "votes.jsonl",
)  # fmt: skip
PAIRS, SUITES = "pairs.jsonl", re.compile(r"suites/([a-z]+)-(challenger|champion)\.json")
# The code that computes. A verifier alone in its folder runs a pack's copy only if it is the one it was made with.
CODE = ("verdict.py", "harm.py", "figures.py")
KNOWN = {
    "verdict.py": "b659b84f69391afbe742748aa9e44c4fd5df97bdd1c1713dfadedfb2aeeaf5c4",
    "harm.py": "e447f2b8fd1c177f1387f6a7a577506b9b4172f50254f366220bff0b00fd01ff",
    "figures.py": "8821578cdd915a6f7a1246401ce53716505d1070f63693aeb4c48aaf8b45154c",
}
MOST_BYTES, MOST_FILES = 2**28, 100
SAME = 1e-9
MOST_DRAWS = 100_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9][A-Za-z0-9._-]{0,99})?")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fault(Exception):
    """What is wrong with which file."""

    def __init__(self, name: str, message: str) -> None:
        self.name = name
        super().__init__(f"{_shown(name)}: {message}")


class Report(NamedTuple):
    """`faults` is empty when the pack verifies; `said` are its findings in words; `digest` and `verdict` are empty while unknown."""

    faults: list[Fault]
    said: list[str]
    digest: str
    verdict: str


def verify(place: str | os.PathLike[str], *, digest: str = "") -> Report:
    """Everything that can be checked of the pack at `place`; with `digest` also that it is that very pack. Writes nothing."""
    said: list[str] = []
    found = ""
    try:
        folder = Path(place)
        files, faults = _folder(folder) if folder.is_dir() else _archive(folder)
        if faults:
            return Report(faults, said, "", "")
        manifest = _manifest(files[MANIFEST])
        found = manifest["digest"]
        said.append(f"Whole: {len(files)} files, not a byte changed since the pack was made. Digest {found}")
        if digest and digest.strip().lower() != found:
            other = Fault(MANIFEST, f"this is another pack than the one asked for: its digest is {found}")
            return Report([other], said, found, "")
        code, whose = _code(folder, files)
        said.append(whose)
        checked = _Checked(files, code)
        checked.everything()
        return Report(checked.faults, said + checked.said, found, checked.verdict)
    except Fault as fault:
        return Report([fault], said, found, "")
    except OSError as error:
        return Report([Fault(str(place), f"cannot be read: {error.strerror}")], said, found, "")
    except (ValueError, TypeError, RecursionError) as error:
        return Report([Fault(str(place), f"is no evidence pack ({type(error).__name__})")], said, found, "")


# --- is it whole? ------------------------------------------------------------------------------------------------------------------------


def _manifest(content: bytes) -> dict[str, Any]:
    """What the pack says it holds. Its digest is of everything else it says, written in one way only: no byte of it can change unseen."""
    said = _json(MANIFEST, content)
    if not isinstance(said, dict) or said.get("format") != FORMAT or set(said) != {"digest", "files", "format", "study"}:
        raise Fault(MANIFEST, f"is not a manifest of the form {FORMAT}")
    rest = {key: value for key, value in said.items() if key != "digest"}
    if said["digest"] != digest_of(rest) or content != as_json(said):
        raise Fault(MANIFEST, "has changed since the pack was made")
    listed = said["files"]
    if not isinstance(listed, dict) or len(listed) > MOST_FILES:
        raise Fault(MANIFEST, f"lists more than {MOST_FILES} files, or none")
    for name, told in listed.items():
        if not _NAME.fullmatch(name):
            raise Fault(name, "is a name that no pack holds: it could lead out of the folder")
        if (
            not isinstance(told, dict)
            or set(told) != {"bytes", "sha256"}
            or type(told["bytes"]) is not int
            or not 0 <= told["bytes"] <= MOST_BYTES
        ):
            raise Fault(MANIFEST, f"does not say how large {name} is, and of which SHA-256")
        if not isinstance(told["sha256"], str) or not _SHA256.fullmatch(told["sha256"]):
            raise Fault(MANIFEST, f"does not say of which SHA-256 {name} is")
        if name not in FILES and name != PAIRS and not SUITES.fullmatch(name):
            raise Fault(name, "does not belong in a pack")
    for name in FILES:
        if name not in listed:
            raise Fault(name, "is missing")
    return said


def _compare(name: str, content: bytes, told: dict[str, Any]) -> list[Fault]:
    if len(content) != told["bytes"]:
        return [Fault(name, f"has {len(content)} bytes, and had {told['bytes']} when the pack was made")]
    if sha256(content).hexdigest() != told["sha256"]:
        return [Fault(name, "has changed since the pack was made: its SHA-256 is another")]
    return []


def _folder(place: Path) -> tuple[dict[str, bytes], list[Fault]]:
    """The files of an unpacked pack. Links are not followed, and nothing larger than a pack may be is read."""
    files: dict[str, bytes] = {}
    size = 0
    for parent, folders, names in os.walk(place):
        for name in sorted(folders + names):
            path = Path(parent) / name
            known = path.relative_to(place).as_posix()
            about = path.lstat()
            if stat.S_ISLNK(about.st_mode) or not (stat.S_ISREG(about.st_mode) or stat.S_ISDIR(about.st_mode)):
                raise Fault(known, "is a link or a device, and no file")
            if stat.S_ISREG(about.st_mode):
                size += about.st_size
                if size > MOST_BYTES or len(files) > MOST_FILES:
                    raise Fault(known, "is one file too many, or too large: this is no pack")
                files[known] = path.read_bytes()
    if MANIFEST not in files:
        raise Fault(MANIFEST, "is missing")
    listed = _manifest(files[MANIFEST])["files"]
    faults = [Fault(name, "is not in the manifest: it was added") for name in sorted(set(files) - set(listed) - {MANIFEST})]
    for name, told in sorted(listed.items()):
        faults += _compare(name, files[name], told) if name in files else [Fault(name, "is missing")]
    return files, faults


def _archive(place: Path) -> tuple[dict[str, bytes], list[Fault]]:
    """The files of a zip that must be, byte for byte, what Rounds writes of these files: nothing in it is searched for or unfolded."""
    about = place.stat()
    if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
        raise Fault(place.name, f"is no file, or larger than a pack may be ({MOST_BYTES} bytes)")
    data = place.read_bytes()
    try:
        files, faults = _taken_apart(data)
    except Fault as fault:
        return {}, [fault, *_strangers(data, set())]
    return files, faults + (_strangers(data, set(files)) if faults else [])


def _taken_apart(data: bytes) -> tuple[dict[str, bytes], list[Fault]]:
    start = 30 + len(MANIFEST)
    size = int.from_bytes(data[18:22], "little")
    manifest = data[start : start + size]
    if data[:start] != local_header(MANIFEST, manifest):
        raise Fault(MANIFEST, "does not stand first in the archive as it was written: it has changed, or this is no evidence pack")
    files, faults, at = {MANIFEST: manifest}, [], start + size
    for name, told in sorted(_manifest(manifest)["files"].items()):
        header, at = data[at : at + 30 + len(name)], at + 30 + len(name)
        content, at = data[at : at + told["bytes"]], at + told["bytes"]
        if len(content) < told["bytes"]:
            raise Fault(name, "is not whole: the archive ends too early")
        files[name] = content
        # Another content has another CRC-32, so its header differs as well: one fault is enough.
        wrong = _compare(name, content, told)
        if not wrong and header != local_header(name, content):
            wrong = [Fault(name, "its header in the archive is not as it was written")]
        faults += wrong
    if not faults:
        faults = _directory(data, at, files)
    return files, faults


def _directory(data: bytes, at: int, files: dict[str, bytes]) -> list[Fault]:
    """The end of the archive: its list of what it holds."""
    offset, begun = 0, at
    for name, content in files.items():
        record = central_header(name, content, offset)
        if data[at : at + len(record)] != record:
            return [Fault(DIRECTORY, f"what it says of {name} is not as it was written")]
        offset += 30 + len(name) + len(content)
        at += len(record)
    if data[at:] != end_record(len(files), at - begun, begun):
        return [Fault(DIRECTORY, "its end is not as it was written, or something follows it")]
    return []


def _strangers(data: bytes, listed: set[str]) -> list[Fault]:
    """What else an archive that Rounds did not write says it holds, by name. Only its directory is read; nothing is unfolded."""
    if data.count(b"PK\x01\x02") > MOST_FILES:
        return [Fault(DIRECTORY, f"lists more than {MOST_FILES} files")]
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as other:
            entries = other.infolist()
    except Exception:
        return []  # whatever it stumbles over, the archive is refused already
    faults, seen = [], set()
    for entry in entries:
        name = entry.orig_filename
        if name in seen:
            faults.append(Fault(name, "is in the archive twice"))
        elif stat.S_ISLNK(entry.external_attr >> 16):
            faults.append(Fault(name, "is a link, and no file"))
        elif not _NAME.fullmatch(name):
            faults.append(Fault(name, "is a name that no pack holds: it could lead out of the folder"))
        elif entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            sizes = f"{entry.compress_size} bytes that say they are {entry.file_size}"
            faults.append(Fault(name, f"is compressed or encrypted ({sizes}); a pack's files are not"))
        elif listed and name not in listed:
            faults.append(Fault(name, "is not in the manifest: it was added"))
        seen.add(name)
    return faults


# The zip that Rounds writes: stored, without dates, extra fields or remarks (PKWARE APPNOTE 6.3.10, 4.3.7, 4.3.12, 4.3.16).
_EPOCH = 0x0021


def local_header(name: str, content: bytes) -> bytes:
    size = len(content)
    return struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 0, 0, _EPOCH, zlib.crc32(content), size, size, len(name), 0) + name.encode()


def central_header(name: str, content: bytes, offset: int) -> bytes:
    size = len(content)
    return struct.pack(
        "<4s6H3I5H2I", b"PK\x01\x02", 3 << 8 | 45, 20, 0, 0, 0, _EPOCH, zlib.crc32(content), size, size, len(name), 0, 0, 0, 0,
        0o100644 << 16, offset,
    ) + name.encode()  # fmt: skip


def end_record(count: int, size: int, offset: int) -> bytes:
    return struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, size, offset, 0)


# --- what is read ------------------------------------------------------------------------------------------------------------------------


def as_json(value: Any) -> bytes:
    """How JSON files of a pack are written."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_of(value: Any) -> str:
    """SHA-256 of canonical JSON: sorted keys, no spaces, UTF-8."""
    return sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def _json(name: str, content: bytes) -> Any:
    try:
        return json.loads(content.decode(), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise Fault(name, "is not the JSON that a pack holds") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number")


def _lines(name: str, content: bytes) -> list[Any]:
    *lines, rest = content.split(b"\n")
    if rest:
        raise Fault(name, "its last line is cut short")
    return [_json(name, line) for line in lines]


# --- what computes -----------------------------------------------------------------------------------------------------------------------


def _code(place: Path, files: dict[str, bytes]) -> tuple[dict[str, types.ModuleType], str]:
    """The modules that compute the figures: those beside this verifier, else the pack's own if they are the ones it was made with."""
    here = Path(__file__).resolve().parent
    apart = not (place.is_dir() and place.resolve() == here)
    if apart and all((here / name).is_file() for name in CODE):
        found, whose = {name: (here / name).read_bytes() for name in CODE}, f"those beside this verifier, in {here}"
    else:
        found, whose = {name: files[name] for name in CODE}, "the pack's own, which are the ones this verifier was made with"
        for name in CODE:
            if sha256(found[name]).hexdigest() != KNOWN[name]:
                raise Fault(name, "is not the one this verifier was made with, and is not run: take the verifier of the same version")
    same = all(found[name] == files[name] for name in CODE)
    note = "" if same else "; the pack holds another version of them, which was not run"
    return {name: _loaded(name, source) for name, source in found.items()}, f"Computed by {' and '.join(CODE)}: {whose}{note}"


def _loaded(name: str, source: bytes) -> types.ModuleType:
    module = types.ModuleType(f"rounds_evidence_{name[:-3]}")
    sys.modules[module.__name__] = module  # dataclasses look for their module
    exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 (its bytes were checked: see _code)
    return module


# --- does the verdict follow? ------------------------------------------------------------------------------------------------------------

SIDES = ("challenger", "champion")
TIES = ("both_acceptable", "both_unacceptable")
_WHOLE, _TEXT, _FLAG = frozenset({int}), frozenset({str}), frozenset({bool})
# The fields of a line: the values it may have, or their types.
_VOTE: dict[str, Any] = {
    "number": _WHOLE, "pair": _TEXT, "rater": _TEXT, "challenger_side": ("left", "right"), "in_favour": ("challenger", "champion", "tie"),
    "choice": ("left_much", "left_slightly", "right_slightly", "right_much", *TIES),
    **{f"{what}_{who}": kind for what, kind in (("words", _WHOLE), ("major", _FLAG), ("life_threatening", _FLAG)) for who in SIDES},
}  # fmt: skip
_PAIR: dict[str, Any] = {
    "number": _WHOLE, "prompt": _TEXT, "raters": _TEXT, "margin": frozenset({float, type(None)}), "correct": (0.0, 0.5, 1.0)
}  # fmt: skip


def analyse(
    votes: list[dict[str, Any]], pairs: list[dict[str, Any]], suites: dict[str, dict[str, Any]], evaluation: dict[str, Any],
    code: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """analysis.json: every figure that follows from votes, held-out pairs and suites. `suites` holds both sides' results by suite, `code`
    the modules of CODE."""
    figures = code["figures.py"]
    return {
        **of_votes(votes, code),
        "held_out": figures.held_out(pairs, draws=evaluation["draws"], seed=evaluation["seed"]) if pairs else None,
        "suites": {name: figures.suites(sides["challenger"], sides["champion"]) for name, sides in sorted(suites.items())},
    }


def of_votes(votes: list[dict[str, Any]], code: Mapping[str, Any]) -> dict[str, Any]:
    """What of analysis.json follows from the votes alone: verdict, lengths and harm."""
    figures, found, increase = code["figures.py"], code["verdict.py"].follow_votes(votes), code["harm.py"].of_votes(votes)
    return {
        "verdict": {
            "verdict": found.verdict, "votes": found.judgements, "raters": len({vote["rater"] for vote in votes}), "wins": found.wins,
            "losses": found.losses, "ties": found.ties, "e_better": found.e_better, "e_worse": found.e_worse,
            "decided_at": found.decided_at,
        },
        "by_length": figures.by_length(votes),
        "harm": {**figures.flags(votes), "increase": increase.value, "upper": increase.upper, "margin": code["harm.py"].MARGIN},
    }  # fmt: skip


class _Checked:
    """A pack that is whole, computed again. `faults` name the files that do not follow from the others."""

    def __init__(self, files: dict[str, bytes], code: Mapping[str, types.ModuleType]) -> None:
        self.files, self.code = files, code
        # What is Python of the pack's is not known to a type checker.
        self.verdicts: Any = code["verdict.py"]
        self.faults: list[Fault] = []
        self.said: list[str] = []
        self.verdict = ""
        self.reading = MANIFEST

    def everything(self) -> None:
        try:
            self._locked()
            self._computed()
            self._decided()
        except Fault as fault:
            self.faults.append(fault)
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, ArithmeticError) as error:
            self.faults.append(Fault(self.reading, f"does not have the form of a pack's ({type(error).__name__}: {_shown(str(error))})"))

    def read(self, name: str) -> Any:
        self.reading = name
        return _json(name, self.files[name])

    def need(self, holds: object, name: str, message: str) -> None:
        if not holds:
            self.faults.append(Fault(name, message))

    def _locked(self) -> None:
        """What was fixed before the first vote: each digest is of what it says, and each document names the next by its digest."""
        rubric, campaign, protocol = self.read("rubric.json"), self.read("campaign.json"), self.read("protocol.json")
        for name, document in (("campaign.json", campaign), ("protocol.json", protocol)):
            rest = {key: value for key, value in document.items() if key != "digest"}
            self.need(digest_of(rest) == document["digest"], name, "its digest is not of what it says")
        self.need(protocol["campaign"]["protocol_digest"] == campaign["digest"], "campaign.json", "is not the one the protocol names")
        self.need(digest_of(rubric["content"]) == rubric["digest"], "rubric.json", "its digest is not of what it says")
        self.need(campaign["rubric"]["digest"] == rubric["digest"], "rubric.json", "is not the one the campaign was locked with")
        locked = campaign["guideline"].encode() == self.files["guideline.txt"]
        self.need(locked, "guideline.txt", "is not the one the campaign was locked with")
        test, code = protocol["test"], self.verdicts
        runs = {"a": code.PRIOR, "threshold": code.THRESHOLD, "fewest": code.FEWEST, "most": code.MOST, "raters": code.RATERS}
        for name, value in runs.items():
            self.need(test[name] == value, "protocol.json", f"locks a test with {name} {test[name]}, and verdict.py runs it with {value}")
        study = self.read("study.json")
        told = _json(MANIFEST, self.files[MANIFEST])["study"]
        self.need(study["study"] == protocol["study"] == told, "study.json", "is of another study than the protocol or the manifest")
        self.need(study["protocol_digest"] == protocol["digest"], "study.json", "names another protocol")
        same = all(study[side] == protocol[side] for side in SIDES)
        self.need(same, "study.json", "is of other models than the protocol")
        self.need(self.read("card.json")["artifact"] == study["challenger"]["digest"], "card.json", "is of another model")

    def _computed(self) -> None:
        votes = self._votes()
        evaluation, study, protocol = self.read("evaluation.json"), self.read("study.json"), self.read("protocol.json")
        same = evaluation["policy"] == study["challenger"] and evaluation["evaluation"] == protocol["evaluation"]
        self.need(same, "evaluation.json", "is of another model, or another evaluation, than the protocol")
        pairs = self._pairs(evaluation)
        self.reading = "analysis.json"
        found = analyse(votes, pairs, self._suites(), evaluation, self.code)
        self._same(self.read("analysis.json"), found, "analysis.json")
        if pairs:
            recorded = {key: evaluation["preference_accuracy"][key] for key in found["held_out"]}
            self._same(recorded, found["held_out"], "evaluation.json", "preference_accuracy")
        verdict = found["verdict"]
        same = study["verdict"] == verdict["verdict"]
        self.need(same, "study.json", f"says “{_shown(str(study['verdict']))}”, and the votes say “{verdict['verdict']}”")
        self.need(study["counted"] == len(votes), "votes.jsonl", f"holds {len(votes)} votes, and {study['counted']} were counted")
        decided = verdict["decided_at"] in (None, len(votes))
        self.need(decided, "votes.jsonl", f"goes on after vote {verdict['decided_at']}, which had decided")
        self.verdict = verdict["verdict"]
        self.said += _in_words(found, study, self.verdicts.THRESHOLD)

    def _votes(self) -> list[dict[str, Any]]:
        name = self.reading = "votes.jsonl"
        votes = _lines(name, self.files[name])
        for number, vote in enumerate(votes, start=1):
            _check_row(name, number, vote, _VOTE)
            choice, side = vote["choice"], vote["challenger_side"]
            meant = "tie" if choice in TIES else "challenger" if choice.startswith(side) else "champion"
            self.need(vote["number"] == number, name, f"line {number} is vote {vote['number']}: some are missing, or in another order")
            self.need(vote["in_favour"] == meant, name, f"vote {number} was for the {meant}: that is what was chosen")
            for who in SIDES:
                fits = vote[f"major_{who}"] or not vote[f"life_threatening_{who}"]
                self.need(fits, name, f"vote {number} flags a life-threatening harm that is no major one")
        return votes

    def _pairs(self, evaluation: dict[str, Any]) -> list[dict[str, Any]]:
        name = self.reading = PAIRS
        if name not in self.files:
            return []
        draws = evaluation["draws"]
        if type(draws) is not int or not 1 <= draws <= MOST_DRAWS:
            raise Fault("evaluation.json", "tells of more draws than an interval is made of")
        pairs = _lines(name, self.files[name])
        for number, pair in enumerate(pairs, start=1):
            _check_row(name, number, pair, _PAIR)
            margin = math.nan if pair["margin"] is None else pair["margin"]  # a model that broke down has none
            right = 0.5 if abs(margin) <= evaluation["indifference"] else float(margin > 0)
            self.need(pair["number"] == number, name, f"line {number} is pair number {pair['number']}")
            self.need(pair["correct"] == right, name, f"pair {number} was counted as {pair['correct']}, and its margin says {right}")
        return pairs

    def _suites(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name in self.files:
            if match := SUITES.fullmatch(name):
                found.setdefault(match[1], {})[match[2]] = self.read(name)
                for task in found[match[1]][match[2]]["tasks"].values():
                    self.need(task["n"] == len(task["items"]), name, "a task does not have one score an item")
        return found

    def _decided(self) -> None:
        study = self.read("study.json")
        decisions = self.read("decision.json")["decisions"]
        for decision in decisions:
            gates = decision["gates"]
            self.need(decision["version"] == study["challenger"], "decision.json", "decides about another model")
            open_yet = [gate["name"] for gate in gates if not gate["passed"] and not gate.get("override")]
            self.need(decision["decision"] != "promoted" or not open_yet, "decision.json", f"promotes against {', '.join(open_yet)}")
            for gate in gates:
                if gate.get("code") == "G2" and gate["passed"]:
                    self.need(
                        study["verdict"] == self.verdicts.BETTER, "decision.json", f"{gate['name']} passed, and the votes do not say so"
                    )
        words = [
            _shown(f"{one['decision']} as {one['alias']} by {one['decided_by'] or 'the house'}, {one['decided_at']}") for one in decisions
        ]
        self.said.append(f"Decisions on record: {'; '.join(words)}" if words else "Nobody has decided about a promotion yet")

    def _same(self, told: Any, found: Any, name: str, path: str = "") -> None:
        """Exactly the same; numbers that logarithms went through, to a billionth of themselves."""
        if isinstance(found, dict) and isinstance(told, dict) and found.keys() == told.keys():
            for key in found:
                self._same(told[key], found[key], name, f"{path}.{key}" if path else key)
        elif isinstance(found, float) and type(told) in (int, float):
            close = math.isclose(told, found, rel_tol=SAME, abs_tol=1e-12)
            self.need(close, name, f"{path} is {told} there, and {found} by what is in the pack")
        elif told != found or type(told) is not type(found):
            self.need(False, name, f"{path} is {_shown(str(told))} there, and {_shown(str(found))} by what is in the pack")


def _in_words(found: dict[str, Any], study: dict[str, Any], threshold: float) -> list[str]:
    verdict, harm, held_out = found["verdict"], found["harm"], found["held_out"]
    simulated = " SIMULATED: a program played the raters." if study["simulated"] else ""
    said = [
        f"Verdict: {verdict['verdict']}. {verdict['wins']} votes for the challenger, {verdict['losses']} for the champion, "
        f"{verdict['ties']} ties, by {verdict['raters']} raters; e = {verdict['e_better']:.4g} for better and {verdict['e_worse']:.4g} for "
        f"worse, and {threshold:g} decides.{simulated}",
        f"Major harm was flagged in {harm['major']['challenger']} of the challenger's texts and in {harm['major']['champion']} of the "
        f"champion's: {100 * harm['upper']:.2f} points more at most (one-sided 95 %)",
    ]
    if held_out is None:
        return [*said, "The outcomes of single held-out pairs are not in the pack"]
    share = f"{held_out['value']:.4f} ({held_out['low']:.4f} to {held_out['high']:.4f})"
    return [*said, f"Held-out pairs ordered as their labels do: {share} of {held_out['n']}"]


def _check_row(name: str, number: int, row: Any, form: dict[str, Any]) -> None:
    if not isinstance(row, dict) or row.keys() != form.keys():
        raise Fault(name, f"line {number} has other fields than {', '.join(form)}")
    for key, wanted in form.items():
        if not (row[key] in wanted if isinstance(wanted, tuple) else type(row[key]) in wanted):
            raise Fault(name, f"line {number}: {key} is {_shown(str(row[key]))}")


# --- told --------------------------------------------------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    """A name or value of somebody else's, safe to print: no control characters, and not endless."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:160])


def tell(report: Report) -> str:
    """The report as text, the last line OK or FAILED."""
    if report.faults:
        named = sorted({_shown(fault.name) for fault in report.faults})
        lines = [*report.said, *map(str, report.faults[:20])]
        return "\n".join([*lines, f"FAILED: {', '.join(named[:20])}. Do not rely on this pack."])
    return "\n".join([*report.said, f"OK: {report.verdict}. Pack digest {report.digest}"])


def main(arguments: list[str] | None = None) -> int:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="verify.py", description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pack", help="the zip, or the folder it was unpacked into")
    parser.add_argument("--digest", default="", help="the pack's digest, as Rounds shows it")
    given = parser.parse_args(arguments)
    report = verify(given.pack, digest=given.digest)
    # A console that knows fewer letters shows a question mark; it is no reason to fail.
    encoding = sys.stdout.encoding or "ascii"
    sys.stdout.write(tell(report).encode(encoding, "replace").decode(encoding) + "\n")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
