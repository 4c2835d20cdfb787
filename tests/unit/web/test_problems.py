"""Which problem each error of the product is, and that none is forgotten."""

from __future__ import annotations

import importlib
import pkgutil

import pytest
from flask import Flask

import sealwax
from sealwax.aws.errors import StoreUnreachable
from sealwax.control.table import ControlUnreachable
from sealwax.deadletters.errors import SelectionInvalid
from sealwax.egress.enrich import UpstreamDown
from sealwax.errors import SealwaxError
from sealwax.ledger import LedgerUnreachable
from sealwax.producer.submit import PayloadTooLarge
from sealwax.web.ops.common import ops_blueprint
from sealwax.web.problems import ERRORS, FLEET_ERRORS, PROBLEMS, install, problem_of

#: Rooms whose errors a route can meet.
ROOMS = (
    "aws", "control", "deadletters", "egress.enrich", "ledger", "outbox", "producer", "web",
)  # fmt: skip

#: Errors of these rooms that no route meets, and why.
NEVER_MET = {
    "ConditionFailed": "the stores' own: each catches it where it writes",
    "LetterNotBelieved": "the steward sets the letter aside as a stray, a worker refuses",
    "LettersError": "see its subclasses",
    "ObjectMissing": "the stores' own: each says what is missing",
    "OutboxDenied": "the submitter answers QueueUnavailable",
    "OutboxError": "the submitter answers QueueUnavailable",
    "OutboxUnreachable": "the submitter answers QueueUnavailable",
    "PayloadAltered": "workers alone fetch payloads",
    "PayloadMissing": "workers alone fetch payloads",
    "PayloadStoreError": "workers alone fetch payloads",
    "StoreDenied": "see its subclasses",
    "StoreUnreachable": "see its subclasses",
    "TransactionCancelled": "the stores' own: each catches it where it writes",
}

SECRET = "canary-51c7"


def _errors() -> list[type[SealwaxError]]:
    for module in pkgutil.walk_packages(sealwax.__path__, "sealwax."):
        if module.name.removeprefix("sealwax.").startswith(ROOMS):
            importlib.import_module(module.name)
    found, left = [], [SealwaxError]
    while left:
        cls = left.pop()
        left += cls.__subclasses__()
        if cls.__module__.removeprefix("sealwax.").startswith(ROOMS):
            found.append(cls)
    return sorted(set(found), key=lambda cls: cls.__name__)


@pytest.mark.parametrize("cls", _errors(), ids=lambda cls: cls.__name__)
def test_every_error_that_a_route_can_meet_has_a_row(cls: type[SealwaxError]) -> None:
    known = any(parent in ERRORS for parent in cls.__mro__)
    assert known != (cls.__name__ in NEVER_MET)


def test_nothing_that_is_no_more_is_excused() -> None:
    assert set(NEVER_MET) <= {cls.__name__ for cls in _errors()}


@pytest.mark.parametrize("kind", [*ERRORS.values(), *FLEET_ERRORS.values()])
def test_every_row_names_a_kind_that_there_is(kind) -> None:
    assert {kind.problem, kind.page or kind.problem} <= set(PROBLEMS)
    # A client is told when to come back where, and only where, it helps.
    assert (kind.retry_after is not None) == (
        PROBLEMS[kind.problem].status >= 500 or kind.problem in ("job-in-flux", "rate-limited")
    )


class Forgotten(SealwaxError):
    """No table knows it."""


def _raising(error: Exception, first=None) -> tuple[int, dict]:
    app = Flask("test")
    install(app)
    blueprint = ops_blueprint("test", first)

    @blueprint.get("/fail")
    def fail():
        raise error

    app.register_blueprint(blueprint)
    answer = app.test_client().get("/v1/ops/fail")
    return answer.status_code, {**answer.get_json(), "wait": answer.headers.get("Retry-After")}


@pytest.mark.parametrize("first", [None, FLEET_ERRORS])
def test_an_error_without_a_row_is_an_internal_error_without_its_text(first) -> None:
    status, document = _raising(Forgotten(SECRET), first)
    assert (status, document["type"]) == (500, "urn:sealwax:problem:internal-error")
    assert SECRET not in str(document)
    page = problem_of(Forgotten(SECRET), page=True, first=first)
    assert (page.name, SECRET in page.detail) == ("internal-error", False)


def test_what_stores_say_is_told_to_operators_of_the_fleet_alone() -> None:
    status, document = _raising(LedgerUnreachable(SECRET))
    assert (status, document["wait"]) == (503, "5")
    assert SECRET not in str(document)
    for error in (LedgerUnreachable(SECRET), ControlUnreachable(SECRET)):
        status, document = _raising(error, FLEET_ERRORS)
        assert (status, document["wait"], document["detail"]) == (503, "5", SECRET)
        assert document["type"].endswith(":ledger-unavailable")
    assert _raising(ControlUnreachable(SECRET))[1]["type"].endswith(":archive-unavailable")


@pytest.mark.parametrize(("asked", "wait"), [(None, "5"), (0.2, "1"), (7.1, "8")])
def test_a_system_that_asks_for_time_is_given_it(asked, wait: str) -> None:
    status, document = _raising(UpstreamDown("crm", "downstream-timeout", asked))
    assert (status, document["system"], document["wait"]) == (503, "crm", wait)


def test_what_the_caller_can_mend_is_said() -> None:
    status, document = _raising(PayloadTooLarge(9, 7))
    assert (status, document["limit"]) == (413, 7)
    assert "at most 7" in document["detail"]
    status, document = _raising(SelectionInvalid("`verb` is replay or discard."))
    assert status == 422
    assert document["errors"] == [{"pointer": "", "detail": "`verb` is replay or discard."}]
    assert problem_of(SelectionInvalid("x"), page=True).kind.status == 400


def test_a_store_without_a_row_of_its_own_is_nobodys_ledger() -> None:
    class OtherUnreachable(StoreUnreachable):
        """Some store of a team's own."""

    assert _raising(OtherUnreachable(SECRET))[0] == 500
