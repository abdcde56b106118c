"""A merge as it runs: tensor by tensor, a few at once, chunk by chunk, into files that a journal makes resumable.

    merged = stream.merge(recipe, models, output, staging=folder, key=key, workers=2, seed=1)

Every worker takes the next largest tensor and carries it through alone: reads the inputs' next stretch, combines it in float32, rounds it
once, writes it in its place and goes on, so that one waits for the disk while the other computes; the system is told which tensors are
next. A sealer syncs what is finished and names it in the journal. Result and digest depend on no number of workers and no interruption.

``models`` maps the recipe's names to model folders, or to folders of a LoRA adapter, which stand for the recipe's base with the adapter on
it. A recipe's ``steps`` are sources like any other, evaluated from the stored weights whenever a stretch of them is read: never rounded.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from training.engine import recipes
from training.engine.errors import BadModel, DiskFull
from training.engine.merging import adapters, journal, operators, plan, report
from training.engine.merging.journal import Line
from training.engine.merging.plan import FLOATS, Layout, Place, Plan
from training.engine.merging.sources import DTYPES, Reader, Source, Weights
from training.engine.merging.work import CHUNK
from training.engine.recipes import Recipe, resolve

# Changes whenever the same recipe would make other bytes: a half merge of another number is begun anew.
ARITHMETIC = 2
# How much may be finished and not yet on the disk, and how long.
SEAL_BYTES, SEAL_SECONDS = 256 * 2**20, 2.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
F16_MOST = 65504.0


@dataclass(frozen=True)
class Merged:
    """What a finished merge says of itself. ``resumed``: how many of the ``tensors`` an earlier attempt had finished."""

    tensors: int
    resumed: int
    report: list[dict[str, Any]]


class Node:
    """A recipe as a source: whichever stretch is asked for is combined from its parts' stretches."""

    def __init__(self, recipe: Recipe, sources: Mapping[str, Source], keys: Mapping[str, str], layers: int, seed: int) -> None:
        self.recipe, self._layers, self._seed = recipe, layers, seed
        self.base = None if recipe.base is None else sources[recipe.base]
        self.experts = {entry.model: sources[entry.model] for entry in recipe.inputs}
        self._keys = [keys[name] for name in self.experts]
        self._survey: operators.Survey | None = None

    @property
    def layout(self) -> Layout:
        return (self.base or next(iter(self.experts.values()))).layout

    def parts(self) -> list[Source]:
        return [*([self.base] if self.base else []), *self.experts.values()]

    def look(self, names: Sequence[str], check: Callable[[], None]) -> None:
        """What the method wants to know of all tensors before the first is merged."""
        self._survey = operators.survey(self.recipe, self._layers)
        while self._survey is not None and self._survey.open:
            for name in names:
                check()
                if self._survey.wants(name):
                    self._survey.look(name, self.parts_of(name))
            self._survey.turn()

    def open(self, name: str) -> Reader:
        return self.reader(name, self.parts_of(name))

    def parts_of(self, name: str) -> operators.Parts:
        base = None if self.base is None else self.base.open(name)
        return operators.Parts(name, self.layout[name].shape, base, [one.open(name) for one in self.experts.values()], self._keys)

    def reader(self, name: str, parts: operators.Parts) -> Reader:
        """Of the merge of ``parts``."""
        return _Combined(operators.combined(resolve(self.recipe, name, self._layers), parts, seed=self._seed, survey=self._survey))

    def expect(self, name: str) -> None:
        for part in self.parts():
            part.expect(name)


class _Combined:
    def __init__(self, combined: operators.Combined) -> None:
        self._combined = combined

    def read(self, start: int, stop: int) -> torch.Tensor:
        return self._combined(start, stop)


def whole(source: Source, name: str) -> torch.Tensor:
    """A whole tensor, float32, in its shape."""
    entry = source.layout[name]
    reader, made = source.open(name), torch.empty(entry.numel)
    for start in range(0, entry.numel, CHUNK):
        stop = min(start + CHUNK, entry.numel)
        made[start:stop] = reader.read(start, stop)
    return made.view(entry.shape)


# --- from a recipe to a source -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tree:
    """``root`` is the recipe; ``stored`` the models it is made of that lie in folders of their own, ``first`` the one that gives the
    merged model its configuration and tokenizer."""

    root: Node
    stored: Mapping[str, Weights]
    nodes: Sequence[Node]
    first: Path
    keys: Mapping[str, str]


def tree(recipe: Recipe, models: Mapping[str, Path], stack: ExitStack, *, seed: int = 0) -> Tree:
    """Open every model and check that they fit. Raises ``BadModel`` naming the first difference."""
    names = recipe.models()
    adapted = {name: models[name] for name in names if adapters.is_adapter(models[name])}
    folders = {name: models[name] for name in names if name not in adapted}
    if not folders:
        raise BadModel("all inputs are adapters: one of them has to be a whole model")
    plan.check_alike(folders)
    stored = {name: Weights(folder, stack, name) for name, folder in folders.items()}
    plan.check_layouts({name: weights.layout for name, weights in stored.items()})
    first = next(iter(folders))
    sources: dict[str, Source] = dict(stored)
    keys = {name: fingerprint(weights) for name, weights in stored.items()}
    for name, folder in adapted.items():
        sources[name] = adapters.on(stored[first], folder, name)
        keys[name] = adapters.fingerprint(folder) + keys[first]
    layers = 1 + max((layer for tensor in stored[first].layout if (layer := report.layer_of(tensor)) is not None), default=-1)
    nodes: list[Node] = []
    for name, step in (*recipe.steps.items(), ("", recipe)):
        made = Node(step, sources, keys, layers, seed)
        sources[name] = made
        keys[name] = hashlib.sha256(json.dumps([name, [keys[part] for part in step.parts()]]).encode()).hexdigest()
        nodes.append(made)
    return Tree(nodes[-1], stored, nodes, folders[first], keys)


def fingerprint(weights: Weights) -> str:
    """What tells one model's weights from another's without reading all: names, types, shapes, and two stretches of every tensor. The same
    for the same tensors however they are sharded."""
    hashed = hashlib.sha256()
    for name, entry in sorted(weights.layout.items()):
        hashed.update(json.dumps([name, entry.dtype, entry.shape]).encode())
        for place in (0, entry.bytes // 2):
            hashed.update(weights.raw(name, place, 1024))
    return hashed.hexdigest()


# --- running it --------------------------------------------------------------------------------------------------------------------


def merge(
    recipe: Recipe, models: Mapping[str, Path], output: Path, *, staging: Path, key: bytes, seed: int = 0, workers: int = 1,
    shard_bytes: int = plan.SHARD_BYTES, handed: Path | None = None, reported: bool = True,
    on_tensor: Callable[[int, int], None] = lambda done, total: None, check: Callable[[], None] = lambda: None,
    on_sealed: Callable[[int], None] = lambda done: None,
) -> Merged:  # fmt: skip
    """Write the merged model to the folder ``output``, which appears whole or not at all.

    ``staging`` is where half a merge lies until then; ``handed`` where an earlier attempt's half merge may have been put, to go on from.
    ``check`` may raise to stop, ``on_tensor(done, total)`` and ``on_sealed(done)`` hear of progress. Raises ``BadModel`` for inputs that
    do not fit or a result that is not finite, ``DiskFull`` with what is missing; what is finished then stays in ``staging``.
    """
    with ExitStack() as stack:
        made = tree(recipe, models, stack, seed=seed)
        names = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "same": None}
        layout, dtype = made.root.layout, names[recipe.out_dtype]
        files = plan.carried(made.first)
        drawn = plan.lay_out(layout, files=files, shard_bytes=shard_bytes, dtype=dtype)
        digest = _digest(drawn, made, recipes.digest(recipe), seed)
        folder = staging / f"{journal.PREFIX}{digest}"
        if handed is not None:
            journal.hand_over(handed, staging, key)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines, good = journal.read(folder, key, digest)
        done = {line.name: line for line in journal.whole(folder, lines) if line.name in drawn.places}
        drawn.require_room(folder, written=sum(line.end - line.begin for line in done.values()))
        run = _Run(made, drawn, folder, done, workers, reported, check)
        try:
            run.write(key, digest, good if len(done) == len(lines) else 0, on_tensor, on_sealed)
            _publish(drawn, folder, output)
        except OSError as problem:
            if problem.errno not in FULL:
                raise
            missing = drawn.size - sum(line.end - line.begin for line in run.done.values())
            raise DiskFull(missing, shutil.disk_usage(folder).free, folder) from None
    return Merged(len(drawn.places), len(done), [line.note for name in layout if (line := run.done[name]).note])


def _digest(drawn: Plan, made: Tree, recipe_digest: str, seed: int) -> str:
    headers = sorted((name, header.hex()) for name, header in drawn.headers.items())
    told = [ARITHMETIC, recipe_digest, seed, sorted(made.keys.items()), headers]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


class _Run:
    def __init__(
        self, made: Tree, drawn: Plan, folder: Path, done: Mapping[str, Line], workers: int, reported: bool, check: Callable[[], None]
    ) -> None:
        self.tree, self.plan, self.folder, self.check = made, drawn, folder, check
        self.workers, self.reported = max(1, workers), reported
        self.done = dict(done)
        # Largest first: the last to finish are small, and no worker is left alone with a large one.
        missing = [place for place in drawn.places.values() if place.name not in done]
        self._todo = sorted(missing, key=lambda place: (-place.numel, place.name))
        self._next = 0
        self._lock, self._news = threading.Lock(), threading.Condition()
        self._pending: list[Line] = []
        self._problem: BaseException | None = None
        self._at_work = 0
        self._files: dict[str, int] = {}

    def write(self, key: bytes, digest: str, good: int, on_tensor: Callable[[int, int], None], on_sealed: Callable[[int], None]) -> None:
        if not self._todo:
            return
        with ExitStack() as stack:
            for file in {place.file for place in self._todo}:
                self._files[file] = os.open(self.folder / file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                stack.callback(os.close, self._files[file])
                os.ftruncate(self._files[file], self.plan.sizes[file])
                journal.write_all(self._files[file], self.plan.headers[file], 0)
                os.fsync(self._files[file])
            lines = journal.Journal(self.folder, key, digest, good=good)
            stack.callback(lines.close)
            if good == 0 and self.done:
                lines.add(self.done.values())
            threads = torch.get_num_threads()
            torch.set_num_threads(1)
            try:
                for node in self.tree.nodes:
                    node.look([place.name for place in self._todo_of_all()], self.check)
                self._work(lines, on_tensor, on_sealed)
            finally:
                torch.set_num_threads(threads)

    def _todo_of_all(self) -> list[Place]:
        return [place for place in self.plan.places.values() if self.tree.root.layout[place.name].dtype in FLOATS]

    def _work(self, lines: journal.Journal, on_tensor: Callable[[int, int], None], on_sealed: Callable[[int], None]) -> None:
        """Start the workers and seal what they finish until they are done or one has failed."""
        self._at_work = self.workers
        threads = [threading.Thread(target=self._worker, name=f"merge-{number}") for number in range(self.workers)]
        for thread in threads:
            thread.start()
        try:
            sealed = time.monotonic()
            while True:
                with self._news:
                    if self._at_work:
                        self._news.wait(SEAL_SECONDS / 4)
                    over = self._at_work == 0
                    waiting = sum(line.end - line.begin for line in self._pending)
                    finished = len(self.done) + len(self._pending)
                self.check()
                if over or waiting >= SEAL_BYTES or time.monotonic() - sealed >= SEAL_SECONDS:
                    self._seal(lines)
                    on_sealed(len(self.done))
                    sealed = time.monotonic()
                on_tensor(finished, len(self.plan.places))
                if over:
                    break
        except BaseException as problem:
            self._stop(problem)
            raise
        finally:
            for thread in threads:
                thread.join()
        if self._problem is not None:
            raise self._problem

    def _seal(self, lines: journal.Journal) -> None:
        with self._news:
            fresh, self._pending = self._pending, []
        if not fresh:
            return
        for file in {line.file for line in fresh}:
            os.fdatasync(self._files[file])
        lines.add(fresh)
        with self._news:
            self.done |= {line.name: line for line in fresh}

    def _stop(self, problem: BaseException) -> None:
        with self._news:
            self._problem = self._problem or problem

    def _worker(self) -> None:
        torch.set_num_threads(1)
        try:
            while (place := self._take()) is not None:
                line = self._tensor(place)
                if line is None:
                    return
                with self._news:
                    self._pending.append(line)
                    self._news.notify()
        except BaseException as problem:
            self._stop(problem)
        finally:
            with self._news:
                self._at_work -= 1
                self._news.notify()

    def _take(self) -> Place | None:
        with self._lock:
            if self._problem is not None or self._next == len(self._todo):
                return None
            place = self._todo[self._next]
            self._next += 1
            ahead = self._todo[self._next + self.workers - 1 : self._next + self.workers]
        for one in ahead:
            self.tree.root.expect(one.name)
        return place

    def _tensor(self, place: Place) -> Line | None:
        """Combine, round, write and hash one tensor; None when the merge is being stopped."""
        entry = self.tree.root.layout[place.name]
        file = self._files[place.file]
        if entry.dtype not in FLOATS:
            return self._copied(place, file)
        parts = self.tree.root.parts_of(place.name)
        reader = self.tree.root.reader(place.name, parts)
        notes = report.Notes(list(self.tree.root.experts), parts) if self.reported else None
        hashed, offset = hashlib.sha256(), place.begin
        out = torch.empty(min(CHUNK, entry.numel), dtype=DTYPES[place.dtype])
        raw = memoryview(out.view(torch.uint8).numpy())
        for start in range(0, entry.numel, CHUNK):
            if self._problem is not None:
                return None
            stop = min(start + CHUNK, entry.numel)
            made = reader.read(start, stop)
            _finite(made, place)
            out[: stop - start].copy_(made)
            data = raw[: (stop - start) * out.element_size()]
            journal.write_all(file, data, offset)
            hashed.update(data)
            offset += len(data)
            if notes is not None:
                notes.look(start, stop, made)
        return Line(place.name, place.file, place.begin, place.end, hashed.hexdigest(), notes.told() if notes else None)

    def _copied(self, place: Place, file: int) -> Line:
        """What is no float is what all models have."""
        first, *rest = self.tree.stored.items()
        data = first[1].raw(place.name)
        for name, weights in rest:
            if weights.raw(place.name) != data:
                raise BadModel(f"{name}: {place.name} differs from {first[0]}'s, and whole numbers cannot be merged")
        journal.write_all(file, data, place.begin)
        return Line(place.name, place.file, place.begin, place.end, hashlib.sha256(data).hexdigest())


def _finite(made: torch.Tensor, place: Place) -> None:
    """Raises ``BadModel`` when an entry is not finite. A sum says so at a twentieth of looking at each, unless it overflows by itself."""
    if not math.isfinite(made.sum().item()) and not bool(torch.isfinite(made).all()):
        raise BadModel(f"{place.name} is not finite after merging")
    if place.dtype == "F16" and bool((made.abs() > F16_MOST).any()):
        raise BadModel(f"{place.name} is not finite after merging: too large for float16")


def _publish(drawn: Plan, folder: Path, output: Path) -> None:
    """Weights by link, the rest copied, into a folder beside ``output``; synced, and renamed in one step."""
    fresh = output.with_name(f".{output.name}.{os.getpid()}.tmp")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    try:
        for file in drawn.headers:
            try:
                os.link(folder / file, fresh / file)
            except OSError as problem:
                if problem.errno in FULL:
                    raise
                (folder / file).rename(fresh / file)
        for source in drawn.files:
            (fresh / source.name).write_bytes(source.read_bytes())
        if drawn.index is not None:
            (fresh / plan.INDEX).write_bytes(drawn.index)
        for made in fresh.iterdir():
            with made.open("rb") as stream:
                os.fsync(stream.fileno())
        journal.sync_folder(fresh)
        shutil.rmtree(output, ignore_errors=True)
        fresh.rename(output)
        try:
            journal.sync_folder(output.parent)
        except OSError:
            output.rename(fresh)
            raise
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
