"""The bell. Acknowledged on receipt: the lease in the database, not the broker, recovers lost work. Arguments are logged: ids."""

from celery import shared_task

from jobs import attempts, claims, pulses

__all__ = ["pulses", "ring"]  # pulses: its receivers tell the pages that this worker is alive


@shared_task(name="jobs.ring", ignore_result=True)
def ring(job_id: int) -> None:
    """Claim the job and see it through in this worker slot. A bell for a job that is not to be had does nothing."""
    held = claims.claim(job_id=job_id, worker=attempts.worker_name())
    if held is not None:
        attempts.supervise(held)
