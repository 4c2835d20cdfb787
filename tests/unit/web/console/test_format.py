from __future__ import annotations

import pytest

from sealwax.web.console.format import NOTHING, ago, count, moment, rate, short, span, sparkline


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, NOTHING),
        (0, "0 s"),
        (0.25, "250 ms"),
        (3.14, "3.1 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3_600, "1 h"),
        (3_725, "1 h 2 min"),
        (90_061, "1 d 1 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds, text):
    assert span(seconds) == text


def test_times_are_elements_that_machines_read():
    assert 'datetime="1970-01-01T00:01:00Z"' in moment(60)
    assert ">2 min ago<" in ago(60, now=180)
    assert ">in 2 min<" in ago(180, now=60)
    assert ago(None) == moment(None) == NOTHING


def test_numbers():
    assert count(1_234_567) == "1\u202f234\u202f567"
    assert (count(None), rate(None), rate(2.345), rate(250)) == (NOTHING, NOTHING, "2.3", "250")
    assert (short("a" * 32), short(None)) == ("a" * 8, NOTHING)


def test_a_sparkline_says_in_words_what_it_draws():
    drawn = sparkline([0, 5, 2.5], "Jobs a second")
    assert 'aria-label="Jobs a second: now 2.5, highest 5.0"' in drawn
    assert "style=" not in drawn
    assert drawn.count("<path") == 2


@pytest.mark.parametrize("values", [[], [0], [0, 0, 0]])
def test_a_sparkline_of_nothing_is_a_flat_line(values):
    assert sparkline(values, "Failures", "bad").count("<path") == 1


def test_labels_are_escaped():
    assert "<b>" not in sparkline([1, 2], "<b>")
