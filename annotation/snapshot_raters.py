"""Who is behind a snapshot's answers, without saying who: raters numbered for this data set alone, fields only where several share one."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from django.db import connection
from django.db.models import F, Func, QuerySet

from accounts.models import Profile, Specialty
from annotation.models import Judgement, Snapshot, SnapshotEvidence

# A field shared by fewer raters of a data set could name one of them.
SHARED_BY = 3

# Where each rater's first answer stands: most are told by its pair alone, the others by what was said of that pair.
_IN_ORDER = """
SELECT annotator FROM (
    SELECT DISTINCT ON (heard.annotator_id) heard.annotator_id AS annotator, heard.place, j.verdict, j.harm_first, j.harm_second,
        md5(j.rationale) AS rationale, j.id
    FROM (SELECT annotator_id, min(place) AS place FROM snapshot_heard GROUP BY annotator_id) AS first
    JOIN snapshot_heard heard ON heard.annotator_id = first.annotator_id AND heard.place = first.place
    JOIN annotation_judgement j ON j.id = heard.id
    ORDER BY heard.annotator_id, j.verdict, j.harm_first, j.harm_second, md5(j.rationale), j.id
) AS told ORDER BY place, verdict, harm_first, harm_second, rationale, id
"""


class Rater(NamedTuple):
    """One rater of a snapshot: the account's id, which never leaves the house, the number they have in it, and their field or None."""

    user: int
    name: str
    field: str | None


def heard(snapshot: Snapshot) -> "QuerySet[SnapshotEvidence, int]":
    """The ids of the answers it was made from, as a subquery: a million of them never come into this process."""
    evidence = SnapshotEvidence.objects.filter(snapshot=snapshot)
    return evidence.annotate(one=Func(F("judgements"), function="unnest")).values_list("one", flat=True)


def votes_listed(snapshot: Snapshot) -> bool:
    """Whether its evidence says which answers counted as votes; of what was frozen before that, it follows from the answers."""
    return SnapshotEvidence.objects.filter(snapshot=snapshot).exclude(votes=[]).exists()


def of_gathered() -> list[Rater]:
    """Every rater of a snapshot that is gathered (`annotation.snapshot_heard`), numbered in the order in which its content names them.

    A number so says nothing of who joined first, and nothing outside this data set.
    """
    with connection.cursor() as cursor:
        cursor.execute(_IN_ORDER)
        users = [user for (user,) in cursor.fetchall()]
    width, fields = len(str(len(users))), _fields(users)
    return [Rater(user, f"r{place:0{width}}", fields.get(user)) for place, user in enumerate(users, start=1)]


def _fields(users: Iterable[int]) -> dict[int, str]:
    """The main field of each rater whose field is shared by enough others."""
    profiles = dict(Profile.objects.filter(user__in=users).values_list("user", "specialties"))
    main = {user: specialties[0] for user, specialties in profiles.items() if specialties}
    shared = Counter(main.values())
    return {user: field for user, field in main.items() if shared[field] >= SHARED_BY}


def spoke(snapshot: Snapshot) -> list[int]:
    """The accounts of those who were heard."""
    told = Judgement.objects.filter(pk__in=heard(snapshot)).values_list("assignment__annotator", flat=True)
    return list(told.distinct().order_by())


def cohorts(raters: list[int]) -> tuple[dict[str, int], int]:
    """(raters by main field, as its label, where enough share it; the rest). Who they are cannot be told from it."""
    shared = Counter(Specialty(field).label for field in _fields(raters).values())
    return dict(sorted(shared.items())), len(raters) - shared.total()
