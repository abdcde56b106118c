"""What a lineage is made of: the kinds of things, what they are called, and how a part of a snapshot is numbered."""

from dataclasses import dataclass

from annotation.models import Split


@dataclass(frozen=True)
class Kind:
    """One kind of node.

    `key`: the column an address names it by. `activity`: something that was done; else something that is
    there. `many`: comes in hundreds and is counted rather than drawn one by one. `stage`: where in the loop it belongs, for its colour.
    """

    name: str
    one: str
    more: str
    stage: str
    key: str = "id"
    activity: bool = False
    many: bool = False

    def counted(self, count: int) -> str:
        return f"{count:,} {self.one if count == 1 else self.more}"


DATA, PREFERENCE, TRAINING, MODEL = "data", "preference", "training", "model"
STAGES = {
    DATA: "Data that came in",
    PREFERENCE: "Preferences",
    TRAINING: "What was computed",
    MODEL: "Models and where they stand",
}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("file", "imported file", "imported files", DATA),
        Kind("source", "source of samples", "sources of samples", DATA),
        Kind("corpus", "corpus", "corpora", DATA),
        Kind("sample", "sample", "samples", DATA, many=True),
        Kind("prompt", "prompt", "prompts", DATA, many=True),
        Kind("batch", "generation", "generations", TRAINING, key="public_id", activity=True),
        Kind("completion", "completion", "completions", PREFERENCE, many=True),
        Kind("pair", "pair", "pairs", PREFERENCE, many=True),
        Kind("judgement", "judgement", "judgements", PREFERENCE, many=True),
        Kind("ruling", "ruling", "rulings", PREFERENCE, many=True),
        Kind("part", "part of a snapshot", "parts of snapshots", PREFERENCE),
        Kind("snapshot", "snapshot", "snapshots", PREFERENCE, key="public_id"),
        Kind("recipe", "merge recipe", "merge recipes", TRAINING, key="public_id"),
        Kind("run", "run", "runs", TRAINING, activity=True),
        Kind("adapter", "LoRA adapter", "LoRA adapters", MODEL, key="public_id"),
        Kind("model", "model version", "model versions", MODEL, key="public_id"),
        Kind("evaluation", "evaluation", "evaluations", TRAINING, key="public_id", activity=True),
        Kind("promotion", "decision on a promotion", "decisions on promotions", MODEL, key="public_id", activity=True),
        Kind("move", "move of an alias", "moves of aliases", MODEL, activity=True),
    )
}

# A run learns from a snapshot's train rows and stops by its validation rows; evaluations alone read the rest. So its parts are nodes.
SPLITS = (Split.TRAIN, Split.VALIDATION, Split.EVALUATION)
PARTS = 4


def part_id(snapshot: int, split: str) -> int:
    return snapshot * PARTS + SPLITS.index(Split(split))


def of_part(number: int) -> tuple[int, Split]:
    """(snapshot's id, split) of a part's number."""
    return number // PARTS, SPLITS[number % PARTS]
