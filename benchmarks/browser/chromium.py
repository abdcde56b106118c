"""Starts the headless Chromium that benchmarks and tests drive: the system's where there is one, else playwright's own."""

from __future__ import annotations

import os
import shutil
from typing import Any

ARGUMENTS = ["--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"]


def launch(playwright: Any) -> Any:
    """A browser, without its sandbox only where root leaves no choice."""
    system = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    sandbox = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    return playwright.chromium.launch(executable_path=system, args=[*ARGUMENTS, *sandbox])
