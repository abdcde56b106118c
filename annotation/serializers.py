"""What the API says. Nothing here names a model, a system, a run, or which completion stands on which side."""

from typing import Any

from rest_framework import serializers

from accounts.models import Specialty
from annotation.answers import MAX_ACTIVE_MS, MAX_EDIT, MAX_RATIONALE, MAX_REASONS, MAX_SPANS, SideVerdict, unix
from annotation.filters import MOST_HELD_OUT, Asked
from annotation.models import Assignment, Campaign, CannotJudge, Hard, Harm, Judgement, Sample, Severity, Snapshot

SIDES = [("a", "A"), ("b", "B")]
MAX_OFFSET = 10_000_000


class SampleSerializer(serializers.ModelSerializer[Sample]):
    source = serializers.SlugRelatedField[Any](slug_field="name", read_only=True)  # type: ignore[assignment]

    class Meta:
        model = Sample
        fields = [
            "id", "source", "external_id", "digest", "task_type", "input_data", "output_format", "difficulty_level", "split",
            "instruction", "input", "output", "created_at",
        ]  # fmt: skip
        read_only_fields = fields


class CampaignSerializer(serializers.ModelSerializer[Campaign]):
    id = serializers.UUIDField(source="public_id", read_only=True)
    rubric = serializers.JSONField(source="rubric.content", read_only=True, help_text="What is asked: axes, reasons, kinds of error.")
    rationale_when = serializers.ListField(child=serializers.CharField(), read_only=True, help_text="When a few words are required.")

    class Meta:
        model = Campaign
        fields = [
            "id", "name", "purpose", "state", "guideline", "rubric", "rationale_when", "overlap", "toy", "simulated", "external",
            "opened_at", "closed_at",
        ]  # fmt: skip
        read_only_fields = fields


class ComparisonSerializer(serializers.Serializer[Assignment]):
    """A leased comparison: the input, and two completions as A and B."""

    id = serializers.UUIDField(source="public_id", read_only=True)
    campaign = serializers.UUIDField(source="campaign.public_id", read_only=True)
    expires_at = serializers.DateTimeField(read_only=True, help_text="Until then it is yours. Answer later, and it may be kept as surplus.")
    instruction = serializers.CharField(source="pair.prompt.sample.instruction", read_only=True)
    input = serializers.CharField(source="pair.prompt.sample.input", read_only=True)
    a = serializers.SerializerMethodField()
    b = serializers.SerializerMethodField()

    def get_a(self, assignment: Assignment) -> str:
        return (assignment.pair.first if assignment.first_on_left else assignment.pair.second).text

    def get_b(self, assignment: Assignment) -> str:
        return (assignment.pair.second if assignment.first_on_left else assignment.pair.first).text


class SpanSerializer(serializers.Serializer[Any]):
    """A marked part of one side, in code points of its text: `start` ≤ i < `end`. An omission may be a place: `start` = `end`."""

    side = serializers.ChoiceField(choices=SIDES)
    start = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET)
    end = serializers.IntegerField(min_value=0, max_value=MAX_OFFSET)
    kind = serializers.CharField(max_length=40, help_text="A key of the rubric's kinds of error.")
    severity = serializers.ChoiceField(choices=Severity.choices)


class AnswerSerializer(serializers.Serializer[Any]):
    """An answer, by side: A is `a`, B is `b` of the comparison. Only the verdict is always needed; the campaign says what else is."""

    verdict = serializers.ChoiceField(choices=SideVerdict.choices)
    cannot_reason = serializers.ChoiceField(choices=CannotJudge.choices, required=False, help_text="With `cannot_judge`, and only then.")
    reasons = serializers.ListField(
        child=serializers.CharField(max_length=40), required=False, max_length=MAX_REASONS, help_text="Keys of the rubric's reasons."
    )
    axes = serializers.DictField(
        child=serializers.JSONField(),
        required=False,
        help_text='By the rubric\'s keys: a number, positive towards A, or {"a": n, "b": n}.',
    )
    harm_a = serializers.ChoiceField(choices=Severity.choices, required=False, allow_blank=True)
    harm_a_type = serializers.ChoiceField(choices=Harm.choices, required=False, allow_blank=True)
    harm_b = serializers.ChoiceField(choices=Severity.choices, required=False, allow_blank=True)
    harm_b_type = serializers.ChoiceField(choices=Harm.choices, required=False, allow_blank=True)
    hard = serializers.ChoiceField(choices=Hard.choices, required=False, allow_blank=True, help_text="Why it was hard to say.")
    rationale = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_RATIONALE)
    spans = SpanSerializer(many=True, required=False)
    edited_text = serializers.CharField(required=False, allow_blank=True, trim_whitespace=False, max_length=MAX_EDIT)
    edited_side = serializers.ChoiceField(
        choices=SIDES, required=False, allow_blank=True, help_text="Needed where neither side is preferred."
    )
    active_ms = serializers.IntegerField(required=False, min_value=0, max_value=MAX_ACTIVE_MS, help_text="Milliseconds spent on it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["verdict"] == SideVerdict.CANNOT_JUDGE) != ("cannot_reason" in attrs):
            raise serializers.ValidationError({"cannot_reason": "“Cannot judge” takes one of its reasons; no other verdict takes one."})
        for value in attrs.get("axes", {}).values():
            if not _is_number(value) and not _is_of_each_side(value):
                raise serializers.ValidationError({"axes": "Each is a whole number, or one for each side."})
        if len(attrs.get("spans", [])) > MAX_SPANS:
            raise serializers.ValidationError({"spans": f"{MAX_SPANS} marks at most."})
        return attrs

    def said(self) -> dict[str, Any]:
        """What was sent under the names `answers.from_sides` knows. Only after `is_valid()`."""
        sent: dict[str, Any] = dict(self.validated_data)
        sent["edited"] = unix(sent.pop("edited_text", ""))
        sent["rationale"] = unix(sent.get("rationale", ""))
        return sent


def _is_of_each_side(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"a", "b"} and all(map(_is_number, value.values()))


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_OFFSET


class JudgementSerializer(serializers.Serializer[Judgement]):
    """A receipt: that it was stored, and whether it counts or is kept as surplus."""

    assignment = serializers.UUIDField(source="assignment.public_id", read_only=True)
    revision = serializers.IntegerField(read_only=True)
    surplus = serializers.BooleanField(read_only=True)
    submitted_at = serializers.DateTimeField(read_only=True)


class SnapshotSerializer(serializers.ModelSerializer[Snapshot]):
    id = serializers.UUIDField(source="public_id", read_only=True)
    campaign = serializers.UUIDField(source="campaign.public_id", read_only=True)
    counts = serializers.DictField(read_only=True)

    class Meta:
        model = Snapshot
        fields = ["id", "name", "campaign", "digest", "filters", "counts", "toy", "simulated", "external", "frozen_at"]
        read_only_fields = fields


class AskedSerializer(serializers.Serializer[Any]):
    """Which campaign, and what of its judgements is asked for; whatever is not named narrows nothing."""

    campaign = serializers.UUIDField()
    min_judgements = serializers.IntegerField(required=False, min_value=1, max_value=20, help_text="A pair.")
    task_types = serializers.ListField(child=serializers.CharField(max_length=60), required=False)
    document_types = serializers.ListField(child=serializers.CharField(max_length=80), required=False)
    fields_of_raters = serializers.ListField(
        child=serializers.ChoiceField(choices=Specialty.choices), required=False, help_text="Any of which a rater must have given."
    )
    since = serializers.DateField(required=False, help_text="Judged on this day (UTC) or later.")
    until = serializers.DateField(required=False, help_text="Judged on this day (UTC) or before.")
    exclude_external = serializers.BooleanField(required=False)
    exclude_simulated = serializers.BooleanField(required=False)
    min_margin = serializers.FloatField(required=False, min_value=0, max_value=0.99, help_text="p(chosen) − p(rejected).")
    drop_near_identical = serializers.BooleanField(required=False, help_text="Leave out pairs whose two texts are nearly the same.")
    hold_out_raters = serializers.FloatField(
        required=False, min_value=0, max_value=MOST_HELD_OUT,
        help_text="Share of raters whose votes train nothing and label the evaluation pairs.",
    )  # fmt: skip
    hold_out_seed = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1, help_text="Of their draw; 1 unless said.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("since") and attrs.get("until") and attrs["since"] > attrs["until"]:
            raise serializers.ValidationError({"until": "The first day comes after the last."})
        return attrs

    def asked(self) -> Asked:
        """The filters as `snapshots.freeze` takes them. Only after `is_valid()`."""
        said = {name: value for name, value in self.validated_data.items() if name not in {"campaign", "name", "model", "tokens"}}
        if "fields_of_raters" in said:
            said["fields"] = said.pop("fields_of_raters")
        return Asked(**said)  # type: ignore[typeddict-item]  # named as the filters are


class FreezeSerializer(AskedSerializer):
    name = serializers.CharField(max_length=120)


class LookSerializer(AskedSerializer):
    model = serializers.UUIDField(required=False, help_text="Whose tokenizer counts, and whose context must hold a pair.")
    tokens = serializers.IntegerField(required=False, min_value=16, max_value=10_000_000, help_text="Tokens that must hold a pair.")


class CheckSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    state = serializers.ChoiceField(choices=[("ok", "ok"), ("warn", "read this first"), ("stop", "may not be frozen")])
    detail = serializers.CharField()
    fix = serializers.CharField(allow_blank=True)


class StepSerializer(serializers.Serializer[Any]):
    """Rows whose soft target lies in [`low`, `high`)."""

    low = serializers.FloatField()
    high = serializers.FloatField()
    rows = serializers.IntegerField()


class AheadSerializer(serializers.Serializer[Any]):
    """What holding out this share of raters would leave of the campaign's judged pairs, at most."""

    share = serializers.FloatField()
    raters = serializers.IntegerField(help_text="How many are held out.")
    training = serializers.IntegerField(help_text="Pairs of train and validation split that somebody else judged.")
    evaluation = serializers.IntegerField(help_text="Evaluation pairs of raters whose votes would train nothing.")


class LintSerializer(serializers.Serializer[Any]):
    """What freezing would give now. Nothing is stored."""

    clear = serializers.BooleanField(help_text="Nothing stops it.")
    checks = CheckSerializer(many=True)
    used = serializers.DictField(child=serializers.IntegerField(), help_text="Rows by split.")
    dropped = serializers.DictField(child=serializers.IntegerField(), help_text="Pairs left out, by reason.")
    targets = StepSerializer(many=True)
    held_out_raters = AheadSerializer(many=True, help_text="By share, none first; empty where only one person judged.")


class JobSerializer(serializers.Serializer[Any]):
    """What is made in the background: ask again until it is there."""

    job = serializers.UUIDField()
    state = serializers.CharField()
    done = serializers.IntegerField()
    total = serializers.IntegerField()
