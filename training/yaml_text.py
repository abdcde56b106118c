"""YAML as hostile text: few, shallow, plain nodes with their lines, or every reason why not. Nothing of it is ever executed."""

from dataclasses import dataclass

import yaml

# Far above any real recipe, and far below what costs anything to read.
MOST_BYTES = 65_536
MOST_NODES = 20_000
DEEPEST = 12


@dataclass(frozen=True)
class Problem:
    """``line`` counts from 1; null where the text as a whole is meant."""

    line: int | None
    field: str
    text: str

    def __str__(self) -> str:
        return f"{f'line {self.line}: ' if self.line else ''}{f'{self.field} ' if self.field else ''}{self.text}"


class BadYaml(ValueError):
    """The text is no recipe. ``problems`` are all that were found, in order of line."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("; ".join(map(str, self.problems)))


def documents(text: str) -> list[yaml.MappingNode]:
    """The text's documents as nodes, once its events are known to be few, shallow and free of anchors and tags."""
    if len(text.encode("utf-8", "surrogatepass")) > MOST_BYTES:
        raise BadYaml([Problem(None, "", f"the text has more than {MOST_BYTES} bytes")])
    try:
        depth = 0
        for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
            line = event.start_mark.line + 1 if event.start_mark else None
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise BadYaml([Problem(line, "", "anchors and aliases are not read")])
            if getattr(event, "tag", None):
                raise BadYaml([Problem(line, "", "tags are not read")])
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST or count > MOST_NODES:
                raise BadYaml([Problem(line, "", "the text is nested too deeply" if depth > DEEPEST else "the text has too many parts")])
        found = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or "a character that YAML does not allow"
        raise BadYaml([Problem(mark.line + 1 if mark else None, "", f"is not YAML: {what}")]) from None
    if not found:
        raise BadYaml([Problem(None, "", "the text is empty")])
    made = []
    for node in found:
        if not isinstance(node, yaml.MappingNode):
            raise BadYaml([Problem(node.start_mark.line + 1, "", "a recipe is a mapping of keys, such as merge_method")])
        made.append(node)
    return made


class Mapping:
    """A mapping's entries by key, each with its line."""

    def __init__(self, node: yaml.MappingNode, path: str) -> None:
        self.line = node.start_mark.line + 1
        self.path = path
        self.nodes: dict[str, yaml.Node] = {}
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                self.problems.append(Problem(line, path, "has a key that is not plain text"))
            elif key.value in self.nodes:
                self.problems.append(Problem(line, join(path, key.value), "is given twice"))
            else:
                self.nodes[key.value] = value
                self.lines[key.value] = line


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
