"""The data set's card: YAML that the Hub and `datasets` read, then what a reader must know before training on it. Pure."""

import json
from collections import Counter
from typing import Any

from annotation.exports import levels, tables
from annotation.exports.laid import Row
from annotation.filters import in_words

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10_000_000, "1M<n<10M"))
_STEP = 64
_REASONS = {
    "never_judged": "nobody has answered it",
    "text_left_out": "its text was ruled out or withdrawn",
    "not_counted": "a repeat or late answer",
    "pair_teaches_no_preference": "its pair teaches no preference",
    "edit_of_the_side_not_preferred": "it edits the side that was not preferred",
}


class Lengths:
    """How long conversations are, in characters of the prompt and the longer answer, in steps: flat, however many there are."""

    def __init__(self) -> None:
        self.steps: Counter[int] = Counter()

    def add(self, row: Row) -> None:
        prompt = sum(len(turn["content"]) for turn in row["prompt"])
        self.steps[(prompt + max(len(row["chosen"]), len(row["rejected"]))) // _STEP] += 1

    def at(self, share: float) -> int:
        """No more than this many characters in `share` of the rows."""
        wanted, seen = share * self.steps.total(), 0
        for step in sorted(self.steps):
            seen += self.steps[step]
            if seen >= wanted:
                return (step + 1) * _STEP
        return 0


def identity(facts: Row) -> dict[str, Any]:
    """What every form of a snapshot says of itself, in its manifest or beside its rows."""
    snapshot, campaign = facts["snapshot"], facts["campaign"]
    return {
        "snapshot": snapshot["digest"], "format": snapshot["format"], "layout": facts["layout"], "level": facts["level"],
        "removed": sorted(levels.removed(facts["level"])), "filters": snapshot["filters"], "counts": snapshot["counts"],
        "campaign": campaign["id"], "protocol": campaign["protocol"], "guideline": campaign["guideline_version"], "code": facts["code"],
        "licences": licences(facts), "simulated": snapshot["simulated"], "toy": snapshot["toy"],
    }  # fmt: skip


def licences(facts: Row) -> list[str]:
    return sorted({source["licence"] for source in facts["sources"]})


def filename(digest: str) -> str:
    """What a download is called: nothing but the digest, so that a name typed by someone never becomes a file's."""
    return f"rounds-snapshot-{digest[:12]}"


def text(facts: Row, configs: dict[str, Any], lengths: Lengths) -> str:
    """README.md: `configs` is what the manifest says of each."""
    parts = [_badges(facts), _rows(facts, configs), _protocol(facts), _raters(facts), _agreement(facts), _columns(facts)]
    parts += [_lengths(facts, lengths), _sources(facts), _limits(facts)]
    name = " ".join(facts["snapshot"]["name"].split())
    return "\n".join(_head(facts, configs)) + f"\n\n# {name}\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _head(facts: Row, configs: dict[str, Any]) -> list[str]:
    snapshot = facts["snapshot"]
    tags = ["preference", "dpo", "clinical", *(["toy"] if snapshot["toy"] else []), *(["simulated"] if snapshot["simulated"] else [])]
    total = sum(configs["dpo"]["rows"].values())
    listed = "".join(_config(name, told["rows"], default=name == "dpo") for name, told in configs.items())
    return [
        "---",
        "language:\n- en",
        "license: other",
        f"license_name: {json.dumps(' and '.join(licences(facts)))}",
        f"pretty_name: {json.dumps('Rounds preferences ' + snapshot['digest'][:12])}",
        f"annotations_creators:\n- {'machine-generated' if snapshot['simulated'] else 'expert-generated'}",
        f"size_categories:\n- {next((words for most, words in _SIZES if total < most), 'n>10M')}",
        "task_categories:\n- text-generation",
        f"source_datasets:\n- {'original' if not facts['sources'] else 'extended'}",
        "tags:\n" + "\n".join(f"- {tag}" for tag in tags),
        f"configs:\n{listed}---",
    ]


def _config(name: str, rows: dict[str, int], *, default: bool) -> str:
    files = "".join(f"  - split: {split}\n    path: {name}/{split}-*.parquet\n" for split, count in rows.items() if count)
    mark = "  default: true\n" if default else ""
    return f"- config_name: {name}\n{mark}  data_files:\n{files}" if files else ""


def _badges(facts: Row) -> str:
    snapshot, found = facts["snapshot"], []
    if snapshot["simulated"]:
        found.append("> **Simulated.** A program played the raters. This shows that the machinery works and says nothing about medicine.")
    if snapshot["toy"]:
        found.append("> **Toy.** The texts come from a toy model family trained on generated text.")
    if snapshot.get("external"):
        found.append("> **External.** The judgements were given elsewhere and imported: this house checked neither raters nor guidelines.")
    return "\n\n".join([*found, "Blinded comparisons of two texts for one clinical prompt: which one raters preferred, and how surely."])


def _rows(facts: Row, configs: dict[str, Any]) -> str:
    head = "| config | " + " | ".join(tables.SPLITS) + " | what it is for |\n|---|" + "---|" * (len(tables.SPLITS) + 1)
    lines = [
        f"| `{name}` | " + " | ".join(str(told["rows"].get(split) or "none") for split in tables.SPLITS) + f" | {tables.PURPOSES[name]} |"
        for name, told in configs.items()
    ]
    counts = facts["snapshot"]["counts"]
    out = ["## Rows", "\n".join([head, *lines])]
    out.append(
        f"From {counts['judgements']} judgements by {counts['raters']} raters. The split belongs to the sample and never changes: train on "
        "`train`, stop early on `validation`, and keep `evaluation` for the final comparison."
    )
    reasons = {**_REASONS, **facts["drop_reasons"]}
    for title, name in (("Left out", "dpo"), ("Edits left out", "sft_edits")):
        if excluded := configs.get(name, {}).get("excluded"):
            unit = configs[name]["unit"]
            rows = "\n".join(f"| {reasons.get(reason, reason)} | {count} |" for reason, count in excluded.items())
            out += [f"## {title}", f"| reason | {unit} |\n|---|---|\n{rows}"]
    return "\n\n".join(out)


def _protocol(facts: Row) -> str:
    campaign, filters = facts["campaign"], facts["snapshot"]["filters"]
    said = [
        f"- Campaign `{campaign['id']}`, protocol digest `{campaign['protocol'] or 'none'}`.",
        f"- Guideline `{campaign['guideline_version']}` (SHA-256 of its text); form `{campaign['form_version']}`.",
        f"- Overlap: {campaign['overlap']} judgements a pair"
        + (f", and one more for {campaign['double_share']:.0%} of them" if campaign["double_share"] else "")
        + (f"; {campaign['repeat_share']:.0%} of a rater's answers asked again with sides swapped" if campaign["repeat_share"] else "")
        + ".",
        f"- Pairs chosen: {campaign['selection']}. Raters saw neither who wrote a text nor each other's votes; sides were counterbalanced.",
        f"- Filters: at least {filters.get('min_judgements', 1)} judgements a pair; task types: "
        f"{', '.join(filters.get('task_types', [])) or 'all'}.",
        # The two that every snapshot has are said above.
        *(f"- {name}: {value}." for name, value in in_words(filters)[2:]),
    ]
    if held_out := facts["snapshot"]["counts"].get("held_out_raters"):
        said.append(
            f"- Nothing but `evaluation` rows comes of the {held_out} held-out raters' votes, and no `evaluation` row of anybody else's: "
            "they tell how a model does on people it has not learnt from."
        )
    return "## Protocol\n\n" + "\n".join(said)


def _raters(facts: Row) -> str:
    raters = facts["raters"]
    told = [f"- {field}: {count}" for field, count in raters["fields"].items()]
    if raters["others"]:
        told.append(f"- field not told, because fewer than {raters['shared_by']} share it: {raters['others']}")
    return (
        "## Raters\n\n" + "\n".join(told) + "\n\nNumbered for this data set alone: a number means nothing in another one. A field is given "
        f"only where {raters['shared_by']} of its raters share it."
    )


def _figure(figure: Row) -> str:
    if figure["value"] is None:
        return f"{figure['note'] or 'not known'} (n = {figure['n']})"
    if figure["low"] is None:
        return f"{figure['value']:.3f} (n = {figure['n']})"
    return f"{figure['value']:.3f}, 95 % interval {figure['low']:.3f} to {figure['high']:.3f} (n = {figure['n']})"


def _agreement(facts: Row) -> str:
    figures = facts["figures"]
    rows = [
        ("Raw agreement, two raters of one pair", figures["raw"]),
        ("Krippendorff's alpha, nominal", figures["alpha"]),
        ("Gwet's AC1", figures["ac1"]),
        ("Side balance: the left side won", figures["left"]),
        ("Length gap: the chosen text is the longer one", figures["longer"]),
    ]
    body = "\n".join(f"| {name} | {_figure(figure)} |" for name, figure in rows)
    ratio = figures["length_ratio"]
    gap = f"\n\nMedian length of chosen over rejected: {ratio:.2f}." if ratio is not None else ""
    return (
        f"## Agreement and balance\n\n| figure | value |\n|---|---|\n{body}\n\nOn votes of pairs that chance chose, six verdicts, by "
        f"content and not by side; intervals by resampling samples.{gap}"
    )


def _columns(facts: Row) -> str:
    gone = sorted(levels.removed(facts["level"]))
    level = f"Level of this export: **{levels.LABELS[facts['level']].lower()}**" + (
        f"; left out: {', '.join(f'`{name}`' for name in gone)}" + (" and the config `sft_edits`" if "edited_text" in gone else "") + "."
        if gone
        else "."
    )
    said = [
        "- `prompt`, `chosen`, `rejected`, `completion`: lists of turns (`role`, `content`), as TRL's trainers read them.",
        "- `p_chosen`: the soft target in (0.5, 1): the mean of 0.92 (much better), 0.75 (slightly) and 0.5 (both acceptable) over the "
        "votes, with one vote for 0.5 added; 0.95 where a lead clinician ruled, and against a text flagged as harmful.",
        "- `margin`: ln(p / (1 − p)) of `p_chosen`, as RewardTrainer subtracts it.",
        "- `label`: true for a chosen answer; false for a rejected one, and for both of a pair found unacceptable on both sides.",
        "- `judgments`: by completion (`first`, `second`); `displayed_left` is the one shown on the left. `counted` answers are votes; the "
        "others (repeats, late ones) are kept because harm seen is harm seen. Marked places count code points. `confidence` is empty: this "
        "form asks what made a pair hard (`hard`) instead.",
        "- `pairs`: a text is left out (null) where a lead ruled it out of training or its sample was withdrawn. `first_by`, `second_by` "
        "number the producers for this data set alone.",
    ]
    harm = (
        "**Preference never buys harm:** an output flagged with major harm or worse is never favoured in `dpo`, `dpo_soft`, `kto`, "
        "`reward` or `sft_edits`. `judgments` keeps the vote and the flag."
    )
    return "## Columns\n\n" + "\n".join(said) + f"\n\n{harm}\n\n{level}"


def _lengths(facts: Row, lengths: Lengths) -> str:
    if not lengths.steps:
        return ""
    shares = (("half", 0.5), ("95 %", 0.95), ("99 %", 0.99), ("all", 1.0))
    rows = "\n".join(f"| {words} | {lengths.at(share)} | {lengths.at(share) // 3} |" for words, share in shares)
    return (
        "## Lengths\n\nPrompt and the longer answer together; a trainer drops or cuts what is longer than its `max_length` without a "
        f"word.\n\n| of the pairs | characters at most | tokens, at about three characters each |\n|---|---|---|\n{rows}"
    )


def _sources(facts: Row) -> str:
    listed = "\n".join(
        f"- {' '.join(source['name'].split())}: {' '.join(source['licence'].split())}{' (synthetic)' if source['synthetic'] else ''}"
        for source in facts["sources"]
    )
    return f"## Sources and licences\n\n{listed}"


def _limits(facts: Row) -> str:
    snapshot = facts["snapshot"]
    return (
        "## Limits\n\nVotes say what these raters preferred under this guideline, not what is true. Few judgements a pair leave its soft "
        "target near one half. Agreement is not correctness. Where the chosen text is mostly the longer one, training learns length.\n\n"
        f"Layout `{facts['layout']}`: the instruction is the system turn, the input the user turn. Targets: {facts['aggregation']}. "
        f"Written by Rounds {facts['code']}. Snapshot digest `{snapshot['digest']}`, over every row's content; `manifest.json` has the "
        "SHA-256 of every file."
    )
