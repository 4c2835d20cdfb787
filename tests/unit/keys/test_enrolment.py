"""Operators are enrolled in the keyring and removed from it; no change of another is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealwax.keys.documents import KeyDocuments, NoSuchOperator, OperatorExists
from sealwax.keys.enrolment import describe_operators, enrol_operator, remove_operator
from sealwax.keys.keyring import Keyring
from sealwax.keys.operator import OperatorKey, read_public
from sealwax.keys.public import PublicKeyring
from sealwax.secrets import FileSource, SecretVersionConflict

KEY = OperatorKey.create("ada", "x25519", 1)
OTHER = OperatorKey.create("eve", "x25519", 1)
PUBLIC = read_public(json.dumps(KEY.public()))


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    found = FileSource(tmp_path / "secrets.json")
    for name, text in KeyDocuments.create("x25519", 1).secrets().items():
        found.put(name, text)
    return found


def test_an_operator_is_enrolled_shown_and_removed(source: FileSource) -> None:
    enrol_operator(source, PUBLIC)
    (row,) = describe_operators(source)
    assert (row["id"], row["name"], row["state"]) == (KEY.id, "ada", "active")
    found = PublicKeyring.load(source.get("shared/keyring")).operator(KEY.id)
    assert (found.name, found.seal.id) == ("ada", KEY.private.id)
    remove_operator(source, KEY.id)
    (row,) = describe_operators(source)
    assert (row["name"], row["state"]) == ("ada", "removed")


def test_the_roles_read_a_keyring_with_operators(source: FileSource) -> None:
    enrol_operator(source, PUBLIC)
    for role in ("api", "worker"):
        assert Keyring.read(role, source.get).operator(KEY.id).name == "ada"  # type: ignore[arg-type]


def test_a_key_is_enrolled_once_and_not_again_after_its_removal(source: FileSource) -> None:
    enrol_operator(source, PUBLIC)
    with pytest.raises(OperatorExists):
        enrol_operator(source, PUBLIC)
    remove_operator(source, KEY.id)
    with pytest.raises(OperatorExists):
        enrol_operator(source, PUBLIC)
    with pytest.raises(NoSuchOperator):
        remove_operator(source, KEY.id)
    with pytest.raises(NoSuchOperator):
        remove_operator(source, "0" * 16)


def test_a_role_s_signing_key_is_not_enrolled_as_an_operator(source: FileSource) -> None:
    """A worker could else ask for what it may open anyway, in an operator's name."""
    worker = Keyring.read("worker", source.get).signer
    row = {**PUBLIC, "id": worker.id, "signing": worker.public.raw.hex()}
    with pytest.raises(OperatorExists):
        enrol_operator(source, row)


def test_nothing_is_enrolled_where_its_line_cannot_be_written(source: FileSource) -> None:
    before = source.get("shared/keyring")

    def refuse() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        enrol_operator(source, PUBLIC, record=refuse)
    assert source.get("shared/keyring") == before


def test_a_change_meanwhile_is_not_lost(source: FileSource) -> None:
    def meanwhile() -> None:
        enrol_operator(source, read_public(json.dumps(OTHER.public())))

    with pytest.raises(SecretVersionConflict):
        enrol_operator(source, PUBLIC, record=meanwhile)
    assert [row["name"] for row in describe_operators(source)] == ["eve"]
