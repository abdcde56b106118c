"""The states of the house that benchmarks/gallery.py photographs, in the order in which they come about, and what each picture shows."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4

if TYPE_CHECKING:
    from accounts.models import User
    from annotation.models import Assignment, Campaign, GenerationBatch, Judgement

JOINING, RATING, LEADING, TRAINING, RUNNING = (
    "Joining",
    "The clinician",
    "The lead clinician",
    "The trainer",
    "The administrator and the steward",
)
ROLES = (JOINING, RATING, LEADING, TRAINING, RUNNING)


@dataclass(frozen=True)
class Shot:
    """One picture. `important` ones are taken dark and at 400 pixels too; `full` shows the whole page."""

    name: str
    role: str
    caption: str
    important: bool = False
    full: bool = False
    kept: bool = True


SHOTS = [
    Shot("invitation-link", JOINING, "the link right after it was made: shown once, copied by hand."),
    Shot("join", JOINING, "what the link opens: who invites, what for, how long it takes.", important=True),
    Shot("join-error", JOINING, "a passphrase that is too short: said what to do, the rest is kept."),
    Shot("join-expired", JOINING, "a link that has run out: a new one can be asked for."),
    Shot("consent", JOINING, "what becomes of judgements, with its version; nothing is rated before."),
    Shot("profile-error", JOINING, "a profile sent incomplete: each fault at its field."),
    Shot("queue-empty", RATING, "the queue before anybody has asked for anything."),
    Shot("queue", RATING, "a campaign in each state: to go on with, behind a qualification, with colleagues, paused, done, closed.",
         important=True, full=True),
    Shot("qualification", RATING, "before a qualification: what it is and what passing opens."),
    Shot("qualification-again", RATING, "after a first try that was not enough: what was right, and the second try.", kept=False),
    Shot("qualification-passed", RATING, "a qualification passed."),
    Shot("compare-feedback", RATING, "in a qualification alone: what was expected, and why."),
    Shot("compare", RATING, "a pair as it comes: instruction and input, two blinded responses, one key each verdict.", important=True),
    Shot("compare-verdict", RATING, "a verdict chosen; Enter sends it.", kept=False),
    Shot("compare-reasons", RATING, "two of at most three reasons chosen by digits."),
    Shot("compare-flag", RATING, "a safety flag of B: severity and kind."),
    Shot("compare-mark", RATING, "marking an error by keyboard: the sentence under the cursor, its kind, then its severity."),
    Shot("compare-marked", RATING, "an error marked in the text."),
    Shot("compare-edit", RATING, "the better response edited: the change is tracked and counted."),
    Shot("compare-diff", RATING, "what differs between the two responses, marked in each, never by colour alone.", important=True),
    Shot("compare-find", RATING, "finding a word in instruction and input.", kept=False),
    Shot("compare-cannot", RATING, "“cannot judge” asks why."),
    Shot("compare-help", RATING, "guideline and keys on one screen.", kept=False),
    Shot("compare-json", RATING, "JSON: whether each response is valid, and why not."),
    Shot("compare-json-diff", RATING, "JSON: what differs, key by key."),
    Shot("compare-lease", RATING, "the pair's time is nearly over: more by one key."),
    Shot("compare-late", RATING, "the time was over: the answer is kept either way.", kept=False),
    Shot("compare-offline", RATING, "the network is gone: the answer waits and the work goes on."),
    Shot("compare-error", RATING, "without JavaScript: a rationale is missing, nothing is lost."),
    Shot("sitting", RATING, "the card at a session's end: pairs, minutes, what happens next.", important=True),
    Shot("history-empty", RATING, "one's own answers, before the first.", kept=False),
    Shot("history", RATING, "one's own answers, each with its way back to change it."),
    Shot("history-none", RATING, "a filter that leaves nothing.", kept=False),
    Shot("keys", RATING, "every key of the compare screen, to be exchanged or switched off."),
    Shot("impact-empty", RATING, "my impact, before the first judgement.", kept=False),
    Shot("impact", RATING, "my impact, after a training: what one's judgements came to, no model named (the training is pretended).",
         important=True, full=True),
    Shot("disputes-empty", LEADING, "nothing to settle."),
    Shot("disputes", LEADING, "what has to be settled, the gravest first.", important=True),
    Shot("dispute", LEADING, "a pair flagged as harmful: votes by side, nobody's name, no model's name.", important=True, full=True),
    Shot("dispute-changed", LEADING, "a pair ruled on before whose votes have changed since.", full=True),
    Shot("dispute-error", LEADING, "less harm found without saying why: nothing is lost.", kept=False, full=True),
    Shot("safety-empty", LEADING, "the safety board without a flag.", kept=False),
    Shot("safety", LEADING, "the safety board: flags by kind and task, rulings, what waits.", important=True, full=True),
    Shot("defects-empty", LEADING, "no sample reported.", kept=False),
    Shot("defects", LEADING, "samples that raters could not judge for a fault of their own."),
    Shot("qualifications", LEADING, "qualifications and who waits for a lead."),
    Shot("gold", LEADING, "who qualified, who has no try left and may be given another."),
    Shot("progress-empty", LEADING, "a campaign's figures before the first judgement.", kept=False),
    Shot("progress-small", LEADING, "few judgements: “n too small” instead of numbers.", full=True),
    Shot("progress", LEADING, "nearly 400 simulated judgements: burn-up, agreement, side and length, time, ranking.", important=True,
         full=True),
    Shot("calibration", LEADING, "each rater by pseudonym while the campaign runs.", full=True),
    Shot("campaigns-empty", TRAINING, "the first step when nothing is there.", kept=False),
    Shot("campaigns", TRAINING, "campaigns in every state."),
    Shot("campaign-new", TRAINING, "a campaign being set up; the panel says what it asks of people and what it can find."),
    Shot("campaign-warning", TRAINING, "the same with too few pairs: warned before anybody's hour is spent."),
    Shot("campaign-refused", TRAINING, "an informative draw on the evaluation split: refused, and why."),
    Shot("campaign-draft", TRAINING, "a draft with what opening will lock.", full=True, kept=False),
    Shot("campaign", TRAINING, "an open campaign: progress, people, the locked protocol with its digest.", full=True),
    Shot("campaign-paused", TRAINING, "a paused campaign.", kept=False),
    Shot("campaign-closed", TRAINING, "a closed campaign with its snapshot.", full=True),
    Shot("campaign-members", TRAINING, "who judges in it: left out, taken back, relieved.", kept=False),
    Shot("progress-closed", TRAINING, "the figures of a closed campaign: what wrote the texts is named now.", full=True),
    Shot("rubrics", TRAINING, "the rubric studio: templates, versions, who uses them."),
    Shot("rubric", TRAINING, "what a version changed.", full=True, kept=False),
    Shot("rubric-error", TRAINING, "a rubric edited: the fault is named with its place."),
    Shot("launch", TRAINING, "a run about to begin: four fields, what was checked beforehand, how long it will take and what that costs.",
         full=True),
    Shot("run", TRAINING, "a DPO run while it learns: how it goes in plain words, its curves, what is left."),
    Shot("run-stopped", TRAINING, "the same, stopped and kept: all its curves, and what to do next.", full=True, kept=False),
    Shot("jobs", TRAINING, "background work: what runs, what waits in which turn, on which workers.", full=True),
    Shot("job", TRAINING, "a job that failed for its memory: both figures, what to do, its tries."),
    Shot("invitations-empty", RUNNING, "nobody invited yet.", kept=False),
    Shot("invitations", RUNNING, "invitations: open, used, run out with a new link asked for, revoked."),
    Shot("people", RUNNING, "people and their roles."),
    Shot("person", RUNNING, "one person: roles, consent, sessions, a new passphrase.", kept=False),
    Shot("consent-texts", RUNNING, "the consent text in force and its versions.", kept=False),
    Shot("audit", RUNNING, "who did what: ids and digests, never clinical text."),
]  # fmt: skip

FIRST_PAIRS = Path(__file__).resolve().parent.parent / "annotation" / "demo"
SOURCE = "First pairs"
# Pairs whose texts show at a glance what the screen is for.
READABLE = {"first-01", "first-02", "first-15", "first-16"}
# Pairs whose flaw could harm: how much, how, and words of the sentence that has it.
HARMFUL = {
    "first-01": ("major", "wrong_dose", "oral furosemide"),
    "first-02": ("major", "unsafe_advice", "2.5"),
    "first-06": ("life_threatening", "unsafe_advice", "104/62"),
    "first-15": ("major", "omission", "exertional chest tightness"),
}
PASSPHRASE = "a clinician's long passphrase"
# How the raters of the open campaign answer: a planted order of quality with slips, as simulated raters do.
SIMULATED_PAIRS = 130


class Photographer(Protocol):
    names: set[str]

    def of(self, user: Any, **options: Any) -> Any: ...
    def take(self, name: str, page: Any, *, settle_ms: int = ...) -> None: ...


def play(camera: Photographer) -> None:
    """Bring the house from empty to finished and photograph it on the way. Pictures of training alone need none of the rest."""
    from benchmarks import scenes_training

    house = House(camera)
    if camera.names and camera.names <= set(scenes_training.NAMES):
        scenes_training.play(camera, house.dan)
        return
    for scene in (house.nothing_yet, house.joining, house.planning, house.qualifying, house.comparing, house.queueing, house.settling,
                  house.following, house.looking_back):  # fmt: skip
        print(scene.__name__, flush=True)
        scene()
    print("training", flush=True)
    scenes_training.play(camera, house.dan)


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
    """People, texts and campaigns, made through the verbs. Times that no verb sets are moved in the database: pictures alone need that."""

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

    # --- empty -----------------------------------------------------------------------------------------------------------------------

    def nothing_yet(self) -> None:
        for name, user, address in (
            ("invitations-empty", self.ada, "/invitations/"), ("queue-empty", self.alice, "/rate/"),
            ("history-empty", self.alice, "/rate/history/"), ("impact-empty", self.alice, "/me/impact/"),
            ("disputes-empty", self.carol, "/adjudicate/"), ("safety-empty", self.carol, "/safety/"),
            ("defects-empty", self.carol, "/defects/"), ("campaigns-empty", self.dan, "/campaigns/"),
        ):  # fmt: skip
            self.show(name, user, address)

    # --- joining ---------------------------------------------------------------------------------------------------------------------

    def joining(self) -> None:
        from django.utils import timezone

        from accounts import invitations
        from accounts.models import Invitation

        purpose = "To compare discharge letters. The texts are made up; no patient is behind them."
        page = self.camera.of(self.ada)
        page.goto("/invitations/new/")
        page.get_by_label("Whom do you invite?").fill("Dr. Amina Khan")
        page.get_by_label("What for?").fill(purpose)
        page.get_by_role("button", name="Make the link").click()
        page.wait_for_selector("#link")
        self.camera.take("invitation-link", page)
        link = page.locator("#link").inner_text()

        page = self.camera.of(None)
        page.goto(link)
        self.camera.take("join", page)
        page.get_by_label("Username").fill("amina.khan")
        page.get_by_label("Passphrase", exact=True).fill("short")
        page.get_by_label("Passphrase again").fill("short")
        page.get_by_role("button", name="Make my account").click()
        self.camera.take("join-error", page)
        page.get_by_label("Passphrase", exact=True).fill(PASSPHRASE)
        page.get_by_label("Passphrase again").fill(PASSPHRASE)
        page.get_by_role("button", name="Make my account").click()
        page.wait_for_selector("#consent-form")
        self.camera.take("consent", page)
        page.locator("#consent-form [name=agree]").check()
        page.get_by_role("button", name="Agree and go on").click()
        page.get_by_label("Main field").select_option("Cardiology")
        page.get_by_label("Years in clinical practice").fill("99")
        page.get_by_role("button", name="Save and go on").click()
        self.camera.take("profile-error", page)

        made: dict[str, tuple[Invitation, str]] = {}
        for state, name in (
            ("open", "Dr. Jonas Weber"),
            ("expired", "Dr. Mei Lin"),
            ("asked", "Nurse Ruth Adeyemi"),
            ("revoked", "Dr. Ivo Petrov"),
        ):
            made[state] = invitations.create(name=name, roles=["annotator"], purpose=purpose, minutes=40, days=7, actor=self.ada)
        invitations.revoke(invitation=made["revoked"][0], actor=self.ada)
        run_out = [made[state][0].pk for state in ("expired", "asked")]
        Invitation.objects.filter(pk__in=run_out).update(expires_at=timezone.now() - timedelta(days=2))
        asked = made["asked"][0]
        asked.refresh_from_db()
        invitations.ask_renewal(invitation=asked)
        stranger = self.camera.of(None, locale="en-GB")
        stranger.goto(f"/join/{made['expired'][1]}/")
        self.camera.take("join-expired", stranger)
        self.show("invitations", self.ada, "/invitations/")

    # --- texts and plans ---------------------------------------------------------------------------------------------------------------

    def planning(self) -> None:
        from annotation import completions, samples
        from annotation.models import GenerationBatch
        from training.engine import toytext

        samples.import_jsonl(
            file=jsonl({"id": name, **row["sample"]} for name, row in self.rows.items()),
            source=SOURCE,
            licence="Apache-2.0",
            actor=self.dan,
        )
        names = {"demo-a": "north", "demo-b": "south"}
        completions.import_external(
            file=jsonl(
                {"id": name, "system": names[one["system"]], "text": one["text"]}
                for name, row in self.rows.items()
                for one in row["completions"]
            ),
            filename="texts.jsonl", source=SOURCE, actor=self.dan,
        )  # fmt: skip
        self.batches: list[GenerationBatch] = list(GenerationBatch.objects.order_by("pk"))

        toys = [row for row in toytext.samples(480, 5, with_rejected=True) if row["output_format"] == "plain_text"][:400]
        samples.import_jsonl(
            file=jsonl({"id": f"toy-{n}", **row} for n, row in enumerate(toys)), source="Toy texts", licence="Apache-2.0", actor=self.dan
        )
        # Three systems that are right in a planted share of their answers.
        shares = {"system P": 0.9, "system Q": 0.7, "system R": 0.4}
        written = []
        for n, row in enumerate(toys):
            # No two of a sample close alike: texts that are the same are no pair.
            closings = self.draw.sample([*toytext.HEDGES, *toytext.BLUNT], len(shares))
            for (system, share), closing in zip(shares.items(), closings, strict=True):
                text = row["output" if self.draw.random() < share else "rejected_output"]
                written.append({"id": f"toy-{n}", "system": system, "text": f"{text} {closing}"})
        completions.import_external(file=jsonl(written), filename="toys.jsonl", source="Toy texts", actor=self.dan)
        self.toys: list[GenerationBatch] = list(GenerationBatch.objects.exclude(pk__in=[batch.pk for batch in self.batches]).order_by("pk"))

        page = self.camera.of(self.dan)
        self._fill_in(page, self.toys[:2], name="Discharge letters, autumn", overlap="1")
        self.camera.take("campaign-new", page)
        self._fill_in(page, self.batches, name="Discharge letters, pilot", overlap="1")
        self.camera.take("campaign-warning", page)
        for fold in page.locator("form.form > details").all():
            fold.evaluate("one => { one.open = true; }")
        page.locator("input[name=selection][value=informative]").check()
        page.get_by_role("button", name="Make the pairs").click()
        page.wait_for_selector(".notice-danger, .error")
        page.locator(".notice-danger, .error").first.scroll_into_view_if_needed()
        self.camera.take("campaign-refused", page)

    def _fill_in(self, page: Any, batches: list[GenerationBatch], *, name: str, overlap: str) -> None:
        page.goto("/campaigns/new/")
        page.locator("input[name=name]").fill(name)
        for batch in batches:
            page.locator(f"input[name=batches][value='{batch.pk}']").check()
        for member in (self.alice, self.bob, self.erin):
            page.locator(f"input[name=members][value='{member.pk}']").check()
        page.locator("details", has=page.locator("input[name=overlap]")).last.evaluate("one => { one.open = true; }")
        page.locator("input[name=overlap]").fill(overlap)
        page.locator("input[name=overlap]").blur()
        page.wait_for_selector("#plan dl")
        page.wait_for_timeout(600)
        page.evaluate("scrollTo(0, 0)")

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

    # --- qualifying --------------------------------------------------------------------------------------------------------------------

    def qualifying(self) -> None:
        from annotation import golds

        explained = json.loads((FIRST_PAIRS / "expected.json").read_text(encoding="utf-8"))
        tasks = ["relation extraction", "classification", "reasoning & diagnosis", "textual entailment"]
        gate = self.campaign(
            "Qualification: letters and notes", [self.alice, self.bob, self.erin], purpose="qualify", task_types=tasks, opened=False
        )
        for pair in gate.pairs.select_related("prompt__sample", "first", "second").order_by("position"):
            name = pair.prompt.sample.external_id
            row = self.rows[name]
            flawed = next(one["text"] for one in row["completions"] if one["system"] == row["flawed"])
            accepts = golds.SECOND if pair.first.text == flawed else golds.FIRST
            golds.mark(pair=pair, accepts=accepts, explanation=explained[name], origin="written", actor=self.dan)
        from annotation import campaigns

        self.gate = campaigns.open(campaign=gate, actor=self.dan)
        self.behind = self.campaign(
            "Consultation notes", [self.alice, self.bob], task_types=["text simplification", "text expansion"], qualification=self.gate
        )
        here = f"/rate/campaigns/{self.gate.public_id}/qualification/"
        page = self.show("qualification", self.alice, here)
        page.get_by_role("button", name="Start").first.click()
        page.wait_for_selector("#compare")
        page.keyboard.press("1")
        page.wait_for_selector("#compare input[name=verdict]:checked", state="attached")
        page.wait_for_timeout(500)
        page.keyboard.press("Enter")
        page.wait_for_selector(".feedback")
        self.camera.take("compare-feedback", page)
        total = self.gate.pairs.count()
        for _ in range(total):
            self.answer(self.lease(self.gate, self.bob))
        self.show("qualification-passed", self.bob, here)
        for attempt in ("first", "second"):
            for _ in range(total):
                self.answer(self.lease(self.gate, self.erin), right=False)
            if attempt == "first":
                self.show("qualification-again", self.erin, here)
        self.show("qualifications", self.carol, "/qualifications/")
        self.show("gold", self.carol, f"/campaigns/{self.gate.public_id}/gold/")

    # --- comparing ---------------------------------------------------------------------------------------------------------------------

    def comparing(self) -> None:
        from annotation.models import Draft

        raters = [self.alice, self.bob, self.erin]
        self.letters = self.campaign(
            "Discharge letters and notes", raters, overlap=2, repeat_share=0.1, rationale_when=["both_unacceptable", "flag"],
            deadline=_in_days(12), hourly_cost=95,
        )  # fmt: skip
        self.show("progress-empty", self.carol, f"/campaigns/{self.letters.public_id}/progress/")
        held, answered = self.lease(self.letters, self.alice), 0
        while answered < 5 or held.pair.prompt.sample.external_id not in READABLE:
            self.answer(held, much=self.draw.random() < 0.6)
            held, answered = self.lease(self.letters, self.alice), answered + 1
        page = self.camera.of(self.alice)
        here = f"/rate/{held.public_id}/"

        def fresh() -> None:
            page.goto("/rate/history/")
            page.wait_for_timeout(250)
            Draft.objects.all().delete()
            page.goto(here)
            page.wait_for_selector("#compare")
            page.wait_for_timeout(250)

        def photo(name: str, *keys: str) -> None:
            for key in keys:
                page.keyboard.press(key)
                page.wait_for_timeout(120)
            self.camera.take(name, page)

        fresh()
        photo("compare")
        photo("compare-verdict", "1")
        photo("compare-reasons", "r", "1", "2")
        fresh()
        photo("compare-flag", "1", "Shift+B", "2")
        fresh()
        photo("compare-mark", "j", "j", "m")
        photo("compare-marked", "1", "2")
        fresh()
        photo("compare-diff", "d")
        fresh()
        page.keyboard.press("1")
        page.keyboard.press("e")
        page.wait_for_timeout(300)
        area = page.locator("textarea[name=edited]")
        area.evaluate("one => { one.setSelectionRange(one.value.length, one.value.length); }")
        area.press_sequentially(" Please confirm the date.")
        page.wait_for_timeout(1200)
        photo("compare-edit")
        fresh()
        page.keyboard.press("/")
        page.keyboard.type("mg")
        photo("compare-find", "Enter")
        fresh()
        photo("compare-cannot", "s")
        fresh()
        photo("compare-help", "?")
        fresh()
        self._running_out(held, timedelta(seconds=55))
        page.goto(here)
        self.camera.take("compare-lease", page, settle_ms=1300)
        self._running_out(held, timedelta(minutes=25))

        plain = self.camera.of(self.alice, java_script_enabled=False)
        plain.goto(here)
        plain.locator("label.verdict", has=plain.locator("input[value=both_unacceptable]")).click()
        plain.locator("button.verdict-submit").click()
        plain.wait_for_selector("#compare .notice-danger")
        self.camera.take("compare-error", plain)

        fresh()
        page.wait_for_timeout(1500)
        page.context.set_offline(True)
        page.keyboard.press("1")
        page.wait_for_timeout(600)
        page.keyboard.press("Enter")
        page.wait_for_timeout(2500)
        self.camera.take("compare-offline", page)
        page.context.set_offline(False)
        page.wait_for_function("() => document.querySelector('#unsent').hidden", timeout=60_000)
        page.goto("/rate/history/")

        asked = self.campaign("Entities and phrases as JSON", raters, task_types=["aspect-oriented keyword extraction"])
        held = self.lease(asked, self.alice)
        page = self.show("compare-json", self.alice, f"/rate/{held.public_id}/")
        self.answer(held)

    def _running_out(self, held: Assignment, left: timedelta) -> None:
        from django.utils import timezone

        from annotation.models import Assignment

        Assignment.objects.filter(pk=held.pk).update(expires_at=timezone.now() + left)

    # --- the queue ---------------------------------------------------------------------------------------------------------------------

    def queueing(self) -> None:
        from annotation import campaigns, judgements, sittings
        from annotation.answers import Answer
        from annotation.models import Judgement, Sitting

        short = self.campaign("Referral letters", [self.alice], task_types=["summarization", "question-answering"], deadline=_in_days(3))
        sitting = sittings.start(campaign=short, annotator=self.alice, minutes=10)
        for _ in range(4):
            self.answer(self.lease(short, self.alice))
        Sitting.objects.filter(pk=sitting.pk).update(started_at=_before(minutes=9))
        page = self.camera.of(self.alice)
        page.goto(f"/rate/sittings/{sitting.public_id}/")
        page.get_by_role("button", name="Stop for now").click()
        page.get_by_role("heading", name="That was your session").wait_for()
        self.camera.take("sitting", page)

        tasks = ["note scoring"]
        shared = self.campaign("Note scores", [self.alice, self.bob], task_types=tasks)
        late = self.lease(shared, self.alice)
        self._running_out(late, timedelta(minutes=-3))
        self.lease(shared, self.bob)
        self.show("compare-late", self.alice, f"/rate/{late.public_id}/")
        paused = self.campaign("Error correction", [self.alice], task_types=["error detection & correction"])
        campaigns.pause(campaign=paused, actor=self.dan)
        done = self.campaign("Abbreviations", [self.alice], task_types=["abbreviation expansion"])
        self.answer(self.lease(done, self.alice))
        over = self.campaign("Entities, pilot", [self.alice], task_types=["named entity recognition"])
        held = self.lease(over, self.alice)
        page.goto(f"/rate/{held.public_id}/")
        page.keyboard.press("d")
        self.camera.take("compare-json-diff", page)
        page.goto("/rate/history/")
        self.answer(held)
        campaigns.close(campaign=over, actor=self.dan)
        self.show("queue", self.alice, "/rate/")
        first = Judgement.objects.filter(assignment__campaign=short).select_related("assignment__pair").earliest("pk")
        answer = Answer(verdict="both_acceptable", reasons=("wording",), rationale="Either would do.")
        judgements.amend(judgement=first, answer=answer, key=uuid4())
        self.show("history", self.alice, "/rate/history/")
        self.show("history-none", self.alice, "/rate/history/?flagged=on&verdict=both_unacceptable")
        self.show("keys", self.alice, "/me/keys/")
        self.paused = paused

    # --- settling ----------------------------------------------------------------------------------------------------------------------

    def settling(self) -> None:
        from annotation import adjudications
        from annotation.adjudications import Ruling
        from annotation.answers import Span
        from annotation.models import Dispute, Judgement

        made = self.letters
        number = 0
        while (held := self._next(made, self.bob)) is not None:
            number += 1
            better, where = self.expected(held)
            worse = "first" if better == "second" else "second"
            if number == 5:
                self.answer(
                    held, verdict="cannot_judge", cannot_reason="defective_input", hard="missing_context", rationale="The dose is cut off."
                )
            elif held.pair.prompt.sample.external_id in HARMFUL:
                severity, kind, place = HARMFUL[held.pair.prompt.sample.external_id]
                text = getattr(held.pair, worse).text
                start = text.rfind(". ", 0, text.index(place)) + 2 if ". " in text[: text.index(place)] else 0
                end = text.find(".", text.index(place) + len(place)) + 1 or len(text)
                said: dict[str, Any] = {f"harm_{worse}": severity, f"harm_{worse}_type": kind}
                said["spans"] = (Span(worse, start, end, "context", severity),)
                self.answer(held, rationale=re.sub(r"^Side [AB]", "One of them", where), **said)
            else:
                self.answer(held, much=number % 3 != 0, right=number % 6 != 0)
        for number in range(1, 8):
            held = self.lease(made, self.erin)
            self.answer(held, right=number % 3 != 0, much=number % 2 == 1, reasons=("complete",) if number % 3 else ("wording", "concise"))
        waiting = list(Dispute.objects.waiting())
        self.show("disputes", self.carol, "/adjudicate/")
        votes = {one.pk: Judgement.objects.current().filter(assignment__pair=one.pair_id).count() for one in waiting}
        grave = next(one for one in waiting if votes[one.pk] > 1)
        page = self.show("dispute", self.carol, f"/adjudicate/{grave.public_id}/")
        for side in "ab":
            page.locator(f"select[name=harm_{side}]").select_option("")
        page.locator("input[name=decision]").first.check()
        page.locator("#ruling button.button-primary").click()
        page.wait_for_selector(".notice[role=alert]")
        self.camera.take("dispute-error", page)
        lonely = next(one for one in waiting if votes[one.pk] == 1 and one.severity)
        for one in (grave, lonely):
            one.refresh_from_db()
            flagged = adjudications.flagged(one)
            barred = {"must_not_train_first": bool(flagged[0]), "must_not_train_second": bool(flagged[1])}
            ruling = Ruling(
                outcome="second" if flagged[0] else "first", rationale="The patient would have come to harm if this had been followed.",
                harm_first=flagged[0], harm_second=flagged[1], **barred,
            )  # fmt: skip
            adjudications.rule(dispute=one, adjudicator=self.carol, ruling=ruling, votes_version=one.votes_version, key=uuid4())
        # The second reader comes after the ruling, and thinks otherwise.
        while not Judgement.objects.filter(assignment__pair=lonely.pair_id, assignment__annotator=self.erin).exists():
            held = self.lease(made, self.erin)
            self.answer(held, right=held.pair_id != lonely.pair_id)
        self.show("dispute-changed", self.carol, f"/adjudicate/{lonely.public_id}/")
        self.show("safety", self.carol, "/safety/")
        self.show("defects", self.carol, "/defects/")

    def _next(self, campaign: Campaign, rater: User) -> Assignment | None:
        from annotation import assignments

        return assignments.lease_next(campaign=campaign, annotator=rater)

    # --- following a campaign ----------------------------------------------------------------------------------------------------------

    def following(self) -> None:
        from annotation import campaigns, rubrics, snapshots

        here = f"/campaigns/{self.letters.public_id}/"
        self.show("progress-small", self.carol, f"{here}progress/")
        draft = self.campaign("Clinic letters, next round", [self.alice, self.bob], opened=False, predecessor=None)
        self.show("campaign-draft", self.dan, f"/campaigns/{draft.public_id}/")
        self.show("campaign", self.dan, here)
        self.show("campaign-members", self.dan, f"{here}members/")
        self.show("campaign-paused", self.dan, f"/campaigns/{self.paused.public_id}/")

        raters = self._simulated_raters()
        toys = self.campaign(
            "Toy answers, three systems", raters, batches=self.toys, overlap=3, limit=SIMULATED_PAIRS + 20, seed=3, simulated=True,
            toy=True, repeat_share=0.1, repeat_after_hours=0, deadline=_in_days(9),
        )  # fmt: skip
        self._simulate(toys, raters)
        self.show("progress", self.carol, f"/campaigns/{toys.public_id}/progress/")
        self.show("calibration", self.carol, f"/campaigns/{toys.public_id}/calibration/")
        campaigns.close(campaign=toys, actor=self.dan)
        snapshots.freeze(campaign=toys, name="Toy answers, frozen", actor=self.dan)
        self.show("progress-closed", self.dan, f"/campaigns/{toys.public_id}/progress/")
        self.show("campaign-closed", self.dan, f"/campaigns/{toys.public_id}/")

        rubrics.ensure()
        template = rubrics.template("T2")
        content = json.loads(json.dumps(template.content))
        content["axes"][0]["help"] = "Which one keeps more of what the next clinician has to act on?"
        content["axes"] = [axis for axis in content["axes"] if axis["key"] != "conciseness"]
        edited = rubrics.next_version(rubric=template, name=template.name, content=content, actor=self.dan)
        self.show("rubrics", self.dan, "/rubrics/")
        self.show("rubric", self.dan, f"/rubrics/{edited.pk}/")
        page = self.camera.of(self.dan)
        page.goto(f"/rubrics/{edited.pk}/edit/")
        content["axes"][0]["scale"] = "stars"
        page.locator("textarea[name=content]").fill(json.dumps(content, indent=2))
        page.get_by_role("button", name="Save").click()
        page.wait_for_selector(".error, .notice-danger")
        self.camera.take("rubric-error", page)
        self.show("campaigns", self.dan, "/campaigns/")

    def _simulated_raters(self) -> list[User]:
        from training import raters

        return raters.ensure(4)

    def _simulate(self, campaign: Campaign, people: list[User]) -> None:
        """Simulated raters answer in turns, with times and now and then a slip; then the days are spread over three weeks."""
        import pgtrigger

        from annotation import judgements
        from annotation.models import Assignment, Judgement
        from training import raters

        given = 0
        slips = {person.pk: slip for person, slip in zip(people, (0.06, 0.1, 0.16, 0.22), strict=True)}
        while given < 3 * SIMULATED_PAIRS:
            for person in people:
                held = self._next(campaign, person)
                if held is None:
                    return
                verdict, _ = raters.opinion(held, slip=slips[person.pk], seed=3)
                spent = int(1000 * self.draw.lognormvariate(4.2, 0.5))
                judgements.submit(assignment=held, verdict=judgements.by_side(held, verdict), key=uuid4(), active_ms=spent)
                given += 1
        rows = list(Judgement.objects.filter(assignment__campaign=campaign).order_by("pk"))
        # Answers never change, and so their times; a picture of three weeks is made in seconds all the same.
        with pgtrigger.ignore("annotation.Judgement:answers_never_change"):
            for place, row in enumerate(rows):
                when = _before(minutes=int(20 * 24 * 60 * (1 - place / len(rows)) ** 0.8))
                Judgement.objects.filter(pk=row.pk).update(submitted_at=when)
                Assignment.objects.filter(pk=row.assignment_id).update(submitted_at=when)
        type(campaign).objects.filter(pk=campaign.pk).update(opened_at=_before(minutes=20 * 24 * 60 + 30))

    # --- what came of it ---------------------------------------------------------------------------------------------------------------

    def looking_back(self) -> None:
        self._pretended_training()
        self.show("impact", self.alice, "/me/impact/")
        self.show("people", self.ada, "/users/")
        self.show("person", self.ada, f"/users/{self.alice.pk}/")
        self.show("consent-texts", self.sam, "/consent-texts/")
        self.show("audit", self.ada, "/audit/")

    def _pretended_training(self) -> None:
        """A campaign of alice's closed, frozen, trained on and compared; the training itself is pretended, as in the tests."""
        from django.conf import settings

        from annotation import campaigns, judgements, snapshots
        from tests.training import build
        from training import evaluations, raters, runs
        from training.models import Run

        made = self.campaign("Short answers, spring", [self.alice], batches=self.toys[:2], limit=60, toy=True)
        while (held := self._next(made, self.alice)) is not None:
            verdict, _ = raters.opinion(held, slip=0.05, seed=3)
            spent = self.draw.randint(40_000, 90_000)
            judgements.submit(assignment=held, verdict=judgements.by_side(held, verdict), key=uuid4(), active_ms=spent)
        campaigns.close(campaign=made, actor=self.dan)
        frozen = snapshots.freeze(campaign=made, name="Short answers, frozen", actor=self.dan)
        build.everything_runs()
        policy = build.version(Path(settings.DATA_DIR), "sft-1")
        run = runs.start(snapshot=frozen, policy=policy, preset="demo", name="dpo-1", actor=self.dan)
        build.finish(run.job)
        run = Run.objects.get(pk=run.pk)
        assert run.output is not None
        assert run.policy is not None
        compared = evaluations.start(policy=run.output, reference=run.policy, snapshot=frozen, actor=self.dan)
        build.finish_evaluation(compared, value=0.61, low=0.54, high=0.67, n=212)


def _in_days(days: int) -> Any:
    from django.utils import timezone

    return timezone.localdate() + timedelta(days=days)


def _before(*, minutes: int) -> Any:
    from django.utils import timezone

    return timezone.now() - timedelta(minutes=minutes)
