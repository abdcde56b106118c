"""The Celery app. Postgres holds the truth; a message only says "look at job N", so late acks and result backends are not used."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings.dev")

app = Celery("rounds")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.update(
    task_serializer="json",
    accept_content=["json"],
    task_ignore_result=True,
    # Acknowledged on receipt: the lease in the database, not the broker, recovers lost work.
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    # A worker whose slots are full takes no message from one that is free. (Redis alone can do so; elsewhere one a slot is taken early,
    # and the sweeper rings again for those that a worker takes to its grave.)
    worker_prefetch_multiplier=1,
    worker_disable_prefetch=True,
    # A slot only watches: what a job needs is its child's, which ends with it. Now and then a fresh slot all the same.
    worker_max_tasks_per_child=200,
    task_publish_retry=False,
    task_default_queue="default",
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2, "health_check_interval": 10, "retry_on_timeout": True},
    # Told to stop, slots give their jobs back in seconds (jobs.pulses): there is nothing to wait for.
    worker_soft_shutdown_timeout=0,
    worker_send_task_events=False,
    # Nobody asks a worker anything through the broker, so it need not listen: kombu reads that subscription without a time limit, and
    # after a broker's restart a worker could wait there for ever, alive and deaf.
    worker_enable_remote_control=False,
)
app.autodiscover_tasks()
