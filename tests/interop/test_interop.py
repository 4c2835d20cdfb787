"""An implementation in another language opens what we seal, and the other way round.

It shares no code with ours, so what both refuse for the same cause is what
`docs/envelope.md` says. Needs node and npm; `npm ci` goes into a temporary folder.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sealwax.envelope import (
    Context,
    EnvelopeError,
    Expected,
    Opened,
    PrivateKey,
    Purpose,
    SigningKey,
    Suite,
    open_envelope,
    seal,
)
from sealwax.keys.keyring import Keyring

HERE = Path(__file__).parent
VECTORS: dict[str, Any] = {
    suite.label: json.loads((HERE.parent / "vectors" / f"{suite.label}.json").read_text())
    for suite in Suite
}
STATEMENTS: dict[str, Any] = json.loads((HERE.parent / "vectors" / "statements.json").read_text())
NAMES = ("purpose", "task", "job", "tenant")
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
    context = vectors["context"]
    return {
        "do": "open",
        "text": case["text"],
        "documents": vectors["documents"],
        "expect": {name: context[name] for name in NAMES} | case.get("expect", {}),
        "now": case.get("now", context["not_after"]),
    }


def _sealing(vectors: dict[str, Any], plaintext: str) -> dict[str, Any]:
    context = vectors["context"]
    return {
        "do": "seal",
        "suite": vectors["suite"],
        "plaintext": plaintext,
        "header": {name: context[name] for name in (*NAMES, "contract")}
        | {"iat": context["issued_at"], "exp": context["not_after"]},
        "public": vectors["recipient"]["public"],
        "signing_seed": vectors["signer"]["seed"],
    }


def _open(vectors: dict[str, Any], text: str) -> Opened:
    documents, context = vectors["documents"], vectors["context"]
    return open_envelope(
        text,
        keyring=Keyring.load("worker", documents["worker/keys"], documents["shared/keyring"]),
        expect=Expected(**{name: context[name] for name in NAMES}),
        now=context["issued_at"],
    )


def test_the_lock_names_no_registry() -> None:
    """Packages come from wherever npm is set up to look; hashes say which they are."""
    lock = json.loads((HERE / "package-lock.json").read_text())
    packages = {name: row for name, row in lock["packages"].items() if name}
    assert all("resolved" not in row for row in packages.values())
    assert all(row["integrity"].startswith("sha512-") for row in packages.values())
    assert not re.search(r"https?://", json.dumps(lock))
    assert "omit-lockfile-registry-resolved=true" in (HERE / ".npmrc").read_text()


@suites
def test_node_opens_our_vectors(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    answers = _node(folder, [_opening(vectors, case) for case in vectors["open"]])
    assert answers == [{"plaintext": case["plaintext"]} for case in vectors["open"]]


@suites
def test_node_refuses_for_the_same_causes(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    answers = _node(folder, [_opening(vectors, case) for case in vectors["refuse"]])
    found = {
        case["name"]: answer.get("error", "opened")
        for case, answer in zip(vectors["refuse"], answers, strict=True)
    }
    assert found == {
        case["name"]: ":".join(filter(None, (case["cause"], case.get("field"))))
        for case in vectors["refuse"]
    }


@suites
def test_node_opens_what_we_seal_now(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    context = Context(**{**vectors["context"], "purpose": Purpose.JOB})
    key = PrivateKey(Suite.by_label(suite), bytes.fromhex(vectors["recipient"]["seed"])).public
    signer = SigningKey(bytes.fromhex(vectors["signer"]["seed"]))
    plaintexts = [bytes(range(n % 256)) * (1 + n // 256) for n in (0, 1, 15, 16, 17, 255, 70_000)]
    requests = [
        _opening(vectors, {"text": seal(plaintext, context, recipient=key, signer=signer)})
        for plaintext in plaintexts
    ]
    assert _node(folder, requests) == [{"plaintext": p.hex()} for p in plaintexts]


@suites
def test_we_open_what_node_seals(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    requests = [_sealing(vectors, case["plaintext"]) for case in vectors["open"]]
    for case, answer in zip(vectors["open"], _node(folder, requests), strict=True):
        opened = _open(vectors, answer["text"])
        assert opened.plaintext.hex() == case["plaintext"]
        assert opened.context == Context(**{**vectors["context"], "purpose": Purpose.JOB})
        assert opened.recipient_id == vectors["recipient"]["id"]
        assert opened.signer_id == vectors["signer"]["id"]


@suites
def test_both_refuse_what_node_sealed_and_somebody_altered(folder: Path, suite: str) -> None:
    vectors = VECTORS[suite]
    (answer,) = _node(folder, [_sealing(vectors, b"payload".hex())])
    altered = []
    for part in (1, 2, 3):
        parts = answer["text"].split(".")
        raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
        # In the header: a digit of the tenant, so that its form stays right.
        place = raw.index(b'"tenant":"0') + 10 if part == 1 else len(raw) // 2
        raw[place] ^= 1
        parts[part] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        altered.append(".".join(parts))
    for text in altered:
        with pytest.raises(EnvelopeError) as caught:
            _open(vectors, text)
        assert caught.value.cause == "signature-invalid"
    requests = [_opening(vectors, {"text": text}) for text in altered]
    assert _node(folder, requests) == [{"error": "signature-invalid"}] * 3


def test_node_believes_and_refuses_the_same_statements(folder: Path) -> None:
    signer = STATEMENTS["signer"]
    cases = [*STATEMENTS["believe"], *STATEMENTS["refuse"]]
    answers = _node(
        folder,
        [
            {"do": "check", "kind": case["kind"], "text": case["text"], "public": signer["public"]}
            for case in cases
        ],
    )
    assert dict(zip((case["name"] for case in cases), answers, strict=True)) == {
        case["name"]: {"error": case["cause"]} if "cause" in case else {"signer": signer["id"]}
        for case in cases
    }
