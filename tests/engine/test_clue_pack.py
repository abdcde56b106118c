"""A pack of tasks for a stock lm-evaluation-harness: it scores what we score, says what we ask, and is written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.engine import clue_copies, tiny
from training.suite import register
from training.suite.results import file_of

pytestmark = pytest.mark.engine
READ = [name for name in register.SETS if name not in ("ICD10CM", "LongHealth", "MMLU-med")]


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clue_copies.everything(tmp_path_factory.mktemp("copies"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Untrained, with room for shots. Such a model says its last token again and again; with its output's rows moved it says words."""
    from training.engine import models

    folder = tiny.untrained(tmp_path_factory.mktemp("model"), context=2048)
    model, tokenizer = models.load(str(folder))
    model.lm_head.weight.data = model.lm_head.weight.data.roll(97, 0)
    models.save(model, tokenizer, folder)
    return folder


def loaded(copies: Path, names: list[str]) -> dict[str, Any]:
    from training.engine.clue import loaders

    return {name: loaders.load(register.SETS[name], copies, allow_other_files=True) for name in names}


def ours(folder: Path, model: Path, copies: dict[str, Any]) -> Any:
    from training.engine import models
    from training.engine.clue import asking
    from training.engine.clue.lm import EngineLM

    quiet = types.SimpleNamespace(progress=lambda *_: None, metric=lambda *_: None, log=lambda *_: None)
    attempt = types.SimpleNamespace(check=lambda: None, events=quiet, spec=types.SimpleNamespace(seed=0))
    lm = EngineLM(attempt, *models.load(str(model)), batch_size=4)
    return asking.ask(lm, copies, output=folder, model="m", seed=0, most_new=12)


def said(folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / file_of(name)).read_text().splitlines()]


def stock(pack: Path, model: Path, output: Path, names: list[str]) -> dict[str, list[dict[str, Any]]]:
    """What `lm_eval run` says of each item, in a process that knows nothing of Rounds."""
    from training.engine.clue import tasks

    wanted = [tasks.named(register.SETS[name]) for name in names]
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(output), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1",
    }  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--model_args", f"pretrained={model},dtype=float32", "--device", "cpu",
            "--include_path", str(pack), "--tasks", *wanted, "--apply_chat_template", "--batch_size", "1",
            "--gen_kwargs", "max_gen_toks=12", "--output_path", str(output), "--log_samples",
        ],
        cwd=output.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for name, task in zip(names, wanted, strict=True):
        (path,) = output.rglob(f"samples_{task}_*.jsonl")
        found[name] = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda row: row["doc_id"])
    return found


@pytest.mark.timeout(1800)
def test_a_stock_harness_scores_what_we_score(copies: Path, model: Path, tmp_path: Path) -> None:
    from training.engine.clue import pack

    names = ["ACI-Bench", "MedQA", "MEDEC"]
    sets = loaded(copies, names)
    ours(tmp_path / "before", model, sets)
    # A model that knows nothing shares no word with any note: each gold becomes the first of what it says, and more.
    for row, told in zip(sets["ACI-Bench"].rows, said(tmp_path / "before", "ACI-Bench"), strict=True):
        note = " ".join([*told["answer"].split()[: 2 + len(row["id"]) % 2], "and", "cough"])
        row |= {"target": note, "gold": json.dumps(note)}
    mine = ours(tmp_path / "ours", model, sets)
    pack.write(tmp_path / "pack", sets)
    theirs = stock(tmp_path / "pack", model, tmp_path / "theirs", names)
    assert 0 < min(mine.tasks["ACI-Bench"].items) < 1
    assert 0 < mine.tasks["MedQA"].score < 1
    for name in names:
        metrics = (register.SETS[name].metric, *register.SETS[name].also)
        for row, other in zip(said(tmp_path / "ours", name), theirs[name], strict=True):
            assert row["id"] == other["doc"]["id"]
            assert {key: row[key] for key in metrics} == {key: other[key] for key in metrics}
            if isinstance(row["answer"], str):
                assert row["answer"] == other["filtered_resps"][0][0].strip()
            else:
                assert row["answer"] == pytest.approx([float(one[0]) for one in other["filtered_resps"]], abs=1e-4)
    told = json.loads(next((tmp_path / "theirs").rglob("results_*.json")).read_text())["results"]
    assert told["rounds_clue_aci_bench"]["rouge1,all runs"] == pytest.approx(mine.tasks["ACI-Bench"].score)
    assert told["rounds_clue_medqa"]["accuracy,none"] == pytest.approx(mine.tasks["MedQA"].score)


@pytest.mark.parametrize("mode", ["greedy", "clue_compat"])
def test_its_yaml_says_what_we_ask(mode: str, copies: Path, tmp_path: Path) -> None:
    from lm_eval.tasks._yaml_loader import load_yaml

    from training.engine.clue import pack, prompts, scorers, tasks

    sets = loaded(copies, READ)
    assert pack.write(tmp_path / "pack", sets, mode=mode) == [tasks.named(register.SETS[name]) for name in READ]
    assert (tmp_path / "pack/scorers.py").read_bytes() == Path(scorers.__file__).read_bytes()
    for name, copy in sets.items():
        wanted = tasks.definition(register.SETS[name], copy, mode=mode)
        read = load_yaml(tmp_path / f"pack/{wanted['task']}.yaml")
        found = read.pop("custom_dataset")(version=1, pretrained="a model", **read.pop("dataset_kwargs"))
        names = tasks.called(wanted, lambda one: one.name)
        assert {key: value for key, value in read.items() if key not in ("process_results", "metric_list")} == {
            key: value for key, value in names.items() if key not in ("process_results", "metric_list")
        }
        # The copy's functions do what ours of the same name do; which name that is stands in the YAML.
        text = (tmp_path / f"pack/{wanted['task']}.yaml").read_text()
        assert f"process_results: !function 'scorers.{names['process_results']}'" in text
        assert [one["aggregation"].__name__ for one in read["metric_list"]] == [one["aggregation"] for one in names["metric_list"]]
        assert [one["metric"] for one in read["metric_list"]] == [register.SETS[name].metric, *register.SETS[name].also]
        mine = scorers.splits(copy.rows, copy.shots, prompts.SYSTEM[name])
        assert {split: list(rows) for split, rows in found.items()} == {split: list(rows) for split, rows in mine.items()}


def test_its_manifest_names_what_it_was_made_of_and_every_file(copies: Path, tmp_path: Path) -> None:
    from training.engine.clue import pack

    pack.write(tmp_path / "pack", loaded(copies, ["MeQSum", "SDOH-NLI"]))
    told = json.loads((tmp_path / "pack/pack.json").read_text())
    files = {path.name: path for path in (tmp_path / "pack").iterdir()}
    assert told["sha256"] == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items() if name != "pack.json"}
    assert told["tasks"]["rounds_clue_meqsum"]["rows"] == 3
    assert told["tasks"]["rounds_clue_meqsum"]["other_files"] == ["meqsum/MeQSum.xlsx"]
    assert told["tasks"]["rounds_clue_sdoh_nli"]["stands_for"] == ["SDoH", "MedNLI"]
    assert {path.stat().st_mode & 0o077 for path in (*files.values(), tmp_path / "pack")} == {0}


def test_what_lies_in_a_folder_is_left_alone_and_a_half_pack_is_no_pack(
    copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.engine.clue import pack
    from training.engine.errors import InputError

    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("keep")
    with pytest.raises(InputError, match="not empty"):
        pack.write(tmp_path / "full", loaded(copies, ["MedQA"]))
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pack, "_put", full)
    with pytest.raises(OSError, match="No space"):
        pack.write(tmp_path / "new", loaded(copies, ["MedQA"]))
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_from_the_command_line_it_says_what_it_wrote_and_what_it_left_out(
    copies: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.engine.clue import pack

    said = ["--data", str(copies), "--allow-other-files"]
    assert pack.main([str(tmp_path / "one"), *said, "--sets", "MedQA", "MeQSum"]) == 0
    assert capsys.readouterr().out.split() == [
        "rounds_clue_medqa", "6", "rows,", "0", "shots", "rounds_clue_meqsum", "3", "rows,", "3", "shots",
    ]  # fmt: skip
    assert pack.main([str(tmp_path / "two"), "--data", str(tmp_path), "--sets", "MedNLI"]) == 1
    assert "physionet.org/content/mednli" in capsys.readouterr().err
    assert pack.main([str(tmp_path / "one"), *said, "--sets", "MedQA"]) == 1
    assert "not empty" in capsys.readouterr().err


def test_longhealth_is_measured_with_the_model_that_is_named(copies: Path, model: Path, tmp_path: Path) -> None:
    from training.engine.clue import pack

    said = ["--data", str(copies), "--allow-other-files", "--sets", "LongHealth"]
    assert pack.main([str(tmp_path / "one"), *said]) == 1
    assert pack.main([str(tmp_path / "two"), *said, "--model", str(model)]) == 0
    assert len((tmp_path / "two/rounds_clue_longhealth.jsonl").read_text().splitlines()) == 2 * (5 + 10)
