"""UltraFeedback-binarized's columns and splits, for recipes that were written for that data set. Pure."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from annotation.exports import card, laid, sealing, shards
from annotation.exports.laid import Row, Say, said

_TURNS = pa.list_(pa.struct([("content", pa.string()), ("role", pa.string())]))
SCHEMA = pa.schema(
    [
        ("prompt", pa.string()), ("prompt_id", pa.string()), ("chosen", _TURNS), ("rejected", _TURNS), ("messages", _TURNS),
        ("score_chosen", pa.float64()), ("score_rejected", pa.float64()),
    ]
)  # fmt: skip
# Theirs: our validation is their test, and what is kept for the last comparison has a split of its own name.
SPLITS = {"train": "train_prefs", "validation": "test_prefs", "evaluation": "evaluation_prefs"}


def row(found: Row) -> Row:
    """Scores run there from 1 to 10: 10·p and 10·(1 − p) of the soft target, so that their difference says how sure the votes are."""
    asked = "\n\n".join(turn["content"] for turn in found["prompt"] if turn["role"] != "system")
    chosen, rejected = ([*found["prompt"], *said(found[side])] for side in ("chosen", "rejected"))
    score = round(10 * found["p_chosen"], 6)
    return {
        "prompt": asked, "prompt_id": str(found["pair_id"]), "chosen": chosen, "rejected": rejected, "messages": chosen,
        "score_chosen": score, "score_rejected": round(10 - score, 6),
    }  # fmt: skip


def write(folder: Path, place: Path, say: Say | None = None) -> dict[str, Any]:
    """data/<split>-*.parquet, jsonl/data/<split>-*.jsonl, manifest.json. The system turn, which they have not, begins the conversations."""
    facts = laid.facts(folder)
    meter = shards.Meter(say, facts["total"])
    made = shards.Config(place, "data", SCHEMA, SPLITS.values())
    for found in laid.rows(folder):
        made.put(SPLITS[found["split"]], row(found))
        meter()
    counts = facts["snapshot"]["counts"]
    told = sealing.Tally("pairs", sum(counts["used"].values()) + sum(counts["dropped"].values()), counts["dropped"])
    return sealing.seal(place, {**card.identity(facts), "form": "ultrafeedback", "configs": {"data": told.told(made.close())}})
