"""One call to a table, what its errors become, and values in DynamoDB's form."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.dynamodb import (
    ConditionFailed,
    Table,
    TransactionCancelled,
    plain,
    typed,
    value_of,
)
from sealwax.aws.errors import StoreDenied, StoreUnreachable
from sealwax.deadletters.errors import LettersDenied, LettersUnreachable
from sealwax.deadletters.table import LettersTable


class Denied(StoreDenied):
    """Refused."""


class Unreachable(StoreUnreachable):
    """Away."""


class Client:
    """Answers each call with the next of its answers; the last one stays."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    def _answer(self, **arguments: Any) -> dict[str, Any]:
        self.asked.append(arguments)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    put_item = get_item = transact_write_items = _answer


def answered(code: str, status: int = 400, **more: Any) -> ClientError:
    response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, "PutItem")


def cancelled(*codes: str) -> ClientError:
    return answered(
        "TransactionCanceledException", CancellationReasons=[{"Code": c} for c in codes]
    )


def table(*answers: Any) -> Table:
    return Table(Client(*answers), "jobs", Unreachable, Denied)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (answered("AccessDeniedException"), Denied),
        (answered("ResourceNotFoundException"), Denied),
        (answered("ValidationException"), Denied),
        (answered("ValidationException", 500), Unreachable),
        (answered("ThrottlingException"), Unreachable),
        (answered("UnrecognizedClientException"), Unreachable),
        (answered("a code that nobody has met"), Unreachable),
        (EndpointConnectionError(endpoint_url="http://x"), Unreachable),
    ],
)
def test_a_store_raises_its_own_errors(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised) as caught:
        table(error).call("put_item")
    assert caught.value.__cause__ is error


def test_a_call_names_the_table() -> None:
    of = table({"Item": {}})
    assert of.call("get_item", Key={}) == {"Item": {}}
    assert of.client.asked == [{"TableName": "jobs", "Key": {}}]


@pytest.mark.parametrize("more", [{}, {"Item": {"id": {"S": "1"}}}])
def test_a_failed_condition_tells_what_stands_there_where_asked(more: dict[str, Any]) -> None:
    with pytest.raises(ConditionFailed) as caught:
        table(answered("ConditionalCheckFailedException", **more)).call("put_item")
    assert caught.value.item == more.get("Item")


def test_a_cancelled_transaction_tells_which_operations_were_the_cause() -> None:
    with pytest.raises(TransactionCancelled) as caught:
        table(cancelled("None", "ConditionalCheckFailed", "TransactionConflict")).request(
            "transact_write_items"
        )
    assert caught.value.codes == (None, "ConditionalCheckFailed", "TransactionConflict")
    assert (caught.value.failed, caught.value.refused) == ([1], False)


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
def test_a_wrong_operation_makes_a_transaction_final(code: str) -> None:
    assert TransactionCancelled(["None", code]).refused


class TestTransactions:
    """The archive's, which others may disturb."""

    def make(self, *answers: Any) -> tuple[LettersTable, Client, list[float]]:
        client, waits = Client(*answers), list[float]()
        return LettersTable(client, "letters", sleep=waits.append), client, waits

    def test_one_that_another_disturbed_is_tried_again(self) -> None:
        letters, client, waits = self.make(cancelled("None", "TransactionConflict"), {})
        letters.transact([{"Delete": {"Key": {}}}])
        wanted = {"TransactItems": [{"Delete": {"TableName": "letters", "Key": {}}}]}
        assert (client.asked, len(waits)) == ([wanted, wanted], 1)

    def test_failed_conditions_are_not(self) -> None:
        letters, client, waits = self.make(cancelled("ConditionalCheckFailed", "ThrottlingError"))
        with pytest.raises(TransactionCancelled):
            letters.transact([{"Delete": {"Key": {}}}])
        assert (len(client.asked), waits) == (1, [])

    def test_a_line_that_another_was_before_is_made_anew(self) -> None:
        letters, client, _ = self.make(cancelled("None", "None", "ConditionalCheckFailed"), {})
        lines = iter([[{"Put": {"n": 1}}] * 2, [{"Put": {"n": 2}}] * 2])
        letters.transact([{"Delete": {}}], line=lambda: next(lines))
        tried = [asked["TransactItems"][1:] for asked in client.asked]
        assert tried == [[{"Put": {"n": 1}}] * 2, [{"Put": {"n": 2}}] * 2]

    def test_of_failed_conditions_only_its_own_are_told(self) -> None:
        letters, _, _ = self.make(cancelled("ConditionalCheckFailed", "ConditionalCheckFailed"))
        with pytest.raises(TransactionCancelled) as caught:
            letters.transact([{"Delete": {}}], line=lambda: [{"Put": {}}])
        assert caught.value.failed == [0]

    def test_nor_is_a_wrong_operation(self) -> None:
        letters, client, _ = self.make(cancelled("ValidationError"))
        with pytest.raises(LettersDenied):
            letters.transact([{"Delete": {"Key": {}}}])
        assert len(client.asked) == 1

    def test_one_that_is_disturbed_for_ever_ends(self) -> None:
        letters, client, waits = self.make(cancelled("TransactionConflict"))
        with pytest.raises(LettersUnreachable):
            letters.transact([{"Delete": {"Key": {}}}])
        assert len(client.asked) == len(waits) > 1

    @pytest.mark.parametrize(
        ("code", "raised"),
        [("AccessDeniedException", LettersDenied), ("ThrottlingException", LettersUnreachable)],
    )
    def test_the_calls_own_errors_are_the_archives(
        self, code: str, raised: type[Exception]
    ) -> None:
        with pytest.raises(raised):
            self.make(answered(code))[0].transact([{"Delete": {"Key": {}}}])


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.integers(-(2**53), 2**53)
    | st.binary(max_size=5)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.frozensets(st.integers(-(2**53), 2**53), min_size=1, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), _PLAIN, max_size=4))
def test_values_come_back_as_they_went(values: dict[str, Any]) -> None:
    kept = {name: value for name, value in values.items() if value is not None}
    assert plain(typed(values)) == kept


def test_what_no_item_of_ours_holds_is_refused() -> None:
    with pytest.raises(TypeError, match="no DynamoDB form for set"):
        value_of({1})
