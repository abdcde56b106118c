"""The merge lab's YAML: mergekit's (training.mergekit_yaml) with models by the names they have here, beside the form's fields."""

from dataclasses import dataclass

from modelhub.models import ModelVersion
from training import merge_drafts, mergekit_yaml
from training.engine import recipes
from training.engine.recipes import Recipe


class Unreadable(ValueError):
    """`problems` are (line from 1, or None where the text as a whole is meant; what is wrong)."""

    def __init__(self, problems: list[tuple[int | None, str]]) -> None:
        super().__init__("; ".join(problem for _, problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Read:
    """`notes` say what was read otherwise than mergekit would read it."""

    recipe: Recipe
    versions: dict[str, ModelVersion]
    notes: tuple[str, ...]


def read(text: str) -> Read:
    """A recipe of models that are here. Raises Unreadable with every problem at its line."""
    try:
        document = mergekit_yaml.read(text)
    except mergekit_yaml.BadYaml as bad:
        raise Unreadable([(each.line, f"{each.field} {each.text}".strip()) for each in bad.problems]) from None
    recipe = document.recipe
    if recipe.steps:
        line = _line_of(text, next(iter(recipe.steps)))
        raise Unreadable([(line, "several merges in one text are not for this form: run the first, and choose its model as an expert")])
    found = {version.name: version for version in ModelVersion.objects.filter(name__in=recipe.models()).select_related("artifact")}
    if absent := [name for name in recipe.models() if name not in found]:
        raise Unreadable(
            [(_line_of(text, name), f"no model here is called “{name[:80]}”: import it, or write its name here") for name in absent]
        )
    unsaid = [rule.filter for _, rule in recipes.rules(recipe) if rule.filter and set(rule.filter) & set(";\n:,")]
    if unsaid:
        raise Unreadable([(_line_of(text, unsaid[0]), f"“{unsaid[0][:40]}” is part of no tensor's name")])
    return Read(merge_drafts.spelled(recipe), found, document.notes)


def write(recipe: Recipe) -> str:
    """Empty where mergekit has no words for it: a model whose name it would take apart."""
    try:
        return mergekit_yaml.write(recipe)
    except ValueError:
        return ""


def means(text: str, recipe: Recipe) -> bool:
    """Whether `text` says just this recipe, in whatever words and with whatever comments."""
    try:
        return merge_drafts.spelled(mergekit_yaml.read(text).recipe) == recipe
    except mergekit_yaml.BadYaml:
        return False


def _line_of(text: str, name: str) -> int | None:
    return next((number for number, line in enumerate(text.split("\n"), start=1) if name in line), None)
