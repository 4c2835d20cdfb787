"""Transformations of webhook bodies, and the settings of routes."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from sealwax.errors import ConfigurationError
from sealwax.outcomes import Rejected
from sealwax.settings import Settings
from sealwax.task_definition import InvalidPayload
from tasks.webhooks import WebhookRelay, relay, transform

DATA = Path(__file__).parents[2] / "data" / "github-webhooks.jsonl.gz"
LIMIT = 1_000_000

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**60), 10**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=30,
)


def exact(value):
    """JSON text: unlike ==, it tells 1 from 1.0 from true, and sees the order of keys."""
    return json.dumps(value)


@given(VALUES)
def test_passing_through_keeps_every_value(value):
    assert exact(json.loads(transform("@", value, max_bytes=LIMIT))) == exact(value)


@given(VALUES)
def test_the_contract_keeps_every_value(value):
    text = json.dumps({"route": "r", "event": "e", "body": value})
    for payload in (
        WebhookRelay.model_validate_json(text),
        WebhookRelay.model_validate(json.loads(text)),
    ):
        assert exact(payload.body) == exact(value)
        again = WebhookRelay.model_validate_json(payload.model_dump_json())
        assert exact(again.body) == exact(value)


def test_the_263_real_bodies_pass_through_unchanged():
    with gzip.open(DATA, "rt") as file:
        lines = [json.loads(line) for line in file]
    assert len(lines) == 263
    for line in lines:
        payload = WebhookRelay.model_validate(
            {"route": "r", "event": line["event"], "body": line["body"]}
        )
        assert exact(json.loads(transform("@", payload.body, max_bytes=LIMIT))) == exact(
            line["body"]
        )


def test_a_lone_surrogate_is_escaped():
    assert transform("@", "\ud800ä", max_bytes=100) == b'"\\ud800\\u00e4"'


@pytest.mark.parametrize(
    ("expression", "body", "expected"),
    [
        ("a.b", {"a": {"b": 12345678901234567890123}}, "12345678901234567890123"),
        ("{b: b, a: a}", {"a": 1.0, "b": None}, '{"b":null,"a":1.0}'),
        ("items[?n > `1`].n", {"items": [{"n": 1}, {"n": 2}]}, "[2]"),
        ("`null` || a", {"a": "é"}, '"é"'),
        ("a", {"a": False}, "false"),
        ("[]", [], "[]"),
    ],
)
def test_expressions(expression, body, expected):
    assert transform(expression, body, max_bytes=LIMIT).decode() == expected


@pytest.mark.parametrize(
    ("expression", "body", "cause"),
    [
        ("abs(a)", {"a": "kanari"}, "transform-failed"),
        ("to_number(a)", {"a": "1e999"}, "transform-failed"),
        ("sum(a)", {"a": ["kanari"]}, "transform-failed"),
        ("sort(a)", {"a": [1, "b"]}, "transform-failed"),
        ("&a", {"a": 1}, "transform-failed"),
        ("missing", {"a": 1}, "transform-empty"),
        ("a", {"a": None}, "transform-empty"),
    ],
)
def test_what_does_not_fit_is_rejected_without_an_echo(expression, body, cause):
    with pytest.raises(Rejected) as caught:
        transform(expression, body, max_bytes=LIMIT)
    assert caught.value.cause == cause
    assert caught.value.__context__ is None
    assert caught.value.detail is None


def test_null_passes_through():
    assert transform("@", None, max_bytes=10) == b"null"


def test_the_size_bound_at_its_edge():
    assert transform("@", "a" * 98, max_bytes=100) == b'"' + b"a" * 98 + b'"'
    with pytest.raises(Rejected) as caught:
        transform("@", "a" * 99, max_bytes=100)
    assert caught.value.cause == "transform-too-large"


@pytest.mark.parametrize(
    "atom",
    ["a" * 1_000, 10**4_000, {"k" * 1_000: 1}, [1] * 1_000, 1],
    ids=["text", "digits", "object", "list", "one"],
)
def test_an_expression_that_multiplies_the_input_is_bounded(atom):
    bomb = " | ".join(["[@,@,@,@,@,@,@,@,@,@]"] * 9)
    # By the processor, not the wall: others may have the machine. Unbounded, it would be hours.
    started = time.thread_time()
    with pytest.raises(Rejected) as caught:
        transform(bomb, atom, max_bytes=1_000_000)
    assert caught.value.cause == "transform-too-large"
    assert time.thread_time() - started < 10


@given(VALUES)
@example({"": 0})
@example([0, {}, [], ""])
@example(10**30)
def test_a_text_that_just_fits_is_never_refused(value):
    length = len(transform("@", value, max_bytes=LIMIT))
    assert len(transform("@", value, max_bytes=length)) == length
    with pytest.raises(Rejected):
        transform("@", value, max_bytes=length - 1)


def test_nesting_is_bounded_at_its_edge():
    def nested(depth):
        value: Any = 1
        for _ in range(depth):
            value = [value]
        return value

    WebhookRelay.model_validate({"route": "r", "event": "e", "body": nested(100)})
    with pytest.raises(ValidationError):
        WebhookRelay.model_validate({"route": "r", "event": "e", "body": nested(101)})


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity"])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(ValidationError):
        WebhookRelay.model_validate_json(f'{{"route": "r", "event": "e", "body": [{number}]}}')


@pytest.mark.parametrize("event", ["", "a b", "a\r\nX: y", "ä", "a" * 101, "-a"])
def test_events_are_fit_for_a_header(event):
    with pytest.raises(ValidationError):
        WebhookRelay.model_validate({"route": "r", "event": event, "body": 1})


def settings(**route):
    fields = {"url": "https://hooks.example.com/in", "secret": "app/webhooks/demo"} | route
    return Settings(tasks={"webhooks": {"routes": {"demo": fields}}})


def configure(found: Settings) -> None:
    assert relay.configure is not None
    relay.configure(found)


def validate(payload: WebhookRelay, found: Settings) -> None:
    assert relay.validate is not None
    relay.validate(payload, found)


def test_good_routes_are_accepted_and_name_their_secrets():
    configure(settings())
    assert list(relay.secrets(settings())) == ["app/webhooks/demo"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://hooks.example.com/in"},
        {"url": "https://user@hooks.example.com/in"},
        {"url": "https://hooks.example.com:8443/in"},
        {"transform": "a["},
        {"transform": "nonsense(@)"},
        {"secret": "worker/keys"},
        {"secret": "app/"},
        {"event_header": "a b"},
        {"event_header": "Webhook-Signature"},
        {"rule": {"hosts": ["other.example.com"]}},
        {"rule": {"unknown": 1}},
        {"unknown": 1},
    ],
)
def test_wrong_routes_stop_the_start(wrong):
    with pytest.raises(ConfigurationError) as caught:
        configure(settings(**wrong))
    assert "tasks.webhooks" in str(caught.value)


def test_an_unknown_route_is_refused_at_the_edge():
    validate(WebhookRelay(route="demo", event="e", body=1), settings())
    with pytest.raises(InvalidPayload) as caught:
        validate(WebhookRelay(route="kanari", event="e", body=1), settings())
    assert caught.value.pointer == "/route"
    assert "kanari" not in str(caught.value)
