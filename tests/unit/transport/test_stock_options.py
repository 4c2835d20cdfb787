"""What stock kombu reads: obeyed as it obeys it, or refused by name, or noted."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from botocore.config import Config
from kombu import Connection

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.addresses import BrokerAddress
from sealwax.transport.client import Clients
from sealwax.transport.errors import TransportOptionInvalid
from sealwax.transport.options import QueueOptions, TransportOptions

Q = {"url": "https://sqs.eu-west-1.amazonaws.com/1/q"}
KEYS = {"access_key_id": "KEY", "secret_access_key": "SECRET"}


@pytest.mark.parametrize(
    ("url", "options", "endpoint"),
    [
        ("sealwax://", {}, "https://sqs.eu-west-1.amazonaws.com"),
        ("sealwax://127.0.0.1:9701", {}, "http://127.0.0.1:9701"),
        ("sealwax://localhost//", {"is_secure": False}, "http://localhost"),
        ("sealwax://sqs.internal", {"is_secure": True}, "https://sqs.internal"),
        ("sealwax://", {"endpoint_url": "http://127.0.0.1:9701/"}, "http://127.0.0.1:9701"),
        (
            "sealwax://127.0.0.1:9701",
            {"endpoint_url": "http://127.0.0.1:9701"},
            "http://127.0.0.1:9701",
        ),
        (
            "sealwax://sqs.eu-west-1.amazonaws.com",
            {},
            "https://sqs.eu-west-1.amazonaws.com",
        ),
        ("sealwax://", {"is_secure": True}, "https://sqs.eu-west-1.amazonaws.com"),
    ],
)
def test_the_clients_endpoint_is_the_one_that_is_named(
    url: str, options: dict[str, Any], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    options = {"region": "eu-west-1", **options}
    parsed = Connection(url, transport_options=options).transport.options
    clients = Clients(parsed)
    assert clients.quick.meta.endpoint_url == endpoint
    assert clients.polling.meta.endpoint_url == endpoint


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sealwax://KEY:SECRET@", {}),
        ("sealwax://", KEYS),
        ("sealwax://", {"predefined_queues": {"q": Q | KEYS}}),
        ("sealwax://", {"queues": {"q": Q | KEYS, "r": dict(KEYS)}}),
        ("sealwax://OTHER:OTHERS@", {"predefined_queues": {"q": Q | KEYS}}),
        ("sealwax://KEY:SECRET@", {"predefined_queues": {"q": Q | KEYS, "r": Q}}),
    ],
)
def test_the_clients_keys_are_those_that_are_named(
    url: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-the-environment")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-environment")
    options = {"region": "eu-west-1", **options}
    clients = Clients(Connection(url, transport_options=options).transport.options)
    found = clients.aws.credentials()
    assert (found.access_key, found.secret_key) == ("KEY", "SECRET")


@pytest.mark.parametrize(
    ("options", "region"),
    [
        ({"region": "eu-west-1"}, "eu-west-1"),
        ({"predefined_queues": {"q": Q | {"region": "eu-west-1"}}}, "eu-west-1"),
        ({"region": "eu-west-1", "queues": {"q": Q | {"region": "eu-west-1"}}}, "eu-west-1"),
        ({"region": "us-east-2", "queues": {"q": Q | {"region": "eu-west-1"}}}, "eu-west-1"),
        ({"queues": {"q": Q | {"region": None}}}, None),
        ({"endpoint_url": "https://sqs.eu-west-1.amazonaws.com"}, "eu-west-1"),
        ({"endpoint_url": "http://127.0.0.1:9701"}, None),
    ],
)
def test_the_region_is_the_one_that_all_queues_share(
    options: dict[str, Any], region: str | None
) -> None:
    assert TransportOptions.parse(options).region == region


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sts_role_arn": "arn:aws:iam::1:role/x"}, "sts_role_arn.*AWS_PROFILE"),
        ({"supports_fanout": True}, "supports_fanout.*SNS"),
        ({"predefined_exchanges": {"e": {}}}, "predefined_exchanges.*SNS"),
        ({"regioninfo": object()}, "regioninfo.*region"),
        ({"port": 9324}, "port.*sealwax://HOST:PORT"),
        ({"client-config": {"proxies": {"https": "http://p"}}}, "client-config.*proxies"),
        ({"client-config": {"region_name": "eu-west-1"}}, "client-config.*region_name"),
        ({"is_secure": False}, "is_secure.*in clear"),
        ({"endpoint_url": "127.0.0.1:9701"}, "endpoint_url.*http"),
        ({"endpoint_url": "http://a", "is_secure": True}, "is_secure.*endpoint_url"),
        ({"endpoint_url": ""}, "endpoint_url.*http"),
        ({"endpoint_url": "http://"}, "endpoint_url.*http"),
        ({"endpoint_url": "http://h:port"}, "endpoint_url.*http"),
        ({"endpoint_url": "http://h:99999"}, "endpoint_url.*http"),
        ({"endpoint_url": "http://h/?x=1"}, "endpoint_url.*http"),
        ({"endpoint_url": "http://KEY:SECRET@h"}, "endpoint_url.*access_key_id"),
        ({"is_secure": "false"}, "is_secure.*True or False"),
        ({"is_secure": "true"}, "is_secure.*True or False"),
        ({"region": 3}, "region.*text"),
        ({"region": "eu west 1"}, "region.*'eu-west-1'"),
        ({"region": "https://sqs.eu-west-1.amazonaws.com"}, "region.*'eu-west-1'"),
        ({"queue_name_prefix": 3}, "queue_name_prefix.*text"),
        ({"queue_name_prefix": ["dev-"]}, "queue_name_prefix.*text"),
        ({"access_key_id": 3, "secret_access_key": "SECRET"}, "access_key_id.*text"),
        ({"access_key_id": "KEY", "secret_access_key": b"SECRET"}, "secret_access_key.*text"),
        ({"queues": {"q": Q}, "predefined_queues": {"r": Q}}, "queues.*predefined_queues.*one"),
        ({"queues": ["q"]}, "queues.*mapping"),
        ({"predefined_queues": "q"}, "predefined_queues.*mapping"),
        ({"queues": {"q": "https://h/1/q"}}, "'q'.*mapping"),
        ({"predefined_queues": {"q": 3}}, "'q'.*mapping"),
        ({"queues": {"q": QueueOptions(url="orders")}}, "url of queue 'q'"),
        ({"client-config": Config(connect_timeout=3)}, "client-config.*mapping"),
        ({"client-config": [("connect_timeout", 3)]}, "client-config.*mapping"),
        ({"visibility_timeout": "3600"}, "'visibility_timeout' must be a number"),
        ({"visibility_timeout": 50_000}, "'visibility_timeout' is 50000"),
        ({"wait_time_seconds": 21}, "'wait_time_seconds' is 21"),
        ({"queues": {"q": Q | {"region": "eu west 1"}}}, "'q'.*region.*'eu-west-1'"),
        ({"queues": {"q": Q | KEYS | {"access_key_id": 3}}}, "'q'.*'access_key_id' must be text"),
        (
            {"endpoint_url": "https://sqs.eu-west-1.amazonaws.com", "region": "us-east-1"},
            "endpoint is of region eu-west-1.*us-east-1",
        ),
        ({"access_key_id": "KEY"}, "secret_access_key"),
        ({"queues": {"q": Q | {"access_key_id": "KEY"}}}, "secret_access_key"),
        ({"queues": {"q": Q | KEYS, "r": Q}}, "'r' has another region or other keys"),
        ({"queues": {"q": Q, "r": Q | {"region": "eu-west-1"}}}, "'r' has another region"),
        ({"queues": {"q": Q | {"sts_role_arn": "x"}}}, "'q' has an unknown option 'sts_role_arn'"),
        ({"queues": {"q": {"ulr": "https://h/1/q"}}}, "'ulr': did you mean 'url'"),
        ({"queues": {"q": {"url": "q"}}}, "url of queue 'q'"),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name(options: dict[str, Any], says: str) -> None:
    with pytest.raises(TransportOptionInvalid, match=says) as raised:
        TransportOptions.parse(options)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "options", "says"),
    [
        (BrokerAddress(host="a"), {"endpoint_url": "http://b"}, "two servers"),
        (BrokerAddress(host="a:1"), {"endpoint_url": "http://a:2"}, "two servers"),
        (BrokerAddress(host="sqs.x.amazonaws.com", aws=True), {"is_secure": False}, "in clear"),
    ],
)
def test_a_url_and_options_that_contradict_are_refused(
    address: BrokerAddress, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(TransportOptionInvalid, match=says):
        TransportOptions.parse(options, address)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"visibility_timeout": 3600}, "'visibility_timeout' is 3600"),
        ({"visibility_timeout": 121}, "'lease' to 30"),
        ({"backoff_policy": {1: 10}}, "'backoff_policy' has no effect"),
        ({"polling_interval": 1}, "'polling_interval' has no effect"),
        ({"queue_tags": {"a": "b"}}, "'queue_tags' has no effect"),
        (
            {"predefined_queues": {"q": Q | {"backoff_tasks": ["t"]}}},
            "'backoff_tasks' of queue 'q'",
        ),
    ],
)
def test_what_has_no_use_is_noted(options: dict[str, Any], says: str) -> None:
    assert [note for note in TransportOptions.parse(options).notes if says in note]


@pytest.mark.parametrize(
    "options",
    [
        {}, {"lease": 3600}, {"visibility_timeout": 120}, {"max_retries": 3},
        {"visibility_timeout": 3600, "lease": 30},
        {"client-config": {"connect_timeout": 3, "retries": {"max_attempts": 4}}},
    ],
)  # fmt: skip
def test_what_is_of_use_is_not_noted(options: dict[str, Any]) -> None:
    assert TransportOptions.parse(options).notes == ()


@pytest.mark.parametrize(
    "options",
    [
        {"queue_name_prefix": None},
        {"region": None},
        {"region": ""},
        {"queues": None},
        {"is_secure": None},
    ],
)
def test_an_option_that_is_empty_is_as_if_not_given(options: dict[str, Any]) -> None:
    parsed = TransportOptions.parse(options)
    assert parsed == TransportOptions.parse({})
    assert parsed.sqs_name("orders") == "orders"


def test_botocores_time_outs_are_taken() -> None:
    config = {"connect_timeout": 3, "read_timeout": 7}
    options = TransportOptions.parse({"client-config": config})
    assert (options.connect_timeout, options.read_timeout) == (3, 7)
    assert TransportOptions.parse({"client-config": config, "read_timeout": 9}).read_timeout == 9


def test_notes_are_logged_once_when_a_queue_is_consumed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealwax.transport.checks.check_queue", lambda *_: None)
    options = {"visibility_timeout": 3600, "region": "eu-west-1"}
    transport = Connection("sealwax://", transport_options=options).transport
    with caplog.at_level(logging.WARNING):
        transport.before_consuming("a")
        transport.before_consuming("b")
    assert len([one for one in caplog.messages if "visibility_timeout" in one]) == 1
