"""Rows → what an attempt is asked to do. One of three modules that know the engine, and only its standard-library parts.

A job's own spec holds ids and numbers:

    {"seed": 1, "params": {…}, "models": {"policy": {"version": 3} | {"job": "<public id>"}},
     "inputs": {…}, "publish": {"name", "kind", "toy", "simulated", "roles": {"policy": "policy"}}}

`params` are the engine's own (training/engine/spec.py). Text is read from its tables when an attempt is prepared, and
lives in the attempt's folder, which is private to the runner.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Case, When

from annotation import documents, prompts, safety, snapshot_rows
from annotation.models import Corpus, Pair, Prompt, Sample, Snapshot, SnapshotRow, Source, Split
from jobs.errors import Unprepared
from jobs.models import Job
from modelhub import artifacts
from modelhub.models import ModelVersion
from training import endpoints, merge_chains, retained
from training.engine import recipes, references, rundir, toysamples, toytext
from training.engine import spec as engine

Rows = Iterable[dict[str, Any]]

# Recall questions a domain has for every toy model. The seed is part of the frozen set: another seed is another exam.
QUESTIONS_SEED = 1_000_003
PROMPT_BATCH = 500
# Prompts that are answered again at every checkpoint of a run: as many as one reads without tiring.
WATCHED = 6


def check(kind: str, params: dict[str, Any]) -> dict[str, Any]:
    """`params` as the engine will read them, defaults filled in. Raises SpecError naming the field that is wrong."""
    return engine.params_as_json(engine.parse_params(kind, params))


def kind_of(job: Job) -> str:
    """What the engine does: a probe takes three steps of another kind."""
    return str(job.spec.get("of", job.kind))


def parameter_names(kind: str) -> set[str]:
    """The engine's parameters of a kind, by the names of its file format."""
    return {entry.metadata.get("key", entry.name) for entry in fields(engine.PARAMS[kind])}


def prepare(job: Job, folder: Path) -> None:
    """Write the attempt's inputs and, last, its `spec.json`. Raises Unprepared when something it names is not there."""
    rundir.create(folder, engine_spec(job), dict(inputs(job)))


def engine_spec(job: Job) -> engine.Spec:
    # A server is looked up as the attempt begins: what the operator has struck off the list since is asked no more.
    params = job.spec["params"] | ({"endpoint": endpoints.for_job(job)} if "endpoint" in job.spec else {})
    params, versions = _flat(job, params, {name: version_of(reference) for name, reference in job.spec.get("models", {}).items()})
    models = {name: str(artifacts.folder(version.artifact)) for name, version in versions.items()}
    return engine.parse(
        {
            "schema": engine.SCHEMA,
            "kind": kind_of(job),
            "job": str(job.public_id),
            "seed": job.spec["seed"],
            "threads": settings.ROUNDS_ENGINE_THREADS,
            "models": models,
            "params": params,
            **({"probe": True} if job.kind == "probe" else {}),
            **({"reference_store": str(reference_store())} if kind_of(job) == "dpo" else {}),
            "processes": processes(job),
        }
    )


def _flat(job: Job, params: dict[str, Any], versions: dict[str, ModelVersion]) -> tuple[dict[str, Any], dict[str, ModelVersion]]:
    """Of a merge that asks for it, its merged inputs made anew from what they were merged of (training.merge_chains)."""
    if not job.spec.get("flatten"):
        return params, versions
    outer = kind_of(job) == "preview"
    recipe, read = merge_chains.flattened(recipes.parse(params["recipe"] if outer else params), versions)
    told = recipes.as_json(recipe)
    if not outer:
        return told, read
    return params | {"recipe": told}, read | {name: versions[name] for name in params["beside"]}


def processes(job: Job) -> int:
    """How many processes train this job together: what was said when it was submitted, so that a later attempt visits the same batches."""
    return int(job.spec.get("processes", 1))


def reference_store() -> Path:
    """Where reference log-probabilities are kept between runs; for this account only."""
    path = Path(settings.DATA_DIR) / "references"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def forget_references() -> int:
    """Keep the store within what the settings allow; returns how many files went."""
    return references.forget(
        Path(settings.DATA_DIR) / "references", most_bytes=1e9 * settings.ROUNDS_KEEP_REFERENCES_GB,
        unused_days=settings.ROUNDS_KEEP_REFERENCES_DAYS,
    )  # fmt: skip


def version_of(reference: dict[str, Any]) -> ModelVersion:
    """The version a spec means: by id, or as the one a job has made. Raises Unprepared when there is none."""
    if "version" in reference:
        found = ModelVersion.objects.select_related("artifact").filter(pk=reference["version"]).first()
    else:
        found = ModelVersion.objects.select_related("artifact").filter(origin=reference["job"]).first()
    if found is None:
        raise Unprepared("no_model", f"No model version for {reference}.")
    return found


def inputs(job: Job) -> Iterator[tuple[str, Rows]]:
    """The data files of an attempt, by name, in the shapes of the engine's kinds."""
    wanted = job.spec.get("inputs", {})
    kind = kind_of(job)
    if kind == "dpo":
        yield from _preferences(wanted)
        if job.spec["params"].get("replay"):
            yield "replay.jsonl", replayed(_snapshot(wanted["snapshot"]))
    elif kind == "merge":
        if wanted.get("retention") and (asked := _retention(job)):
            yield "retention.jsonl", asked
    elif kind == "kto":
        rows = unpaired(_trainable(wanted["snapshot"]))
        yield "kto.jsonl", halved(rows) if wanted.get("half") else rows
    elif kind == "sft" and "snapshot" in wanted:
        rows = snapshot_rows.training_rows(_trainable(wanted["snapshot"]), Split.TRAIN)
        yield "train.jsonl", _favoured(halved(rows) if wanted.get("half") else rows)
        if held := list(snapshot_rows.training_rows(_snapshot(wanted["snapshot"]), Split.VALIDATION)):
            yield "validation.jsonl", _favoured(held)
    elif "corpora" in wanted:
        yield from _documents(wanted["corpora"], validate=kind != "build-base")
    elif kind in ("generate", "preview"):
        yield "prompts.jsonl", _prompts(wanted["prompts"])
    elif kind == "evaluate":
        if wanted.get("pairs"):
            yield "pairs.jsonl", held_out_pairs(_snapshot(wanted["pairs"]["snapshot"]), labels=wanted["pairs"]["labels"])
        if wanted.get("prompts"):
            yield "prompts.jsonl", _prompts(wanted["prompts"])
        if wanted.get("questions"):
            yield "questions.jsonl", questions(**wanted["questions"])
        if wanted.get("choices"):
            yield "choices.jsonl", choices(_corpus(wanted["choices"]), most=wanted["choices"]["most"])
    if wanted.get("watch"):
        yield "watch.jsonl", _prompts(wanted["watch"])


def _retention(job: Job) -> list[dict[str, Any]]:
    """Of the models that are read, so after flattening; empty when none of them is a toy that was taught a domain."""
    params, versions = _flat(job, job.spec["params"], {name: version_of(reference) for name, reference in job.spec["models"].items()})
    return retained.rows(versions, base=params.get("base"))


def _snapshot(pk: int) -> Snapshot:
    found = Snapshot.objects.filter(pk=pk).first()
    if found is None:
        raise Unprepared("no_snapshot", f"Snapshot {pk} is not there.")
    return found


def _trainable(pk: int) -> Snapshot:
    """Asked again as every attempt begins: a job may have waited, or is tried anew, and a lead has ruled meanwhile."""
    found = _snapshot(pk)
    if since := safety.since(found).rows:
        raise Unprepared(
            "ruled_out", f"Rows of the snapshot that may not be trained on any more: {since}. Freeze anew, and start a run on that."
        )
    return found


def _preferences(wanted: dict[str, Any]) -> Iterator[tuple[str, Rows]]:
    snapshot = _trainable(wanted["snapshot"])
    for split, name in ((Split.TRAIN, "train.jsonl"), (Split.VALIDATION, "validation.jsonl")):
        rows = list(snapshot_rows.training_rows(snapshot, split))
        if wanted.get("half") and split == Split.TRAIN:
            rows = halved(rows)
        if (seed := wanted.get("shuffle")) is not None:
            rows = shuffled(rows, keys=_planted_keys(snapshot, rows), seed=seed)
        if rows or split == Split.TRAIN:
            yield name, [_preference(row) for row in rows]


def _preference(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": str(row["pair_id"])} | {key: row[key] for key in ("prompt", "chosen", "rejected", "p_chosen")}


def replayed(snapshot: Snapshot) -> list[dict[str, Any]]:
    """Preferences that came with imported samples (MediFlow-DPO: an output, and one with a planted error), to mix with the raters'.

    Of the sources the snapshot's own samples are from, and of the train split alone. Raises Unprepared when there is none.
    """
    sources = Source.objects.filter(samples__prompts__in=SnapshotRow.objects.filter(snapshot=snapshot).values("prompt")).values("pk")
    found = Sample.objects.usable().filter(source__in=sources, split=Split.TRAIN)
    rows = [
        {
            "id": f"sample {sample.pk}",
            "prompt": prompts.messages_of(sample),
            "chosen": _answer(sample.output),
            "rejected": _answer(sample.rejected_output),
        }
        for sample in found.exclude(output="").exclude(rejected_output="").order_by("pk").iterator(chunk_size=1000)
    ]
    if not rows:
        raise Unprepared("no_replay", "No sample of the snapshot's sources has a rejected output: set replay to 0, or import such samples.")
    return rows


def unpaired(snapshot: Snapshot) -> Rows:
    """Single answers as good or bad: of each preference both sides, and both of the pairs that raters found unacceptable on both."""
    for row in snapshot_rows.training_rows(snapshot, Split.TRAIN):
        for side, label in (("chosen", True), ("rejected", False)):
            yield {"id": f"{row['pair_id']} {side}", "prompt": row["prompt"], "completion": row[side], "label": label}
    for row in snapshot_rows.unacceptable_rows(snapshot, Split.TRAIN):
        yield {"id": row["id"], "prompt": row["prompt"], "completion": row["completion"], "label": False}


def halved(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of one half of the prompts, always the same half of the same rows, for a learning curve's first point.

    By prompt and not by pair: the other half's prompts are as new to the model as held-out ones. Of an odd number the larger half.
    """
    found = list(rows)
    keys = [sha256(json.dumps(row["prompt"], sort_keys=True).encode()).hexdigest() for row in found]
    order = sorted(set(keys))
    kept = set(order[: (len(order) + 1) // 2])
    return [row for row, key in zip(found, keys, strict=True) if key in kept]


@dataclass(frozen=True, order=True)
class Key:
    """How the sides of a row differ in what raters look at, and whether its label goes against that."""

    difference: tuple[int | str, ...] = ()
    against: bool = field(default=False, compare=False)


def shuffled(rows: list[dict[str, Any]], *, keys: list[Key], seed: int) -> list[dict[str, Any]]:
    """The control: labels that say nothing. Rows are put in the order of how their sides differ, and every second is turned over.

    A coin for each row would leave a chance leaning of one in √n towards what the raters like, and a few hundred pairs are
    few: DPO would learn that leaning, and the control would not be one.
    """
    draw = random.Random(f"shuffled labels {seed}")  # noqa: S311 - reproducible, not secret
    order = sorted(draw.sample(range(len(rows)), len(rows)), key=lambda place: keys[place])
    start = draw.randrange(2)
    made = list(rows)
    for nth, place in enumerate(order):
        if (nth % 2 == start) != keys[place].against:
            made[place] = rows[place] | {"chosen": rows[place]["rejected"], "rejected": rows[place]["chosen"]}
    return made


def _planted_keys(snapshot: Snapshot, rows: list[dict[str, Any]]) -> list[Key]:
    """For toys, all that their simulated raters look at: style, correctness, and which closing sentence; for others nothing is known."""
    if not snapshot.toy:
        return [Key()] * len(rows)
    truths = dict(SnapshotRow.objects.filter(snapshot=snapshot).values_list("pair_id", "prompt__sample__output"))
    return [_planted_key(truths[row["pair_id"]], row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]


def _planted_key(truth: str, chosen: str, rejected: str) -> Key:
    against = toysamples.planted_utility(chosen, truth) < toysamples.planted_utility(rejected, truth)
    better, worse = (rejected, chosen) if against else (chosen, rejected)
    high, low = toysamples.planted(better, truth), toysamples.planted(worse, truth)
    return Key((high["style"] - low["style"], high["correct"] - low["correct"], _closing(better), _closing(worse)), against)


def _closing(text: str) -> str:
    said = toytext.normalise(text)
    return next((sentence for sentence in (*toysamples.HEDGES, *toysamples.BLUNT) if said.endswith(toytext.normalise(sentence))), "")


def _favoured(rows: Rows) -> Rows:
    """Supervised rows: each prompt with the completion its raters chose."""
    for row in rows:
        yield {"prompt": row["prompt"], "completion": row["chosen"]}


def watched(snapshot: Snapshot) -> list[int]:
    """Ids of the prompts a run on `snapshot` answers at every checkpoint: held-out ones first, always the same ones, at most WATCHED."""
    rows = SnapshotRow.objects.filter(snapshot=snapshot, split__in=(Split.VALIDATION, Split.TRAIN))
    held_out_first = Case(When(split=Split.VALIDATION, then=0), default=1)
    return list(dict.fromkeys(rows.order_by(held_out_first, "position").values_list("prompt_id", flat=True)[: 4 * WATCHED]))[:WATCHED]


def _prompts(ids: list[int]) -> Rows:
    for start in range(0, len(ids), PROMPT_BATCH):
        found = Prompt.objects.in_bulk(ids[start : start + PROMPT_BATCH])
        for pk in ids[start : start + PROMPT_BATCH]:
            if pk not in found:
                raise Unprepared("no_prompt", f"Prompt {pk} is not there.")
            yield {"id": str(pk), "messages": found[pk].messages}


def held_out_pairs(snapshot: Snapshot, *, labels: str) -> Rows:
    """Pairs of the evaluation split, which no training ever sees: {"id", "prompt", "chosen", "rejected"}.

    `raters`: as the snapshot's raters judged. `planted`: as the planted truth of simulated raters says, without their
    noise; pairs it finds equal are left out. Only toy texts have a planted truth.
    """
    if labels == "raters":
        for row in snapshot_rows.training_rows(snapshot, Split.EVALUATION):
            yield {"id": str(row["pair_id"]), "prompt": row["prompt"], "chosen": row["chosen"], "rejected": row["rejected"]}
        return
    pairs = (
        Pair.objects.filter(campaign=snapshot.campaign, prompt__sample__split=Split.EVALUATION)
        .select_related("prompt__sample", "first", "second")
        .order_by("position")
    )
    for pair in pairs:
        truth = pair.prompt.sample.output
        first = toysamples.planted_utility(pair.first.text, truth)
        second = toysamples.planted_utility(pair.second.text, truth)
        if first == second:
            continue
        better, worse = (pair.first, pair.second) if first > second else (pair.second, pair.first)
        yield {"id": str(pair.pk), "prompt": pair.prompt.messages, "chosen": _answer(better.text), "rejected": _answer(worse.text)}


def _answer(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def questions(*, each: int, seed: int = QUESTIONS_SEED) -> Rows:
    """The toy family's exam: `each` questions a domain in wordings that no training used."""
    for domain in toytext.DOMAINS:
        yield from toytext.questions(domain, each, seed, "held_out")


# --- documents ---------------------------------------------------------------------------------------------------------------------

# A part of the training documents' number is enough to see when to stop.
VALIDATION_SHARE = 4
CHOICES, SHORT = 4, 240


def _corpus(reference: dict[str, Any]) -> Corpus:
    """The corpus a spec names, as it was when the spec was written: what a model has read must be what its lineage says."""
    found = Corpus.objects.filter(pk=reference["corpus"]).first()
    if found is None:
        raise Unprepared("no_corpus", f"Corpus {reference['corpus']} is not there.")
    if found.digest != reference["digest"]:
        raise Unprepared("corpus_changed", f"{found.name} has changed since this was asked for. Start it again, on what it holds now.")
    return found


def corpora_of(job: Job) -> list[tuple[dict[str, Any], Corpus]]:
    """What a job's spec says of each corpus it reads, and the corpus."""
    wanted = job.spec.get("inputs", {}).get("corpora", [])
    found = Corpus.objects.in_bulk([reference["corpus"] for reference in wanted])
    return [(reference, found[reference["corpus"]]) for reference in wanted]


def _documents(corpora: list[dict[str, Any]], *, validate: bool) -> Iterator[tuple[str, Rows]]:
    for name, split in (("documents.jsonl", Split.TRAIN), ("validation.jsonl", Split.VALIDATION)):
        rows: list[dict[str, Any]] = []
        for reference in corpora:
            most = reference["most"]
            if most is not None and split == Split.VALIDATION:
                most = max(1, most // VALIDATION_SHARE)
            rows += documents.rows(_corpus(reference), split, most=most)
        if split == Split.TRAIN or (rows and validate):
            yield name, rows


def choices(corpus: Corpus, *, most: int) -> list[dict[str, Any]]:
    """One question a document of the evaluation split, with its own answer first and those of three other documents.

    The others answer questions that begin with the same two words where there are enough: a code among meanings would be no riddle.
    Answers are given by their first sentences, up to 240 characters. Which question and which others follows from the corpus alone.
    """
    draw = random.Random(f"choices {corpus.digest}")  # noqa: S311 - reproducible, not secret
    asked = [(row["id"], *draw.choice(row["outputs"]["qa"])) for row in documents.rows(corpus, Split.EVALUATION) if "qa" in row["outputs"]]
    asked = [(group, question, shortened(answer)) for group, question, answer in asked]
    made = []
    for group, question, answer in asked[:most]:
        others = [(_form(other), text) for another, other, text in asked if another != group and text != answer]
        alike = sorted({text for form, text in others if form == _form(question)})
        pool = alike if len(alike) >= CHOICES - 1 else sorted({text for _, text in others})
        if len(pool) >= CHOICES - 1:
            answers = [answer, *draw.sample(pool, CHOICES - 1)]
            made.append({"id": group, "group": group, "domain": corpus.name, "question": question, "answers": answers})
    return made


def shortened(text: str) -> str:
    """The first sentences of a text that fit 240 characters, else as many of its first words."""
    if len(text) <= SHORT:
        return text
    head = text[:SHORT]
    end = head.rfind(". ")
    return head[: end + 1] if end > 0 else head.rpartition(" ")[0] or head


def _form(question: str) -> str:
    return " ".join(question.casefold().split()[:2])
