"""Which rows that tell who wrote what may be read by somebody who also rates."""

from django.db import models

from accounts.models import User


def answers_unblinded_for(user: User, *models_of: str) -> models.Q:
    """No model in these columns is one of a study under way that `user` rates in: what they answered may stand beside their names."""
    from training.models.studies import Study  # which is of evaluations, which ask here

    either = models.Q()
    for column in models_of:
        either |= models.Q(champion=models.OuterRef(column)) | models.Q(challenger=models.OuterRef(column))
    return ~models.Q(models.Exists(Study.objects.rated_by(user).filter(either)))
