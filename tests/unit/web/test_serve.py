"""Which application `sealwax api` serves."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sealwax import web
from sealwax.cli import cli
from sealwax.errors import ConfigurationError
from sealwax.settings import load_settings
from sealwax.web import serve as serving
from sealwax.web.serve import load_factory


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "its_app.py").write_text("def create_app(settings): ...\nVERSION = 1\n")
    (tmp_path / "its_broken_app.py").write_text("import not_installed_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def test_the_products_own_where_none_is_named():
    assert load_factory(load_settings()) is web.create_app


def test_the_one_that_is_named():
    assert load_factory(load_settings(app="its_app:create_app")).__module__ == "its_app"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("its_absent_app:create_app", "there is no module its_absent_app"),
        ("its_app:make_app", "its_app has no function 'make_app'"),
        ("its_app:VERSION", "its_app has no function 'VERSION'"),
    ],
)
def test_one_that_is_not_there_is_told_with_what_to_do(name: str, says: str):
    with pytest.raises(ConfigurationError, match=says):
        load_factory(load_settings(app=name))


def test_an_import_that_fails_inside_it_is_not_taken_for_its_absence():
    with pytest.raises(ModuleNotFoundError, match="not_installed_anywhere"):
        load_factory(load_settings(app="its_broken_app:create_app"))


def test_the_option_goes_before_the_setting(tmp_path: Path):
    (tmp_path / "sealwax.toml").write_text('app = "its_app:create_app"\n')
    done = CliRunner().invoke(cli, ["api", "--app", "its_absent_app:create_app"])
    assert done.exit_code == 1
    assert "its_absent_app" in done.output


@pytest.mark.parametrize(
    ("setting", "option", "bound"),
    [(8_081, None, [8_080, 8_081]), (9_001, None, [8_080, 9_001]), (0, None, [8_080]),
     (9_001, 9_002, [8_080, 9_002]), (9_001, 0, [8_080])],
)  # fmt: skip
def test_the_health_port_is_the_settings(monkeypatch, setting: int, option, bound: list[int]):
    found: list[dict[str, object]] = []

    class Server:
        def __init__(self, _: object, options: dict[str, object]) -> None:
            found.append(options)

        def run(self) -> None: ...

    monkeypatch.setattr(serving, "_Server", Server)
    monkeypatch.setattr(serving, "endure_output", lambda: None)
    monkeypatch.setattr(serving, "configure_logging", lambda *_: None)
    settings = load_settings(web={"health_port": setting})
    serving.serve(settings, host="h", port=8_080, workers=1, threads=1, health_port=option)
    assert found[0]["bind"] == [f"h:{port}" for port in bound]
