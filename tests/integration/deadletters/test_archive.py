"""Letters: kept whole, found again, paged."""

from __future__ import annotations

import json

import pytest

from sealwax.aws.dynamodb import CursorInvalid
from sealwax.aws.shards import SHARDS
from sealwax.deadletters import Filter, LettersDenied, NoSuchLetter, make_letters
from sealwax.deadletters.letter import NAMES

JOB = "0123456789abcdef0123456789abcdef"


def test_a_letter_is_kept_whole_and_found_again(letters, message, put):
    sent = message(JOB, body='{"odd":"\\u00e9\U0001f600"}')
    (letter,) = put(sent)
    assert letter.id == f"{JOB}.0"
    found = letters.archive.get(letter.id)
    assert found == letter
    assert (found.reason, found.cause, found.attempts, found.first) == (
        "rejected", "http-400", 1, 1_000.0,
    )  # fmt: skip
    body = letters.archive.body(letter.id)
    assert body.body == sent["Body"].encode()
    assert body.attributes == {"trace": {"DataType": "String", "StringValue": "t1"}}
    assert letters.archive.of_job(JOB) == [letter]


def test_a_big_body_and_binary_attributes_go_to_s3_byte_for_byte(letters, message, put):
    sent = message(JOB, body="x" * 300_000)
    sent["MessageAttributes"]["raw"] = {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    (letter,) = put(sent)
    body = letters.archive.body(letter.id)
    assert body.body == b"x" * 300_000
    assert body.attributes["raw"] == {"DataType": "Binary", "BinaryValue": b"\x00\xff"}


def test_copies_collapse_and_are_counted_once(letters, message, put):
    first = message(JOB)
    put(first)
    put(first)  # received twice: the same letter
    put(message(JOB, at=1_500.0), message())
    found = letters.archive.get(f"{JOB}.0")
    assert (found.copies, found.first, found.last) == (2, 1_000.0, 1_500.0)
    (group,) = letters.groups.list()
    assert (group.open, group.total) == (2, 2)


def test_a_forged_letter_never_takes_the_place_of_the_jobs_own(letters, message, put):
    forged = [
        put(message(JOB, signed=False))[0],  # says the same as the genuine one
        put(message(JOB, own=False, reason="stray", cause="not-sealed", body="forged"))[0],
    ]
    assert letters.archive.of_job(JOB) == []
    (own,) = put(message(JOB))
    assert letters.archive.of_job(JOB) == [own]
    assert letters.archive.body(own.id).body == message(JOB)["Body"].encode()
    assert len({letter.id for letter in forged} | {own.id}) == 3
    assert [letter.copies for letter in map(letters.archive.get, (own.id, forged[0].id))] == [1, 1]


def test_strays_are_found_by_the_id_that_they_bear(letters, message, put):
    (one,) = put(message(JOB, signed=False))
    (two,) = put(message(JOB, own=False, reason="stray", body=json.dumps({"headers": {"id": JOB}})))
    put(message("f" * 32, signed=False))
    assert letters.archive.claiming(JOB) == sorted([one, two], key=lambda letter: letter.id)
    assert len(letters.archive.claiming(JOB, limit=1)) == 1
    assert len(letters.archive.claiming(JOB, limit=None)) == 2


def test_two_bodies_of_one_place_are_both_kept_and_the_second_is_flagged(letters, message, put):
    first, second, third = message(JOB), message(JOB, body="second"), message(JOB, body="third")
    put(first)
    put(second, third)  # of one batch, and of a place that is taken
    put(first, second)  # copies of both
    kept = letters.archive.of_job(JOB)
    assert {letters.archive.body(letter.id).body for letter in kept} == {
        each["Body"].encode() for each in (first, second, third)
    }
    own = letters.archive.get(f"{JOB}.0")
    assert letters.archive.body(own.id).body == first["Body"].encode()
    assert {letter.conflict for letter in kept if letter.id != own.id} == {True}
    assert not own.conflict
    (group,) = letters.groups.list()
    assert group.open == 3


def test_two_bodies_of_one_place_in_one_batch_are_both_kept(letters, message, put):
    put(message(JOB, body="second"), message(JOB))
    assert len(letters.archive.of_job(JOB)) == 2


def test_letters_of_releases_before_they_were_signed_still_load(letters, message, put):
    values = {
        "state": "open", "group": "0" * 16, "queue": "q", "at": 1.0, "first": 1.0, "last": 1.0,
        "list": "open#" + "0" * 16, "digest": "d" * 64,
    }  # fmt: skip
    own = {"id": JOB, "sort": "letter.0", "reason": "rejected", "job": JOB, "generation": 0}
    forged = own | {"sort": "letter.0.01234567", "reason": "malformed"}
    foreign = {"id": f"m-{JOB}", "sort": "letter.0", "reason": "malformed", "generation": 0}
    for item in (own, forged, foreign):
        letters.table.put(values | item)
    assert letters.archive.get(f"{JOB}.0").own
    assert not letters.archive.get(f"{JOB}.0.01234567").own
    assert letters.archive.get(f"m-{JOB}.0").reason == "malformed"
    # A genuine letter that comes later is kept beside what holds its place.
    (late,) = put(message(JOB))
    assert [letter.conflict for letter in letters.archive.of_job(JOB)].count(True) == 1
    assert letters.archive.get(f"{late.id}.{late.digest[:32]}").job == JOB


def test_each_generation_is_a_letter_of_its_own(message, put):
    (first,), (second,) = put(message(JOB)), put(message(JOB, generation=1))
    assert (first.id, second.id) == (f"{JOB}.0", f"{JOB}.1")


def test_pages_by_group_task_and_time_reach_every_letter_once(letters, message, put):
    for hour in range(3):
        put(*[message(task=f"a.t{n}") for n in range(3)], now=2_000.0 + hour)

    def all_of(wanted: Filter | None, limit: int) -> list[str]:
        found, after = [], None
        while True:
            page = letters.archive.page(wanted, after, limit)
            found += [letter.id for letter in page.letters]
            after = page.after
            if after is None:
                return found

    everything = all_of(None, 2)
    assert len(everything) == len(set(everything)) == 9
    group = letters.groups.list()[0]
    assert len(all_of(Filter(group=group.fingerprint), 2)) == 3
    assert len(all_of(Filter(task="a.t1"), 50)) == 3
    assert len(all_of(Filter(since=2_001.0, until=2_001.0), 50)) == 3
    assert len(all_of(Filter(task="a.t1", since=2_001.0), 1)) == 2
    assert all_of(Filter(reason="crashed"), 50) == []


@pytest.mark.exact_lab  # counts calls where pages are whole
def test_a_page_costs_a_bounded_number_of_calls_whatever_is_open(letters, aws, message, put):
    put(*[message(task=f"a.t{n}") for n in range(25)])
    # The groups are listed; of ten at most each shard is asked.
    for wanted, most in (
        (None, 8 + 10 * SHARDS + 1),
        (Filter(task="a.t3"), 8 + SHARDS + 1),
        (Filter(group="0" * 16), SHARDS),
    ):
        before = aws.calls.total()
        letters.archive.page(wanted)
        assert 0 < aws.calls.total() - before <= most
    before = aws.calls.total()
    letters.groups.list()
    assert aws.calls.total() - before == 8


def test_foreign_cursors_and_ids_are_refused(letters):
    for cursor in ("x", "W10", "WyJhIiwxXQ", "WyJhIix7ImlkIjoieCJ9XQ"):
        with pytest.raises(CursorInvalid):
            letters.archive.page(after=cursor)
    for name in ("", "x", f"{JOB}.0", "groups.0.1"):
        with pytest.raises(NoSuchLetter):
            letters.archive.get(name)


def test_a_missing_table_says_what_to_check(aws_env, aws):
    with pytest.raises(LettersDenied, match="letters"):
        make_letters(aws_env, aws).archive.get(f"{JOB}.0")


def test_invented_task_names_are_one_group_that_counts_them(letters, message, put):
    for number in range(40):
        headers = {"id": JOB, "task": f"invented.{number % 3}", "n": number}
        put(message(JOB, signed=False, body=json.dumps({"headers": headers})))
    put(message(JOB, signed=False, body="says nothing"))
    assert letters.groups.list() == []
    (group,) = letters.groups.list(strays=True)
    assert (group.open, group.names, group.task) == (41, 3, None)


def test_a_group_counts_so_many_names_and_no_more(letters, message, put):
    sent = []
    for number in range(2 * NAMES):
        headers = {"task": f"invented.{number}"}
        sent.append(message(JOB, signed=False, body=json.dumps({"headers": headers})))
    put(*sent)
    (group,) = letters.groups.list(strays=True)
    assert group.open == 2 * NAMES
    assert NAMES // 2 < group.names <= NAMES
