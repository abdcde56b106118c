"""No byte an annotator receives says who wrote what: every response is searched for names that stand for models, systems and runs."""

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import ApiToken, Role, RoleGrant, Scope, User
from annotation import campaigns, completions, prompts
from annotation.campaigns import CampaignRefused
from annotation.models import Assignment, Campaign, Completion, GenerationBatch, Gold, Sample, Slot
from modelhub.models import Artifact, ModelVersion
from tests.annotation.build import GUIDELINE, lease, stored_batches
from tests.cast import signed_in

pytestmark = pytest.mark.django_db

BACKGROUND = {"X-Rounds": "background"}
# Ids, tokens and times differ from page to page, whatever is asked.
UUID4, TOKEN, TIME = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "[0-9A-Za-z]{64}", r"\d\d:\d\d(:\d\d)?[0-9.+:]*|\d+ s ago|now"
VARYING = re.compile(rf'{UUID4}|{TOKEN}|data-expires="\d+"|{TIME}')
CANARY_SYSTEM = "canary-system-peregrine"
CANARY_MODEL = "canary-model-goshawk"
CANARY_RUN = str(uuid4())


@pytest.fixture
def made(alice: User) -> Campaign:
    """An external system against a version of ours, whose job's id is known."""
    (external,) = stored_batches(8, [CANARY_SYSTEM])
    artifact = Artifact.objects.create(digest="c" * 64, manifest=[], bytes=0)
    version = ModelVersion.objects.create(name=CANARY_MODEL, kind="merged", artifact=artifact, origin=CANARY_RUN)
    ours = GenerationBatch.objects.create(version=version, decoding={"temperature": 0.7}, seed=424242, origin=CANARY_RUN)
    items = [
        {"prompt": p.pk, "text": f"Merged answer {p.pk}.", "finish_reason": "length", "tokens": 31337}
        for p in prompts.render(samples=Sample.objects.all())
    ]
    completions.record(batch=ours, items=items)
    campaign = campaigns.create(
        name="Letters", guideline=GUIDELINE, batches=[external, ours], overlap=1, members=[alice], actor=None, seed=515253
    )
    return campaigns.open(campaign=campaign, actor=None)


def secrets(made: Campaign) -> set[str]:
    pairs = made.pairs.select_related("first__batch", "second__batch")
    digests = {completion.digest for pair in pairs for completion in (pair.first, pair.second)}
    batches = {str(completion.batch.public_id) for pair in pairs for completion in (pair.first, pair.second)}
    fixed = {
        CANARY_SYSTEM,
        CANARY_MODEL,
        CANARY_RUN,
        "goshawk",
        "peregrine",
        "31337",
        "424242",
        "515253",
        "first_on_left",
        "first_much",
        "second_much",
    }
    return fixed | digests | batches


def said(response: Any) -> str:
    headers = "\n".join(f"{name}: {value}" for name, value in response.items())
    body = b"".join(response.streaming_content) if response.streaming else response.content
    return headers + "\n" + body.decode()


def walk(client: Client, token: str, made: Campaign, annotator: User) -> Iterator[tuple[str, Any]]:
    """Everything an annotator can ask for: pages, fragments, mistakes, the API."""
    rate, campaign = "/rate/", f"/rate/campaigns/{made.public_id}/"
    yield "queue", client.get(rate)
    yield "next", client.post(campaign + "next/")
    yield "guideline", client.get(campaign + "guideline/")
    yield "keys", client.get("/me/keys/")
    yield "history, empty", client.get(rate + "history/")
    session = client.post(campaign + "next/", {"minutes": "10"})
    yield "session begun", session
    for verdict in ("a_much", "b_much", "both_unacceptable", "cannot_judge:defective_input", "both_acceptable"):
        held = lease(made, annotator)
        address = f"/rate/{held.public_id}/"
        yield "pair", client.get(address)
        yield "pair as a fragment", client.get(address, headers={"HX-Request": "true"})
        yield "differences", client.get(address + "diff/")
        edit = {"edited_side": "a", "edited": "Better."}
        yield "tracked changes", client.post(address + "changes/", edit)
        yield "draft", client.post(address + "draft/", {"verdict": verdict, "key": str(uuid4()), "draft_number": "1"})
        yield "drafted pair", client.get(address)
        yield "pair fetched ahead", client.post(address + "ahead/", headers=BACKGROUND)
        yield "more time", client.post(address + "extend/", headers=BACKGROUND)
        wrong = {**edit, "verdict": "a_much", "edited_side": "b", "key": str(uuid4()), "spans": "[", "quote_text": "nowhere"}
        yield "wrong in every way", client.post(address, wrong)
        yield "wrong in the background", client.post(address, wrong, headers=BACKGROUND)
        yield "no verdict", client.post(address, {"key": str(uuid4())})
        yield "answer", client.post(address, {"verdict": verdict, "key": str(uuid4())})
        yield "answer again", client.post(address, {"verdict": "a_slightly", "key": str(uuid4())})
        yield "answered pair", client.get(address)
        yield "undo", client.post(campaign + "undo/")
        yield "reopened pair", client.get(address)
        yield "answer anew", client.post(address, {"verdict": verdict, "key": str(uuid4())}, headers=BACKGROUND)
        flag = {"verdict": verdict, "key": str(uuid4()), "amends": "2", "harm_b": "major"}
        yield "answer changed", client.post(address, flag, headers={"HX-Request": "true"})
        yield "stale change", client.post(address, {**flag, "key": str(uuid4()), "harm_b": ""})
        yield "draft too late", client.post(address + "draft/", {"verdict": verdict})
    yield "history", client.get(rate + "history/")
    yield "history, narrowed", client.get(rate + "history/", {"flagged": "on", "verdict": "a_much", "campaign": str(made.public_id)})
    sitting = made.sittings.get(annotator=annotator)
    yield "session ended", client.post(f"{rate}sittings/{sitting.public_id}/end/")
    yield "session's card", client.get(f"{rate}sittings/{sitting.public_id}/")
    yield "leaving", client.post(campaign + "leave/")
    yield "queue again", client.get(rate)
    api = {"Authorization": f"Bearer {token}"}
    for path in ("campaigns/", f"campaigns/{made.public_id}/", "samples/", "snapshots/"):
        yield f"API {path}", client.get(f"/api/v1/{path}", headers=api)
    leased = client.post(f"/api/v1/campaigns/{made.public_id}/next/", headers=api)
    yield "API next", leased
    held = lease(made, annotator)
    key = {"Idempotency-Key": str(uuid4())}
    submit = f"/api/v1/assignments/{held.public_id}/submit/"
    yield "API wrong answer", client.post(submit, {"verdict": "best"}, content_type="application/json", headers={**api, **key})
    yield "API answer", client.post(submit, {"verdict": "b_slightly"}, content_type="application/json", headers={**api, **key})
    other = {"Idempotency-Key": str(uuid4())}
    yield "API answer again", client.post(submit, {"verdict": "a_much"}, content_type="application/json", headers={**api, **other})
    for path in (
        "/campaigns/",
        f"/campaigns/{made.public_id}/",
        "/samples/",
        "/snapshots/",
        "/models/",
        "/jobs/",
        "/runs/",
        "/me/impact/",
        f"/campaigns/{made.public_id}/progress/",
        f"/campaigns/{made.public_id}/gold/",
        "/adjudicate/",
        "/safety/",
        "/defects/",
        "/",
        "/audit/",
    ):
        yield f"not theirs {path}", client.get(path)
    yield "not there", client.get(f"/rate/{uuid4()}/")


def test_no_response_an_annotator_gets_names_a_model_a_system_a_run_or_a_side_policy(made: Campaign, alice: User, as_alice: Client) -> None:
    token, secret = ApiToken.draw(user=alice, label="t", scopes=[Scope.READ, Scope.ANNOTATE])
    token.save()
    wanted = secrets(made)
    seen = set()
    for name, response in walk(as_alice, secret, made, alice):
        assert response.status_code < 500, name
        found = {word for word in wanted if word in said(response)}
        assert not found, (name, found)
        if response.status_code in (200, 201):
            seen.add(name)
    # The walk was a real one: these were answered, not refused.
    assert seen >= {
        "queue", "pair", "pair as a fragment", "reopened pair", "guideline", "answered pair", "API next", "API answer", "keys", "history",
        "history, narrowed", "differences", "tracked changes", "drafted pair", "pair fetched ahead", "session's card",
    }  # fmt: skip


@pytest.mark.parametrize("place", ["pair", "differences", "API next"])
def test_the_search_would_find_a_leak(made: Campaign, alice: User, as_alice: Client, place: str) -> None:
    """Planted where raters read: in the input, in one of the texts."""
    Sample.objects.update(input=f"Written by {CANARY_MODEL}.")
    Completion.objects.filter(batch__version__isnull=True).update(text=f"I am {CANARY_SYSTEM}.")
    token, secret = ApiToken.draw(user=alice, label="t", scopes=[Scope.READ, Scope.ANNOTATE])
    token.save()
    page = next(said(response) for name, response in walk(as_alice, secret, made, alice) if name == place)
    assert {word for word in secrets(made) if word in page}


def test_no_pair_says_that_its_answer_is_known_or_was_given_before(made: Campaign, alice: User, as_alice: Client) -> None:
    """Gold, repeats and second readings: no byte of the pair, its fragments, its history differs by what kind of asking it is."""
    held = lease(made, alice)
    address = f"/rate/{held.public_id}/"
    seen: dict[str, set[str]] = {}
    for kind in ("vote", "review", "gold", "repeat"):
        with transaction.atomic():
            Slot.objects.filter(pk=held.slot_id).update(kind=kind, reserved_for=alice)
            Assignment.objects.filter(pk=held.pk).update(repeat=int(kind == "repeat"))
            if kind == "gold":
                Gold.objects.create(pair=held.pair, accepts=["first_much"], explanation="canary-explanation", origin="written")
            asked = {
                "pair": as_alice.get(address),
                "part": as_alice.get(address, headers=BACKGROUND),
                "wrong": as_alice.post(address, {"key": str(uuid4())}),
                "answer": as_alice.post(address, {"verdict": "b_much", "key": str(uuid4())}, headers=BACKGROUND),
                "answered": as_alice.get(address),
                "history": as_alice.get("/rate/history/"),
                "undo": as_alice.post(f"/rate/campaigns/{made.public_id}/undo/"),
                "reopened": as_alice.get(address),
            }
            transaction.set_rollback(True)
        for name, response in asked.items():
            assert response.status_code < 500
            seen.setdefault(name, set()).add(VARYING.sub("", said(response)))
            assert "canary-explanation" not in said(response)
    assert {name: len(variants) for name, variants in seen.items()} == dict.fromkeys(seen, 1)


def test_a_campaign_cannot_be_named_after_a_producer(made: Campaign, alice: User) -> None:
    batches = list(GenerationBatch.objects.all())
    for words in ({"name": f"{CANARY_MODEL.upper()} against the rest"}, {"guideline": f"Beware of {CANARY_SYSTEM}."}):
        values = {"name": "Letters", "guideline": GUIDELINE, **words}
        with pytest.raises(CampaignRefused, match="must not name a producer"):
            campaigns.create(batches=batches, overlap=1, members=[alice], actor=None, **values)


def test_a_trainer_who_judges_gets_404_on_the_unblinded_pages_until_the_campaign_closes(made: Campaign, alice: User) -> None:
    RoleGrant.objects.create(user=alice, role=Role.TRAINER)
    client = signed_in(User.objects.get(pk=alice.pk))
    page = f"/campaigns/{made.public_id}/"
    assert client.get(page).status_code == 404
    assert client.post(page + "freeze/", {"name": "x", "min_judgements": 1}).status_code == 404
    listed = said(client.get("/campaigns/"))
    assert page not in listed.replace(page + "close/", "")
    assert "You judge in “Letters”" in listed
    # They can close it, for nobody else may be there; then they see it.
    assert client.post(page + "close/").status_code == 302
    assert CANARY_SYSTEM in said(client.get(page))


def test_the_records_room_tells_an_administrator_who_judges_neither_the_seed_nor_the_sources(made: Campaign, alice: User) -> None:
    RoleGrant.objects.create(user=alice, role=Role.ADMIN)
    page = signed_in(alice).get(f"/records/annotation/campaign/{made.pk}/change/")
    assert page.status_code == 200
    assert "Letters" in page.content.decode()
    assert [secret for secret in secrets(made) if secret in page.content.decode()] == []
