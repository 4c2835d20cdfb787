"""Signed statements: nothing of one can be changed, and none passes as one of another kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.envelope import (
    EnvelopeError,
    EnvelopeMalformed,
    SignatureInvalid,
    SignerNotTrusted,
    SigningKey,
    UnknownSigner,
    VerifyKey,
    check_statement,
    read_statement,
    sign_statement,
)
from sealwax.envelope.statement import (
    KINDS,
    MAX_BYTES,
    MAX_INTEGER,
    MAX_LIST,
    MAX_MEMBERS,
    MAX_STRING,
    Kind,
)

SIGNER, STRANGER = SigningKey(b"s" * 32), SigningKey(b"t" * 32)
VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "statements.json").read_text()
)


class Ring:
    """Knows one signer, whom it trusts with everything or with nothing."""

    def __init__(self, *keys: VerifyKey, trusted: bool = True) -> None:
        self.keys = {key.id: key for key in keys}
        self.trusted = trusted

    def statement_key(self, kind: str, signer_id: str) -> VerifyKey:
        if signer_id not in self.keys:
            raise UnknownSigner
        if not self.trusted:
            raise SignerNotTrusted
        return self.keys[signer_id]


RING = Ring(SIGNER.public)
LETTER: dict[str, Any] = {
    "queue": "exports", "job": "1" * 32, "generation": 2, "own": True, "cause": None, "at": 1_750,
    "error": "Zürich\n\x7f\u2028\U0001f600", "dropped": ["a", "b"],
}  # fmt: skip

# The first letter keeps them apart from `sid` and `sig`.
names = st.text("abcdefghijklmnopqrstuvwxyz0123456789_-", max_size=12).map(lambda rest: "m" + rest)
values = st.one_of(
    st.text(max_size=40),
    st.integers(-MAX_INTEGER, MAX_INTEGER),
    st.booleans(),
    st.none(),
    st.lists(st.text(max_size=10), max_size=4),
)
fields = st.dictionaries(names, values, max_size=8)
kinds = st.sampled_from(KINDS)


def _same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


@given(kinds, fields)
def test_a_statement_is_believed_as_it_was_made(kind: Kind, said: dict[str, Any]) -> None:
    statement = sign_statement(kind, said, SIGNER)
    assert {name: statement[name] for name in said} == said
    assert set(statement) == {*said, "sid", "sig"}
    assert check_statement(kind, statement, RING) == SIGNER.id
    assert check_statement(kind, read_statement(json.dumps(statement)), RING) == SIGNER.id


@given(kinds, fields, names, values)
def test_a_member_that_was_added_or_changed_is_found(
    kind: Kind, said: dict[str, Any], name: str, value: Any
) -> None:
    statement = sign_statement(kind, said, SIGNER)
    if name in said and _same(said[name], value):
        return
    with pytest.raises(SignatureInvalid):
        check_statement(kind, {**statement, name: value}, RING)


@given(kinds, fields.filter(bool), st.data())
def test_each_member_that_was_changed_or_taken_away_is_found(
    kind: Kind, said: dict[str, Any], data: st.DataObject
) -> None:
    statement = sign_statement(kind, said, SIGNER)
    name = data.draw(st.sampled_from(sorted(said)))
    changed = data.draw(values.filter(lambda value: not _same(value, said[name])))
    with pytest.raises(SignatureInvalid):
        check_statement(kind, {**statement, name: changed}, RING)
    with pytest.raises(SignatureInvalid):
        check_statement(kind, {k: v for k, v in statement.items() if k != name}, RING)


@given(fields, st.permutations(KINDS))
def test_a_statement_never_passes_as_one_of_another_kind(
    said: dict[str, Any], order: list[Kind]
) -> None:
    made, asked = order[:2]
    with pytest.raises(SignatureInvalid):
        check_statement(asked, sign_statement(made, said, SIGNER), RING)


@given(st.integers(0, 511))
def test_each_bit_of_the_signature_counts(bit: int) -> None:
    statement = sign_statement("letter", LETTER, SIGNER)
    raw = bytearray.fromhex(statement["sig"])
    raw[bit // 8] ^= 1 << bit % 8
    with pytest.raises(SignatureInvalid):
        check_statement("letter", {**statement, "sig": raw.hex()}, RING)


def test_the_signer_is_part_of_what_is_signed() -> None:
    """Whoever signs the same words with a key of their own has made another statement."""
    statement = sign_statement("letter", LETTER, SIGNER)
    both = Ring(SIGNER.public, STRANGER.public)
    with pytest.raises(SignatureInvalid):
        check_statement("letter", {**statement, "sid": STRANGER.id}, both)
    with pytest.raises(UnknownSigner):
        check_statement("letter", sign_statement("letter", LETTER, STRANGER), RING)


def test_trust_is_asked_before_the_signature_is_looked_at() -> None:
    statement = sign_statement("letter", LETTER, SIGNER)
    with pytest.raises(SignerNotTrusted):
        check_statement("letter", {**statement, "at": 0}, Ring(SIGNER.public, trusted=False))


@pytest.mark.parametrize("name", ["sid", "sig"])
@pytest.mark.parametrize("value", [None, 7, "", "0" * 15, "A" * 16, "A" * 128, b"0" * 16, ["0"]])
def test_a_signer_or_signature_of_another_form_is_malformed(name: str, value: Any) -> None:
    statement = sign_statement("letter", LETTER, SIGNER)
    with pytest.raises(EnvelopeMalformed):
        check_statement("letter", {**statement, name: value}, RING)
    del statement[name]
    with pytest.raises(EnvelopeMalformed):
        check_statement("letter", statement, RING)


MALFORMED: dict[str, dict[Any, Any]] = {
    "fraction": {"at": 1.5},
    "whole fraction": {"at": 1.0},
    "huge number": {"at": MAX_INTEGER + 1},
    "huge negative": {"at": -MAX_INTEGER - 1},
    "long text": {"error": "x" * (MAX_STRING + 1)},
    "bytes": {"error": b"x"},
    "object": {"error": {}},
    "list of numbers": {"dropped": [1]},
    "list of lists": {"dropped": [["a"]]},
    "long list": {"dropped": ["a"] * (MAX_LIST + 1)},
    "long text in a list": {"dropped": ["x" * (MAX_STRING + 1)]},
    "capital in a name": {"Error": "x"},
    "empty name": {"": "x"},
    "long name": {"x" * 33: "x"},
    "name that is no text": {7: "x"},
    "many members": {f"m{n}": n for n in range(MAX_MEMBERS - 1)},
    "long in all": {
        f"m{n}": "\u00fc" * MAX_STRING for n in range(1 + MAX_BYTES // (6 * MAX_STRING))
    },
}


@pytest.mark.parametrize("said", MALFORMED.values(), ids=MALFORMED)
def test_what_could_not_be_checked_is_neither_signed_nor_believed(said: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"statement|not well-formed"):
        sign_statement("letter", said, SIGNER)
    with pytest.raises(EnvelopeMalformed):
        check_statement("letter", {**said, "sid": SIGNER.id, "sig": "0" * 128}, RING)


def test_the_largest_statement_passes() -> None:
    said = {f"m{n}": n for n in range(MAX_MEMBERS - 2)}
    assert check_statement("letter", sign_statement("letter", said, SIGNER), RING) == SIGNER.id


@pytest.mark.parametrize("name", ["sid", "sig"])
def test_the_signer_and_the_signature_are_not_given(name: str) -> None:
    with pytest.raises(ValueError, match="made, not given"):
        sign_statement("letter", {name: "0" * 16}, SIGNER)


def test_an_unknown_kind_is_neither_signed_nor_believed() -> None:
    with pytest.raises(ValueError, match="kind"):
        sign_statement("order", LETTER, SIGNER)  # type: ignore[arg-type]
    statement = sign_statement("letter", LETTER, SIGNER)
    with pytest.raises(EnvelopeMalformed):
        check_statement("order", statement, RING)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "7", "null", '{"a":1,"a":1}', '{"a":NaN}', '{"a":Infinity}', "{",
        "[" * 5_000, '{"a":' + "9" * 5_000 + "}", '{"a":"' + "x" * 6 * MAX_BYTES + '"}',
        '{"a":{"b":1,"b":2}}',
    ],
)  # fmt: skip
def test_a_text_that_is_no_statement_is_malformed(text: str) -> None:
    with pytest.raises(EnvelopeMalformed):
        read_statement(text)


@given(st.text(max_size=200))
def test_any_text_is_read_or_malformed(text: str) -> None:
    try:
        found = read_statement(text)
    except EnvelopeMalformed:
        return
    assert isinstance(found, dict)


# -- the published vectors ---------------------------------------------------------


class VectorRing:
    """Believes the vectors' signer."""

    def statement_key(self, kind: str, signer_id: str) -> VerifyKey:
        key = VerifyKey(bytes.fromhex(VECTORS["signer"]["public"]))
        if signer_id != key.id:
            raise UnknownSigner
        return key


@pytest.mark.parametrize("case", VECTORS["believe"], ids=lambda case: case["name"])
def test_the_vectors_are_believed_and_made_again(case: dict[str, Any]) -> None:
    """Ed25519 draws nothing at random: the same words give the same signature."""
    statement = read_statement(case["text"])
    assert check_statement(case["kind"], statement, VectorRing()) == VECTORS["signer"]["id"]
    words = {name: value for name, value in statement.items() if name not in ("sid", "sig")}
    key = SigningKey(bytes.fromhex(VECTORS["signer"]["seed"]))
    assert sign_statement(case["kind"], words, key) == statement


@pytest.mark.parametrize("case", VECTORS["refuse"], ids=lambda case: case["name"])
def test_the_vectors_are_refused_for_their_cause(case: dict[str, Any]) -> None:
    with pytest.raises(EnvelopeError) as caught:
        check_statement(case["kind"], read_statement(case["text"]), VectorRing())
    assert caught.value.cause == case["cause"]
