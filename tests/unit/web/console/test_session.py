from __future__ import annotations

import base64

from sealwax.web.console.session import LIFETIME, SessionCodec


def test_a_session_survives_its_cookie():
    codec = SessionCodec("k" * 64)
    session = codec.begin("digest")
    assert codec.decode(codec.encode(session)) == session
    assert session.matches(session.csrf)
    assert not session.matches("")
    assert not session.matches("ü" + session.csrf)


def test_the_cookie_says_nothing():
    codec = SessionCodec("k" * 64)
    session = codec.begin("f" * 64)
    raw = base64.urlsafe_b64decode(codec.encode(session))
    assert b"f" * 64 not in raw
    assert session.csrf.encode() not in raw


def test_a_changed_or_foreign_cookie_is_no_session():
    codec = SessionCodec("k" * 64)
    text = codec.encode(codec.begin("digest"))
    raw = bytearray(base64.urlsafe_b64decode(text))
    for place in (0, 12, len(raw) - 1):
        changed = bytearray(raw)
        changed[place] ^= 1
        assert codec.decode(base64.urlsafe_b64encode(bytes(changed)).decode()) is None
    assert SessionCodec("j" * 64).decode(text) is None
    for junk in ("", None, "%%%", "a", "é", "A" * 5000, "QUJD"):
        assert codec.decode(junk) is None


def test_a_session_ends():
    now = [1_000.0]
    codec = SessionCodec("k" * 64, clock=lambda: now[0])
    text = codec.encode(codec.begin())
    now[0] += LIFETIME - 1
    assert codec.decode(text) is not None
    now[0] += 2
    assert codec.decode(text) is None
