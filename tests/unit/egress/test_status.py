"""Statuses and Retry-After."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.egress import classify, outcome, parse_retry_after
from sealwax.egress.errors import (
    DownstreamGarbage,
    DownstreamStatus,
    DownstreamTimeout,
    DownstreamUnreachable,
    OutgoingRefused,
)
from sealwax.egress.status import RETRY_AFTER_MAX
from sealwax.outcomes import Rejected, Transient


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(200, "ok"), (201, "ok"), (204, "ok"), (299, "ok")]
    + [(status, "transient") for status in (408, 425, 429, 500, 502, 503, 504, 599)]
    + [(status, "permanent") for status in (101, 302, 304, 400, 401, 404, 410, 413, 422, 499, 999)],
)
def test_classes_of_statuses(status, verdict):
    assert classify(status) == verdict


@given(st.integers(0, 10**30))
def test_seconds_are_clamped(seconds):
    assert parse_retry_after(str(seconds), 0) == min(float(seconds), RETRY_AFTER_MAX)


@given(
    st.integers(31_536_000, 4_102_444_800).map(
        lambda second: dt.datetime.fromtimestamp(second, dt.UTC)
    ),
    st.integers(-100_000, 100_000),
)
def test_dates_count_from_now_and_are_clamped(now, seconds):
    text = format_datetime(now + dt.timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(text, now.timestamp()) == min(max(seconds, 0), RETRY_AFTER_MAX)


@given(st.text(max_size=80))
def test_whatever_it_says_the_wait_is_bounded_or_absent(text):
    wait = parse_retry_after(text, 1_700_000_000.0)
    assert wait is None or 0 <= wait <= RETRY_AFTER_MAX


@pytest.mark.parametrize("text", [None, "", " ", "-1", "1.5", "soon", "٣", "1e9", "9" * 65])
def test_what_is_neither_form_counts_as_absent(text):
    assert parse_retry_after(text, 0) is None


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_all_three_date_forms_of_http(text):
    assert parse_retry_after(text, 784_111_777 - 60) == 60


@pytest.mark.parametrize(
    ("error", "kind", "cause"),
    [
        (OutgoingRefused("redirect-refused", "h"), Rejected, "redirect-refused"),
        (DownstreamStatus("h", 400, transient=False), Rejected, "downstream-400"),
        (DownstreamStatus("h", 503, transient=True, retry_after=7), Transient, "downstream-503"),
        (DownstreamTimeout("h"), Transient, "downstream-timeout"),
        (DownstreamUnreachable("h"), Transient, "downstream-unreachable"),
        (DownstreamGarbage("h"), Transient, "downstream-garbage"),
    ],
)
def test_outcomes_of_errors(error, kind, cause):
    made = outcome(error)
    assert type(made) is kind
    assert made.cause == cause


def test_the_wait_that_was_asked_for_reaches_the_outcome():
    made = outcome(DownstreamStatus("h", 429, transient=True, retry_after=7))
    assert isinstance(made, Transient)
    assert made.retry_after == 7
