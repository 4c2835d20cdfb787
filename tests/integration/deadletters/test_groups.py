"""Groups of letters: counted, with a trend, forgotten once resolved."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from support.expiries import FAR

from sealwax.deadletters import Filter, make_letters


def test_groups_count_right_when_many_archive_the_same_at_once(letters, message, put):
    sent = [message(cause=f"http-{400 + n % 3}") for n in range(60)]
    with ThreadPoolExecutor(4) as pool:
        # Every message is archived twice, as after a crash before its delete.
        list(pool.map(lambda n: put(*sent[n : n + 10]), [0, 10, 20, 30, 40, 50] * 2))
    groups = letters.groups.list()
    assert sorted(group.open for group in groups) == [20, 20, 20]
    assert all(letters.archive.get(group.sample).group == group.fingerprint for group in groups)


def test_a_group_shows_when_it_began_and_its_trend(letter_settings, aws, message, put):
    hour = 500_000 * 3_600.0
    put(message(), now=hour + 1)
    put(message(), message(), now=hour + 3 * 3_600)
    letters = make_letters(letter_settings, aws, clock=lambda: hour + 3 * 3_600 + 60)
    (group,) = letters.groups.list()
    assert (group.first, group.last) == (hour + 1, hour + 3 * 3_600)
    assert group.trend[-4:] == (1, 0, 0, 2)
    assert letters.groups.get(group.fingerprint) == group
    later = make_letters(letter_settings, aws, clock=lambda: hour + 50 * 3_600)
    assert later.groups.forget_hours() == 1
    assert sum(later.groups.list()[0].trend) == 0
    assert later.groups.list()[0].open == 3


def test_groups_long_resolved_are_forgotten_and_others_never(letters, message, put, monkeypatch):
    from sealwax.deadletters.transitions import LetterTransitions

    put(message(task="a.open"))
    done, late = put(message(task="a.done")), put(message(task="a.late"))
    moves = LetterTransitions(letters.table, keep=10.0)
    for letter, now in ((done[0], FAR + 3_000), (late[0], FAR + 9_000)):
        moves.discarded("r", [letter], now=now, note="n", cursor="c")

    def tasks() -> set[str | None]:
        return {group.task for group in letters.groups.list(closed=True)}

    assert letters.groups.forget(before=FAR + 2_500) == 0
    # A letter that comes between the look and the deletion keeps its group.
    transact = letters.table.transact
    with monkeypatch.context() as patched:
        patched.setattr(
            letters.table,
            "transact",
            lambda found: (patched.undo(), put(message(task="a.done")), transact(found)),
        )
        assert letters.groups.forget(before=FAR + 5_000) == 0
    assert tasks() == {"a.open", "a.done", "a.late"}
    (letter,) = letters.archive.page(Filter(task="a.done")).letters
    moves.discarded("r", [letter], now=FAR + 3_000, note="n", cursor="c")
    assert letters.groups.forget(before=FAR + 5_000) == 1
    assert tasks() == {"a.open", "a.late"}
