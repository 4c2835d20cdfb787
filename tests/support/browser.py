"""A person with a browser in front of the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page

__all__ = ["Look"]

AXE = Path(__file__).parent.parent / "browser" / "axe" / "axe.min.js"

#: What axe finds of these must be mended.
GRAVE = ("serious", "critical")


class Look:
    """Opens browsers, signs in, and looks at what is wrong with a page."""

    def __init__(self, url: str, browser: Browser, screenshots: str) -> None:
        self._url = url
        self._browser = browser
        self._screenshots = Path(screenshots)
        self._contexts: list[BrowserContext] = []
        self.errors: list[str] = []

    def open(self, *, scheme: str = "light", width: int = 1280, scripts: bool = True) -> Page:
        """Open a window; what its console or the policy complains about goes to `errors`."""
        context = self._browser.new_context(
            color_scheme=scheme,  # type: ignore[arg-type]
            viewport={"width": width, "height": 860},
            java_script_enabled=scripts,
            base_url=self._url,
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def sign_in(self, page: Page, token: str) -> None:
        """Fill in the sign-in page."""
        page.goto("/console/")
        page.get_by_label("API token").fill(token)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/console/overview")

    def shoot(self, page: Page, name: str) -> None:
        """Take a picture of the whole page."""
        self._screenshots.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=self._screenshots / f"{name}.png", full_page=True)

    def faults(self, page: Page) -> list[str]:
        """Return what axe finds grave, and whether the page is wider than its window."""
        # By the debugger, not as an element: the page's policy would rightly refuse that.
        page.evaluate(AXE.read_text())
        found: dict[str, Any] = page.evaluate("axe.run()")
        faults = [
            f"{page.url}: {each['id']} ({each['impact']}): {each['nodes'][0]['html'][:200]}"
            for each in found["violations"]
            if each["impact"] in GRAVE
        ]
        kept = page.viewport_size or {"width": 1280, "height": 860}
        # 320 px is what WCAG asks for (1.4.10), and what 400 % of zoom leaves.
        for width in (kept["width"], 320) if kept["width"] < 500 else ():
            page.set_viewport_size({"width": width, "height": kept["height"]})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
                faults.append(f"{page.url}: wider than a window of {width}")
            nav = "document.querySelector('.places')"
            if page.evaluate(f"{nav} !== null && {nav}.scrollWidth > {nav}.clientWidth + 1"):
                faults.append(f"{page.url}: its navigation is wider than {width}")
        page.set_viewport_size(kept)
        if page.evaluate("document.documentElement.scrollWidth > innerWidth + 1"):
            faults.append(f"{page.url}: wider than its window")
        return faults

    def close(self) -> None:
        """Close all windows."""
        for context in self._contexts:
            context.close()
