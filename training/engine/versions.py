"""What computes, by version, read from package metadata so that nothing is imported for it. Standard library only."""

from __future__ import annotations

import importlib.metadata
import platform

PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "numpy")


def environment() -> dict[str, str]:
    """Python, the platform, and those of ``PACKAGES`` that are installed."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
