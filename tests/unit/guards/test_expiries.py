"""The guard on items that the emulator would delete under a test."""

from __future__ import annotations

from typing import Any

import pytest
from support.expiries import FAR, expired_writes

PUT = {"TableName": "t", "Item": {"id": {"S": "a"}, "expires": {"N": "1000"}}}
SET = {"UpdateExpression": "SET x = :x", "ExpressionAttributeValues": {":expires": {"N": "1000"}}}


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("PutItem", PUT),
        ("PutItem", {"Item": {"expires": 1_000}}),  # of a resource
        ("UpdateItem", SET),
        ("TransactWriteItems", {"TransactItems": [{"Put": PUT}]}),
        ("BatchWriteItem", {"RequestItems": {"t": [{"PutRequest": PUT}]}}),
    ],
)
def test_an_expiry_is_found_in_every_form_of_a_write(operation: str, parameters: Any) -> None:
    assert expired_writes(operation, parameters, now=1_000.0) == [1_000.0]
    assert expired_writes(operation, parameters, now=999.0) == []


def test_reads_and_items_that_never_expire_pass() -> None:
    assert expired_writes("Query", SET, now=FAR) == []
    assert expired_writes("PutItem", {"Item": {"id": {"S": "expires"}}}, now=FAR) == []
