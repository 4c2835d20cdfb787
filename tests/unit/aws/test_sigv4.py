"""Our signature is botocore's, header for header."""

from __future__ import annotations

import datetime as dt
import time
from unittest.mock import patch

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.sigv4 import SigV4Signer

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=12)
_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
_moments = st.integers(0, 4_000_000_000)


def botocores(
    url: str, headers: dict[str, str], body: bytes, keys: Credentials, moment: int
) -> dict[str, str]:
    """Return what botocore's signer adds to a request."""
    request = AWSRequest("POST", url, headers=headers, data=body)
    at = dt.datetime.fromtimestamp(moment, dt.UTC)
    with patch("botocore.auth.get_current_datetime", lambda: at):
        SigV4Auth(keys, "sqs", "eu-west-1").add_auth(request)
    return {n.lower(): v for n, v in request.headers.items() if n.lower() not in headers}


@given(
    common=st.dictionaries(_words.map("x-c-".__add__), _values, max_size=3),
    own=st.dictionaries(_words.map("x-o-".__add__), _values, max_size=3),
    body=st.binary(max_size=200),
    secret=_secrets,
    token=st.none() | _secrets,
    moment=_moments,
    host=st.sampled_from(["sqs.eu-west-1.amazonaws.com", "127.0.0.1:4566", "[::1]:9324"]),
)
def test_headers_are_those_of_botocore(
    common: dict[str, str], own: dict[str, str], body: bytes, secret: str, token: str | None,
    moment: int, host: str,
) -> None:  # fmt: skip
    keys = Credentials("AKIDEXAMPLE", secret, token)
    signer = SigV4Signer(service="sqs", region="eu-west-1", host=host, headers=common)

    found = signer.sign(own, body, keys.get_frozen_credentials(), now=moment)

    expected = botocores(f"http://{host}/", {**common, **own}, body, keys, moment)
    assert {n: v for n, v in found.items() if n not in own} == expected


@given(secrets=st.lists(_secrets, min_size=2, max_size=4), moments=st.lists(_moments, min_size=2))
def test_a_kept_key_serves_its_secret_and_day_alone(secrets: list[str], moments: list[int]) -> None:
    kept = SigV4Signer(service="sqs", region="r", host="h", headers={})
    for moment in moments:
        for secret in secrets:
            keys = Credentials("a", secret).get_frozen_credentials()
            anew = SigV4Signer(service="sqs", region="r", host="h", headers={})
            assert kept.sign({}, b"x", keys, now=moment) == anew.sign({}, b"x", keys, now=moment)


def test_the_present_is_the_default() -> None:
    signer = SigV4Signer(service="sqs", region="r", host="h", headers={})
    keys = Credentials("a", "b").get_frozen_credentials()

    before = time.gmtime()
    stamp = time.strptime(signer.sign({}, b"", keys)["x-amz-date"], "%Y%m%dT%H%M%SZ")

    assert before[:6] <= stamp[:6] <= time.gmtime()[:6]
