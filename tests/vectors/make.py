"""Writes the envelope vectors beside this file; run only when the format changes.

The keys come from fixed seeds. HPKE takes fresh randomness for each sealing, so
the texts differ from run to run: vectors are opened, never compared.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

from sealwax.envelope import Context, PrivateKey, Purpose, SigningKey, Suite, seal
from sealwax.envelope.form import join
from sealwax.envelope.seal import _signed

CONTEXT = {
    "purpose": "job",
    "task": "webhooks.relay",
    "job": "00112233445566778899aabbccddeeff",
    "tenant": "0123456789abcdef0123456789abcdef",
    "contract": 3,
    "issued_at": 1_750_000_000,
    "not_after": 1_750_345_600,
}
PLAINTEXTS = {
    "empty": b"",
    "json": b'{"body":{"n":1.5,"u":"\\u00fc"},"event":"order.paid","route":"crm"}',
    "binary": bytes(range(256)) * 16,
}


def _seed(name: str) -> bytes:
    return hashlib.sha256(f"sealwax vector {name}".encode()).digest()


def _flip(text: str, part: int) -> str:
    parts = text.split(".")
    raw = bytearray(base64.urlsafe_b64decode(parts[part] + "=" * (-len(parts[part]) % 4)))
    raw[len(raw) // 2] ^= 1
    parts[part] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return ".".join(parts)


def _negative(private: PrivateKey, signer: SigningKey, context: Context) -> list[dict[str, Any]]:
    text = seal(b"x", context, recipient=private.public, signer=signer)
    header, sealed = (
        base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in text.split(".")[1:3]
    )
    spaced = header.replace(b",", b", ", 1)
    moved = header.replace(context.job.encode(), b"f" * 32)
    twice = header[:-1] + b',"v":1}'
    stranger = SigningKey(_seed("stranger"))
    elsewhere = PrivateKey(private.suite, _seed("elsewhere"))

    def signed(head: bytes, body: bytes) -> str:
        return join(head, body, signer.sign(_signed(head, body)))

    def case(name: str, cause: str, changed: str, **rest: Any) -> dict[str, Any]:
        return {"name": name, "cause": cause, "text": changed, **rest}

    return [
        case("three parts", "envelope-malformed", text.rsplit(".", 1)[0]),
        case("padded", "envelope-malformed", text + "="),
        case("space in the header", "envelope-malformed", signed(spaced, sealed)),
        case("member twice", "envelope-malformed", signed(twice, sealed)),
        case("later version", "version-unsupported", text.replace("swx1", "swx2", 1)),
        case(
            "unknown signer",
            "unknown-signer",
            seal(b"x", context, recipient=private.public, signer=stranger),
        ),
        case("bit of the ciphertext", "signature-invalid", _flip(text, 2)),
        case("bit of the signature", "signature-invalid", _flip(text, 3)),
        case(
            "header changed after signing",
            "signature-invalid",
            join(moved, sealed, signer.sign(_signed(header, sealed))),
        ),
        case("another job", "context-mismatch", text, expect={"job": "f" * 32}),
        case("another tenant", "context-mismatch", text, expect={"tenant": "f" * 32}),
        case("a second too late", "envelope-expired", text, now=context.not_after + 1),
        case(
            "another recipient",
            "unknown-key",
            seal(b"x", context, recipient=elsewhere.public, signer=signer),
        ),
        case("header changed, signed anew", "decryption-failed", signed(moved, sealed),
             expect={"job": "f" * 32}),
        case("ciphertext cut, signed anew", "decryption-failed", signed(header, sealed[:40])),
    ]  # fmt: skip


def main() -> None:
    """Write one file for each suite."""
    for suite in Suite:
        private = PrivateKey(suite, _seed(f"recipient {suite.label}"))
        signer = SigningKey(_seed("signer"))
        context = Context(**{**CONTEXT, "purpose": Purpose.JOB})  # type: ignore[arg-type]
        document = {
            "origin": "tests/vectors/make.py, sealed by Sealwax with pyca/cryptography",
            "suite": suite.label,
            "recipient": {
                "id": private.id,
                "seed": _seed(f"recipient {suite.label}").hex(),
                "public": private.public.raw.hex(),
            },
            "signer": {
                "id": signer.id,
                "seed": _seed("signer").hex(),
                "public": signer.public.raw.hex(),
            },
            "context": CONTEXT,
            "open": [
                {
                    "name": name,
                    "plaintext": plaintext.hex(),
                    "text": seal(plaintext, context, recipient=private.public, signer=signer),
                }
                for name, plaintext in PLAINTEXTS.items()
            ],
            "refuse": _negative(private, signer, context),
        }
        path = Path(__file__).parent / f"{suite.label}.json"
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
