"""The test settings, the harness's app, and one address of its own. The variables that break things are read here and nowhere else."""

import os

from config.settings.test import *  # noqa: F403
from config.settings.test import DATABASES
from config.settings.test import INSTALLED_APPS as OURS

INSTALLED_APPS = [*OURS, "benchmarks.faults.fake"]
ROOT_URLCONF = "benchmarks.faults.urls"
# The lanes' connections must find out about a dead server the way a clinic's do.
DATABASES["default"]["CONN_MAX_AGE"] = 0

# Pauses of tenths of a second instead of seconds and minutes.
ROUNDS_BACK_OFF = [0.2, 0.5, 1.0]
ROUNDS_PAUSE_SECONDS = 0.3
ROUNDS_MIN_FREE_BYTES = int(os.environ.get("ROUNDS_MIN_FREE_BYTES", "100000"))

# Seconds by which this process's own clock is wrong.
FAULTS_SKEW = float(os.environ.get("FAULTS_SKEW", "0"))
# The mutants installed in this process, by comma: see benchmarks/faults/mutants.py.
FAULTS_MUTANTS = [name for name in os.environ.get("FAULTS_MUTANTS", "").split(",") if name]
# How long a child may take to stop when it is cancelled, and how long a bell may go unheard.
FAULTS_GRACE = float(os.environ.get("FAULTS_GRACE", "1"))
FAULTS_RING_AGAIN = float(os.environ.get("FAULTS_RING_AGAIN", "3"))
