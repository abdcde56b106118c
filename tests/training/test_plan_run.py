"""`manage.py plan_run`: a run on paper, with the exit code a script can trust."""

import json
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from tests.training import build
from training import footprints
from training.engine import spec

PAIRS = ("--pairs", "1000", "--tokens", "1750", "--prompt", "1500")


def plan(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("plan_run", *arguments, "--json", stdout=out)
    said: dict[str, Any] = json.loads(out.getvalue())
    return said


@pytest.fixture
def phi(tmp_path: Path) -> str:
    """Phi-3.5-mini's configuration and nothing else: no tokenizer, no weights."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(build.PHI_35_MINI))
    return str(path)


@pytest.fixture(autouse=True)
def ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprints, "ram", lambda: int(64e9))


def test_phi_35_mini_by_the_clinic_recipe_on_a_gpu_of_24_gb(phi: str) -> None:
    said = plan("--config", phi, "--preset", "clinic", "--gpu-memory", "24", *PAIRS)
    assert (said["parameters"], said["trained"], said["dtype"]) == (3_821_079_552, 25_165_824, "bfloat16")
    assert said["steps"] == 63  # 1000 pairs, one a batch, sixteen a step
    assert said["memory"]["weights"] == 7_642_159_104
    assert 10.0e9 < said["memory_bytes"] < 10.8e9
    assert said["checkpoint_bytes"] == 12 * 25_165_824
    assert said["state"] == "ok"
    # 4·N for an adapter and 2·N for the forward pass that is done again; the reference is computed once and stored.
    assert said["flops"] == 6 * 3_821_079_552 * (63 * 16 * 2 * 1750)
    assert spec.parse_params("dpo", said["params"])


def test_people_read_every_part_with_its_formula(phi: str) -> None:
    out = StringIO()
    call_command("plan_run", "--config", phi, "--gpu-memory", "24", *PAIRS, stdout=out)
    said = out.getvalue()
    assert "3,821,079,552 parameters in bfloat16; LoRA, 25,165,824 of them trained." in said
    assert "weights                7.64 GB   2 B × 3.82 G" in said
    assert "ok: about 10.4 GB of 24.0 GB of GPU memory" in said


def test_all_weights_do_not_fit_that_gpu_and_the_exit_code_says_so(phi: str) -> None:
    with pytest.raises(CommandError, match="It does not fit") as refused:
        plan("--config", phi, "--gpu-memory", "24", "--full", *PAIRS)
    assert refused.value.returncode == 1


@pytest.mark.django_db
def test_a_registered_version_by_name(tmp_path: Path) -> None:
    build.version(tmp_path, "ward-sft")
    assert plan("--model", "ward-sft", "--preset", "demo", *PAIRS)["parameters"] == 1_541_248
    with pytest.raises(CommandError) as unknown:
        plan("--model", "nobody", *PAIRS)
    assert unknown.value.returncode == 2


@pytest.mark.parametrize(
    ("content", "arguments", "why"),
    [
        ('{"model_type": "gpt2"}', (), "'gpt2' is none of"),
        ("[1]", (), "no JSON object"),
        ("{", (), "cannot be read as JSON"),
        (json.dumps(build.TOY), ("--preset", "none"), "no recipe 'none'"),
    ],
)
def test_what_cannot_be_planned_is_exit_code_2(tmp_path: Path, content: str, arguments: tuple[str, ...], why: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(CommandError, match=why) as refused:
        plan("--config", str(path), *arguments, *PAIRS)
    assert refused.value.returncode == 2


def test_it_works_from_the_shell(phi: str) -> None:
    command = [sys.executable, "manage.py", "plan_run", "--config", phi, "--gpu-memory", "24", "--full", *PAIRS]
    done = subprocess.run(command, cwd=Path(__file__).resolve().parents[2], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1, done.stderr
    assert "optimizer             30.57 GB   8 B × 3.82 G" in done.stdout
