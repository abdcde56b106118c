"""manage.py pit_experts --corpus A --corpus B --base NAME: an expert a corpus, each asked about documents that nobody read."""

import json
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from annotation.management.commands.import_samples import actor_named
from annotation.models import Corpus
from modelhub.models import ModelVersion
from training import evaluations, experts, loop, workers
from training.engine.errors import SpecError
from training.models import Run
from training.runs import Refused


class Command(BaseCommand):
    help = (
        "Train an expert from a base on each corpus, as jobs one can watch, and compare each with the base on questions about its corpus's "
        "held-out documents: the share of four-way choices that are right, and the right answer's mean log-probability per token, with "
        "95 % intervals from redrawing documents. Uses the running worker, or starts one for itself."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--corpus", action="append", required=True, dest="corpora", help="a corpus by name; give it again for another")
        base = parser.add_mutually_exclusive_group(required=True)
        base.add_argument("--base", help="the model version to start from, by name")
        base.add_argument("--new-base", help="build a tiny base of this name first, with a tokenizer, from the corpora's documents")
        parser.add_argument("--preset", choices=["demo", "clinic", "paper", "test"], default="demo", help="(default %(default)s)")
        parser.add_argument(
            "--recipe", choices=experts.RECIPES, default="paper",
            help="paper: plain pre-training (DAPT) for the PubMed group, pre-instruction tuning for the others (default)",
        )  # fmt: skip
        parser.add_argument("--documents", type=int, help="read at most so many of each corpus's training documents")
        parser.add_argument("--questions", type=int, default=200, help="ask about at most so many held-out documents (default %(default)s)")
        parser.add_argument("--suffix", default="expert", help="experts are called CORPUS-SUFFIX (default %(default)s)")
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument("--actor", metavar="USERNAME", help="whom the audit trail names")
        parser.add_argument("--json", action="store_true", help="end with one JSON line; progress goes to the error stream")

    def handle(self, *args: Any, **options: Any) -> None:
        self.began = time.monotonic()
        self.stream = self.stderr if options["json"] else self.stdout
        corpora = [self._corpus(name) for name in options["corpora"]]
        actor, most, seed = actor_named(options["actor"]), options["documents"], options["seed"]
        try:
            with workers.ensured(say=self.say):
                start = self._base(corpora, options)
                made = {
                    corpus: experts.start(
                        corpus=corpus, policy=start, name=f"{corpus.name}-{options['suffix']}", actor=actor, most=most, seed=seed,
                        preset=f"{experts.recipe_for(corpus, options['recipe'])}-{options['preset']}",
                    )
                    for corpus in corpora
                }  # fmt: skip
                self.say("queued: " + ", ".join(f"{run.name} ({run.preset})" for run in made.values()))
                loop.wait_for([run.job_id for run in made.values()])
                if isinstance(start, Run):
                    start.refresh_from_db()
                reference = start.output if isinstance(start, Run) else start
                assert reference is not None
                asked = {corpus: self._asked(corpus, run, reference, options) for corpus, run in made.items()}
                loop.wait_for([evaluation.job_id for evaluation in asked.values()])
        except (Refused, SpecError, evaluations.NothingHeldOut, loop.LoopFailed, RuntimeError) as failure:
            raise CommandError(str(failure)) from None
        figures = {corpus.name: self._figures(made[corpus], evaluation) for corpus, evaluation in asked.items()}
        self._tell(figures, as_json=options["json"])

    def _corpus(self, name: str) -> Corpus:
        found = Corpus.objects.filter(name=name).first()
        if found is None:
            raise CommandError(f"No corpus is called {name!r}. Import one: manage.py import_documents.", returncode=2)
        return found

    def _base(self, corpora: list[Corpus], options: dict[str, Any]) -> ModelVersion | Run:
        if options["base"]:
            found = ModelVersion.objects.filter(name=options["base"]).first()
            if found is None:
                raise CommandError(f"No model version is called {options['base']!r}.", returncode=2)
            return found
        if options["preset"] not in ("demo", "test"):
            raise CommandError("A base that is built here is tiny: take --preset demo or test with --new-base.", returncode=2)
        return experts.base(
            corpora=corpora, name=options["new_base"], actor=actor_named(options["actor"]), preset=options["preset"],
            most=options["documents"], seed=options["seed"],
        )  # fmt: skip

    def _asked(self, corpus: Corpus, run: Run, reference: ModelVersion, options: dict[str, Any]) -> Any:
        run.refresh_from_db()
        assert run.output is not None
        return evaluations.on_corpus(
            policy=run.output, reference=reference, corpus=corpus, actor=actor_named(options["actor"]), most=options["questions"],
            seed=options["seed"],
        )  # fmt: skip

    @staticmethod
    def _figures(run: Run, evaluation: Any) -> dict[str, Any]:
        evaluation.refresh_from_db()
        assert run.output is not None
        learnt = {key: run.output.metrics[key] for key in ("documents", "tokens", "steps", "cut") if key in run.output.metrics}
        return {"expert": run.output.name, "recipe": run.preset, **learnt, **evaluation.results["choices"]["all"]}

    def _tell(self, figures: dict[str, Any], *, as_json: bool) -> None:
        if as_json:
            self.stdout.write(json.dumps(figures))
            return
        for name, found in figures.items():
            self.stdout.write(f"{name}: {found['expert']} by {found['recipe']}, {found['questions']} held-out questions")
            for key, label in (("accuracy", "right of four"), ("logp", "log-probability per token")):
                base, expert, less = found[key]["reference"], found[key]["policy"], found[f"{key}_difference"]
                gained = f"{less['value']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}]"
                self.stdout.write(f"  {label:<26} base {base['value']:.3f}, expert {expert['value']:.3f}: {gained}")

    def say(self, text: str) -> None:
        # Plain: a step forward is no error, wherever it is written.
        self.stream.write(f"{time.monotonic() - self.began:6.1f} s  {text}", str)
        self.stream.flush()
