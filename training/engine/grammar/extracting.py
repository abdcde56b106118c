"""Task outputs of a document for pre-instruction tuning, taken from its own sentences: summary, questions, entities, relations.

Extraction by pattern, for use without a model: what it says stands in the document word for word. Standard library only.
"""

from __future__ import annotations

import re
from typing import Any

_VERBS = (
    r"is|are|was|were|causes|cause|treats|treat|includes|include|affects|affect|means|requires|require|contains|indicates|reduces|increases"
)
_FACT = re.compile(rf"^(?:The |A |An |In \w+, )?([A-Z]?[\w'’ ,/-]{{2,60}}?) ({_VERBS}) (.{{3,160}})$")


def outputs(text: str, kind: str) -> Any:
    """The output of a kind ("summary", "qa", "entities", "relations"); None where the document has nothing for it."""
    sentences = [one.strip() for one in re.split(r"(?<=[.!?])\s+|\n+", text) if len(one.split()) > 2]
    if not sentences:
        return None
    facts = [found for one in sentences if (found := _FACT.match(one.rstrip(".!? ")))]
    match kind:
        case "summary":
            return " ".join(sentences[: max(1, min(3, len(sentences) // 3))])
        case "qa":
            asked = [
                [f"What does the document say about {found[1].strip()}?", f"{found[1].strip()} {found[2]} {found[3].strip()}."]
                for found in facts
            ]
            return asked[:5] or [["What does the document say first?", sentences[0]]]
        case "entities":
            named = re.findall(
                r"\b(?:[A-Z][\w-]+(?: [A-Z][\w-]+)+|[A-Z]{2,}\d*|\w+(?:itis|osis|aemia|emia|oma|ine|pril|olol|statin))\b", text
            )
            return list(dict.fromkeys(named))[:20] or None
        case "relations":
            return [[found[1].strip(), found[2], found[3].strip()] for found in facts][:10] or None
    raise ValueError(kind)
