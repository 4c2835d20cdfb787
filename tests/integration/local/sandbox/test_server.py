"""The sandbox itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading

import pytest
import requests

from sealwax.local.sandbox import Control, Controls, InvalidControl, Sandbox


@pytest.fixture
def sandbox(tmp_path):
    with Sandbox(tmp_path) as running:
        yield running


def status(controls: Controls, path: str) -> int | None:
    found = controls.take(path)
    return found.status if found else None


def test_concurrent_deliveries_are_all_kept(sandbox, tmp_path):
    def send(number):
        for part in range(20):
            requests.post(
                f"{sandbox.url}/hooks/x",
                data=json.dumps({"n": [number, part]}),
                headers={"Idempotency-Key": f"{number}"},
                timeout=10,
            )

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = (tmp_path / "deliveries.jsonl").read_text().splitlines()
    assert len({json.loads(line)["body"] for line in lines}) == 160
    assert [json.loads(line)["n"] for line in lines] == list(range(1, 161))
    assert requests.get(f"{sandbox.url}/deliveries/count", timeout=5).json() == {
        "received": 160,
        "succeeded": 160,
        "keys": 8,
        "keys_succeeded": 8,
    }
    assert sandbox.deliveries.keys() == {str(number): 20 for number in range(8)}


def test_deliveries_survive_a_restart_and_a_torn_last_line(tmp_path):
    with Sandbox(tmp_path) as first:
        requests.post(f"{first.url}/hooks/x", data=b"\xff", timeout=5)
    with (tmp_path / "deliveries.jsonl").open("ab") as file:
        file.write(b'{"n": 2, "pa')
    with Sandbox(tmp_path) as second:
        requests.post(f"{second.url}/hooks/y", data=b"b", timeout=5)
        found = list(second.deliveries.read())
        assert [one["n"] for one in found] == [1, 2]
        assert found[0]["body"] == "\udcff"
        assert [one["path"] for one in second.deliveries.read(after=1)] == ["/hooks/y"]
        assert [one["n"] for one in second.deliveries.read(path="/hooks/x")] == [1]
        requests.delete(f"{second.url}/deliveries", timeout=5)
        assert second.deliveries.count()["received"] == 0


def test_controls_choose_by_the_longest_prefix_and_count_down():
    controls = Controls()
    controls.put("hooks", Control.parse({"fail": {"status": 500}}))
    controls.put("a", Control.parse({"fail": {"status": 400, "times": 1}}))
    assert status(controls, "/hooks/a") == 400
    assert status(controls, "/hooks/a") == 500
    assert status(controls, "/hooks/ab") == 500
    assert controls.take("/internal/customers/1") is None
    controls.remove("hooks")
    assert controls.take("/hooks/a") is None


@pytest.mark.parametrize(
    "wrong",
    [None, [], {}, {"fail": {}}, {"fail": 3}, {"nothing": 1}, {"reset": False}, {"hang": "x"},
     {"hang": 1, "reset": True}, {"slow": {}}, {"times": 1}],
)  # fmt: skip
def test_what_is_no_control_is_refused(wrong):
    with pytest.raises(InvalidControl):
        Control.parse(wrong)


def test_customers_are_the_same_each_time_and_can_be_made_to_fail(sandbox):
    url = f"{sandbox.url}/internal/customers"
    first = requests.get(f"{url}/7", timeout=5).json()
    assert requests.get(f"{url}/7", timeout=5).json() == first
    assert requests.get(f"{url}/0", timeout=5).status_code == 404
    assert requests.get(f"{url}/x", timeout=5).status_code == 404
    requests.put(
        f"{sandbox.url}/control/internal/customers/7", json={"fail": {"status": 500}}, timeout=5
    )
    assert requests.get(f"{url}/7", timeout=5).status_code == 500
    assert requests.get(f"{url}/8", timeout=5).status_code == 200
    requests.delete(f"{sandbox.url}/control", timeout=5)
    assert requests.get(f"{url}/7", timeout=5).status_code == 200


def test_contacts_are_kept_by_id(sandbox):
    url = f"{sandbox.url}/crm/contacts/7"
    assert requests.get(url, timeout=5).status_code == 404
    assert requests.put(url, json={"name": "Zoë"}, timeout=5).status_code == 200
    assert requests.get(url, timeout=5).json() == {"name": "Zoë"}
    assert requests.put(url, data=b"{", timeout=5).status_code == 400


def test_the_program_says_its_port_and_ends_on_sigterm(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-m", "sealwax.local.sandbox", "--state-dir", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert requests.get(f"{ready['url']}/healthz", timeout=5).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
