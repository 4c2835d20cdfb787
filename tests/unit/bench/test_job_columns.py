"""How each system of the benchmark is started, and how another checkout is described."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[3] / "bench"))
import job_columns

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("pool", job_columns.POOLS)
def test_ours_takes_its_pool_from_the_lane(pool: str, tmp_path: Path) -> None:
    column = job_columns.sealwax()
    kind, concurrency, _ = job_columns.POOLS[pool]
    lane = json.loads(column.environment(pool, tmp_path)["SEALWAX_LANES"])["default"]
    assert (lane["pool"], lane["concurrency"]) == (kind, concurrency)
    assert column.worker(pool) == [sys.executable, "-m", "sealwax", "worker"]


@pytest.mark.parametrize("peer", job_columns.peers(Path("envs")), ids=lambda peer: peer.app)
def test_a_peer_has_every_pool_a_program_and_an_environment_that_make_builds(
    peer: job_columns.Column, tmp_path: Path
) -> None:
    assert set(peer.workers) == set(job_columns.POOLS)
    assert (job_columns.PEERS / f"{peer.app}.py").is_file()
    environment = Path(peer.python).parts[1]
    assert (job_columns.PEERS / f"requirements-{environment}.txt").is_file()
    assert f".venv-bench/{environment} " in (ROOT / "Makefile").read_text("utf-8")
    for pool in job_columns.POOLS:
        assert not any(name.startswith("SEALWAX_") for name in peer.environment(pool, tmp_path)), (
            "a peer runs without ours"
        )


#: Prints what kombu would load of sealwax.
LOADED = """
from importlib.metadata import entry_points
print([point.value for point in entry_points(group="kombu.serializers")])
"""


def test_a_checkout_s_entry_points_hide_those_of_the_installed_one(tmp_path: Path) -> None:
    tree, folder = tmp_path / "tree", tmp_path / "folder"
    tree.mkdir()
    folder.mkdir()
    points = '[project.entry-points."kombu.serializers"]\nsealwax = "older:THING"\n'
    (tree / "pyproject.toml").write_text(f'[project]\nname = "sealwax"\n{points}')
    job_columns.describe(tree, folder)
    seen = subprocess.run(
        [sys.executable, "-c", LOADED],
        env={"PYTHONPATH": str(folder)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert seen.stdout.strip() == "['older:THING']"
