"""The client of the HTTP API: what it repeats, how long it waits, what it tells."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from sealwax.client import ENDED, ApiClient, ApiRefused, ApiUnreachable, client_from_environment
from sealwax.ledger import FINAL


def test_the_client_knows_every_state_in_which_a_job_has_ended() -> None:
    assert {state.value for state in FINAL} == ENDED


class Answers(BaseAdapter):
    """Gives these answers one by one: a status and headers, or an error."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any] | Exception) -> None:
        super().__init__()
        self.answers = list(answers)
        self.keys: list[str | None] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        self.keys.append(request.headers.get("Idempotency-Key"))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        made = requests.Response()
        made.status_code, made.reason = answer[0], "Reason"
        made.headers.update(answer[1])
        made.raw = io.BytesIO(json.dumps(answer[2]).encode() if answer[2] is not None else b"no")
        made.url = request.url or ""
        return made

    def close(self) -> None:
        pass


def client(answers: Answers, waits: list[float]) -> ApiClient:
    made = ApiClient("http://api.test/", "token", attempts=3, sleep=waits.append)
    made._session.mount("http://", answers)
    return made


def test_what_may_be_repeated_is_with_the_same_key_after_the_time_that_was_asked_for() -> None:
    answers = Answers(
        (503, {"Retry-After": "7"}, {}), requests.ConnectionError(), (202, {}, {"id": "j"})
    )
    waits: list[float] = []
    document = client(answers, waits).submit("t", {}, idempotency_key="k")
    assert document == {"id": "j"}
    assert answers.keys == ["k", "k", "k"]
    assert waits[0] == 7
    assert 0 <= waits[1] <= 30


def test_a_wait_is_bounded_whatever_was_asked_for() -> None:
    waits: list[float] = []
    answers = Answers((429, {"Retry-After": "9999"}, {}), (200, {}, {}))
    client(answers, waits).job("j")
    assert waits == [30]


@pytest.mark.parametrize(("status", "headers", "tries"), [(422, {}, 1), (409, {}, 1), (500, {}, 1),
                                                          (503, {}, 3)])  # fmt: skip
def test_a_refusal_names_the_fields_and_is_not_repeated_unless_it_may_pass(
    status: int, headers: dict[str, str], tries: int
) -> None:
    problem = {"title": "Invalid", "errors": [{"pointer": "/task", "detail": "is missing"}]}
    answers = Answers(*[(status, headers, problem)] * 3)
    with pytest.raises(ApiRefused, match=r"Invalid.*/task is missing") as caught:
        client(answers, []).job("j")
    assert caught.value.status == status
    assert len(answers.keys) == tries


def test_an_answer_that_is_no_document_is_told_by_its_reason() -> None:
    with pytest.raises(ApiRefused, match="404 Reason"):
        client(Answers((404, {}, None)), []).job("j")


def test_an_api_that_never_answers_is_named_with_what_to_check() -> None:
    answers = Answers(*[requests.ConnectionError("http://user:canary@x")] * 3)
    with pytest.raises(ApiUnreachable, match="SEALWAX_API_URL") as caught:
        client(answers, []).job("j")
    assert "canary" not in str(caught.value)


def test_what_dev_left_in_the_folder_is_found_and_the_environment_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("SEALWAX_API_URL", "SEALWAX_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ApiUnreachable, match="sealwax dev"):
        client_from_environment()
    folder = tmp_path / ".sealwax"
    folder.mkdir()
    (folder / "env").write_text("export SEALWAX_API_URL='http://a/'\nexport SEALWAX_TOKEN='t'\n")
    assert client_from_environment().url == "http://a"
    monkeypatch.setenv("SEALWAX_API_URL", "http://b")
    assert client_from_environment().url == "http://b"
