"""Where stores are made: in one module, from the settings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sealwax
from sealwax.settings import load_settings
from sealwax.stores import Stores

ROOT = Path(sealwax.__file__).parent

#: Who makes each store, apart from `Stores`.
MAKERS: dict[str, set[str]] = {
    "ControlTable": set(),
    "Ledger": {"testing/__init__.py"},
    "Outbox": set(),
    "PayloadStore": set(),
    "TokenStore": {"web/tokens.py"},
    "make_letters": set(),
    "make_source": {"provision/preflight.py"},
}


def _callers(name: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    }


@pytest.mark.parametrize(("name", "others"), MAKERS.items())
def test_a_store_is_made_in_one_place(name: str, others: set[str]) -> None:
    assert _callers(name) - others == (set() if name == "TokenStore" else {"stores.py"})


def test_a_store_is_made_once_a_process_and_without_a_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    stores = Stores(load_settings(environment="blue"))
    assert stores.ledger is stores.ledger
    assert stores.letters.audit is stores.letters.audit
    assert stores.control is not Stores(stores.settings).control
    assert not stores.aws.calls
