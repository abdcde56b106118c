"""The evidence pack: it verifies where no Rounds is, and any byte that changes is found and its file named; nobody and no text is in it."""

import ast
import io
import json
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from accounts.models import AuditEntry, Role, User
from annotation.models import Completion, Sample
from tests.cast import person
from tests.database import standing
from tests.training import studied
from training.engine import statistics
from training.evidence import figures, pack, verdict, verify
from training.evidence.pack import Pack
from training.models import Study

pytestmark = pytest.mark.django_db
HERE = Path(verify.__file__).parent
RATERS = ("rater-heron", "rater-kestrel", "rater-wren")


@pytest.fixture(scope="module")
def study(django_db_setup: None, django_db_blocker: DjangoDbBlocker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Study]:
    """A study that ended at its 150th vote, with three raters, suites of both models, and a promotion that Dan decided."""
    with override_settings(DATA_DIR=tmp_path_factory.mktemp("data")), standing(django_db_blocker):
        raters, dan = [person(name, Role.ANNOTATOR) for name in RATERS], person("dan-decides", Role.TRAINER)
        found = studied.decided(studied.evaluated(tmp_path_factory.mktemp("models"), raters, dan, prompts=165), raters, dan, fewest=150)
        studied.suites(found, dan)
        studied.promoted(found, dan)
        yield found


@pytest.fixture(scope="module")
def made(study: Study) -> Pack:
    return pack.assemble(study)


@pytest.fixture(scope="module")
def data(made: Pack) -> bytes:
    return b"".join(made.archive.blocks())


def wrong(place: Path, content: bytes | None = None, **said: str) -> str:
    """What the verifier says of a pack that does not verify; fails for one that does."""
    if content is not None:
        place.write_bytes(content)
    report = verify.verify(place, **said)
    assert report.faults, "it verifies"
    return verify.tell(report)


def again(made: Pack, **changed: bytes) -> Pack:
    """The pack with other files, sealed anew as if nothing had happened: only what is computed again can tell."""
    files = {name: content for name, content in made.files.items() if name != verify.MANIFEST}
    renamed = {name.replace("__", "."): content for name, content in changed.items()}
    return pack.seal(study=json.loads(made.files[verify.MANIFEST])["study"], files=files | renamed)


def written(made: Pack, place: Path) -> Path:
    place.write_bytes(b"".join(made.archive.blocks()))
    return place


def edited(made: Pack, name: str, change: Callable[[Any], Any]) -> bytes:
    document = json.loads(made.files[name])
    change(document)
    return verify.as_json(document)


def lines(made: Pack, name: str = "votes.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in made.files[name].splitlines()]


def bare(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Python without Rounds: isolated, without site-packages, from elsewhere."""
    found = subprocess.run(
        [sys.executable, "-I", "-S", *map(str, arguments)], cwd=cwd, env={}, capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert found.stderr == ""
    return found


# --- where no Rounds is ------------------------------------------------------------------------------------------------------------------


def test_it_verifies_on_a_machine_without_rounds(study: Study, made: Pack, data: bytes, tmp_path: Path) -> None:
    alone, elsewhere = tmp_path / "alone", tmp_path / "elsewhere"
    for folder in (alone, elsewhere):
        folder.mkdir()
    (alone / "verify.py").write_bytes(made.files["verify.py"])
    (tmp_path / "pack.zip").write_bytes(data)
    found = bare(alone / "verify.py", tmp_path / "pack.zip", "--digest", made.digest, cwd=elsewhere)
    assert found.returncode == 0, found.stdout
    assert found.stdout.splitlines()[-1] == f"OK: better. Pack digest {made.digest}"
    assert "Verdict: better. 86 votes for the challenger, 48 for the champion, 16 ties, by 3 raters; e = 83.87 for better" in found.stdout
    assert "the pack's own, which are the ones this verifier was made with" in found.stdout
    assert (study.verdict, study.counted) == ("better", 150)
    other = bare(alone / "verify.py", tmp_path / "pack.zip", "--digest", "0" * 64, cwd=elsewhere)
    assert other.returncode == 1
    assert "another pack than the one asked for" in other.stdout
    assert not list(alone.glob("__pycache__")), "nothing is written beside it"


def test_a_folder_it_was_unpacked_into_verifies_too(made: Pack, data: bytes, tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        archive.extractall(tmp_path / "pack")
    assert bare(tmp_path / "pack" / "verify.py", ".", cwd=tmp_path / "pack").returncode == 0
    assert {path.relative_to(tmp_path / "pack").as_posix() for path in (tmp_path / "pack").rglob("*") if path.is_file()} == set(made.files)
    for name, content in made.files.items():
        changed = bytearray(content)
        changed[len(content) // 2] ^= 1
        (tmp_path / "pack" / name).write_bytes(changed)
        assert f"FAILED: {name}. " in wrong(tmp_path / "pack")
        (tmp_path / "pack" / name).unlink()
        assert f"{name}: is missing" in wrong(tmp_path / "pack")
        (tmp_path / "pack" / name).write_bytes(content)
    (tmp_path / "pack" / "json.py").write_text("raise SystemExit('OK, says whoever packed me')")
    added = subprocess.run([sys.executable, "verify.py", "."], cwd=tmp_path / "pack", capture_output=True, text=True, check=False)
    assert (added.returncode, added.stderr) == (1, "")
    assert "json.py: is not in the manifest: it was added" in added.stdout
    (tmp_path / "pack" / "json.py").unlink()
    (tmp_path / "pack" / "card.md").unlink()
    (tmp_path / "pack" / "card.md").symlink_to("/etc/hostname")
    assert "card.md: is a link or a device" in wrong(tmp_path / "pack")


def test_it_needs_nothing_but_the_standard_library_of_python_3_9() -> None:
    for name in (*verify.CODE, "verify.py"):
        tree = ast.parse((HERE / name).read_text(), feature_version=(3, 9))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        assert {one.split(".")[0] for one in names} <= sys.stdlib_module_names, name
        assert not any(isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip" and node.keywords for node in ast.walk(tree))


def test_the_verifier_knows_the_code_it_was_made_with() -> None:
    found = {name: sha256((HERE / name).read_bytes()).hexdigest() for name in verify.CODE}
    assert found == verify.KNOWN, f"verdict.py, harm.py or figures.py has changed: write these into verify.py: {found}"


# --- every byte --------------------------------------------------------------------------------------------------------------------------


def places(made: Pack) -> dict[str, tuple[int, int]]:
    """Where each file's own bytes begin and end in the archive."""
    found, at = {}, 0
    for name, content in made.files.items():
        found[name] = (at + 30 + len(name), at + 30 + len(name) + len(content))
        at = found[name][1]
    return found


def test_a_changed_byte_of_any_file_is_found_and_the_file_named(made: Pack, data: bytes, tmp_path: Path) -> None:
    """First, last and random bytes of every file and every byte of its header, at a random bit."""
    draw = random.Random(7)
    for name, (start, end) in places(made).items():
        inside = {start, end - 1, *(draw.randrange(start, end) for _ in range(6))}
        for at in (*inside, *range(start - 30 - len(name), start)):
            changed = bytearray(data)
            changed[at] ^= 1 << draw.randrange(8)
            told = wrong(tmp_path / "pack.zip", bytes(changed))
            assert f"{name}" in told.splitlines()[-1], (name, at - start, told)


def test_every_single_byte_of_an_archive_counts(made: Pack, tmp_path: Path) -> None:
    """All of them, one after the other, on a pack of the same files with little in them: headers, contents, directory and end."""
    small = again(made, **{name.replace(".", "__"): content[:24] for name, content in made.files.items() if name != verify.MANIFEST})
    data = b"".join(small.archive.blocks())
    owner = [verify.DIRECTORY] * len(data)
    for name, (start, end) in places(small).items():
        owner[start - 30 - len(name) : end] = [name] * (end - start + 30 + len(name))
    assert not verify._taken_apart(data)[1]
    for at, name in enumerate(owner):
        changed = bytearray(data)
        changed[at] ^= 1 << at % 8
        try:
            faults = verify._taken_apart(bytes(changed))[1]
        except verify.Fault as fault:
            faults = [fault]
        assert name in {fault.name for fault in faults}, at


@pytest.mark.parametrize("end", [1, 21, 22, 500, 5000])
def test_what_is_cut_off_or_added_is_missed(data: bytes, tmp_path: Path, end: int) -> None:
    told = wrong(tmp_path / "pack.zip", data[:-end])
    assert told.splitlines()[-1].startswith("FAILED: ")
    assert "is not as it was written" in wrong(tmp_path / "pack.zip", data + b"\n" * end)
    assert "MANIFEST.json" in wrong(tmp_path / "pack.zip", b"MZ" + data)


def test_an_empty_file_no_file_and_another_zip_are_no_packs(tmp_path: Path) -> None:
    assert "MANIFEST.json" in wrong(tmp_path / "pack.zip", b"")
    assert "cannot be read: No such file" in wrong(tmp_path / "none.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("votes.jsonl", "{}")
    assert "this is no evidence pack" in wrong(tmp_path / "other.zip")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=200), st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner)))
def test_whatever_is_given_it_answers_with_a_name(tmp_path_factory: pytest.TempPathFactory, noise: bytes, said: Any) -> None:
    folder = tmp_path_factory.mktemp("noise")
    assert "FAILED: " in wrong(folder / "pack.zip", noise)
    (folder / "pack.zip").unlink()
    for document in (noise, json.dumps(said).encode(), manifest_of(said), manifest_of({"README.txt": said})):
        (folder / verify.MANIFEST).write_bytes(document)
        assert "FAILED: " in wrong(folder)


def manifest_of(files: Any) -> bytes:
    told = {"format": verify.FORMAT, "study": "x", "files": files}
    return verify.as_json({**told, "digest": verify.digest_of(told)})


# --- hostile archives --------------------------------------------------------------------------------------------------------------------


def rezipped(made: Pack, *more: tuple[zipfile.ZipInfo | str, bytes], order: list[str] | None = None) -> bytes:
    """The same files as another program zips them, with whatever else."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in order or list(made.files):
            archive.writestr(zipfile.ZipInfo(name), made.files[name])
        for name, content in more:
            archive.writestr(name, content)
    return stream.getvalue()


def test_an_archive_that_rounds_did_not_write_is_refused_and_what_is_odd_in_it_named(made: Pack, tmp_path: Path) -> None:
    place = tmp_path / "pack.zip"
    assert "FAILED" in wrong(place, rezipped(made))
    assert "../../evil.py: is a name that no pack holds: it could lead out" in wrong(place, rezipped(made, ("../../evil.py", b"!")))
    assert "/etc/passwd: is a name that no pack holds" in wrong(place, rezipped(made, ("/etc/passwd", b"!")))
    assert "votes.txt: is not in the manifest" in wrong(place, rezipped(made, ("votes.txt", b"!")))
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = rezipped(made, ("votes.jsonl", b"!"))
    assert "votes.jsonl: is in the archive twice" in wrong(place, twice)
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    assert "link: is a link" in wrong(place, rezipped(made, (link, b"/etc/passwd")))
    bomb = zipfile.ZipInfo("bomb")
    bomb.compress_type = zipfile.ZIP_DEFLATED
    assert "bomb: is compressed" in wrong(place, rezipped(made, (bomb, bytes(50_000_000))))
    assert "MANIFEST.json" in wrong(place, rezipped(made, order=[*reversed(made.files)]))
    escaped = wrong(place, rezipped(made, ("\x1b[2Jcleared", b"!")))
    assert "\x1b" not in escaped


def test_a_manifest_that_names_odd_files_is_refused_by_their_name(made: Pack, tmp_path: Path) -> None:
    files = {name: content for name, content in made.files.items() if name != verify.MANIFEST}
    for name in ("../evil.py", "/etc/passwd", "suites/../../x", "json.py"):
        told = wrong(written(pack.seal(study="x", files=files | {name: b"!"}), tmp_path / "pack.zip"))
        assert told.splitlines()[-1] == f"FAILED: {name}. Do not rely on this pack."
    for name in verify.FILES:
        less = {other: content for other, content in files.items() if other != name}
        assert f"{name}: is missing" in wrong(written(pack.seal(study="x", files=less), tmp_path / "pack.zip"))


def test_code_of_a_pack_that_its_verifier_does_not_know_is_not_run(made: Pack, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "verify.py").write_bytes(made.files["verify.py"])
    evil = again(made, verdict__py=b"raise SystemExit('OK: better')\n")
    found = bare(alone / "verify.py", written(evil, tmp_path / "pack.zip"), cwd=tmp_path)
    assert found.returncode == 1
    assert "verdict.py: is not the one this verifier was made with, and is not run" in found.stdout
    # Where trusted copies lie beside the verifier, as in Rounds itself, they are what runs.
    report = verify.verify(tmp_path / "pack.zip")
    assert not report.faults
    assert "the pack holds another version of them, which was not run" in report.said[1]


# --- changed, and sealed anew ------------------------------------------------------------------------------------------------------------


def test_the_digest_tells_another_pack_however_well_it_was_made(made: Pack, tmp_path: Path) -> None:
    other = again(made, card__md=b"# A better model\n")
    assert not verify.verify(written(other, tmp_path / "pack.zip")).faults
    assert "MANIFEST.json: this is another pack" in wrong(tmp_path / "pack.zip", digest=made.digest)


def votes_of(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_votes_that_were_swapped_dropped_or_turned_are_found(made: Pack, tmp_path: Path) -> None:
    place, rows = tmp_path / "pack.zip", lines(made)
    swapped = [rows[1], rows[0], *rows[2:]]
    assert "votes.jsonl: line 1 is vote 2" in wrong(written(again(made, votes__jsonl=votes_of(swapped)), place))
    renumbered = [row | {"number": number} for number, row in enumerate(rows[:-1], start=1)]
    assert "votes.jsonl: holds 149 votes, and 150 were counted" in wrong(written(again(made, votes__jsonl=votes_of(renumbered)), place))
    lost = next(place for place, row in enumerate(rows) if row["in_favour"] == "champion")
    turned = [row | {"in_favour": "challenger"} if place == lost else row for place, row in enumerate(rows)]
    assert f"votes.jsonl: vote {lost + 1} was for the champion" in wrong(written(again(made, votes__jsonl=votes_of(turned)), place))
    side = "left" if rows[lost]["challenger_side"] == "left" else "right"
    both = [row | {"in_favour": "challenger", "choice": f"{side}_much"} if row is rows[lost] else row for row in rows]
    assert "analysis.json: verdict.wins is 86 there, and 87" in wrong(written(again(made, votes__jsonl=votes_of(both)), place))
    cut = made.files["votes.jsonl"][:-1]
    assert "votes.jsonl: its last line is cut short" in wrong(written(again(made, votes__jsonl=cut), place))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("analysis.json", lambda said: said["verdict"].update(e_better=83.9), "verdict.e_better is 83.9 there"),
        ("analysis.json", lambda said: said["harm"].update(upper=0.001), "harm.upper is 0.001 there"),
        ("analysis.json", lambda said: said["by_length"]["longer"].update(wins=0), "by_length.longer.wins is 0 there"),
        ("analysis.json", lambda said: said["held_out"].update(low=0.7), "held_out.low is 0.7 there"),
        ("analysis.json", lambda said: said["suites"]["mini"]["tasks"]["entailment"].update(p=0.01), "entailment.p is 0.01 there"),
        ("analysis.json", lambda said: said.pop("harm"), "by what is in the pack"),
        ("evaluation.json", lambda said: said["preference_accuracy"].update(value=0.9), "preference_accuracy.value is 0.9 there"),
        ("evaluation.json", lambda said: said.update(draws=10**12), "tells of more draws"),
        ("study.json", lambda said: said.update(verdict="worse"), "says “worse”, and the votes say “better”"),
        ("study.json", lambda said: said.update(study="another"), "is of another study"),
        ("study.json", lambda said: said["champion"].update(name="ward-old"), "is of other models than the protocol"),
        ("card.json", lambda said: said.update(artifact="0" * 64), "is of another model"),
        ("evaluation.json", lambda said: said["policy"].update(digest="0" * 64), "is of another model, or another evaluation"),
        ("decision.json", lambda said: said["decisions"][0]["version"].update(name="ward-old"), "decides about another model"),
        ("protocol.json", lambda said: said["test"].update(threshold=2.0), "its digest is not of what it says"),
        ("campaign.json", lambda said: said.update(guideline="Prefer the left."), "its digest is not of what it says"),
        ("rubric.json", lambda said: said["content"].update(checks=["mine"]), "its digest is not of what it says"),
        ("decision.json", lambda said: said["decisions"][0]["gates"][1].pop("override"), "promotes against Replay"),
        ("card.json", lambda said: None, ""),
    ],
)  # fmt: skip
def test_a_document_that_says_otherwise_is_named(made: Pack, tmp_path: Path, name: str, change: Callable[[Any], Any], said: str) -> None:
    changed = again(made, **{name.replace(".", "__"): edited(made, name, change)})
    if not said:
        assert changed == made, "the same documents give the same pack"
        return
    told = wrong(written(changed, tmp_path / "pack.zip"))
    assert said in told
    assert name in told.splitlines()[-1]


def test_a_guideline_that_was_not_the_locked_one_is_named(made: Pack, tmp_path: Path) -> None:
    told = wrong(written(again(made, guideline__txt=b"Prefer the left."), tmp_path / "pack.zip"))
    assert told.splitlines()[-1].startswith("FAILED: guideline.txt.")


def test_a_gate_that_passed_without_a_verdict_is_named(made: Pack, tmp_path: Path) -> None:
    """A study that ended undecided, and a decision that says it was won."""
    rows = [row | {"in_favour": "tie", "choice": "both_acceptable"} for row in lines(made)]
    found = with_votes(made, rows)
    told = wrong(written(found, tmp_path / "pack.zip"))
    assert "decision.json: Blinded win-rate passed, and the votes do not say so" in told
    assert told.splitlines()[-1].startswith("FAILED: decision.json.")


# --- the figures -------------------------------------------------------------------------------------------------------------------------


def with_votes(made: Pack, rows: list[dict[str, Any]]) -> Pack:
    """The pack that Rounds would have made of these votes: analysis and study say what follows from them."""
    rows = rows[: verdict.follow_votes(rows).decided_at or len(rows)]
    suites = {"mini": {side: json.loads(made.files[f"suites/mini-{side}.json"]) for side in verify.SIDES}}
    found = verify.analyse(rows, lines(made, "pairs.jsonl"), suites, json.loads(made.files["evaluation.json"]), pack.CODE)
    told = {"verdict": found["verdict"]["verdict"], "counted": len(rows)}
    return again(
        made, votes__jsonl=votes_of(rows), analysis__json=verify.as_json(found),
        study__json=edited(made, "study.json", lambda study: study.update(told)),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(["challenger"] * 5 + ["champion"] * 3 + ["tie"])), max_size=300), st.data()
)
def test_whatever_the_votes_it_says_what_rounds_says(
    made: Pack, tmp_path_factory: pytest.TempPathFactory, votes: list[tuple[str, str]], data: st.DataObject
) -> None:
    sides = [data.draw(st.sampled_from(["left", "right"])) for _ in votes[:4]] + ["left"] * len(votes[4:])
    choice = {"challenger": {"left": "left_much", "right": "right_slightly"}, "champion": {"left": "right_much", "right": "left_slightly"}}
    harmed = data.draw(st.sets(st.integers(0, 299), max_size=4))
    rows = [
        {
            "number": number, "pair": f"pair {number}", "rater": f"rater {rater}", "challenger_side": side, "in_favour": favoured,
            "choice": choice[favoured][side] if favoured in choice else "both_unacceptable", "words_challenger": 7 * number % 90,
            "words_champion": 40, "major_challenger": number in harmed, "major_champion": False, "life_threatening_challenger": False,
            "life_threatening_champion": False,
        }
        for number, ((rater, favoured), side) in enumerate(zip(votes, sides, strict=True), start=1)
    ]  # fmt: skip
    found = with_votes(made, rows)
    report = verify.verify(written(found, tmp_path_factory.mktemp("packs") / "pack.zip"))
    said = verdict.follow_votes(rows)
    assert report.verdict == said.verdict
    # The decision that travels in it was made of a better one: of others it says so, and nothing else is wrong.
    assert {fault.name for fault in report.faults} == (set() if said.verdict == "better" else {"decision.json"})


def test_held_out_accuracy_is_the_engines(made: Pack) -> None:
    rows = lines(made, "pairs.jsonl")
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row["prompt"], []).append(row["correct"])
    found = figures.held_out(rows, draws=500, seed=11)
    low, high = statistics.bootstrap_mean(list(groups.values()), 500, 11)
    assert figures._redrawn(list(groups.values()), 500, 11) == (low, high)
    assert figures._wilson(31, 38) == statistics.wilson(31, 38)
    assert (found["n"], found["prompts"]) == (len(rows), len(groups))
    assert sum(row["raters"].startswith("labeller ") for row in rows) == len(rows)


def test_a_suites_difference_says_who_is_better_whichever_way_its_scores_point() -> None:
    def told(*items: float, up: bool) -> dict[str, Any]:
        return {"suite": "mini", "tasks": {"errors": {"items": list(items), "higher_is_better": up}}}

    up = figures.suites(told(1, 1, 0, 1, up=True), told(1, 0, 0, 0, up=True))
    assert up["tasks"]["errors"] == {"n": 4, "challenger": 0.75, "champion": 0.25, "difference": 0.5, "better": 2, "worse": 0, "p": 0.5}
    down = figures.suites(told(1, 1, 0, 1, up=False), told(1, 0, 0, 0, up=False))
    assert (down["difference"], down["tasks"]["errors"]["better"], down["tasks"]["errors"]["worse"]) == (-0.5, 0, 2)
    with pytest.raises(ValueError, match="same items of errors"):
        figures.suites(told(1, up=True), told(1, 0, up=True))


def test_lengths_and_flags_are_counted_by_side() -> None:
    row = {f"{what}_{who}": False for what in ("major", "life_threatening") for who in verify.SIDES}
    votes = [
        row | {"words_challenger": 10, "words_champion": 40, "in_favour": "challenger", "major_challenger": True},
        row | {"words_challenger": 40, "words_champion": 40, "in_favour": "champion", "major_champion": True, "major_challenger": True},
        row | {"words_challenger": 50, "words_champion": 40, "in_favour": "tie"},
        row | {"words_challenger": 60, "words_champion": 0, "in_favour": "challenger"},
    ]
    found = figures.by_length(votes)
    assert found["shorter"] == {"wins": 1, "losses": 0, "ties": 0, "win_rate": 1.0}
    assert found["similar"] == {"wins": 0, "losses": 1, "ties": 1, "win_rate": 0.25}
    assert found["longer"] == {"wins": 1, "losses": 0, "ties": 0, "win_rate": 1.0}
    assert found["ratio"] == pytest.approx((1 + 1.25) / 2)
    assert figures.flags(votes)["major"] == {"challenger": 2, "champion": 1, "only_challenger": 1, "only_champion": 0}


# --- what is in it -----------------------------------------------------------------------------------------------------------------------


def test_the_same_state_gives_the_same_bytes(study: Study, data: bytes) -> None:
    assert b"".join(pack.assemble(Study.objects.get(pk=study.pk)).archive.blocks()) == data


def test_no_text_of_a_case_and_no_rater_is_in_it(study: Study, data: bytes) -> None:
    inside = data.decode("utf-8", "replace")
    assert User.objects.filter(username__in=RATERS).count() == 3
    for name in RATERS:
        assert name not in inside
    texts = {text for sample in Sample.objects.all() for text in (sample.instruction, sample.input, sample.output)}
    texts |= set(Completion.objects.values_list("text", flat=True)) | {studied.RATIONALE}
    assert len(texts) > 500
    assert not [text for text in texts if text in inside]
    for word in ("chest pain", "troponin", "fluids", "warfarin", "case 1"):
        assert word not in inside


def test_only_who_decided_is_named_and_no_vote_has_a_time(study: Study, made: Pack) -> None:
    decision = json.loads(made.files["decision.json"])["decisions"][0]
    assert (decision["decided_by"], decision["gates"][1]["override"]) == ("dan-decides", "Replayed by hand, see log.")
    assert [name for name, content in made.files.items() if b"dan-decides" in content] == ["decision.json"]
    rows = lines(made)
    assert len(rows) == study.counted == 150
    assert not {"submitted_at"} & rows[0].keys()
    assert {row["rater"] for row in rows} == {"rater 1", "rater 2", "rater 3"}
    document = json.loads(made.files["prov.json"])
    judged = [said for name, said in document["entity"].items() if name.startswith("rounds:judgement.")]
    assert judged
    assert not [said for said in judged if "rounds:at" in said]
    assert document["activity"][f"rounds:study.{study.public_id}"]["rounds:verdict"] == "better"


# --- by command --------------------------------------------------------------------------------------------------------------------------


def told(name: str, *arguments: object, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, *map(str, arguments), stdout=out, **options)
    return out.getvalue()


def test_the_commands_write_and_verify_it(study: Study, made: Pack, data: bytes, tmp_path: Path) -> None:
    place = tmp_path / "pack.zip"
    assert f"Digest {made.digest}" in told("evidence_pack", study.pk, out=place)
    assert place.read_bytes() == data
    assert AuditEntry.objects.get(verb=pack.TAKEN).details == {"digest": made.digest, "via": "command"}
    assert f"OK: better. Pack digest {made.digest}" in told("verify_pack", place, digest=made.digest)
    with pytest.raises(CommandError, match="is there already; nothing is overwritten"):
        told("evidence_pack", study.public_id, out=place)
    place.write_bytes(data.replace(b'"rater": "rater 2"', b'"rater": "rater 3"', 1))
    with pytest.raises(CommandError, match=r"FAILED: votes\.jsonl"):
        told("verify_pack", place)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ("0", "There is no study 0"),
        ("spring", "“spring” is no study's number"),
        ("00000000-0000-4000-8000-000000000001", "There is no study"),
    ],
)
def test_a_study_that_is_not_there_is_named(tmp_path: Path, named: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        told("evidence_pack", named, out=tmp_path / "pack.zip")
    with pytest.raises(CommandError, match="cannot be read: No such file"):
        told("verify_pack", tmp_path / "pack.zip")


def test_there_is_no_pack_before_the_end(study: Study) -> None:
    with pytest.raises(pack.NotPacked, match="no verdict yet"):
        pack.assemble(Study(state="running", campaign=study.campaign, evaluation=study.evaluation))
