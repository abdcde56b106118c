"""Our own prompts for synthesis, by version: a changed word is another version, and each run keeps the digests of those it used.

The paper (arXiv 2505.10717, appendix A.4 to A.7) paraphrases its prompts and publishes no scale; wording and scale here are ours.
"""

import re
from hashlib import sha256
from typing import Any

from training.engine.grammar.grid import CRITERIA, ERRORS, HIGHEST, LOWEST

VERSION = "1"

WRITE = """You are an expert user who sets tasks for a clinical language model. Write one detailed instruction for one precise task, with \
clear constraints, then {examples} examples of it.

Task type: {task}
Input: {document}; in particular: {part}
Output format: {format}
Level on a scale of six (low, moderate, moderate-hard, hard, very hard, extreme): {difficulty}. Do not name the level.

The instruction covers what the input is, what is to be done and what the answer looks like. It may use bullets, sections or prose, \
synonyms instead of the words above, and no Markdown. The examples are not obvious, ask for inference, and are difficult rather than easy. \
Invent everything: no real person.

Answer in exactly these tags and nothing else:
<instruction>…</instruction>
<examples>
<example>
<input>…</input>
<output>…</output>
</example>
</examples>"""

SCALE = {
    "quality": "1 careless or unusable, 2 vague, 3 detailed, 4 detailed, constrained and without a gap",
    "alignment": "1 another task, input or output than required, 2 one of them missing, 3 all there, 4 all there and fitting each other",
    "coherence": "1 contradicts itself, 2 hard to follow, 3 clear, 4 clear and in a good order",
    "realism": "1 nobody would ask this, 2 contrived, 3 plausible in a clinic, 4 as a clinician would ask it",
    "difficulty": "1 trivial, 2 easy for a student, 3 takes a clinician's attention, 4 takes an expert's inference",
}

JUDGE = """You are the best designer of instructions in the medical field. Judge the instruction below. It should be very detailed and \
constrained, define task, input and output clearly, may hold examples, and use no Markdown and no comments.

{scale}

Think about each criterion first, then score it with a whole number from {lowest} to {highest}. Answer with one JSON object and nothing \
else: each of {criteria} maps to an object with "rationale" and "score".

Instruction:
{instruction}"""

SPOIL = """You introduce subtle flaws. Below are an instruction, an input and a good output. Write another output that is only slightly \
worse and still looks reasonable, with exactly one kind of flaw: {error}.

Kinds of flaws:
{definitions}

Answer with one JSON object and nothing else: {{"error_type": "{error}", "rejected_output": "…"}}

Instruction:
{instruction}

Input:
{input}

Output:
{output}"""

COMPARE = """Two answers to the same instruction and input. Which one is better for a clinician: more correct, more complete, no longer \
than it need be? Give your reasons first. Answer with one JSON object and nothing else: {{"rationale": "…", "better": "A"}} or "B".

Instruction:
{instruction}

Input:
{input}

Answer A:
{first}

Answer B:
{second}"""

OUTPUTS = {
    "summary": 'a summary of the document in a few sentences: {"summary": "…"}',
    "qa": 'about five questions that the document answers, each with its answer: {"qa": [["question", "answer"], …]}',
    "entities": 'the medical entities it names, each once: {"entities": ["…", …]}',
    "relations": 'the relations it states between medical entities: {"relations": [["subject", "relation", "object"], …]}',
}

READ = """Read the document below and give {wanted}. Use only what it says. Answer with that JSON object and nothing else.

Document:
{text}"""

DEFINITIONS = {
    "ambiguity": "something becomes vague that was clear", "partial correctness": "a part of what was asked is missing",
    "over-verbosity": "more words than the matter needs", "brevity": "too short to be of use",
    "unbalanced detail": "too much of one point, too little of another", "stylistic issues": "a tone that does not fit",
    "factual inaccuracy": "a fact, name or figure is wrong", "logical flaws": "a conclusion that does not follow",
    "misinterpretation": "the input or the instruction is misread", "simplistic reasoning": "a shortcut in place of the evidence",
    "grammatical errors": "grammar is broken", "spelling errors": "words are misspelt",
}  # fmt: skip
assert tuple(DEFINITIONS) == ERRORS

_SCORED: dict[str, Any] = {
    "type": "object", "properties": {"rationale": {"type": "string"}, "score": {"type": "integer", "minimum": LOWEST, "maximum": HIGHEST}},
    "required": ["rationale", "score"], "additionalProperties": False,
}  # fmt: skip


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# What a server is asked to keep to where a stage wants JSON.
SCHEMAS: dict[str, dict[str, Any]] = {
    "judge": _object(**dict.fromkeys(CRITERIA, _SCORED)),
    "reject": _object(error_type={"enum": list(ERRORS)}, rejected_output={"type": "string"}),
    "compare": _object(rationale={"type": "string"}, better={"enum": ["A", "B"]}),
}
ALL = {
    "write": WRITE,
    "judge": JUDGE + repr(SCALE),
    "reject": SPOIL + repr(DEFINITIONS),
    "compare": COMPARE,
    "outputs": READ + repr(OUTPUTS),
}


def used(*names: str) -> dict[str, dict[str, str]]:
    """Version and digest of prompts, as a run keeps them."""
    return {name: {"version": VERSION, "digest": sha256(ALL[name].encode()).hexdigest()} for name in names}


def scale() -> str:
    return "\n".join(f"{name}: {said}" for name, said in SCALE.items())


def steps(criterion: str) -> dict[int, str]:
    """Score → what it stands for, of one criterion; the words may have commas of their own."""
    found = {int(value): words for value, words in re.findall(r"(\d) (.+?)(?=, \d |$)", SCALE[criterion])}
    assert tuple(found) == tuple(range(LOWEST, HIGHEST + 1)), criterion
    return found


def definitions() -> str:
    return "\n".join(f"- {name}: {said}" for name, said in DEFINITIONS.items())
