"""Rubrics: what is asked about a pair, as versioned data. Editing makes the next version; the templates that come with Rounds are files.

The shape of a rubric's content is told by `annotation.models.Rubric`; `validate` holds every version to it, ours and the studio's alike.
"""

import difflib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models.functions import Now

from accounts import audit
from accounts.models import User
from annotation import records
from annotation.models import Rubric

FOLDER = Path(__file__).parent / "rubric_files"
DEFAULT = "T0"

# The points of each scale, as the keys of its anchors. A count has no fixed points.
SCALES: dict[str, tuple[str, ...] | None] = {
    "comparative": ("-2", "-1", "0", "1", "2"),
    "which": ("-1", "0", "1"),
    "risk": ("1", "2", "3", "4"),
    "count": None,
}
CHECKS = {"json": "valid JSON"}
MOST = 12  # axes, reasons or span types: more cannot be read beside two texts
_KEY = re.compile(r"[a-z][a-z0-9_]{0,39}")
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,9}")


class Fault(NamedTuple):
    """What is wrong where: `place` is a path into the content ("axes[2].scale")."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


class RubricRefused(Exception):
    """A rubric cannot be stored or retired as asked. `faults` name the places, when its content is at fault."""

    def __init__(self, message: str, faults: Iterable[Fault] = ()) -> None:
        self.faults = list(faults)
        super().__init__(message)


# --- what a rubric may hold --------------------------------------------------------------------------------------------------------------


def validate(content: Any) -> None:
    """Raises RubricRefused with every fault of `content`, each by its place."""
    faults = list(_faults(content))
    if faults:
        raise RubricRefused(f"{len(faults)} fault{'s' if len(faults) > 1 else ''} in the rubric. First: {faults[0]}", faults)


def _faults(content: Any) -> Iterator[Fault]:
    if not isinstance(content, dict):
        yield Fault("content", "is not an object")
        return
    known = {"axes", "reasons", "spans", "checks"}
    for name in sorted(set(content) - known):
        yield Fault(name, "is not known here; a rubric has axes, reasons, spans and checks")
    for name in sorted(known - set(content)):
        yield Fault(name, "is missing; write [] for none")
    for name in sorted(known & set(content)):
        listed = content[name]
        if not isinstance(listed, list):
            yield Fault(name, "is not a list")
        elif len(listed) > MOST:
            yield Fault(name, f"has {len(listed)} entries; {MOST} is the most that can be read beside two texts")
        elif name == "checks":
            yield from (
                Fault(f"checks[{n}]", f"is none of: {', '.join(CHECKS)}") for n, one in enumerate(listed) if one not in list(CHECKS)
            )
        else:
            yield from _entry_faults(name, listed)


def _entry_faults(name: str, listed: list[Any]) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, one in enumerate(listed):
        place = f"{name}[{number}]"
        if not isinstance(one, dict):
            yield Fault(place, "is not an object")
            continue
        key = one.get("key")
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            yield Fault(f"{place}.key", "is not a word of small letters, digits and _ (40 at most)")
        elif key in seen:
            yield Fault(f"{place}.key", f"“{key}” is there already")
        else:
            seen.add(key)
        if not isinstance(one.get("label"), str) or not 0 < len(one["label"].strip()) <= 80:
            yield Fault(f"{place}.label", "is not a text of 1 to 80 characters")
        allowed = {"key", "label", "help", "scale", "anchors"} if name == "axes" else {"key", "label"}
        yield from (Fault(f"{place}.{extra}", "is not known here") for extra in sorted(set(one) - allowed))
        if name == "axes":
            yield from _axis_faults(place, one)


def _axis_faults(place: str, axis: dict[str, Any]) -> Iterator[Fault]:
    if not isinstance(axis.get("help", ""), str) or len(axis.get("help", "")) > 300:
        yield Fault(f"{place}.help", "is not a text of at most 300 characters")
    scale = axis.get("scale")
    if not isinstance(scale, str) or scale not in SCALES:
        yield Fault(f"{place}.scale", f"is none of: {', '.join(SCALES)}")
        return
    anchors = axis.get("anchors", {})
    if not isinstance(anchors, dict):
        yield Fault(f"{place}.anchors", "is not an object of points and what they mean")
        return
    points = SCALES[scale]
    for point, text in anchors.items():
        if points is not None and point not in points:
            yield Fault(f"{place}.anchors.{point}", f"is no point of the scale {scale} ({', '.join(points)})")
        elif points is None and not point.isdecimal():
            yield Fault(f"{place}.anchors.{point}", "is not a count")
        if not isinstance(text, str) or not 0 < len(text.strip()) <= 200:
            yield Fault(f"{place}.anchors.{point}", "is not a text of 1 to 200 characters")


# --- templates that come with Rounds -----------------------------------------------------------------------------------------------------


def template(code: str) -> Rubric:
    """The newest version of a template that comes with Rounds, written to the database when it is first asked for."""
    newest = Rubric.objects.filter(code=code).order_by("-version").first()
    if newest is not None:
        return newest
    read: dict[str, Any] = json.loads((FOLDER / f"{code}.json").read_text(encoding="utf-8"))
    validate(read["content"])
    made, _ = Rubric.objects.get_or_create(
        code=read["code"],
        version=1,
        defaults={"name": read["name"], "content": read["content"], "digest": records.digest_of(read["content"])},
    )
    return made


def default() -> Rubric:
    return template(DEFAULT)


def templates() -> list[str]:
    """The codes of the templates that come with Rounds, as they are listed: T0, T2, T10."""
    return sorted((path.stem for path in FOLDER.glob("*.json")), key=lambda code: (len(code), code))


def ensure() -> None:
    """Write the templates that are not in the database yet. One query once they are there."""
    known = set(Rubric.objects.filter(code__in=templates()).values_list("code", flat=True))
    for code in templates():
        if code not in known:
            template(code)


# --- the studio --------------------------------------------------------------------------------------------------------------------------


@transaction.atomic
def next_version(*, rubric: Rubric, name: str, content: Any, actor: User | None) -> Rubric:
    """The version after the newest of `rubric`'s code. What is there stays as it was: campaigns that use it go on with it.

    Raises RubricRefused when the content is at fault, when nothing was changed, or when somebody made a version meanwhile.
    """
    validate(content)
    newest = Rubric.objects.select_for_update().filter(code=rubric.code).order_by("-version")[0]
    if newest.version != rubric.version:
        raise RubricRefused(f"{newest} was made meanwhile: start from that one.")
    digest = records.digest_of(content)
    if (newest.digest, newest.name) == (digest, name):
        raise RubricRefused(f"Nothing was changed: this is {newest}.")
    made = Rubric.objects.create(code=newest.code, version=newest.version + 1, name=name, content=content, digest=digest, created_by=actor)
    audit.record(actor, "rubric.versioned", made, code=made.code, version=made.version, digest=digest)
    return made


@transaction.atomic
def copy(*, code: str, name: str, content: Any, actor: User | None) -> Rubric:
    """A rubric of one's own: version 1 under a new code. Raises RubricRefused when the code is taken or the content at fault."""
    validate(content)
    if not _CODE.fullmatch(code):
        raise RubricRefused("A code is a letter, then at most nine letters, digits or hyphens.")
    if code in templates() or Rubric.objects.filter(code=code).exists():
        raise RubricRefused(f"The code {code} is taken.")
    made = Rubric.objects.create(code=code, version=1, name=name, content=content, digest=records.digest_of(content), created_by=actor)
    audit.record(actor, "rubric.created", made, code=code, digest=made.digest)
    return made


@transaction.atomic
def retire(*, rubric: Rubric, actor: User | None) -> Rubric:
    """Offer it for new campaigns no more; those that use it go on. The default's newest version stays: campaigns fall back on it."""
    if rubric.code == DEFAULT and not Rubric.objects.filter(code=DEFAULT, version__gt=rubric.version).exists():
        raise RubricRefused(f"{rubric} is what campaigns use unless told otherwise: make its next version first.")
    if not Rubric.objects.filter(pk=rubric.pk, retired_at__isnull=True).update(retired_at=Now()):
        raise RubricRefused(f"{rubric} is retired already.")
    rubric.refresh_from_db()
    audit.record(actor, "rubric.retired", rubric, code=rubric.code, version=rubric.version)
    return rubric


def written(content: Any) -> str:
    """A rubric's content as the studio shows and takes it: JSON, keys in the order a reader expects (the database keeps none)."""
    return json.dumps(in_order(content), ensure_ascii=False, indent=2)


_ORDER = ("axes", "reasons", "spans", "checks", "key", "label", "help", "scale", "anchors")


def in_order(content: Any) -> Any:
    """`content` with its keys as a reader expects them, anchors from the best for A down."""
    if isinstance(content, list):
        return [in_order(one) for one in content]
    if isinstance(content, dict):
        names = sorted(content, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), -_point(name), name))
        return {name: in_order(content[name]) for name in names}
    return content


def _point(name: str) -> int:
    """The point of a scale that an anchor's key names: the best for A first."""
    return int(name) if re.fullmatch(r"-?[0-9]", name) else 0


class Line(NamedTuple):
    """One line of a version diff; `change` is "added", "removed" or "" for a line both have."""

    change: str
    text: str


def differences(before: Rubric, after: Rubric) -> list[Line]:
    """What `after` changes in `before`: the changed lines with two lines around each."""
    marks = {"+": "added", "-": "removed", " ": ""}
    old, new = ([f"name: {one.name}", *written(one.content).splitlines()] for one in (before, after))
    unified = list(difflib.unified_diff(old, new, n=2, lineterm=""))[2:]
    return [Line("gap", "") if line.startswith("@@") else Line(marks[line[0]], line[1:]) for line in unified]
