"""How the queue is set up: settings that decide whether work can be lost, doubled or stuck, each with what it prevents."""

import re
from pathlib import Path

import pytest
from django.conf import settings

from config.celery import app
from tests.test_architecture import ORDER, PROJECT, sources

SETTINGS: dict[str, object] = {
    # Acknowledged on receipt: with late acknowledgement Redis delivers a long task again and again (its visibility timeout).
    "task_acks_late": False,
    # A job that kills its process would be delivered for ever.
    "task_reject_on_worker_lost": False,
    # No results: they grow, and their metadata was once trusted too much (CVE-2021-23727).
    "task_ignore_result": True,
    "result_backend": None,
    # No pickles.
    "task_serializer": "json",
    "accept_content": ["json"],
    # A worker hoards nothing.
    "worker_prefetch_multiplier": 1,
    "worker_disable_prefetch": True,
    # Differs from one task a child on a GPU queue: our slots load nothing, the training is a process of its own.
    "worker_max_tasks_per_child": 200,
    # A request never waits for a broker that is down; a worker never gives one up.
    "task_publish_retry": False,
    "broker_connection_max_retries": None,
    "broker_connection_retry_on_startup": True,
    "broker_transport_options": {
        "socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 10, "retry_on_timeout": True,
    },
    # A hard limit kills the slot and leaves the training behind; how long a job may run is decided in the database.
    "task_time_limit": None,
    "task_soft_time_limit": None,
    # Differs from 90 s: a slot that is told to stop gives its job back in seconds, and the next attempt goes on from a checkpoint.
    "worker_soft_shutdown_timeout": 0,
    # Arguments are ids, and still nobody needs to hear of them.
    "worker_send_task_events": False,
    # No subscription that a worker could wait on for ever after a broker's restart (benchmarks/faults/broker.py, seed 4).
    "worker_enable_remote_control": False,
    "task_send_sent_event": False,
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_queue_is_set_up_as_it_must_be(name: str) -> None:
    assert app.conf[name] == SETTINGS[name]


def test_database_connections_of_workers_end_with_their_task() -> None:
    assert settings.DATABASES["default"].get("CONN_MAX_AGE", 0) == 0
    assert settings.DATABASES["default"]["OPTIONS"]["tcp_user_timeout"] == 15_000


def code() -> list[tuple[Path, str]]:
    return [(path, path.read_text(encoding="utf-8")) for app in ORDER for path in sources(app)]


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a canvas: steps are rows", r"from celery import .*\b(chord|group|chain|chunks|signature)\b|celery\.canvas"),
        ("an order for later: it would be held in a worker's memory", r"apply_async\(.*(countdown|eta)=|(?<!\w)eta="),
        ("killing what a slot runs: it may run another task by now", r"revoke\(.*terminate"),
        ("tasks that run where they are asked for: that hides all of this", r"task_always_eager|CELERY_TASK_ALWAYS_EAGER"),
    ],
)
def test_nothing_of_ours_uses(what: str, pattern: str) -> None:
    found = [str(path.relative_to(PROJECT)) for path, text in code() if re.search(pattern, text)]
    assert not found, (what, found)
