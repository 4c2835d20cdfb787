"""The broker's URL: its host and keys are used, its secret is shown nowhere."""

from __future__ import annotations

import io
import logging
import pickle
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

import sealwax.transport  # noqa: F401 - makes "sealwax://" known
from sealwax.transport.addresses import check_queue_url, masked, parse_broker_url, region_of
from sealwax.transport.errors import TransportOptionInvalid

#: URLs with the secret S3C9X7, of which nothing may show.
USED = {
    "sealwax://KEY:S3C9X7@": (None, "KEY", "S3C9X7"),
    "sealwax://KEY:S3C9X7@//": (None, "KEY", "S3C9X7"),
    "sealwax://KEY:S3C9X7@localhost//": ("localhost", "KEY", "S3C9X7"),
    "sealwax://KEY:S3C9X7@127.0.0.1:4566": ("127.0.0.1:4566", "KEY", "S3C9X7"),
    "sealwax://KEY:S3C9X7%2Fa%2Bb%40c@[::1]:9324": ("[::1]:9324", "KEY", "S3C9X7/a+b@c"),
    "sealwax://KEY:S3C9X7:more@h": ("h", "KEY", "S3C9X7:more"),
}

#: The same where characters were not escaped, or one part is missing.
REFUSED = [
    "sealwax://KEY:S3C9X7/abc@",
    "sealwax://KEY:S3C/9X7@localhost:4566//",
    "sealwax://KEY:S3C9X7#abc@",
    "sealwax://KEY:S3C9X7?abc@",
    "sealwax://KEY:9/S3C9X7@host",
    "sealwax://:S3C9X7@",
    "sealwax://KEY:@host",
    "sealwax://KEY@host",
    "sealwax://host?region=eu-west-1",
    "sealwax://KEY:S3C9X7@ho st",
    "sealwax://KEY:S3C9X7@host:",
    "sealwax://https://host:9701",
    "sealwax://sqs.eu-west-1.amazonaws.com/123456789012/orders",
    "//host:9701",
    "host:9701/orders",
    "host:port",
    "KEY:S3C9X7@host",
]


def shows(text: str) -> bool:
    return any(part in text for part in ("S3C9X7", "S3C", "9X7", "abc", "more"))


@pytest.mark.parametrize("url", USED)
def test_a_broker_url_is_used_and_its_secret_masked(url: str) -> None:
    address = parse_broker_url(url)
    assert (address.host, address.access_key_id, address.secret_access_key) == USED[url]
    assert not shows(repr(address))
    connection = Connection(url)
    options = connection.transport.options
    assert options.keys == USED[url][1:]
    assert options.endpoint_url == (f"http://{USED[url][0]}" if USED[url][0] else None)
    app = Celery("shop", broker=url, set_as_current=False)
    shown = [
        repr(options), str(options), connection.as_uri(), repr(connection),
        app.connection_for_read().as_uri(), masked(url), masked(f"{url};{url}"),
        app.conf.humanize(), app.bugreport(),
    ]  # fmt: skip
    assert not [text for text in shown if shows(text)]
    assert connection.as_uri(include_password=True) == url
    assert "KEY" in masked(url)


@pytest.mark.parametrize("url", REFUSED)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    try:
        with pytest.raises(TransportOptionInvalid) as raised:
            _ = Connection(url, transport="sealwax").transport
    finally:
        logging.getLogger().removeHandler(handler)
    error: BaseException | None = raised.value
    assert error is not None
    assert not shows(str(error) + repr(error) + stream.getvalue() + masked(url))
    assert error.__suppress_context__ or error.__context__ is None


def test_keys_of_settings_are_used_too() -> None:
    app = Celery("shop", broker="sealwax://", set_as_current=False)
    app.conf.update(broker_user="KEY", broker_password="S3C9X7")
    options = app.connection_for_read().transport.options
    assert options.keys == ("KEY", "S3C9X7")
    assert not shows(repr(options))


@pytest.mark.parametrize(
    ("settings", "endpoint"),
    [
        ({"broker_host": "127.0.0.1:9701"}, "http://127.0.0.1:9701"),
        ({"broker_host": "127.0.0.1", "broker_port": 9701}, "http://127.0.0.1:9701"),
        ({"broker_url": "localhost:9701"}, "http://localhost:9701"),
        ({"broker_url": "localhost"}, "http://localhost"),
        ({"broker_url": "sqs.internal", "broker_use_ssl": True}, "https://sqs.internal"),
        ({"broker_url": "sealwax://sqs.internal", "broker_use_ssl": True}, "https://sqs.internal"),
        ({"broker_url": "sqs.eu-west-1.amazonaws.com"}, "https://sqs.eu-west-1.amazonaws.com"),
        ({}, None),
        ({"broker_url": "sealwax://"}, None),
    ],
)
def test_a_host_of_settings_is_used_too(settings: dict[str, Any], endpoint: str | None) -> None:
    app = Celery("shop", set_as_current=False)
    app.conf.update(broker_transport="sealwax", **settings)
    connection = app.connection_for_write()
    assert connection.transport.options.endpoint_url == endpoint
    # What a connection tells of itself makes the same one anew.
    again = pickle.loads(pickle.dumps(connection))
    assert again.transport.options.endpoint_url == endpoint
    assert connection.clone().transport.options.endpoint_url == endpoint


@pytest.mark.parametrize(
    ("ssl", "options", "says"),
    [
        ({"ca_certs": "/ca.pem"}, {}, "broker_use_ssl.*AWS_CA_BUNDLE"),
        (True, {"is_secure": False}, "is_secure.*broker_use_ssl"),
        (True, {"endpoint_url": "http://h"}, "contradict"),
    ],
)
def test_tls_is_never_left_out_where_it_was_asked_for(
    ssl: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(TransportOptionInvalid, match=says):
        _ = Connection("sealwax://h", ssl=ssl, transport_options=options).transport


@pytest.mark.parametrize(
    ("url", "noted"),
    [
        ("sealwax://h/vhost", True), ("sealwax://h//vhost", True), ("sealwax:///vhost", True),
        ("sealwax://h", False), ("sealwax://h//", False), ("sealwax:////", False),
    ],
)  # fmt: skip
def test_a_path_that_is_not_read_is_noted(url: str, noted: bool) -> None:
    notes = Connection(url).transport.options.notes
    assert any("path" in note for note in notes) is noted


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/orders", "eu-west-1"),
        ("https://eu-west-1.queue.amazonaws.com/123456789012/orders", "eu-west-1"),
        ("https://queue.amazonaws.com/123456789012/orders", "us-east-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/orders", "cn-north-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/orders", "us-gov-west-1"),
        ("https://vpce-0a-b.sqs.eu-west-1.vpce.amazonaws.com/1/orders", "eu-west-1"),
        ("https://sqs.eu-west-1.api.aws/1/orders", "eu-west-1"),
        ("http://127.0.0.1:4566/000000000000/orders", None),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/orders", None),
        ("https://sqs.eu-west-1.amazonaws.com.example.org/1/orders", None),
    ],
)
def test_the_region_of_a_url_is_known_where_it_is_of_aws(url: str, region: str | None) -> None:
    assert region_of(url) == region
    assert check_queue_url("orders", url) == url


@pytest.mark.parametrize(
    "url",
    [
        "orders", "", None, 3, "sqs.eu-west-1.amazonaws.com/1/orders", "https://", "https://host",
        "https://host/", " https://host/1/orders", "https://host/1/orders/", "ftp://host/1/orders",
        "https://host/1/orders?x=1", "https://KEY:S3C9X7@host/1/orders", "https://host/1/or ders",
        "arn:aws:sqs:eu-west-1:1:orders", "https://host/1/" + "o" * 81, "https://[host/1/orders",
    ],
)  # fmt: skip
def test_what_is_no_queues_url_is_refused(url: Any) -> None:
    with pytest.raises(TransportOptionInvalid, match="'orders'") as raised:
        check_queue_url("orders", url)
    assert not shows(str(raised.value))
