from __future__ import annotations

from sealwax.control.throughput import INTERVAL, LENGTH, ThroughputSeries, summarise


def test_counts_land_in_their_interval_and_rates_leave_the_open_one_out():
    series = ThroughputSeries()
    series.add({}, 1_000)
    series.add({"acknowledged": 20, "latency.milliseconds": 4_000}, 1_000)
    series.add({"acknowledged": 50, "latency.milliseconds": 10_000}, 1_010)
    series.add({"acknowledged": 60, "dead_lettered.rejected": 2, "dead_lettered.crashed": 1}, 1_020)
    summary = summarise([series.report()], 1_020)
    assert summary.row("finished")[-2:] == [2.0, 3.0]
    assert summary.rate("finished", 2) == 2.5
    assert summary.total("finished") == 60
    assert summary.total("dead") == 3
    assert summary.means("latency")[-1] == 0.2


def test_workers_are_added_up_where_their_clocks_put_them():
    first, second = ThroughputSeries(), ThroughputSeries()
    first.add({"acknowledged": 10}, 1_000)
    second.add({"acknowledged": 30}, 1_000 + INTERVAL)
    summary = summarise([first.report(), second.report()], 1_000 + 2 * INTERVAL)
    assert summary.row("finished")[-2:] == [1.0, 3.0]
    # An hour later nothing of it is left.
    assert summarise([first.report()], 4_600).total("finished") == 0


def test_a_worker_that_was_silent_for_long_starts_anew():
    series = ThroughputSeries()
    series.add({"acknowledged": 10}, 1_000)
    series.add({"acknowledged": 15}, 1_000 + INTERVAL * (LENGTH + 5))
    assert summarise([series.report()], 1_000 + INTERVAL * (LENGTH + 5)).total("finished") == 5


def test_a_restarted_counter_never_counts_backwards():
    series = ThroughputSeries()
    series.add({"acknowledged": 10}, 1_000)
    series.add({"acknowledged": 3}, 1_010)
    assert summarise([series.report()], 1_010).total("finished") == 10


def test_nothing_finished_has_no_mean():
    assert summarise([], 1_000).mean("latency") is None
    assert summarise([{"newest": "x", "finished": "junk"}], 1_000).total("finished") == 0
