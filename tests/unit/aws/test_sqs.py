"""Messages to be sent, and the batches they go in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.sqs import (
    BATCH_BYTES,
    BATCH_ENTRIES,
    OutgoingMessage,
    bare_attributes,
    message_size,
    plan_batches,
    queue_of_arn,
    send_batch,
)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["one", "two.fifo"]),
            st.integers(1, 600_000),
            st.sampled_from(["a", "b", "c"]),
        ),
        max_size=40,
    )
)
def test_batches_fit_sqs_keep_every_message_and_the_order_within_a_group(facts: Any) -> None:
    messages = [
        OutgoingMessage(queue=queue, body="x" * size, group=group, deduplication=str(n))
        for n, (queue, size, group) in enumerate(facts)
    ]
    made = list(plan_batches(messages))
    sent = [int(each.deduplication or 0) for batch in made for each in batch]
    assert sorted(sent) == list(range(len(messages)))
    for batch in made:
        assert len({each.queue for each in batch}) == 1
        assert 1 <= len(batch) <= BATCH_ENTRIES
        assert len(batch) == 1 or sum(each.bytes for each in batch) <= BATCH_BYTES
        if batch[0].fifo:
            groups = [each.group for each in batch]
            assert len(set(groups)) == len(groups)
    for group in ("a", "b", "c"):
        order = [
            int(each.deduplication or 0)
            for batch in made
            for each in batch
            if each.fifo and each.group == group
        ]
        assert order == sorted(order)


@pytest.mark.parametrize(("sizes", "batches"), [([BATCH_BYTES], 1), ([BATCH_BYTES, 1], 2),
                         ([BATCH_BYTES - 1, 1], 1), ([1] * 10, 1), ([1] * 11, 2)])  # fmt: skip
def test_a_batch_is_full_at_its_edge(sizes: list[int], batches: int) -> None:
    messages = [OutgoingMessage(queue="q", body="x" * size) for size in sizes]
    assert len(list(plan_batches(messages))) == batches


def test_a_size_counts_names_types_and_values_in_bytes() -> None:
    attributes = {
        "nom": {"DataType": "String", "StringValue": "é"},
        "b": {"DataType": "Binary", "BinaryValue": b"123"},
    }
    assert message_size({"MessageBody": "é", "MessageAttributes": attributes}) == (
        2 + (3 + 6 + 2) + (1 + 6 + 3)
    )


def test_received_attributes_are_sent_in_the_form_that_sqs_takes() -> None:
    received = {"a": {"DataType": "String", "StringValue": "1", "StringListValues": []}}
    assert bare_attributes(received) == {"a": {"DataType": "String", "StringValue": "1"}}


def test_each_entrys_own_outcome_is_told() -> None:
    class Sqs:
        def send_message_batch(self, **request: Any) -> dict[str, Any]:
            first, second = request["Entries"]
            assert first == {"Id": "0", "MessageBody": "one", "MessageGroupId": "g"}
            return {
                "Successful": [{"Id": second["Id"]}],
                "Failed": [{"Id": first["Id"], "Code": "InternalError"}],
            }

    one = OutgoingMessage(queue="q", body="one", group="g", deduplication="not on plain queues")
    two = OutgoingMessage(queue="q", body="two")
    assert send_batch(Sqs(), "url", [one, two]) == ([two], [(one, "InternalError")])


@pytest.mark.parametrize(
    ("arn", "expected"),
    [
        ("arn:aws:sqs:eu-central-1:111122223333:jobs-dlq", ("111122223333", "jobs-dlq")),
        ("arn:aws-cn:sqs:cn-north-1:111122223333:a.fifo", ("111122223333", "a.fifo")),
        ("arn:aws:sqs:eu-central-1::a", ("", "a")),
        ("arn:aws:sns:eu-central-1:111122223333:a", ("", "")),
        ("jobs-dlq", ("", "")),
        ("", ("", "")),
        ("arn:aws:sqs:eu-central-1:111122223333:a:b", ("", "")),
    ],
)
def test_whose_queue_an_arn_names(arn: str, expected: tuple[str, str]) -> None:
    assert queue_of_arn(arn) == expected
