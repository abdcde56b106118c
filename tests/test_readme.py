"""The annotated tree in the README names every file there is, and none that is not."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
PACKAGES = ("accounts", "annotation", "benchmarks", "config", "docs", "jobs", "modelhub", "static", "templates", "tests", "training", "web")
UNTOLD = {".png", ".pyc"}


def named() -> set[str]:
    """The paths of the README's tree, put together from its indentation."""
    block = (PROJECT / "README.md").read_text(encoding="utf-8").split("## What lies where")[1].split("```")[1]
    found, above = set(), list[str]()
    for line in block.strip("\n").splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        above = above[:depth]
        if name.endswith("/"):
            above.append(name.rstrip("/"))
        else:
            found.add("/".join([*above, name]))
            assert len(line.split()) > 1, f"{name} has no word beside it"
    return found


def present() -> set[str]:
    return {
        str(path.relative_to(PROJECT))
        for package in PACKAGES
        for path in (PROJECT / package).rglob("*")
        if path.is_file() and path.suffix not in UNTOLD and not (path.name == "__init__.py" and path.stat().st_size == 0)
    }


def test_every_file_has_its_line() -> None:
    assert present() - named() == set()


def test_no_line_names_a_file_that_is_gone() -> None:
    assert {name for name in named() if not (PROJECT / name).exists()} == set()
