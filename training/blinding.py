"""Did the blinding of a study hold? After its end each rater says of a few of their pairs which text they take for the new model's.

Sides were drawn by chance, so who could not tell is right half the time, however they guess. Two cautions go with the figure: somebody who
takes what they preferred for the new model's is right more often than that when the new model is better, which is why it is told how many
guesses followed the vote; and a few guesses show only a blinding that failed badly.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from annotation import estimates
from annotation.estimates import Estimate
from annotation.models import Assignment
from training import studies
from training.models import Study, StudyGuess, StudyState

ASKED = 5
LEFT, RIGHT, NO_IDEA = "left", "right", "no_idea"


class GuessRefused(Exception):
    """Nothing was kept; the message says why."""


def asked(*, study: Study, rater: User) -> list[Assignment]:
    """The pairs that `rater` is asked about: ASKED of their counted ones at most, drawn once and for all. None before it has ended."""
    if study.state != StudyState.DECIDED:
        return []
    voted = list(studies.counted(study).values_list("assignment", "assignment__annotator"))
    own = [assignment for assignment, annotator in voted if annotator == rater.pk]
    draw = random.Random(f"{study.seed} blinding {rater.pk}")  # noqa: S311 (reproducible, not secret)
    chosen = draw.sample(own, min(ASKED, len(own)))
    held = Assignment.objects.select_related("pair__prompt__sample", "pair__first", "pair__second").in_bulk(chosen)
    return [held[pk] for pk in chosen]


def open_for(*, study: Study, rater: User) -> list[Assignment]:
    """Of what they are asked, what they have not answered."""
    pairs = asked(study=study, rater=rater)
    answered = set(StudyGuess.objects.filter(assignment__in=pairs).values_list("assignment", flat=True))
    return [pair for pair in pairs if pair.pk not in answered]


@transaction.atomic
def guess(*, study: Study, rater: User, guesses: Mapping[UUID, str]) -> int:
    """Keep the rater's guesses: by their assignments' public ids, "left", "right" or "no_idea", as their screen showed the pair.

    Returns how many are new; an answer that was given stays. Raises GuessRefused for pairs they were not asked about and other words.
    """
    pairs = {pair.public_id: pair for pair in asked(study=study, rater=rater)}
    if guesses.keys() - pairs.keys():
        raise GuessRefused("These are not the pairs you were asked about.")
    if set(guesses.values()) - {LEFT, RIGHT, NO_IDEA}:
        raise GuessRefused("Say left, right or no idea.")
    given = set(StudyGuess.objects.filter(assignment__in=pairs.values()).values_list("assignment__public_id", flat=True))
    new = [
        StudyGuess(study=study, assignment=pairs[public_id], guess=_by_completion(pairs[public_id], said))
        for public_id, said in guesses.items()
        if public_id not in given
    ]
    try:
        with transaction.atomic():
            StudyGuess.objects.bulk_create(new)
    except IntegrityError:
        # Sent twice in the same moment: the first stands.
        return 0
    if new:
        audit.record(rater, "study.guessed", study, guesses=len(new))
    return len(new)


def _by_completion(held: Assignment, said: str) -> str:
    if said == NO_IDEA:
        return said
    return "first" if (said == LEFT) == held.first_on_left else "second"


@dataclass(frozen=True)
class Check:
    """What raters guessed. `rate`: of the guesses that named a text, the share that named the new model's, with Wilson's interval.

    `followed_vote` of `decided_vote` guesses named the text that their rater had preferred.
    """

    raters: int
    right: int
    wrong: int
    no_idea: int
    rate: Estimate
    followed_vote: int
    decided_vote: int

    @property
    def told(self) -> str:
        """In a word: "could" when the interval lies above a half, "opposite" below it, "not" when it holds it, "nobody" without a guess."""
        if self.rate.low is None or self.rate.high is None:
            return "nobody"
        return "could" if self.rate.low > 0.5 else "opposite" if self.rate.high < 0.5 else "not"


def check(study: Study) -> Check:
    """Two questions to the database at most."""
    rows = list(
        StudyGuess.objects.filter(study=study).values_list("guess", "assignment", "assignment__annotator", "assignment__pair__first__batch")
    )
    if not rows:
        return Check(0, 0, 0, 0, estimates.hidden(0, estimates.TOO_SMALL), 0, 0)
    verdicts = dict(studies.counted(study).values_list("assignment", "verdict"))
    named = [(said, assignment, batch) for said, assignment, _, batch in rows if said != NO_IDEA]
    right = sum(said == ("first" if batch == study.challenger_texts_id else "second") for said, _, batch in named)
    preferred = [(said, verdicts.get(assignment, "").partition("_")[0]) for said, assignment, _ in named]
    decided = [(said, side) for said, side in preferred if side in ("first", "second")]
    return Check(
        raters=len({rater for _, _, rater, _ in rows}), right=right, wrong=len(named) - right, no_idea=len(rows) - len(named),
        rate=estimates.share(right, len(named), floor=1), followed_vote=sum(said == side for said, side in decided),
        decided_vote=len(decided),
    )  # fmt: skip
