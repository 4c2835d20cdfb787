"""The first failure ends the opening; nothing is decrypted before trust and context are checked."""

from __future__ import annotations

import base64
import dataclasses
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    ContextMismatch,
    DecryptionFailed,
    EnvelopeError,
    EnvelopeExpired,
    EnvelopeMalformed,
    Expected,
    KeyRetired,
    PrivateKey,
    Purpose,
    SignatureInvalid,
    SignerNotTrusted,
    SigningKey,
    Suite,
    UnknownKey,
    UnknownSigner,
    VerifyKey,
    open_envelope,
    seal,
)
from sealwax.envelope.format import Header, encode_header, join
from sealwax.envelope.verify import signed_bytes

CONTEXT = Context(
    purpose=Purpose.JOB,
    task="webhooks.relay",
    job="1" * 32,
    tenant="2" * 32,
    contract=1,
    issued_at=1_000,
    not_after=2_000,
)
EXPECTED = Expected(purpose=Purpose.JOB, task="webhooks.relay", job="1" * 32, tenant="2" * 32)
SIGNER = SigningKey(b"s" * 32)
KEYS = {suite: PrivateKey(suite, b"k" * 32) for suite in Suite}
suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)


class Recording:
    """A keyring that notes what it was asked for, and can fail at each question."""

    def __init__(self, suite: Suite, **failures: EnvelopeError) -> None:
        self.calls: list[str] = []
        self._key: Any = KEYS[suite]
        self._failures = failures

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self._failures:
            raise self._failures[call]

    def verifier(self, signer_id: str) -> VerifyKey:
        assert signer_id == SIGNER.id
        self._note("verifier")
        return SIGNER.public

    def check_trust(self, signer_id: str, context: Context) -> None:
        assert signer_id == SIGNER.id
        self._note("trust")

    def private(self, key_id: str) -> PrivateKey:
        self._note("private")
        keyring = self

        class Watched:
            suite = self._key.suite

            @staticmethod
            def decrypt(sealed: bytes, info: bytes) -> bytes:
                keyring._note("decrypt")
                return keyring._key.decrypt(sealed, info)  # type: ignore[no-any-return]

        return Watched()  # type: ignore[return-value]


def _text(suite: Suite, plaintext: bytes = b"payload", context: Context = CONTEXT) -> str:
    return seal(plaintext, context, recipient=KEYS[suite].public, signer=SIGNER)


def _flip_signature(text: str) -> str:
    head, signature = text.rsplit(".", 1)
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def _rubbish(suite: Suite) -> str:
    header = encode_header(
        Header(suite=suite, recipient=KEYS[suite].id, signer=SIGNER.id, context=CONTEXT)
    )
    sealed = b"r" * 2_000
    return join(header, sealed, SIGNER.sign(signed_bytes(header, sealed)))


@suites
def test_a_good_envelope_is_asked_about_in_this_order(suite: Suite) -> None:
    ring = Recording(suite)
    opened = open_envelope(_text(suite), keyring=ring, expect=EXPECTED, now=1_500)
    assert opened.plaintext == b"payload"
    assert ring.calls == ["verifier", "trust", "private", "decrypt"]


@suites
@pytest.mark.parametrize(
    ("failures", "kind", "calls"),
    [
        ({"verifier": UnknownSigner()}, UnknownSigner, ["verifier"]),
        ({"verifier": KeyRetired()}, KeyRetired, ["verifier"]),
        ({"trust": SignerNotTrusted()}, SignerNotTrusted, ["verifier", "trust"]),
        ({"private": UnknownKey()}, UnknownKey, ["verifier", "trust", "private"]),
        ({"private": KeyRetired()}, KeyRetired, ["verifier", "trust", "private"]),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_keyring_s_refusal_ends_it(
    suite: Suite, failures: dict[str, EnvelopeError], kind: type[EnvelopeError], calls: list[str]
) -> None:
    ring = Recording(suite, **failures)
    with pytest.raises(kind):
        open_envelope(_text(suite), keyring=ring, expect=EXPECTED, now=1_500)
    assert ring.calls == calls


@suites
def test_of_several_faults_the_earliest_is_named_and_no_key_is_touched(suite: Suite) -> None:
    """Each row has the fault that it names and all later ones."""
    rubbish = _rubbish(suite)
    elsewhere = dataclasses.replace(EXPECTED, job="3" * 32)
    refusals: dict[str, EnvelopeError] = {
        "verifier": UnknownSigner(),
        "trust": SignerNotTrusted(),
        "private": UnknownKey(),
    }

    def cause(text: str, expect: Expected, now: float, failures: dict[str, EnvelopeError]) -> str:
        ring = Recording(suite, **failures)
        with pytest.raises(EnvelopeError) as caught:
            open_envelope(text, keyring=ring, expect=expect, now=now)
        if caught.value.cause not in ("unknown-key", "decryption-failed"):
            assert "private" not in ring.calls
        assert ("decrypt" in ring.calls) == (caught.value.cause == "decryption-failed")
        return caught.value.cause

    def without(*names: str) -> dict[str, EnvelopeError]:
        return {name: error for name, error in refusals.items() if name not in names}

    bad = _flip_signature(rubbish)
    trusted = without("verifier", "trust")
    assert [
        cause(bad + "=", elsewhere, 9_999, refusals),
        cause(bad.replace("swx1", "swx2", 1), elsewhere, 9_999, refusals),
        cause(bad, elsewhere, 9_999, refusals),
        cause(bad, elsewhere, 9_999, without("verifier")),
        cause(rubbish, elsewhere, 9_999, without("verifier")),
        cause(rubbish, elsewhere, 9_999, trusted),
        cause(rubbish, EXPECTED, 9_999, trusted),
        cause(rubbish, EXPECTED, 1_500, trusted),
        cause(rubbish, EXPECTED, 1_500, {}),
    ] == [
        "envelope-malformed",
        "version-unsupported",
        "unknown-signer",
        "signature-invalid",
        "signer-not-trusted",
        "context-mismatch",
        "envelope-expired",
        "unknown-key",
        "decryption-failed",
    ]


@pytest.mark.parametrize("field", ["purpose", "task", "job", "tenant"])
def test_of_several_differing_fields_the_first_is_named(field: str) -> None:
    fields = ["purpose", "task", "job", "tenant"]
    other = {"purpose": Purpose.REVEAL, "task": "a.b", "job": "f" * 32, "tenant": "f" * 32}
    changed = {name: other[name] for name in fields[fields.index(field) :]}
    ring = Recording(Suite.X25519)
    with pytest.raises(ContextMismatch) as caught:
        open_envelope(
            _text(Suite.X25519),
            keyring=ring,
            expect=dataclasses.replace(EXPECTED, **changed),  # type: ignore[arg-type]
            now=1_500,
        )
    assert caught.value.field == field
    assert ring.calls == ["verifier", "trust"]
    # The message names the field and shows neither side's value.
    assert field in str(caught.value)
    assert "f" * 32 not in str(caught.value)
    assert "1" * 32 not in str(caught.value)


def test_a_key_of_another_suite_under_the_same_id_decrypts_nothing() -> None:
    ring = Recording(Suite.X_WING)
    with pytest.raises(EnvelopeMalformed):
        open_envelope(_text(Suite.X25519), keyring=ring, expect=EXPECTED, now=1_500)
    assert "decrypt" not in ring.calls


def test_an_error_that_is_no_envelope_error_of_the_keyring_is_not_swallowed() -> None:
    """A bug must not look like a forgery."""

    class Broken(Recording):
        def private(self, key_id: str) -> PrivateKey:
            raise KeyError(key_id)

    with pytest.raises(KeyError):
        open_envelope(_text(Suite.X25519), keyring=Broken(Suite.X25519), expect=EXPECTED, now=1_500)


#: Order of Ed25519's group (RFC 8032, section 5.1).
_L = 2**252 + 27742317777372353535851937790883648493


def test_a_signature_has_no_second_form() -> None:
    """S + L satisfies the same equation; RFC 8032, section 5.1.7, refuses it."""
    head, signature = _text(Suite.X25519).rsplit(".", 1)
    raw = base64.urlsafe_b64decode(signature + "==")
    twin = raw[:32] + (int.from_bytes(raw[32:], "little") + _L).to_bytes(32, "little")
    forged = f"{head}.{base64.urlsafe_b64encode(twin).rstrip(b'=').decode()}"
    with pytest.raises(SignatureInvalid):
        open_envelope(forged, keyring=Recording(Suite.X25519), expect=EXPECTED, now=1_500)


def test_the_unused_bit_of_the_encapsulated_key_is_bound_too() -> None:
    """X25519 ignores the top bit of a public key, even where a trusted signer signs it."""
    for suite in Suite:
        text = _text(suite)
        header, sealed = (
            base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")[1:3]
        )
        changed = bytearray(sealed)
        changed[suite.overhead - 16 - 1] ^= 0x80
        twin = join(header, bytes(changed), SIGNER.sign(signed_bytes(header, bytes(changed))))
        with pytest.raises(DecryptionFailed):
            open_envelope(twin, keyring=Recording(suite), expect=EXPECTED, now=1_500)


@pytest.mark.parametrize("enc", [bytes(32), b"\x01" + bytes(31), b"\xff" * 32])
def test_a_low_order_encapsulated_key_fails_like_any_other(enc: bytes) -> None:
    header = encode_header(
        Header(
            suite=Suite.X25519,
            recipient=KEYS[Suite.X25519].id,
            signer=SIGNER.id,
            context=CONTEXT,
        )
    )
    sealed = enc + b"x" * 40
    text = join(header, sealed, SIGNER.sign(signed_bytes(header, sealed)))
    with pytest.raises(DecryptionFailed):
        open_envelope(text, keyring=Recording(Suite.X25519), expect=EXPECTED, now=1_500)


def test_not_after_holds_at_fractions_of_a_second() -> None:
    text = _text(Suite.X25519)
    for now, opens in ((1_999.9, True), (2_000.0, True), (2_000.001, False)):
        ring = Recording(Suite.X25519)
        if opens:
            open_envelope(text, keyring=ring, expect=EXPECTED, now=now)
        else:
            with pytest.raises(EnvelopeExpired):
                open_envelope(text, keyring=ring, expect=EXPECTED, now=now)
            assert "private" not in ring.calls
