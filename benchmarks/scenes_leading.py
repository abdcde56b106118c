"""Scenes for benchmarks/gallery.py: votes that clash and flags that wait, and a lead who settles them."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

from benchmarks.scenes_house import House

# Pairs whose flaw could harm: how much, how, and words of the sentence that has it.
HARMFUL = {
    "first-01": ("major", "wrong_dose", "oral furosemide"),
    "first-02": ("major", "unsafe_advice", "2.5"),
    "first-06": ("life_threatening", "unsafe_advice", "104/62"),
    "first-15": ("major", "omission", "exertional chest tightness"),
}


def settling(house: House) -> None:
    from annotation import adjudications
    from annotation.adjudications import Ruling
    from annotation.answers import Span
    from annotation.models import Dispute, Judgement

    made = house.letters
    number = 0
    while (held := house.next(made, house.bob)) is not None:
        number += 1
        better, where = house.expected(held)
        worse = "first" if better == "second" else "second"
        if number == 5:
            house.answer(
                held, verdict="cannot_judge", cannot_reason="defective_input", hard="missing_context", rationale="The dose is cut off."
            )
        elif held.pair.prompt.sample.external_id in HARMFUL:
            severity, kind, place = HARMFUL[held.pair.prompt.sample.external_id]
            text = getattr(held.pair, worse).text
            start = text.rfind(". ", 0, text.index(place)) + 2 if ". " in text[: text.index(place)] else 0
            end = text.find(".", text.index(place) + len(place)) + 1 or len(text)
            said: dict[str, Any] = {f"harm_{worse}": severity, f"harm_{worse}_type": kind}
            said["spans"] = (Span(worse, start, end, "context", severity),)
            house.answer(held, rationale=re.sub(r"^Side [AB]", "One of them", where), **said)
        else:
            house.answer(held, much=number % 3 != 0, right=number % 6 != 0)
    for number in range(1, 8):
        held = house.lease(made, house.erin)
        house.answer(held, right=number % 3 != 0, much=number % 2 == 1, reasons=("complete",) if number % 3 else ("wording", "concise"))
    waiting = list(Dispute.objects.waiting())
    house.show("disputes", house.carol, "/adjudicate/")
    votes = {one.pk: Judgement.objects.current().filter(assignment__pair=one.pair_id).count() for one in waiting}
    grave = next(one for one in waiting if votes[one.pk] > 1)
    page = house.show("dispute", house.carol, f"/adjudicate/{grave.public_id}/")
    for side in "ab":
        page.locator(f"select[name=harm_{side}]").select_option("")
    page.locator("input[name=decision]").first.check()
    page.locator("#ruling button.button-primary").click()
    page.wait_for_selector(".notice[role=alert]")
    house.camera.take("dispute-error", page)
    lonely = next(one for one in waiting if votes[one.pk] == 1 and one.severity)
    for one in (grave, lonely):
        one.refresh_from_db()
        flagged = adjudications.flagged(one)
        barred = {"must_not_train_first": bool(flagged[0]), "must_not_train_second": bool(flagged[1])}
        ruling = Ruling(
            outcome="second" if flagged[0] else "first", rationale="The patient would have come to harm if this had been followed.",
            harm_first=flagged[0], harm_second=flagged[1], **barred,
        )  # fmt: skip
        adjudications.rule(dispute=one, adjudicator=house.carol, ruling=ruling, votes_version=one.votes_version, key=uuid4())
    # The second reader comes after the ruling, and thinks otherwise.
    while not Judgement.objects.filter(assignment__pair=lonely.pair_id, assignment__annotator=house.erin).exists():
        held = house.lease(made, house.erin)
        house.answer(held, right=held.pair_id != lonely.pair_id)
    house.show("dispute-changed", house.carol, f"/adjudicate/{lonely.public_id}/")
    house.show("safety", house.carol, "/safety/")
    house.show("defects", house.carol, "/defects/")
