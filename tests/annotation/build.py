"""Small worlds for the tests: samples, what systems wrote for them, campaigns."""

import io
import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from django.db import connection, transaction
from django.db.models import QuerySet

from accounts.models import Role, User
from annotation import assignments, campaigns, completions, export_rights, golds, judgements, samples
from annotation.models import Assignment, Campaign, GenerationBatch, Judgement, Verdict
from tests.cast import person

GUIDELINE = "Read the input first. Judge what is correct and safe before what is complete, and both before style."


def row(number: int = 1, **changes: Any) -> dict[str, Any]:
    """A MediFlow row; `None` as a value removes the column."""
    made = {
        "instruction": "Summarise the note in one sentence for the discharge letter.",
        "input": f"Patient {number} was admitted with chest pain; troponin stayed normal twice.",
        "output": f"Patient {number}: chest pain, infarction ruled out.",
        "task_type": "summarization",
        "input_data": "Discharge Summary",
        "output_format": "plain_text",
        "difficulty_level": "moderate",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def jsonl(rows: Iterable[Any]) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows))


def stored_samples(count: int, source: str = "made-up", actor: User | None = None) -> None:
    rows = [row(number, id=f"s{number}") for number in range(1, count + 1)]
    samples.import_jsonl(file=jsonl(rows), source=source, licence="CC0-1.0", actor=actor)


def stored_batches(count: int, systems: Sequence[str] = ("north", "south"), source: str = "made-up") -> list[GenerationBatch]:
    """`count` samples, each answered by every system; the texts differ and name nobody."""
    stored_samples(count, source)
    rows = [
        {"id": f"s{n}", "system": system, "text": f"Answer {index + 1} to case {n}: chest pain, no infarction."}
        for n in range(1, count + 1)
        for index, system in enumerate(systems)
    ]
    completions.import_external(file=jsonl(rows), filename="texts.jsonl", source=source, actor=None)
    return list(GenerationBatch.objects.filter(system__in=systems).order_by("system"))


def campaign(members: Iterable[User], *, pairs: int = 6, overlap: int = 1, opened: bool = True, **options: Any) -> Campaign:
    """A campaign over `pairs` pairs of two systems, opened unless said otherwise."""
    source = options.pop("source", f"source-{uuid4().hex[:8]}")
    batches = stored_batches(pairs, options.pop("systems", (f"{source}-north", f"{source}-south")), source)
    made = campaigns.create(
        name=options.pop("name", "Chest pain letters"), guideline=GUIDELINE, batches=batches, overlap=overlap, members=members,
        actor=None, seed=options.pop("seed", 7), **options,
    )  # fmt: skip
    return campaigns.open(campaign=made, actor=None) if opened else made


def may_export(user: User, level: str = "untagged") -> User:
    """Grant `user` a level of exports, as an administrator does."""
    admin = User.objects.filter(grants__role=Role.ADMIN).first() or person("granting-admin", Role.ADMIN)
    export_rights.grant(user=user, level=level, actor=admin)
    return user


def rewrite(found: QuerySet[Any], **values: Any) -> None:
    """Other values in columns that never change, for a world that no import would make as cheaply."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        found.update(**values)
        cursor.execute("SET LOCAL session_replication_role = origin")


def lease(campaign: Campaign, annotator: User) -> Assignment:
    held = assignments.lease_next(campaign=campaign, annotator=annotator)
    assert held is not None
    return held


def submitted(held: Assignment, verdict: Verdict = Verdict.FIRST_MUCH) -> Judgement:
    """Answer a pair that is leased."""
    return judgements.submit(assignment=held, verdict=verdict, key=uuid4())


def judge(campaign: Campaign, annotator: User, verdict: Verdict = Verdict.FIRST_MUCH, cannot_reason: str = "") -> Judgement:
    """Lease the next pair and answer it."""
    return judgements.submit(assignment=lease(campaign, annotator), verdict=verdict, key=uuid4(), cannot_reason=cannot_reason)


def qualification(members: Iterable[User], *, pairs: int = 4, opened: bool = True, **options: Any) -> Campaign:
    """A qualification whose every pair has the first as its right answer; the explanation of the n-th names its number."""
    made = campaign(members, pairs=pairs, opened=False, purpose="qualify", name=options.pop("name", "Qualify for letters"), **options)
    for number, pair in enumerate(made.pairs.order_by("position"), start=1):
        golds.mark(pair=pair, accepts=golds.FIRST, explanation=f"Because of reason {number}.", origin="written", actor=None)
    return campaigns.open(campaign=made, actor=None) if opened else made
