"""Each module has a test file of its name in the mirrored folder, or stands here with the reason.

The list may only shrink: a new module comes with its test file, and a module
that gets one leaves the list.
"""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
KINDS = ("unit", "integration")

#: By the test that shows what they do: modules that show it only together with others.
SHOWN_BY = {
    "integration/streams/test_reader.py": [
        "streams/checkpoints",
        "streams/client",
        "streams/shard_reader",
    ],
    "integration/web/console/test_every_change.py": [
        "cli/auditing",
        "cli/jobs",
        "cli/keys",
        "cli/lanes",
        "cli/letters",
        "cli/replays",
        "cli/strays",
        "cli/tokens",
        "web/refused_sign_ins",
    ],
    "integration/control/test_audit_tampering.py": ["cli/audit", "steward/audit_head"],
    "acceptance/test_check.py": ["cli/check", "secrets/factory"],
    "acceptance/test_dev.py": [
        "cli/dev",
        "cli/local_aws",
        "cli/local_init",
        "cli/sandbox",
        "local/preparation",
    ],
    "integration/web/test_serving.py": ["cli/api", "web/edge_worker", "web/gunicorn_log"],
    "unit/cli/test_help.py": ["cli/groups"],
    "packaging/test_new.py": ["cli/new"],
    "acceptance/test_main_job.py": ["cli/submit", "worker/task"],
    "integration/steward/test_takeover.py": ["cli/steward", "steward/duties"],
    "integration/worker/test_real_losses.py": ["cli/worker", "worker/app"],
    "integration/local/test_emulator.py": ["local/emulator_server", "local/watchdog"],
    "integration/local/test_supervisor.py": ["local/processes"],
    "integration/local/sandbox/test_server.py": [
        "local/sandbox/controls",
        "local/sandbox/customers",
        "local/sandbox/store",
    ],
    "integration/web/ops/test_fleet.py": ["control/fleet", "control/table", "web/ops/jobs"],
    "integration/producer/test_periodic.py": ["control/ticks"],
    "integration/deadletters/test_archive.py": [
        "deadletters/bodies",
        "deadletters/service",
        "deadletters/table",
    ],
    "integration/deadletters/test_groups.py": ["deadletters/transitions"],
    "integration/deadletters/test_replays.py": ["deadletters/selecting"],
    "integration/steward/test_replay.py": ["deadletters/discard"],
    "unit/web/test_problems.py": [
        "deadletters/errors",
        "egress/errors",
        "envelope/errors",
        "errors",
        "ledger/errors",
        "transport/errors",
    ],
    "integration/egress/test_client.py": ["egress/connect"],
    "integration/tasks/test_customers.py": ["egress/enrich", "enrichment"],
    "integration/ledger/test_store.py": ["ledger/entry"],
    "integration/steward/test_erasure.py": ["ledger/erasing"],
    "integration/worker/test_crash_matrix.py": [
        "outbox/payloads",
        "producer/submit",
        "worker/attempt",
    ],
    "unit/test_settings_effects.py": [
        "producer/celery_app",
        "secrets/source",
        "web/services",
    ],
    "integration/ledger/test_any_order.py": ["testing/dynamodb", "worker/claiming"],
    "integration/worker/test_provenance.py": ["keys/provenance"],
    "integration/transport/test_attempts.py": [
        "transport/channel",
    ],
    "integration/transport/test_existing_app.py": ["transport/client"],
    "integration/web/console/test_guard.py": [
        "web/app",
        "web/console/confirm",
        "web/console/errors",
        "web/console/jobs",
    ],
    "browser/test_console.py": ["web/console/fleet", "web/console/letters"],
    "integration/web/ops/test_letters.py": ["web/ops/audit", "web/ops/replays"],
}
#: Nothing to run.
TYPES_ALONE = {"steward/duty", "streams/destination"}


def modules() -> set[str]:
    """Return the product's modules by path, without their ending."""
    return {
        str(path.relative_to(ROOT / "sealwax").with_suffix(""))
        for path in (ROOT / "sealwax").rglob("*.py")
        if path.stem not in ("__init__", "__main__") and "scaffold" not in path.parts
    }


def is_tested(module: str) -> bool:
    """Whether unit or integration tests hold a file of the module's name, in its folder."""
    folder, _, name = module.rpartition("/")
    return any((ROOT / "tests" / kind / folder / f"test_{name}.py").is_file() for kind in KINDS)


def test_each_module_has_a_test_file_of_its_name_or_a_reason() -> None:
    listed = {module for names in SHOWN_BY.values() for module in names} | TYPES_ALONE
    assert {module for module in modules() if not is_tested(module)} == listed


@pytest.mark.parametrize("path", SHOWN_BY)
def test_what_shows_them_is_there(path: str) -> None:
    assert (ROOT / "tests" / path).is_file()


def test_a_module_without_a_test_file_is_found() -> None:
    assert is_tested("transport/batcher")
    assert not is_tested("transport/no_such_module")
