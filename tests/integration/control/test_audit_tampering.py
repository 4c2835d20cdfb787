"""The audit log on emulated DynamoDB: many writers, one chain; and what a role's PutItem leaves."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog.testing
from click.testing import CliRunner
from support.expiries import FAR

from sealwax.cli import cli
from sealwax.cli.auditing import record_cli
from sealwax.control.audit_log import Audit, AuditUnreachable
from sealwax.deadletters import Filter, make_letters
from sealwax.provision import provision
from sealwax.steward.audit_head import AuditHeadDuty
from sealwax.stores import Stores


@pytest.fixture
def provisioned(aws_env, aws):
    provision(aws_env, aws)
    return aws_env


@pytest.fixture
def audit(provisioned, aws) -> Audit:
    return Stores(provisioned, aws=aws).letters.audit


@pytest.fixture
def put(provisioned, aws):
    """Write an item as a role that may PutItem can: over whatever is there."""
    client, table = aws.client("dynamodb"), provisioned.table_name("audit")

    def rewrite(line_id: str, **values: dict[str, str]) -> None:
        items = client.scan(TableName=table, ConsistentRead=True)["Items"]
        (item,) = (item for item in items if item["id"]["S"] == line_id)
        client.put_item(TableName=table, Item=item | values)

    return rewrite


def write(audit: Audit, count: int) -> list[str]:
    return [
        audit.record(actor="token:a", verb="lane.pause", target=f"lane {n}").id
        for n in range(count)
    ]


def test_concurrent_writers_make_one_chain(provisioned, aws):
    def one(number: int) -> None:
        Stores(provisioned, aws=aws).letters.audit.record(
            actor=f"token:{number}", verb="a.b", target="x"
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one, range(24)))
    audit = Stores(provisioned, aws=aws).letters.audit
    report = audit.verify()
    assert (report.bad, report.lines, report.head.count) == (None, 24, 24)
    assert [line.number for line in audit.page()[0]] == list(range(24, 0, -1))


def test_a_replay_planned_among_other_writers_is_in_the_chain(provisioned, aws, audit):
    replays = make_letters(provisioned, aws).replays

    def one(number: int) -> None:
        if number % 2:
            made = replays.plan(actor="me", filter=Filter(task="no.such"))
            replays.cancel(made.id, actor="me")
        else:
            audit.record(actor="token:a", verb="a.b", target="x")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(one, range(12)))
    report = audit.verify()
    assert (report.bad, report.lines) == (None, 18)


def test_an_overwritten_line_is_named(audit, put):
    ids = write(audit, 5)
    put(ids[2], actor={"S": "token:innocent"})
    result = CliRunner().invoke(cli, ["audit", "verify", "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["bad"] == ids[2]
    assert ids[2] in CliRunner().invoke(cli, ["audit", "verify"]).output


def test_a_deleted_line_and_deleted_newest_lines_are_named(provisioned, aws, audit):
    ids = write(audit, 5)
    client, table = aws.client("dynamodb"), provisioned.table_name("audit")
    days = {
        item["id"]["S"]: item["day"]
        for item in client.scan(TableName=table, ConsistentRead=True)["Items"]
    }

    def delete(line_id: str) -> None:
        client.delete_item(TableName=table, Key={"day": days[line_id], "id": {"S": line_id}})

    delete(ids[4])
    assert audit.verify().bad == "head"
    delete(ids[1])
    assert audit.verify().bad == ids[2]


def test_a_head_put_back_is_found_and_stops_at_the_line_that_is_there(audit, put):
    write(audit, 2)
    old = audit.head()
    write(audit, 1)
    put("head", count={"N": str(old.count)}, hash={"S": old.hash})
    assert audit.verify().bad == "head"


def test_verify_prints_a_head_that_proves_the_log_later(audit):
    write(audit, 2)
    kept = json.loads(CliRunner().invoke(cli, ["audit", "verify", "--json"]).output)["head"]
    write(audit, 2)
    good = f"{kept['count']}:{kept['hash']}"
    assert CliRunner().invoke(cli, ["audit", "verify", "--head", good]).exit_code == 0
    other = f"{kept['count']}:{'0' * 64}"
    result = CliRunner().invoke(cli, ["audit", "verify", "--head", other])
    assert result.exit_code == 1
    assert "kept elsewhere" in result.output
    assert CliRunner().invoke(cli, ["audit", "verify", "--head", "two"]).exit_code == 2


def test_lines_of_several_days_are_one_chain_and_old_ones_stay_readable(provisioned, aws):
    now = [FAR]
    audit = Audit(aws.client("dynamodb"), provisioned.table_name("audit"), clock=lambda: now[0])
    aws.client("dynamodb").put_item(
        TableName=provisioned.table_name("audit"),
        Item={
            "day": {"S": "2096-10-02"}, "id": {"S": f"{FAR - 1:.0f}000-abcdefabcdef"},
            "at": {"N": f"{FAR - 1:.0f}"}, "actor": {"S": "token:old"}, "verb": {"S": "lane.pause"},
            "target": {"S": "x"}, "expires": {"N": f"{FAR + 100_000_000:.0f}"},
        },
    )  # fmt: skip
    for _ in range(4):
        write(audit, 1)
        now[0] += 86_400.0
    now[0] -= 86_400.0 * 1.5  # a writer whose clock is behind
    write(audit, 1)
    report = audit.verify()
    assert (report.bad, report.lines, report.unchained) == (None, 5, 1)
    assert [line.actor for line in audit.page()[0]] == ["token:a"] * 5 + ["token:old"]
    later = audit.verify(since=FAR + 2 * 86_400)
    assert (later.bad, later.first) == (None, 3)


def test_a_log_that_is_always_busy_ends_the_tries_and_what_was_to_be_done(provisioned, aws):
    client = aws.client("dynamodb")
    tries = []

    class Busy:
        def __getattr__(self, name):
            return getattr(client, name)

        def transact_write_items(self, **arguments):
            tries.append(1)
            Stores(provisioned, aws=aws).letters.audit.record(
                actor="token:b", verb="a.b", target="first"
            )
            return client.transact_write_items(**arguments)

    busy = Audit(Busy(), provisioned.table_name("audit"), sleep=lambda _: None)
    with pytest.raises(AuditUnreachable, match="nothing was done"):
        busy.record(actor="token:a", verb="a.b", target="never")
    assert len(tries) == 12
    report = Stores(provisioned, aws=aws).letters.audit.verify()
    assert (report.bad, report.lines) == (None, 12)


def test_a_command_is_on_record_by_user_and_host(provisioned, aws, audit):
    record_cli(
        Stores(provisioned, aws=aws), verb="operator.add", target="o-1", reason="new colleague"
    )
    (line,), _ = audit.page()
    assert line.actor.startswith("cli:")
    assert "@" in line.actor
    assert (line.verb, line.target, line.reason) == ("operator.add", "o-1", "new colleague")


def test_the_steward_logs_the_head(audit):
    write(audit, 3)
    with structlog.testing.capture_logs() as logged:
        assert AuditHeadDuty(audit).turn(None) is False  # type: ignore[arg-type]  # it asks nothing
    (event,) = (event for event in logged if event["event"] == "audit head")
    assert (event["count"], event["hash"]) == (3, audit.head().hash)
