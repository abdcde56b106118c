"""What a merge keeps of what experts learnt: by hand, and where there is nothing to keep."""

import pytest

from training.engine.merging.retention import retention


def marks(right: int, n: int = 10) -> list[bool]:
    return [index < right for index in range(n)]


def test_by_hand() -> None:
    told = retention({"a": marks(2), "b": marks(0)}, {"a": marks(10), "b": marks(5)}, {"a": marks(6), "b": marks(5)})
    assert told["questions"] == 20
    a, b = told["experts"]["a"], told["experts"]["b"]
    assert {name: a[name] for name in ("base", "expert", "merged", "gain", "kept")} == {
        "base": 0.2, "expert": 1.0, "merged": 0.6, "gain": 0.8, "kept": 0.5,
    }  # fmt: skip
    # Whatever is drawn, b's merge has right what its expert has, question by question: paired, there is no doubt about it.
    assert (b["kept"], b["interval"]) == (1.0, [1.0, 1.0])
    assert 0.1 < a["interval"][0] < 0.5 < a["interval"][1] < 0.9


def test_an_expert_that_gained_nothing_has_nothing_to_keep() -> None:
    told = retention({"a": marks(5)}, {"a": marks(5)}, {"a": marks(9)})["experts"]["a"]
    assert (told["gain"], told["kept"], told["interval"]) == (0.0, None, None)


def test_questions_of_one_group_are_redrawn_together() -> None:
    base, expert, merged = marks(0, 40), marks(40, 40), [index % 8 < 4 for index in range(40)]
    alone = retention({"a": base}, {"a": expert}, {"a": merged})["experts"]["a"]
    grouped = retention({"a": base}, {"a": expert}, {"a": merged}, groups={"a": [str(index // 4) for index in range(40)]})["experts"]["a"]
    assert alone["kept"] == grouped["kept"] == pytest.approx(0.5)
    # Whole groups of four are right or wrong: there are ten of them and not forty.
    assert grouped["interval"][1] - grouped["interval"][0] > 1.5 * (alone["interval"][1] - alone["interval"][0])
