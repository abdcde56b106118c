"""The test settings and one more app: a trainer that only pretends, for workers that run in processes of their own."""

from config.settings.test import *  # noqa: F403
from config.settings.test import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "tests.jobs.fake"]
