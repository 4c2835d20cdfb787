from __future__ import annotations

import tomllib

from sealwax.local import configuration
from sealwax.settings import load_settings


def test_the_written_configuration_is_toml_that_reaches_only_the_sandbox():
    text = configuration.defaults(sandbox_port=8090)
    route = tomllib.loads(text)["tasks"]["webhooks"]["routes"]["demo"]
    assert route["url"] == "http://127.0.0.1:8090/hooks/demo"
    assert route["rule"] == {"cidrs": ["127.0.0.1/32"], "schemes": ["http"], "ports": [8090]}


def test_processes_never_see_the_users_own_aws_account(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "production")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "real")
    monkeypatch.setenv("SEALWAX_ENVIRONMENT", "production")
    monkeypatch.setenv("SEALWAX_LIMITS__CRASHES", "2")
    found = configuration.child_environment("/state/sealwax.toml", {"AWS_ACCESS_KEY_ID": "test"})
    assert found["SEALWAX_LIMITS__CRASHES"] == "2"
    assert found["AWS_ACCESS_KEY_ID"] == "test"
    assert found["AWS_CONFIG_FILE"] == found["AWS_SHARED_CREDENTIALS_FILE"] == "/dev/null"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "SEALWAX_ENVIRONMENT"} & set(found)


def test_the_folders_own_file_goes_between_the_defaults_and_what_this_machine_is(
    tmp_path, monkeypatch
):
    state = tmp_path / ".sealwax"
    state.mkdir()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sealwax.toml").write_text(
        'environment = "prod"\ntask_modules = ["mine"]\n[lanes.default]\npoll = 5\n[lanes.slow]\n'
        '[retry."greetings.greet"]\nattempts = 2\n'
    )
    (state / "defaults.toml").write_text(configuration.defaults(sandbox_port=8090))
    (state / "sealwax.toml").write_text(configuration.fixed(api_port=8080))
    own = configuration.own_file(None, state)
    monkeypatch.setenv(
        "SEALWAX_CONFIG",
        configuration.config_files(state / "defaults.toml", own, state / "sealwax.toml"),
    )
    settings = load_settings()
    assert (settings.environment, settings.task_modules) == ("local", ["mine"])
    assert (settings.lanes["default"].poll, sorted(settings.lanes)) == (5, ["default", "slow"])
    assert settings.retry["greetings.greet"].attempts == 2
    assert "demo" in settings.tasks["webhooks"]["routes"]


def test_what_a_former_dev_wrote_is_not_the_callers_own_file(tmp_path, monkeypatch):
    state = tmp_path / ".sealwax"
    state.mkdir()
    (state / "sealwax.toml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert configuration.own_file(str(state / "sealwax.toml"), state) is None
    (tmp_path / "other.toml").write_text("")
    taken_over = configuration.config_files(
        state / "defaults.toml", tmp_path / "other.toml", state / "sealwax.toml"
    )
    assert configuration.own_file(taken_over, state) == tmp_path / "other.toml"
