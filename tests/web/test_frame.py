"""The frame around every page: who sees which links, and that nothing in it breaks the policy."""

from typing import Any

from django.template import Context, Template
from django.test import RequestFactory

from accounts.models import User


def render(source: str, user: User | None = None, path: str = "/") -> str:
    from django.contrib.auth.models import AnonymousUser

    from accounts.context import roles

    request = RequestFactory().get(path)
    request.user = user or AnonymousUser()
    values: dict[str, Any] = {"request": request, "user": request.user, **roles(request)}
    return Template(source).render(Context(values))


def test_a_clinician_sees_no_rail(alice: User) -> None:
    page = render('{% extends "base.html" %}{% block main %}Hello{% endblock %}', alice)
    assert 'class="rail"' not in page
    assert "Hello" in page


def test_an_administrator_sees_the_rail(ada: User) -> None:
    assert 'class="rail"' in render('{% extends "base.html" %}', ada)


def test_htmx_may_not_evaluate_or_insert_scripts() -> None:
    page = render('{% extends "base.html" %}')
    assert '"allowEval": false' in page
    assert '"allowScriptTags": false' in page
    assert '"historyCacheSize": 0' in page


def test_every_link_of_the_frame_leads_somewhere(ada: User) -> None:
    """The frame leaves out a link it cannot resolve; here that would be a mistake."""
    page = render('{% extends "base.html" %}', ada)
    for label in (
        "Home",
        "Samples",
        "Campaigns",
        "Snapshots",
        "Runs",
        "Models",
        "Jobs",
        "People",
        "Audit",
        "API",
        "Records",
        "API tokens",
        "Change password",
    ):
        assert f">{label}</a>" in page, label


def test_the_page_at_hand_is_marked_and_so_is_the_list_above_it(dan: User) -> None:
    assert '<a href="/models/" aria-current="page">' in render('{% extends "base.html" %}', dan, path="/models/")
    assert '<a href="/models/" aria-current="true">' in render('{% extends "base.html" %}', dan, path="/models/8c1e/")
    assert '<a href="/">Home</a>' in render('{% extends "base.html" %}', dan, path="/models/")
