"""The safetensors header, and the lies it may tell."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelhub import weights
from modelhub.errors import Refused
from tests.modelhub.conftest import safetensors

GOOD = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}, "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [8, 16]}}


def raw(header: object, body: bytes, *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def read(tmp_path: Path, content: bytes) -> weights.Header:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    return weights.read_header(path)


def test_it_counts_parameters(tmp_path: Path) -> None:
    found = read(tmp_path, raw({"__metadata__": {"format": "pt"}, **GOOD}, bytes(16)))
    assert found.shapes == {"a": (2,), "b": (2, 2)}
    assert found.parameters == 6


def test_a_number_and_an_empty_tensor_are_tensors(tmp_path: Path) -> None:
    header = {"n": {"dtype": "I64", "shape": [], "data_offsets": [0, 8]}, "e": {"dtype": "F32", "shape": [0, 4], "data_offsets": [8, 8]}}
    assert read(tmp_path, raw(header, bytes(8))).parameters == 1


def changed(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "b": {**GOOD["b"], **fields}}


LIES: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "holds 0 bytes"),
    "header longer than the file": (raw(GOOD, bytes(16), length=10_000), "claims a header of 10000 bytes"),
    "header beyond the limit": ((200_000_000).to_bytes(8, "little") + bytes(64), "the limit is 100000000"),
    "no JSON": (raw(b"{not json", bytes(16)), "not JSON"),
    "a list": (raw([1], b""), "not an object"),
    "tensor named twice": (raw(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}', bytes(1)), "names a tensor twice"),
    "body cut short": (raw(GOOD, bytes(15)), "describes 16 bytes of tensors but holds 15"),
    "bytes left over": (raw(GOOD, bytes(17)), "describes 16 bytes of tensors but holds 17"),
    "a hole": (raw(changed(data_offsets=[9, 17]), bytes(17)), "leaves a hole or overlaps at byte 9"),
    "an overlap": (raw(changed(data_offsets=[4, 12]), bytes(12)), "leaves a hole or overlaps at byte 4"),
    "shape larger than its bytes": (raw(changed(shape=[2, 3]), bytes(16)), "8 bytes where its shape needs 12"),
    "unknown type": (raw(changed(dtype="PICKLE"), bytes(16)), "unknown type PICKLE"),
    "negative shape": (raw(changed(shape=[-2, -2]), bytes(16)), "no number"),
    "shape of truths": (raw(changed(shape=[True, 4]), bytes(16)), "no number"),
    "no offsets": (raw({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)), "does not say type, shape and place"),
    "a pickle by another name": (b"\x80\x04\x95" + bytes(200), "claims a header"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_by_name(tmp_path: Path, lie: str) -> None:
    content, why = LIES[lie]
    with pytest.raises(Refused) as refusal:
        read(tmp_path, content)
    assert refusal.value.code == "model.corrupt"
    assert refusal.value.file == "model.safetensors"
    assert why in refusal.value.message


def test_what_our_own_helper_writes_is_sound(tmp_path: Path) -> None:
    assert read(tmp_path, safetensors({"x": [3, 5], "y": [4]})).parameters == 19
