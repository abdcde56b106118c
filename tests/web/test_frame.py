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
