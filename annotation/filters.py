"""What of a campaign's judgements is asked for when it is frozen: which samples, which raters, which days, how sure. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any, NamedTuple, TypedDict

# Why a vote was not asked for, in the order in which the filters are applied.
EXTERNAL, SIMULATED, DATES, FIELDS = "external", "simulated", "dates", "fields"
# Where raters are held out: the vote of one of them on a sample that trains, and of anybody else on one that is held out.
HELD_OUT, NOT_HELD_OUT = "held_out_raters", "raters_not_held_out"
# Of more than half the raters little would be left to learn from.
MOST_HELD_OUT = 0.5


class Asked(TypedDict, total=False):
    """The filters by name, as `Filters` means them."""

    min_judgements: int
    task_types: Collection[str]
    document_types: Collection[str]
    fields: Collection[str]
    since: date | None
    until: date | None
    exclude_external: bool
    exclude_simulated: bool
    min_margin: float
    drop_near_identical: bool
    hold_out_raters: float
    hold_out_seed: int


class Vote(NamedTuple):
    """What the filters ask about a vote; `fields` are its rater's, `at` is in UTC. `held_out`: its rater is; `evaluates`: its sample is of
    the evaluation split.
    """

    external: bool
    simulated: bool
    at: datetime
    fields: Collection[str] = ()
    held_out: bool = False
    evaluates: bool = False


@dataclass(frozen=True)
class Filters:
    """Empty collections, None, False and 0 narrow nothing. `since` and `until` are days in UTC, both counted.

    `min_margin`: p(chosen) − p(rejected) of a row's soft target, 0…1. `fields`: specialties (accounts.models.Specialty), any of which a
    rater must have given. Harm flags and rulings hold whoever gave them and whenever: they are never filtered away.
    `hold_out_raters`: the share of raters who teach nothing, 0…0.5, drawn under `hold_out_seed` (annotation.held_out_raters); evaluation
    rows are then of their votes alone, and all other rows of everybody else's.
    Raises ValueError for a number outside its range or days in the wrong order.
    """

    min_judgements: int = 1
    task_types: tuple[str, ...] = ()
    document_types: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None
    exclude_external: bool = False
    exclude_simulated: bool = False
    min_margin: float = 0.0
    drop_near_identical: bool = False
    hold_out_raters: float = 0.0
    hold_out_seed: int = 1

    def __post_init__(self) -> None:
        for name in ("task_types", "document_types", "fields"):
            object.__setattr__(self, name, tuple(sorted(set(getattr(self, name)))))
        if not 1 <= self.min_judgements <= 20:
            raise ValueError("1 to 20 judgements a pair can be asked for.")
        if not 0 <= self.min_margin < 1:
            raise ValueError("A margin lies between 0 and 1.")
        if self.since and self.until and self.since > self.until:
            raise ValueError("The first day comes after the last.")
        if not 0 <= self.hold_out_raters <= MOST_HELD_OUT:
            raise ValueError("Up to half of the raters can be held out.")
        if not self.hold_out_raters:
            # Nobody is drawn: another seed asks for nothing else.
            object.__setattr__(self, "hold_out_seed", 1)

    def refuse(self, vote: Vote) -> str:
        """Which filter takes the vote away, or ""."""
        if self.hold_out_raters and vote.held_out != vote.evaluates:
            return HELD_OUT if vote.held_out else NOT_HELD_OUT
        if self.exclude_external and vote.external:
            return EXTERNAL
        if self.exclude_simulated and vote.simulated:
            return SIMULATED
        day = vote.at.date()
        if (self.since and day < self.since) or (self.until and day > self.until):
            return DATES
        if self.fields and not set(self.fields) & set(vote.fields):
            return FIELDS
        return ""

    def takes(self, p_chosen: float) -> bool:
        """Whether a row is as sure as asked for. Rounded as targets are, so that 0.92 − 0.08 is 0.84."""
        return round(2 * p_chosen - 1, 6) >= self.min_margin

    def as_dict(self) -> dict[str, Any]:
        """As a snapshot keeps it: the two that every snapshot names, and whatever else narrows."""
        kept: dict[str, Any] = {"min_judgements": self.min_judgements, "task_types": list(self.task_types)}
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in kept and value != each.default:
                kept[each.name] = list(value) if isinstance(value, tuple) else value.isoformat() if isinstance(value, date) else value
        return kept | self.drawn

    @property
    def drawn(self) -> dict[str, Any]:
        """How raters were held out, said in full; nothing where nobody was."""
        return {"hold_out_raters": self.hold_out_raters, "hold_out_seed": self.hold_out_seed} if self.hold_out_raters else {}


def from_dict(kept: Mapping[str, Any]) -> Filters:
    """What `as_dict` wrote, read again."""
    said = dict(kept)
    for name in ("since", "until"):
        if said.get(name):
            said[name] = date.fromisoformat(said[name])
    return Filters(**said)


def in_words(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a snapshot's filters narrow, as (name, value) for people; the two that every snapshot has come first."""
    asked = from_dict(kept)
    said = [
        ("At least", f"{asked.min_judgements} judgement{'' if asked.min_judgements == 1 else 's'} a pair"),
        ("Task types", ", ".join(asked.task_types) or "all"),
    ]
    if asked.document_types:
        said.append(("Document types", ", ".join(asked.document_types)))
    if asked.fields:
        said.append(("Raters' fields", ", ".join(field.replace("_", " ") for field in asked.fields)))
    if asked.since or asked.until:
        said.append(("Judged", " ".join([f"from {asked.since}"] * bool(asked.since) + [f"until {asked.until}"] * bool(asked.until))))
    if asked.exclude_external:
        said.append(("Imported judgements", "left out"))
    if asked.exclude_simulated:
        said.append(("Simulated raters", "left out"))
    if asked.min_margin:
        said.append(("Margin", f"at least {asked.min_margin:g}"))
    if asked.drop_near_identical:
        said.append(("Near-identical texts", "left out"))
    if asked.hold_out_raters:
        said.append(("Raters held out", f"{100 * asked.hold_out_raters:g} %, drawn under seed {asked.hold_out_seed}"))
    return said
