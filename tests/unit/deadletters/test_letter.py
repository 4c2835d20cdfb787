"""Letters made of messages: own ones by a worker's signature, strays of everything else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.letters import PUBLIC, said_by_a_worker

from sealwax.deadletters.explanation import explain
from sealwax.deadletters.letter import Letter, LetterText, beside, letter_key, read
from sealwax.envelope.private_keys import SigningKey

JOB = "0123456789abcdef0123456789abcdef"
SAID: dict[str, Any] = {
    "reason": "rejected", "error": "Rejected", "cause": "http-400", "job": JOB, "task": "a",
    "at": 5.0,
}  # fmt: skip


def message(body: str, attribute: str | None) -> dict[str, Any]:
    attributes = {}
    if attribute is not None:
        attributes["sealwax-dead-letter"] = {"DataType": "String", "StringValue": attribute}
    return {"MessageId": "m1", "Body": body, "MessageAttributes": attributes}


def made(
    body: str, attribute: str | None, *, queue: str = "q", now: float = 10.0
) -> tuple[Letter, LetterText]:
    return read(message(body, attribute), queue=queue, lane="default", now=now, verifier=PUBLIC)


def signed(body: str, own: bool = True, **changes: Any) -> tuple[Letter, LetterText]:
    said = said_by_a_worker(SAID | changes, body, queue="q", own=own, generation=3)
    return made(body, said)


def test_an_own_letter_has_its_jobs_place_in_the_signed_generation() -> None:
    letter, _ = signed('{"headers": {"id": "x", "generation": 7}}')
    assert (letter.id, letter.job, letter.generation) == (f"{JOB}.3", JOB, 3)
    assert (letter.reason, letter.cause, letter.task) == ("rejected", "http-400", "a")
    assert (letter.first, letter.last, letter.at) == (5.0, 5.0, 10.0)
    assert (letter.own, letter.stray, letter.claims, letter.conflict) == (True, False, None, False)


def test_payload_never_reaches_the_fingerprint_nor_the_name() -> None:
    one, two = signed('{"a":"canary"}')[0], signed('{"b":"other"}')[0]
    assert one.group == two.group
    assert "canary" not in repr(one)
    assert signed("{}", cause="http-404")[0].group != one.group
    assert signed("{}", place="tasks.x:f")[0].group != one.group


def test_free_text_in_a_signed_attribute_is_left_out() -> None:
    letter, _ = signed("{}", error="no such customer: Ann", cause="x y", place="a b")
    assert (letter.error, letter.cause, letter.place) == (None, None, None)


def body(job: str = JOB, task: str = "a", **more: Any) -> str:
    return json.dumps({"headers": {"id": job, "task": task}, **more})


def test_an_attribute_that_nobody_signed_makes_a_stray() -> None:
    letter, text = made(body(), json.dumps(SAID))
    assert (letter.reason, letter.cause, letter.job, letter.claims) == (
        "stray", "unsigned", None, JOB,
    )  # fmt: skip
    assert (letter.task, letter.error, letter.place, letter.attempts) == (None, None, None, 0)
    assert (letter.own, letter.stray) == (False, True)
    assert letter.id.startswith("s-")
    assert letter_key(letter.id) is not None
    assert text.said == json.dumps(SAID)


def test_a_strangers_signature_another_body_and_another_queue_make_strays() -> None:
    good = said_by_a_worker(SAID, body(), queue="q")
    forged = said_by_a_worker(SAID, body(), queue="q", signer=SigningKey(b"x" * 32))
    assert made(body(), good)[0].own
    assert made(body(), forged)[0].cause == "unknown-signer"
    assert made(body(x=1), good)[0].cause == "wrong-body"
    assert made(body(), good, queue="other")[0].cause == "wrong-queue"


def test_a_strays_cause_is_what_the_worker_signed_and_its_claim_is_kept_for_searching() -> None:
    letter, _ = signed(body(), own=False, reason="stray", cause="not-sealed")
    assert (letter.cause, letter.claims, letter.job, letter.first) == ("not-sealed", JOB, None, 5.0)
    assert signed("x", own=False, reason="malformed", cause=None)[0].cause == "malformed"
    assert signed("x", own=False, job="no id", cause="y")[0].claims is None
    # A reason that only own letters have makes nothing own.
    assert signed(body(), own=False, reason="exhausted")[0].stray


def test_copies_of_a_strays_body_collapse_and_nothing_else_does() -> None:
    names = {
        made(body(), None)[0].id,
        made(body(), '{"other": "attribute"}', now=20.0)[0].id,
        signed(body(), own=False, reason="stray", cause="x")[0].id,
    }
    assert len(names) == 1
    assert made(body(x=1), None)[0].id not in names
    assert made(body(), None, queue="other")[0].id not in names


def test_300_invented_tasks_and_causes_are_one_group() -> None:
    groups = set()
    for n in range(300):
        said = {"reason": "unknown-task", "cause": f"c{n}", "error": f"E{n}", "task": f"t{n}"}
        groups.add(made(body(task=f"t{n}"), json.dumps(said))[0].group)
        signed_one = signed(body(task=f"t{n}"), own=False, **said)[0]
        groups.add(signed_one.group)
    assert len(groups) == 1


def test_a_second_body_of_a_place_has_a_name_of_its_own_and_a_flag() -> None:
    one, two = beside(signed("a")[0]), beside(signed("b")[0])
    assert one.id != two.id
    for letter in (one, two):
        assert letter.conflict
        assert not letter.own
        assert letter.job == JOB
        assert letter_key(letter.id) == (JOB, letter.id.removeprefix(f"{JOB}."))


@pytest.mark.parametrize(
    "name", ["0" * 32 + ".0", "m-" + "0" * 32 + ".0", "0" * 32 + ".0.01234567"]
)
def test_names_of_older_letters_are_still_read(name: str) -> None:
    assert letter_key(name) == tuple(name.split(".", 1))


@given(text=st.text(max_size=200), said=st.none() | st.dictionaries(st.text(), st.integers()))
def test_anything_at_all_becomes_a_stray_with_its_body(
    text: str, said: dict[str, int] | None
) -> None:
    letter, kept = made(text, None if said is None else json.dumps(said))
    assert kept.body == text.encode("utf-8", "surrogatepass")
    assert letter_key(letter.id) is not None
    assert letter.stray
    assert explain(letter).endswith(".")
