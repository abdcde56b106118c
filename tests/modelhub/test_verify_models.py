"""`manage.py verify_models`: damage is found, named, and mended by importing again."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from modelhub import artifacts, imports
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion

pytestmark = pytest.mark.django_db
Make = Callable[..., Path]


def spoil(version: ModelVersion, name: str = "model.safetensors") -> Path:
    """One bit, with size and time of change as they were: what a disk does."""
    path = artifacts.blob(next(entry["sha256"] for entry in version.artifact.manifest if entry["name"] == name))
    found = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(bytes(content))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    return path


def test_a_whole_store_is_said_to_be_whole(model_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    imports.import_folder(folder=model_folder("one"))
    imports.import_folder(folder=model_folder("two", value=2.0))
    call_command("verify_models")
    assert capsys.readouterr().out == "5 files read, 0 damaged.\n"


def test_rot_that_left_size_and_time_alone_is_found_and_not_given_out(model_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    version = imports.import_folder(folder=model_folder("one")).version
    imports.import_folder(folder=model_folder("two", value=2.0))
    artifacts.folder(version.artifact)
    spoil(version)
    artifacts.folder(version.artifact)  # its stamp still holds: nothing is read at every use
    with pytest.raises(CommandError, match="Import the models named above again"):
        call_command("verify_models", "--json")
    said = json.loads(capsys.readouterr().out)
    assert [(one["file"], one["versions"], one["what"]) for one in said["damaged"]] == [
        ("model.safetensors", ["one"], "is damaged: its digest has changed")
    ]
    with pytest.raises(Corrupt):
        artifacts.folder(version.artifact)


def test_importing_again_mends_it(model_folder: Make) -> None:
    source = model_folder("one")
    version = imports.import_folder(folder=source).version
    spoil(version)
    with pytest.raises(CommandError):
        call_command("verify_models", "one")
    assert imports.import_folder(folder=source).already
    call_command("verify_models", "one")


def test_what_is_missing_is_named_and_who_is_not_here_too(model_folder: Make, capsys: pytest.CaptureFixture[str]) -> None:
    version = imports.import_folder(folder=model_folder("one")).version
    artifacts.blob(version.artifact.manifest[0]["sha256"]).unlink()
    with pytest.raises(CommandError):
        call_command("verify_models")
    assert "one: config.json is missing from the store." in capsys.readouterr().out
    with pytest.raises(CommandError, match="no model called “nobody”"):
        call_command("verify_models", "nobody")
