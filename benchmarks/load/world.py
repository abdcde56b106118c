"""A campaign of any size, written with COPY: samples, two texts each, pairs, slots, and clinicians who have joined.

The rows are what the verbs would have written (tests/annotation/test_load_world.py compares them), without the hour that would take.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from typing import Any

from django.db import connection, models

WORDS = [
    *("patient", "admitted", "chest", "pain", "shortness", "breath", "surgery", "denies", "fever", "reports", "mild", "nausea", "exertion"),
    *("troponin", "normal", "twice", "electrocardiogram", "unchanged", "discharged", "aspirin", "started", "follow", "weeks", "renal"),
    *("function", "stable", "sodium", "potassium", "within", "range", "allergies", "history", "hypertension", "diabetes", "metformin"),
]
PASSWORD = "a-long-enough-passphrase"
GUIDELINE = "Read the input first. Judge what is correct and safe before what is complete, and both before style."


def copy(model: type[models.Model], names: Sequence[str], rows: Iterable[Sequence[Any]], **constant: Any) -> None:
    """COPY `rows` (values of the fields `names`) into `model`'s table; other columns get `constant`, else the field's default.

    Ids count from 1, so the table must be empty.
    """
    fields = {field.attname: field for field in model._meta.concrete_fields}
    rest = [
        field for name, field in fields.items()
        if name not in names and name != "id" and (name in constant or field.db_default is models.NOT_PROVIDED)
    ]  # fmt: skip
    same = [field.get_db_prep_save(constant.get(field.attname, field.get_default()), connection) for field in rest]
    columns = ", ".join(f'"{column}"' for column in ["id", *(fields[name].column for name in names), *(field.column for field in rest)])
    prepared = [fields[name].get_db_prep_save for name in names]
    with connection.cursor() as cursor:
        with cursor.copy(f'COPY "{model._meta.db_table}" ({columns}) FROM STDIN') as out:
            for number, row in enumerate(rows, start=1):
                out.write_row([number, *(prepare(value, connection) for prepare, value in zip(prepared, row, strict=True)), *same])
        cursor.execute(
            "SELECT setval(pg_get_serial_sequence(%s, 'id'), greatest(max(id), 1)) FROM " + model._meta.db_table, [model._meta.db_table]
        )


def texts(count: int, words: int, seed: int) -> Iterator[str]:
    draw = random.Random(seed)
    for number in range(1, count + 1):
        yield f"Case {number}: " + " ".join(draw.choices(WORDS, k=words))


def digest(*parts: object) -> str:
    return sha256(":".join(str(part) for part in parts).encode()).hexdigest()


def people(count: int) -> list[Any]:
    """Clinicians who have joined: role, consent, profile."""
    from django.contrib.auth.hashers import make_password

    from accounts import consents
    from accounts.models import Consent, Profile, Role, RoleGrant, User

    secret, text = make_password(PASSWORD), consents.current()
    made = User.objects.bulk_create([User(username=f"clinician-{n}", password=secret) for n in range(1, count + 1)])
    RoleGrant.objects.bulk_create([RoleGrant(user=user, role=Role.ANNOTATOR) for user in made])
    Consent.objects.bulk_create([Consent(user=user, text=text) for user in made])
    Profile.objects.bulk_create(
        [Profile(user=user, specialties=["cardiology"], profession="specialist", years=9, languages=["English"]) for user in made]
    )
    return made


def campaign(raters: Sequence[Any], *, pairs: int, overlap: int, audience: Any = None) -> Any:
    """An open campaign of `pairs` pairs, each to be judged `overlap` times by `raters`. `audience(position)` names each pair's audience.

    The tables it fills must be empty.
    """
    from django.utils import timezone

    from annotation import rubrics
    from annotation.models import Campaign, Completion, GenerationBatch, Membership, Pair, Prompt, Sample, Slot, Source

    source = Source.objects.create(name="made-up", licence="CC0-1.0")
    batches = [GenerationBatch.objects.create(system=name) for name in ("north", "south")]
    numbers = range(1, pairs + 1)
    inputs = list(texts(pairs, 40, seed=1))
    instruction = "Summarise the note in one sentence for the discharge letter."
    copy(
        Sample,
        ["external_id", "digest", "input", "split_key"],
        ((f"s{n}", digest("sample", n), text, digest("key", n)) for n, text in zip(numbers, inputs, strict=True)),
        source_id=source.pk, instruction=instruction, task_type="summarization", input_data="Discharge Summary",
        output_format="plain_text", difficulty_level="moderate", split="train", created_at=timezone.now(),
    )  # fmt: skip
    copy(
        Prompt,
        ["sample_id", "messages", "digest"],
        (
            (n, [{"role": "system", "content": instruction}, {"role": "user", "content": text}], digest("prompt", n))
            for n, text in zip(numbers, inputs, strict=True)
        ),
        layout="phi-3",
    )
    answers = zip(texts(pairs, 120, seed=2), texts(pairs, 120, seed=3), strict=True)
    copy(
        Completion,
        ["prompt_id", "batch_id", "text", "digest"],
        (
            (n, batch.pk, text, digest(text))
            for n, both in zip(numbers, answers, strict=True)
            for batch, text in zip(batches, both, strict=True)
        ),
        finish_reason="stop", tokens=160,
    )  # fmt: skip
    made = Campaign.objects.create(
        name="Discharge letters", guideline=GUIDELINE, rubric=rubrics.default(), overlap=overlap, state="open", opened_at=timezone.now(),
        protocol_digest="made for a load test", counts={"prompts": pairs, "pairs": pairs, "identical": 0, "single": 0},
    )  # fmt: skip
    Membership.objects.bulk_create([Membership(campaign=made, user=user, audiences=["specialty:cardiology"]) for user in raters])
    copy(
        Pair,
        ["prompt_id", "first_id", "second_id", "position"],
        ((n, 2 * n - 1, 2 * n, n - 1) for n in numbers),
        campaign_id=made.pk,
        stratum="summarization × Discharge Summary",
    )
    copy(
        Slot,
        ["pair_id", "number", "position", "first_on_left", "audience"],
        (
            (n, number, n - 1, (n + number) % 2 == 0, audience(n - 1) if audience else "")
            for n in numbers
            for number in range(1, overlap + 1)
        ),
        campaign_id=made.pk,
    )
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    return made


def answered_before(campaign: Any, rater: Any, count: int) -> None:
    """Let `rater` have judged the first `count` pairs, one slot of each: the other slots of those pairs stay open."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH taken AS (
                UPDATE annotation_slot SET open = false
                WHERE id IN (
                    SELECT DISTINCT ON (position) id FROM annotation_slot
                    WHERE campaign_id = %(campaign)s AND open AND reserved_for_id IS NULL AND pair_id NOT IN (
                        SELECT pair_id FROM annotation_assignment WHERE annotator_id = %(rater)s)
                    ORDER BY position, number LIMIT %(count)s
                ) RETURNING *
            ), held AS (
                INSERT INTO annotation_assignment (public_id, campaign_id, pair_id, slot_id, annotator_id, first_on_left, repeat,
                    lease_number, state, expires_at, submitted_at)
                SELECT gen_random_uuid(), campaign_id, pair_id, id, %(rater)s, first_on_left, 0, 1, 'submitted', now(), now()
                FROM taken ORDER BY position RETURNING id
            )
            SELECT count(*) FROM held
            """,
            {"campaign": campaign.pk, "rater": rater.pk, "count": count},
        )
        (found,) = cursor.fetchone()
        if found != count:
            raise RuntimeError(f"Only {found} pairs were left to be answered by {rater}.")
