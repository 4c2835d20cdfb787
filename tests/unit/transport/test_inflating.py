"""Which compressed bodies are read."""

from __future__ import annotations

import base64
import zlib

import pytest

from sealwax.transport.codec import Malformed
from sealwax.transport.validation import check_message


@pytest.mark.parametrize(("limit", "refused"), [(0, True), (15, True), (16, False)])
def test_a_compressed_body_is_inflated_up_to_the_limit_only(limit: int, refused: bool) -> None:
    body = b"[[], {}, {}]    "
    assert len(body) == 16
    payload = {
        "headers": {"task": "t", "id": "i", "compression": "gzip"},
        "properties": {"body_encoding": "base64"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "body": base64.b64encode(zlib.compress(body)).decode(),
    }
    check = {"accept": ("application/json",), "max_depth": 10, "inflated_bytes": limit}
    if refused:
        with pytest.raises(Malformed, match="compression"):
            check_message(payload, **check)
    else:
        check_message(payload, **check)
        assert payload["body"] == body
