"""AWS Signature Version 4 of small POST requests whose headers hardly change.

botocore's signer makes a canonical request anew from every header and derives
the key by four hashes for each call: a quarter of a call's processor time. Here
what stays the same is kept. Only the direct ways to SQS and DynamoDB use it; its tests
compare every header with botocore's own signer.

Must never log or keep more of the credentials than botocore does: the derived
key of one day.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["SigV4Signer"]


class SigV4Signer:
    """Signs requests to one host, path `/`, no query.

    Parameters
    ----------
    service, region
        Of the credential's scope.
    host
        As the HTTP client will send it: with its port, unless that is the scheme's own.
    headers
        What every request says and signs, names in lower case.
    """

    def __init__(self, *, service: str, region: str, host: str, headers: Mapping[str, str]) -> None:
        self._scope = f"{region}/{service}/aws4_request"
        self._parts = (region, service, "aws4_request")
        self._common = {"host": host, **headers}
        self._key: tuple[str, str, bytes] = ("", "", b"")

    def sign(
        self,
        headers: Mapping[str, str],
        body: bytes,
        credentials: Any,
        *,
        now: float | None = None,
    ) -> dict[str, str]:
        """Return the headers that make a request valid for five minutes.

        Parameters
        ----------
        headers
            What this request says and signs besides, names in lower case.
        credentials
            botocore's frozen ones: `access_key`, `secret_key`, `token`.
        now
            Seconds since the epoch; default: now.
        """
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        day = stamp[:8]
        own = {**headers, "x-amz-date": stamp}
        if credentials.token:
            own["x-amz-security-token"] = credentials.token
        signed = {**self._common, **own}
        names = sorted(signed)
        listed = ";".join(names)
        lines = "".join([f"{name}:{' '.join(signed[name].split())}\n" for name in names])
        request = f"POST\n/\n\n{lines}\n{listed}\n{hashlib.sha256(body).hexdigest()}"
        text = "\n".join(
            (
                "AWS4-HMAC-SHA256",
                stamp,
                f"{day}/{self._scope}",
                hashlib.sha256(request.encode()).hexdigest(),
            )
        )
        signature = hmac.new(
            self._signing_key(credentials.secret_key, day), text.encode(), hashlib.sha256
        ).hexdigest()
        own["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credentials.access_key}/{day}/{self._scope}, "
            f"SignedHeaders={listed}, Signature={signature}"
        )
        return own

    def _signing_key(self, secret: str, day: str) -> bytes:
        known_secret, known_day, key = self._key  # one read: another thread may replace it
        if known_day == day and hmac.compare_digest(known_secret.encode(), secret.encode()):
            return key
        key = f"AWS4{secret}".encode()
        for part in (day, *self._parts):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        self._key = (secret, day, key)
        return key
