from __future__ import annotations

import tomllib
from pathlib import Path

from sealwax.local import configuration
from sealwax.local.state import exports, write_private


def test_the_written_configuration_is_toml_that_reaches_only_the_sandbox():
    text = configuration.configuration(api_port=8080, sandbox_port=8090)
    route = tomllib.loads(text)["tasks"]["webhooks"]["routes"]["demo"]
    assert route["url"] == "http://127.0.0.1:8090/hooks/demo"
    assert route["rule"] == {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [8090]}


def test_processes_never_see_the_users_own_aws_account(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("SEALWAX_ENVIRONMENT", "production")
    found = configuration.child_environment(
        Path("/state/sealwax.toml"), {"AWS_ACCESS_KEY_ID": "test"}
    )
    assert found["AWS_ACCESS_KEY_ID"] == "test"
    assert found["AWS_CONFIG_FILE"] == found["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "SEALWAX_ENVIRONMENT"} & set(found)


def test_exports_are_one_quoted_line_each():
    assert exports({"A": "x y", "B": "it's"}) == "export A='x y'\nexport B='it'\"'\"'s'\n"


def test_private_files_are_readable_by_their_owner_only(tmp_path):
    write_private(tmp_path / "env", "secret")
    write_private(tmp_path / "env", "newer")
    assert (tmp_path / "env").read_text() == "newer"
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
