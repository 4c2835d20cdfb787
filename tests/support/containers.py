"""podman and podman-compose without a daemon, with storage and networks of their own.

Everything that a run makes lies in one folder and goes with it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from support.waiting import wait_for

ROOT = Path(__file__).parent.parent.parent
HERE = ROOT / "tests" / "containers"
COMPOSE = ROOT / ".venv-containers" / "bin" / "podman-compose"
CERTIFICATES = Path("/etc/ssl/certs")

BASE = "localhost/sealwax-base"
IMAGE = "localhost/sealwax"
LOCAL = "localhost/sealwax-local"
SERVICES = ("local-aws", "api", "worker", "steward", "sandbox")

_CONTAINERS = """\
[containers]
# A process that may not raise its own limits cannot give containers more.
default_ulimits = ["nofile=20000:20000", "nproc=1024:1024"]
# aardvark-dns loses questions while it takes up a new container.
dns_options = ["timeout:1", "attempts:1"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
network_config_dir = "{folder}/networks"
"""

_STORAGE = """\
[storage]
driver = "vfs"
graphroot = "{folder}/store"
runroot = "{folder}/run"
"""


class Engine:
    """Runs podman in `folder`; `project` is the name that compose gives its things."""

    def __init__(self, folder: Path, project: str) -> None:
        self.folder = folder
        self.project = project
        (folder / "networks").mkdir(parents=True)
        for name, text in (("containers.conf", _CONTAINERS), ("storage.conf", _STORAGE)):
            (folder / name).write_text(text.format(folder=folder))
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "SEALWAX_"))},
            "CONTAINERS_CONF": str(folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(folder / "storage.conf"),
            # Without systemd nobody could run the health checks by timer.
            "DISABLE_HC_SYSTEMD": "true",
        }

    # -- commands

    def run(
        self, *arguments: str, check: bool = True, seconds: float = 120, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        return self._run(["podman", *arguments], check=check, seconds=seconds, **more)

    def compose(
        self, *arguments: str, seconds: float = 300, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        command = [str(COMPOSE), "--in-pod", "false", "-p", self.project]
        command += ["-f", str(ROOT / "docker-compose.yml"), *arguments]
        self.environment |= variables
        return self._run(command, check=True, seconds=seconds)

    def _run(
        self, command: list[str], *, check: bool, seconds: float, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            **more,
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} -> {done.returncode}\n{done.stdout[-4000:]}"
                f"\n{done.stderr[-4000:]}"
            )
        return done

    # -- images

    def import_base(self, name: str) -> None:
        """Make the base image from a Debian root, made now or by an earlier run."""
        made = subprocess.run(
            [str(HERE / "base.sh")], capture_output=True, text=True, check=False, timeout=400
        )
        assert made.returncode == 0, made.stderr
        self.run("import", made.stdout.strip(), name)

    def build(self, *, base: str, target: str, name: str) -> None:
        """Build one target of the Dockerfile, as someone behind a private index would."""
        secret = self.folder / "pip.conf"
        secret.write_text(_pip_configuration())
        arguments = ["--network=host", "--secret", f"id=pip,src={secret}"]
        if CERTIFICATES.is_dir():
            arguments += ["-v", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
        # vfs copies the whole file system for each layer, so only the stages' ends are kept.
        arguments += ["--layers=false", "--build-arg", f"BASE={base}", "--target", target]
        self.run("build", *arguments, "-t", name, str(ROOT), seconds=600)

    def megabytes(self, image: str) -> float:
        (found,) = json.loads(self.run("image", "inspect", image).stdout)
        return found["Size"] / 1e6

    # -- containers

    def container(self, service: str) -> str:
        return f"{self.project}_{service}_1"

    def inspect(self, service: str) -> dict[str, Any]:
        (found,) = json.loads(self.run("inspect", self.container(service)).stdout)
        return found

    def state(self, service: str) -> dict[str, Any]:
        return self.inspect(service)["State"]

    def execute(
        self, service: str, *command: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.run("exec", self.container(service), *command, check=check)

    def log(self, service: str) -> str:
        done = self.run("logs", self.container(service), check=False)
        return done.stdout + done.stderr

    def healthy(self, service: str) -> bool:
        done = self.run("healthcheck", "run", self.container(service), check=False)
        return done.returncode == 0

    def close(self) -> None:
        """Remove containers, networks, volumes, images, and the folder."""
        try:
            self.compose("down", "--volumes", "--timeout", "10")
        except (AssertionError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
        self.run("rm", "--all", "--force", "--time", "2", check=False)
        self.run("network", "prune", "--force", check=False)
        self.run("rmi", "--all", "--force", check=False, seconds=300)
        shutil.rmtree(self.folder, ignore_errors=True)


@dataclass(frozen=True)
class Up:
    """The stack as somebody on the host sees it."""

    engine: Engine
    api_url: str
    sandbox_url: str
    token: str

    def request(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.token}"}
        return requests.request(method, self.api_url + path, headers=headers, timeout=20, **more)

    def submit(self, body: Any) -> str:
        payload = {"route": "demo", "event": "test", "body": body}
        answer = self.request(
            "POST", "/v1/jobs", json={"task": "webhooks.relay", "payload": payload}
        )
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def job(self, job_id: str) -> dict[str, Any]:
        answer = self.request("GET", f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job_id: str, state: str, *, seconds: float = 60) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            document = self.job(job_id)
            return document if document["state"] == state else None

        return wait_for(reached, seconds=seconds, what=f"job {job_id} {state}")

    def deliveries(self, job_id: str) -> list[dict[str, Any]]:
        answer = requests.get(f"{self.sandbox_url}/deliveries?limit=1000", timeout=10)
        return [d for d in answer.json()["deliveries"] if d["idempotency_key"] == job_id]


def _pip_configuration() -> str:
    """Return this machine's index and certificate, where pip is told of any."""
    lines = ["[global]"]
    for name in ("index-url", "cert"):
        variable = os.environ.get(f"PIP_{name.replace('-', '_').upper()}")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", f"global.{name}"],
            capture_output=True,
            text=True,
            check=False,
        )
        value = variable or done.stdout.strip()
        if value:
            lines.append(f"{name} = {value}")
    return "\n".join([*lines, ""])
