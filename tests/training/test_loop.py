"""A campaign's policy: the form, what the next round waits for, pausing and resuming; and `manage.py loop`."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client

from accounts.models import AuditEntry, User
from annotation.models import Campaign, CampaignState
from tests.annotation import build as annotating
from tests.training import build, looping
from tests.training.looping import World
from training import loop_policies
from training.models import LoopPolicy, LoopRound

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data_dir(settings: Any, world: World) -> Path:
    settings.DATA_DIR = world.data
    return world.data


def url(campaign: Campaign, verb: str = "") -> str:
    return f"/campaigns/{campaign.public_id}/loop/{verb}"


def form(world: World, **changes: Any) -> dict[str, Any]:
    return {"active": "on", "pairs_needed": 40, "policy": world.start.public_id, "preset": "clinic", "seed": 5, **changes}


def test_the_campaigns_page_leads_to_it_and_it_begins_without_a_policy(as_dan: Client, world: World) -> None:
    assert f'href="{url(world.campaign)}"' in as_dan.get(f"/campaigns/{world.campaign.public_id}/").text
    page = as_dan.get(url(world.campaign)).text
    assert "not set" in page
    assert "There is no policy yet." in page
    assert "It promotes nothing: people decide." in page


def test_a_policy_is_set_says_what_it_waits_for_and_is_changed(as_dan: Client, dan: User, world: World) -> None:
    page = as_dan.post(url(world.campaign), form(world), follow=True).text
    assert "The policy is on: a round begins at 40 new training pairs." in page
    assert "18 of 40 new training pairs are there." in page
    assert "A dry run only." in page
    loop = LoopPolicy.objects.get()
    assert (loop.active, loop.pairs_needed, loop.created_by) == (True, 40, dan)
    assert loop.params == {"policy": {"version": str(world.start.public_id)}, "preset": "clinic", "seed": 5}
    as_dan.post(url(world.campaign), form(world, pairs_needed=16, active="", hold_out_raters=20))
    loop.refresh_from_db()
    assert (loop.active, loop.pairs_needed, loop.hold_out_raters) == (False, 16, 0.2)
    assert 'name="hold_out_raters" value="20"' in as_dan.get(url(world.campaign)).text
    as_dan.post(url(world.campaign), form(world, pairs_needed=16, active="", hold_out_raters=""))
    page = as_dan.get(url(world.campaign)).text
    assert "18 new training pairs are there." in page
    verbs = list(AuditEntry.objects.filter(verb__startswith="loop.").order_by("pk").values_list("verb", "actor_name"))
    assert verbs == [("loop.set", "dan"), ("loop.changed", "dan"), ("loop.changed", "dan")]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("pairs_needed", 0, "greater than or equal to 1"),
        ("hold_out_raters", 51, "less than or equal to 50"),
        ("seed", -1, "greater than or equal to 0"),
        ("preset", "sft-clinic", "Select a valid choice"),
        ("preset", "none-such", "Select a valid choice"),
        ("policy", "champion", "No model carries the name champion yet"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(as_dan: Client, world: World, field: str, value: Any, said: str) -> None:
    sent = as_dan.post(url(world.campaign), form(world, **{field: value}))
    assert sent.status_code == 422
    assert said in sent.text
    assert not LoopPolicy.objects.exists()


def test_simulated_judgements_train_toys_only(world: World, tmp_path: Path) -> None:
    simulated = annotating.campaign([], pairs=2, opened=False, name="Toys", simulated=True, toy=True)
    with pytest.raises(loop_policies.PolicyRefused, match="ward-sft is no toy"):
        looping.policy(simulated)
    toy = build.version(tmp_path, "toy", toy=True, number=44.0)
    assert looping.policy(simulated, policy=toy).active


def test_a_qualification_teaches_nobody_and_has_no_such_page(as_dan: Client, world: World, alice: User) -> None:
    asked = annotating.qualification([alice], source="elsewhere")
    assert as_dan.get(url(asked)).status_code == 404
    with pytest.raises(loop_policies.PolicyRefused, match="collects preferences"):
        looping.policy(asked)


def test_pausing_and_resuming(as_dan: Client, world: World) -> None:
    loop = looping.policy(world.campaign)
    assert "Paused: no round begins." in as_dan.post(url(world.campaign, "pause/"), follow=True).text
    loop.refresh_from_db()
    assert not loop.active
    loop_policies.stop(loop=loop, why="never: it is off")
    loop.refresh_from_db()
    assert loop.why_stopped == ""
    assert "Resumed" in as_dan.post(url(world.campaign, "resume/"), follow=True).text
    assert loop_policies.stop(loop=loop, why="Rounds 1 and 2 came to nothing.")
    page = as_dan.get(url(world.campaign)).text
    assert "It has switched itself off." in page
    assert "Rounds 1 and 2 came to nothing." in page
    as_dan.post(url(world.campaign, "resume/"))
    loop.refresh_from_db()
    assert (loop.active, loop.why_stopped) == (True, "")


def test_it_is_not_resumed_with_a_model_that_was_archived(as_dan: Client, world: World) -> None:
    loop = looping.policy(world.campaign, active=False)
    type(world.start).objects.filter(pk=world.start.pk).update(archived_at=loop.created_at)
    page = as_dan.post(url(world.campaign, "resume/"), follow=True).text
    assert "ward-sft is archived" in page
    assert "The model it names is not there any more." in page


def test_who_rates_in_an_open_campaign_is_told_nothing(world: World) -> None:
    from accounts.models import Role, RoleGrant
    from tests.cast import signed_in

    rater = User.objects.get(username="rater")
    RoleGrant.objects.create(user=rater, role=Role.TRAINER)
    assert world.campaign.state == CampaignState.OPEN
    assert signed_in(rater).get(url(world.campaign)).status_code == 404


def test_a_large_campaign_is_counted_when_the_page_is_there(as_dan: Client, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    looping.policy(world.campaign)
    monkeypatch.setattr("training.views.looping.COUNTED_AT_ONCE", 10)
    assert "Its votes are being counted." in as_dan.get(url(world.campaign)).text
    part = as_dan.get(url(world.campaign), {"count": "1"}, HTTP_HX_REQUEST="true").text
    assert "18 new training pairs are there." in part
    assert "<h1" not in part
    assert "18 new training pairs are there." in as_dan.get(url(world.campaign), {"count": "1"}).text


def test_the_page_asks_the_database_a_fixed_number_of_questions(as_dan: Client, world: World, django_assert_max_num_queries: Any) -> None:
    looping.proposed(looping.policy(world.campaign))
    with django_assert_max_num_queries(32):
        as_dan.get(url(world.campaign))


def told(what: str) -> Any:
    out = io.StringIO()
    call_command("loop", what, stdout=out)
    return json.loads(out.getvalue())


def test_the_command_tells_where_loops_stand_and_takes_a_step(world: World) -> None:
    looping.policy(world.campaign)
    assert told("status")["loops"][0]["rounds"] == []
    assert told("step") == {"rounds_stepped": 1, "rounds_settled": 0, "rounds_begun": 1}
    one = LoopRound.objects.get()
    row = told("status")["loops"][0]
    assert (row["campaign"], row["active"]) == (str(world.campaign.public_id), True)
    assert row["rounds"] == [
        {
            "id": str(one.public_id), "number": 1, "state": "working", "why_ended": "", "run": f"round-{one.loop_id}-1", "made": None,
            "lineage": "",
        }
    ]  # fmt: skip
