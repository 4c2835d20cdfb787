from __future__ import annotations

from support.lab_dynamodb import LabTable
from support.ledger import Clock
from support.waiting import wait_for

from sealwax.control.table import ControlTable, ControlUnreachable
from sealwax.provision import desired_state
from sealwax.settings import Settings
from sealwax.steward import Leader, Steward
from sealwax.steward.division import Division, family_of
from sealwax.steward.leadership import LeaderLeases

CONTROL = next(t for t in desired_state(Settings()).tables if t.name.endswith("-control"))
LEASE = 12.0


class Room:
    """Stewards' leases on one table, under one clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.now = 12_000.0
        self.table = LabTable(CONTROL, clock=self.clock)
        self.control = ControlTable(self.table, CONTROL.name)

    def leases(self, owner: str) -> LeaderLeases:
        return LeaderLeases(self.control, owner=owner, seconds=LEASE, clock=self.clock)

    def division(self, owner: str, parts: int = 8) -> Division:
        return Division(self.leases(owner), "outbox", parts, seconds=LEASE, monotonic=self.clock)


def taken(division: Division, *, beyond: bool = False) -> int:
    return sum(division.reserve(beyond=beyond) for _ in range(8))


def test_a_part_has_a_point_in_its_name():
    assert family_of("outbox.3") == "outbox"
    assert family_of("sweep") is None


def test_one_alone_takes_all_and_gives_the_half_to_another():
    room = Room()
    one, two = room.division("one"), room.division("two")
    assert taken(one) == 8
    assert taken(two) == 4
    assert not one.cede()  # counted a moment ago
    room.clock.now += LEASE / 3
    assert [one.cede() for _ in range(8)] == [True] * 4 + [False] * 4
    assert taken(one) == 0
    one.release()
    assert taken(one) == 1


def test_three_share_eight_so_that_none_is_left():
    room = Room()
    for owner in ("one", "two", "three"):
        room.division(owner).reserve(beyond=False)
    room.clock.now += LEASE / 3
    assert [taken(room.division(owner)) for owner in ("one", "two", "three")] == [3, 3, 3]


def test_who_is_gone_counts_no_more_and_leaves_nothing_behind():
    room = Room()
    one, two = room.division("one"), room.division("two")
    taken(two)
    assert taken(one) == 4
    room.clock.now += 2 * LEASE
    assert taken(one) == 4
    (item,) = room.table.items.values()
    assert sorted(name for name in item if name.startswith("in")) == ["in1002"]


def test_what_nobody_does_is_taken_beyond_the_share():
    room = Room()
    one, two = room.division("one"), room.division("two")
    taken(two)
    assert taken(one) == 4
    assert one.reserve(beyond=True)
    assert one.cede()


def test_an_unreachable_table_leaves_the_shares_as_they_were():
    room = Room()
    one = room.division("one")

    def away(*_: object) -> None:
        raise ControlUnreachable

    room.control.update = away  # type: ignore[method-assign,assignment]
    assert taken(one) == 8


class Part:
    def __init__(self, number: int) -> None:
        self.name = f"work.{number}"
        self.every = 0.01
        self.by: Leader | None = None

    def turn(self, lead: Leader) -> bool:
        self.by = lead
        return False


def test_two_stewards_divide_a_duty_and_one_does_it_all_when_the_other_stops():
    table = LabTable(CONTROL)
    control = ControlTable(table, CONTROL.name)

    def steward(owner: str) -> Steward:
        leases = LeaderLeases(control, owner=owner, seconds=1.0)
        return Steward([Part(number) for number in range(4)], leases, lease=1.0)

    def owners() -> list[str]:
        items = [control.get("leader", f"work.{number}") or {} for number in range(4)]
        return sorted(str(item["owner"]) for item in items if item.get("until"))

    one, two = steward("one"), steward("two")
    one.start()
    wait_for(lambda: owners() == ["one"] * 4, seconds=30)
    two.start()
    wait_for(lambda: owners() == ["one", "one", "two", "two"], seconds=60)
    assert one.stop()
    wait_for(lambda: owners() == ["two"] * 4, seconds=60)
    assert two.stop()
