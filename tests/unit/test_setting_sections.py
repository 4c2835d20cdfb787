from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from sealwax.errors import ConfigurationError
from sealwax.setting_sections import Lane, Limits
from sealwax.settings import load_settings


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("request_bytes", 1_024, None),
        ("message_bytes", 1_024, 1_040_384),
        ("result_bytes", 0, 262_144),
        ("task_seconds", 1, 41_400),
        ("max_age_seconds", 60, 864_000),
        ("retention_seconds", 86_400, None),
        ("attempts", 1, 100),
        ("crashes", 1, 20),
        ("requests_per_second", 0, None),
        ("request_burst", 1, None),
        ("token_cache_seconds", 0, 300),
        ("unknown_tokens_per_second", 0, None),
        ("unknown_key_seconds", 0, None),
        ("unknown_task_seconds", 0, None),
    ],
)
def test_limits_at_their_edges(field: str, least: int, most: int | None) -> None:
    for good in (least, most):
        if good is not None:
            assert getattr(Limits(**{field: good}), field) == good
    for bad in (least - 1, most + 1 if most is not None else -1):
        with pytest.raises(ValidationError):
            Limits(**{field: bad})


def test_no_entry_expires_while_its_last_attempt_may_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """DynamoDB deletes what has expired, a running job's entry too."""
    monkeypatch.delenv("SEALWAX_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)  # no sealwax.toml of another place
    most = {
        name: next(bound.le for bound in field.metadata if hasattr(bound, "le"))
        for name, field in (
            ("attempt", Limits.model_fields["task_seconds"]),
            ("lease", Lane.model_fields["lease"]),
        )
    }
    kept = next(
        bound.ge for bound in Limits.model_fields["retention_seconds"].metadata
        if hasattr(bound, "ge")
    )  # fmt: skip
    assert kept > most["attempt"] + 10 + most["lease"]
    with pytest.raises(ConfigurationError, match=r"limits\.retention_seconds"):
        load_settings(limits={"retention_seconds": 60})
