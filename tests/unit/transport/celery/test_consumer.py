"""A child that dies while its worker starts does not end the worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sealwax.transport.celery.consumer import adopt


def consumer(*exit_codes: int | None) -> Any:
    children = [SimpleNamespace(exitcode=code) for code in exit_codes]
    handlers = ("on_unknown_message", "on_unknown_task", "on_invalid_task", "on_decode_error")
    pool = SimpleNamespace(
        _pool=SimpleNamespace(_pool=children) if children else None, did_start_ok=lambda: "celery's"
    )
    return SimpleNamespace(pool=pool, **dict.fromkeys(handlers, lambda *_: None))


@pytest.mark.parametrize(
    ("exit_codes", "starts"),
    [((None, None), True), ((-9, None), True), ((-9, -9), False), ((1,), False)],
)
def test_a_worker_starts_while_any_child_lives(
    exit_codes: tuple[int | None, ...], starts: bool
) -> None:
    made = consumer(*exit_codes)
    adopt(made)
    assert made.pool.did_start_ok() is starts


def test_pools_without_children_keep_celerys_own_check() -> None:
    made = consumer()
    adopt(made)
    assert made.pool.did_start_ok() == "celery's"


def test_a_consumer_that_has_no_pool_is_adopted_too() -> None:
    made = consumer()
    made.pool = None
    adopt(made)
