"""Versions and their lineage."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.utils import InternalError, ProgrammingError

from accounts.models import AuditEntry, User
from modelhub import artifacts, lineage, versions
from modelhub.errors import NameTaken
from modelhub.lineage import Branch
from modelhub.models import LineageEdge, ModelVersion
from tests.modelhub import family

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def outline(branch: Branch, depth: int = 0) -> list[str]:
    """The tree as indented lines, for eyes."""
    name = branch.version.name if branch.version else f"{branch.source_kind} {branch.source_label}"
    line = "  " * depth + (f"{branch.role}: " if branch.role else "") + name + (" (again)" if branch.repeated else "")
    return [line, *[line for above in branch.branches for line in outline(above, depth + 1)]]


def test_the_lineage_of_a_dpo_model_reaches_base_and_snapshot(model_folder: Make, django_assert_num_queries: Any) -> None:
    dpo = family.build(model_folder)["dpo"]
    with django_assert_num_queries(2):
        tree = versions.ancestors(dpo)
    assert outline(tree) == [
        "dpo",
        "  policy: sft",
        "    policy: merged",
        "      base: base",
        "      expert:pubmed: pubmed-slerp",
        "        expert: pubmed",
        "          base: base",
        "        base: base",
        "      expert:clinical: clinical-slerp",
        "        expert: clinical",
        "          base: base",
        "        base: base",
        "      expert:medcode: medcode-slerp",
        "        expert: medcode",
        "          base: base",
        "        base: base",
        "      expert:guideline: guideline-slerp",
        "        expert: guideline",
        "          base: base",
        "        base: base",
        "      expert:medwiki: medwiki-slerp",
        "        expert: medwiki",
        "          base: base",
        "        base: base",
        "  preferences: snapshot first round",
    ]


def test_what_was_unfolded_once_is_only_named_again(model_folder: Make) -> None:
    made = family.build(model_folder)
    artifact = artifacts.save(artifacts.stage(folder=model_folder("twice", value=99.0)))
    twice = versions.register(
        name="twice", kind="merged", artifact=artifact, parents=[(made["pubmed"], "a"), (made["pubmed-slerp"], "b")], actor=None
    )
    assert outline(versions.ancestors(twice)) == [
        "twice",
        "  a: pubmed",
        "    base: base",
        "  b: pubmed-slerp",
        "    expert: pubmed (again)",
        "    base: base",
    ]


def test_the_drawing_has_a_row_for_each_generation(model_folder: Make) -> None:
    made = family.build(model_folder)
    drawing = lineage.draw(made["dpo"], lineage.edges_above(made["dpo"]))
    rows: dict[float, set[str]] = {}
    for box in drawing.boxes:
        rows.setdefault(box.y, set()).add(box.label)
    assert [labels for _, labels in sorted(rows.items())] == [
        {"dpo"},
        {"sft", "first round"},
        {"merged"},
        {f"{domain}-slerp" for domain in family.DOMAINS},
        set(family.DOMAINS),
        {"base"},
    ]
    assert len({(box.x, box.y) for box in drawing.boxes}) == len(drawing.boxes) == 15
    # dpo to sft and snapshot, sft to merged, and three times five; merged to base, and blends to base, are reached by longer ways
    assert len(drawing.paths) == 2 + 1 + 5 + 5 + 5
    for box in drawing.boxes:
        assert 0 <= box.x <= drawing.width - box.width
        assert 0 <= box.y <= drawing.height - box.height


def test_an_only_parent_stands_right_below_its_child(model_folder: Make) -> None:
    made = family.build(model_folder)
    across = {box.label: box.x for box in lineage.draw(made["dpo"], lineage.edges_above(made["dpo"])).boxes}
    assert [across[domain] for domain in family.DOMAINS] == [across[f"{domain}-slerp"] for domain in family.DOMAINS]


def test_a_version_knows_what_its_files_say(model_folder: Make, dan: User) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    version = versions.register(name="tiny", kind="base", artifact=artifact, licence="apache-2.0", actor=dan)
    assert (version.architecture, version.parameters, version.licence) == ("Phi3ForCausalLM", 28, "apache-2.0")
    assert len(version.tokenizer_digest) == len(version.chat_template_digest) == 64
    entry = AuditEntry.objects.get(verb="model.registered")
    assert (entry.actor_name, entry.object_id) == ("dan", str(version.public_id))


def test_one_job_makes_one_version(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    first = versions.register(name="a", kind="base", artifact=artifact, origin="job-1", actor=None)
    assert versions.register(name="b", kind="base", artifact=artifact, origin="job-1", actor=None) == first
    assert ModelVersion.objects.count() == 1
    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.create(name="c", kind="base", artifact=artifact, origin="job-1")


def test_a_name_is_given_once(model_folder: Make) -> None:
    artifact = artifacts.save(artifacts.stage(folder=model_folder()))
    versions.register(name="a", kind="base", artifact=artifact, actor=None)
    with pytest.raises(NameTaken, match="“a”"):
        versions.register(name="a", kind="base", artifact=artifact, actor=None)
    assert AuditEntry.objects.filter(verb="model.registered").count() == 1


def test_no_circle_can_be_written(model_folder: Make) -> None:
    made = family.build(model_folder)
    with pytest.raises(IntegrityError, match="parents_are_older"), transaction.atomic():
        LineageEdge.objects.create(child=made["base"], parent=made["dpo"], role="policy")


def test_lineage_is_for_ever(model_folder: Make) -> None:
    family.build(model_folder)
    for change in (lambda: LineageEdge.objects.update(role="x"), lambda: LineageEdge.objects.all().delete()):
        with pytest.raises((InternalError, ProgrammingError), match="Cannot"), transaction.atomic():
            change()
