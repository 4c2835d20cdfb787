"""Which entries a batch takes."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from sealwax.aws.sqs import BATCH_ENTRIES
from sealwax.transport.batching import BatchEntry, take_batch


def entry(size: int = 1, group: str | None = None, **more: object) -> BatchEntry:
    return BatchEntry({}, done=lambda _: None, deadline=1e9, size=size, group=group, **more)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.integers(1, 60), st.sampled_from([None, "a", "b", "c"])), max_size=40))
def test_batches_hold_every_entry_once_within_all_limits(items: list[tuple[int, str]]) -> None:
    entries = [entry(size, group) for size, group in items]
    ready = deque(entries)
    taken = []
    while ready:
        batch = take_batch(ready, max_bytes=100)
        assert 1 <= len(batch) <= BATCH_ENTRIES
        assert sum(e.size for e in batch) <= 100 or len(batch) == 1
        groups = [e.group for e in batch if e.group]
        assert len(groups) == len(set(groups))
        taken += batch
    assert len(taken) == len(entries)
    for group in "abc":
        assert [e for e in taken if e.group == group] == [e for e in entries if e.group == group]


def test_a_busy_group_waits_and_others_pass_it() -> None:
    first, second, third = entry(group="a"), entry(group="b"), entry(group="a")
    ready = deque([first, second, third])
    assert take_batch(ready, max_bytes=100, busy_groups={"a"}) == [second]
    assert list(ready) == [first, third]
