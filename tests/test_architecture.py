"""The floor plan, kept: imports go one way, the engine knows no Django, no web or worker process loads torch."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
# An app may import itself and what stands to its right.
ORDER = ["config", "training", "annotation", "modelhub", "jobs", "accounts", "web"]
ENGINE_STDLIB_PARTS = {
    "spec", "rundir", "errors", "toysamples", "toytext", "family", "presets", "checkpoints", "footprint", "references", "served",
    "versions", "methods", "recipes", "lifeline", "grammar.grid", "merging.journal", "merging.plan",
    "params.answers", "params.language", "params.limits", "params.merges",
    "params.preferences", "params.values",
}  # fmt: skip
HEAVY = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "safetensors"}


def sources(package: str) -> Iterator[Path]:
    for path in sorted((PROJECT / package).rglob("*.py")):
        if "migrations" not in path.parts:
            yield path


def imported(path: Path) -> set[str]:
    """Every module a file imports, at any depth; relative imports resolved."""
    names: set[str] = set()
    package = path.relative_to(PROJECT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


def is_engine(path: Path) -> bool:
    return (PROJECT / "training" / "engine") in path.parents


@pytest.mark.parametrize("app", ORDER)
def test_imports_go_one_way(app: str) -> None:
    forbidden = set(ORDER[: ORDER.index(app)])
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for path in sources(app)
        for name in imported(path)
        # config is named by everyone who needs the embedded services' settings module, never imported.
        if name.split(".")[0] in forbidden
    ]
    assert not wrong, wrong


def test_the_engine_imports_nothing_of_ours_and_no_django() -> None:
    wrong = [
        f"{path.name} imports {name}"
        for path in sources("training/engine")
        for name in imported(path)
        if name.split(".")[0] in {*ORDER, "django", "celery", "psycopg"}
        and name != "training"
        # What a suite is made of and how its results are kept is said once, for pages and children: training.suite, without Django.
        and not name.startswith(("training.engine", "training.suite"))
    ]
    assert not wrong, wrong


def test_only_standard_library_parts_of_the_engine_are_imported_from_outside() -> None:
    wrong = []
    for app in ORDER:
        for path in sources(app):
            if is_engine(path):
                continue
            for name in imported(path):
                part = name.removeprefix("training.engine.")
                if part not in (name, "merging", "grammar") and not any(f"{part}.".startswith(f"{one}.") for one in ENGINE_STDLIB_PARTS):
                    wrong.append(f"{path.relative_to(PROJECT)} imports {name}")
    assert not wrong, wrong


@pytest.mark.parametrize("part", sorted(ENGINE_STDLIB_PARTS))
def test_the_engines_shared_parts_need_only_the_standard_library(part: str) -> None:
    path = PROJECT / "training" / "engine" / f"{part.replace('.', '/')}.py"
    foreign = {
        n
        for n in imported(path)
        if n.split(".")[0] not in sys.stdlib_module_names and not n.startswith(("training.engine", "training.suite"))
    }
    assert not foreign, foreign


def test_nobody_outside_the_engine_imports_heavy_libraries() -> None:
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for app in ORDER
        for path in sources(app)
        if not is_engine(path)
        for name in imported(path)
        if name.split(".")[0] in HEAVY
    ]
    assert not wrong, wrong


def test_no_product_module_imports_the_oracle() -> None:
    """mergekit is LGPL: the tests compare with it, and nothing that is installed for use needs it."""
    wrong = [
        f"{path.relative_to(PROJECT)} imports {name}"
        for app in ORDER
        for path in sources(app)
        for name in imported(path)
        if name.split(".")[0] == "mergekit"
    ]
    assert not wrong, wrong


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_web_and_the_worker_load_without_torch() -> None:
    run_python(
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'config.settings.test'; import tests.cluster\n"
        "import django; django.setup(); import config.urls; from config.celery import app; app.loader.import_default_modules()\n"
        "import config.wsgi\n"
        f"loaded = set({sorted(HEAVY)!r}) & set(sys.modules)\n"
        "assert not loaded, loaded"
    )


@pytest.mark.engine
def test_every_engine_module_loads_without_django() -> None:
    modules = [
        ".".join(path.relative_to(PROJECT).with_suffix("").parts)
        for path in sources("training/engine")
        if path.name not in {"__main__.py", "__init__.py"}
    ]
    run_python(f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\nassert 'django' not in sys.modules")
