"""A search for a merge's numbers: what it may ask, what it promises, and that a killed one goes on as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="the engine's packages are not installed")
pytest.importorskip("cmaes", reason="the engine's packages are not installed")
from safetensors.torch import load_file, save_file  # noqa: E402

from tests.engine import tiny  # noqa: E402
from tests.engine.conftest import Done, laid_out  # noqa: E402
from tests.engine.test_toytext import FROZEN  # noqa: E402
from training.engine import models, recipes, spec, toytext  # noqa: E402
from training.engine.errors import SpecError  # noqa: E402
from training.engine.kinds import exam, questions  # noqa: E402
from training.engine.merging.search import Genome, Score, Strategy, Tried  # noqa: E402

pytestmark = pytest.mark.engine
Run = Callable[..., Done]
EXPERTS = ("pubmed", "clinical", "medwiki")
# The validation questions as they were when the first search ran. A change makes every searched recipe's figures void.
VALIDATION = "e97295bdc393b92c33420c5c22bdc2cf48ff1ad3a9315e3bd7051f090d8d7244"


def recipe(method: str = "breadcrumbs_ties", **shared: float) -> dict[str, Any]:
    own = {"weight": 1.0, "density": 0.5, "gamma": 0.01} if method == "breadcrumbs_ties" else {"weight": 1.0}
    return {"method": method, "base": "base", "inputs": [{"model": name, "parameters": own} for name in EXPERTS], "parameters": shared}


def params(**changes: Any) -> dict[str, Any]:
    ranges = {"weight": [0.0, 3.0], "density": [0.05, 1.0], "gamma": [0.0, 0.2]}
    return {"recipe": recipe(), "ranges": ranges, "evaluations": 13, "population": 4, "questions": 2, **changes}


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An untrained base and three that differ from it at random."""
    root = tmp_path_factory.mktemp("family")
    base = tiny.untrained(root / "base")
    weights = load_file(base / "model.safetensors")
    for number, name in enumerate(EXPERTS):
        shutil.copytree(base, root / name)
        draw = torch.Generator().manual_seed(number)
        moved = {key: value + 0.05 * torch.randn(value.shape, generator=draw) for key, value in weights.items()}
        save_file(moved, root / name / "model.safetensors", metadata={"format": "pt"})
    return {name: root / name for name in ("base", *EXPERTS)}


@pytest.fixture(scope="module")
def whole(run_here: Run, family: dict[str, Path]) -> Done:
    """A search that nothing interrupted: the start and three generations of four."""
    return run_here("search", params(), family)


def curve(done: Done, name: str) -> list[float]:
    found = {event["step"]: event["value"] for event in done.events if event["type"] == "metric" and event["name"] == name}
    return [found[step] for step in sorted(found)]


def test_the_best_is_never_worse_than_the_start(whole: Done) -> None:
    told = whole.metrics
    start, best = told["validation"]["start"], told["validation"]["best"]
    assert (best["accuracy"], best["logp"]) > (start["accuracy"], start["logp"])
    assert told["start"]["inputs"][0]["parameters"] == {"weight": 1.0, "density": 0.5, "gamma": 0.01}
    assert (told["evaluations"], told["ended_by"]) == (13, "evaluations")
    assert len(curve(whole, "search_score")) == 13
    assert curve(whole, "search_best") == sorted(curve(whole, "search_best"))


def test_a_start_that_nothing_beats_is_what_comes_out(run_here: Run, family: dict[str, Path]) -> None:
    ended = run_here("search", params(recipe=recipe("task_arithmetic"), ranges={"weight": [0, 3]}, evaluations=1), family).metrics
    assert (ended["best_evaluation"], ended["recipe"]) == (1, ended["start"])


def test_the_model_written_is_the_candidate_that_was_best(whole: Done, family: dict[str, Path], run_here: Run) -> None:
    model, tokenizer = models.load(str(whole.model))

    class Quiet:
        def check(self) -> None: ...

    score = exam.Exam(tokenizer, exam.validation_questions(2)).score(Quiet(), model)  # type: ignore[arg-type]
    assert score.logp == pytest.approx(whole.metrics["validation"]["best"]["logp"], abs=1e-6)
    again = run_here("merge", whole.metrics["recipe"], family)
    assert (again.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_a_killed_search_goes_on_with_the_same_candidates(tmp_path: Path, family: dict[str, Path], whole: Done) -> None:
    first = laid_out(tmp_path / "first", "search", params(), family, None, 1)
    died = tiny.in_fork(first, kill=lambda event: event.get("name") == "search_score" and event["step"] == 8)
    assert died.returncode == -9
    second = tiny.in_fork(tiny.go_on(first, tmp_path / "second"))
    # Its last whole generation ended with evaluation 5: those after it are made again, and are the same.
    assert curve(second, "search_score") == curve(whole, "search_score")[5:]
    told, expected = second.metrics, whole.metrics
    changing = {"search_seconds"}
    assert {name: told[name] for name in told if name not in changing} == {
        name: expected[name] for name in expected if name not in changing
    }
    assert (second.model / "model.safetensors").read_bytes() == (whole.model / "model.safetensors").read_bytes()


def test_a_merge_says_what_it_kept_of_each_expert_that_came_with_questions(run_here: Run, family: dict[str, Path]) -> None:
    rows = [row | {"expert": name} for name in EXPERTS[:2] for row in toytext.questions(name, 3, 1, "validation")]
    told = run_here("merge", recipe(), family, {"retention.jsonl": rows}).metrics["retention"]
    assert (told["questions"], set(told["experts"])) == (6, {"pubmed", "clinical"})
    # Nobody here has learnt anything.
    assert told["experts"]["pubmed"] == {"base": 0.0, "expert": 0.0, "merged": 0.0, "gain": 0.0, "kept": None, "interval": None}
    assert "retention" not in run_here("merge", recipe(), family).metrics


def test_seconds_end_it_and_the_best_so_far_is_kept(run_here: Run, family: dict[str, Path]) -> None:
    told = run_here("search", params(evaluations=10_000, seconds=0.4), family).metrics
    assert told["ended_by"] == "seconds"
    assert 1 <= told["evaluations"] < 200


def test_asked_to_stop_it_throws_all_away_and_asked_to_keep_it_merges_the_best(tmp_path: Path, family: dict[str, Path]) -> None:
    import os
    import signal

    from training.engine import rundir

    stopped = laid_out(tmp_path / "stopped", "search", params(evaluations=10_000), family, None, 1)
    kept = laid_out(tmp_path / "kept", "search", params(evaluations=10_000), family, None, 1)

    def term(event: dict[str, Any]) -> bool:
        if event.get("name") == "search_best" and event["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return False

    def keep(event: dict[str, Any]) -> bool:
        if event.get("name") == "search_best" and event["step"] == 3:
            (kept / rundir.STOP).write_text(rundir.KEEP, encoding="ascii")
        return False

    assert tiny.in_fork(stopped, kill=term).result["error"]["code"] == "cancelled"
    done = tiny.in_fork(kept, kill=keep)
    assert (done.metrics["evaluations"], done.metrics["ended_by"]) == (3, "asked")
    assert (done.model / "model.safetensors").exists()


def test_it_only_ever_asks_validation_questions(monkeypatch: pytest.MonkeyPatch, run_here: Run, family: dict[str, Path]) -> None:
    asked: set[str] = set()
    real = toytext.question

    def question(fact: Any, attribute: str, rng: Any, wording: str = "train", form: int | None = None) -> str:
        asked.add(wording)
        return real(fact, attribute, rng, wording, form)  # type: ignore[arg-type]

    monkeypatch.setattr(toytext, "question", question)
    assert run_here("search", params(evaluations=2), family).metrics["evaluations"] == 2
    assert asked == {"validation"}


def test_no_validation_question_is_an_evaluation_question() -> None:
    rows = exam.validation_questions(spec.MOST_QUESTIONS)
    held_out = [row for domain in toytext.DOMAINS for row in toytext.questions(domain, 96, 0, "held_out")]
    assert {toytext.digest([row for row in held_out if row["domain"] == domain]) for domain in toytext.DOMAINS} == set(FROZEN.values())
    assert not {row["messages"][0]["content"] for row in rows} & {row["messages"][0]["content"] for row in held_out}
    assert toytext.digest(rows) == VALIDATION


def test_an_answer_is_right_when_greedy_decoding_would_write_it(run_here: Run, tmp_path: Path) -> None:
    # A model that has learnt a handful of questions by heart: some answers right, some not.
    model, tokenizer = models.load(str(tiny.untrained(tmp_path / "base")))
    rows = exam.validation_questions(6)
    sat = exam.Exam(tokenizer, rows)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(60):
        for batch in sat._batches[:1]:
            from training.engine import language

            language.loss_of(model, language.Batch(batch.inputs[:12], batch.labels[:12], batch.sizes[:12])).backward()
            optimizer.step()
            optimizer.zero_grad()

    class Quiet:
        spec = type("Spec", (), {"seed": 1})

        class events:
            @staticmethod
            def progress(*said: object) -> None: ...

            @staticmethod
            def metric(*said: object) -> None: ...

        def check(self) -> None: ...

    quiet: Any = Quiet()
    marks = [right for right, _ in sat.marks(quiet, model)]
    written = questions.ask(quiet, model, tokenizer, rows, max_new_tokens=16, batch_size=8)
    assert marks == [row["correct"] for row in written]
    assert 5 < sum(marks) < len(marks)


def test_likelihood_breaks_ties_and_never_outweighs_a_right_answer() -> None:
    def score(right: int, logp: float) -> float:
        return Score({"a": right / 8, "b": 0.5}, logp, 16).value

    assert score(3, -0.1) > score(3, -0.2)
    assert score(4, -9.0) > score(3, -0.0001)


def test_a_point_is_a_recipe_and_the_recipe_a_point() -> None:
    start = recipes.parse(recipe())
    genome = Genome(start, {"density": (0.0, 1.0), "weight": (0.0, 2.0)}, each=True)
    assert genome.start == [0.5, 0.5] * 3
    moved = genome.at([0.1, 1.0, 0.5, 0.5, 0.5, 2.0])
    assert [entry.parameters for entry in moved.inputs] == [
        {"weight": 2.0, "density": 0.1, "gamma": 0.01},
        {"weight": 1.0, "density": 0.5, "gamma": 0.01},
        {"weight": 2.0, "density": 0.5, "gamma": 0.01},
    ]
    together = Genome(start, {"weight": (0.0, 2.0)}, each=False)
    assert (together.start, [entry.parameters["weight"] for entry in together.at([0.25]).inputs]) == ([0.5], [0.5, 0.5, 0.5])


def test_the_strategy_finds_a_hill_and_replays_itself() -> None:
    def tried(point: list[float]) -> Tried:
        far = sum((x - 0.8) ** 2 for x in point)
        return Tried(point, Score({"a": max(0.0, 1 - far)}, 0.0, 10))

    first = Strategy([0.2] * 4, sigma=1 / 6, population=8, seed=3)
    history: list[Tried] = []
    for _ in range(30):
        generation = [tried(point) for point in first.ask()]
        first.tell(generation)
        history += generation
    assert max(one.score.accuracy for one in history) > 0.999 > history[0].score.accuracy
    second = Strategy([0.2] * 4, sigma=1 / 6, population=8, seed=3)
    second.replay(history)
    assert second.ask() == first.ask()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"recipe": {"method": "slurp", "base": "base", "inputs": []}}, "params.recipe.method"),
        ({"ranges": {}}, "params.ranges"),
        ({"ranges": {"t": [0, 1]}}, "params.ranges.t"),
        ({"ranges": {"weight": [2, 1]}}, "params.ranges.weight"),
        ({"ranges": {"density": [0, 1]}}, "params.ranges.density"),
        ({"ranges": {"weight": [2, 3]}}, "params.ranges.weight"),
        ({"recipe": {**recipe(), "inputs": [{"model": "pubmed", "parameters": {"weight": [1, 2]}}]}}, "params.recipe.weight"),
        ({"questions": 33}, "params.questions"),
        ({"population": 3}, "params.population"),
        ({"evaluations": 0}, "params.evaluations"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec.parse_params("search", params(**changes))
    assert refused.value.field == field


def test_its_models_are_the_recipes() -> None:
    raw = {"schema": 1, "kind": "search", "job": "j", "seed": 1, "threads": 1, "params": params(), "models": {"base": "/b", "pubmed": "/p"}}
    with pytest.raises(SpecError, match=r"models\.clinical"):
        spec.parse(raw)
