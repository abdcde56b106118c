"""What a proposal's page tells beside the rows: how far each stage is, and its gates as they stood when it was proposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jobs.models import Job, State
from modelhub import aliases
from modelhub.models import AliasName, ModelVersion
from training.gates import Gate, Remedy
from training.models import LoopRound, RoundState, SuiteRun


def champion_moved(one: LoopRound) -> ModelVersion | None:
    """The model a proposal would be held against today, where it is not the one it was compared with."""
    current, evaluation = aliases.current(AliasName.CHAMPION), one.evaluation
    if current is None or evaluation is None or current in (evaluation.reference, evaluation.policy):
        return None
    return current


@dataclass(frozen=True)
class Part:
    """One stage of a round as a page shows it: `state` is done, working, waiting or failed. `of` names the row it made, `job` its work."""

    name: str
    state: str
    detail: str = ""
    kind: str = ""
    of: Any = None
    job: Job | None = None


def suites(one: LoopRound) -> list[SuiteRun]:
    """The suites that were asked in the round, with their models and jobs."""
    return list(one.suite_runs.select_related("job", "version").order_by("pk"))


def parts(one: LoopRound, asked: Sequence[SuiteRun]) -> list[Part]:
    """The stages in order, each with how far it is. `one` as `LoopRound.objects.for_page` reads it, `asked` its suites; no query."""
    made = [Part("Frozen", DONE, _pairs(one), "snapshot", one.snapshot)]
    run, evaluation = one.run, one.evaluation
    made.append(_part("Trained", "run", run, run.job if run else None))
    made.append(_part("Compared", "evaluation", evaluation, evaluation.job if evaluation else None))
    if one.anchor is not None and one.anchor != evaluation:
        made.append(_part("Compared with round 0", "evaluation", one.anchor, one.anchor.job))
    if not asked:
        made.append(Part("Asked the mini-suite", WAITING))
    made += [_part(f"Asked the mini-suite: {suite.version.name}", "suite", suite, suite.job) for suite in asked]
    ended = one.state not in (RoundState.WORKING, RoundState.FAILED)
    made.append(Part("Proposed", DONE if ended else FAILED if one.state == RoundState.FAILED else WAITING))
    return made


DONE, WORKING, WAITING, FAILED = "done", "working", "waiting", "failed"


def _pairs(one: LoopRound) -> str:
    used = one.snapshot.counts["used"] if one.snapshot else {}
    return ", ".join(f"{count} {split}" for split, count in used.items() if count)


def _part(name: str, kind: str, of: Any, job: Job | None) -> Part:
    if job is None:
        return Part(name, WAITING, kind=kind)
    if job.state in (State.FAILED, State.CANCELLED):
        return Part(name, FAILED, job.get_state_display(), kind, of, job)
    if job.state == State.SUCCEEDED:
        return Part(name, DONE, "", kind, of, job)
    return Part(name, WORKING, job.phase or job.get_state_display(), kind, of, job)


# --- the gates, then and today -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KeptGate:
    """A gate as it stood when the model was proposed, shown as a gate is. `today`: how it stands now, where that is something else; what
    can be done about it is done about today's."""

    code: str
    name: str
    state: str
    value: str
    needed: str
    today: Gate | None
    links: tuple[tuple[str, str], ...] = ()
    remedies: tuple[Remedy, ...] = ()


def kept_gates(one: LoopRound, today: Sequence[Gate]) -> list[KeptGate]:
    """The gates that were kept with a proposal, in their order, then those that are asked only today."""
    now = {gate.code: gate for gate in today}
    then = {kept["code"]: kept for kept in one.gates}
    found = [_kept(kept, now.get(code)) for code, kept in then.items()]
    asked = [gate for code, gate in now.items() if code not in then]
    return found + [
        KeptGate(gate.code, gate.name, "unknown", "not asked then", gate.needed, gate, remedies=gate.remedies) for gate in asked
    ]


def _kept(kept: dict[str, Any], now: Gate | None) -> KeptGate:
    then = {name: kept[name] for name in ("code", "name", "state", "value", "needed")}
    if now is None:
        return KeptGate(**then, today=Gate(kept["code"], kept["name"], "unknown", "not asked any more", ""))
    differs = (now.state, now.value) != (kept["state"], kept["value"])
    return KeptGate(**then, today=now if differs else None, links=now.links, remedies=now.remedies)
