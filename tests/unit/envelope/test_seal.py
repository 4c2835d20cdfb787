"""What opens, and that everything else fails with its own error class."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sealwax.envelope import (
    Context,
    ContextMismatch,
    DecryptionFailed,
    EnvelopeError,
    EnvelopeExpired,
    EnvelopeMalformed,
    EnvelopeVersionUnsupported,
    Expected,
    KeyRetired,
    Purpose,
    SignatureInvalid,
    SignerNotTrusted,
    SigningKey,
    UnknownKey,
    UnknownSigner,
    open_envelope,
    peek,
    seal,
    sealed_size,
)
from sealwax.envelope.format import join
from sealwax.envelope.verify import signed_bytes
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring

SUITES = ("x-wing", "x25519")
JOB = "0123456789abcdef" * 2
CONTEXT = Context(
    purpose=Purpose.JOB,
    task="webhooks.relay",
    job=JOB,
    tenant="ab" * 16,
    contract=1,
    issued_at=1_000,
    not_after=2_000,
)
EXPECTED = Expected(purpose=Purpose.JOB, task="webhooks.relay", job=JOB, tenant="ab" * 16)


def _rings(suite: str) -> tuple[Keyring, Keyring]:
    secrets = KeyDocuments.create(suite, 1).secrets()
    shared = secrets["shared/keyring"]
    return (
        Keyring.load("api", secrets["api/keys"], shared),
        Keyring.load("worker", secrets["worker/keys"], shared),
    )


RINGS = {suite: _rings(suite) for suite in SUITES}
OTHER = {suite: _rings(suite) for suite in SUITES}


def _seal(suite: str, plaintext: bytes = b"payload", **changes: object) -> str:
    api, _ = RINGS[suite]
    context = dataclasses.replace(CONTEXT, **changes)  # type: ignore[arg-type]
    return seal(plaintext, context, recipient=api.recipient("worker"), signer=api.signer)


def _open(suite: str, text: str, expect: Expected = EXPECTED, now: float = 1_500) -> bytes:
    return open_envelope(text, keyring=RINGS[suite][1], expect=expect, now=now).plaintext


SEALED = {suite: _seal(suite) for suite in SUITES}
suites = pytest.mark.parametrize("suite", SUITES)


@given(plaintext=st.binary(max_size=5_000), suite=st.sampled_from(SUITES))
@settings(max_examples=60, deadline=None)
def test_what_is_sealed_opens_and_its_size_was_known(plaintext: bytes, suite: str) -> None:
    api, _ = RINGS[suite]
    text = _seal(suite, plaintext)
    assert _open(suite, text) == plaintext
    assert len(text) == sealed_size(len(plaintext), CONTEXT, api.recipient("worker"), api.signer)


@suites
def test_a_text_holds_only_url_safe_characters_and_never_repeats(suite: str) -> None:
    first, second = _seal(suite), _seal(suite)
    assert first != second
    assert re.fullmatch(r"swx1(\.[A-Za-z0-9_-]+){3}", first)


@suites
def test_any_changed_character_anywhere_fails(suite: str) -> None:
    text = SEALED[suite]
    for index, character in enumerate(text):
        other = "A" if character != "A" else "B"
        with pytest.raises(
            (EnvelopeMalformed, EnvelopeVersionUnsupported, SignatureInvalid, UnknownSigner)
        ):
            _open(suite, text[:index] + other + text[index + 1 :])


@given(data=st.data(), suite=st.sampled_from(SUITES))
@settings(max_examples=150, deadline=None)
def test_any_flipped_bit_in_any_part_fails(data: st.DataObject, suite: str) -> None:
    version, *parts = SEALED[suite].split(".")
    which = data.draw(st.integers(0, 2))
    raw = bytearray(base64.urlsafe_b64decode(parts[which] + "=" * (-len(parts[which]) % 4)))
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    parts[which] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    expected = (
        (EnvelopeMalformed, EnvelopeVersionUnsupported, SignatureInvalid, UnknownSigner)
        if which == 0
        else SignatureInvalid
    )
    with pytest.raises(expected):
        _open(suite, ".".join((version, *parts)))


@given(
    text=st.one_of(
        st.text(), st.text("swx1.-_Az09="), st.from_regex(r"swx[0-9]?(\.[A-Za-z0-9_=-]*){0,5}")
    )
)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_text_raises_nothing_but_envelope_errors(text: str) -> None:
    with pytest.raises(EnvelopeError):
        _open("x-wing", text)
    with pytest.raises(EnvelopeError):
        peek(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(string.printable), inner),
)


@given(value=_json)
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_arbitrary_json_as_header_raises_nothing_but_envelope_errors(value: object) -> None:
    text = join(json.dumps(value).encode(), b"c", bytes(64))
    with pytest.raises(EnvelopeMalformed):
        peek(text)


@given(name=st.sampled_from(sorted(["v", "kem", "kid", "sid", "job", "task",
       "tenant", "purpose", "contract", "iat", "exp", "kdf", "aead"])), value=_json)  # fmt: skip
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_value_in_any_header_field_is_refused_or_breaks_the_signature(
    name: str, value: object
) -> None:
    version, header, *rest = SEALED["x25519"].split(".")
    fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    if fields[name] == value:
        return
    fields[name] = value
    raw = json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()
    changed = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    with pytest.raises(EnvelopeError):
        _open("x25519", ".".join((version, changed, *rest)))


@pytest.mark.parametrize("text", [None, 7, b"swx1", [], {}], ids=repr)
def test_what_is_no_text_is_malformed(text: object) -> None:
    with pytest.raises(EnvelopeMalformed):
        peek(text)  # type: ignore[arg-type]


def test_trailing_bits_padding_and_whitespace_are_malformed() -> None:
    text = SEALED["x25519"]
    for changed in (text + "=", text + "\n", " " + text, text.replace(".", ".\n", 1), text + "."):
        with pytest.raises(EnvelopeMalformed):
            _open("x25519", changed)
    # 64 bytes leave two bits over in their last character.
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    last = alphabet[alphabet.index(text[-1]) | 1]
    with pytest.raises(EnvelopeMalformed):
        _open("x25519", text[:-1] + last)


def test_members_in_another_order_or_twice_are_malformed() -> None:
    header = SEALED["x25519"].split(".")[1]
    raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    fields = json.loads(raw)
    reordered = json.dumps(dict(reversed(fields.items())), separators=(",", ":")).encode()
    for changed in (reordered, raw[:-1] + b',"v":1}', raw.replace(b",", b", ", 1)):
        with pytest.raises(EnvelopeMalformed):
            peek(join(changed, b"c", bytes(64)))


def test_a_later_version_or_unknown_suite_is_unsupported_not_malformed() -> None:
    text = SEALED["x25519"]
    with pytest.raises(EnvelopeVersionUnsupported):
        _open("x25519", text.replace("swx1", "swx2", 1))
    header = text.split(".")[1]
    raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    for old, new in ((b'"v":1', b'"v":2'), (b'"kem":32', b'"kem":33')):
        with pytest.raises(EnvelopeVersionUnsupported):
            peek(join(raw.replace(old, new), b"c", bytes(64)))


@suites
@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("purpose", {"purpose": Purpose.RESULT}),
        ("task", {"task": "exports.build"}),
        ("job", {"job": "f" * 32}),
        ("tenant", {"tenant": "cd" * 16}),
    ],
)
def test_an_envelope_moved_elsewhere_names_the_field(
    suite: str, field: str, changes: dict[str, str]
) -> None:
    with pytest.raises(ContextMismatch) as caught:
        _open(suite, SEALED[suite], dataclasses.replace(EXPECTED, **changes))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_what_is_not_expected_is_not_compared() -> None:
    assert _open("x25519", SEALED["x25519"], Expected(purpose=Purpose.JOB)) == b"payload"


@suites
def test_not_after_is_the_last_second_at_which_it_opens(suite: str) -> None:
    assert _open(suite, SEALED[suite], now=2_000) == b"payload"
    with pytest.raises(EnvelopeExpired):
        _open(suite, SEALED[suite], now=2_001)


def test_clock_skew_is_allowed_to_its_last_second() -> None:
    text, (_, worker) = SEALED["x25519"], RINGS["x25519"]
    open_envelope(text, keyring=worker, expect=EXPECTED, now=2_005, skew=5)
    with pytest.raises(EnvelopeExpired):
        open_envelope(text, keyring=worker, expect=EXPECTED, now=2_006, skew=5)


@suites
def test_a_foreign_signature_is_an_unknown_signer_even_with_our_recipient(suite: str) -> None:
    text = seal(
        b"forged",
        CONTEXT,
        recipient=RINGS[suite][0].recipient("worker"),
        signer=OTHER[suite][0].signer,
    )
    with pytest.raises(UnknownSigner):
        _open(suite, text)


@suites
def test_a_forged_signer_id_does_not_help(suite: str) -> None:
    api, _ = RINGS[suite]
    foreign = SigningKey(bytes(32))
    object.__setattr__(foreign.public, "id", api.signer.id)
    text = seal(b"forged", CONTEXT, recipient=api.recipient("worker"), signer=foreign)
    with pytest.raises(SignatureInvalid):
        _open(suite, text)


@suites
def test_an_envelope_to_a_foreign_key_is_an_unknown_key(suite: str) -> None:
    text = seal(
        b"x",
        CONTEXT,
        recipient=OTHER[suite][0].recipient("worker"),
        signer=RINGS[suite][0].signer,
    )
    with pytest.raises(UnknownKey):
        _open(suite, text)


def test_the_api_cannot_open_what_it_sealed() -> None:
    with pytest.raises(UnknownKey):
        open_envelope(SEALED["x-wing"], keyring=RINGS["x-wing"][0], expect=EXPECTED, now=1_500)


@suites
def test_the_api_is_not_trusted_with_results(suite: str) -> None:
    text = _seal(suite, purpose=Purpose.RESULT)
    with pytest.raises(SignerNotTrusted):
        _open(suite, text, dataclasses.replace(EXPECTED, purpose=Purpose.RESULT))


@suites
@pytest.mark.parametrize("length", [1, 31, 32, 47, 48, 1_120, 1_135, 1_136, 2_000])
def test_rightly_signed_rubbish_fails_to_decrypt(suite: str, length: int) -> None:
    api, _ = RINGS[suite]
    version, header, _, _ = SEALED[suite].split(".")
    raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    sealed = bytes(length)
    with pytest.raises(DecryptionFailed):
        _open(suite, join(raw, sealed, api.signer.sign(signed_bytes(raw, sealed))))
    assert version == "swx1"


@suites
def test_a_signer_cannot_give_a_ciphertext_another_header(suite: str) -> None:
    # The context is in HPKE's info too: whoever signs anew still cannot move it.
    api, _ = RINGS[suite]
    _, header, sealed_text, _ = SEALED[suite].split(".")
    raw = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    sealed = base64.urlsafe_b64decode(sealed_text + "=" * (-len(sealed_text) % 4))
    moved = raw.replace(JOB.encode(), b"f" * 32)
    text = join(moved, sealed, api.signer.sign(signed_bytes(moved, sealed)))
    with pytest.raises(DecryptionFailed):
        _open(suite, text, dataclasses.replace(EXPECTED, job="f" * 32))


def test_every_error_has_its_own_cause_and_only_unknown_ids_are_transient() -> None:
    classes = EnvelopeError.__subclasses__()
    causes = [kind.cause for kind in classes]
    assert len(set(causes)) == len(causes) == 10
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", cause) for cause in causes)
    assert {kind for kind in classes if kind.transient} == {UnknownKey, UnknownSigner}
    assert KeyRetired in classes


def test_reprs_show_neither_keys_nor_plaintext() -> None:
    api, worker = RINGS["x-wing"]
    opened = open_envelope(SEALED["x-wing"], keyring=worker, expect=EXPECTED, now=1_500)
    for shown in (opened, api, worker, api.signer, worker.private(opened.recipient_id)):
        assert "payload" not in repr(shown)
        assert len(repr(shown)) < 120
