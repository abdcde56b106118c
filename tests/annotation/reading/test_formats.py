"""The same rows, however they are packed; and files that are damaged, oversized or something else."""

import csv
import io
import json
import zipfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from annotation import reading
from annotation.reading import Limits, strict_json
from annotation.reading.shapes import SampleRow
from annotation.records import Problems
from tests.annotation.reading.build import jsonl, mediflow, packed, put, take

ROWS = [mediflow(1, id="a", quality=3.5), mediflow(2, id="b", quality=4.0, input='Two\nlines, a comma and a “quote” " of é')]


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def sheet(path: Path, rows: list[list[Any]]) -> Path:
    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("cases")
    for row in rows:
        page.append(row)
    book.save(path)
    return path


def arrow(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    table = pa.Table.from_pylist(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=1)
    return path


def written(folder: Path, kind: str) -> Path:
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), folder / "rows.parquet", row_group_size=1)
        return folder / "rows.parquet"
    if kind == "xlsx":
        return sheet(folder / "rows.xlsx", [list(ROWS[0]), *([*row.values()] for row in ROWS)])
    if kind == "arrow":
        return arrow(folder / "rows.arrow", ROWS)
    content = {
        "jsonl": jsonl(ROWS), "jsonl.gz": packed(jsonl(ROWS)), "json": json.dumps(ROWS, indent=2).encode(), "csv": as_csv(ROWS),
        "csv_semicolon": as_csv(ROWS, ";"), "csv_tab": as_csv(ROWS, "\t"), "csv.gz": packed(as_csv(ROWS)),
        "json.gz": packed(json.dumps(ROWS).encode()),
    }[kind]  # fmt: skip
    return put(folder, "a file", content)


@pytest.mark.parametrize(
    "kind", ["jsonl", "jsonl.gz", "json", "json.gz", "csv", "csv.gz", "csv_semicolon", "csv_tab", "parquet", "xlsx", "arrow"]
)
def test_the_same_rows_in_every_format(kind: str, tmp_path: Path) -> None:
    taken = take(written(tmp_path, kind))
    assert not taken.problems.found
    assert (taken.found.format, taken.found.shape) == (kind, "mediflow")
    assert taken.records == [
        SampleRow(
            row["id"], row["instruction"], row["input"], row["output"], "summarization", "Discharge Summary", "plain_text", "moderate",
            scores={"quality": row["quality"]},
        )
        for row in ROWS
    ]  # fmt: skip


def test_zstandard(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    with pa.CompressedOutputStream(str(path), "zstd") as stream:
        stream.write(jsonl(ROWS))
    assert [record.external_id for record in take(path).records] == ["a", "b"]  # type: ignore[union-attr]


def test_a_digest_is_of_the_bytes_that_were_sent(tmp_path: Path) -> None:
    for kind in ("jsonl", "jsonl.gz", "csv", "json", "parquet"):
        path = written(tmp_path, kind)
        digest = sha256()
        list(reading.rows(path, format=kind, problems=Problems(), digest=digest))
        assert digest.hexdigest() == sha256(path.read_bytes()).hexdigest(), kind


def test_csv_rows_are_named_by_the_line_on_which_they_begin(tmp_path: Path) -> None:
    path = put(tmp_path, "a.csv", 'id,text\r\n1,"two\r\nlines"\r\n\r\n,\r\n2,plain\r\n3,short,long\r\n')
    problems = Problems()
    found = list(reading.rows(path, format="csv", problems=problems))
    assert found == [(2, {"id": "1", "text": "two\r\nlines"}), (6, {"id": "2", "text": "plain"})]
    assert [str(p) for p in problems.found] == ["Line 7: The row has 3 cells, the header 2."]
    assert [(p.line, p.code) for p in problems.warnings] == [(5, "import.empty_row")]


@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        ('a,b\n1,"never closed\n2,3\n', "import.csv", 2),
        ('a,b\n1,"x"y\n', "import.csv", 2),
        ("a,a\n1,2\n", "import.duplicate_key", 1),
        ("a,,b\n1,2,3\n", "import.columns", 1),
        ("a,b\n1\n", "import.cells", 2),
        ("a,b\r1,2\r", "import.csv", 1),
    ],
)
def test_csv_is_read_strictly(content: str, code: str, place: int, tmp_path: Path) -> None:
    problems = Problems()
    list(reading.rows(put(tmp_path, "a.csv", content), format="csv", problems=problems))
    assert [(p.code, p.line) for p in problems.found] == [(code, place)]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ('[{"a": 1}, {"a": 2}', "import.json"),
        ('[{"a": 1} {"a": 2}]', "import.json"),
        ('[{"a": 1},]', "import.json"),
        ('[{"a": 1}] {"b"', "import.json"),
        ('[{"a": 1, "a": 2}]', "import.duplicate_key"),
        ('[{"a": 1e999}]', "import.number"),
        ('[{"a": ' + "[" * 50 + "]" * 50 + "}]", "import.depth"),
        ('[{"a": ' + "[" * 90_000 + "}]", "import.depth"),
        ("[1, 2]", "import.not_records"),
        ('{"a": "b"}', "import.not_records"),
        ('{"x": {"a": 1}, "x": {"a": 2}}', "import.duplicate_key"),
    ],
)
def test_a_document_is_read_strictly(content: str, code: str, tmp_path: Path) -> None:
    problems = Problems()
    list(reading.rows(put(tmp_path, "a.json", content), format="json", problems=problems))
    assert [p.code for p in problems.found] == [code]


def test_a_document_of_many_records_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from annotation.reading import arrays

    monkeypatch.setattr(arrays, "CHUNK", 7)
    rows = [{"n": n, "text": "ü\u2028" * n, "deep": [{"x": [n]}]} for n in range(30)]
    for content in (rows, {f"k{n}": row for n, row in enumerate(rows)}):
        problems = Problems()
        found = list(
            reading.rows(put(tmp_path, "a.json", json.dumps(content, indent=1, ensure_ascii=False)), format="json", problems=problems)
        )
        assert not problems.found
        assert [place for place, _ in found] == list(range(1, 31))
        assert [{name: row[name] for name in row if name != "id"} for _, row in found] == rows


def test_parquet_leaves_columns_of_bytes_and_refuses_what_is_not_finite(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "score": [1.0, float("nan")], "picture": [b"x", b"y"], "turns": [[{"role": "user"}], []]})
    pq.write_table(table, tmp_path / "a.parquet")
    problems = Problems()
    assert list(reading.rows(tmp_path / "a.parquet", format="parquet", problems=problems)) == [
        (1, {"id": "a", "score": 1.0, "turns": [{"role": "user"}]})
    ]
    assert [(p.line, p.field, p.code) for p in problems.found] == [(2, "score", "import.number")]
    assert [p.field for p in problems.warnings] == ["picture"]


def test_damaged_files_are_told_of(tmp_path: Path) -> None:
    for kind in ("jsonl.gz", "parquet", "xlsx", "arrow"):
        whole = written(tmp_path, kind).read_bytes()
        for cut in (len(whole) // 3, len(whole) - 9):
            problems = Problems()
            list(reading.rows(put(tmp_path, "cut", whole[:cut]), format=kind, problems=problems))
            assert problems.found[0].code in ("upload.damaged", "import.json"), (kind, cut, problems.found)


def test_packed_text_beyond_twenty_to_one_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl.gz", packed(b'{"a": "' + b"x" * 3_000_000 + b'"}\n'))
    problems = Problems()
    list(reading.rows(path, format="jsonl.gz", problems=problems))
    assert [(p.code, p.status) for p in problems.found] == [("upload.ratio", 422)]


def test_what_is_more_than_an_import_may_bring_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path, "a.jsonl", jsonl({"a": n} for n in range(100)))
    for limits in (Limits(file_bytes=10), Limits(bytes=50), Limits(rows=20)):
        problems = Problems()
        list(reading.rows(path, format="jsonl", problems=problems, limits=limits))
        assert [(p.code, p.status) for p in problems.found] == [("upload.too_large", 413)]


def test_workbooks_that_are_traps_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    good = written(tmp_path, "xlsx")

    def rewritten(name: str, **changes: bytes | str) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
            for entry in old.infolist():
                new.writestr(entry.filename, changes.pop(entry.filename, old.read(entry)))
            for more, content in changes.items():
                new.writestr(more, content)
        return path

    entities = "<!DOCTYPE w [<!ENTITY a 'aaaa'>]><w>&a;</w>"
    for path, code in (
        (rewritten("ratio.xlsx", **{"xl/media/x.xml": b"<a>" + b" " * 20_000_000}), "upload.ratio"),
        (rewritten("entity.xlsx", **{"xl/workbook.xml": entities}), "upload.type"),
        (rewritten("nested.xlsx", **{"xl/inner.zip": b"PK"}), "upload.ratio"),
        (rewritten("outside.xlsx", **{"../../etc/passwd": b"x"}), "upload.type"),
    ):
        problems = Problems()
        list(reading.rows(path, format="xlsx", problems=problems))
        assert [p.code for p in problems.found] == [code], path.name


def test_what_a_file_is_called_does_not_make_it_something_else(tmp_path: Path) -> None:
    assert take(written(tmp_path, "xlsx").rename(tmp_path / "b.jsonl")).records[1].external_id == "b"  # type: ignore[union-attr]
    assert take(put(tmp_path, "c.csv", jsonl(ROWS))).found.format == "jsonl"
    assert take(put(tmp_path, "page.csv", "<html></html>")).codes == ["upload.type"]
    with zipfile.ZipFile(tmp_path / "d.jsonl", "w") as archive:
        archive.writestr("rows.jsonl", jsonl(ROWS))
    assert take(tmp_path / "d.jsonl").problems.found[0].message.startswith("This is a zip archive of 1 files")


def test_a_saved_data_set_and_a_repository_are_read_by_their_parts(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    put(saved, "dataset_dict.json", {"splits": ["train", "test"]})
    for split, row in zip(("train", "test"), ROWS, strict=True):
        arrow(saved / split / "data-00000-of-00001.arrow", [row])
        put(saved, f"{split}/state.json", {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]})
    taken = take(saved)
    assert (taken.found.format, taken.found.parts) == ("hf", ("default:train", "default:test"))
    assert [record.external_id for record in taken.records] == ["a", "b"]  # type: ignore[union-attr]
    assert [record.external_id for record in take(saved, format="hf:default:test").records] == ["b"]  # type: ignore[union-attr]

    hub = tmp_path / "hub"
    head = "configs:\n- config_name: extra\n  data_files: other/*.jsonl\n- config_name: main\n  default: true\n  data_files:\n"
    put(hub, "README.md", f"---\n{head}  - split: train\n    path: data/train-*.parquet\n---\n# A card\n")
    put(hub, "other/x.jsonl", jsonl([{"a": 1}]))
    (hub / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS), hub / "data" / "train-0.parquet")
    taken = take(hub)
    assert taken.found.parts == ("main:train", "extra:train")
    assert len(taken.records) == 2


def test_a_folder_gives_nothing_from_outside_of_it(tmp_path: Path) -> None:
    put(tmp_path, "secret.jsonl", jsonl(ROWS))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").symlink_to(tmp_path / "secret.jsonl")
    assert take(folder).codes == ["upload.type"]
    put(folder, "state.json", {"_data_files": [{"filename": "../secret.jsonl"}]})
    assert take(folder).codes == ["upload.type"]


def test_without_a_format_it_is_found_out(tmp_path: Path) -> None:
    for kind in ("xlsx", "csv.gz", "json"):
        assert len(list(reading.rows(written(tmp_path, kind), format="", problems=Problems()))) == 2
    problems = Problems()
    assert not list(reading.rows(put(tmp_path, "page", "<html>"), format="", problems=problems))
    assert [p.code for p in problems.found] == ["upload.type"]


def test_packed_arrow_buffers_are_refused(tmp_path: Path) -> None:
    path = arrow(tmp_path / "a.arrow", ROWS, compression="zstd")
    assert take(path).found.problems[0].code == "upload.type"


def test_a_value_is_told_apart_from_a_problem() -> None:
    for text, value in (("null", None), ("[]", []), ('"x"', "x"), ("0", 0), ("-0.0", 0.0), ("1e-300", 1e-300)):
        problems = Problems()
        assert strict_json.parse(text, problems, 1) == value
        assert not problems.total
