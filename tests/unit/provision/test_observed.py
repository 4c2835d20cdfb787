"""What AWS says of queues and tables, compared with what should be."""

from __future__ import annotations

from typing import Any

import pytest

from sealwax.provision.desired import IndexSpec, TableSpec
from sealwax.provision.observed import missing_indexes, same_attribute, schema_problem

SPEC = TableSpec("t", (("id", "S"), ("sort", "N")), (IndexSpec("by-x", (("x", "S"),)),))


def found(*, key: str = "N", indexes: tuple[str, ...] = ("by-x",), by: str = "x") -> dict[str, Any]:
    return {
        "AttributeDefinitions": [
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "sort", "AttributeType": key},
            {"AttributeName": "x", "AttributeType": "S"},
        ],
        # In the other order than ours: AWS promises none.
        "KeySchema": [
            {"AttributeName": "sort", "KeyType": "RANGE"},
            {"AttributeName": "id", "KeyType": "HASH"},
        ],
        "GlobalSecondaryIndexes": [
            {"IndexName": name, "KeySchema": [{"AttributeName": by, "KeyType": "HASH"}]}
            for name in indexes
        ],
    }


@pytest.mark.parametrize(
    ("name", "wanted", "value", "same"),
    [
        ("VisibilityTimeout", "30", "30", True),
        ("VisibilityTimeout", "30", "31", False),
        ("VisibilityTimeout", "30", None, False),
        ("FifoQueue", "true", "True", True),
        ("RedrivePolicy", '{"maxReceiveCount": "5"}', '{"maxReceiveCount":5}', True),
        ("RedrivePolicy", '{"maxReceiveCount": "5"}', '{"maxReceiveCount":6}', False),
        ("RedrivePolicy", '{"deadLetterTargetArn": "a"}', "{}", False),
    ],
)
def test_attributes_are_compared_however_aws_writes_them(
    name: str, wanted: str, value: str | None, same: bool
) -> None:
    assert same_attribute(name, wanted, value) is same


def test_a_table_with_other_keys_is_told_and_one_without_an_index_is_not() -> None:
    assert schema_problem(SPEC, found()) is None
    assert schema_problem(SPEC, found(indexes=())) is None
    assert "its key is" in (schema_problem(SPEC, found(key="S")) or "")
    assert "index by-x has the keys" in (schema_problem(SPEC, found(by="id")) or "")


def test_missing_indexes_are_named() -> None:
    assert missing_indexes(SPEC, found()) == []
    assert missing_indexes(SPEC, found(indexes=("by-y",))) == list(SPEC.indexes)
    assert missing_indexes(SPEC, {"KeySchema": []}) == list(SPEC.indexes)
