"""Problem documents as the HTTP edge answers them."""

from __future__ import annotations

from typing import Any

__all__ = ["CANARY", "problem"]

#: Part of what is sent, and of no answer.
CANARY = "canary-7f3a"


def problem(answer: Any, status: int, name: str) -> dict[str, Any]:
    """Check that an answer is this problem and echoes nothing; return its document."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    document: dict[str, Any] = answer.get_json()
    assert document["type"] == f"urn:sealwax:problem:{name}"
    assert document["status"] == status
    assert "Traceback" not in answer.text
    assert CANARY not in answer.text
    assert CANARY not in str(answer.headers)
    return document
