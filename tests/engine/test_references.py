"""Stored reference log-probabilities: whole files by their content, and nothing else is believed."""

import os
from pathlib import Path

from training.engine import references

GROUP = "a" * 64
ENTRIES = {("p1", "short"): (-12.25, -30.000001907348633), ("p1", "long"): (-12.5, -31.0)}


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    path = references.write(tmp_path / GROUP, ENTRIES)
    assert path is not None
    assert references.read(tmp_path / GROUP) == ENTRIES
    assert references.write(tmp_path / GROUP, ENTRIES) == path
    assert references.write(tmp_path / GROUP, {}) is None
    assert references.read(tmp_path / "nothing") == {}


def test_a_torn_or_altered_file_is_passed_over(tmp_path: Path) -> None:
    good = references.write(tmp_path / GROUP, {("p2", "short"): (-1.0, -2.0)})
    bad = references.write(tmp_path / GROUP, ENTRIES)
    assert good is not None
    assert bad is not None
    bad.write_bytes(bad.read_bytes()[:-7])
    (tmp_path / GROUP / f".{good.name}.1.tmp").write_text("half")
    assert references.read(tmp_path / GROUP) == {("p2", "short"): (-1.0, -2.0)}


def test_new_entries_are_brought_into_the_store_once(tmp_path: Path) -> None:
    attempt, store = tmp_path / "attempt", tmp_path / "store"
    references.write(attempt / references.NEW / GROUP, ENTRIES)
    torn = references.write(attempt / references.NEW / GROUP, {("p3", "short"): (-1.0, -2.0)})
    assert torn is not None
    torn.write_bytes(b"{}\n")
    (attempt / references.NEW / "not-a-digest").mkdir()
    (attempt / references.NEW / "not-a-digest" / torn.name).write_bytes(b"{}\n")
    assert references.bring(attempt, store) == 1
    assert references.bring(attempt, store) == 0
    assert references.read(store / GROUP) == ENTRIES
    assert sorted(path.name for path in store.iterdir()) == [GROUP]


def test_what_was_used_longest_ago_goes_first_and_what_was_not_used_for_long_goes_anyway(tmp_path: Path) -> None:
    files = [references.write(tmp_path / (group * 64), {(f"p{day}", "short"): (-1.0, -2.0)}) for day, group in enumerate("abca")]
    for day, path in enumerate(files):
        os.utime(path, (86_400 * day, 0))
    size = files[0].stat().st_size
    left = lambda: sorted(path.parent.name[0] for path in tmp_path.glob("*/*"))  # noqa: E731
    assert references.forget(tmp_path, most_bytes=4 * size, unused_days=10, now=86_400 * 9) == 0
    assert references.forget(tmp_path, most_bytes=4 * size, unused_days=10, now=86_400 * 10.5) == 1
    assert left() == ["a", "b", "c"]
    assert references.forget(tmp_path, most_bytes=2.5 * size, unused_days=100, now=86_400 * 9) == 1
    assert left() == ["a", "c"]
    assert not (tmp_path / ("b" * 64)).exists()
    assert references.forget(tmp_path / "nothing", most_bytes=0, unused_days=0) == 0


def test_another_weight_template_or_precision_is_another_group(tmp_path: Path) -> None:
    for name, content in (("model.safetensors", "w"), ("config.json", "{}"), ("tokenizer.json", "t"), ("chat_template.jinja", "c")):
        (tmp_path / name).write_text(content)
    seen = {references.group(tmp_path, dtype="float32"), references.group(tmp_path, dtype="bfloat16")}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        (tmp_path / name).write_text("other")
        seen.add(references.group(tmp_path, dtype="float32"))
    assert len(seen) == 6
    assert references.pair([1], [2], [3]) != references.pair([1, 2], [], [3])
