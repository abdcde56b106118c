"""Charts are markup: numbers in the right place, the same numbers in a table, nothing that a policy forbids."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.charts import Series, bar_chart, interval_chart, line_chart, number, ticks


def points_of(markup: str) -> list[tuple[float, float]]:
    found = re.search(r'<polyline class="line s1" points="([^"]*)"', markup)
    assert found
    return [tuple(map(float, pair.split(","))) for pair in found.group(1).split()]  # type: ignore[misc]


def test_a_falling_loss_falls_on_the_page() -> None:
    drawn = points_of(line_chart([Series("loss", [(0, 4.0), (50, 2.0), (100, 1.0)])], title="Loss", x_label="step", y_label="nats"))
    xs, ys = zip(*drawn, strict=True)
    assert list(xs) == [52.0, 290.0, 528.0]  # 640 wide less 52 left and 112 right; the middle step in the middle
    assert ys[0] < ys[1] < ys[2]  # down the page is down


def test_the_table_behind_it_holds_the_same_numbers() -> None:
    markup = line_chart([Series("a", [(1, 0.5), (2, 0.25)]), Series("b", [(2, 7)])], title="T", x_label="step", y_label="y")
    assert "<tr><td>1</td><td>0.5</td><td></td></tr><tr><td>2</td><td>0.25</td><td>7</td></tr>" in markup


def test_names_and_titles_are_escaped() -> None:
    markup = line_chart([Series("<b>x</b>", [(0, 1), (1, 2)])], title='"><script>', x_label="<i>", y_label="&")
    assert "<script>" not in markup
    assert "<b>" not in markup
    assert "<i>" not in markup


def test_it_is_well_formed_and_has_no_inline_style() -> None:
    line = line_chart([Series("a", [(0, 1), (1, 2)], band=[(0, 0.5, 1.5), (1, 1.5, 2.5)])], title="T", x_label="x", y_label="y")
    bars = bar_chart([("PubMed", 0.7, 0.6, 0.8), ("MedCode", 0.4, None, None)], title="T", x_label="recall", reference=(0.5, "chance"))
    for markup in (line, bars):
        ElementTree.fromstring(markup)
        assert "style=" not in markup
        assert "<title>T" in markup


def test_a_gap_in_the_numbers_is_left_out_of_the_line_and_kept_in_the_table() -> None:
    markup = line_chart([Series("loss", [(0, 1.0), (1, math.nan), (2, 0.5)])], title="T", x_label="step", y_label="y")
    assert len(points_of(markup)) == 2
    assert "<td>1</td><td>–</td>" in markup


def test_nothing_measured_yet_is_said() -> None:
    assert "no measurements yet" in line_chart([], title="Loss", x_label="x", y_label="y")
    assert "no measurements yet" in bar_chart([], title="Recall", x_label="x")


def test_five_series_are_too_many() -> None:
    with pytest.raises(ValueError, match="At most 4"):
        line_chart([Series(str(n), [(0, n)]) for n in range(5)], title="T", x_label="x", y_label="y")


def test_bars_are_as_long_as_their_values() -> None:
    markup = bar_chart([("a", 0.25, None, None), ("b", 0.5, None, None)], title="T", x_label="x")
    short, long, narrow_short, narrow_long = (float(width) for width in re.findall(r'<rect class="bar s1"[^>]* width="([\d.]+)"', markup))
    assert long == pytest.approx(2 * short, rel=1e-3)
    assert narrow_long == pytest.approx(2 * narrow_short, rel=1e-3)


LONG = "a name of more than twenty-four letters"


@pytest.mark.parametrize(
    "markup",
    [
        line_chart([Series(LONG, [(0, 123456.0), (40, 2.0)])], title="T", x_label="x", y_label="y", reference=(9, "a line with a name")),
        bar_chart([(LONG, 0.71234, 0.6, 0.98)], title="T", x_label="x", reference=(0.5, "chance")),
        interval_chart(
            [(LONG, 0.71234, 0.6, 0.98, ""), (LONG, None, None, None, "n too small, n = 12")], title="T", x_label="x", limits=(0, 1)
        ),
    ],
    ids=["lines", "bars", "intervals"],
)
def test_on_a_phone_it_is_drawn_anew_and_nothing_stands_outside(markup: str) -> None:
    wide, narrow = ElementTree.fromstring(markup).iter("svg")
    assert (wide.get("class"), narrow.get("class")) == ("only-wide", "only-narrow")
    for drawing in (wide, narrow):
        width = float(str(drawing.get("viewBox")).split()[2])
        for text in drawing.iter("text"):
            # 12 px letters of the system's font are 6.5 px across, on the whole.
            across = 6.5 * len(str(text.text))
            start = float(str(text.get("x"))) - {"end": across, "middle": across / 2}.get(text.get("text-anchor", ""), 0)
            assert start >= -4, text.text
            assert start + across <= width + 4, text.text


def test_beside_its_dot_a_value_is_short_and_in_the_table_it_is_whole() -> None:
    markup = interval_chart([("all", 0.60654, 0.53, 0.68, ""), ("votes", 1234.0, None, None, "")], title="T", x_label="x")
    assert markup.count(">0.607</text>") == 2
    assert markup.count(">1,234</text>") == 2
    assert "<td>0.6065</td>" in markup


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.5, 1]), (0, 100, [0, 50, 100]), (0.12, 0.48, [0.1, 0.2, 0.3, 0.4, 0.5]), (3, 3, [1, 2, 3, 4, 5])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_ticks_cover_what_they_are_for(one: float, other: float) -> None:
    low, high = sorted((one, other))
    marks = ticks(low, high)
    room = 1e-6 * max(1.0, abs(low), abs(high))
    assert marks[0] <= low + room
    assert marks[-1] >= high - room
    assert 2 <= len(marks) <= 12


@pytest.mark.parametrize(("value", "words"), [(1234, "1,234"), (0.123456, "0.1235"), (1e-7, "1.00e-07"), (math.inf, "–"), (0.0, "0")])
def test_numbers_read_well(value: float, words: str) -> None:
    assert number(value) == words
