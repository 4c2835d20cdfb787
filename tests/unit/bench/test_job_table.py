"""The benchmark's tables: medians, numbers in three digits, gaps as dashes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import job_table


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (0.0, "0"), (0.2345, "0.234"), (12.34, "12.3"),
     (99.96, "100"), (1234.5, "1,234")],
)  # fmt: skip
def test_a_number_has_three_digits(value: float | None, text: str) -> None:
    assert job_table.figure(value) == text


def test_the_median_of_a_row_is_over_the_runs_that_have_it() -> None:
    runs = [{"a": 1.0, "b": 5.0}, {"a": 9.0}, {"a": 2.0, "c": 7.0}]
    assert job_table.medians(runs) == {"a": 2.0, "b": 5.0, "c": 7.0}


def test_a_table_has_a_column_a_system_and_a_dash_where_one_has_no_such_row() -> None:
    results = {
        "5 ms": {"ours": {"jobs/s": 1000.0, "calls": 0.22}, "theirs": {"jobs/s": 75.0}},
        "20 ms": {"ours": {"jobs/s": 900.0}},
    }
    assert job_table.tables(results) == (
        "| 5 ms a call | ours | theirs |\n"
        "|---|---|---|\n"
        "| jobs/s | 1,000 | 75 |\n"
        "| calls | 0.22 | - |\n"
        "\n"
        "| 20 ms a call | ours |\n"
        "|---|---|\n"
        "| jobs/s | 900 |"
    )


def test_the_processor_is_the_first_that_the_kernel_names() -> None:
    text = "processor\t: 0\nmodel name\t: Some CPU @ 2.00GHz\n\nmodel name\t: another\n"
    assert job_table.processor(text) == "Some CPU @ 2.00GHz"
    assert job_table.processor("") == "unknown"


def test_the_machine_tells_when_and_on_what() -> None:
    assert set(job_table.machine()) == {"date", "cores", "processor", "python", "load, 1 minute"}
