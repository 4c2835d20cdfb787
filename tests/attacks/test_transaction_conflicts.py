"""Three transactions of ten meet another one, as in a mass failure: the counts stay right."""

from __future__ import annotations

import pytest
from support.lab_dynamodb import LabTable

from sealwax.aws.dynamodb import TransactionCancelled
from sealwax.deadletters.groups import LetterGroups, moving
from sealwax.deadletters.letter import LetterState
from sealwax.deadletters.table import LettersTable, key
from sealwax.provision import desired_state
from sealwax.settings import Settings

LETTERS = next(t for t in desired_state(Settings()).tables if t.name.endswith("-letters"))


def disturbed(**more: float) -> tuple[LabTable, LettersTable, list[float]]:
    waits: list[float] = []
    lab = LabTable(LETTERS, limit=None, conflicts=0.3, unprocessed=0.5, seed=7, **more)
    return lab, LettersTable(lab, LETTERS.name, sleep=waits.append), waits


def test_letters_are_counted_once_each_whatever_their_transactions_meet():
    _, table, waits = disturbed()
    for number in range(300):
        table.transact([moving("g", {LetterState.OPEN: 1}, now=float(number))])
    group = LetterGroups(table).get("g")
    assert group is not None
    assert group.open == 300
    assert len(waits) > 300 * 0.3 / 2


def test_a_transaction_whose_condition_fails_changes_nothing_and_says_which():
    lab, table, _ = disturbed()
    table.put({"id": "a", "sort": "x", "n": 1})
    before = dict(lab.items)
    new = {"ConditionExpression": "attribute_not_exists(id)"}
    with pytest.raises(TransactionCancelled) as raised:
        table.transact(
            [
                moving("g", {LetterState.OPEN: 1}, now=1.0),
                {"Delete": {"Key": key("b", "x")}},
                {"ConditionCheck": {"Key": key("a", "x"), **new}},
            ]
        )
    assert raised.value.failed == [2]
    assert lab.items == before
