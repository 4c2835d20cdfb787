"""An implementation in another language opens what we seal, and the other way round.

Needs node and npm; `npm ci` goes into a temporary folder.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    Expected,
    PrivateKey,
    Purpose,
    Suite,
    UnknownKey,
    VerifyKey,
    open_envelope,
)

HERE = Path(__file__).parent
VECTORS = {
    suite.label: json.loads((HERE.parent / "vectors" / f"{suite.label}.json").read_text())
    for suite in Suite
}
suites = pytest.mark.parametrize("suite", VECTORS)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed (Debian: apt-get install nodejs npm)")
    place = tmp_path_factory.mktemp("interop")
    for name in ("package.json", "package-lock.json", ".npmrc", "envelope.mjs"):
        shutil.copy(HERE / name, place / name)
    done = subprocess.run(
        [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
        cwd=place, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return place


def _node(folder: Path, requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    done = subprocess.run(
        ["node", "envelope.mjs"],
        cwd=folder, input=json.dumps(requests), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


def _opening(vectors: dict[str, Any], case: dict[str, Any]) -> dict[str, Any]:
    return {
        "do": "open",
        "suite": vectors["suite"],
        "text": case["text"],
        "seed": vectors["recipient"]["seed"],
        "signer": vectors["signer"]["public"],
    }


@suites
def test_node_opens_our_vectors(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    answers = _node(folder, [_opening(vectors, case) for case in vectors["open"]])
    assert answers == [{"plaintext": case["plaintext"]} for case in vectors["open"]]


@suites
def test_node_refuses_what_needs_neither_clock_nor_expectation(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    cases = [
        case
        for case in vectors["refuse"]
        if case["cause"] in ("signature-invalid", "unknown-signer", "decryption-failed")
    ]
    answers = _node(folder, [_opening(vectors, case) for case in cases])
    assert len(cases) == 6
    assert all("error" in answer for answer in answers)


@suites
def test_we_open_what_node_seals(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    context = vectors["context"]
    header = {name: context[name] for name in ("purpose", "task", "job", "tenant", "contract")}
    header |= {"iat": context["issued_at"], "exp": context["not_after"]}
    requests = [
        {
            "do": "seal",
            "suite": suite,
            "plaintext": case["plaintext"],
            "header": header,
            "public": vectors["recipient"]["public"],
            "signing_seed": vectors["signer"]["seed"],
        }
        for case in vectors["open"]
    ]
    key = PrivateKey(Suite.by_label(suite), bytes.fromhex(vectors["recipient"]["seed"]))
    signer = VerifyKey(bytes.fromhex(vectors["signer"]["public"]))

    class Opener:
        def verifier(self, signer_id: str) -> VerifyKey:
            assert signer_id == signer.id
            return signer

        def check_trust(self, signer_id: str, context: Context) -> None:
            return None

        def private(self, key_id: str) -> PrivateKey:
            if key_id != key.id:
                raise UnknownKey
            return key

    for case, answer in zip(vectors["open"], _node(folder, requests), strict=True):
        opened = open_envelope(
            answer["text"],
            keyring=Opener(),
            expect=Expected(purpose=Purpose.JOB, job=context["job"], tenant=context["tenant"]),
            now=context["issued_at"],
        )
        assert opened.plaintext.hex() == case["plaintext"]
        assert opened.context == Context(**{**context, "purpose": Purpose.JOB})
