"""The lineage of a Stream's shards: which may be read now. Pure.

A shard is closed after some hours, or when its keys are split; its children go on.
Records of one key stay in order only where a child is read after its parent's end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

__all__ = ["Shard", "readable"]


@dataclass(frozen=True)
class Shard:
    """One shard, as DescribeStream tells it; `parent` is None for a root."""

    id: str
    parent: str | None = None


def readable(shards: Iterable[Shard], finished: Collection[str]) -> list[Shard]:
    """Return the shards that are not finished and whose parent, if it still exists, is.

    Parameters
    ----------
    shards
        Of one description, in any order.
    finished
        Ids of those that were read to their end.
    """
    known = {shard.id: shard for shard in shards}
    return [
        shard
        for shard in known.values()
        if shard.id not in finished
        and (shard.parent is None or shard.parent not in known or shard.parent in finished)
    ]
