"""Malformed key documents name secret and field; no value is ever shown."""

from __future__ import annotations

import copy
import json
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from sealwax.envelope import Context, KeyRetired, Purpose, SignerNotTrusted, UnknownKey
from sealwax.errors import SealwaxError
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.hmac import KeyedHashes, KeyedHashesInvalid, TokenDigest
from sealwax.keys.keyring import Keyring
from sealwax.keys.public import KeyringInvalid

CANARY = "canary-6d0b"
SECRETS = KeyDocuments.create("x25519", 100).secrets()
PRIVATE: dict[str, Any] = json.loads(SECRETS["api/keys"])
SHARED: dict[str, Any] = json.loads(SECRETS["shared/keyring"])
HMAC: dict[str, Any] = json.loads(SECRETS["shared/hmac"])
Path = tuple[str | int, ...]


def _places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every scalar, list and object in a document, the whole left out."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def _with(document: dict[str, Any], path: Path, value: Any) -> str:
    changed = copy.deepcopy(document)
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return json.dumps(changed)


def _without(document: dict[str, Any], path: Path) -> str:
    changed = copy.deepcopy(document)
    at: Any = changed
    for part in path[:-1]:
        at = at[part]
    del at[path[-1]]
    return json.dumps(changed)


def _shown(error: BaseException) -> str:
    """Return everything that a log, a traceback or a debugger's repr would show."""
    return "".join(traceback.format_exception(error)) + repr(error) + str(vars(error))


def _secret_values() -> list[str]:
    return [
        *(key["seed"] for kind in ("hpke", "signing") for key in PRIVATE[kind]),
        HMAC["tenant"],
        *(key["key"] for key in HMAC["keys"]),
        SECRETS["api/token-key"],
    ]


def _check(error: SealwaxError) -> None:
    shown = _shown(error)
    assert CANARY not in shown
    assert not any(value in shown for value in _secret_values())


#: Lists of names take any name: an unknown one just matches nothing.
NAMES = ("tasks", "tenants", "retired")


def _dotted(path: Path) -> str:
    return ".".join(str(part) for part in path)


@pytest.mark.parametrize("path", list(_places(PRIVATE)), ids=_dotted)
@pytest.mark.parametrize("value", [CANARY, None, [CANARY], {"x": CANARY}, 1.5])
def test_a_wrong_value_in_a_private_document_is_named(path: Path, value: Any) -> None:
    with pytest.raises(KeyringInvalid) as caught:
        Keyring.load("api", _with(PRIVATE, path, value), SECRETS["shared/keyring"])
    assert "api/keys" in str(caught.value)
    assert _dotted(path) in str(caught.value)
    _check(caught.value)


@pytest.mark.parametrize(
    "path", [p for p in _places(SHARED) if not set(NAMES) & set(p)], ids=_dotted
)
@pytest.mark.parametrize("value", [CANARY, None, [CANARY], {"x": CANARY}, 1.5])
def test_a_wrong_value_in_the_shared_document_is_named(path: Path, value: Any) -> None:
    with pytest.raises(KeyringInvalid) as caught:
        Keyring.load("api", SECRETS["api/keys"], _with(SHARED, path, value))
    assert "shared/keyring" in str(caught.value)
    assert _dotted(path[:2]) in str(caught.value)
    _check(caught.value)


# A role without recipient keys still seals and verifies; without a signing key it does neither.
@pytest.mark.parametrize("path", [p for p in _places(PRIVATE) if p != ("hpke", 0)], ids=_dotted)
def test_a_missing_member_of_a_private_document_is_refused(path: Path) -> None:
    with pytest.raises(KeyringInvalid) as caught:
        Keyring.load("api", _without(PRIVATE, path), SECRETS["shared/keyring"])
    _check(caught.value)


@pytest.mark.parametrize("path", [(), ("hpke", 0), ("signing", 0)], ids=repr)
def test_an_unknown_member_is_refused(path: Path) -> None:
    with pytest.raises(KeyringInvalid, match="extra") as caught:
        Keyring.load("api", _with(PRIVATE, (*path, "extra"), CANARY), SECRETS["shared/keyring"])
    _check(caught.value)


@pytest.mark.parametrize(
    "public",
    ["", "0", "zz", "00" * 31, "00" * 33, "00" * 1_216, "AB" * 32, "00" * 32 + "\n"],
)
@pytest.mark.parametrize("kind", ["recipients", "signers"])
@pytest.mark.parametrize("suite", ["x-wing", "x25519"])
def test_what_is_no_public_key_is_refused(kind: str, public: str, suite: str) -> None:
    changed = copy.deepcopy(SHARED)
    changed[kind][0]["public"] = public
    if kind == "recipients":
        changed[kind][0]["suite"] = suite
    with pytest.raises(KeyringInvalid, match=rf"{kind}\.0"):
        Keyring.load("api", SECRETS["api/keys"], json.dumps(changed))


def test_the_same_key_under_another_suite_is_refused() -> None:
    """Its id is taken over suite and bytes."""
    changed = copy.deepcopy(SHARED)
    changed["recipients"][0]["suite"] = "x-wing"
    with pytest.raises(KeyringInvalid, match=r"recipients\.0"):
        Keyring.load("api", SECRETS["api/keys"], json.dumps(changed))


def test_a_role_without_an_active_recipient_says_so() -> None:
    changed = copy.deepcopy(SHARED)
    for row in changed["recipients"]:
        row["state"] = "open"
    ring = Keyring.load("api", SECRETS["api/keys"], json.dumps(changed))
    with pytest.raises(KeyringInvalid, match="worker"):
        ring.recipient("worker")


def test_documents_that_do_not_belong_together_are_refused() -> None:
    other = KeyDocuments.create("x25519", 100).secrets()
    with pytest.raises(KeyringInvalid, match="belong together"):
        Keyring.load("api", SECRETS["api/keys"], other["shared/keyring"])


@pytest.mark.parametrize("role", ["api", "worker"])
def test_missing_documents_are_named(role: Any) -> None:
    documents = KeyDocuments({})
    with pytest.raises(KeyringInvalid, match="keys"):
        documents.rotate(role, "x-wing", 1)
    with pytest.raises(KeyringInvalid, match="shared/keyring"):
        documents.retire("0" * 16)


@pytest.mark.parametrize("path", list(_places(HMAC)), ids=_dotted)
@pytest.mark.parametrize("value", [CANARY, None, [CANARY], {"x": CANARY}])
def test_wrong_hmac_keys_are_refused_unseen(path: Path, value: Any) -> None:
    with pytest.raises(KeyedHashesInvalid) as caught:
        KeyedHashes.load(_with(HMAC, path, value))
    assert "HMAC" in str(caught.value) or "hmac" in str(caught.value)
    _check(caught.value)


def test_a_wrong_token_key_is_refused_unseen() -> None:
    for text in (CANARY, SECRETS["api/token-key"][:-1], SECRETS["api/token-key"] + "ff", ""):
        with pytest.raises(KeyedHashesInvalid, match="api/token-key") as caught:
            TokenDigest.load(text)
        _check(caught.value)


def test_reprs_show_no_keys() -> None:
    shown = repr(KeyedHashes.load(SECRETS["shared/hmac"])) + repr(
        TokenDigest.load(SECRETS["api/token-key"])
    )
    for role in ("api", "worker"):
        ring = Keyring.load(role, SECRETS[f"{role}/keys"], SECRETS["shared/keyring"])  # type: ignore[arg-type]
        shown += repr(ring) + str(ring)
    shown += repr(KeyDocuments(SECRETS)) + str(KeyDocuments(SECRETS))
    assert not any(value in shown for value in _secret_values())


# -- the trust list ---------------------------------------------------------------------


def _context(**changes: Any) -> Context:
    fields: dict[str, Any] = {
        "purpose": Purpose.JOB,
        "task": "webhooks.relay",
        "job": "1" * 32,
        "tenant": "ab" * 16,
        "contract": 1,
        "issued_at": 1,
        "not_after": 10,
    }
    return Context(**(fields | changes))


@pytest.mark.parametrize(
    ("row", "context", "trusted"),
    [
        ({"tasks": ["*"], "tenants": ["*"]}, {}, True),
        ({"tasks": ["webhooks.relay"]}, {}, True),
        ({"tasks": ["webhooks.*"]}, {}, True),
        ({"tasks": ["webhooks.*"]}, {"task": "webhooks"}, False),
        ({"tasks": ["webhooks.*"]}, {"task": "webhooksx.relay"}, False),
        ({"tasks": ["webhooks"]}, {}, False),
        ({"tasks": ["WEBHOOKS.*"]}, {}, False),
        ({"tasks": ["exports.*", "webhooks.rel?y"]}, {}, True),
        ({"tasks": []}, {}, False),
        ({"tenants": ["ab" * 16]}, {}, True),
        ({"tenants": ["ab" * 16]}, {"tenant": "cd" * 16}, False),
        # Tenants are names, not patterns.
        ({"tenants": ["ab*"]}, {}, False),
        ({"tenants": []}, {}, False),
        ({"purposes": []}, {}, False),
        ({"purposes": ["job"]}, {}, True),
        ({"purposes": ["job"]}, {"purpose": Purpose.RESULT}, False),
        ({"purposes": ["result", "reveal"]}, {}, False),
        ({"purposes": ["job", "reveal"]}, {"purpose": Purpose.REVEAL}, True),
    ],
)
def test_who_may_sign_what(row: dict[str, Any], context: dict[str, Any], trusted: bool) -> None:
    changed = copy.deepcopy(SHARED)
    (signer,) = [s for s in changed["signers"] if s["role"] == "api"]
    signer.update(row)
    ring = Keyring.load("worker", SECRETS["worker/keys"], json.dumps(changed))
    if trusted:
        ring.check_trust(signer["id"], _context(**context))
    else:
        with pytest.raises(SignerNotTrusted):
            ring.check_trust(signer["id"], _context(**context))


@pytest.mark.parametrize(
    ("role", "purposes"), [("api", ["job"]), ("worker", ["job", "result", "reveal"])]
)
def test_what_new_keys_may_sign(role: str, purposes: list[str]) -> None:
    (signer,) = [s for s in SHARED["signers"] if s["role"] == role]
    assert sorted(signer["purposes"]) == purposes


def test_a_retired_id_is_told_from_one_never_heard_of() -> None:
    changed = copy.deepcopy(SHARED)
    changed["retired"] = ["0" * 16]
    ring = Keyring.load("worker", SECRETS["worker/keys"], json.dumps(changed))
    for ask in (ring.private, ring.verifier):
        with pytest.raises(KeyRetired):
            ask("0" * 16)
    with pytest.raises(UnknownKey):
        ring.private("1" * 16)


def test_a_role_holds_only_its_own_private_keys() -> None:
    for role, other in (("api", "worker"), ("worker", "api")):
        ring = Keyring.load(role, SECRETS[f"{role}/keys"], SECRETS["shared/keyring"])  # type: ignore[arg-type]
        assert ring.private(ring.recipient(role).id).public == ring.recipient(role)  # type: ignore[arg-type]
        with pytest.raises(UnknownKey):
            ring.private(ring.recipient(other).id)  # type: ignore[arg-type]
