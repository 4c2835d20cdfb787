"""The whole stack with a steward, and Debian's Chromium to look at its console with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright
from support.aws import emulator_environment
from support.browser import Look
from support.stack import LiveStack, free_options

from sealwax.local.dev import Stack
from sealwax.local.supervisor import Stop, Supervisor

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveStack]:
    folder = tmp_path_factory.mktemp("stack")
    kept = dict(os.environ)
    stop = Stop()
    supervisor = Supervisor(folder / "logs", stop=stop)
    live = LiveStack(
        Stack(free_options(folder), supervisor, stop=stop, say=lambda _: None), supervisor
    )
    try:
        live.start(
            routes={"demo": {}, "other": {}},
            environment=emulator_environment(),
            steward=True,
            # The page by which payloads are shown; with operators' keys there is none.
            extra='[reveal]\nmode = "console"\n',
        )
        os.environ.clear()
        os.environ.update(kept)
        yield live
    finally:
        supervisor.close()
        os.environ.clear()
        os.environ.update(kept)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if program is None:
        pytest.fail("install the package chromium, which these tests look with")
    with sync_playwright() as playwright:
        # Root in a container has no sandbox of its own; the pages are ours.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def look(stack: LiveStack, browser: Browser, tmp_path_factory) -> Iterator[Look]:
    folder = os.environ.get("SEALWAX_TEST_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots")
    looking = Look(stack.api_url, browser, str(folder))
    yield looking
    looking.close()
