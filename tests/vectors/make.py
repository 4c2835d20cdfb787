"""Writes the vectors beside this file; run only when the format changes.

The keys come from fixed seeds. HPKE takes fresh randomness for each sealing, so
the texts differ from run to run: vectors are opened, never compared.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import string
import sys
from pathlib import Path
from typing import Any

from sealwax.envelope import Context, PrivateKey, Purpose, SigningKey, Suite, seal, sign_statement
from sealwax.envelope.format import join
from sealwax.envelope.verify import signed_bytes

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


def _raw(text: str, part: int) -> bytes:
    found = text.split(".")[part]
    return base64.urlsafe_b64decode(found + "=" * (-len(found) % 4))


def _trailing_bit(text: str) -> str:
    """Set an unused bit of the last character: 64 bytes leave four over."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) | 1]


def _signer_row(key: SigningKey, **changes: Any) -> dict[str, Any]:
    row = {
        "id": key.id, "role": "api", "public": key.public.raw.hex(), "state": "open", "created": 1,
        "purposes": ["job"], "tasks": ["*"], "tenants": ["*"],
    }  # fmt: skip
    return row | changes


def _keys(suite: Suite) -> dict[str, Any]:
    names = ("signer", "stranger", "results only", "exports only", "one tenant", "retired signer",
             "worker")  # fmt: skip
    keys: dict[str, Any] = {name: SigningKey(_seed(name)) for name in names}
    for name in ("recipient", "elsewhere", "retired"):
        keys[name] = PrivateKey(suite, _seed(f"{name} {suite.label}"))
    return keys


def _documents(suite: Suite, keys: dict[str, Any]) -> dict[str, str]:
    """Return the two key documents with which a worker opens the vectors."""
    row = {"state": "active", "created": 1}
    private = {
        "role": "worker",
        "hpke": [{"suite": suite.label, "seed": _seed(f"recipient {suite.label}").hex(), **row}],
        "signing": [{"seed": _seed("worker").hex(), **row}],
    }
    recipient = keys["recipient"].public
    shared = {
        "recipients": [
            {"id": recipient.id, "role": "worker", "suite": suite.label,
             "public": recipient.raw.hex(), **row}
        ],
        "signers": [
            _signer_row(keys["signer"], state="active"),
            _signer_row(keys["results only"], purposes=["result"]),
            _signer_row(keys["exports only"], tasks=["exports.*"]),
            _signer_row(keys["one tenant"], tenants=["f" * 32]),
            _signer_row(keys["worker"], role="worker", state="active"),
        ],
        "retired": [keys["retired"].id, keys["retired signer"].id],
    }  # fmt: skip
    return {"worker/keys": json.dumps(private), "shared/keyring": json.dumps(shared)}


def _negative(keys: dict[str, Any], context: Context) -> list[dict[str, Any]]:
    signer = keys["signer"]

    def sealed_by(name: str = "signer", to: str = "recipient", **changes: Any) -> str:
        changed = dataclasses.replace(context, **changes)
        return seal(b"x", changed, recipient=keys[to].public, signer=keys[name])

    def signed(head: bytes, body: bytes) -> str:
        return join(head, body, signer.sign(signed_bytes(head, body)))

    def case(name: str, cause: str, changed: str, **rest: Any) -> dict[str, Any]:
        return {"name": name, "cause": cause, "text": changed, **rest}

    text = sealed_by()
    header, sealed = _raw(text, 1), _raw(text, 2)
    moved = header.replace(context.job.encode(), b"f" * 32)
    other = {"purpose": "result", "task": "exports.build", "job": "f" * 32, "tenant": "f" * 32}

    def malformed(name: str, changed: bytes) -> dict[str, Any]:
        return case(name, "envelope-malformed", signed(changed, sealed))

    return [
        case("empty", "envelope-malformed", ""),
        case("three parts", "envelope-malformed", text.rsplit(".", 1)[0]),
        case("five parts", "envelope-malformed", text + ".AA"),
        case("padded", "envelope-malformed", text + "="),
        case("line break after", "envelope-malformed", text + "\n"),
        case("unused bit set", "envelope-malformed", _trailing_bit(text)),
        case("no ciphertext", "envelope-malformed", signed(header, b"")),
        case("short signature", "envelope-malformed", join(header, sealed, _raw(text, 3)[:63])),
        malformed("header is no object", b"[]"),
        malformed("space in the header", header.replace(b",", b", ", 1)),
        malformed("member twice", header[:-1] + b',"v":1}'),
        malformed("member too many", header[:-1] + b',"x":1}'),
        malformed("member missing", header.replace(b',"v":1', b"")),
        malformed("members in another order", b'{"v":1,' + header[1:].replace(b',"v":1', b"")),
        malformed("fraction", header.replace(b'"contract":3', b'"contract":3.0')),
        malformed("text for a number", header.replace(b'"contract":3', b'"contract":"3"')),
        malformed("contract version zero", header.replace(b'"contract":3', b'"contract":0')),
        malformed("escape", header.replace(b"webhooks", b"\\u0077ebhooks")),
        malformed("capitals in the job id", header.replace(b"aabbcc", b"AABBCC")),
        malformed("unknown purpose", header.replace(b'"purpose":"job"', b'"purpose":"any"')),
        malformed("header over 4,096 bytes", header.replace(b"webhooks", b"w" * 4_096)),
        case("later version", "version-unsupported", text.replace("swx1", "swx2", 1)),
        case("later header", "version-unsupported",
             signed(header.replace(b'"v":1', b'"v":2'), sealed)),
        case("unknown suite", "version-unsupported",
             signed(header.replace(b'"aead":2', b'"aead":3'), sealed)),
        case("unknown signer", "unknown-signer", sealed_by("stranger")),
        case("retired signer", "key-retired", sealed_by("retired signer")),
        case("bit of the ciphertext", "signature-invalid", _flip(text, 2)),
        case("bit of the signature", "signature-invalid", _flip(text, 3)),
        case("header changed after signing", "signature-invalid",
             join(moved, sealed, signer.sign(signed_bytes(header, sealed)))),
        case("signed without its lengths", "signature-invalid",
             join(header, sealed, signer.sign(header + sealed))),
        case("signed by another", "signature-invalid",
             join(header, sealed, keys["stranger"].sign(signed_bytes(header, sealed)))),
        case("signer of results", "signer-not-trusted", sealed_by("results only")),
        case("signer of exports", "signer-not-trusted", sealed_by("exports only")),
        case("signer of another tenant", "signer-not-trusted", sealed_by("one tenant")),
        *(
            case(f"another {name}", "context-mismatch", text, expect={name: value}, field=name)
            for name, value in other.items()
        ),
        case("a second too late", "envelope-expired", text, now=context.not_after + 1),
        case("another recipient", "unknown-key", sealed_by(to="elsewhere")),
        case("retired recipient", "key-retired", sealed_by(to="retired")),
        case("header changed, signed anew", "decryption-failed", signed(moved, sealed),
             expect={"job": "f" * 32}),
        case("ciphertext cut, signed anew", "decryption-failed", signed(header, sealed[:40])),
        case("one byte, signed anew", "decryption-failed", signed(header, b"x")),
        case("zeros, signed anew", "decryption-failed", signed(header, bytes(len(sealed)))),
    ]  # fmt: skip


LETTER = {
    "queue": "sealwax-prod-default", "job": CONTEXT["job"], "generation": 0, "own": True,
    "body": hashlib.sha256(b"body").hexdigest(), "reason": "failed", "cause": None,
    "attempts": 8, "at": 1_750_000_000, "dropped": ["traceparent", "tracestate"],
}  # fmt: skip


def _statements() -> dict[str, Any]:
    """Return signed statements that are believed, and ones that are refused with a cause."""
    signer, stranger = SigningKey(_seed("signer")), SigningKey(_seed("stranger"))
    reveal = {"letter": f"{CONTEXT['job']}.0", "why": "ticket 7", "at": 1_750_000_000}
    escapes = {"error": 'Z\u00fcrich "\\/\b\f\n\r\t\x00\x1f\x7f\u2028\U0001f600'}
    edges = {"least": -(2**53 - 1), "most": 2**53 - 1, "none": [], "off": False, "empty": ""}
    made = sign_statement("letter", LETTER, signer)

    def case(name: str, kind: str, said: dict[str, Any], cause: str = "") -> dict[str, Any]:
        row = {"name": name, "kind": kind, "text": json.dumps(said)}
        return {**row, "cause": cause} if cause else row

    def wrong(name: str, **changes: Any) -> dict[str, Any]:
        return case(name, "letter", {**made, **changes}, "signature-invalid")

    def malformed(name: str, **changes: Any) -> dict[str, Any]:
        return case(name, "letter", {**made, **changes}, "envelope-malformed")

    return {
        "origin": "tests/vectors/make.py, signed by Sealwax with pyca/cryptography",
        "signer": {
            "id": signer.id, "seed": _seed("signer").hex(), "public": signer.public.raw.hex(),
        },
        "believe": [
            case("letter", "letter", made),
            case("members in another order", "letter", dict(reversed(made.items()))),
            case("reveal", "reveal", sign_statement("reveal", reveal, signer)),
            case("operator", "operator", sign_statement("operator", {"name": "ada"}, signer)),
            case("escapes", "letter", sign_statement("letter", escapes, signer)),
            case("edges", "letter", sign_statement("letter", edges, signer)),
            case("nothing said", "reveal", sign_statement("reveal", {}, signer)),
        ],
        "refuse": [
            case("another kind", "reveal", made, "signature-invalid"),
            case("unknown signer", "letter", sign_statement("letter", LETTER, stranger),
                 "unknown-signer"),
            case("member taken away", "letter",
                 {name: value for name, value in made.items() if name != "own"},
                 "signature-invalid"),
            wrong("member added", extra=1),
            wrong("number changed", generation=1),
            wrong("text for a number", generation="0"),
            wrong("number for a boolean", own=1),
            wrong("list changed", dropped=["traceparent"]),
            wrong("bit of the signature", sig=f"{int(made['sig'][0], 16) ^ 1:x}{made['sig'][1:]}"),
            malformed("signature in capitals", sig=made["sig"].upper()),
            malformed("short signature", sig=made["sig"][:-2]),
            malformed("no signer", sid=None),
            malformed("fraction", at=1.5),
            malformed("number too large", at=2**53),
            malformed("object", cause={}),
            malformed("list of numbers", dropped=[1]),
            malformed("capital in a name", Extra=1),
            malformed("text too long", error="x" * 4_097),
            malformed("too many members", **{f"m{n}": n for n in range(32)}),
        ],
    }  # fmt: skip


def _write(name: str, document: dict[str, Any]) -> None:
    path = Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(names: list[str]) -> None:
    """Write the named files: one for each suite, and `statements`; all where none is named."""
    if not names or "statements" in names:
        _write("statements", _statements())
    for suite in Suite:
        if names and suite.label not in names:
            continue
        keys = _keys(suite)
        private, signer = keys["recipient"], keys["signer"]
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
            "documents": _documents(suite, keys),
            "context": CONTEXT,
            "open": [
                {
                    "name": name,
                    "plaintext": plaintext.hex(),
                    "text": seal(plaintext, context, recipient=private.public, signer=signer),
                }
                for name, plaintext in PLAINTEXTS.items()
            ],
            "refuse": _negative(keys, context),
        }
        _write(suite.label, document)


if __name__ == "__main__":
    main(sys.argv[1:])
