"""The image and the compose file, really run."""

from __future__ import annotations

import time

import pytest
import requests
from support.containers import IMAGE, SERVICES, Engine, Up
from support.waiting import wait_for

pytestmark = pytest.mark.containers


def test_the_production_image_starts_a_role_without_root(engine: Engine, report) -> None:
    began = time.monotonic()
    done = engine.run(
        "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop=all", "--network=none",
        IMAGE, "--version",
    )  # fmt: skip
    report["run of `sealwax --version`"] = f"{time.monotonic() - began:6.1f} s"
    assert "sealwax" in done.stdout


def test_the_production_image_has_no_emulator_no_pip_no_tests(engine: Engine) -> None:
    script = """
import importlib.util, pathlib
print(pathlib.Path("/opt/emulator").exists(),
      *[importlib.util.find_spec(name) is not None for name in ("pip", "moto", "pytest", "tests")])
"""
    done = engine.run(
        "run", "--rm", "--network=none", "--entrypoint", "/opt/sealwax/bin/python",
        IMAGE, "-c", script,
    )  # fmt: skip
    assert done.stdout.split() == ["False"] * 5


def test_a_job_from_outside_succeeds(up: Up, report) -> None:
    began = time.monotonic()
    job = up.submit({"hello": "container"})
    document = up.wait(job, "succeeded")
    report["one job over HTTP, to its end"] = f"{time.monotonic() - began:6.1f} s"
    assert document["attempts"] == 1
    (delivery,) = up.deliveries(job)
    assert delivery["body"] == '{"hello":"container"}'
    assert delivery["signature_ok"] is True


@pytest.mark.parametrize("service", SERVICES)
def test_the_program_runs_below_an_init_without_rights(up: Up, service: str) -> None:
    def read(name: str) -> str:
        text: str = up.engine.execute(service, "cat", f"/proc/{name}").stdout
        return text

    program = read("1/task/1/children").split()[0]
    for process in ("1", program):
        text = read(f"{process}/status")
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        assert set(status["Uid"].split()) == {"10001"}
        assert set(status["Gid"].split()) == {"10001"}
        assert int(status["CapEff"], 16) == 0
        assert status["NoNewPrivs"] == "1"
    assert "python" not in read("1/cmdline")
    assert "python" in read(f"{program}/cmdline")


@pytest.mark.parametrize("service", SERVICES)
def test_the_root_is_read_only(up: Up, service: str) -> None:
    script = """
import pathlib
for folder in ("/", "/opt/sealwax", "/etc", "/usr/bin"):
    try:
        (pathlib.Path(folder) / "probe").write_text("x")
    except OSError as error:
        print(error.strerror)
pathlib.Path("/tmp/probe").write_text("x")
mounts = [line.split() for line in open("/proc/mounts")]
print([options.split(",")[0] for _, place, _, options, *_ in mounts if place == "/"][-1])
"""
    done = up.engine.execute(service, "/opt/sealwax/bin/python", "-c", script)
    assert done.stdout.splitlines() == ["Read-only file system"] * 4 + ["ro"]


def test_only_the_api_and_the_sandbox_are_published_and_only_here(up: Up) -> None:
    published = {
        (service, binding["HostIp"])
        for service in SERVICES
        for bindings in (up.engine.inspect(service)["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    assert published == {("api", "127.0.0.1"), ("sandbox", "127.0.0.1")}


def test_a_stopped_worker_finishes_its_job_and_exits_with_0(up: Up, report) -> None:
    requests.put(f"{up.sandbox_url}/control/hooks/demo", json={"hang": 6}, timeout=10)
    try:
        job = up.submit({"slow": True})
        wait_for(lambda: up.deliveries(job), seconds=60, what="the delivery that hangs")
        began = time.monotonic()
        up.engine.compose("stop", "worker", seconds=130)
        report["stop of the worker, 6 s job running"] = f"{time.monotonic() - began:6.1f} s"
    finally:
        requests.delete(f"{up.sandbox_url}/control", timeout=10)
    assert up.engine.state("worker")["ExitCode"] == 0
    assert (up.job(job)["state"], up.job(job)["attempts"]) == ("succeeded", 1)
    assert len(up.deliveries(job)) == 1


def test_what_was_queued_meanwhile_runs_after_a_restart_of_the_whole(up: Up, report) -> None:
    # The worker stands still since the test before; here, in case this one runs alone.
    up.engine.compose("stop", "worker", seconds=130)
    job = up.submit({"kept": True})
    began = time.monotonic()
    up.engine.compose("stop", seconds=130)
    report["stop of the rest"] = f"{time.monotonic() - began:6.1f} s"
    codes = {service: up.engine.state(service)["ExitCode"] for service in SERVICES}
    assert codes == dict.fromkeys(SERVICES, 0)
    began = time.monotonic()
    up.engine.compose("up", "--detach", "--no-build")
    wait_for(lambda: up.engine.healthy("api"), seconds=90, what="health of the api")
    up.wait(job, "succeeded", seconds=90)
    report["up again until the kept job succeeded"] = f"{time.monotonic() - began:6.1f} s"
