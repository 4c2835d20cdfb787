"""Jobs that stand still: found, sent again where their body is kept, and never guessed about."""

from __future__ import annotations

import json
import time

import pytest
from click.testing import CliRunner
from support.letters import SHARED_KEYRING
from support.steward_parts import Parts

from sealwax.cli import cli
from sealwax.outbox.store import Item
from sealwax.secrets.factory import make_source
from sealwax.steward.sweep import SweepDuty

HOUR = 3_600.0


@pytest.fixture
def parts(provisioned, aws):
    make_source(provisioned, aws).put("shared/keyring", SHARED_KEYRING)
    return Parts(provisioned, aws)


class Leading:
    def held(self) -> bool:
        return True


def test_what_stands_still_is_told_and_what_has_a_body_is_sent_again(parts):
    parts.job("1", age=60)  # young
    parts.job("2", age=9 * HOUR)  # nobody has it
    parts.job("3", age=9 * HOUR)  # in the outbox
    parts.outbox.put(
        Item(id=f"{'3' * 32}#0", due=1.0, queue=parts.queue, body=parts.body("3" * 32))
    )
    parts.job("4", age=9 * HOUR)  # a genuine letter
    parts.letter("4" * 32, "exhausted")
    parts.job("5", age=9 * HOUR)  # a letter that anybody could have made
    stray = parts.letter("5" * 32, "stray", body=parts.body("5" * 32, "FORGED"))
    parts.job("6", age=9 * HOUR, not_before=time.time() + HOUR)  # delayed
    running = parts.job("7", age=9 * HOUR)
    parts.ledger.claim(running, token="t", lease=60)

    found = {each.job[0]: each for each in parts.sweep().all()}
    assert {digit: each.where for digit, each in found.items()} == {
        "2": "unaccounted",
        "3": "outbox",
        "4": "letter",
        "5": "unaccounted",
    }
    assert found["5"].strays == (stray,)
    assert found["2"].strays == ()
    assert found["2"].age == pytest.approx(9 * HOUR, abs=60)
    assert not any(each.resent for each in found.values())
    assert parts.waiting() == []

    duty = SweepDuty(parts.sweep(), ["default"], parts.notes, every=600)
    while duty.turn(Leading()):
        pass
    (message,) = parts.waiting()
    assert message["headers"]["id"] == "4" * 32
    assert message["headers"]["generation"] == 0
    # The same steward does not send it again while it may still wait in its queue.
    while duty.turn(Leading()):
        pass
    assert parts.waiting() == []


def test_the_command_line_tells_and_exits_with_1_only_where_one_is_unaccounted(parts):
    parts.job("4", age=9 * HOUR)
    parts.letter("4" * 32, "exhausted")
    told = CliRunner().invoke(cli, ["jobs", "verify"])
    assert told.exit_code == 0, told.output
    assert "0 unaccounted, 1 with a letter" in told.output
    assert parts.waiting() == []
    told = CliRunner().invoke(cli, ["jobs", "verify", "--repair", "--json"])
    assert json.loads(told.output)["resent"] is True
    assert len(parts.waiting()) == 1
    parts.job("2", age=30)
    told = CliRunner().invoke(cli, ["jobs", "verify", "--older-than", "10"])
    assert told.exit_code == 1
    assert "1 unaccounted" in told.output


def test_what_only_bears_a_jobs_id_hides_nothing(parts):
    """Forged items, rows and letters: the job stays unaccounted, and nothing of them is sent."""
    job = parts.job("2", age=9 * HOUR)
    other = parts.job("3", age=60)
    forged = [
        "x",
        parts.body(job, "FORGED"),
        parts.body(job, parts.sealed(other)),
        parts.body(other),
    ]
    for number, body in enumerate(forged):
        parts.outbox.put(Item(id=f"{job}#{number}", due=1.0, queue=parts.queue, body=body))
    # Genuine, but it goes where nobody of the job's lane sees it.
    parts.outbox.put(Item(id=f"{job}#9", due=1.0, queue="elsewhere", body=parts.body(job)))
    # A row in the job's own place, as whoever can write to the table makes it.
    parts.letter(job, "exhausted", body=parts.body(job, "FORGED"))
    strays = {
        parts.letter(job, "stray", body=body)
        for body in (parts.body(job, "FORGED"), parts.body(job, "TOO"))
    }
    (found,) = parts.sweep().all(repair=True)
    assert (found.where, found.resent, set(found.strays)) == ("unaccounted", False, strays)
    assert parts.waiting() == []
    told = CliRunner().invoke(cli, ["jobs", "verify", "--json"])
    assert set(json.loads(told.output)["strays"]) == strays
    told = CliRunner().invoke(cli, ["jobs", "verify"])
    assert all(stray in told.output for stray in strays)


def test_a_parked_message_of_the_jobs_own_accounts_for_it(parts):
    job = parts.job("2", age=9 * HOUR)
    parts.outbox.put(Item(id=f"{job}#0", due=1.0, queue=parts.queue, body=parts.body(job, "NO")))
    parts.outbox.put(Item(id=f"{job}#1", due=1.0, queue=parts.queue, body=parts.body(job)))
    (found,) = parts.sweep().all()
    assert found.where == "outbox"
