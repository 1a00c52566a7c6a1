"""A headless browser from this machine, and pages that are watched: errors, violations of the policy, other hosts."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
# It shall ask nobody but the server that is tested.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
LAPTOP = {"width": 1440, "height": 900}
TABLET = {"width": 820, "height": 1180}
# Violations of the policy are events of the document.
LISTEN = "addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective));"


@contextmanager
def open_browser() -> Iterator[Browser]:
    """The first browser of `NAMES`; without one the test is skipped, but fails where CI says that there must be one."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        missing = f"no browser, expected one of {', '.join(NAMES)} on the PATH"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Watched:
    """A page, and what went wrong on it.

    Attributes:
        refusals: statuses that the test provokes; the browser tells of each of them in its console.
    """

    page: Page
    address: str
    refusals: tuple[int, ...] = ()
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(LISTEN)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)

    def _heard(self, message: ConsoleMessage) -> None:
        expected = any(f"status of {status}" in message.text for status in self.refusals)
        if message.type in ("error", "warning") and not expected:
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        asked = urlsplit(request.url)
        if asked.scheme not in ("data", "blob") and asked.netloc != urlsplit(self.address).netloc:
            self.wrong.append(f"another host: {request.url}")

    def open(self, fragment: str = "") -> Page:
        """Load the page and wait until it listens."""
        self.page.goto(f"{self.address}/{fragment}")
        self.page.wait_for_selector("html[data-ready]")
        return self.page


@contextmanager
def watched_page(browser: Browser, address: str, **options: Any) -> Iterator[Watched]:
    """A page in a profile of its own; whatever went wrong on it fails the test at its end."""
    context = browser.new_context(**({"viewport": LAPTOP} | options))
    context.set_default_timeout(10_000)
    try:
        watched = Watched(context.new_page(), address)
        yield watched
        assert not watched.wrong, watched.wrong
    finally:
        context.close()
