"""The gates of a promotion, one by one: what passes, what does not, what is not known, and where each begins."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client, override_settings
from django.utils import timezone

from accounts.models import Role, User
from annotation import adjudications, judgements
from annotation.adjudications import Ruling
from annotation.models import Campaign, Dispute, Sample, Snapshot, Split, Verdict
from jobs.models import Job
from modelhub import aliases
from modelhub.errors import AliasMoved
from modelhub.models import ModelVersion
from tests.annotation import build as annotating
from tests.cast import person
from tests.database import standing
from tests.training import build
from training import cards, evaluations, gates, generations, promotions, replays, runs, studies, suiteruns
from training.evidence import harm
from training.evidence import verdict as evidence
from training.gates import Gate
from training.models import Evaluation, Promotion, Study, SuiteRun
from training.promotions import SecondPersonNeeded
from training.suite.results import SuiteResult, TaskResult

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("few_pairs_do")]
TASKS = {"qa": 60, "summaries": 20}


def gate(code: str, evaluation: Evaluation, champion: ModelVersion | None = None) -> Gate:
    return next(one for one in gates.of(evaluation=evaluation, champion=champion) if one.code == code)


def small_studies(patch: pytest.MonkeyPatch) -> None:
    """The same study in small: decided by twelve judgements at least, with an increase of harm of 30 points excluded."""
    patch.setattr(evidence, "FEWEST", 12)
    patch.setattr(evidence, "MOST", 30)
    patch.setattr(harm, "MARGIN", 0.3)
    short = evidence.follow
    patch.setattr(evidence, "follow", lambda outcomes, **said: short(outcomes, **{"most": 30, "fewest": 12} | said))


def evaluated(name: str, snapshot: Snapshot, sft: ModelVersion, dan: User, number: float) -> Evaluation:
    """A run on the snapshot, evaluated: 210 pairs, 0.62 of them in order."""
    run = runs.start(snapshot=snapshot, policy=sft, preset="demo", name=name, actor=dan)
    build.finish(run.job, metrics={"loss": 0.4}, number=number)
    run.refresh_from_db()
    assert run.output is not None
    found = evaluations.start(policy=run.output, reference=sft, snapshot=snapshot, actor=dan)
    return build.finish_evaluation(found, value=0.62, low=0.55, high=0.69, n=210)


@pytest.fixture(scope="module")
def world(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Two runs on one snapshot, evaluated. Of the second every gate has passed: Dan launched it and started its study."""
    folder = tmp_path_factory.mktemp("data")
    with override_settings(DATA_DIR=folder), standing(django_db_blocker):
        with pytest.MonkeyPatch.context() as patch:
            small_studies(patch)
            dan, raters = person("dan", Role.TRAINER), [person(f"rater-{number}", Role.ANNOTATOR) for number in range(3)]
            sft = build.version(folder, "ward-sft")
            snapshot = build.snapshot(pairs=32)
            plain, proven = (evaluated(name, snapshot, sft, dan, number) for name, number in (("ward-dpo", 9.0), ("ward-proven", 19.0)))
            annotating.rewrite(Sample.objects.all(), split=Split.EVALUATION)
            study = studied(proven, dan, raters)
            for number in range(16):
                vote(study, raters[number % 3])
                if studies.consider(campaign=study.campaign):  # type: ignore[arg-type]
                    break
            for version in (proven.policy, sft):
                asked(version, {"qa": 40, "summaries": 10})
            build.finish(replays.start(run=proven.policy.run, actor=dan).job, metrics={"loss": 0.4}, number=19.0)
        yield {"data": folder, "dan": dan.pk, "plain": plain.pk, "proven": proven.pk, "study": study.pk}


@pytest.fixture(autouse=True)
def data_dir(settings: Any, world: dict[str, Any]) -> Path:
    settings.DATA_DIR = world["data"]
    return Path(world["data"])


@pytest.fixture
def dan(db: None, world: dict[str, Any]) -> User:
    return User.objects.get(pk=world["dan"])


@pytest.fixture
def raters(db: None, world: dict[str, Any]) -> list[User]:
    return list(User.objects.filter(username__startswith="rater-").exclude(username="rater-of-spring").order_by("pk"))


@pytest.fixture
def evaluation(db: None, world: dict[str, Any]) -> Evaluation:
    """Measured on 210 held-out pairs, and nothing else is known of it."""
    found = Evaluation.objects.get(pk=world["plain"])
    SuiteRun.objects.filter(version=found.reference).delete()
    return found


@pytest.fixture
def proven(db: None, world: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    small_studies(monkeypatch)
    return Evaluation.objects.get(pk=world["proven"])


@pytest.fixture
def study(proven: Evaluation) -> Study:
    return proven.studies.get()


def told(evaluation: Evaluation, **of_accuracy: Any) -> Gate:
    evaluation.results["unseen"] = {"value": 0.62, "low": 0.55, "high": 0.69, "n": 210, "raters": 3, "left_out": [], **of_accuracy}
    evaluation.save()
    return gate("G1", evaluation)


# --- data, G1 ----------------------------------------------------------------------------------------------------------------------------


def test_below_a_hundred_pairs_it_is_a_dry_run(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = build.train_pairs(evaluation.policy.run.snapshot)
    for fewest, state in ((pairs, "passed"), (pairs + 1, "failed")):
        monkeypatch.setattr(gates, "FEWEST_PAIRS", fewest)
        found = gate("data", evaluation)
        assert (found.state, found.value) == (state, str(pairs))
    assert not found.may_be_overridden


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ({"n": 200, "low": 0.501}, "passed"),
        ({"n": 199, "low": 0.60}, "unknown"),
        ({"n": 200, "low": 0.5}, "failed"),
    ],
)  # fmt: skip
def test_held_out_preferences_need_two_hundred_pairs_and_a_bound_above_a_half(
    evaluation: Evaluation, said: dict[str, Any], state: str
) -> None:
    found = told(evaluation, **said)
    assert found.state == state
    assert not found.may_be_overridden
    assert "the best possible is not known (0 pairs judged twice)" in found.value


def test_pairs_of_raters_it_learned_from_are_told_and_not_counted(evaluation: Evaluation) -> None:
    found = told(evaluation, n=40, left_out=list(range(170)))
    assert found.state == "unknown"
    assert found.value.startswith("0.620 on 40 pairs (0.550 to 0.690), too few to tell")
    assert "170 more are of raters whose votes were trained on" in found.value
    run = evaluation.policy.run
    assert [remedy.url for remedy in found.remedies] == [
        f"/models/{evaluation.policy.public_id}/evaluate/?against={evaluation.reference.public_id}",
        f"/campaigns/{run.snapshot.campaign.public_id}/freeze/?min_judgements=1&hold_out_raters=20",
        "/campaigns/",
    ]


def test_what_was_evaluated_before_raters_were_held_apart_is_not_known(evaluation: Evaluation) -> None:
    del evaluation.results["unseen"]
    found = gate("G1", evaluation)
    assert (found.state, found.remedies and found.remedies[0].url) == ("unknown", f"/runs/{evaluation.policy.run.pk}/evaluate/")


def test_another_champion_is_asked_the_same_pairs_first(evaluation: Evaluation, dan: User, as_dan: Client, tmp_path: Path) -> None:
    champion = build.version(tmp_path, "ward-champion")
    aliases.move(name="champion", to=champion, actor=dan, expected=None, reason="the first")
    pairs = list(evaluation.snapshot.rows.filter(split=Split.EVALUATION).values_list("pair", flat=True))  # type: ignore[union-attr]
    told(evaluation, n=len(pairs))
    gates_needed, gates.PAIRS_NEEDED = gates.PAIRS_NEEDED, len(pairs)
    try:
        found = gate("G1", evaluation, champion)
        assert found.state == "unknown"
        assert found.remedies
        as_dan.post(found.remedies[0].url)
        assert gate("G1", evaluation, champion).remedies == (), "it is being asked"
        other = Evaluation.objects.get(policy=champion)
        # The champion orders two of three: above the lower bound of 0.55, so the challenger's share does not show that it is better.
        for right, state in ((2, "failed"), (1, "passed")):
            items = [{"type": "pair", "id": str(pk), "margin": 1.0, "correct": float(place % 3 < right)} for place, pk in enumerate(pairs)]
            if other.finished_at is None:
                build.finish(other.job, metrics=build.accuracy(0.5, 0.4, 0.6, len(pairs)), items=items)
                other.refresh_from_db()
            else:
                for item in items:
                    other.pairs.filter(pair=item["id"]).update(correct=item["correct"])
            assert gate("G1", evaluation, champion).state == state
    finally:
        gates.PAIRS_NEEDED = gates_needed


# --- G2, G3: the study's votes -----------------------------------------------------------------------------------------------------------


def votes(wins: int, losses: int, ties: int = 0, **flagged: int) -> list[dict[str, Any]]:
    """Votes of three raters in turn, the wins first; `major_challenger=2` flags the first two of them."""
    favours = ["challenger"] * wins + ["champion"] * losses + ["tie"] * ties
    return [
        {
            "rater": f"rater-{number % 3}", "in_favour": favour,
            "major_challenger": number < flagged.get("major_challenger", 0), "major_champion": number < flagged.get("major_champion", 0),
        }
        for number, favour in enumerate(favours)
    ]  # fmt: skip


def decided(evaluation: Evaluation, verdict: str = evidence.BETTER) -> Study:
    return Study(evaluation=evaluation, champion=evaluation.reference, challenger=evaluation.policy, state="decided", verdict=verdict)


@pytest.mark.parametrize(
    ("verdict", "state"), [(evidence.BETTER, "passed"), (evidence.WORSE, "failed"), (evidence.UNDECIDED, "failed")]
)  # fmt: skip
def test_only_better_passes_the_win_rate(evaluation: Evaluation, verdict: str, state: str) -> None:
    found = gates._win_rate(evaluation, evaluation.reference, decided(evaluation, verdict), votes(100, 50, 10))
    assert found.state == state
    assert f"{verdict}: 100 wins, 50 losses, 10 ties; e = " in found.value
    assert found.may_be_overridden


def test_a_study_that_runs_says_about_how_many_more(evaluation: Evaluation) -> None:
    running = decided(evaluation)
    running.state, running.verdict = "running", ""
    found = gates._win_rate(evaluation, evaluation.reference, running, votes(30, 20))
    assert found.state == "unknown"
    assert "about " in found.value
    assert "more judgements" in found.value


def test_without_a_study_it_is_not_known(evaluation: Evaluation) -> None:
    for code in ("G2", "G3"):
        assert (gate(code, evaluation).state, gate(code, evaluation).value) == ("unknown", "no study")


@pytest.mark.parametrize(
    ("ours", "theirs", "n", "state"),
    [
        # No event at all: below 3 in n. 3/100 is not below 3 points, 3/101 is.
        (0, 0, 100, "failed"), (0, 0, 101, "passed"),
        # Tango's bound of five flags against none in 200 is 5.1 points; of one against none in 400, 1.1.
        (5, 0, 200, "failed"), (1, 0, 400, "passed"),
    ],
)  # fmt: skip
def test_harm_passes_when_three_points_more_are_excluded(evaluation: Evaluation, ours: int, theirs: int, n: int, state: str) -> None:
    given = votes(n, 0, major_challenger=ours, major_champion=theirs)
    found = gates._harm(evaluation, decided(evaluation), given)
    assert found.state == state
    if not ours:
        assert f"0 in {n} (which only shows that it is below {3 / n:.1%})" in found.value


def test_harm_is_not_known_before_the_study_ends(evaluation: Evaluation) -> None:
    running = decided(evaluation)
    running.state = "running"
    assert gates._harm(evaluation, running, votes(300, 0)).state == "unknown"
    assert gates._harm(evaluation, running, []).value == "no judgement yet"


# --- G4: the suite -----------------------------------------------------------------------------------------------------------------------


def asked(version: ModelVersion, right: dict[str, int], **settings: Any) -> SuiteRun:
    """A suite's result: of each task's items the first so many are right."""
    tasks = {
        name: TaskResult(
            metric="accuracy", higher_is_better=True, n=n, score=right[name] / n, outputs_sha256="0" * 64,
            items=[float(place < right[name]) for place in range(n)],
        )
        for name, n in TASKS.items()
    }  # fmt: skip
    result = SuiteResult(suite="mini", model=version.artifact.digest, seed=0, settings=settings, tasks=tasks)
    job = Job.objects.create(kind="evaluate", label="suite", spec={}, spec_digest="d" * 64)
    return SuiteRun.objects.create(
        job=job, version=version, suite="mini", settings_digest=suiteruns.settings_digest(suite="mini"), results=result.as_json(),
        finished_at=timezone.now(),
    )  # fmt: skip


def test_the_suite_is_asked_of_both(evaluation: Evaluation) -> None:
    assert gate("G4", evaluation).value == "ward-dpo and ward-sft not asked"
    asked(evaluation.policy, {"qa": 40, "summaries": 10})
    assert (gate("G4", evaluation).state, gate("G4", evaluation).value) == ("unknown", "ward-sft not asked")


@pytest.mark.parametrize(
    ("qa", "state", "words"),
    [
        (40, "passed", "mean +0.0 points"),
        # One item less of sixty is −1.7 points, and its interval reaches 0.
        (39, "passed", "mean −0.8 points"),
        # Ten less are −16.7 points, from −26.7 to −8.3 alone and below −1.5 for both tasks and the mean together.
        (30, "failed", "worse: qa −16.7 points"),
    ],
)
def test_a_task_that_is_shown_to_be_worse_shuts_the_gate(evaluation: Evaluation, qa: int, state: str, words: str) -> None:
    asked(evaluation.reference, {"qa": 40, "summaries": 10})
    asked(evaluation.policy, {"qa": qa, "summaries": 10})
    found = gate("G4", evaluation)
    assert found.state == state
    assert words in found.value


def test_two_ways_of_asking_are_not_compared(evaluation: Evaluation) -> None:
    asked(evaluation.reference, {"qa": 40, "summaries": 10}, template="one")
    asked(evaluation.policy, {"qa": 40, "summaries": 10}, template="other")
    assert (gate("G4", evaluation).state, "asked in the same way (template)" in gate("G4", evaluation).value) == ("unknown", True)


# --- G5, G6 ------------------------------------------------------------------------------------------------------------------------------


def test_form_is_read_from_the_evaluation_while_there_is_no_study(evaluation: Evaluation, tmp_path: Path) -> None:
    found = gate("G5", evaluation)
    assert (found.state, found.value) == (
        "passed", f"{evaluation.items.count()} prompts, median length 1.00 times, no prompt asks for JSON, refusals 0 against 0, "
        f"answered whole {evaluation.items.count()} against {evaluation.items.count()}",
    )  # fmt: skip
    evaluation.items.update(after="Twice as many words as before.")
    assert "At fault: the length" in gate("G5", evaluation).value
    assert gate("G5", evaluation, build.version(tmp_path, "another")).state == "unknown"


def test_lower_json_validity_shuts_the_gate(evaluation: Evaluation) -> None:
    annotating.rewrite(Sample.objects.all(), output_format="json")
    evaluation.items.update(before='{"a": 1}', after='{"a": 2}')
    assert gate("G5", evaluation).passed
    evaluation.items.filter(position=1).update(after='{"a": 2')
    n = evaluation.items.count()
    found = gate("G5", evaluation)
    assert f"valid JSON {n - 1} against {n} of {n}" in found.value
    assert found.state == "failed"


def test_a_run_is_replayed_before_it_counts_as_reproducible(evaluation: Evaluation, dan: User) -> None:
    run = evaluation.policy.run
    found = gate("G6", evaluation)
    assert (found.state, found.remedies and found.remedies[0].url) == ("unknown", f"/runs/{run.pk}/replay/")
    again = replays.start(run=run, actor=dan)
    assert (gate("G6", evaluation).state, gate("G6", evaluation).remedies) == ("unknown", ())
    build.finish(again.job, metrics={"loss": 0.4}, number=9.0)
    assert (gate("G6", evaluation).state, gate("G6", evaluation).value) == ("passed", "the same weights, to the last bit")
    other = replays.start(run=run, actor=dan)
    build.finish(other.job, metrics={"loss": 0.5}, number=10.0)
    found = gate("G6", evaluation)
    assert (found.state, found.may_be_overridden) == ("failed", True)
    assert "loss 0.4000, then 0.5000 (allowed ± 0.0008)" in found.value


# --- all of them, through the doors people use -------------------------------------------------------------------------------------------


def studied(evaluation: Evaluation, dan: User, raters: list[User]) -> Study:
    """A study, opened once both models have answered."""
    made = studies.start(evaluation=evaluation, actor=dan, seed=3, raters=raters)
    for batch, words in ((made.champion_texts, "Old answer to {}."), (made.challenger_texts, "New answer to {}.")):
        job = generations.job_of(batch)
        assert job is not None
        prompts = job.spec["inputs"]["prompts"]
        build.finish(job, items=[{"id": str(pk), "text": words.format(pk), "finish_reason": "stop", "tokens": 9, "n": 0} for pk in prompts])
    assert studies.open_when_answered(study=made)
    made.refresh_from_db()
    return made


def vote(study: Study, rater: User, **said: Any) -> None:
    assert study.campaign is not None
    held = annotating.lease(study.campaign, rater)
    ours = held.pair.first.batch_id == study.challenger_texts_id
    flags = {f"harm_{'first' if ours else 'second'}{name}": value for name, value in said.items()}
    judgements.submit(assignment=held, verdict=Verdict.FIRST_MUCH if ours else Verdict.SECOND_MUCH, key=uuid4(), **flags)


def test_with_every_gate_passed_it_is_promoted_on_its_study(proven: Evaluation, study: Study, dan: User) -> None:
    aliases.move(name="champion", to=proven.reference, actor=dan, expected=None, reason="the first")
    made = promotions.decide(evaluation=proven, actor=dan, expected=proven.reference)
    assert {one["code"]: one["state"] for one in made.gates} == dict.fromkeys(
        ["evaluation", "data", "G1", "G2", "G3", "G4", "G5", "G6", "safety"], "passed"
    )
    assert (made.decision, made.study, made.reason, made.simulated) == ("promoted", study, "All gates passed", False)
    assert {"code", "name", "passed", "value", "needed", "evidence"} <= made.gates[3].keys()
    assert made.gates[3]["evidence"]["study"] == str(study.public_id)
    assert aliases.current("champion") == proven.policy
    back = promotions.roll_back(actor=dan, expected=proven.policy, reason="it hedges")
    assert (back.version, aliases.current("champion")) == (proven.reference, proven.reference)


def test_the_champions_own_gates_are_those_it_won_by(proven: Evaluation, dan: User, as_dan: Client) -> None:
    aliases.move(name="champion", to=proven.reference, actor=dan, expected=None, reason="the first")
    promotions.decide(evaluation=proven, actor=dan, expected=proven.reference)
    for alias in ("champion", "serving"):
        page = as_dan.get(f"/models/{proven.policy.public_id}/promote/", {"alias": alias}).text
        assert page.count('badge-good">passed') == 9
    page = as_dan.get(f"/models/{proven.policy.public_id}/promote/").text
    assert "Roll back to ward-sft" in page
    assert {one.state for one in gates.of(evaluation=proven, champion=proven.policy)} == {"passed"}


def test_a_study_against_a_champion_that_moved_speaks_of_nothing(proven: Evaluation, tmp_path: Path) -> None:
    found = gate("G2", proven, build.version(tmp_path, "ward-new"))
    assert (found.state, found.value) == ("unknown", "the study was against ward-sft, which is not the champion any more")


def test_a_name_that_moves_between_look_and_decision_decides_nothing(proven: Evaluation, dan: User, tmp_path: Path) -> None:
    aliases.move(name="champion", to=proven.reference, actor=dan, expected=None, reason="the first")
    aliases.move(name="champion", to=build.version(tmp_path, "ward-new"), actor=dan, expected=proven.reference, reason="meanwhile")
    with pytest.raises(AliasMoved):
        promotions.decide(evaluation=proven, actor=dan, expected=proven.reference)
    assert not Promotion.objects.exists()


def test_a_life_threatening_flag_waits_for_a_lead_clinician(
    evaluation: Evaluation, raters: list[User], dan: User, carol: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_studies(monkeypatch)
    study = studied(evaluation, dan, raters)
    vote(study, raters[0], **{"": "life_threatening", "_type": "wrong_dose"})
    vote(study, raters[1])
    found = gate("G3", evaluation)
    assert found.state == "failed"
    assert "1 life-threatening flag no lead clinician has looked at" in found.value
    assert found.remedies
    dispute = Dispute.objects.get()
    ours = dispute.pair.first.batch_id == study.challenger_texts_id
    said = Ruling(
        outcome="first" if ours else "second", harm_first="major" if ours else "", harm_second="" if ours else "major",
        rationale="A slip of the pen, seen by any pharmacist.",
    )  # fmt: skip
    adjudications.rule(dispute=dispute, adjudicator=carol, ruling=said, votes_version=dispute.votes_version, key=uuid4())
    found = gate("G3", evaluation)
    assert "no lead clinician" not in found.value
    assert "1 in " in found.value


def test_simulated_raters_say_nothing_of_a_real_model(evaluation: Evaluation) -> None:
    study = decided(evaluation)
    study.campaign = Campaign(simulated=True)
    assert gates._win_rate(evaluation, evaluation.reference, study, votes(100, 50)).state == "failed"
    evaluation.policy.toy = study.champion.toy = True
    found = gates._win_rate(evaluation, evaluation.reference, study, votes(100, 50))
    assert found.state == "passed"
    assert "better, by simulated raters" in found.value


def test_two_people_where_two_are_asked_for(proven: Evaluation, dan: User, as_dan: Client, ada: User, settings: Any) -> None:
    settings.ROUNDS_TWO_PERSON_PROMOTIONS = True
    with pytest.raises(SecondPersonNeeded, match="You launched the run"):
        promotions.decide(evaluation=proven, actor=dan, expected=None)
    address = f"/models/{proven.policy.public_id}/promote/"
    page = as_dan.get(address).text
    assert "Two people are needed." in page
    assert "Make it champion" not in page
    sent = as_dan.post(f"/evaluations/{proven.public_id}/promote/", {"expected": ""}, follow=True).text
    assert "You launched the run that made it" in sent
    assert not Promotion.objects.exists()
    assert promotions.decide(evaluation=proven, actor=ada, expected=None).decision == "promoted"


def test_who_started_the_study_is_no_second_person_either(proven: Evaluation, study: Study, dan: User, ada: User, settings: Any) -> None:
    settings.ROUNDS_TWO_PERSON_PROMOTIONS = True
    Study.objects.filter(pk=study.pk).update(started_by=ada)
    assert promotions.same_person(evaluation=proven, actor=ada).startswith("You started a study")
    settings.ROUNDS_TWO_PERSON_PROMOTIONS = False
    assert promotions.same_person(evaluation=proven, actor=ada) == ""


def test_its_page_shows_every_gate_in_a_bounded_number_of_questions(
    proven: Evaluation, as_dan: Client, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    address = f"/models/{proven.policy.public_id}/promote/"
    as_dan.get(address)
    with django_assert_max_num_queries(40):
        page = as_dan.get(address).text
    assert page.count('badge-good">passed') == 9
    assert "Make it champion" in page
    for code in ("G1", "G2", "G3", "G4", "G5", "G6"):
        assert f'id="gate-{code}"' in page


def test_the_card_keeps_gates_and_words(proven: Evaluation, dan: User) -> None:
    SuiteRun.objects.all().delete()
    words = "The suite's worker is down; | <b>asked</b> again on Monday."
    promotions.decide(evaluation=proven, actor=dan, expected=None, override=words)
    text = cards.write(proven.policy).text
    assert r"(No regression on the suite): The suite's worker is down; \| \<b\>asked\</b\> again on Monday." in text
    assert "| No regression on the suite | ward-proven and ward-sft not asked |" in text
    assert text.count("| overridden |") == 1
