"""The operations API on strays: looked at, downloaded, discarded, and never sent."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from click.testing import CliRunner
from support.letters import PUBLIC, body_of, said_by_a_worker
from werkzeug.serving import make_server

from sealwax.cli import cli
from sealwax.deadletters import Letter
from sealwax.deadletters.letter import read

JOB = "0123456789abcdef0123456789abcdef"


def archive(app: Any, body: str, *, own: bool = False, said: str | None = None) -> Letter:
    """Archive a message of the queue `q`, signed by a worker unless `said` is given."""
    facts = {"reason": "rejected" if own else "stray", "cause": "not-sealed", "job": JOB, "at": 1.0}
    text = said if said is not None else said_by_a_worker(facts, body, queue="q", own=own)
    message = {
        "MessageId": "m1",
        "Body": body,
        "MessageAttributes": {"sealwax-dead-letter": {"DataType": "String", "StringValue": text}},
    }
    made = read(message, queue="q", lane="default", now=1_000.0, verifier=PUBLIC)
    app.extensions["sealwax"].letters.archive.put([made])
    return made[0]


@pytest.fixture
def stray(app) -> Letter:
    return archive(app, body_of(JOB, "FORGED"))


@pytest.fixture
def as_(app):
    tokens = app.extensions["sealwax"].tokens

    def headers(*scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {tokens.issue(tenant='ops', scopes=scopes).token}"}

    return headers


def test_strays_are_listed_apart_with_why_and_whose_id_they_bear(app, client, stray, as_):
    reader = as_("ops:read")
    forged = archive(app, body_of(JOB, "TOO"), said=json.dumps({"reason": "rejected", "job": JOB}))
    own = archive(app, body_of(JOB), own=True)
    listed = client.get("/v1/ops/strays", headers=reader).get_json()["strays"]
    assert {each["id"]: (each["cause"], each["claims"]) for each in listed} == {
        stray.id: ("not-sealed", JOB), forged.id: ("unsigned", JOB),
    }  # fmt: skip
    by_job = client.get(f"/v1/ops/strays?job={JOB}", headers=reader).get_json()["strays"]
    assert {each["id"] for each in by_job} == {stray.id, forged.id}
    assert client.get("/v1/ops/strays?queue=other", headers=reader).get_json()["strays"] == []
    letters = client.get("/v1/ops/letters", headers=reader).get_json()["letters"]
    assert [each["id"] for each in letters] == [own.id]
    assert len(client.get("/v1/ops/groups", headers=reader).get_json()["groups"]) == 1
    shown = client.get(f"/v1/ops/strays/{stray.id}", headers=reader).get_json()
    assert shown in listed
    assert shown["why"] == "The message is no job's own: it is not sealed."
    # A letter is no stray.
    assert client.get(f"/v1/ops/strays/{own.id}", headers=reader).status_code == 404
    assert client.get(f"/v1/ops/strays/{own.id}/body", headers=reader).status_code == 404


def test_pages_reach_every_stray_once(app, client, as_):
    made = {archive(app, body_of(JOB, f"F{n}")).id for n in range(7)}
    found: list[str] = []
    after = ""
    while after is not None:
        path = f"/v1/ops/strays?limit=3{f'&after={after}' if after else ''}"
        page = client.get(path, headers=as_("ops:read")).get_json()
        found += [each["id"] for each in page["strays"]]
        after = page["after"]
    assert sorted(found) == sorted(made)


def test_a_body_is_downloaded_byte_for_byte_as_a_file(client, stray, as_):
    answer = client.get(f"/v1/ops/strays/{stray.id}/body", headers=as_("ops:read"))
    assert answer.data == body_of(JOB, "FORGED").encode()
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{stray.id}"'


@pytest.mark.parametrize(
    "given",
    [
        {}, [], {"ids": [f"{JOB}.0"]}, {"ids": "x"}, {"ids": [1]}, {"filter": {"task": "a"}},
        {"filter": {"reason": "rejected"}}, {"filter": []}, {"verb": "replay", "filter": {}},
        {"filter": {}, "mode": "at-once"}, {"filter": {}, "reason": 1}, {"filter": {}},
    ],
)  # fmt: skip
def test_what_is_no_choice_of_strays_is_refused(client, stray, as_, given):
    answer = client.post("/v1/ops/strays/discard", headers=as_("ops:write"), json=given)
    assert answer.status_code == 422, answer.text


def test_a_preview_changes_nothing_and_a_start_is_on_record(app, client, stray, as_):
    writer, letters = as_("ops:write"), app.extensions["sealwax"].letters
    assert client.get("/v1/ops/strays", headers=as_("jobs:submit")).status_code == 403
    choice = {"filter": {"queue": "q"}, "reason": "a scanner"}
    reader = as_("ops:read")
    assert client.post("/v1/ops/strays/discard", headers=reader, json=choice).status_code == 403
    seen = client.post("/v1/ops/strays/discard", headers=writer, json=choice).get_json()
    assert (seen["expected"], seen["state"], seen["verb"]) == (1, "preview", "discard")
    assert letters.replays.active() == ()
    begun = client.post(
        "/v1/ops/strays/discard", headers=writer, json=choice | {"mode": "start"}
    ).get_json()
    assert begun["state"] == "running"
    line = letters.audit.page(limit=1)[0][0]
    assert (line.verb, line.reason) == ("discard.start", "a scanner")
    letters.table.delete("active", begun["id"])


def test_the_command_line_lists_downloads_and_says_what_a_discard_would_touch(
    app, stray, as_, tmp_path, monkeypatch
):
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        token = as_("ops:read", "ops:write")["Authorization"].removeprefix("Bearer ")
        monkeypatch.setenv("SEALWAX_API_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("SEALWAX_TOKEN", token)

        def run(*arguments: str) -> str:
            done = CliRunner().invoke(cli, ["strays", *arguments])
            assert done.exit_code == 0, done.output
            return done.output

        assert stray.id in run("list")
        assert [each["id"] for each in json.loads(run("list", "--job", JOB, "--json"))] == [
            stray.id
        ]
        out = tmp_path / "stray"
        run("download", stray.id, "--out", str(out))
        assert out.read_bytes() == body_of(JOB, "FORGED").encode()
        told = run("discard", "--all", "--why", "tests")
        assert "would touch 1 strays; nothing was changed" in told
        assert app.extensions["sealwax"].letters.replays.active() == ()
        wrong = CliRunner().invoke(cli, ["strays", "discard", stray.id, "--all", "--why", "x"])
        assert wrong.exit_code == 2
    finally:
        server.shutdown()
        thread.join()
