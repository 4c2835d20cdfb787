"""Where stores are made: in one module, from the settings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from support.lab_dynamodb import LabTable
from support.ledger import Clock, new_job, numbered

import sealwax
from sealwax.errors import ConfigurationError
from sealwax.ledger import Ledger
from sealwax.provision import desired_state
from sealwax.settings import Settings, load_settings
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
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    stores = Stores(load_settings(environment="blue"))
    assert stores.ledger is stores.ledger
    assert stores.letters.audit is stores.letters.audit
    assert stores.control is not Stores(stores.settings).control
    assert not stores.aws.calls


def test_shards_spread_keys_and_read_finds_them() -> None:
    (jobs,) = (t for t in desired_state(Settings()).tables if t.name.endswith("-jobs"))
    table, clock = LabTable(jobs), Clock()

    def ledger(**given: int) -> Ledger:
        stores = Stores(load_settings(ledger=given), clock=clock)
        vars(stores)["dynamodb"] = table
        return stores.ledger

    for number in range(60):
        ledger(shards=6).accept(new_job(clock, numbered(number)))
    assert len({item["watch"]["S"] for item in table.items.values()}) == 6
    assert len(ledger(shards=2, shards_read=6).watching("open#default").entries) == 60
    assert len(ledger(shards=2).watching("open#default").entries) < 60
    with pytest.raises(ConfigurationError, match="would not be found"):
        load_settings(ledger={"shards": 6, "shards_read": 5})
