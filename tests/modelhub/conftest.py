"""A store of its own for every test, and model folders made by hand."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PHI3 = {"architectures": ["Phi3ForCausalLM"], "model_type": "phi3", "hidden_size": 2}
TOKENIZER = '{"version": "1.0", "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1}, "unk_token": "a"}}'


def safetensors(tensors: dict[str, list[int]], *, value: float = 0.5, header: dict[str, Any] | None = None) -> bytes:
    """A whole file of F32 tensors with the given shapes; `header` replaces what it says of itself."""
    said: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, shape in tensors.items():
        count = 1
        for n in shape:
            count *= n
        said[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + 4 * count]}
        body += struct.pack(f"<{count}f", *[value] * count)
    text = json.dumps(said if header is None else header).encode()
    return len(text).to_bytes(8, "little") + text + body


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    return tmp_path / "data"


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """`model_folder(name, value=…, config=…, **files)`: what save_pretrained leaves, in small."""

    def make(
        name: str = "tiny", *, value: float = 0.5, config: dict[str, Any] | None = None, files: dict[str, bytes] | None = None
    ) -> Path:
        folder = tmp_path / "outside" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(PHI3 if config is None else config))
        (folder / "model.safetensors").write_bytes(safetensors({"embed": [7, 2], "head": [2, 7]}, value=value))
        (folder / "tokenizer.json").write_text(TOKENIZER)
        (folder / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
        for extra, content in (files or {}).items():
            (folder / extra).write_bytes(content)
        return folder

    return make
