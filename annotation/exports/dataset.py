"""The Hugging Face data set folder: a config a trainer, each as Parquet and JSON lines, with a card that the Hub reads. Pure."""

from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from annotation import forks
from annotation.exports import card, laid, sealing, shards, tables
from annotation.exports.laid import Row, Say

# Rows for KTO that follow from what was heard, aside until those that were frozen are written.
UNFIT = "unfit.jsonl"
# Configs that are made of what was heard alone.
HEARD = frozenset({"pairs", "judgments", "sft_edits"})
# Rows and answers that are worth another process.
WORTH_ROWS = 20_000


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """Make the data set of the laid-out `folder` in the empty `place`; returns its manifest.

    README.md (card with YAML configs) · <config>/<split>-*.parquet · jsonl/<config>/<split>-*.jsonl · manifest.json. A split without rows
    has no file. A large one is written by two processes, to the same bytes. Raises ValueError when the rows are not those that were frozen.
    """
    facts = laid.facts(folder)
    made = {name: shards.Config(place, name, schema, tables.SPLITS) for name, schema in tables.configs(facts["level"]).items()}
    meter = shards.Meter(say, facts["total"])
    if facts["total"] < WORTH_ROWS or forks.processors() < 2:
        lengths = _write_rows(folder, made, meter)
        heard = _write_heard(folder, facts, made, meter)
    else:
        lengths, heard = _both(folder, facts, made, meter)
    for one in laid.lines(folder / UNFIT):
        made["kto"].put(one["split"], one["row"])
    rows = {name: heard.rows.get(name) or config.close() for name, config in made.items()}
    if rows["dpo"] != {split: facts["snapshot"]["counts"]["used"].get(split, 0) for split in tables.SPLITS}:
        raise ValueError("the rows laid out are not those that were frozen")
    told = _told(facts, rows, unfit=heard.unfit, edits=heard.edits, no_edit=heard.no_edit)
    (place / "README.md").write_text(card.text(facts, told, lengths), encoding="utf-8")
    return sealing.seal(place, {**card.identity(facts), "form": "dataset", "configs": told})


@dataclass
class _Heard:
    """What came of pairs and answers: rows of each config, pairs that were unfit on both sides, edits, and why not all of them teach."""

    rows: dict[str, dict[str, int]]
    unfit: int
    edits: int
    no_edit: Counter[str]


def _both(folder: Path, facts: Row, made: dict[str, shards.Config], meter: shards.Meter) -> tuple[card.Lengths, _Heard]:
    """What was frozen is written here, what was heard by a helper."""

    def serve(pipe: "Connection[Any, Any]") -> None:
        apart = shards.Meter(lambda done, _: pipe.send(done), facts["total"])
        forks.answer(pipe, lambda: _write_heard(folder, facts, made, apart), ours=(MemoryError, OSError, ValueError))

    helper = forks.Fork(serve)
    try:
        lengths = _write_rows(folder, made, meter)
        here = meter.done
        while isinstance(said := helper.receive(), int):
            meter(here + said - meter.done)
        return lengths, said
    finally:
        helper.end()


def _write_rows(folder: Path, made: dict[str, shards.Config], meter: shards.Meter) -> card.Lengths:
    """The configs that are made of what was frozen."""
    lengths = card.Lengths()
    for row in laid.rows(folder):
        split = row["split"]
        made["dpo"].put(split, tables.dpo(row))
        made["dpo_soft"].put(split, tables.dpo_soft(row))
        made["reward"].put(split, tables.reward(row))
        for one in tables.kto(row):
            made["kto"].put(split, one)
        lengths.add(row)
        meter()
    return lengths


def _write_heard(folder: Path, facts: Row, made: dict[str, shards.Config], meter: shards.Meter) -> _Heard:
    """The configs that are made of pairs and answers, and aside what they add to KTO's."""
    unfit = edits = 0
    no_edit: Counter[str] = Counter()
    with (folder / UNFIT).open("w", encoding="utf-8") as aside:
        for pair, answers in laid.heard(folder, facts["level"]):
            split = pair["split"]
            made["pairs"].put(split, tables.pair(pair))
            if pair["unfit"]:
                unfit += 1
                aside.writelines(laid.encode({"split": split, "row": one}) + "\n" for one in tables.kto_unfit(pair))
            for answer in answers:
                made["judgments"].put(split, tables.judgment(answer, facts))
                if "sft_edits" in made and answer["edited"]:
                    edits += 1
                    if why := tables.why_no_edit(pair, answer):
                        no_edit[why] += 1
                    else:
                        made["sft_edits"].put(split, tables.sft_edit(pair, answer))
            meter(1 + len(answers))
    rows = {name: config.close() for name, config in made.items() if name in HEARD}
    return _Heard(rows, unfit, edits, no_edit)


def _told(facts: Row, rows: dict[str, dict[str, int]], *, unfit: int, edits: int, no_edit: Counter[str]) -> dict[str, Any]:
    """What the manifest says of each config: of how much, how much is in it, and why the rest is not."""
    counts = facts["snapshot"]["counts"]
    used, dropped = sum(counts["used"].values()), dict(counts["dropped"])
    pairs = used + sum(dropped.values())
    without = dict(dropped)
    for reason in ("both_unacceptable", "both_harmful"):
        # What is left out of preferences is a lesson to KTO.
        taken = min(unfit, without.get(reason, 0))
        without[reason] = without.get(reason, 0) - taken
        unfit -= taken
    heard, answers = sum(rows["pairs"].values()), sum(rows["judgments"].values())
    told = {
        **{name: sealing.Tally("pairs", pairs, dropped) for name in ("dpo", "dpo_soft", "reward")},
        "kto": sealing.Tally("pairs", pairs, without),
        "sft_edits": sealing.Tally("edits", edits, dict(no_edit)),
        "judgments": sealing.Tally("answers", facts["answers"], {}),
        "pairs": sealing.Tally("pairs", max(pairs, heard), {"never_judged": max(pairs - heard, 0)}),
    }
    if told["dpo"].included != used or answers != facts["answers"] or unfit:
        raise ValueError("the answers laid out are not those the snapshot was made from")
    return {name: told[name].told(rows[name]) for name in rows}
