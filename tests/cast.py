"""Who the tests are about. Alice and Bob annotate, Carol adjudicates, Dan trains, Sam is the steward, Ada the administrator.

Eve annotates in another campaign, Frank's account is disabled. `as_alice` and so on are signed-in test clients.
"""

import pytest
from django.test import Client

from accounts.consents import current
from accounts.models import Consent, Profile, Role, RoleGrant, User

PASSWORD = "a-long-enough-passphrase"


def person(username: str, *roles: str, is_active: bool = True, simulated: bool = False, consents: bool = True) -> User:
    """A user with these roles and the cast's password, who has agreed to the current consent text and has a profile unless said otherwise.

    `consents=False` makes one who has just come in: neither is there yet.
    """
    user = User.objects.create_user(username, password=PASSWORD, is_active=is_active, simulated=simulated)
    RoleGrant.objects.bulk_create(RoleGrant(user=user, role=role) for role in roles)
    if consents:
        Consent.objects.create(user=user, text=current())
        Profile.objects.create(user=user, specialties=["general_practice"], profession="specialist", years=12, languages=["English"])
    return user


def signed_in(user: User) -> Client:
    """A client with `user`'s session, as a browser would hold it after signing in."""
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def alice(db: None) -> User:
    return person("alice", Role.ANNOTATOR)


@pytest.fixture
def bob(db: None) -> User:
    return person("bob", Role.ANNOTATOR)


@pytest.fixture
def carol(db: None) -> User:
    return person("carol", Role.ADJUDICATOR)


@pytest.fixture
def dan(db: None) -> User:
    return person("dan", Role.TRAINER)


@pytest.fixture
def sam(db: None) -> User:
    return person("sam", Role.STEWARD)


@pytest.fixture
def ada(db: None) -> User:
    return person("ada", Role.ADMIN)


@pytest.fixture
def eve(db: None) -> User:
    """An annotator like Alice, but never a member of the campaign a test is about."""
    return person("eve", Role.ANNOTATOR)


@pytest.fixture
def frank(db: None) -> User:
    """Once an annotator; his account is disabled."""
    return person("frank", Role.ANNOTATOR, is_active=False)


@pytest.fixture
def as_alice(alice: User) -> Client:
    return signed_in(alice)


@pytest.fixture
def as_bob(bob: User) -> Client:
    return signed_in(bob)


@pytest.fixture
def as_carol(carol: User) -> Client:
    return signed_in(carol)


@pytest.fixture
def as_dan(dan: User) -> Client:
    return signed_in(dan)


@pytest.fixture
def as_sam(sam: User) -> Client:
    return signed_in(sam)


@pytest.fixture
def as_ada(ada: User) -> Client:
    return signed_in(ada)


@pytest.fixture
def as_eve(eve: User) -> Client:
    return signed_in(eve)


@pytest.fixture
def as_frank(frank: User) -> Client:
    return signed_in(frank)
