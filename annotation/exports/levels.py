"""How much of what raters said may leave: three levels above none, each a set of fields that is taken out. Pure.

After REDCap's export rights: "de-identified" drops what somebody wrote and when, "tagged" drops the fields that are tagged as telling of a
person's session, "full" drops nothing. Raters are numbered and fields told in bands at every level.
"""

DEIDENTIFIED, UNTAGGED, FULL = "deidentified", "untagged", "full"
# From least to most: who may export at one level may export at those before it.
ORDER = (DEIDENTIFIED, UNTAGGED, FULL)
LABELS = {
    DEIDENTIFIED: "De-identified",
    UNTAGGED: "Tagged fields removed",
    FULL: "Full",
}
EXPLAINED = {
    DEIDENTIFIED: "without anything a rater wrote (reasons in words, edited texts) and without times",
    UNTAGGED: "with what raters wrote, without the fields tagged as telling of their sessions: when, and for how long",
    FULL: "everything that is exported at all; asks for the password again and for a reason",
}
# The tag: fields of a rater's session that could be laid beside a duty roster.
TAGGED = frozenset({"served_at", "submitted_at", "active_ms"})
# What a person wrote, in words of their own.
FREE_TEXT = frozenset({"rationale", "edited_text"})


def removed(level: str) -> frozenset[str]:
    """The fields that are not in an export of this level. Raises KeyError for a level that does not exist."""
    return {DEIDENTIFIED: TAGGED | FREE_TEXT, UNTAGGED: TAGGED, FULL: frozenset()}[level]


def within(level: str, most: str) -> bool:
    """Whether somebody who may export at `most` may export at `level`; nobody may with no level at all ("")."""
    return level in ORDER and most in ORDER and ORDER.index(level) <= ORDER.index(most)
