"""The published vectors: what opens, and with which cause the others are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    PrivateKey,
    Purpose,
    SigningKey,
    Suite,
    UnknownKey,
    UnknownSigner,
    VerifyKey,
    open_envelope,
)

FOLDER = Path(__file__).parents[2] / "vectors"
VECTORS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


class Opener:
    """The least keyring: one key, one signer."""

    def __init__(self, vectors: dict[str, Any]) -> None:
        suite = Suite.by_label(vectors["suite"])
        self.key = PrivateKey(suite, bytes.fromhex(vectors["recipient"]["seed"]))
        self.signer = VerifyKey(bytes.fromhex(vectors["signer"]["public"]))

    def verifier(self, signer_id: str) -> VerifyKey:
        if signer_id != self.signer.id:
            raise UnknownSigner
        return self.signer

    def check_trust(self, signer_id: str, context: Context) -> None:
        return None

    def private(self, key_id: str) -> PrivateKey:
        if key_id != self.key.id:
            raise UnknownKey
        return self.key


def _open(vectors: dict[str, Any], case: dict[str, Any]) -> bytes:
    context = vectors["context"]
    names = ("task", "job", "tenant")
    expect = {name: context[name] for name in names} | case.get("expect", {})
    return open_envelope(
        case["text"],
        keyring=Opener(vectors),
        expect=Expected(purpose=Purpose.JOB, **expect),
        now=case.get("now", context["issued_at"]),
    ).plaintext


def _cases(kind: str) -> list[Any]:
    return [
        pytest.param(vectors, case, id=f"{stem}-{case['name']}")
        for stem, vectors in VECTORS.items()
        for case in vectors[kind]
    ]


def test_both_suites_have_vectors() -> None:
    assert set(VECTORS) == {suite.label for suite in Suite}


@pytest.mark.parametrize("vectors", VECTORS.values(), ids=VECTORS)
def test_keys_derive_from_their_seeds(vectors: dict[str, Any]) -> None:
    opener = Opener(vectors)
    assert opener.key.id == vectors["recipient"]["id"]
    assert opener.key.public.raw.hex() == vectors["recipient"]["public"]
    signer = SigningKey(bytes.fromhex(vectors["signer"]["seed"]))
    assert (signer.id, signer.public.raw.hex()) == (opener.signer.id, vectors["signer"]["public"])


@pytest.mark.parametrize(("vectors", "case"), _cases("open"))
def test_it_opens(vectors: dict[str, Any], case: dict[str, Any]) -> None:
    assert _open(vectors, case).hex() == case["plaintext"]


@pytest.mark.parametrize(("vectors", "case"), _cases("refuse"))
def test_it_is_refused_for_its_cause(vectors: dict[str, Any], case: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError) as caught:
        _open(vectors, case)
    assert caught.value.cause == case["cause"]
