"""Whoever rates in a blinded study learns from no address which model wrote what, nor who is ahead, whatever their other roles.

Every address is asked twice: in the house as it is, and in its mirror, where each text is by the other model (blinded_house.py). A rater
with every role has to get the same bytes both times. A trainer who does not rate shows that the search would find it: what TELLS says
differs for them. An address that is in neither list fails the build.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from django.core.cache import cache as kept
from django.db import transaction
from django.test import override_settings
from django.urls import reverse
from pytest_django import DjangoDbBlocker

from accounts import access
from accounts.models import User
from tests.accounts.blinded_house import STEMS, Blinded, furnished, mirrored, opened
from tests.accounts.test_access import ADDRESSES, DECISIONS, filled
from tests.cast import signed_in
from tests.database import standing

# What is new in every answer, whoever asks and whatever for.
VARIES = re.compile(
    r'(?:csrf-token" content=|name="csrfmiddlewaretoken" value=|name="key" value=)"[-\w]+"|csrftoken=\w+|nonce-[\w+/=-]+'
    r"|\d{1,2}(?::\d\d)? [ap]\.m\.|\d\d:\d\d(?::\d\d)?[0-9.+:]*"
    r'|\d+ (?:s|min) ago|\bnow\b|[\d.]+ [KMGT]?B free|data-expires="\d+"|about \d+ (?:s|min)'
)
# And in that to something that made another thing: its id and number, a link's secret.
MADE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|/\d+/|/(?:join|password)/[-.\w]+|value=\"\d+\"")
UNHEADED = {"x-request-id", "content-length", "server-timing", "set-cookie", "date"}

# --- every address has its place here -----------------------------------------------------------------------------------------------------

# A rater's own: shows them answers, and no model.
RATING = frozenset({
    "annotation:ahead", "annotation:changes", "annotation:diff", "annotation:draft", "annotation:extend", "annotation:guideline",
    "annotation:history", "annotation:judge", "annotation:leave", "annotation:next", "annotation:qualification", "annotation:queue",
    "annotation:sitting", "annotation:sitting-end", "annotation:undo", "api-assignment-submit", "api-campaign-next", "training:impact",
    "training:impact-data", "training:study-guess",
})  # fmt: skip
# Tells who does not rate in the study which model wrote what, or who is ahead; who does gets 404, or the page without.
TELLS = frozenset({
    "annotation:campaign-answers", "annotation:progress", "annotation:safety", "training:evaluation", "training:lineage",
    "training:lineage-list", "training:lineage-prov", "training:lineage-search", "training:merge-preview", "training:promotion",
    "training:proposal", "training:run", "training:run-samples", "training:study",
})  # fmt: skip
# Of these what says nothing of as few votes as are given here.
OF_MANY = frozenset({"annotation:progress"})
# Tells nobody.
SILENT = frozenset({
    "api-samples", "api-sample", "api-imports", "api-import", "api-import-report", "api-campaigns", "api-campaign", "api-snapshots",
    "api-snapshots-lint", "api-snapshot", "api-exports", "api-export", "api-export-archive", "api-export-file",
    "accounts:join", "accounts:join-renew", "accounts:join-link", "accounts:password-new", "accounts:password-link", "accounts:tokens",
    "accounts:token-revoke", "accounts:consent", "accounts:consent-withdraw", "accounts:profile", "accounts:audit", "accounts:users",
    "accounts:user", "accounts:user-roles", "accounts:user-disable", "accounts:user-enable", "accounts:user-link",
    "accounts:invitations", "accounts:invitation-new", "accounts:invitation-renew", "accounts:invitation-revoke",
    "accounts:consent-texts",
    "jobs:jobs", "jobs:job", "jobs:job-cancel", "jobs:job-keep", "jobs:job-priority", "jobs:job-again",
    "modelhub:models", "modelhub:import", "modelhub:verify", "modelhub:model", "modelhub:card", "modelhub:readme", "modelhub:export",
    "modelhub:archive",
    "annotation:keys", "annotation:qualifications", "annotation:gold", "annotation:gold-settled", "annotation:qualification-grant",
    "annotation:disputes", "annotation:dispute-next", "annotation:disputes-defer", "annotation:dispute", "annotation:dispute-take",
    "annotation:dispute-defer", "annotation:defects", "annotation:defect-decide", "annotation:samples", "annotation:sample-import",
    "annotation:import", "annotation:import-cancel", "annotation:import-report", "annotation:quarantine", "annotation:quarantine-decide",
    "annotation:campaigns", "annotation:campaign-new", "annotation:campaign-plan", "annotation:campaign", "annotation:campaign-open",
    "annotation:campaign-pause", "annotation:campaign-resume", "annotation:campaign-extend", "annotation:campaign-discard",
    "annotation:campaign-close", "annotation:campaign-derive", "annotation:campaign-protocol", "annotation:campaign-members",
    "annotation:campaign-revoke", "annotation:campaign-readmit", "annotation:campaign-reassign", "annotation:calibration",
    "annotation:campaign-freeze", "annotation:rubrics", "annotation:rubric", "annotation:rubric-edit", "annotation:rubric-retire",
    "annotation:snapshots", "annotation:snapshot", "annotation:snapshot-left-out", "annotation:snapshot-export",
    "annotation:snapshot-release", "annotation:snapshot-download", "annotation:snapshot-file", "annotation:snapshot-push",
    "annotation:export-rights",
    "annotation:export-right-revoke",
    "training:home", "training:family", "training:generate", "training:ask-again", "training:syntheses", "training:synthesise",
    "training:synthesise-outputs", "training:golden-set", "training:synthesis", "training:move-synthesis", "training:runs",
    "training:launch", "training:measure", "training:search", "training:compare-runs", "training:run-live", "training:bundle",
    "training:stop", "training:evaluate", "training:evaluate-on",
    "training:promote", "training:study-start", "training:studies", "training:study-stop",
    "training:evidence", "training:evidence-make", "training:evidence-pack", "training:evidence-verifier", "training:loop",
    "training:loop-pause", "training:loop-resume", "training:proposals", "training:proposal-dismiss", "training:suites",
    "training:compare-suites", "training:ask-suite", "training:evaluation-champion", "training:evaluation-suite", "training:replay",
    "training:merge", "training:merge-paper", "training:merge-recipes", "training:compare-recipes", "training:merge-recipe",
    "training:extract", "training:merge-adapter", "training:lineage-svg",
    "training:rollback",
})  # fmt: skip
# Of other packages: the records room, signing in, the API's description. Of a record its list and its own page are asked.
FOREIGN = sorted(name for name, (_, view) in ADDRESSES.items() if access.is_third_party(view) or name.startswith(("admin:", "records/")))
ASKED = [*sorted(RATING), *sorted(TELLS), *sorted(SILENT), *(name for name in FOREIGN if name.endswith(("_changelist", "_change")))]

# Addresses that a thing of the study stands in, beside those of POINTING_AT: by the query, by another kind of thing.
BESIDE: dict[str, Callable[[Blinded], list[str]]] = {
    "annotation:campaigns": lambda scene: [f"{reverse('annotation:campaigns')}?purpose=study&q=Before"],
    "annotation:safety": lambda scene: [f"{reverse('annotation:safety')}?state=all"],
    "training:generate": lambda scene: [f"{reverse('training:generate')}?batches={','.join(batches(scene))}"],
    "annotation:campaign-new": lambda scene: [
        f"{reverse('annotation:campaign-new')}?{'&'.join(f'batch={batch}' for batch in batches(scene))}"
    ],
    "training:runs": lambda scene: [f"{reverse('training:runs')}?q=ward"],
    "training:run": lambda scene: [f"{reverse('training:run', args=[scene.houses[0].run.pk])}?step=0"],
    "training:run-samples": lambda scene: [f"{reverse('training:run-samples', args=[scene.houses[0].run.pk])}?step=0"],
    "training:compare-runs": lambda scene: [f"{reverse('training:compare-runs')}?run={scene.houses[0].run.pk}"],
    "training:studies": lambda scene: [f"{reverse('training:studies')}?model={house.version.public_id}" for house in scene.houses],
    "training:promotion": lambda scene: [
        f"{reverse('training:promotion', args=[house.version.public_id])}?alias={alias}"
        for house in scene.houses for alias in ("challenger", "baseline")
    ],
    "training:compare-suites": lambda scene: [
        f"{reverse('training:compare-suites')}?{'&'.join(f'model={house.version.public_id}' for house in scene.houses)}"
    ],
    "training:compare-recipes": lambda scene: [
        f"{reverse('training:compare-recipes')}?" + "&".join([f"recipe={scene.houses[0].preview.recipe.public_id}"] * 2)
    ],
    "training:launch": lambda scene: [f"{reverse('training:launch')}?from={scene.houses[0].run.pk}"],
    "training:lineage-search": lambda scene: [
        f"{reverse('training:lineage-search')}?q={text}"
        for text in (
            scene.completion.digest, scene.completion.digest[:12], f"completion {scene.completion.pk}", "ward",
            *([f"pair {scene.pair.pk}", f"judgement {scene.judgement}"] if scene.pair else []),
        )
    ],
    "training:lineage": lambda scene: lineages(scene, "training:lineage"),
    "training:lineage-prov": lambda scene: lineages(scene, "training:lineage-prov"),
    "training:lineage-svg": lambda scene: lineages(scene, "training:lineage-svg"),
    "training:lineage-list": lambda scene: [
        f"{reverse('training:lineage-list', args=[kind, key, of])}?direction={way}"
        for kind, key in things(scene) if kind in {"batch", "model", "prompt"}
        for of, way in (("completion", "down"), ("pair", "down"), ("judgement", "down"))
    ],
    "jobs:job": lambda scene: [reverse("jobs:job", args=[scene.houses[0].evaluation.job.public_id])],
    "modelhub:export": lambda scene: [
        reverse("modelhub:export", args=[house.version.public_id, form]) for house in scene.houses for form in ("hf", "gguf")
    ],
    "modelhub:models": lambda scene: [f"{reverse('modelhub:models')}?q=ward"],
}  # fmt: skip


def batches(scene: Blinded) -> list[str]:
    return [str(batch.public_id) for batch in (scene.study.champion_texts, scene.study.challenger_texts, *scene.beside)]


def things(scene: Blinded) -> list[tuple[str, str]]:
    """What a lineage can be asked of that touches the study, as (kind, key)."""
    house = scene.houses[0]
    found = [("batch", batch) for batch in batches(scene)]
    found += [("model", str(each.version.public_id)) for each in scene.houses]
    found += [("completion", str(scene.completion.pk)), ("prompt", str(scene.completion.prompt_id))]
    found += [("evaluation", str(each.evaluation.public_id)) for each in scene.houses]
    found += [("run", str(house.run.pk)), ("sample", str(scene.completion.prompt.sample_id))]
    if scene.pair is not None and scene.promotion is not None:
        found += [("pair", str(scene.pair.pk)), ("judgement", str(scene.judgement)), ("promotion", str(scene.promotion.public_id))]
    return found


def lineages(scene: Blinded, name: str) -> list[str]:
    """Both ways, with every box of texts opened."""
    return [
        f"{reverse(name, args=[kind, key])}?direction={way}&open=completion,pair,batch"
        for kind, key in things(scene) for way in ("up", "down")
    ]  # fmt: skip


Asked = tuple[str, str, str]
Answers = dict[Asked, str]


def asked_of(name: str, scene: Blinded) -> list[str]:
    """Every address called `name` that leads to something of the study."""
    found = [filled(name, house) for house in scene.houses]
    return list(dict.fromkeys([*found, *BESIDE.get(name, lambda scene: [])(scene)]))


def said(response: Any) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in sorted(response.items()) if name.lower() not in UNHEADED)
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return f"{response.status_code}\n{headers}\n{body.decode('utf-8', 'backslashreplace')}"


def answers(scene: Blinded, person: User, *, names: Iterable[str], methods: tuple[str, ...]) -> Answers:
    """What every address says to `person`: {(name, method, address): all that is not new each time}."""
    kept.clear()
    client, told = signed_in(person), {}
    for name in names:
        for address in asked_of(name, scene):
            for method in methods:
                if DECISIONS[name][method]["admin"] == DECISIONS[name][method]["annotator"] == "405":
                    continue
                headers = {"Authorization": f"Bearer {scene.secret}"} if address.startswith("/api/") else {}
                before = client.cookies.copy()
                with transaction.atomic():
                    text = VARIES.sub("", said(client.generic(method, address, headers=headers)))
                    transaction.set_rollback(True)
                client.cookies = before
                told[name, method, address] = MADE.sub("", text) if method == "POST" else text
    return told


@pytest.fixture(scope="module")
def waiting(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Blinded]:
    with pytest.MonkeyPatch.context() as patch, override_settings(DATA_DIR=tmp_path_factory.mktemp("data")), standing(django_db_blocker):
        yield furnished(tmp_path_factory.mktemp("models"), patch)


@pytest.fixture
def judged(waiting: Blinded, db: None) -> Blinded:
    return opened(waiting)


def differing(scene: Blinded, person: User, *methods: str, names: Iterable[str] = ASKED) -> tuple[dict[Asked, str], Answers]:
    """Where a person is told otherwise in the mirror, with lines that say what; and everything they are told in the house as it is."""
    here = answers(scene, person, names=names, methods=methods)
    with mirrored(scene):
        there = answers(scene, person, names=names, methods=methods)
    return {asked: only_in_one(text, there[asked]) for asked, text in here.items() if there[asked] != text}, here


def only_in_one(here: str, there: str) -> str:
    # In the order in which they stand, each once.
    left, right = dict.fromkeys(here.splitlines()), dict.fromkeys(there.splitlines())
    told = [f"- {line}" for line in left if line not in right] + [f"+ {line}" for line in right if line not in left]
    return "\n".join(told)[:2000] or "the same lines in another order"


def test_every_address_has_its_place() -> None:
    ours = set(ADDRESSES) - set(FOREIGN)
    assert sorted(ours - (RATING | TELLS | SILENT)) == [], "Say in RATING, TELLS or SILENT what it tells of a study under way."
    assert sorted((RATING | TELLS | SILENT) - ours) == []
    assert len(RATING) + len(TELLS) + len(SILENT) == len(ours)


def test_who_rates_in_a_study_is_told_by_nothing_which_model_wrote_what_nor_who_is_ahead(judged: Blinded) -> None:
    told_otherwise, here = differing(judged, judged.erin, "GET", "POST")
    assert told_otherwise == {}
    linked = [asked for asked, text in here.items() if _holds(text, judged.identities) and _holds(text, judged.answers)]
    assert linked == []
    # They were really there: their pair stood before them.
    assert "annotation:judge" in {asked[0] for asked, text in here.items() if _holds(text, STEMS)}


def test_who_will_rate_in_it_is_told_nothing_while_both_models_answer(waiting: Blinded, db: None) -> None:
    told_otherwise, here = differing(waiting, waiting.erin, "GET")
    assert told_otherwise == {}
    assert [asked for asked, text in here.items() if _holds(text, STEMS)] == []


def test_the_search_would_find_it(judged: Blinded) -> None:
    """A trainer who does not rate is told by every address in TELLS, in the same two houses."""
    told_otherwise, _ = differing(judged, judged.dan, "GET", names=sorted(TELLS))
    assert {name for name, _, _ in told_otherwise} == TELLS - OF_MANY


def _holds(text: str, words: Iterable[str]) -> bool:
    return any(word in text for word in words)
