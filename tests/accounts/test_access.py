"""Who may do what at which address, written out. The addresses come from the resolver: one without a row here fails the build."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.test import Client, override_settings
from django.urls import URLPattern, URLResolver, get_resolver, path, reverse
from pytest_django import DjangoDbBlocker
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import access
from tests.accounts.house import House, furnish
from tests.database import standing

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROLES = ("anonymous", "annotator", "adjudicator", "trainer", "steward", "admin", "disabled", "outsider")
# The disabled user held annotator and admin; the outsider is an annotator of another campaign; annotator and adjudicator are members of
# this one, and the annotator holds its lease.

# "ok" is any answer of the view itself: a page, a redirect, a form that comes back, a conflict. "in" leads to the sign-in page.
Row = dict[str, dict[str, str]]


def line(written: str) -> dict[str, str]:
    return dict(zip(ROLES, written.split(), strict=True))


def rows(*written: str) -> Row:
    """Methods to roles to outcomes, from lines like those below. A method that is not named does not exist: 405, whoever asks."""
    lines = dict(zip(written[::2], written[1::2], strict=True))
    return {method: line(lines.get(method, "405 " * 8)) for method in METHODS}


def asks_first(*written: str) -> Row:
    """The same for views that ask who is there before they look at the method: the API's, and some of allauth's."""
    absent = {role: "405" if word in {"ok", "404"} else word for role, word in line(written[1]).items()}
    named = rows(*written)
    return {method: named[method] if method in written else absent for method in METHODS}


def any_method(written: str) -> Row:
    """For views of other packages that look at POST and treat every other method like GET."""
    return dict.fromkeys(METHODS, line(written))


# fmt: off
#                    anonym. annot.  adjud.  trainer steward admin   disabl. outsider
EVERYBODY        = " ok      ok      ok      ok      ok      ok      ok      ok  "
SIGNED_IN        = " in      ok      ok      ok      ok      ok      in      ok  "
RATERS           = " in      ok      ok      403     403     403     in      ok  "
MEMBERS          = " in      ok      ok      403     403     403     in      404 "
HOLDER           = " in      ok      404     403     403     403     in      404 "
TRAINERS         = " in      403     403     ok      403     ok      in      403 "
ADJUDICATORS     = " in      403     ok      403     403     403     in      403 "
BOARD            = " in      403     ok      ok      403     ok      in      403 "
LEADS            = " in      403     ok      ok      403     ok      in      403 "
# Leads and trainers; Carol is a member of the house’s open campaign and stays blinded in it.
CAROL_JUDGES     = " in      403     404     ok      403     ok      in      403 "
# Carol judges in the campaign that is asked about.
UNBLINDED_LEADS  = " in      403     404     ok      403     ok      in      403 "
# The same with the steward, who audits.
EVIDENCE         = " in      403     ok      ok      ok      ok      in      403 "
UNBLINDED_EVIDENCE = " in    403     404     ok      ok      ok      in      403 "
STUDIO           = " in      403     ok      ok      403     ok      in      403 "
READERS          = " in      403     403     ok      ok      ok      in      403 "
HOUSE            = " in      403     403     403     ok      ok      in      403 "
ADMIN            = " in      403     403     403     403     ok      in      403 "
STEWARDS         = " in      403     403     403     ok      403     in      403 "
NOBODY           = " in      403     403     403     403     403     in      403 "
# Nobody who has not opened a link in this browser.
NO_LINK          = " 404     404     404     404     404     404     404     404 "
OWN_TOKEN        = " in      ok      404     404     404     404     in      404 "
API_READERS      = " 401     403     403     ok      ok      ok      401     403 "
API_TRAINERS     = " 401     403     403     ok      403     ok      401     403 "
API_SIGNED_IN    = " 401     ok      ok      ok      ok      ok      401     ok  "
API_CAMPAIGNS    = " 401     ok      ok      ok      403     ok      401     ok  "
API_CAMPAIGN     = " 401     ok      ok      ok      403     ok      401     404 "
API_MEMBERS      = " 401     ok      ok      403     403     403     401     404 "
API_HOLDER       = " 401     ok      404     403     403     403     401     404 "
# Whom Django's admin does not know leaves by being sent to its index, which sends them to sign in.
LEAVE            = " ok      403     403     403     403     ok      ok      403 "
STAY             = line(" ok      403     403     403     403     405     ok      403 ")
# Who is signed in is sent on from the sign-in page before it looks at the method.
IN_ALREADY       = line(" 405     ok      ok      ok      ok      ok      405     ok  ")

DECISIONS: dict[str, Row] = {
    # People
    "accounts:tokens":             asks_first("GET", SIGNED_IN, "POST", SIGNED_IN),
    "accounts:token-revoke":       asks_first("POST", OWN_TOKEN),
    "accounts:consent":            asks_first("GET", SIGNED_IN, "POST", SIGNED_IN),
    "accounts:consent-withdraw":   asks_first("GET", SIGNED_IN, "POST", SIGNED_IN),
    "accounts:profile":            asks_first("GET", SIGNED_IN, "POST", SIGNED_IN),
    "accounts:audit":              asks_first("GET", HOUSE),
    "accounts:users":              asks_first("GET", ADMIN),
    "accounts:user":               asks_first("GET", ADMIN),
    "accounts:user-roles":         asks_first("POST", ADMIN),
    "accounts:user-disable":       asks_first("POST", ADMIN),
    "accounts:user-enable":        asks_first("POST", ADMIN),
    "accounts:user-link":          asks_first("POST", ADMIN),
    "accounts:invitations":        asks_first("GET", ADMIN),
    "accounts:invitation-new":     asks_first("GET", ADMIN, "POST", ADMIN),
    "accounts:invitation-renew":   asks_first("POST", ADMIN),
    "accounts:invitation-revoke":  asks_first("POST", ADMIN),
    "accounts:consent-texts":      asks_first("GET", HOUSE, "POST", HOUSE),
    # A link leads to its page whether it opens anything or not.
    "accounts:join-link":          rows("GET", EVERYBODY),
    "accounts:join":               rows("GET", NO_LINK, "POST", NO_LINK),
    "accounts:join-renew":         rows("POST", EVERYBODY),
    "accounts:password-link":      rows("GET", EVERYBODY),
    "accounts:password-new":       rows("GET", EVERYBODY, "POST", EVERYBODY),

    # Rating, blinded
    "annotation:queue":            asks_first("GET", RATERS),
    "annotation:next":             asks_first("POST", MEMBERS),
    "annotation:judge":            asks_first("GET", HOLDER, "POST", HOLDER),
    "annotation:undo":             asks_first("POST", MEMBERS),
    "annotation:draft":            asks_first("POST", HOLDER),
    "annotation:diff":             asks_first("GET", HOLDER),
    "annotation:changes":          asks_first("POST", HOLDER),
    "annotation:history":          asks_first("GET", RATERS),
    "annotation:keys":             asks_first("GET", RATERS, "POST", RATERS),
    "annotation:extend":           asks_first("POST", HOLDER),
    "annotation:ahead":            asks_first("POST", HOLDER),
    "annotation:leave":            asks_first("POST", MEMBERS),
    "annotation:guideline":        asks_first("GET", MEMBERS),
    "annotation:qualification":    asks_first("GET", MEMBERS, "POST", MEMBERS),
    "annotation:sitting":          asks_first("GET", HOLDER),
    "annotation:sitting-end":      asks_first("POST", HOLDER),
    "annotation:qualifications":   asks_first("GET", LEADS),
    "annotation:gold":             asks_first("GET", UNBLINDED_LEADS),
    "annotation:gold-settled":     asks_first("POST", TRAINERS),
    "annotation:qualification-grant": asks_first("POST", LEADS),

    # What a lead clinician settles
    "annotation:disputes":         asks_first("GET", ADJUDICATORS),
    "annotation:dispute-next":     asks_first("POST", ADJUDICATORS),
    "annotation:disputes-defer":   asks_first("POST", ADJUDICATORS),
    "annotation:dispute":          asks_first("GET", ADJUDICATORS, "POST", ADJUDICATORS),
    "annotation:dispute-take":     asks_first("POST", ADJUDICATORS),
    "annotation:dispute-defer":    asks_first("POST", ADJUDICATORS),
    "annotation:safety":           asks_first("GET", BOARD),
    "annotation:defects":          asks_first("GET", BOARD),
    "annotation:defect-decide":    asks_first("POST", BOARD),

    # Samples, campaigns, snapshots
    "annotation:samples":          asks_first("GET", TRAINERS),
    "annotation:sample-import":    asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:import":            asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:import-cancel":     asks_first("POST", TRAINERS),
    "annotation:import-report":     asks_first("GET", TRAINERS),
    "annotation:quarantine":        asks_first("GET", STEWARDS),
    "annotation:quarantine-decide": asks_first("POST", STEWARDS),
    "annotation:campaigns":        asks_first("GET", TRAINERS),
    "annotation:campaign-new":     asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-plan":    asks_first("POST", TRAINERS),
    "annotation:campaign":         asks_first("GET", TRAINERS),
    "annotation:campaign-open":    asks_first("POST", TRAINERS),
    "annotation:campaign-pause":   asks_first("POST", TRAINERS),
    "annotation:campaign-resume":  asks_first("POST", TRAINERS),
    "annotation:campaign-extend":  asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-close":   asks_first("POST", TRAINERS),
    "annotation:campaign-derive":  asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-protocol": asks_first("GET", TRAINERS),
    "annotation:campaign-answers": asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-members": asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-revoke":  asks_first("POST", TRAINERS),
    "annotation:campaign-readmit": asks_first("POST", TRAINERS),
    "annotation:campaign-reassign": asks_first("POST", TRAINERS),
    "annotation:rubrics":          asks_first("GET", STUDIO),
    "annotation:rubric":           asks_first("GET", STUDIO),
    "annotation:rubric-edit":      asks_first("GET", STUDIO, "POST", STUDIO),
    "annotation:rubric-retire":    asks_first("POST", STUDIO),
    "annotation:campaign-freeze":  asks_first("GET", TRAINERS, "POST", TRAINERS),
    "annotation:campaign-discard": asks_first("POST", TRAINERS),
    "annotation:progress":         asks_first("GET", CAROL_JUDGES),
    "annotation:calibration":      asks_first("GET", CAROL_JUDGES),
    "annotation:snapshots":        asks_first("GET", READERS),
    "annotation:snapshot":         asks_first("GET", READERS),
    # Trainer and administrator were granted the level that is asked for; the steward takes nothing away.
    "annotation:snapshot-export":  asks_first("POST", TRAINERS),
    "annotation:snapshot-release": asks_first("POST", TRAINERS),
    "annotation:snapshot-download": asks_first("GET", TRAINERS),
    "annotation:snapshot-left-out": asks_first("GET", READERS),
    "annotation:snapshot-file":    asks_first("GET", TRAINERS),
    "annotation:snapshot-push":    asks_first("POST", TRAINERS),
    "annotation:export-rights":    asks_first("GET", HOUSE, "POST", ADMIN),
    "annotation:export-right-revoke": asks_first("POST", ADMIN),

    # Work: home, runs, evaluations
    "training:home":               rows("GET", SIGNED_IN),
    "training:family":             rows("POST", TRAINERS),
    "training:generate":           rows("GET", TRAINERS, "POST", TRAINERS),
    "training:ask-again":          rows("POST", TRAINERS),
    "training:runs":               rows("GET", TRAINERS),
    "training:launch":             rows("GET", TRAINERS, "POST", TRAINERS),
    "training:search":             rows("GET", TRAINERS, "POST", TRAINERS),
    "training:measure":            rows("POST", TRAINERS),
    "training:run":                rows("GET", TRAINERS),
    "training:compare-runs":       rows("GET", TRAINERS),
    "training:run-live":           rows("GET", TRAINERS),
    "training:run-samples":        rows("GET", TRAINERS),
    "training:stop":               rows("POST", TRAINERS),
    "training:bundle":             rows("GET", TRAINERS),
    "training:evaluate":           rows("POST", TRAINERS),
    "training:evaluation":         rows("GET", TRAINERS),
    "training:evaluate-on":        rows("GET", TRAINERS, "POST", TRAINERS),
    "training:promote":            rows("POST", TRAINERS),
    "training:suites":             rows("GET", TRAINERS),
    "training:compare-suites":     rows("GET", TRAINERS),
    "training:ask-suite":          rows("POST", TRAINERS),
    "training:evaluation-champion": rows("POST", TRAINERS),
    "training:evaluation-suite":   rows("POST", TRAINERS),
    "training:replay":             rows("POST", TRAINERS),
    "training:rollback":           rows("POST", TRAINERS),
    "training:study-start":        rows("GET", TRAINERS, "POST", TRAINERS),
    "training:studies":            rows("GET", LEADS),
    "training:study":              rows("GET", LEADS),
    "training:study-stop":         rows("POST", TRAINERS),
    "training:evidence":           rows("GET", UNBLINDED_EVIDENCE),
    "training:evidence-make":      rows("POST", UNBLINDED_EVIDENCE),
    "training:evidence-pack":      rows("GET", UNBLINDED_EVIDENCE),
    "training:evidence-verifier":  rows("GET", EVIDENCE),
    "training:study-guess":        rows("GET", MEMBERS, "POST", MEMBERS),
    "training:loop":               rows("GET", TRAINERS, "POST", TRAINERS),
    "training:loop-pause":         rows("POST", TRAINERS),
    "training:loop-resume":        rows("POST", TRAINERS),
    "training:proposals":          rows("GET", TRAINERS),
    "training:proposal":           rows("GET", TRAINERS),
    "training:proposal-dismiss":   rows("POST", TRAINERS),
    "training:lineage-search":      asks_first("GET", READERS),
    "training:lineage":             asks_first("GET", READERS),
    "training:lineage-list":        asks_first("GET", READERS),
    "training:lineage-prov":        asks_first("GET", READERS),
    "training:lineage-svg":         asks_first("GET", READERS),
    "training:promotion":          rows("GET", TRAINERS),
    "training:syntheses":          rows("GET", TRAINERS),
    "training:synthesise":         rows("GET", TRAINERS, "POST", TRAINERS),
    "training:synthesise-outputs": rows("GET", TRAINERS, "POST", TRAINERS),
    "training:synthesis":          rows("GET", TRAINERS),
    "training:move-synthesis":     rows("POST", TRAINERS),
    "training:golden-set":         rows("GET", ADJUDICATORS, "POST", ADJUDICATORS),
    "training:merge":              rows("GET", TRAINERS, "POST", TRAINERS),
    "training:merge-paper":        rows("POST", TRAINERS),
    "training:merge-recipes":      rows("GET", TRAINERS),
    "training:extract":            rows("GET", TRAINERS, "POST", TRAINERS),
    "training:merge-adapter":      rows("GET", TRAINERS, "POST", TRAINERS),
    "training:merge-recipe":       rows("GET", TRAINERS),
    "training:merge-preview":      rows("GET", TRAINERS),
    "training:compare-recipes":    rows("GET", TRAINERS),
    "training:impact":             rows("GET", RATERS),
    "training:impact-data":        rows("GET", RATERS),

    # Jobs and models
    "jobs:jobs":                   asks_first("GET", TRAINERS),
    "jobs:job":                    asks_first("GET", TRAINERS),
    "jobs:job-cancel":             asks_first("POST", TRAINERS),
    "jobs:job-keep":               asks_first("POST", TRAINERS),
    "jobs:job-priority":           asks_first("POST", TRAINERS),
    "jobs:job-again":              asks_first("POST", TRAINERS),
    "modelhub:models":             asks_first("GET", READERS),
    "modelhub:model":              asks_first("GET", READERS),
    "modelhub:card":               rows("GET", TRAINERS, "POST", TRAINERS),
    "modelhub:readme":             rows("GET", READERS),
    "modelhub:export":             rows("GET", TRAINERS),
    "modelhub:import":             asks_first("GET", TRAINERS, "POST", TRAINERS),
    "modelhub:verify":             asks_first("POST", TRAINERS),
    "modelhub:archive":            asks_first("POST", TRAINERS),

    # The API
    "api-samples":                 asks_first("GET", API_READERS),
    "api-sample":                  asks_first("GET", API_READERS),
    "api-campaigns":               asks_first("GET", API_CAMPAIGNS),
    "api-campaign":                asks_first("GET", API_CAMPAIGN),
    "api-campaign-next":           asks_first("POST", API_MEMBERS),
    "api-assignment-submit":       asks_first("POST", API_HOLDER),
    "api-imports":                 asks_first("POST", API_TRAINERS),
    "api-import":                  asks_first("GET", API_TRAINERS),
    "api-import-report":           asks_first("GET", API_TRAINERS),
    "api-snapshots":               asks_first("GET", API_READERS, "POST", API_TRAINERS),
    "api-snapshot":                asks_first("GET", API_READERS),
    "api-snapshots-lint":          asks_first("POST", API_TRAINERS),
    "api-exports":                 asks_first("GET", API_TRAINERS),
    "api-export":                  asks_first("GET", API_TRAINERS),
    "api-export-archive":          asks_first("GET", API_TRAINERS),
    "api-export-file":             asks_first("GET", API_TRAINERS),

    # Other packages: drf-spectacular
    "api-schema":                  asks_first("GET", API_SIGNED_IN),
    "api-docs":                    asks_first("GET", API_SIGNED_IN),

    # Other packages: allauth. Signing up is a page that says no.
    "account_login":               any_method(EVERYBODY) | {"PATCH": IN_ALREADY, "DELETE": IN_ALREADY},
    "account_logout":              rows("GET", EVERYBODY, "POST", EVERYBODY),
    "account_inactive":            rows("GET", EVERYBODY),
    "account_signup":              any_method(EVERYBODY),
    "account_change_password":     asks_first("GET", SIGNED_IN, "POST", SIGNED_IN, "PUT", SIGNED_IN),
    "account_reauthenticate":      asks_first("GET", SIGNED_IN, "POST", SIGNED_IN, "PUT", SIGNED_IN),

    # Other packages: Django's admin. Its views take every method that is not POST for GET.
    "admin:index":                 any_method(ADMIN),
    "admin:app_list":              any_method(ADMIN),
    "admin:jsi18n":                asks_first("GET", ADMIN),
    "admin:login":                 any_method(ADMIN),
    "admin:logout":                asks_first("POST", LEAVE) | {"GET": STAY, "PUT": STAY, "PATCH": STAY, "DELETE": STAY},
    "admin:auth_user_password_change": any_method(ADMIN),
}

# Records an administrator may look at and nobody may change, by app and model.
READ_ONLY = [
    "accounts_auditentry", "accounts_apitoken", "jobs_job", "jobs_attempt", "jobs_device",
    "modelhub_modelversion", "modelhub_artifact", "modelhub_lineageedge", "modelhub_alias", "modelhub_aliasmove",
    "modelhub_cardrevision",
    "annotation_source", "annotation_campaign", "annotation_membership", "annotation_snapshot",
    "annotation_corpus", "annotation_document",
    "training_run", "training_evaluation", "training_promotion", "training_mergerecipe", "training_mergepreview",
    "training_suiterun", "training_study", "training_looppolicy", "training_loopround",
]
for record in READ_ONLY:
    DECISIONS |= {
        f"admin:{record}_changelist": any_method(ADMIN),
        f"admin:{record}_history":    any_method(ADMIN),
        f"admin:{record}_change":     any_method(ADMIN) | {"POST": any_method(NOBODY)["POST"]},
        f"admin:{record}_add":        any_method(NOBODY),
        f"admin:{record}_delete":     any_method(NOBODY),
        f"records/{record.replace('_', '/')}/<path:object_id>/": any_method(ADMIN),
    }
DECISIONS |= {
    "admin:accounts_user_changelist": any_method(ADMIN),
    "admin:accounts_user_history":    any_method(ADMIN),
    "admin:accounts_user_change":     any_method(ADMIN),
    "admin:accounts_user_add":        any_method(ADMIN),
    "admin:accounts_user_delete":     any_method(NOBODY),
    "records/accounts/user/<path:object_id>/": any_method(ADMIN),
}
# fmt: on


def addresses(patterns: Any = None, prefix: str = "", namespace: str = "") -> Iterator[tuple[str, str, Any]]:
    """(name, route, view) of every address; one without a name goes by its route."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            below = f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace
            yield from addresses(pattern.url_patterns, route, below)
        elif isinstance(pattern, URLPattern):
            yield (f"{namespace}{pattern.name}" if pattern.name else route), route, pattern.callback


ADDRESSES = {name: (route, view) for name, route, view in addresses()}


def filled(name: str, house: House) -> str:
    """The address `name` with the house's own things in it."""
    route, _ = ADDRESSES[name]
    if not route.startswith("records/"):
        return reverse(name, kwargs=POINTING_AT[name](house) if name in POINTING_AT else {})
    if "app_label" in route:
        return "/records/accounts/"
    record = "_".join(route.split("/")[1:3])
    return "/" + re.sub("<.*?>", str(house.records[record].pk), route) if "<" in route else f"/{route}"


# What stands in an address that has a place for something.
POINTING_AT: dict[str, Callable[[House], dict[str, Any]]] = {
    "accounts:token-revoke": lambda house: {"pk": house.token.pk},
    "accounts:user": lambda house: {"pk": house.people["annotator"].pk},
    "accounts:user-roles": lambda house: {"pk": house.people["annotator"].pk},
    "accounts:user-disable": lambda house: {"pk": house.people["annotator"].pk},
    "accounts:user-enable": lambda house: {"pk": house.people["disabled"].pk},
    "accounts:user-link": lambda house: {"pk": house.people["annotator"].pk},
    "accounts:invitation-renew": lambda house: {"pk": house.invitation.public_id},
    "accounts:invitation-revoke": lambda house: {"pk": house.invitation.public_id},
    "accounts:join-link": lambda house: {"secret": "a-secret"},
    "accounts:password-link": lambda house: {"secret": "a-secret"},
    "annotation:next": lambda house: {"pk": house.campaign.public_id},
    "annotation:undo": lambda house: {"pk": house.campaign.public_id},
    "annotation:extend": lambda house: {"pk": house.assignment.public_id},
    "annotation:ahead": lambda house: {"pk": house.assignment.public_id},
    "annotation:leave": lambda house: {"pk": house.campaign.public_id},
    "annotation:guideline": lambda house: {"pk": house.campaign.public_id},
    "annotation:qualification": lambda house: {"pk": house.qualification.public_id},
    "annotation:sitting": lambda house: {"pk": house.sitting.public_id},
    "annotation:sitting-end": lambda house: {"pk": house.sitting.public_id},
    "annotation:gold": lambda house: {"pk": house.campaign.public_id},
    "annotation:gold-settled": lambda house: {"pk": house.campaign.public_id},
    "annotation:qualification-grant": lambda house: {"pk": house.qualification.public_id, "user": house.people["annotator"].pk},
    "annotation:judge": lambda house: {"pk": house.assignment.public_id},
    "annotation:draft": lambda house: {"pk": house.assignment.public_id},
    "annotation:diff": lambda house: {"pk": house.assignment.public_id},
    "annotation:changes": lambda house: {"pk": house.assignment.public_id},
    # Of another campaign: the house's adjudicator judges in this one, and may not rule on it.
    "annotation:dispute": lambda house: {"pk": house.dispute.public_id},
    "annotation:dispute-take": lambda house: {"pk": house.dispute.public_id},
    "annotation:dispute-defer": lambda house: {"pk": house.dispute.public_id},
    "annotation:defect-decide": lambda house: {"pk": house.defect.public_id},
    "api-import": lambda house: {"pk": house.imported.public_id},
    "api-import-report": lambda house: {"pk": house.imported.public_id},
    "annotation:import": lambda house: {"pk": house.imported.public_id},
    "annotation:import-cancel": lambda house: {"pk": house.imported.public_id},
    "annotation:import-report": lambda house: {"pk": house.imported.public_id},
    "annotation:campaign": lambda house: {"pk": house.campaign.public_id},
    "annotation:campaign-open": lambda house: {"pk": house.campaign.public_id},
    "annotation:campaign-discard": lambda house: {"pk": house.campaign.public_id},
    "annotation:campaign-close": lambda house: {"pk": house.campaign.public_id},
    **{
        f"annotation:campaign-{verb}": lambda house: {"pk": house.campaign.public_id}
        for verb in ("pause", "resume", "extend", "derive", "protocol", "members", "answers")
    },
    **{
        f"annotation:campaign-{verb}": lambda house: {"pk": house.campaign.public_id, "user": house.people["annotator"].pk}
        for verb in ("revoke", "readmit", "reassign")
    },
    **{f"annotation:rubric{verb}": lambda house: {"pk": house.campaign.rubric_id} for verb in ("", "-edit", "-retire")},
    "annotation:calibration": lambda house: {"pk": house.campaign.public_id},
    "annotation:progress": lambda house: {"pk": house.campaign.public_id},
    "annotation:campaign-freeze": lambda house: {"pk": house.campaign.public_id},
    "annotation:snapshot": lambda house: {"pk": house.snapshot.public_id},
    "annotation:snapshot-left-out": lambda house: {"pk": house.snapshot.public_id},
    "annotation:snapshot-export": lambda house: {"pk": house.snapshot.public_id},
    "annotation:snapshot-release": lambda house: {"pk": house.snapshot.public_id},
    "annotation:snapshot-download": lambda house: {"pk": house.snapshot.public_id, "form": "openai", "level": "deidentified"},
    "annotation:snapshot-file": lambda house: {
        "pk": house.snapshot.public_id,
        "form": "openai",
        "level": "deidentified",
        "name": "manifest.json",
    },
    "annotation:snapshot-push": lambda house: {"pk": house.snapshot.public_id},
    "annotation:export-right-revoke": lambda house: {"pk": house.grant.public_id},
    "jobs:job": lambda house: {"public_id": house.job.public_id},
    **{f"jobs:job-{verb}": lambda house: {"public_id": house.job.public_id} for verb in ("cancel", "keep", "priority", "again")},
    "modelhub:model": lambda house: {"public_id": house.version.public_id},
    "modelhub:card": lambda house: {"public_id": house.version.public_id},
    "modelhub:readme": lambda house: {"public_id": house.version.public_id},
    "modelhub:export": lambda house: {"public_id": house.version.public_id, "form": "hf"},
    **{f"training:loop{verb}": lambda house: {"public_id": house.campaign.public_id} for verb in ("", "-pause", "-resume")},
    "training:proposal": lambda house: {"public_id": house.round.public_id},
    "training:proposal-dismiss": lambda house: {"public_id": house.round.public_id},
    "training:promotion": lambda house: {"public_id": house.version.public_id},
    "training:ask-suite": lambda house: {"public_id": house.version.public_id},
    "training:extract": lambda house: {"public_id": house.version.public_id},
    "training:synthesis": lambda house: {"public_id": house.synthesis.public_id},
    "training:move-synthesis": lambda house: {"public_id": house.synthesis.public_id},
    "training:merge-adapter": lambda house: {"public_id": house.adapter.public_id},
    "modelhub:archive": lambda house: {"public_id": house.version.public_id},
    "training:ask-again": lambda house: {"public_id": house.campaign.pairs.earliest("pk").first.batch.public_id},
    "training:run": lambda house: {"pk": house.run.pk},
    "training:run-live": lambda house: {"pk": house.run.pk},
    "training:run-samples": lambda house: {"pk": house.run.pk},
    "training:stop": lambda house: {"pk": house.run.pk},
    "training:bundle": lambda house: {"pk": house.run.pk},
    "training:evaluate": lambda house: {"pk": house.run.pk},
    "training:evaluation": lambda house: {"public_id": house.evaluation.public_id},
    "training:evaluate-on": lambda house: {"public_id": house.version.public_id},
    "training:promote": lambda house: {"public_id": house.evaluation.public_id},
    "training:study-start": lambda house: {"public_id": house.evaluation.public_id},
    "training:study": lambda house: {"public_id": house.study.public_id},
    "training:evidence": lambda house: {"public_id": house.study.public_id},
    "training:evidence-make": lambda house: {"public_id": house.study.public_id},
    "training:evidence-pack": lambda house: {"public_id": house.study.public_id},
    "training:study-stop": lambda house: {"public_id": house.study.public_id},
    "training:study-guess": lambda house: {"campaign": house.campaign.public_id},
    "training:evaluation-champion": lambda house: {"public_id": house.evaluation.public_id},
    "training:evaluation-suite": lambda house: {"public_id": house.evaluation.public_id},
    "training:replay": lambda house: {"pk": house.run.pk},
    "training:lineage": lambda house: {"kind": "run", "key": house.run.pk},
    "training:lineage-list": lambda house: {"kind": "run", "key": house.run.pk, "of": "sample"},
    "training:lineage-prov": lambda house: {"kind": "run", "key": house.run.pk},
    "training:lineage-svg": lambda house: {"kind": "run", "key": house.run.pk},
    "training:merge-recipe": lambda house: {"public_id": house.preview.recipe.public_id},
    "training:merge-preview": lambda house: {"public_id": house.preview.public_id},
    "training:rollback": lambda house: {"name": "champion"},
    "api-sample": lambda house: {"pk": house.sample.pk},
    "api-campaign": lambda house: {"pk": house.campaign.public_id},
    "api-campaign-next": lambda house: {"pk": house.campaign.public_id},
    "api-assignment-submit": lambda house: {"pk": house.assignment.public_id},
    "api-snapshot": lambda house: {"pk": house.snapshot.public_id},
    "api-exports": lambda house: {"digest": house.snapshot.digest},
    "api-export": lambda house: {"digest": house.snapshot.digest, "form": "openai", "level": "deidentified"},
    "api-export-archive": lambda house: {"digest": house.snapshot.digest, "form": "openai", "level": "deidentified"},
    "api-export-file": lambda house: {
        "digest": house.snapshot.digest,
        "form": "openai",
        "level": "deidentified",
        "name": "manifest.json",
    },
}


@pytest.fixture(scope="module")
def furnished(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for all who knock: what a request changes is undone."""
    folder = tmp_path_factory.mktemp("model")
    with override_settings(DATA_DIR=tmp_path_factory.mktemp("data")), standing(django_db_blocker):
        yield furnish(folder)


@pytest.fixture
def house(furnished: House, db: None, monkeypatch: pytest.MonkeyPatch) -> House:
    # Who is sent away is sent away without the page that says so: rendering it six thousand times would be half of the work.
    monkeypatch.setattr("config.urls.handler403", lambda request, exception: HttpResponseForbidden())
    return furnished


def outcome(client: Client, method: str, address: str) -> str:
    """What a request came to, in the table's words. An exception in a view is a failure of the test."""
    before = client.cookies.copy()
    with transaction.atomic():
        answer = client.generic(method, address)
        transaction.set_rollback(True)
    # Some views sign out; the next request comes as it came before.
    client.cookies = before
    if answer.status_code == 302 and answer.headers["Location"].startswith(("/accounts/login/?next=", "/records/login/?next=")):
        return "in"
    return str(answer.status_code) if answer.status_code in {401, 403, 404, 405} else "ok"


def test_every_address_has_a_decision() -> None:
    undecided = sorted(set(ADDRESSES) - set(DECISIONS))
    assert not undecided, f"Add a row to DECISIONS for: {undecided}"


def test_no_decision_is_left_over() -> None:
    assert sorted(set(DECISIONS) - set(ADDRESSES)) == []


def test_every_decision_names_every_method_and_role() -> None:
    for name, methods in DECISIONS.items():
        assert tuple(methods) == METHODS, name
        assert all(tuple(line) == ROLES for line in methods.values()), name


def test_views_of_other_packages_are_the_ones_we_know() -> None:
    foreign = {name.split(":")[0].split("/")[0] for name, (_, view) in ADDRESSES.items() if access.is_third_party(view)}
    assert foreign == {
        "account_login", "account_logout", "account_inactive", "account_signup", "account_change_password", "account_reauthenticate",
        "admin", "api-schema", "api-docs",
    }  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
def test_everybody_gets_what_the_table_says(role: str, house: House) -> None:
    found = {
        (name, method): outcome(house.clients[role], method, filled(name, house))
        for name in DECISIONS if name in ADDRESSES
        for method in METHODS
    }  # fmt: skip
    wrong = [
        f"{method} {name}: {got}, not {DECISIONS[name][method][role]}"
        for (name, method), got in found.items()
        if got != DECISIONS[name][method][role]
    ]
    assert not wrong, "\n".join(wrong[:50])


def undecorated(request: HttpRequest) -> HttpResponse:
    return HttpResponse("a secret")


class Undecided(APIView):
    def get(self, request: Request) -> Response:
        return Response("a secret")


class Unscoped(APIView):
    access = ("trainer", "admin")

    def get(self, request: Request) -> Response:
        return Response("a secret")


# A house with three careless doors.
urlpatterns = [
    *get_resolver().url_patterns,
    path("careless/", undecorated),
    path("api/v1/careless/", Undecided.as_view()),
    path("api/v1/unscoped/", Unscoped.as_view()),
]


@override_settings(ROOT_URLCONF="tests.accounts.test_access")
@pytest.mark.parametrize("address", ["/careless/", "/api/v1/careless/", "/api/v1/unscoped/"])
@pytest.mark.parametrize("role", ["anonymous", "annotator", "trainer", "admin"])
def test_a_view_that_decides_nothing_is_closed_to_everybody(role: str, address: str, furnished: House, db: None) -> None:
    answer = furnished.clients[role].get(address)
    assert answer.status_code in {401, 403}
    assert b"a secret" not in answer.content
