"""Operators' keys: made on one machine, enrolled by their public half, never overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    Expected,
    Purpose,
    SignerNotTrusted,
    SigningKey,
    UnknownKey,
    open_envelope,
    seal,
    sign_statement,
)
from sealwax.keys.documents import KeyDocuments
from sealwax.keys.keyring import Keyring
from sealwax.keys.operator import (
    OperatorKey,
    OperatorKeyExists,
    OperatorKeyInvalid,
    read_public,
)
from sealwax.keys.public import PublicKeyring
from sealwax.secrets import FileSource

KEY = OperatorKey.create("ada", "x25519", 1)
PUBLIC = read_public(json.dumps(KEY.public()))


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    found = FileSource(tmp_path / "secrets.json")
    for name, text in KeyDocuments.create("x25519", 1).secrets().items():
        found.put(name, text)
    return found


# -- the file -------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", ["x25519", "x-wing"])
def test_a_key_is_read_as_it_was_written_and_others_cannot_read_it(
    tmp_path: Path, suite: str
) -> None:
    path = tmp_path / "new" / "key.json"
    key = OperatorKey.create("ada", suite, 1)
    before = os.umask(0)
    try:
        key.write(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    found = OperatorKey.read(path)
    assert (found.id, found.name, found.private.id) == (key.id, "ada", key.private.id)


def test_a_file_or_link_that_stands_there_is_not_overwritten(tmp_path: Path) -> None:
    path, aim = tmp_path / "key.json", tmp_path / "aim"
    path.write_text("mine")
    with pytest.raises(OperatorKeyExists):
        KEY.write(path)
    assert path.read_text() == "mine"
    (tmp_path / "link").symlink_to(aim)
    with pytest.raises(OperatorKeyExists):
        KEY.write(tmp_path / "link")
    assert not aim.exists()


def test_the_key_in_a_file_is_taken_again_for_its_own_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    made = OperatorKey.ensure(path, "ada", "x25519", 1)
    assert OperatorKey.ensure(path, "ada", "x25519", 2).id == made.id
    with pytest.raises(OperatorKeyExists, match="of ada"):
        OperatorKey.ensure(path, "grace", "x25519", 2)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_key_that_others_may_have_read_is_not_used(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    KEY.write(path)
    path.chmod(mode)
    with pytest.raises(OperatorKeyInvalid, match="read by others"):
        OperatorKey.read(path)


@pytest.mark.parametrize("text", ["", "{}", "[]", "\x00", '{"name": "ada"}'])
def test_a_file_that_holds_no_key_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(OperatorKeyInvalid):
        OperatorKey.read(path)
    with pytest.raises(OperatorKeyInvalid, match="FileNotFoundError"):
        OperatorKey.read(tmp_path / "none")


@pytest.mark.parametrize("name", ["", " ada", "a" * 65, "ada\n", "<b>", "ada/eve"])
def test_a_name_that_could_be_misread_is_refused(name: str) -> None:
    with pytest.raises(OperatorKeyInvalid, match="name has"):
        OperatorKey.create(name, "x25519", 1)


def test_errors_and_reprs_show_no_seed() -> None:
    seed = json.loads(KEY.to_json())["seed"]
    assert seed not in repr(KEY) + str(KEY) + json.dumps(KEY.public())
    with pytest.raises(OperatorKeyInvalid) as caught:
        OperatorKey.load(KEY.to_json().replace("x25519", "x448"))
    assert seed not in repr(caught.value) + str(caught.value)


# -- the public half -----------------------------------------------------------------------


def test_a_public_half_vouches_for_both_its_keys() -> None:
    assert PUBLIC["id"] == KEY.id
    assert PUBLIC["seal"] == KEY.private.public.raw.hex()
    assert PUBLIC["name"] == "ada"


OTHER = OperatorKey.create("eve", "x25519", 1)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "eve"},
        {"seal": OTHER.public()["seal"]},
        {"signing": OTHER.public()["signing"]},
        {"created": 2},
        {"extra": 1},
        {"signing": "00"},
        {"suite": "x-wing"},
        {"sid": OTHER.id},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_public_half_that_was_changed_on_its_way_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(OperatorKeyInvalid, match="changed on its way"):
        read_public(json.dumps({**KEY.public(), **change}))


def test_a_public_half_that_another_key_signed_is_refused() -> None:
    words = {name: value for name, value in KEY.public().items() if name not in ("sid", "sig")}
    forged = sign_statement("operator", words, SigningKey(b"e" * 32))
    with pytest.raises(OperatorKeyInvalid):
        read_public(json.dumps(forged))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name":"ada","name":"eve"}'])
def test_a_text_that_is_no_public_half_is_refused(text: str) -> None:
    with pytest.raises(OperatorKeyInvalid):
        read_public(text)


# -- opening answers -----------------------------------------------------------------------


def _answer(signer: SigningKey, to: OperatorKey) -> str:
    context = Context(
        purpose=Purpose.REVEAL, task="a.b", job="1" * 32, tenant="2" * 32, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    return seal(b"secret", context, recipient=to.private.public, signer=signer)


def test_an_operator_opens_answers_of_workers_sealed_to_it_alone(source: FileSource) -> None:
    public = PublicKeyring.load(source.get("shared/keyring"))
    worker, api = (Keyring.read(role, source.get).signer for role in ("worker", "api"))  # type: ignore[arg-type]
    expect = Expected(purpose=Purpose.REVEAL, job="1" * 32)

    def opened(text: str) -> bytes:
        return open_envelope(text, keyring=KEY.opener(public), expect=expect, now=1).plaintext

    assert opened(_answer(worker, KEY)) == b"secret"
    with pytest.raises(SignerNotTrusted):
        opened(_answer(api, KEY))
    with pytest.raises(UnknownKey):
        opened(_answer(worker, OTHER))
