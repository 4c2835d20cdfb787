"""Changes to key secrets: in which order they are written, and that none is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import Context, Expected, Purpose, open_envelope, seal
from sealwax.keys.keyring import Keyring
from sealwax.keys.lifecycle import (
    KeysExist,
    describe_keys,
    init_keys,
    key_documents,
    retire_key,
    rotate_keys,
)
from sealwax.keys.public import Role
from sealwax.secrets import FileSource, SecretNotFound, SecretVersionConflict
from sealwax.settings import Settings

#: One key for all lanes, as older environments have; lanes' own: test_lane_keys.py.
SETTINGS = Settings(suite="x25519", keys={"per_lane": False})
DOCUMENTS = key_documents(SETTINGS)


class Interrupted(Exception):
    """The process was killed."""


class Source(FileSource):
    """Notes what is written; `before` is called before each write."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.written: list[str] = []
        self.before: Callable[[str], None] = lambda name: None

    def put(self, name: str, value: str, *, replacing: int | None = None) -> int:
        self.before(name)
        self.written.append(name)
        return super().put(name, value, replacing=replacing)


class NothingNeeded:
    """A ledger in which no job needs a key."""

    class KeyUsage:
        open = dead = results = 0

    def needing(self, key_id: str) -> Any:
        return self.KeyUsage


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "secrets.json")


def _ring(source: FileSource, role: Role) -> Keyring:
    return Keyring.load(role, source.get(f"{role}/keys"), source.get("shared/keyring"))


def _works(source: FileSource) -> bool:
    """Return whether what the API seals now opens in a worker that has refreshed."""
    api, worker = _ring(source, "api"), _ring(source, "worker")
    context = Context(
        purpose=Purpose.JOB, task="a.b", job="1" * 32, tenant="2" * 32, contract=1,
        issued_at=1, not_after=2,
    )  # fmt: skip
    text = seal(b"x", context, recipient=api.recipient("worker"), signer=api.signer)
    expect = Expected(purpose=Purpose.JOB)
    return open_envelope(text, keyring=worker, expect=expect, now=1).plaintext == b"x"


def test_keys_are_made_once_the_public_document_last(source: Source) -> None:
    assert init_keys(SETTINGS, source).created == DOCUMENTS
    assert source.written == list(DOCUMENTS)
    assert source.written[-1] == "shared/keyring"
    assert _works(source)
    assert init_keys(SETTINGS, source).created == ()
    assert len(source.written) == len(DOCUMENTS)


def test_where_some_keys_are_missing_none_is_made(source: Source, tmp_path: Path) -> None:
    init_keys(SETTINGS, source)
    found = json.loads((tmp_path / "secrets.json").read_text())
    del found["api/keys"]
    (tmp_path / "secrets.json").write_text(json.dumps(found))
    with pytest.raises(KeysExist, match=r"api/keys do not"):
        init_keys(SETTINGS, source)
    with pytest.raises(SecretNotFound):
        source.get("api/keys")


def test_of_two_who_make_keys_at_the_same_time_one_makes_all(
    source: Source, tmp_path: Path
) -> None:
    def meanwhile(name: str) -> None:
        source.before = lambda name: None
        init_keys(SETTINGS, FileSource(tmp_path / "secrets.json"))

    source.before = meanwhile
    with pytest.raises(SecretVersionConflict):
        init_keys(SETTINGS, source)
    assert _works(source)


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_rotation_writes_the_private_half_first(source: Source, role: Role) -> None:
    init_keys(SETTINGS, source)
    source.written.clear()
    added = rotate_keys(SETTINGS, source, role)
    assert source.written == [f"{role}/keys", "shared/keyring"]
    assert len(added) == 2
    assert _works(source)


@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize("at", ["private", "shared/keyring"])
def test_a_rotation_that_is_killed_breaks_nothing_and_can_be_repeated(
    source: Source, role: Role, at: str
) -> None:
    init_keys(SETTINGS, source)

    def die(name: str) -> None:
        if name == (f"{role}/keys" if at == "private" else at):
            raise Interrupted

    source.before = die
    with pytest.raises(Interrupted):
        rotate_keys(SETTINGS, source, role)
    assert _works(source)
    source.before = lambda name: None
    rotate_keys(SETTINGS, source, role)
    assert _works(source)
    active = [row for row in describe_keys(source) if row["state"] == "active"]
    assert len(active) == 4


@pytest.mark.parametrize("other", ["api", "worker"])
def test_a_rotation_meanwhile_is_not_lost(source: Source, tmp_path: Path, other: Role) -> None:
    """Both change the shared document: the later writer must not undo the earlier one."""
    init_keys(SETTINGS, source)

    def meanwhile(name: str) -> None:
        source.before = lambda name: None
        rotate_keys(SETTINGS, FileSource(tmp_path / "secrets.json"), other)

    source.before = meanwhile
    with pytest.raises(SecretVersionConflict):
        rotate_keys(SETTINGS, source, "worker")
    assert _works(source)
    assert len(describe_keys(source)) == 6
    rotate_keys(SETTINGS, source, "worker")
    assert _works(source)


def test_a_retirement_writes_the_shared_document_first(source: Source) -> None:
    init_keys(SETTINGS, source)
    rotate_keys(SETTINGS, source, "worker")
    old = next(
        row["id"] for row in describe_keys(source)
        if (row["role"], row["kind"], row["state"]) == ("worker", "seal", "open")
    )  # fmt: skip
    source.written.clear()
    retire_key(source, NothingNeeded(), old)  # type: ignore[arg-type]
    assert source.written == ["shared/keyring", "worker/keys"]
    assert _works(source)
    assert old not in {row["id"] for row in describe_keys(source)}
