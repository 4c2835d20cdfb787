"""Private keys of envelopes: made from a seed, never shown."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidSignature

from sealwax.envelope.private_keys import PrivateKey, SigningKey
from sealwax.envelope.public_keys import PublicKey, Suite, VerifyKey

SEED = b"s" * 32


suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)


@suites
def test_a_seed_gives_one_key_whose_id_its_public_half_shares(suite: Suite) -> None:
    key = PrivateKey(suite, SEED)
    assert key.id == PrivateKey(suite, SEED).id == key.public.id
    assert key.id != PrivateKey(suite, b"t" * 32).id
    assert PublicKey.from_bytes(suite, key.public.raw) == key.public
    assert repr(key) == f"PrivateKey({key.id})"


@suites
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_seed_of_another_length_is_refused(suite: Suite, size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PrivateKey(suite, b"s" * size)
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"s" * size)


def test_a_signature_fits_its_message_and_its_signer_alone() -> None:
    key = SigningKey(SEED)
    signature = key.sign(b"message")
    VerifyKey(key.public.raw).verify(signature, b"message")
    for verifier, text in ((key.public, b"other"), (SigningKey(b"t" * 32).public, b"message")):
        with pytest.raises(InvalidSignature):
            verifier.verify(signature, text)
    assert repr(key) == f"SigningKey({key.id})"
