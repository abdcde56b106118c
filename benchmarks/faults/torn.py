"""L7, torn files: checkpoints and artifacts are truncated, flipped or lose a file; the one before is used, or the error is clear."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from benchmarks.faults import checker, fake, inhouse
from benchmarks.faults.checker import Report
from benchmarks.faults.fake import trainer
from benchmarks.faults.history import History
from benchmarks.faults.house import House
from jobs import keeping
from jobs.models import Job
from modelhub import artifacts
from modelhub.errors import Corrupt
from modelhub.models import ModelVersion
from training.engine import checkpoints

WAYS = ("truncate", "flip", "drop")


def run(house: House, seed: int, *, quick: bool) -> Report:
    report = Report("L7", "torn files", seed)
    folders, resumes, stored = (6, 3, 3) if quick else (66, 27, 27)
    draw = random.Random(seed)
    with house.lane("torn") as history:
        for number in range(folders):
            _folder(Path(settings.DATA_DIR) / "hand" / str(number), WAYS[number % 3], draw, history, report)
        for number in range(resumes):
            resume(number, WAYS[number % 3], draw, history, report)
        for number in range(stored):
            _artifact(number, WAYS[number % 3], draw, history, report)
        report.faults = len(history.of("tear"))
        report.told = {"checkpoints": folders, "resumes": resumes, "artifacts": stored}
        checker.jobs(report)
        report.expect(report.published == report.jobs, f"{report.published} of {report.jobs} jobs were published")
        checker.close(report)
    return report


def tear(folder: Path, way: str, draw: random.Random, history: History, names: tuple[str, ...] = ()) -> Path:
    """Damage one file of a folder; which."""
    path = draw.choice(sorted(path for path in folder.iterdir() if not names or path.name in names))
    size = path.stat().st_size
    path.chmod(0o600)
    where = draw.randrange(size)
    if way == "drop":
        path.unlink()
    elif way == "truncate":
        with path.open("rb+") as file:
            file.truncate(where)
    else:
        with path.open("rb+") as file:
            file.seek(where)
            byte = file.read(1)[0]
            file.seek(where)
            file.write(bytes([byte ^ (1 << draw.randrange(8))]))
    history.note("harness", "tear", file=path.name, way=way, where=where, size=size)
    return path


def _folder(root: Path, way: str, draw: random.Random, history: History, report: Report) -> None:
    """Three checkpoints, the newest torn: the second is the newest."""
    key, value = b"key", trainer.begin(1)
    for step in (5, 10, 15):
        checkpoints.write(root, step=step, fill=lambda f: (f / "a").write_bytes(trainer.bulk(value, 5000)), state={"value": value}, key=key)
    torn = root / "ckpt-15"
    tear(torn, way, draw, history)
    found = checkpoints.newest(root, key)
    report.expect(found is not None and found.step == 10, f"{way}: the newest is {found and found.step}, not 10")
    for refused in (lambda: checkpoints.verify(torn, key), lambda: checkpoints.keep(torn, root / "kept", key)):
        try:
            refused()
        except checkpoints.Torn as clear:
            report.expect("ckpt-15" in str(clear), f"the error does not name the checkpoint: {clear}")
        else:
            report.wrong.append(f"{way}: a torn checkpoint was taken")
    shutil.rmtree(root)


def resume(number: int, way: str, draw: random.Random, history: History, report: Report) -> Job:
    """A trainer dies at step 33 with checkpoints kept; the newest is torn; the next attempt takes the newest whole one."""
    job = fake.ask(seed=number, steps=40, pause=0.002, every=10, bytes=20_000, die=33)
    inhouse.attempt(job)
    kept, own = keeping.folder_of(job), inhouse.folder(job) / checkpoints.FOLDER
    # Linked, not copied: what tears the bytes tears them in both folders, what drops a file drops one name of two.
    newest = kept / "ckpt-30"
    report.expect(newest.is_dir(), "the newest checkpoint was not kept")
    if newest.is_dir():
        tear(newest, way, draw, history, (trainer.BULK,) if number % 2 else ())
    wanted = max((step for root in (kept, own) for step in _valid(root, keeping.key_of(job))), default=0)
    report.expect(wanted < 30 or way == "drop", f"{way}: the torn checkpoint verifies")
    inhouse.come_back(job)
    inhouse.attempt(job)
    resumed = inhouse.folder(job, 2) / "resumed.json"
    told = json.loads(resumed.read_text()) if resumed.exists() else {"step": 0, "whole": True}
    report.expect(told == {"step": wanted, "whole": True}, f"{way}: went on from {told}, not from the whole checkpoint of step {wanted}")
    return job


def _valid(root: Path, key: bytes) -> list[int]:
    found = []
    for path in root.glob("ckpt-*"):
        with suppress(checkpoints.Torn):
            found.append(checkpoints.verify(path, key).step)
    return found


def _artifact(number: int, way: str, draw: random.Random, history: History, report: Report) -> None:
    """A stored file is torn: giving out the model names it, and a whole copy heals it."""
    job = fake.ask(seed=1000 + number, steps=3, pause=0.0)
    inhouse.attempt(job)
    artifact = ModelVersion.objects.get(origin=str(job.public_id)).artifact
    entry = draw.choice([entry for entry in artifact.manifest if entry["name"] == "model.safetensors"])
    whole = Path(settings.DATA_DIR) / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(artifacts.folder(artifact), whole)
    blob = artifacts.blob(entry["sha256"])
    tear(blob.parent, way, draw, history, (blob.name,))
    shutil.rmtree(artifacts.store() / "sets" / artifact.digest)
    try:
        artifacts.folder(artifact)
    except Corrupt as clear:
        report.expect(entry["name"] in str(clear), f"the error does not name the file: {clear}")
    else:
        report.wrong.append(f"{way}: a torn artifact was given out")
    artifacts.stage(folder=whole)
    artifacts.folder(artifact)
