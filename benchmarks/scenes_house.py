"""People, texts and campaigns of benchmarks/gallery.py's house, made through the verbs, and what several scenes do in it."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from accounts.models import User
    from annotation.models import Assignment, Campaign, GenerationBatch, Judgement

FIRST_PAIRS = Path(__file__).resolve().parent.parent / "annotation" / "demo"
PASSPHRASE = "a clinician's long passphrase"


class Photographer(Protocol):
    names: set[str]

    def of(self, user: Any, **options: Any) -> Any: ...
    def wanted(self, name: str) -> bool: ...
    def take(self, name: str, page: Any, *, settle_ms: int = ...) -> None: ...
    def where(self, **environment: str) -> AbstractContextManager[None]: ...


def jsonl(rows: Iterable[dict[str, Any]]) -> io.BytesIO:
    return io.BytesIO(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def hand_written() -> dict[str, dict[str, Any]]:
    """The first pairs by name. One JSON text is cut off, as by a system that ran out of tokens."""
    lines = (FIRST_PAIRS / "first_pairs.jsonl").read_text(encoding="utf-8").split("\n")
    rows = {f"first-{number:02d}": json.loads(line) for number, line in enumerate(filter(None, lines), start=1)}
    for completion in rows["first-12"]["completions"]:
        if completion["system"] == rows["first-12"]["flawed"]:
            completion["text"] = completion["text"].rstrip().removesuffix("}").rstrip().removesuffix("]").rstrip()
    return rows


class House:
    """Times that no verb sets are moved in the database: pictures alone need that.

    `batches` are the hand-written pairs' texts, `toys` those of three systems on toy texts; `letters`, `gate`, `behind` and `paused` are
    campaigns. Each is there from the scene on that makes it.
    """

    batches: list[GenerationBatch]
    toys: list[GenerationBatch]
    letters: Campaign
    gate: Campaign
    behind: Campaign
    paused: Campaign

    def __init__(self, camera: Photographer) -> None:
        from accounts.models import Role

        self.camera, self.draw = camera, random.Random(11)
        self.rows = hand_written()
        self.ada = self.person("ada", Role.ADMIN)
        self.dan = self.person("dan", Role.TRAINER)
        self.carol = self.person("carol", Role.ADJUDICATOR)
        self.sam = self.person("sam", Role.STEWARD)
        self.alice, self.bob, self.erin = (self.person(name, Role.ANNOTATOR) for name in ("alice", "bob", "erin"))

    def person(self, username: str, role: str) -> User:
        from accounts import consents, profiles
        from accounts.models import RoleGrant, User

        made = User.objects.create_user(username, password=PASSPHRASE)
        RoleGrant.objects.create(user=made, role=role)
        if role in ("annotator", "adjudicator"):
            consents.give(user=made, text=consents.current())
            profiles.save(user=made, specialties=["general_practice"], profession="specialist", years=12, languages=["English"])
        return made

    def show(self, name: str, user: User | None, address: str, **options: Any) -> Any:
        page = self.camera.of(user, **options)
        page.goto(address)
        self.camera.take(name, page)
        return page

    def campaign(self, name: str, members: Iterable[User], *, opened: bool = True, **options: Any) -> Campaign:
        from annotation import campaigns

        document = "qualification.md" if options.get("purpose") == "qualify" else "guideline.md"
        guideline = (FIRST_PAIRS / document).read_text(encoding="utf-8")
        options = {"batches": self.batches, "overlap": 1, "seed": 7, **options}
        made = campaigns.create(name=name, guideline=guideline, members=members, actor=self.dan, **options)
        return campaigns.open(campaign=made, actor=self.dan) if opened else made

    def expected(self, held: Assignment) -> tuple[str, str]:
        """("first" or "second", the flaw in the other) of a hand-written pair."""
        row = self.rows[held.pair.prompt.sample.external_id]
        flawed = next(one["text"] for one in row["completions"] if one["system"] == row["flawed"])
        return ("second" if held.pair.first.text == flawed else "first"), row["where"]

    def lease(self, campaign: Campaign, rater: User) -> Assignment:
        from annotation import assignments

        held = assignments.lease_next(campaign=campaign, annotator=rater)
        if held is None:
            raise SystemExit(f"{campaign} has nothing left for {rater}.")
        return held

    def next(self, campaign: Campaign, rater: User) -> Assignment | None:
        from annotation import assignments

        return assignments.lease_next(campaign=campaign, annotator=rater)

    def answer(self, held: Assignment, *, right: bool = True, much: bool = True, verdict: str = "", **said: Any) -> Judgement:
        """Submit what `right` says of a pair whose flaw is known, after the time that reading takes."""
        from annotation import judgements
        from annotation.answers import Answer

        better, _ = self.expected(held)
        if not right:
            better = "first" if better == "second" else "second"
        given = verdict or f"{better}_{'much' if much else 'slightly'}"
        said.setdefault("active_ms", self.draw.randint(95_000, 210_000))
        if not verdict and right:
            said.setdefault("reasons", ("facts",))
        return judgements.submit(assignment=held, answer=Answer(verdict=given, **said), key=uuid4())


def in_days(days: int) -> Any:
    from django.utils import timezone

    return timezone.localdate() + timedelta(days=days)


def before(*, minutes: int) -> Any:
    from django.utils import timezone

    return timezone.now() - timedelta(minutes=minutes)
