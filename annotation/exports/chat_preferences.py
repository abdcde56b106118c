"""Preferences as OpenAI and Azure take them for fine-tuning: input, preferred and non-preferred output, one JSONL file a split. Pure."""

from pathlib import Path
from typing import Any

from annotation.exports import card, laid, sealing
from annotation.exports.laid import Row, Say, said
from annotation.exports.lines import Lines


def row(found: Row) -> Row:
    """{"input": {"messages", "tools": [], "parallel_tool_calls": true}, "preferred_output", "non_preferred_output"}."""
    return {
        "input": {"messages": found["prompt"], "tools": [], "parallel_tool_calls": True},
        "preferred_output": said(found["chosen"]),
        "non_preferred_output": said(found["rejected"]),
    }


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """<split>.jsonl and manifest.json. Their services refuse other keys, so where a row comes from is not in it."""
    facts = laid.facts(folder)
    with Lines(place, ".jsonl", say, facts["total"]) as out:
        for found in laid.rows(folder):
            out.put(found["split"], laid.encode(row(found)))
    counts = facts["snapshot"]["counts"]
    told = sealing.Tally("pairs", sum(counts["used"].values()) + sum(counts["dropped"].values()), counts["dropped"])
    return sealing.seal(place, {**card.identity(facts), "form": "openai", "configs": {"preferences": told.told(out.rows)}})
