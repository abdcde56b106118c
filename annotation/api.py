"""The API of samples, comparisons and snapshots. Thin: the same verbs as the pages, behind the same decisions."""

from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, status
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import access
from accounts.access import TRAINERS
from accounts.models import Role, User
from accounts.openapi import problems
from annotation import answers, assignments, freeze_jobs, judgements, lint, snapshots
from annotation.filters import Filters
from annotation.models import Assignment, Campaign, CampaignState, Sample, Snapshot
from annotation.serializers import (
    AnswerSerializer,
    CampaignSerializer,
    ComparisonSerializer,
    FreezeSerializer,
    JobSerializer,
    JudgementSerializer,
    LintSerializer,
    LookSerializer,
    SampleSerializer,
    SnapshotSerializer,
)
from jobs.models import Job
from modelhub.models import ModelVersion

RATERS = (Role.ANNOTATOR, Role.ADJUDICATOR)
READERS = (*TRAINERS, Role.STEWARD)
# Where the API's name for something differs from the form's.
API_NAMES = {"edited": "edited_text"}


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class Stale(Conflict):
    default_code = "stale"


class KeyMismatch(APIException):
    """A key came back with something else; nothing was stored."""

    status_code = status.HTTP_422_UNPROCESSABLE_ENTITY
    default_code = "idempotency.mismatch"


class NotNow(APIException):
    """Nothing is handed out to this rater here, for a reason that asking again does not change. `address` is where they can change it."""

    status_code = status.HTTP_403_FORBIDDEN
    default_code = "permission_denied"

    def __init__(self, detail: str, address: str = "") -> None:
        super().__init__(detail)
        self.address = address


# Why there is no pair, as assignments.why_none says it. "busy" and "nothing_left" are 204: there may be some later.
CLOSED_DOORS = {
    "paused": "The campaign is paused: what you hold you can still answer.",
    "closed": "The campaign has closed.",
    "deadline": "The campaign's deadline has passed.",
}
NOT_THEIRS = {
    "revoked": "You rate in this campaign no more.",
    "not_qualified": "This campaign asks for a qualification first.",
}


def signed_in(request: Request) -> User:
    return access.require(request.user)


def get_campaign_for(user: User, pk: UUID) -> Campaign:
    """A campaign the user may see by the API. Raises Http404 otherwise."""
    campaign = campaigns_for(user).filter(public_id=pk).first()
    if campaign is None:
        raise Http404
    return campaign


def campaigns_for(user: User) -> QuerySet[Campaign]:
    """All of them for trainers; for raters those they are members of, once opened."""
    if user.has_role(*TRAINERS):
        return Campaign.objects.select_related("rubric")
    return Campaign.objects.for_member(user).exclude(state=CampaignState.DRAFT).select_related("rubric")


def snapshots_for(user: User) -> QuerySet[Snapshot]:
    """All but those of open campaigns that the user judges in: what they hold would unblind."""
    return Snapshot.objects.unblinded_for(user).select_related("campaign")


class SampleList(generics.ListAPIView[Sample]):
    """Samples, newest first."""

    access: ClassVar = READERS
    scopes: ClassVar = {"GET": "read"}
    serializer_class = SampleSerializer
    queryset = Sample.objects.outside_quarantine().select_related("source")

    @extend_schema(operation_id="samples_list", responses={200: SampleSerializer(many=True), **problems(404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class SampleDetail(generics.RetrieveAPIView[Sample]):
    access: ClassVar = READERS
    scopes: ClassVar = {"GET": "read"}
    serializer_class = SampleSerializer
    queryset = Sample.objects.outside_quarantine().select_related("source")

    @extend_schema(operation_id="samples_retrieve", responses={200: SampleSerializer, **problems(404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class CampaignList(generics.ListAPIView[Campaign]):
    """Campaigns you may see: all for trainers, your own for raters."""

    access: ClassVar = (*RATERS, *TRAINERS)
    scopes: ClassVar = {"GET": "read"}
    serializer_class = CampaignSerializer
    queryset = Campaign.objects.none()

    def get_queryset(self) -> QuerySet[Campaign]:
        return campaigns_for(signed_in(self.request))

    @extend_schema(operation_id="campaigns_list", responses={200: CampaignSerializer(many=True), **problems(404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)


class CampaignDetail(APIView):
    access: ClassVar = (*RATERS, *TRAINERS)
    scopes: ClassVar = {"GET": "read"}

    @extend_schema(operation_id="campaigns_retrieve", responses={200: CampaignSerializer, **problems(404)})
    def get(self, request: Request, pk: UUID) -> Response:
        return Response(CampaignSerializer(get_campaign_for(signed_in(request), pk)).data)


class CampaignNext(APIView):
    access: ClassVar = RATERS
    consented: ClassVar = True
    scopes: ClassVar = {"POST": "annotate"}

    @extend_schema(
        operation_id="campaigns_next",
        request=None,
        responses={200: ComparisonSerializer, 204: None, **problems(404, 409)},
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Lease the comparison you are to judge now: the one you hold already, else the next free one. 204 when none is left for you."""
        user = signed_in(request)
        campaign = Campaign.objects.for_member(user).exclude(state=CampaignState.DRAFT).filter(public_id=pk).first()
        if campaign is None:
            raise Http404
        leased = assignments.lease_next(campaign=campaign, annotator=user)
        if leased is None:
            return none_for(campaign, user)
        return Response(ComparisonSerializer(leased).data)


def none_for(campaign: Campaign, user: User) -> Response:
    """204 when every pair is judged or in somebody's hands. Raises Conflict or NotNow when something else is in the way."""
    why = assignments.why_none(campaign, user)
    if why in CLOSED_DOORS:
        raise Conflict(CLOSED_DOORS[why])
    if why in NOT_THEIRS:
        asked = campaign.qualification if why == "not_qualified" else None
        raise NotNow(NOT_THEIRS[why], reverse("annotation:qualification", args=[asked.public_id]) if asked else "")
    return Response(status=status.HTTP_204_NO_CONTENT)


def get_assignment_for(user: User, pk: UUID) -> Assignment:
    """The user's own assignment. Raises Http404 for anybody else's."""
    mine = Assignment.objects.filter(annotator=user).select_related("campaign__rubric", "pair")
    assignment = mine.filter(public_id=pk).first()
    if assignment is None:
        raise Http404
    return assignment


class AssignmentSubmit(APIView):
    access: ClassVar = RATERS
    consented: ClassVar = True
    scopes: ClassVar = {"POST": "annotate"}

    @extend_schema(
        operation_id="assignments_submit",
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                OpenApiTypes.UUID,
                OpenApiParameter.HEADER,
                required=True,
                description="One for each answer: sending it again is safe.",
            )
        ],
        request=AnswerSerializer,
        responses={200: JudgementSerializer, **problems(400, 404, 409, 415, 422)},
    )
    def post(self, request: Request, pk: UUID) -> Response:
        """Answer a comparison. Sent twice with one key, it counts once; late, it takes a free place or is kept as surplus."""
        assignment = get_assignment_for(signed_in(request), pk)
        sent = AnswerSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        answer = answers.from_sides(assignment, sent.said())
        try:
            judgement = judgements.submit(assignment=assignment, answer=answer, key=key_of(request))
        except judgements.AnswerRefused as refused:
            faults = answers.faults_to_sides(assignment, refused.faults)
            raise ValidationError({API_NAMES.get(name, name): message for name, message in faults.items()}) from refused
        except judgements.AlreadyAnswered as clash:
            saved = judgements.seen_from(assignment, clash.judgement.verdict)
            raise Stale(f"{clash} Saved is “{saved.label}”.") from clash
        except judgements.KeyReused as clash:
            raise KeyMismatch(str(clash)) from clash
        return Response(JudgementSerializer(judgement).data)


def key_of(request: Request) -> UUID:
    """The request's idempotency key. Raises ValidationError when it is missing or no UUID."""
    try:
        return UUID(request.headers["Idempotency-Key"])
    except (KeyError, ValueError) as wrong:
        raise ValidationError({"Idempotency-Key": "This header is needed: a UUID made once for each answer."}) from wrong


class SnapshotList(generics.ListAPIView[Snapshot]):
    """Frozen snapshots, newest first; freezing makes one."""

    access: ClassVar = READERS
    scopes: ClassVar = {"GET": "read", "POST": "manage"}
    serializer_class = SnapshotSerializer
    queryset = Snapshot.objects.none()

    def get_queryset(self) -> QuerySet[Snapshot]:
        return snapshots_for(signed_in(self.request))

    @extend_schema(operation_id="snapshots_list", responses={200: SnapshotSerializer(many=True), **problems(404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)

    @extend_schema(
        operation_id="snapshots_freeze",
        request=FreezeSerializer,
        responses={201: SnapshotSerializer, 202: JobSerializer, **problems(400, 404, 409, 415)},
    )
    def post(self, request: Request) -> Response:
        """Freeze what a campaign's judgements say now. The same content again gives the snapshot that is there.

        Many pairs are frozen by a job, which 202 names: ask again until it answers 201, within a minute of its end.
        """
        user = access.require(request.user, *TRAINERS)
        sent = FreezeSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        campaign = get_frozen_from(user, sent.validated_data["campaign"])
        try:
            if freeze_jobs.is_long(campaign):
                job = freeze_jobs.ask(campaign=campaign, name=sent.validated_data["name"], actor=user, **sent.asked())
                made = freeze_jobs.snapshot_of(job)
                if made is None:
                    return under_way(job)
                return Response(SnapshotSerializer(made).data, status=status.HTTP_201_CREATED)
            snapshot = snapshots.freeze(campaign=campaign, name=sent.validated_data["name"], actor=user, **sent.asked())
        except snapshots.FreezeRefused as refused:
            raise Conflict(str(refused)) from refused
        return Response(SnapshotSerializer(snapshot).data, status=status.HTTP_201_CREATED)


def under_way(job: Job) -> Response:
    """202 with how far it is. Raises Conflict for one that has failed."""
    if job.ended:
        raise Conflict(job.error_detail or "The job ended without a result.")
    told = {"job": job.public_id, "state": job.state, "done": job.progress_done, "total": job.progress_total}
    return Response(told, status=status.HTTP_202_ACCEPTED, headers={"Retry-After": "2"})


def get_frozen_from(user: User, pk: UUID) -> Campaign:
    """A campaign whose judgements the user may freeze. Raises Http404 otherwise."""
    campaign = Campaign.objects.unblinded_for(user).filter(public_id=pk).first()
    if campaign is None:
        raise Http404
    return campaign


class SnapshotLint(APIView):
    access: ClassVar = TRAINERS
    scopes: ClassVar = {"POST": "read"}

    @extend_schema(
        operation_id="snapshots_lint",
        request=LookSerializer,
        responses={200: LintSerializer, 202: JobSerializer, **problems(400, 404, 409, 415)},
    )
    def post(self, request: Request) -> Response:
        """Look over what freezing would give: what stops it, what to read first, rows by split, pairs left out by reason, soft targets.

        Many pairs are looked over by a job, which 202 names: ask again until it answers 200, within a minute of its end.
        """
        user = signed_in(request)
        sent = LookSerializer(data=request.data)
        sent.is_valid(raise_exception=True)
        campaign = get_frozen_from(user, sent.validated_data["campaign"])
        model = None
        if wanted := sent.validated_data.get("model"):
            model = ModelVersion.objects.filter(public_id=wanted).first()
            if model is None:
                raise ValidationError({"model": "There is no such model."})
        context = sent.validated_data.get("tokens")
        if freeze_jobs.is_long(campaign):
            job = freeze_jobs.ask(campaign=campaign, name="", actor=user, look=True, model=model, context=context, **sent.asked())
            if "looked" not in job.result:
                return under_way(job)
            return Response(LintSerializer(job.result["looked"]).data)
        asked = Filters(**sent.asked())  # type: ignore[arg-type]  # collections become sorted tuples
        return Response(LintSerializer(lint.look(campaign=campaign, filters=asked, model=model, context=context).told()).data)


class SnapshotDetail(generics.RetrieveAPIView[Snapshot]):
    access: ClassVar = READERS
    scopes: ClassVar = {"GET": "read"}
    serializer_class = SnapshotSerializer
    queryset = Snapshot.objects.none()
    lookup_field = "public_id"
    lookup_url_kwarg = "pk"

    def get_queryset(self) -> QuerySet[Snapshot]:
        return snapshots_for(signed_in(self.request))

    @extend_schema(operation_id="snapshots_retrieve", responses={200: SnapshotSerializer, **problems(404)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return super().get(request, *args, **kwargs)
