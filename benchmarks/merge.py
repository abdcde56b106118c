"""How fast, how small and how safe are merges? Random Phi-3-like checkpoints in bfloat16, merged with every method in this same run as a
plain copy (read every byte of the inputs, write one output, sync), which no merge can beat on one thread.

  figures   every method on base + 3 and base + 5 experts: wall and processor seconds, ratio to the copy of the same bytes, peak memory at
            two sizes; at the small size the same with mergekit where it is installed (float32 output), and the largest difference to it
  --kills N   kill -9 of a merging process at N random moments each of a run of its own, resumed: is it the same digest?
  --full N    a file system that fills up at N random offsets, then has room again: is nothing half there, is it the same digest?

Copy and merges alternate; medians of --repeats. Inputs are in the page cache (warm), or with --cold thrown out of it before every run.

Needs: the engine's packages; for --layers 18 (1.06 billion parameters) 22 GB of disk and some minutes. --full needs root, for a tmpfs.
--json ends with one line of figures.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]
sys.path[0] = str(PROJECT)

EXPERTS = ("pubmed", "clinical", "medcode", "guideline", "medwiki")
VOCABULARY = 32064
# width, feed-forward width; the first is what --layers counts, the second has layers of its own.
LARGE, SMALL, SMALL_LAYERS = (2048, 5632), (1024, 2816), 6
BLOCK = 8 * 2**20
COPY = "copy"


def shapes(width: int, inner: int, layers: int, vocabulary: int = VOCABULARY) -> dict[str, tuple[int, ...]]:
    made: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, width)}
    for layer in range(layers):
        at = f"model.layers.{layer}"
        made |= {
            f"{at}.self_attn.qkv_proj.weight": (3 * width, width), f"{at}.self_attn.o_proj.weight": (width, width),
            f"{at}.mlp.gate_up_proj.weight": (2 * inner, width), f"{at}.mlp.down_proj.weight": (width, inner),
            f"{at}.input_layernorm.weight": (width,), f"{at}.post_attention_layernorm.weight": (width,),
        }  # fmt: skip
    return made | {"model.norm.weight": (width,), "lm_head.weight": (vocabulary, width)}


def write_model(folder: Path, size: tuple[int, int], layers: int, seed: int, base: Path | None, vocabulary: int) -> Path:
    """Weights of standard deviation 0.02; an expert's are its base's and changes of 0.002."""
    import numpy as np
    import torch

    from training.engine.merging import plan
    from training.engine.merging.plan import Entry

    width, inner = size
    drawn = {name: Entry(name, "BF16", shape, folder, 0, 0) for name, shape in shapes(width, inner, layers, vocabulary).items()}
    laid = plan.lay_out(drawn)
    folder.mkdir(parents=True)
    random_numbers = np.random.Generator(np.random.SFC64(seed))
    with (
        (folder / "model.safetensors").open("wb") as out,
        (base or Path("/dev")).joinpath("model.safetensors" if base else "null").open("rb") as under,
    ):
        header = laid.headers["model.safetensors"]
        out.write(header)
        under.seek(len(header))
        left = sum(place.numel for place in laid.places.values())
        while left:
            count = min(left, BLOCK)
            fresh = torch.from_numpy(random_numbers.standard_normal(count, dtype=np.float32))
            fresh.mul_(0.002 if base else 0.02)
            if base:
                fresh += torch.frombuffer(bytearray(under.read(2 * count)), dtype=torch.bfloat16)
            out.write(fresh.bfloat16().view(torch.uint8).numpy())
            left -= count
    (folder / "config.json").write_text(json.dumps({
        "model_type": "phi3", "architectures": ["Phi3ForCausalLM"], "hidden_size": width, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": width // 64, "num_key_value_heads": width // 64, "vocab_size": vocabulary,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }))  # fmt: skip
    (folder / "tokenizer.json").write_text("{}")
    return folder


def family(root: Path, size: tuple[int, int], layers: int, experts: int, vocabulary: int = VOCABULARY) -> dict[str, Path]:
    base = write_model(root / "base", size, layers, 0, None, vocabulary)
    return {"base": base} | {
        name: write_model(root / name, size, layers, seed, base, vocabulary) for seed, name in enumerate(EXPERTS[:experts], start=1)
    }  # fmt: skip


def recipe(method: str, models: list[str]) -> dict[str, Any]:
    """As the spec has it; mergekit's file is written from the same."""
    experts = [name for name in models if name != "base"]
    settings: dict[str, dict[str, Any]] = {
        "linear": {"weight": 0.25}, "slerp": {"t": 0.5}, "task_arithmetic": {"weight": 0.4}, "ties": {"weight": 0.5, "density": 0.5},
        "dare_ties": {"weight": 0.5, "density": 0.5}, "breadcrumbs": {"weight": 0.5, "density": 0.9, "gamma": 0.01},
        "breadcrumbs_ties": {"weight": 0.5, "density": 0.9, "gamma": 0.01}, "model_stock": {},
    }  # fmt: skip
    inputs = models if method == "linear" else experts[:1] if method == "slerp" else experts
    made: dict[str, Any] = {"method": method, "inputs": [{"model": name} for name in inputs], "parameters": settings[method]}
    return made if method == "linear" else made | {"base": "base"}


METHODS = ("linear", "slerp", "task_arithmetic", "ties", "breadcrumbs_ties", "breadcrumbs", "dare_ties", "model_stock")


# --- one measured process each -----------------------------------------------------------------------------------------------------


def child(task: dict[str, Any]) -> dict[str, Any]:
    """In a fresh process: one copy, merge or mergekit run. Imports come before the clock."""
    models = {name: Path(folder) for name, folder in task["models"].items()}
    output = Path(task["output"])
    if task["what"] == COPY:
        begin = _begin()
        _copy([*models.values()], output)
        return _spent(begin)
    if task["what"] == "mergekit":
        return _mergekit(task, models, output)
    from training.engine import recipes
    from training.engine.merging import plan, stream

    if task.get("blind"):
        # As when another program takes the room while the merge runs: that there is too little is not known beforehand.
        plan.shutil.disk_usage = lambda folder: argparse.Namespace(free=2**60)  # type: ignore[assignment]
    if "seal_bytes" in task:
        stream.SEAL_BYTES = task["seal_bytes"]
    parsed = recipes.parse(task["recipe"])
    began, begin = time.time(), _begin()
    made = stream.merge(
        parsed, {name: models[name] for name in parsed.models()}, output, staging=output.parent / "staging", key=b"benchmark", seed=1,
        workers=task["workers"], reported=task.get("reported", True),
    )  # fmt: skip
    return _spent(begin) | {"began": began, "resumed": made.resumed, "tensors": made.tensors}


def _copy(folders: list[Path], output: Path) -> None:
    output.mkdir(parents=True)
    buffer = bytearray(BLOCK)
    with (output / "model.safetensors").open("wb", buffering=0) as out:
        for number, folder in enumerate(folders):
            with (folder / "model.safetensors").open("rb", buffering=0) as stream:
                while count := stream.readinto(buffer):
                    if number == 0:
                        out.write(memoryview(buffer)[:count])
        os.fsync(out.fileno())


def _mergekit(task: dict[str, Any], models: dict[str, Path], output: Path) -> dict[str, Any]:
    import torch
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    made, variants = task["recipe"], {"dare_ties": {"rescale": True}}
    names = [*(["base"] if made["method"] == "slerp" else []), *(entry["model"] for entry in made["inputs"])]
    file = {
        "merge_method": made["method"], "dtype": "float32", "out_dtype": "float32",
        "models": [{"model": str(models[name])} for name in names],
        "parameters": made["parameters"] | variants.get(made["method"], {}),
        **({"base_model": str(models["base"])} if "base" in made else {}),
    }  # fmt: skip
    torch.set_num_threads(os.cpu_count() or 1)
    config = MergeConfiguration.model_validate(file)
    begin = _begin()
    run_merge(config, str(output), MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, random_seed=0))
    return _spent(begin)


def _begin() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _spent(begin: tuple[float, float]) -> dict[str, Any]:
    wall, cpu = time.perf_counter() - begin[0], time.process_time() - begin[1]
    # Not getrusage's: there a child begins with what its parent had at the fork.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return {"seconds": wall, "cpu_seconds": cpu, "peak_rss_mb": int(peak.split()[1]) / 1024}


def start(task: dict[str, Any], **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", json.dumps(task)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, **options)


def run(task: dict[str, Any]) -> dict[str, Any]:
    process = start(task)
    said, complained = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{task['what']} ended with {process.returncode}: {complained[-1500:]}")
    found: dict[str, Any] = json.loads(said.splitlines()[-1])
    return found


# --- figures -----------------------------------------------------------------------------------------------------------------------


def touch(models: dict[str, Path], *, cold: bool) -> None:
    """The inputs' pages, in the cache or out of it."""
    for folder in models.values():
        with (folder / "model.safetensors").open("rb", buffering=0) as stream:
            if cold:
                os.fsync(stream.fileno())
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                buffer = bytearray(BLOCK)
                while stream.readinto(buffer):
                    pass


def measure(root: Path, models: dict[str, Path], methods: tuple[str, ...], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Medians of every method, and of the copy of what it reads, alternating."""
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.repeats):
        for method in methods:
            made = recipe(method, list(models))
            read = {name: models[name] for name in dict.fromkeys([*(["base"] if "base" in made else []), *_names(made)])}
            told = {"models": {name: str(folder) for name, folder in read.items()}, "output": str(root / "out"), "workers": options.workers}
            for what in (COPY, method):
                touch(read, cold=options.cold)
                key = f"{COPY} {len(read)}" if what == COPY else method
                found.setdefault(key, []).append(run(told | {"what": what, "recipe": made}))
                clear(root)
    figures = {key: {name: statistics.median(one[name] for one in those) for name in those[0]} for key, those in found.items()}
    for method in methods:
        made = recipe(method, list(models))
        inputs = len({*_names(made), *(["base"] if "base" in made else [])})
        figures[method]["copy_ratio"] = figures[method]["seconds"] / figures[f"{COPY} {inputs}"]["seconds"]
    return figures


def _names(made: dict[str, Any]) -> list[str]:
    return [entry["model"] for entry in made["inputs"]]


def clear(root: Path) -> None:
    for name in ("out", "other", "staging"):
        shutil.rmtree(root / name, ignore_errors=True)


def beside_mergekit(root: Path, models: dict[str, Path], methods: tuple[str, ...], workers: int) -> dict[str, dict[str, Any]]:
    """Both with float32 output, one run each: seconds, and the largest difference of any entry."""
    from safetensors import safe_open

    found = {}
    told = {"models": {name: str(folder) for name, folder in models.items()}, "workers": workers}
    for method in methods:
        made = recipe(method, list(models)) | {"out_dtype": "float32"}
        touch(models, cold=False)
        ours = run(told | {"what": method, "recipe": made, "output": str(root / "out")})
        theirs = run(told | {"what": "mergekit", "recipe": made, "output": str(root / "other")})
        worst: float | None = 0.0
        mine = safe_open(root / "out" / "model.safetensors", framework="pt")
        for file in sorted((root / "other").glob("*.safetensors")):
            other = safe_open(file, framework="pt")
            for name in other.keys():  # noqa: SIM118 - safe_open is no mapping
                worst = max(worst or 0.0, float((mine.get_tensor(name) - other.get_tensor(name)).abs().max()))
        found[method] = {
            "mergekit_ratio": theirs["seconds"] / ours["seconds"], "mergekit_cpu_ratio": theirs["cpu_seconds"] / ours["cpu_seconds"],
            "mergekit_seconds": theirs["seconds"], "mergekit_peak_rss_mb": theirs["peak_rss_mb"], "seconds_beside": ours["seconds"],
            # Different random masks: nothing to compare.
            "max_abs_difference": None if method == "dare_ties" else worst,
        }  # fmt: skip
        clear(root)
    return found


# --- faults ------------------------------------------------------------------------------------------------------------------------


def digest(output: Path) -> str:
    hashed = hashlib.sha256()
    for path in sorted(output.iterdir()):
        with path.open("rb") as stream:
            hashed.update(path.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return hashed.hexdigest()


class Forked:
    """A task in a fork of this process, which has paid for its imports: a merge of a small model takes less than they do."""

    def __init__(self, task: dict[str, Any], said: Path) -> None:
        self.said = said
        said.unlink(missing_ok=True)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                said.write_text(json.dumps(child(task)))
            except BaseException as problem:
                said.write_text(json.dumps({"problem": f"{type(problem).__name__}: {problem}"}))
            finally:
                os._exit(0)

    def running(self) -> bool:
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def end(self) -> tuple[int, dict[str, Any]]:
        """(exit code or minus the signal, what it said)."""
        _, status = os.waitpid(self.pid, 0)
        told = self.said.read_text() if self.said.exists() else ""
        return os.waitstatus_to_exitcode(status), json.loads(told or "{}")


def kills(root: Path, models: dict[str, Path], count: int, workers: int) -> dict[str, Any]:
    """Each of ``count`` runs is killed at one random moment between its first byte and its last, then resumed."""
    task, said = _faulty(root, models, workers), root / "said.json"
    whole = Forked(task, said).end()[1]
    wanted = digest(root / "out")
    clear(root)
    draw, runs, same, resumed = random.Random(7), 0, 0, []
    while len(resumed) < count and runs < 2 * count:
        runs += 1
        process = Forked(task, said)
        while process.running() and not list((root / "staging").glob("*/*.safetensors")):
            time.sleep(0.001)
        time.sleep(draw.random() * whole["seconds"])
        os.kill(process.pid, signal.SIGKILL)
        # One that had finished before the moment came says nothing, and another is started.
        if process.end()[0] == -signal.SIGKILL:
            resumed.append(Forked(task, said).end()[1]["resumed"])
            same += digest(root / "out") == wanted
        clear(root)
    return {
        "runs": runs, "killed": len(resumed), "same_digest": same, "resumed_some": sum(tensors > 0 for tensors in resumed),
        "resumed_tensors": resumed, "of_tensors": whole["tensors"],
    }  # fmt: skip


def full(root: Path, models: dict[str, Path], count: int, workers: int) -> dict[str, Any]:
    """A tmpfs of a random size between nothing and what is needed; after the failure it is given room, and the merge goes on."""
    task, said = _faulty(root, models, workers), root / "said.json"
    Forked(task, said).end()
    wanted, needed = digest(root / "out"), sum(path.stat().st_size for path in (root / "out").iterdir())
    clear(root)
    draw, clear_errors, published, same, resumed = random.Random(11), 0, 0, 0, []
    for _ in range(count):
        with small(root / "small", max(8192, int(draw.random() * needed))) as place:
            there = task | {"output": str(place / "out")}
            problem = Forked(there | {"blind": True}, said).end()[1].get("problem", "")
            clear_errors += problem.startswith("DiskFull: need") and problem.endswith(f"on the volume {place}")
            published += any(path.name.strip(".").startswith("out") for path in place.iterdir())
            subprocess.run(["mount", "-o", f"remount,size={2 * needed}", str(place)], check=True)
            resumed.append(Forked(there, said).end()[1]["resumed"])
            same += digest(place / "out") == wanted
    return {"runs": count, "clear_errors": clear_errors, "half_published": published, "same_digest": same, "resumed_tensors": resumed}


def _faulty(root: Path, models: dict[str, Path], workers: int) -> dict[str, Any]:
    made = recipe("breadcrumbs_ties", list(models))
    told = {name: str(folder) for name, folder in models.items()}
    return {"what": "merge", "models": told, "output": str(root / "out"), "workers": workers, "recipe": made, "seal_bytes": 2**18}


@contextmanager
def small(place: Path, size: int) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--layers", type=int, default=18, help="of the large size, 51 million parameters each (default: 18, with 1.06 billion in all)"
    )
    parser.add_argument("--experts", type=int, nargs="+", default=[3, 5], help="how many experts besides the base (default: 3 and 5)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cold", action="store_true", help="throw the inputs out of the page cache before every run")
    parser.add_argument("--no-mergekit", action="store_true")
    parser.add_argument("--kills", type=int, default=0, metavar="N")
    parser.add_argument("--full", type=int, default=0, metavar="N")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(json.loads(options.child))))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        told = faults(Path(temporary), options) if options.kills or options.full else figures(Path(temporary), options)
    if options.json:
        print(json.dumps(told))


def faults(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)  # a fork of a process with a pool of threads waits for them for ever
    # Many tensors of like size: most kills fall between two of them, when some are in the journal and some are not.
    models = family(root, (256, 704), 24, 2, vocabulary=4096)
    told: dict[str, Any] = {}
    for name, count, way in (("kills", options.kills, kills), ("full", options.full, full)):
        if count:
            told[name] = way(root, models, count, options.workers)
            print(name, json.dumps(told[name]), flush=True)
    return told


def figures(root: Path, options: argparse.Namespace) -> dict[str, Any]:
    methods = tuple(options.methods)
    told: dict[str, Any] = {"state": "cold" if options.cold else "warm", "workers": options.workers, "repeats": options.repeats}
    told |= {"load_at_start": os.getloadavg()[0], "methods": {}}
    both = {"small": (SMALL, SMALL_LAYERS), "large": (LARGE, options.layers)}
    for size, (widths, layers) in both.items():
        models = family(root / size, widths, layers, max(options.experts))
        told[f"{size}_parameters"] = sum(_product(shape) for shape in shapes(*widths, layers).values())
        for experts in sorted(options.experts):
            some = {name: models[name] for name in ("base", *EXPERTS[:experts])}
            measured = measure(root, some, methods, options)
            if size == "small" and experts == min(options.experts) and not options.no_mergekit and _installed("mergekit"):
                for method, beside in beside_mergekit(root, some, methods, options.workers).items():
                    measured[method] |= beside
            for method, found in measured.items():
                row = told["methods"].setdefault(f"{method} +{experts}", {})
                row |= found if size == "large" else {f"small_{key}": value for key, value in found.items()}
                shown = ", ".join(f"{key} {value:.4g}" for key, value in found.items() if isinstance(value, int | float))
                print(f"{size} base+{experts} {method}: {shown}", flush=True)
        shutil.rmtree(root / size)
    for row in told["methods"].values():
        row["peak_rss_mb_at_two_sizes"] = [row.pop("small_peak_rss_mb", None), row.get("peak_rss_mb")]
        for key in ("mergekit_ratio", "max_abs_difference"):
            row[key] = row.pop(f"small_{key}", None)
    return told | {"load_at_end": os.getloadavg()[0]}


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


if __name__ == "__main__":
    main()
