"""Each setting is described, read by code, shown by a test, and on the reference page."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.append(str(ROOT / "tools"))
import settings_reference  # noqa: E402 - a program, not a package

FIELDS = dict(settings_reference.settings())

EFFECTS_FILE = "tests/unit/test_settings_effects.py"
CONSUMES = f"{EFFECTS_FILE}::test_a_worker_consumes_as_the_settings_say"
STARTED = f"{EFFECTS_FILE}::test_a_worker_is_started_as_the_settings_say"
AWS = f"{EFFECTS_FILE}::test_aws_attempts_bound_a_call"
RATES = f"{EFFECTS_FILE}::test_requests_per_second_and_request_burst_limit_a_tenant"
AGES = f"{EFFECTS_FILE}::test_max_age_seconds_and_retention_seconds_bound_an_entry"
DUTIES = f"{EFFECTS_FILE}::test_the_stewards_duties_take_their_times_from_the_settings"
BREAKERS = f"{EFFECTS_FILE}::test_a_workers_breakers_are_as_the_settings_say"
NAMES = "tests/unit/test_settings.py::test_names_of_resources"
OVERRIDES = "tests/unit/test_settings_effects.py::test_each_retry_override_changes_the_policy"
FIRED = f"{EFFECTS_FILE}::test_a_schedule_fires_its_task_and_payload_for_its_tenant"
TICKS = "tests/unit/test_schedules.py::test_the_latest_tick_is_the_last_one_up_to_now"
DEMO = f"{EFFECTS_FILE}::test_the_demo_is_the_job_that_can_be_pasted"

#: The test that shows what a setting does: a new setting comes with one.
SHOWN_BY = {
    "environment": NAMES,
    "prefix": NAMES,
    "lanes.<lane>.queue": NAMES,
    "lanes.<lane>.pool": STARTED,
    "lanes.<lane>.concurrency": STARTED,
    "lanes.<lane>.prefetch": CONSUMES,
    "lanes.<lane>.per_tenant": CONSUMES,
    "lanes.<lane>.per_route": CONSUMES,
    "lanes.<lane>.fair": CONSUMES,
    "lanes.<lane>.max_wait": f"{EFFECTS_FILE}::test_max_wait_closes_a_lane",
    "lanes.<lane>.poll": CONSUMES,
    "lanes.<lane>.lease": CONSUMES,
    "task_modules": "tests/packaging/test_wheel.py::test_tasks_that_are_not_there_are_named",
    "app": f"{EFFECTS_FILE}::test_app_names_the_application",
    "reveal.mode": "tests/unit/test_settings.py"
    "::test_payloads_are_revealed_to_operators_keys_but_on_a_laptop",
    "reveal.per_hour": "tests/integration/worker/test_reveal.py"
    "::test_so_many_payloads_an_hour_are_revealed_and_not_one_more",
    "ledger.shards": "tests/unit/test_stores.py::test_shards_spread_keys_and_read_finds_them",
    "ledger.shards_read": "tests/unit/test_stores.py::test_shards_spread_keys_and_read_finds_them",
    "keys.per_lane": f"{EFFECTS_FILE}::test_per_lane_gives_each_lane_keys_of_its_own",
    "demo.task": DEMO,
    "demo.payload": DEMO,
    'retry."<task>".attempts': OVERRIDES,
    'retry."<task>".base': OVERRIDES,
    'retry."<task>".cap': OVERRIDES,
    'retry."<task>".max_age': OVERRIDES,
    "limits.route_failures": BREAKERS,
    "limits.route_pause_seconds": BREAKERS,
    "limits.request_bytes": "tests/integration/web/test_body.py"
    "::test_the_body_limit_holds_at_its_edge",
    "limits.json_values": "tests/integration/web/test_body.py"
    "::test_values_keys_and_levels_have_their_limits_at_the_edge",
    "limits.json_keys": "tests/integration/web/test_body.py"
    "::test_values_keys_and_levels_have_their_limits_at_the_edge",
    "limits.json_depth": "tests/integration/web/test_body.py"
    "::test_values_keys_and_levels_have_their_limits_at_the_edge",
    "limits.large_wait": "tests/integration/web/test_body.py"
    "::test_large_bodies_are_taken_one_at_a_time",
    "limits.payload_bytes": f"{EFFECTS_FILE}::test_payload_bytes_bound_a_submission",
    "limits.message_bytes": CONSUMES,
    "limits.result_bytes": "tests/unit/testing/test_run_task.py"
    "::test_the_result_limit_holds_at_its_edge",
    "limits.task_seconds": f"{EFFECTS_FILE}::test_task_seconds_limit_a_task_without_its_own",
    "limits.max_age_seconds": AGES,
    "limits.retention_seconds": AGES,
    "limits.letter_retention_seconds": DUTIES,
    "limits.audit_retention_seconds": f"{EFFECTS_FILE}"
    "::test_audit_retention_seconds_bound_how_long_a_line_is_kept",
    "limits.delay_seconds": f"{EFFECTS_FILE}::test_delay_seconds_bound_a_delay",
    "limits.tenant_requests": "tests/attacks/test_hanging_systems.py"
    "::test_a_tenant_never_has_all_threads",
    "limits.system_requests": "tests/attacks/test_hanging_systems.py"
    "::test_a_system_that_hangs_holds_its_share_of_threads_and_no_more",
    "limits.enrich_seconds": "tests/attacks/test_hanging_systems.py"
    "::test_an_enrichment_ends_in_its_time_however_slow_its_answers_drip",
    "limits.send_seconds": f"{EFFECTS_FILE}::test_send_seconds_bound_a_send",
    "limits.attempts": "tests/unit/test_task_definition.py"
    "::test_a_task_without_its_own_policy_has_the_settings_attempts",
    "limits.record_seconds": "tests/integration/worker/test_outcomes.py"
    "::test_an_outcome_is_recorded_again_for_so_many_seconds",
    "limits.crashes": CONSUMES,
    "limits.requests_per_second": RATES,
    "limits.request_burst": RATES,
    "limits.token_cache_seconds": f"{EFFECTS_FILE}"
    "::test_token_cache_seconds_bound_how_long_a_look_up_is_believed",
    "limits.unknown_tokens_per_second": f"{EFFECTS_FILE}"
    "::test_unknown_tokens_per_second_are_how_often_strangers_are_looked_up",
    "limits.stop_seconds": "tests/integration/worker/test_real_losses.py"
    "::test_a_worker_that_does_not_end_in_time_gives_back_what_it_runs_and_ends",
    "limits.unknown_key_seconds": f"{EFFECTS_FILE}"
    "::test_unknown_key_seconds_are_the_time_a_rotation_has_to_arrive",
    "limits.unknown_task_seconds": CONSUMES,
    "aws.connect": AWS,
    "aws.read": AWS,
    "aws.attempts": AWS,
    "aws.direct": "tests/unit/aws/test_clients.py"
    "::test_all_calls_go_by_boto3_where_somebody_wants_it",
    "aws.slow_down": "tests/unit/aws/test_rate.py"
    "::test_dynamodb_alone_is_adapted_and_a_setting_turns_it_off",
    "steward.lease": f"{EFFECTS_FILE}::test_steward_lease_is_the_leases_length",
    "steward.sweep_every": DUTIES,
    "steward.sweep_after": DUTIES,
    "steward.step_seconds": DUTIES,
    "schedules.<name>.task": FIRED,
    "schedules.<name>.payload": FIRED,
    "schedules.<name>.tenant": FIRED,
    "schedules.<name>.every": TICKS,
    "schedules.<name>.cron": TICKS,
    "bucket": f"{EFFECTS_FILE}::test_bucket_takes_the_default_ones_place",
    "suite": f"{EFFECTS_FILE}::test_suite_is_that_of_new_keys",
    "secrets_file": f"{EFFECTS_FILE}::test_secrets_file_takes_the_place_of_credstash",
    "secrets_refresh_seconds": f"{EFFECTS_FILE}"
    "::test_secrets_refresh_seconds_are_the_age_at_which_secrets_are_read_again",
    "report_seconds": f"{EFFECTS_FILE}::test_report_seconds_pass_between_two_heartbeats",
    "log_level": STARTED,
    "liveness_file": CONSUMES,
    "counters_seconds": CONSUMES,
    "public_url": f"{EFFECTS_FILE}::test_public_url_makes_cookies_secure",
    "web.health_port": "tests/unit/web/test_serve.py::test_the_health_port_is_the_settings",
    **{
        f"web.{name}": f"tests/integration/web/test_edge.py::{test}"
        for name, test in {
            "header_seconds": "test_headers_that_drip_end_at_their_deadline",
            "body_seconds": "test_bodies_that_drip_end_at_their_deadline_and_reach_no_thread",
            "request_seconds": "test_a_whole_request_ends_at_its_deadline_whoever_is_slow",
            "keepalive_seconds": "test_a_connection_waits_for_its_next_request_for_so_long",
            "connections": "test_at_the_cap_in_all_the_one_that_drips_longest_makes_room",
            "connections_per_address": "test_so_many_connections_of_one_address_and_not_one_more",
            "buffered_bytes": "test_over_the_bytes_held_the_largest_incomplete_body_goes",
        }.items()
    },
    "tasks": "tests/unit/test_settings.py::test_a_task_module_s_section_is_validated",
}

#: What a section's value is called where it is read; elsewhere `.attempts` is another's.
HOLDERS = {
    "": r"settings",
    "keys": r"settings\.keys",
    "lanes.<lane>": r"(?:lane|pool|lanes\[[^]]*\])",
    "demo": r"demo",
    "reveal": r"reveal",
    "limits": r"limits",
    "aws": r"(?:aws|timeouts)",
    "steward": r"steward",
    "web": r"web",
    "ledger": r"settings\.ledger",
    "schedules.<name>": r"schedule",
}

#: A setting's noun and unit, where its value is a number.
UNITS = re.compile(
    r"\b(seconds?|bytes|attempts|tasks|messages|requests|queries|deaths|connections|port|"
    r"0: no limit)\b",
    re.IGNORECASE,
)


def unread(names: list[str], text: str) -> list[str]:
    """Return the settings that nothing in `text` reads."""
    found = []
    for name in names:
        section, _, leaf = name.rpartition(".")
        if section.startswith("retry."):
            continue  # laid over the policy whole: test_each_retry_override_changes_the_policy
        if not re.search(rf"\b_?{HOLDERS[section]}\.{leaf}\b", text):
            found.append(name)
    return found


def code() -> str:
    """Return the product's source without comments and texts: a mention is no reading."""
    found = []
    for path in sorted((ROOT / "sealwax").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                text = ast.unparse(node)
                own = path.name == "settings.py"  # what Settings says of itself
                found.append(text.replace("self.", "settings.", 1) if own else text)
    return "\n".join(found)


def test_each_setting_is_read() -> None:
    assert unread(list(FIELDS), code()) == []


def test_a_setting_that_nobody_reads_is_found() -> None:
    text = code().replace("limits.attempts", "limits.other")
    assert unread(list(FIELDS), text) == ["limits.attempts"]


def test_each_setting_has_a_test_that_shows_what_it_does() -> None:
    assert sorted(SHOWN_BY) == sorted(FIELDS)


@pytest.mark.parametrize("setting", sorted(SHOWN_BY))
def test_that_test_exists_and_its_file_gives_the_setting(setting: str) -> None:
    path, _, name = SHOWN_BY[setting].partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    functions = {
        node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)
    }
    assert name in functions
    fixtures = (ROOT / path).with_name("conftest.py")
    given = text + (fixtures.read_text(encoding="utf-8") if fixtures.exists() else "")
    assert setting.rpartition(".")[2] in given


@pytest.mark.parametrize("setting", sorted(FIELDS))
def test_each_setting_is_described_with_its_unit(setting: str) -> None:
    field = FIELDS[setting]
    assert field.description
    assert field.description.endswith(".")
    if field.annotation in (int, float, int | None, float | None):
        assert UNITS.search(field.description), field.description


def test_the_reference_page_is_what_the_models_say(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_reference.PAGE.read_text(encoding="utf-8") == settings_reference.render()
    assert settings_reference.main(["--check"]) == 0
    monkeypatch.setattr(settings_reference, "render", lambda: "another page")
    assert settings_reference.main(["--check"]) == 1
