"""The bell. Acknowledged on receipt: the lease in the database, not the broker, recovers lost work. Arguments are logged: ids."""

from celery import shared_task

from jobs import attempts, claims, pulses
from jobs.models import Job

__all__ = ["pulses", "ring"]  # pulses: its receivers tell the pages that this worker is alive


@shared_task(name="jobs.ring", ignore_result=True)
def ring(job_id: int) -> None:
    """Claim the most urgent job of the queue this bell was rung in, and see it through in this worker slot; often it is the one named.

    A bell in a queue where nothing is to be had does nothing.
    """
    queue = Job.objects.filter(pk=job_id).values_list("queue", flat=True).first()
    held = claims.claim_next(queue=queue, worker=attempts.worker_name()) if queue else None
    if held is not None:
        attempts.supervise(held)
