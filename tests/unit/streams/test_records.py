from datetime import UTC, datetime

import pytest

from sealwax.streams.records import place_of, read_record

CHANGE = {
    "ApproximateCreationDateTime": datetime(2026, 1, 1, tzinfo=UTC),
    "Keys": {"pk": {"S": "a"}},
    "NewImage": {"pk": {"S": "a"}, "body": {"S": "x"}},
    "SequenceNumber": "300000000000000499659",
    "SizeBytes": 41,
}


def raw(event="INSERT", **change):
    return {"eventName": event, "dynamodb": {**CHANGE, **change}}


def test_an_insertion_is_read():
    record = read_record(raw(), shard="s", before="7")
    assert record is not None
    assert record.sequence == "300000000000000499659"
    assert record.place == 300000000000000499659
    assert (record.shard, record.before, record.size) == ("s", "7", 41)
    assert record.created == 1767225600.0
    assert record.item["body"] == {"S": "x"}


@pytest.mark.parametrize("event", ["MODIFY", "REMOVE", "", None])
def test_what_is_no_insertion_is_none_of_ours(event):
    assert read_record(raw(event), shard="s", before="") is None


@pytest.mark.parametrize(
    "change",
    [
        {"SequenceNumber": "x"},
        {"SequenceNumber": ""},
        {"ApproximateCreationDateTime": None},
        {"SizeBytes": "many"},
    ],
)
def test_what_cannot_be_read_raises(change):
    with pytest.raises((KeyError, TypeError, ValueError)):
        read_record(raw(**change), shard="s", before="")


def test_a_record_without_an_image_raises():
    record = raw()
    del record["dynamodb"]["NewImage"]
    with pytest.raises(KeyError):
        read_record(record, shard="s", before="")


def test_sequence_numbers_are_compared_as_numbers():
    assert place_of("100") > place_of("99")
    assert place_of("") == 0
