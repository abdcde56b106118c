"""What a model card says by itself: everything the house knows of a version, from its data to the decisions about it.

People's own parts are kept by `modelhub.cards`, which also holds the card's form. No person is named: raters are counted, and told by
their field where enough share it; who signed an override is in the audit trail.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from django.utils import timezone

from annotation import safety, snapshot_raters, snapshots
from annotation.models import Corpus, Snapshot
from modelhub import lineage, versions
from modelhub.cards import PARTS, Card, Section, fenced, is_hub_id, latest, licence_metadata, plain
from modelhub.models import CardRevision, Kind, LineageEdge, ModelVersion
from training import cardfigures, gates
from training.bundles import environment
from training.models import Evaluation, Promotion, Run, Study

NOT_A_DEVICE = "It is no medical device, and nothing it writes is medical advice: somebody qualified must check every output."
TOY = "Trained on this machine on generated text, at a size that learns little. It shows that the machinery works and knows no medicine."
SIMULATED = "A program played the raters whose preferences it learned. Its figures say nothing about what clinicians prefer."
UNTOLD = "not told while a blinded study of it is under way"
# Roles in which a parent guided the child and gave it no weights.
_GUIDES = ("reference", "teacher")


def write(version: ModelVersion, *, adapter: bool = False) -> Card:
    """The card of `version` as things stand; with `adapter` that of the adapter kept beside it."""
    facts = Facts(version, adapter=adapter)
    sections = [
        facts.summary(), facts.part("intended_use"), facts.scope(), facts.usage(), facts.data(), facts.recipe(), facts.evaluation(),
        facts.gates(), facts.harms(), facts.limits(), facts.licence(), facts.ancestry(), facts.reproduction(), facts.part("contact"),
        facts.citation(),
    ]  # fmt: skip
    banners = [(mark, text) for mark, text, holds in (("Toy", TOY, version.toy), ("Simulated", SIMULATED, version.simulated)) if holds]
    return Card(
        name=f"{version.name} (LoRA adapter)" if adapter else version.name, metadata=facts.metadata(), banners=tuple(banners),
        sections=tuple(sections), missing=tuple(facts.missing()), base=facts.base, record=facts.record(),
    )  # fmt: skip


@dataclass
class Facts:
    """One version with all that is known of it, read once."""

    version: ModelVersion
    adapter: bool = False

    # --- what is read ---------------------------------------------------------------------------------------------------------------

    @cached_property
    def run(self) -> Run | None:
        return Run.objects.select_related("job", "policy__artifact", "snapshot").filter(output=self.version).first()

    @cached_property
    def snapshot(self) -> Snapshot | None:
        return self.run.snapshot if self.run else None

    @cached_property
    def edges(self) -> dict[int, list[LineageEdge]]:
        return lineage.edges_above(self.version)

    @cached_property
    def above(self) -> list[LineageEdge]:
        return self.edges.get(self.version.pk, [])

    @cached_property
    def revision(self) -> CardRevision | None:
        return latest(self.version)

    @cached_property
    def hub_ids(self) -> dict[int, str]:
        """What ancestors are called on the Hub, where that is known: as somebody wrote, else as they were called where they came from."""
        members = {edge.parent_id for edges in self.edges.values() for edge in edges if edge.parent_id}
        came = {edge.parent.pk: edge.parent for edges in self.edges.values() for edge in edges if edge.parent}
        found = {pk: name for pk, one in came.items() if is_hub_id(name := getattr(one, "source_name", ""))}
        revisions = CardRevision.objects.filter(version__in=members).order_by("version_id", "number")
        found |= {pk: name for pk, name in revisions.values_list("version_id", "hub_id") if name}
        return found

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        found = Evaluation.objects.filter(policy=self.version, finished_at__isnull=False)
        return list(found.select_related("reference", "snapshot").order_by("pk"))

    @cached_property
    def promotions(self) -> list[Promotion]:
        return list(Promotion.objects.filter(version=self.version).exclude(decision="rolled_back").order_by("pk"))

    @cached_property
    def blocks(self) -> int:
        return len(safety.blocks(self.version))

    @cached_property
    def lineage_hash(self) -> str:
        return versions.lineage_hash(self.version, self.edges)

    @cached_property
    def parents(self) -> list[tuple[str, ModelVersion]]:
        """(role, version) of what its weights were made of."""
        return [(edge.role, edge.parent) for edge in self.above if edge.parent and edge.role not in _GUIDES]

    @property
    def base(self) -> str:
        """What an adapter's base is called: on the Hub if it is there, else here."""
        for _, parent in self.parents:
            return self.hub_ids.get(parent.pk, parent.name)
        return ""

    @property
    def params(self) -> dict[str, Any]:
        return self.run.params if self.run else {}

    # --- metadata -------------------------------------------------------------------------------------------------------------------

    def metadata(self) -> dict[str, Any]:
        version = self.version
        said: dict[str, Any] = {"language": ["en"], **licence_metadata(version.licence)}
        said |= {"library_name": "peft" if self.is_adapter else "transformers", "pipeline_tag": "text-generation"}
        tags = ["clinical", "rounds", version.kind, *(["lora"] if self.is_adapter or self.params.get("lora") else [])]
        said["tags"] = list(dict.fromkeys([*tags, *(["toy"] if version.toy else []), *(["simulated"] if version.simulated else [])]))
        bases, merged = self._published()
        if bases:
            said |= {"base_model": bases, "base_model_relation": "adapter" if self.is_adapter else "merge" if merged else "finetune"}
        if self.revision and self.revision.datasets:
            said["datasets"] = self.revision.datasets
        if results := cardfigures.index(self.evaluations):
            said["model-index"] = [{"name": version.name, "results": results}]
        return said

    @property
    def is_adapter(self) -> bool:
        return self.adapter or self.version.kind == "adapter"

    def _published(self) -> tuple[list[str], bool]:
        """The nearest ancestors that the Hub knows, and whether a merge lies on the way: a name that is only ours would lead nowhere."""
        found: list[str] = []
        merged, seen, ahead = False, set(), [self.version]
        while ahead:
            one = ahead.pop(0)
            merged |= one.kind == Kind.MERGED
            for edge in self.edges.get(one.pk, []):
                if edge.parent is None or edge.role in _GUIDES or edge.parent.pk in seen:
                    continue
                if one.kind == Kind.ADAPTER and edge.role != "base":
                    continue  # what an adapter was extracted from is not what it is put on
                seen.add(edge.parent.pk)
                if name := self.hub_ids.get(edge.parent.pk):
                    found.append(name)
                else:
                    ahead.append(edge.parent)
        return list(dict.fromkeys(found)), merged

    # --- prose ----------------------------------------------------------------------------------------------------------------------

    def said(self, part: str) -> str:
        """What people wrote there."""
        return str(self.revision.prose.get(part, "")) if self.revision else ""

    def part(self, part: str, *, also: str = "") -> Section:
        text = self.said(part) or f"*Nobody has written this yet. {PARTS[part][1]}*"
        return Section(PARTS[part][0], f"{text}\n\n{also}".strip(), part)

    def summary(self) -> Section:
        version = self.version
        made_of = ", ".join(f"{plain(parent.name)} ({plain(role)})" for role, parent in self.parents) or "nothing before it"
        what = f"{plain(version.get_kind_display())} model, {plain(version.architecture or 'architecture unknown')}, "
        what += f"{version.parameters:,} parameters, made from {made_of}."
        if self.is_adapter and version.kind != "adapter":
            what = f"The LoRA adapter that was merged into {plain(version.name)}; its base is {plain(self.base)}. The model: {what}"
        return Section("What it is", what)

    def scope(self) -> Section:
        return self.part("out_of_scope", also=NOT_A_DEVICE)

    def usage(self) -> Section:
        if self.is_adapter:
            lines = [
                "from peft import PeftModel", "from transformers import AutoModelForCausalLM", "",
                'base = AutoModelForCausalLM.from_pretrained("BASE_FOLDER")  # ' + " ".join(self.base.split()),
                'model = PeftModel.from_pretrained(base, "THIS_FOLDER")',
            ]  # fmt: skip
        else:
            lines = [
                "from transformers import AutoModelForCausalLM, AutoTokenizer", "",
                'tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")',
                'model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER")',
            ]  # fmt: skip
        said = "The instruction is the system turn, the input the user turn; the tokenizer's chat template sets them."
        return Section("How to open it", f"{fenced(chr(10).join(lines), 'python')}\n\n{said}")

    def data(self) -> Section:
        blocks = []
        if self.snapshot:
            blocks.append(self._preferences(self.snapshot))
        written = [edge for edges in self.edges.values() for edge in edges if edge.source_kind]
        sources = {edge.source_digest: edge for edge in written if edge.source_kind != "snapshot"}
        if sources:
            licences = dict(Corpus.objects.filter(digest__in=sources).values_list("digest", "licence"))
            rows = [
                f"| {plain(edge.source_label or edge.source_kind)} | {plain(edge.source_kind)} | {plain(licences.get(digest, 'not told'))} "
                f"| {digest[:12]} |"
                for digest, edge in sources.items()
            ]
            head = "Read by it or by a model it was made from:\n\n| text | kind | licence | digest |\n|---|---|---|---|"
            blocks.append("\n".join([head, *rows]))
        if earlier := self._earlier_snapshots():
            blocks.append("Preferences its ancestors learned: " + ", ".join(earlier) + ".")
        return Section("Training data", "\n\n".join(blocks) or "Nothing is known here of what it was trained on.")

    def _preferences(self, snapshot: Snapshot) -> str:
        counts, (fields, others) = snapshot.counts, snapshot_raters.cohorts(snapshot_raters.spoke(snapshot))
        rows = "\n".join(f"| {plain(split)} | {rows} |" for split, rows in counts.get("used", {}).items())
        cohort = [f"{count} in {plain(name.lower())}" for name, count in fields.items()]
        cohort += [f"{others} whose field is not told, because fewer than {snapshot_raters.SHARED_BY} share it"] if others else []
        dropped = [f"{count} where {snapshots.DROP_REASONS.get(why, why)}" for why, count in counts.get("dropped", {}).items() if count]
        held_out = counts.get("held_out_raters")
        whose = "simulated " if snapshot.simulated else "external " if snapshot.external else ""
        said = [
            f"Preferences of the snapshot {snapshot.digest[:12]}: "
            + ("given elsewhere and imported." if snapshot.external else "blinded comparisons of two texts for one prompt."),
            f"| split | pairs |\n|---|---|\n{rows}",
            f"From {counts['judgements']} judgements by {counts['raters']} {whose}raters" + (f": {', '.join(cohort)}." if cohort else "."),
            "It was trained on the train split; validation decided when to stop, and evaluation was never seen."
            + (f" Nor were votes of the {held_out} raters who were held out: evaluation is theirs alone." if held_out else ""),
        ]
        return "\n\n".join([*said, *([f"Left out: {'; '.join(dropped)}."] if dropped else [])])

    def _earlier_snapshots(self) -> list[str]:
        own = self.snapshot.digest if self.snapshot else ""
        found = {edge.source_digest for edges in self.edges.values() for edge in edges if edge.source_kind == "snapshot"} - {own}
        return [digest[:12] for digest in sorted(found)]

    def recipe(self) -> Section:
        if self.run is None:
            return Section("Recipe", "It was not made by a run of this house." if not self.version.origin else "Its run is not known.")
        said = f"A run of the kind {self.run.job.kind}" + (f", preset {plain(self.run.preset)}" if self.run.preset else "") + ". "
        if self.run.job.kind == "merge" and (text := cardfigures.as_mergekit(self.run.job)):
            return Section("Recipe", f"{said}As mergekit's YAML:\n\n{fenced(text, 'yaml')}")
        kept = fenced(cardfigures.as_yaml(self.params), "yaml")
        return Section("Recipe", f"{said}Every parameter, as it was trained or merged:\n\n{kept}")

    def evaluation(self) -> Section:
        rows = [line for evaluation in self.evaluations for line in cardfigures.rows(evaluation)]
        own = cardfigures.training_rows(self.version.metrics)
        blocks = []
        if rows:
            blocks.append(
                "| figure | against | value | 95 % interval | n |\n|---|---|---|---|---|\n" + "\n".join(rows)
                + "\n\nOn prompts that no training has seen. An interval covers the chance in which things were asked, not in training."
            )  # fmt: skip
        if own:
            blocks.append("Measured by its own training, on its own data:\n\n| figure | value |\n|---|---|\n" + "\n".join(own))
        return Section("Metrics", "\n\n".join(blocks) or "It was not evaluated.")

    def gates(self) -> Section:
        blocks = []
        # A card is read by a study's raters too, and what the models answered tells which is which.
        hidden = gates.OF_ANSWERS if self.promotions and Study.objects.of_version(self.version).under_way().exists() else frozenset()
        for decision in self.promotions:
            when = timezone.localtime(decision.decided_at).strftime("%Y-%m-%d")
            mark = ", simulated" if decision.simulated else ""
            rows = [_gate_row(gate, told=gate.get("code") not in hidden) for gate in decision.gates]
            overrides = [f"**Overridden, and signed** ({plain(names)}): {plain(words)}" for names, words in decision.overrides]
            head = f"{decision.get_decision_display()} as {decision.alias} on {when}{mark}."
            table = "| gate | found | needed | |\n|---|---|---|---|\n" + "\n".join(rows)
            blocks.append("\n\n".join([head, *([table] if rows else []), *overrides]))
        return Section("Gates", "\n\n".join(blocks) or "Nobody has decided about its promotion: it passed no gate, and failed none.")

    def harms(self) -> Section:
        ruled = f"{self.blocks}, against texts it wrote" if self.blocks else "none"
        return self.part("harms", also=f"Lead clinicians' rulings that block it: {ruled}.")

    def limits(self) -> Section:
        also = ["English only."] + ([TOY] if self.version.toy else []) + ([SIMULATED] if self.version.simulated else [])
        return self.part("limits", also=" ".join(also))

    def licence(self) -> Section:
        if not self.version.licence:
            return Section("Licence", "No licence is known. Ask before you share it or anything made from it.")
        return Section("Licence", f"{plain(self.version.licence)}, as its start model and its data allow.")

    def ancestry(self) -> Section:
        count = len({edge.parent_id for edges in self.edges.values() for edge in edges if edge.parent_id})
        listed = "\n".join(f"- {plain(role)}: {plain(parent.name)}" for role, parent in self.parents) or "- made from no other version"
        return Section(
            "Lineage",
            f"{listed}\n\nVersions above it: {count}. Lineage hash, over the digests and roles of all of them and of all data: "
            f"{self.lineage_hash}",
        )

    def reproduction(self) -> Section:
        rows = [("artifact", self.version.artifact.digest), ("tokenizer", self.version.tokenizer_digest)]
        if self.run:
            rows += [("seed", str(self.run.job.spec.get("seed", self.run.seed))), ("spec", self.run.job.spec_digest)]
            rows += [("start model", self.run.policy.artifact.digest)] if self.run.policy else []
            rows += [("snapshot", self.run.snapshot.digest)] if self.run.snapshot else []
            rows += [(name, found) for name, found in environment(self.run).items() if name != "platform"]
        table = "\n".join(f"| {plain(name)} | {plain(value)} |" for name, value in rows if value)
        return Section("Reproducing it", f"| what | which |\n|---|---|\n{table}")

    def citation(self) -> Section:
        own = (
            f"@misc{{rounds-{self.version.artifact.digest[:12]},\n  title = {{{_bibtex(self.version.name)}}},\n"
            f"  note = {{Rounds model version, artifact {self.version.artifact.digest[:12]}, lineage {self.lineage_hash[:12]}}},\n"
            f"  year = {{{self.version.created_at.year}}}\n}}"
        )
        both = fenced(f"{own}\n\n{PAPER}", "bibtex")
        return Section("Citation", f"The method is MediPhi's; please cite it beside the model.\n\n{both}")

    def _recipe(self) -> dict[str, Any] | None:
        if self.run is None:
            return None
        job = self.run.job
        return {"kind": job.kind, "params": self.params, "seed": job.spec.get("seed"), "spec": job.spec_digest}

    # --- the rest -------------------------------------------------------------------------------------------------------------------

    def missing(self) -> list[str]:
        """What a complete card has and this one lacks, in the order of the card."""
        lacks = [f"{title}: nobody has written it" for part, (title, _) in PARTS.items() if not self.said(part)]
        lacks += [] if self.above or self.run else ["Training data and recipe: it came from outside, and its own card is all there is"]
        lacks += [] if self.evaluations else ["Metrics: it was not evaluated on held-out data"]
        lacks += [] if self.promotions else ["Gates: nobody has decided about its promotion"]
        lacks += [] if self.version.licence else ["Licence: none is named"]
        published, _ = self._published()
        lacks += ["Base model: no ancestor has a name on the Hugging Face Hub"] if self.parents and not published else []
        return lacks

    def record(self) -> dict[str, Any]:
        version = self.version
        return {
            "format": 1, "name": version.name, "kind": version.kind, "adapter": self.is_adapter, "version": str(version.public_id),
            "artifact": version.artifact.digest, "lineage_hash": self.lineage_hash, "toy": version.toy, "simulated": version.simulated,
            "licence": version.licence, "parameters": version.parameters,
            "parents": [
                {"role": edge.role, "name": edge.parent.name, "version": str(edge.parent.public_id)}
                if edge.parent
                else {"role": edge.role, "source": edge.source_kind, "digest": edge.source_digest}
                for edge in self.above
            ],
            "recipe": self._recipe(),
            "missing": self.missing(),
        }  # fmt: skip


def _gate_row(gate: dict[str, Any], *, told: bool) -> str:
    came = "passed" if gate["passed"] else "overridden" if gate.get("override") else "not passed"
    found, came = (plain(gate["value"]), came) if told else (UNTOLD, "")
    return f"| {plain(gate['name'])} | {found} | {plain(gate['needed'])} | {came} |"


def _bibtex(text: str) -> str:
    return "".join(letter if letter.isalnum() or letter in " .-+" else " " for letter in text)


PAPER = """@inproceedings{corbeil-etal-2025-modular,
  title = {A Modular Approach for Clinical SLMs Driven by Synthetic Data with Pre-Instruction Tuning, Model Merging, and
    Clinical-Tasks Alignment},
  author = {Corbeil, J.-P. and Dada, A. and Attendu, J.-M. and Ben Abacha, A. and Sordoni, A. and Caccia, L. and Beaulieu, F. and
    Lin, T. and Kleesiek, J. and Vozila, P.},
  booktitle = {Proceedings of the 63rd Annual Meeting of the Association for Computational Linguistics (Volume 1: Long Papers)},
  year = {2025},
  pages = {19352--19374},
  note = {arXiv:2505.10717}
}"""
