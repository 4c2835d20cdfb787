"""One envelope has one text: every other spelling of the same parts is malformed.

The headers here are signed by a trusted key, so that nothing but the form can
refuse them.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealwax.envelope import (
    Context,
    EnvelopeError,
    EnvelopeMalformed,
    EnvelopeVersionUnsupported,
    Expected,
    PrivateKey,
    Purpose,
    SigningKey,
    Suite,
    VerifyKey,
    open_envelope,
    peek,
    seal,
    sealed_size,
)
from sealwax.envelope import format as form
from sealwax.envelope.format import MAX_HEADER, join
from sealwax.envelope.seal import _INFO_LABEL
from sealwax.envelope.verify import signed_bytes

SIGNER = SigningKey(b"s" * 32)
KEY = PrivateKey(Suite.X25519, b"k" * 32)
FIELDS: dict[str, Any] = {
    "purpose": Purpose.JOB,
    "task": "webhooks.relay",
    "job": "1" * 32,
    "tenant": "2" * 32,
    "contract": 1,
    "issued_at": 1_000,
    "not_after": 2_000,
}
CONTEXT = Context(**FIELDS)
TEXT = seal(b"payload", CONTEXT, recipient=KEY.public, signer=SIGNER)


def _raw(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


HEADER = _raw(TEXT.split(".")[1])
MEMBERS: dict[str, Any] = json.loads(HEADER)


class Opener:
    def verifier(self, signer_id: str) -> VerifyKey:
        return SIGNER.public

    def check_trust(self, signer_id: str, context: Context) -> None:
        return None

    def private(self, key_id: str) -> PrivateKey:
        return KEY


def _sealed_under(header: bytes) -> str:
    """Return a text whose header is bound and rightly signed, whatever it is."""
    sealed = KEY.suite.hpke.encrypt(b"payload", KEY.public.handle(), _INFO_LABEL + header)
    return join(header, sealed, SIGNER.sign(signed_bytes(header, sealed)))


def _open(text: str) -> bytes:
    expect = Expected(purpose=Purpose.JOB)
    return open_envelope(text, keyring=Opener(), expect=expect, now=1_500).plaintext


def _dump(members: dict[str, Any]) -> bytes:
    return json.dumps(members, separators=(",", ":"), sort_keys=True).encode()


def test_the_unchanged_header_opens() -> None:
    """Else the refusals below would prove nothing."""
    assert _dump(MEMBERS) == HEADER
    assert _open(_sealed_under(HEADER)) == b"payload"


Change = Callable[[], bytes]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda: _dump(MEMBERS | {"x": 1}), id="extra member"),
        pytest.param(lambda: _dump({k: v for k, v in MEMBERS.items() if k != "iat"}), id="missing"),
        pytest.param(lambda: HEADER.replace(b'"iat":', b'"iat":999,"iat":'), id="twice, differing"),
        pytest.param(lambda: HEADER.replace(b'"iat":', b'"iat":1000,"iat":'), id="twice, equal"),
        pytest.param(
            lambda: json.dumps(dict(reversed(MEMBERS.items())), separators=(",", ":")).encode(),
            id="other order",
        ),
        pytest.param(lambda: json.dumps(MEMBERS, sort_keys=True).encode(), id="spaces"),
        pytest.param(lambda: b"\xef\xbb\xbf" + HEADER, id="byte order mark"),
        pytest.param(lambda: HEADER + b"\n", id="line break after"),
        pytest.param(lambda: HEADER + b"{}", id="second value"),
        pytest.param(lambda: HEADER.replace(b"webhooks", b"\\u0077ebhooks"), id="escape"),
        pytest.param(lambda: HEADER.replace(b"1000", b"1000.0"), id="fraction"),
        pytest.param(lambda: HEADER.replace(b"1000", b"1e3"), id="exponent"),
        pytest.param(lambda: HEADER.replace(b"1000", b"01000"), id="leading zero"),
        pytest.param(lambda: HEADER.replace(b"1000", b"-0"), id="minus zero"),
        pytest.param(lambda: HEADER.replace(b"1000", b"NaN"), id="NaN"),
        pytest.param(lambda: HEADER.replace(b"1000", b"Infinity"), id="Infinity"),
        pytest.param(lambda: b"[" * 4_000, id="deep nesting"),
        pytest.param(lambda: b"[" + HEADER + b"]", id="in a list"),
        pytest.param(lambda: HEADER.decode().encode("utf-16"), id="UTF-16"),
    ],
)
def test_another_spelling_of_the_header_is_malformed(change: Change) -> None:
    changed = change()
    assert changed != HEADER
    with pytest.raises(EnvelopeMalformed):
        _open(_sealed_under(changed))


@pytest.mark.parametrize("name", sorted(MEMBERS))
@pytest.mark.parametrize("value", [None, True, False, 1.5, [], {}, "", "1", -1, 10**30, "ü"])
def test_a_member_of_another_type_or_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises((EnvelopeMalformed, EnvelopeVersionUnsupported)) as caught:
        _open(_sealed_under(_dump(MEMBERS | {name: value})))
    if type(value) is not int:
        # Only a number can be of a later version or suite.
        assert type(caught.value) is EnvelopeMalformed


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("task", ["a", "a" * 100, "a.b_c9"], ["A.b", "9a", ".a", "a-b", "a" * 101, "a\n", "a b"]),
        ("job", ["0" * 32, "f" * 32], ["0" * 31, "0" * 33, "F" * 32, "g" * 32]),
        ("tenant", ["a" * 16, "a" * 64], ["a" * 15, "a" * 65, "A" * 16]),
        ("contract", [1, 1_000_000], [0, 1_000_001, 1.0, True, "1"]),
        ("issued_at", [0, 253_402_300_799], [-1, 253_402_300_800, 1.5, True]),
        ("not_after", [0, 253_402_300_799], [-1, 253_402_300_800, 2_000.0, False]),
    ],
)
def test_a_context_takes_what_a_header_can_carry_and_nothing_else(
    name: str, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        context = Context(**(FIELDS | {name: value}))
        text = seal(b"", context, recipient=KEY.public, signer=SIGNER)
        assert peek(text).context == context
    for value in bad:
        with pytest.raises(ValueError, match=f"^{name} is not well-formed$"):
            Context(**(FIELDS | {name: value}))


def test_the_largest_header_is_looked_at_and_one_byte_more_is_not() -> None:
    # A header of a later version may be of any length up to the limit.
    def header(length: int) -> bytes:
        room = length - len(_dump(MEMBERS | {"v": 2, "task": ""}))
        return _dump(MEMBERS | {"v": 2, "task": "a" * room})

    assert len(header(MAX_HEADER)) == MAX_HEADER
    with pytest.raises(EnvelopeVersionUnsupported):
        peek(join(header(MAX_HEADER), b"c", bytes(64)))
    for length in (MAX_HEADER + 1, MAX_HEADER + 2, MAX_HEADER + 3, 2 * MAX_HEADER):
        with pytest.raises(EnvelopeMalformed):
            peek(join(header(length), b"c", bytes(64)))


def test_a_text_over_the_limit_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_TEXT", len(TEXT))
    assert _open(TEXT) == b"payload"
    monkeypatch.setattr(form, "MAX_TEXT", len(TEXT) - 1)
    monkeypatch.setattr(form, "_decode_part", lambda part: pytest.fail("decoded"))
    with pytest.raises(EnvelopeMalformed):
        _open(TEXT)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_malformed(length: int) -> None:
    with pytest.raises(EnvelopeMalformed):
        peek(join(HEADER, b"c", bytes(length)))


def test_an_empty_ciphertext_is_malformed() -> None:
    with pytest.raises(EnvelopeMalformed):
        peek(join(HEADER, b"", bytes(64)))


@pytest.mark.parametrize("version", ["swx", "swx-1", "SWX1", "swx1 ", "swx12345", "xsw1", "", "1"])
def test_what_is_no_version_is_malformed(version: str) -> None:
    with pytest.raises(EnvelopeMalformed):
        peek(TEXT.replace("swx1", version, 1))


@pytest.mark.parametrize("version", ["swx0", "swx2", "swx10", "swx01", "swx9999"])
def test_another_version_is_unsupported_even_with_other_parts(version: str) -> None:
    for text in (TEXT.replace("swx1", version, 1), version, f"{version}.a.b.c.d.e"):
        with pytest.raises(EnvelopeVersionUnsupported):
            peek(text)


@pytest.mark.parametrize("part", [1, 2, 3])
@pytest.mark.parametrize("wrong", ["=", "==", " ", "\n", "\t", "+", "/", "\0", "ü", "%", "\ud800"])
def test_a_character_that_is_not_of_the_alphabet_is_malformed(part: int, wrong: str) -> None:
    parts = TEXT.split(".")
    for position in (0, len(parts[part]) // 2, len(parts[part])):
        for cut in (0, 1):  # put in, and in place of another
            changed = parts.copy()
            whole = parts[part]
            changed[part] = whole[:position] + wrong + whole[position + cut :]
            with pytest.raises(EnvelopeMalformed):
                _open(".".join(changed))


ALPHABET = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"


@given(raw=st.binary(min_size=1, max_size=40), extra=st.integers(1, 15))
@settings(max_examples=150, deadline=None)
def test_unused_trailing_bits_are_zero(raw: bytes, extra: int) -> None:
    text = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    assert form._decode_part(text) == raw
    unused = len(text) * 6 - len(raw) * 8
    changed = ALPHABET[ALPHABET.index(text[-1]) | extra % (1 << unused)]
    if changed != text[-1]:
        with pytest.raises(EnvelopeMalformed):
            form._decode_part(text[:-1] + changed)


@given(text=st.text(ALPHABET + "+/= ", max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_two_texts_decode_to_the_same_bytes(text: str) -> None:
    try:
        raw = form._decode_part(text)
    except EnvelopeMalformed:
        return
    assert base64.urlsafe_b64encode(raw).rstrip(b"=").decode() == text


@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_arbitrary_bytes_in_the_parts_raise_nothing_but_envelope_errors(data: bytes) -> None:
    for text in (
        join(data, b"c", bytes(64)),
        _sealed_under(data),
        join(HEADER, data, bytes(64)),
        join(HEADER, data, SIGNER.sign(signed_bytes(HEADER, data))),
    ):
        with pytest.raises(EnvelopeError):
            _open(text)


@pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)
def test_the_size_is_known_for_every_remainder_of_base64(suite: Suite) -> None:
    key = PrivateKey(suite, b"k" * 32).public
    for task in ("a", "ab", "abc", "a" * 100):
        context = Context(**(FIELDS | {"task": task}))
        for length in (0, 1, 2, 3, 4, 1_023, 1_024, 65_536):
            text = seal(bytes(length), context, recipient=key, signer=SIGNER)
            assert len(text) == sealed_size(length, context, key, SIGNER)
            assert len(text.encode()) == len(text)
