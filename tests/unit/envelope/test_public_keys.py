"""Public keys of envelopes: known by a thumbprint of their kind and bytes."""

from __future__ import annotations

import pytest

from sealwax.envelope.private_keys import PrivateKey
from sealwax.envelope.public_keys import PublicKey, Suite, thumbprint

SEED = b"s" * 32


suites = pytest.mark.parametrize("suite", list(Suite), ids=lambda suite: suite.label)


@suites
def test_bytes_that_are_no_public_key_are_refused_when_they_are_read(suite: Suite) -> None:
    raw = PrivateKey(suite, SEED).public.raw
    with pytest.raises(ValueError, match="key"):
        PublicKey.from_bytes(suite, raw[:-1])


def test_the_same_bytes_as_another_kind_of_key_have_another_id() -> None:
    assert thumbprint("x25519", b"p" * 32) != thumbprint("ed25519", b"p" * 32)
    assert len(thumbprint("x25519", b"p")) == 16


@suites
def test_a_suite_is_found_by_its_name_and_by_its_numbers(suite: Suite) -> None:
    assert Suite.by_label(suite.label) is suite
    assert Suite.by_numbers(suite.numbers) is suite
    assert Suite.by_numbers((0, 0, 0)) is None
