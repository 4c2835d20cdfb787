"""What the settings ask for in AWS."""

from __future__ import annotations

from sealwax.provision.desired import desired_state
from sealwax.settings import Lane, load_settings


def test_each_queue_follows_its_dead_letter_queue_and_lasts_as_long_as_sqs_allows() -> None:
    settings = load_settings(
        environment="test", lanes={"default": Lane(lease=45), "ordered": Lane(queue="o.fifo")}
    )
    queues = desired_state(settings).queues
    seen: set[str] = set()
    for queue in queues:
        assert queue.attributes["MessageRetentionPeriod"] == str(14 * 86_400)
        assert queue.dead_letter_queue is None or queue.dead_letter_queue in seen
        seen.add(queue.name)
        assert ("FifoQueue" in queue.attributes) is queue.name.endswith(".fifo")
        if queue.name.endswith(".fifo"):
            assert queue.dead_letter_queue is None or queue.dead_letter_queue.endswith(".fifo")
    named = {queue.name: queue for queue in queues}
    assert len(named) == 4
    assert named[settings.queue_name("default")].attributes["VisibilityTimeout"] == "45"


def test_names_are_the_environments_own_and_roles_have_a_key_each() -> None:
    one, two = (desired_state(load_settings(environment=name)) for name in ("one", "two"))
    for kind in ("queues", "tables"):
        names = [{each.name for each in getattr(state, kind)} for state in (one, two)]
        assert not names[0] & names[1]
    assert len({key.alias for key in one.keys}) == 4
    assert not {key.alias for key in one.keys} & {key.alias for key in two.keys}
    assert set(one.buckets).isdisjoint(two.buckets)


def test_tables_that_keep_things_for_a_time_expire_by_one_attribute() -> None:
    settings = load_settings(environment="test")
    expiring = {table.name: table.ttl for table in desired_state(settings).tables if table.ttl}
    assert set(expiring) == {
        settings.table_name(name) for name in ("jobs", "control", "letters", "audit")
    }
    assert set(expiring.values()) == {"expires"}
