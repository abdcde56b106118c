"""Model text is hostile text: shown as it is, never as markup, with nothing hidden in it."""

from datetime import timedelta

import pytest
from django.utils import timezone

from web.templatetags.rounds import age, ago, duration, hostile, short, size, visible


def test_markup_in_a_completion_is_text() -> None:
    shown = hostile('<script>alert(1)</script><img src=x onerror="x"> & "so on"')
    assert shown == (
        '<div class="prose" dir="auto">&lt;script&gt;alert(1)&lt;/script&gt;'
        "&lt;img src=x onerror=&quot;x&quot;&gt; &amp; &quot;so on&quot;</div>"
    )


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("5 mg\u202e gm 05", "5 mg⟨U+202E⟩ gm 05"),
        ("no\u200bbreak", "no⟨U+200B⟩break"),
        ("bell\x07", "bell⟨U+0007⟩"),
        ("tab\tand\r\nline", "tab\tand\nline"),
        ("μg → ≥ ✓ 漢字 é", "μg → ≥ ✓ 漢字 é"),
    ],
)
def test_what_would_be_invisible_is_shown_and_all_else_is_left_alone(text: str, seen: str) -> None:
    assert visible(text) == seen


def test_control_tokens_are_plain_text() -> None:
    assert "&lt;|end|&gt;&lt;|system|&gt;" in hostile("<|end|><|system|>")


def test_ids_are_short_and_can_be_copied_whole() -> None:
    shown = short("0123456789abcdef")
    assert ">01234567</span>" in shown
    assert 'data-copy="0123456789abcdef"' in shown
    assert "–" in short("")


@pytest.mark.parametrize(
    ("seconds", "words"), [(3, "now"), (42, "42 s"), (300, "5 min"), (7200, "2 h"), (90_000, "25 h"), (259_200, "3 days")]
)
def test_ages_come_in_one_unit(seconds: float, words: str) -> None:
    assert age(seconds) == words


def test_past_and_future_read_differently() -> None:
    assert "5 min ago" in ago(timezone.now() - timedelta(minutes=5))
    assert "in 5 min" in ago(timezone.now() + timedelta(minutes=5))
    assert "–" in ago(None)


def test_durations_and_sizes() -> None:
    assert [duration(s) for s in (None, 42, 200, 7500)] == ["–", "42 s", "3 min 20 s", "2 h 5 min"]
    assert [size(b) for b in (None, 12, 1500, 2_500_000)] == ["–", "12 B", "1.5 kB", "2.5 MB"]
