"""The twenty-five bad inputs of the reliability research, each through the door that people and programs use, and what has to come of it.

Files go through the API (`POST /api/v1/imports/`) and through the wizard's pages, models through their import, job settings through the
launch page, answers through the compare page. Needs Django and a database of its own; see `benchmarks/bad_inputs.py`.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.bad import bombs
from benchmarks.bad.bombs import ROW

GOOD = bombs.LINE
TEXT = "Mrs Canary of Elm Street has syphilis"


# Differences from the table's letter that the product decided on.
LATE = "taken into a free slot or kept as surplus, never refused (design, section 2)"
BY_PATH = "model.base_mismatch where the table has model.ref: an adapter often names its base by a path, which nothing here follows"
TIES = "409 where they are frozen: no snapshot without a row exists that a job could be given"
WORDS = "words, not job.config or job.data: nothing but a page launches a run, so that no program reads a code"
RANK = "model.rank_mismatch, a code of its own: it is not the base that differs"


@dataclass
class Seen:
    """What came of one input: HTTP status, codes or words, and whether it was refused as the table says. `differs` names a deliberate
    difference of the product from the table's letter."""

    what: str
    ok: bool
    status: int
    told: str
    differs: str = ""
    expected: str = ""


def row(**changes: Any) -> bytes:
    return json.dumps({**ROW, **changes}).encode() + b"\n"


def raw(**texts: str) -> bytes:
    """A row in which a value is written as it stands here."""
    text = json.dumps({**ROW, **dict.fromkeys(texts, "@")})
    for name, value in texts.items():
        text = text.replace(f'"{name}": "@"', f'"{name}": {value}')
    return text.encode() + b"\n"


class House:
    """The application with a trainer and a rater signed in."""

    def __init__(self) -> None:
        from tests.cast import Role, person, signed_in

        self.alice = person("alice", Role.ANNOTATOR)
        self.dan = person("dan", Role.TRAINER)
        self.as_alice, self.as_dan = signed_in(self.alice), signed_in(self.dan)
        self.as_alice.raise_request_exception = self.as_dan.raise_request_exception = False

    def bring(
        self, content: bytes, *, name: str = "rows.jsonl", target: str = "", **more: str
    ) -> tuple[int, str, list[dict[str, Any]], Any]:
        """(HTTP status, state, problems, the whole answer) of a file sent to the API."""
        from django.core.files.uploadedfile import SimpleUploadedFile

        data = {
            "file": SimpleUploadedFile(name, content), "length": str(len(content)), "sha256": sha256(content).hexdigest(),
            "target": target or f"set-{uuid4().hex[:8]}", "licence": "CC0-1.0", **more,
        }  # fmt: skip
        answer = self.as_dan.post("/api/v1/imports/", data, headers={"Idempotency-Key": str(uuid4())})
        said = answer.json() if answer["Content-Type"].startswith("application/") else {}
        refused = answer["Content-Type"].startswith("application/problem")
        return (
            answer.status_code,
            "refused" if refused else str(said.get("state", "")),
            list(said.get("errors" if refused else "problems", [])),
            said,
        )

    def by_wizard(self, content: bytes, *, name: str = "rows.jsonl", shape: str = "", target: str = "", **more: str) -> tuple[int, str]:
        """(the worst HTTP status, what the pages showed) of a file sent through the pages: chosen, looked at, and then imported."""
        from django.core.files.uploadedfile import SimpleUploadedFile

        chosen = self.as_dan.post("/samples/import/", {"file": SimpleUploadedFile(name, content), "whole": "yes"})
        if chosen.status_code != 302:
            return chosen.status_code, chosen.content.decode()
        place = chosen["Location"]
        looked = self.as_dan.get(place)
        asked = {
            "shape": shape,
            "target": target or f"set-{uuid4().hex[:8]}",
            "licence": "CC0-1.0",
            "do": "store",
            "synthetic": "on",
            **more,
        }
        # Also where the page shows no form: nobody has to press a button to send it.
        sent = self.as_dan.post(place, asked)
        after = self.as_dan.get(place) if sent.status_code == 302 else sent
        worst = max(looked.status_code, sent.status_code, after.status_code)
        return worst, looked.content.decode() + after.content.decode()


def stored() -> int:
    from annotation.models import Sample

    return Sample.objects.count()


Case = Callable[[House], Iterator[Seen]]
CASES: dict[int, Case] = {}


def case(number: int) -> Callable[[Case], Case]:
    def keep(act: Case) -> Case:
        CASES[number] = act
        return act

    return keep


def refused(house: House, what: str, content: bytes, code: str, *, line: int | None = None, field: str | None = None, **how: str) -> Seen:
    """A file of which nothing is stored, and whose problems name the code, and the place where one is expected."""
    before, expected = stored(), {"import.conflict": 409, "upload.too_large": 413}.get(code, 422)
    how = {"shape": "mediflow", **how}
    status, state, problems, said = house.bring(content, **how)
    found = [p for p in problems if p["code"] == code and line in (None, p["line"]) and field in (None, p["field"])]
    silent = TEXT not in json.dumps(said)
    ok = (status, said.get("code")) == (expected, code) and bool(found) and stored() == before and silent
    told = (found or problems or [{"message": state}])[0]["message"]
    page, shown = house.by_wizard(content, **how)
    # The wizard's page shows each problem with its code.
    same = page < 500 and f'<td class="mono">{code}</td>' in shown and stored() == before
    return Seen(
        what, ok and same, max(status, page if page >= 500 else 0),
        f"{said.get('code')}: {told}"[:160] + ("" if same else f" [the wizard: {page}, the code is not shown]"),
        expected=f"{expected} {code}",
    )  # fmt: skip


@case(1)
def empty(house: House) -> Iterator[Seen]:
    yield refused(house, "an empty file", b"", "import.empty")
    yield refused(house, "blank lines", b"\n \n\n", "import.empty")


@case(2)
def encoding(house: House) -> Iterator[Seen]:
    yield refused(house, "Latin-1", GOOD + b'{"instruction": "caf\xe9"}\n', "import.encoding", line=2)
    yield refused(house, "UTF-16", GOOD.decode().encode("utf-16"), "import.encoding")
    status, state, _, said = house.bring(b"\xef\xbb\xbf" + row(input="With a mark at the start"))
    yield Seen("a byte-order mark is taken and told of", state == "stored" and said["counts"]["warnings"] == 1, status, state)


@case(3)
def broken(house: House) -> Iterator[Seen]:
    yield refused(house, "broken JSON", GOOD + b'{"instruction": "' + TEXT.encode() + b'",}\n', "import.json", line=2)


@case(4)
def not_jsonl(house: House) -> Iterator[Seen]:
    yield refused(house, "two objects on a line", GOOD.rstrip() + GOOD, "import.not_jsonl", line=1)
    yield refused(house, "an array over several lines", json.dumps([ROW], indent=1).encode(), "import.not_jsonl", line=1)


@case(5)
def separators(house: House) -> Iterator[Seen]:
    from annotation.models import Sample

    text = "one\u2028two\u2029three\x85four\x0bfive"
    status, state, _, _ = house.bring(json.dumps({**ROW, "input": text}, ensure_ascii=False).encode() + b"\n")
    kept = Sample.objects.filter(input=text).count()
    yield Seen("line separators inside a text", state == "stored" and kept == 1, status, f"{state}, {kept} stored exactly")


@case(6)
def numbers(house: House) -> Iterator[Seen]:
    for value in ("NaN", "Infinity", "-Infinity", "1e400"):
        yield refused(house, value, raw(quality=value), "import.number", line=1)


@case(7)
def types(house: House) -> Iterator[Seen]:
    for what, value in (("5,000 digits", "9" * 5000), ("off the scale", "4.5"), ("true", "true"), ("text", '"3"')):
        yield refused(house, f"{what} where a score belongs", raw(quality=value), "import.type", line=1)


@case(8)
def depth(house: House) -> Iterator[Seen]:
    yield refused(house, "a hundred thousand deep", b'{"input": ' + b"[" * 100_000 + b"\n", "import.depth", line=1)
    yield refused(house, "thirty-three deep", raw(output="[" * 33 + "]" * 33), "import.depth", line=1)


@case(9)
def twice(house: House) -> Iterator[Seen]:
    yield refused(house, "a key twice", b'{"input": "a", "input": "b"}\n', "import.duplicate_key", line=1, field="input")


@case(10)
def ids_twice(house: House) -> Iterator[Seen]:
    seen = refused(
        house, "an id twice", row(id="a", input="One") + row(id="b", input="Two") + row(id="a", input="Three"), "import.duplicate_id"
    )
    seen.ok = seen.ok and "1" in seen.told
    yield seen
    twice_said = row(input="One") + row(input="Two") + row(input="One")
    yield refused(house, "a record twice", twice_said, "import.duplicate", line=3)
    status, state, _, said = house.bring(twice_said, leave_out_doubles="true")
    yield Seen("left out on request, counted", state == "stored" and said["counts"].get("stored") == 2, status, str(said["counts"])[:160])


@case(11)
def conflict(house: House) -> Iterator[Seen]:
    target = f"conflict-{uuid4().hex[:8]}"
    house.bring(row(id="a", input="First"), target=target)
    yield refused(house, "an id stored with another text", row(id="a", input="Second"), "import.conflict", target=target)
    status, state, _, said = house.bring(row(id="a", input="Second"), target=target, on_conflict="skip")
    yield Seen("skipped on request", state == "stored" and said["counts"].get("stored") == 0, status, str(said["counts"])[:160])
    status, state, _, said = house.bring(row(id="a", input="Third"), target=target, on_conflict="version")
    yield Seen("a new version on request", state == "stored" and said["counts"].get("stored") == 1, status, str(said["counts"])[:160])


@case(12)
def again(house: House) -> Iterator[Seen]:
    target, content = f"again-{uuid4().hex[:8]}", row(id="a") + row(id="b", input="Two")
    _, _, _, first = house.bring(content, target=target)
    before = stored()
    status, _, _, second = house.bring(content, target=target)
    ok = (status, second["code"], second["counts"].get("already_as")) == (200, "import.already", first["id"]) and stored() == before
    yield Seen(
        "the same file again",
        ok,
        status,
        f"0 rows added, already imported as {second['counts'].get('already_as')}",
        expected="200 import.already",
    )


@case(13)
def nul(house: House) -> Iterator[Seen]:
    yield refused(house, "NUL in a text", row(input=TEXT + "\x00"), "text.nul", line=1, field="input")


@case(14)
def surrogate(house: House) -> Iterator[Seen]:
    yield refused(house, "half a character", raw(input='"a\\ud800"'), "text.surrogate", line=1, field="input")


@case(15)
def odd(house: House) -> Iterator[Seen]:
    from annotation.models import Sample

    text = "a\x07b\u202ec\u200bd\U000e0041"
    status, state, _, said = house.bring(row(input=text))
    ok = state == "stored" and Sample.objects.filter(input=text).exists() and said["counts"]["warnings"] >= 1
    yield Seen(
        "control, bidi, zero-width and tag characters are kept and counted",
        ok,
        status,
        f"{state}, {said['counts'].get('warnings')} warning",
    )
    yield refused(house, "a control character in an id", row(id="a\x07b"), "text.control", line=1, field="id")


@case(16)
def pairs(house: House) -> Iterator[Seen]:
    def trl(chosen: str, rejected: str) -> bytes:
        return json.dumps({"prompt": "Which dose?", "chosen": chosen, "rejected": rejected}).encode() + b"\n"

    yield refused(house, "identical texts", trl("Ten.", "Ten."), "pair.identical", line=1, shape="trl_standard")
    yield refused(house, "an empty text", trl("Ten.", ""), "pair.empty", line=1, shape="trl_standard")
    yield refused(house, "a missing side", row(rejected_output=""), "pair.empty", line=1, shape="mediflow_dpo")


@case(17)
def too_long(house: House) -> Iterator[Seen]:
    yield refused(house, "200,001 characters", row(output="x" * 200_001), "text.too_long", line=1, field="output")


@case(18)
def tokens(house: House) -> Iterator[Seen]:
    status, state, _, said = house.bring(row(input="Say <|im_end|> and <|assistant|> aloud"))
    yield Seen("control tokens are kept and counted", state == "stored" and said["counts"]["warnings"] >= 1, status, state)


@case(19)
def bombs_at_the_door(house: House) -> Iterator[Seen]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gz"
        bombs.packed(path, (b'{"input": "', 1), (b"x" * bombs.MIB, 300))
        yield refused(house, "gzip of one text without end", path.read_bytes(), "upload.ratio", name="a.jsonl.gz")
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner.zip", bytes(1000))
        yield refused(house, "zip in zip", inner.getvalue(), "upload.type", name="a.zip")
    yield refused(house, "ten million lines of a byte", b"1\n" * 1_000_000, "import.not_jsonl")
    yield refused(house, "a line of five MiB", b'{"input": "' + b"x" * (5 * bombs.MIB), "upload.line_too_long")
    answer = house.as_dan.generic(
        "POST", "/api/v1/imports/", b"", content_type="multipart/form-data; boundary=x", CONTENT_LENGTH=str(20 * 2**30),
        HTTP_IDEMPOTENCY_KEY=str(uuid4()),
    )  # fmt: skip
    yield Seen("an upload that declares 20 GB", answer.status_code == 413, answer.status_code, answer.content.decode()[:160])


@case(20)
def wrong_type(house: House) -> Iterator[Seen]:
    with tempfile.TemporaryDirectory() as folder:
        book = Path(folder) / "a.xlsx"
        bombs.workbook(book)
        status, state, _, said = house.bring(book.read_bytes(), name="a.jsonl")
        yield Seen(
            "a workbook called .jsonl is read as what it is", state == "stored" and said["format"] == "xlsx", status, said.get("format", "")
        )
    yield refused(house, "a web page", b"<!DOCTYPE html><p>Sign in", "upload.type", name="a.csv")
    yield refused(house, "a program", b"\x7fELF" + bytes(500), "upload.type")
    links = io.BytesIO()
    with zipfile.ZipFile(links, "w") as archive:
        link = zipfile.ZipInfo("rows.jsonl")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    yield refused(house, "a link in an archive", links.getvalue(), "upload.type", name="a.zip")


def _model(what: str, code: str, spoil: Any, *, adapter: bool, differs: str = "") -> Seen:
    """A model folder by `manage.py import_model`, which reads it as the job of the page does."""
    from django.core.management import CommandError, call_command

    from modelhub import imports
    from modelhub.models import ModelVersion
    from tests.modelhub import real

    before = ModelVersion.objects.count()
    with tempfile.TemporaryDirectory() as place:
        outside = Path(place)
        (outside / "canary").write_text("a secret")
        base = (
            imports.import_folder(folder=real.phi(outside / "Phi-3.5-mini-instruct"), name=f"phi-{uuid4().hex[:8]}").version
            if adapter
            else None
        )
        before += adapter
        folder = real.lora(outside / "adapter") if adapter else real.phi(outside / "phi")
        spoil(folder)
        try:
            call_command("import_model", folder, adapter_of=base.name if base else "", json=True, stdout=io.StringIO())
        except CommandError as refusal:
            said = json.loads(str(refusal))
            ok = said["refused"] == code and ModelVersion.objects.count() == before
            return Seen(what, ok, 422, f"{said['refused']}: {said['file']} {said['message']}"[:160], differs, expected=f"422 {code}")
    return Seen(what, False, 200, "taken")


@case(21)
def hostile_models(house: House) -> Iterator[Seen]:
    from tests.modelhub.test_hostile import ADAPTERS, MODELS

    for what, code in (
        ("a pickle beside the weights", "model.unsafe_format"), ("code of a file of its own", "model.remote_code"),
        ("code by a path", "model.remote_code"), ("an index that leads out", "model.path"), ("a name with a backslash", "model.path"),
        ("a NaN", "model.nonfinite"),
    ):  # fmt: skip
        yield _model(what, code, MODELS[what][0], adapter=False)
    for what, code in (
        ("a pickled adapter", "model.unsafe_format"), ("code in an adapter", "model.remote_code"),
        ("another base", "model.base_mismatch"), ("a NaN in an adapter", "model.nonfinite"),
    ):  # fmt: skip
        yield _model(what, code, ADAPTERS[what][0], adapter=True)
    yield _model("another rank", "model.rank_mismatch", ADAPTERS["another rank"][0], adapter=True, differs=RANK)


@case(22)
def corrupt_weights(house: House) -> Iterator[Seen]:
    from tests.modelhub.test_hostile import MODELS

    for what in ("a header of terabytes", "a header beyond the limit", "offsets beyond the file", "a truncated file"):
        yield _model(what, "model.corrupt", MODELS[what][0], adapter=False)


@case(23)
def references(house: House) -> Iterator[Seen]:
    from django.utils.html import escape

    from jobs.models import Job
    from modelhub.forms import ImportForm
    from modelhub.incoming import NO_FOLDER
    from tests.modelhub.test_hostile import ADAPTERS

    for reference in ("../../etc", "/abs", "org/name/../../x", "https://evil.example/x?revision=main"):
        before = Job.objects.count()
        answer = house.as_dan.post("/models/import/", {"folder": reference, "name": "x", "kind": "base"})
        # A page shows the words, its form holds the code.
        form = ImportForm({"folder": reference, "name": "x", "kind": "base"}, offers=[])
        code = form.errors.get_json_data()["folder"][0]["code"]
        shown = escape(NO_FOLDER) in answer.content.decode()
        ok = answer.status_code == 422 and code == "model.ref" and shown and Job.objects.count() == before
        told = f"{code}: That {NO_FOLDER}"[:160] if shown else "not said"
        yield Seen(f"the folder {reference}", ok, answer.status_code, told, expected="422 model.ref")
    for what in ("a base by a path", "a base by an address"):
        yield _model(what, "model.base_mismatch", ADAPTERS[what][0], adapter=True, differs=BY_PATH)


@case(24)
def job_settings(house: House) -> Iterator[Seen]:
    from django.utils.html import escape

    from annotation.models import Verdict
    from jobs.models import Job
    from tests.annotation.build import campaign, judge
    from tests.training import build
    from training import preflight, presets, specs
    from training.engine.errors import SpecError
    from training.forms import LaunchForm

    dpo = next(preset for preset in presets.ALL if preset.kind == "dpo")
    with tempfile.TemporaryDirectory() as folder:
        policy = build.version(Path(folder), "a-policy")

    def launch(what: str, wrong: set[str], **said: str) -> Seen:
        """What comes of a launch: 422, nothing queued, and the page says of every field that is wrong what is wrong with it."""
        asked = {"policy": str(policy.public_id), "preset": dpo.key, "drawn": dpo.key, "name": f"run-{uuid4().hex[:8]}", **said}
        answer = house.as_dan.post("/runs/new/", asked)
        page = answer.content.decode()
        errors = {name: str(told[0]) for name, told in LaunchForm(asked, user=house.dan).errors.items()}
        shown = {name for name, words in errors.items() if escape(words) in page}
        ok = answer.status_code == 422 and wrong <= shown and not Job.objects.filter(kind="dpo").exists()
        return Seen(what, ok, answer.status_code, f"all at once: {', '.join(sorted(shown))}", WORDS, "422 job.config")

    many, few = str(build.snapshot(pairs=32).public_id), str(build.snapshot(pairs=1, name="one row").public_id)
    for what, sent in (
        ("lr 0, epochs 0, beta NaN and a seed below none", {"learning_rate": "0", "epochs": "0", "beta": "nan", "seed": "-1"}),
        ("lr negative", {"learning_rate": "-1e-5"}), ("lr 1e9", {"learning_rate": "1e9"}),
    ):  # fmt: skip
        yield launch(what, set(sent), snapshot=many, **sent)
    yield launch(
        "nothing but a learning rate, and that of 1e9", {"snapshot", "policy", "name", "learning_rate"}, snapshot="", policy="", name="",
        learning_rate="1e9",
    )  # fmt: skip
    try:
        specs.check("dpo", {**dpo.params, "lrate": 1e-5})
        yield Seen("an unknown key", False, 200, "taken")
    except SpecError as error:
        yield Seen("an unknown key", "lrate" in str(error), 422, str(error)[:160], WORDS, "422 job.config")
    seen = launch("one row", set(), snapshot=few)
    page = house.as_dan.get("/runs/new/", {"snapshot": few, "policy": str(policy.public_id), "preset": dpo.key}).content.decode()
    said = f"Collect at least {preflight.PAIRS_NEEDED}"
    seen.ok, seen.expected, seen.told = (
        seen.ok and said in page,
        "422 job.data",
        f"the page stops it: {said}" if said in page else "not said",
    )
    yield seen
    tied = campaign([house.alice], pairs=3)
    for _ in range(3):
        judge(tied, house.alice, Verdict.BOTH_ACCEPTABLE)
    answer = house.as_dan.post("/api/v1/snapshots/", {"campaign": str(tied.public_id), "name": "Ties"}, content_type="application/json")
    said = answer.json()["detail"]
    yield Seen("all pairs ties", answer.status_code == 409 and "3 (" in said, answer.status_code, said[:160], TIES, "422 job.data")


@case(25)
def answers(house: House) -> Iterator[Seen]:
    from django.test import Client
    from django.utils import timezone

    from accounts.models import RoleGrant
    from annotation.models import Assignment, Judgement
    from tests.annotation.build import campaign, lease

    def send(client: Client, held: Assignment, verdict: str, **more: str) -> Any:
        headers = {"HX-Request": "true"} if more.pop("htmx", "") else {}
        return client.post(f"/rate/{held.public_id}/", {"verdict": verdict, "key": str(uuid4()), **more}, headers=headers)

    made = campaign([house.alice], pairs=6)
    held = lease(made, house.alice)
    key = str(uuid4())
    send(house.as_alice, held, "a_much", key=key)
    replay = send(house.as_alice, held, "b_much", key=key)
    said = Judgement.objects.filter(assignment=held)
    ok = replay.status_code == 422 and said.count() == 1
    yield Seen("a key sent again with another answer", ok, replay.status_code, "nothing was overwritten", expected="422")
    send(house.as_alice, held, "a_slightly", amends="1")
    stale = send(house.as_alice, held, "b_much", amends="1")
    ok = stale.status_code == 409 and said.count() == 2
    yield Seen("a form from before a change", ok, stale.status_code, "stale, both shown")
    late = lease(made, house.alice)
    Assignment.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(seconds=5))
    response = send(house.as_alice, late, "a_much")
    ok = Judgement.objects.filter(assignment=late).exists() and response.status_code < 400
    yield Seen("an answer after its lease", ok, response.status_code, "the answer is kept", LATE)
    held = lease(made, house.alice)
    house.as_alice.post(f"/rate/{held.public_id}/draft/", {"verdict": "b_much", "key": str(uuid4()), "draft_number": "1"})
    answer = send(Client(raise_request_exception=False), held, "b_much", htmx="yes")
    leads = answer.headers.get("HX-Redirect", answer.headers.get("Location", ""))
    ok = (
        answer.status_code == 401
        and leads.startswith("/accounts/login/")
        and b"<form" not in answer.content
        and not Judgement.objects.filter(assignment=held).exists()
    )
    yield Seen("an answer without a session, by htmx", ok, answer.status_code, f"led to {leads[:40]}; the draft is kept", expected="401")
    RoleGrant.objects.filter(user=house.alice).delete()
    gone = house.as_alice.get("/rate/")
    yield Seen("a page after the role was taken away", gone.status_code in (403, 404), gone.status_code, "denied at once")


def run(numbers: list[int] | None = None, say: Callable[[int, Seen], None] = lambda number, seen: None) -> dict[int, list[Seen]]:
    """What came of each case; `say` hears of each input as soon as it is known. An exception is a 500."""
    house = House()
    found: dict[int, list[Seen]] = {}
    for number in sorted(CASES):
        if numbers and number not in numbers:
            continue
        found[number] = []
        try:
            for seen in CASES[number](house):
                found[number].append(seen)
                say(number, seen)
        except Exception as error:  # what must never happen is what is looked for
            found[number].append(Seen("the case itself", False, 500, f"{type(error).__name__}: {error}"[:300]))
            say(number, found[number][-1])
    return found
