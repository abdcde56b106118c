"""What the API says. Nothing here names a model, a system, a run, or which completion stands on which side."""

from typing import Any

from rest_framework import serializers

from annotation.judgements import SideVerdict
from annotation.models import Assignment, Campaign, CannotJudge, Judgement, Sample, Snapshot


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

    class Meta:
        model = Campaign
        fields = ["id", "name", "purpose", "state", "guideline", "overlap", "toy", "simulated", "opened_at", "closed_at"]
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


class VerdictSerializer(serializers.Serializer[Any]):
    """An answer, by side."""

    verdict = serializers.ChoiceField(choices=SideVerdict.choices)
    cannot_reason = serializers.ChoiceField(choices=CannotJudge.choices, required=False, help_text="With `cannot_judge`, and only then.")
    rationale = serializers.CharField(required=False, allow_blank=True, max_length=2000)
    active_ms = serializers.IntegerField(required=False, min_value=0, max_value=86_400_000, help_text="Milliseconds spent on it.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["verdict"] == SideVerdict.CANNOT_JUDGE) != ("cannot_reason" in attrs):
            raise serializers.ValidationError({"cannot_reason": "“Cannot judge” takes one of its reasons; no other verdict takes one."})
        return attrs


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
        fields = ["id", "name", "campaign", "digest", "counts", "toy", "simulated", "frozen_at"]
        read_only_fields = fields


class FreezeSerializer(serializers.Serializer[Any]):
    campaign = serializers.UUIDField()
    name = serializers.CharField(max_length=120)
