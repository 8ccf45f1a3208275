"""The playground in a real browser, and what it shows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data;
  };
  const light = (color) => [...rgb(color)].slice(0, 3).map((part) => part / 255)
    .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgb(color)[3] === 255) return color;
    }
    return "white";
  };
  return [...document.querySelectorAll("body *")]
    .filter((each) => [...each.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((each) => each.checkVisibility() && !["NOSCRIPT", "OPTION"].includes(each.tagName))
    .map((each) => {
      const [one, other] = [light(getComputedStyle(each).color), light(behind(each))].sort((a, b) => b - a);
      const name = `${each.tagName}.${each.className}: ${each.textContent.slice(0, 40)}`;
      return [(one + 0.05) / (other + 0.05), name];
    });
}"""
"""The contrast of every text that is seen, by WCAG's formula, and where it stands."""

NAMED = "input, select, textarea, button, a, nav, form, [role=img], [role=region]"
UNNAMED = """(named) => [...document.querySelectorAll(named)]
  .filter((each) => each.checkVisibility())
  .filter((each) => {
    const ids = (each.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id));
    const labels = [...(each.labels ?? []), ...ids].filter(Boolean).map((label) => label.textContent);
    const own = ["A", "BUTTON"].includes(each.tagName) ? each.textContent : "";
    return ![each.getAttribute("aria-label") ?? "", own, ...labels].some((name) => name.trim());
  })
  .map((each) => each.outerHTML.slice(0, 120))"""
"""What a reader could not tell the use of."""


@dataclass
class Look:
    """A page of the playground.

    Attributes:
        page: the browser's.
        address: of the server.
        said: errors on the console, and exceptions.
        asked: addresses of all requests.
    """

    page: Any
    address: str
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def open(self, **parts: str) -> None:
        """A view: ``task``, ``model``, ``lang``."""
        self.page.goto("about:blank")  # a new hash alone would not load the page anew
        self.page.goto(f"{self.address}/#{urlencode(parts)}")
        self.page.wait_for_selector("#task-title:not(:empty)")

    def go(self, title: str) -> None:
        """To the task that the list calls so, when it is shown."""
        self.page.click(f"nav a:text-is('{title}')")
        self.page.locator(f"#task-title:text-is('{title}')").wait_for()

    def type(self, **values: Any) -> None:
        """Into fields, by their names."""
        for name, value in values.items():
            place = self.page.locator(f"#field-{name}")
            if isinstance(value, bool):
                place.set_checked(value)
            elif place.evaluate("each => each.tagName") == "SELECT":
                place.select_option(value)
            else:
                place.fill(str(value))

    def run(self) -> None:
        """Runs, and waits for the answer."""
        self.page.click("#run")
        self.wait()

    def wait(self) -> None:
        """Until nothing runs."""
        self.page.locator("#result[aria-busy=false]").wait_for()

    def texts(self, selector: str) -> list[str]:
        """What all these elements say."""
        return [text.strip() for text in self.page.locator(selector).all_text_contents()]

    def text(self, selector: str) -> str:
        """What this one element says."""
        found: str = self.page.locator(selector).text_content()
        return found

    @property
    def bars(self) -> dict[str, str]:
        """Names and percents."""
        return dict(zip(self.texts("#drawing .bar-name"), self.texts("#drawing .bar-share"), strict=True))

    def code(self, way: str) -> str:
        """The request as curl, for the library, or for the server."""
        self.page.check(f"input[name=way][value={way}]")
        return self.text("#code")

    @property
    def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        width: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return width


@contextmanager
def browsing() -> Iterator[Any]:
    """The system's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="the playground is tested with playwright")
    if CHROMIUM is None:
        pytest.skip("the playground is tested in Chromium, and there is none on this machine")
    with playwright.sync_playwright() as made:
        browser = made.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def page_of(browser: Any, address: str, **options: Any) -> Iterator[Look]:
    """A page with storage of its own."""
    context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, "locale": "en-US", **options})
    context.set_default_timeout(20_000)
    page = context.new_page()
    look = Look(page, address)
    page.on("request", lambda request: look.asked.append(request.url))
    page.on("pageerror", lambda error: look.said.append(str(error)))
    page.on("console", lambda message: look.said.append(message.text) if message.type == "error" else None)
    yield look
    context.close()


@contextmanager
def looked_after(look: Look, shots: Path) -> Iterator[Look]:
    """A page that asks no other host and makes no mistake; its last view is kept as a picture."""
    look.said.clear()
    look.asked.clear()
    yield look
    look.page.screenshot(path=shots / "page.png", full_page=True)
    look.page.unroute_all()
    assert [url for url in look.asked if not url.startswith((f"{look.address}/", "about:"))] == []
    # a refusal of the server is written down by the browser itself
    assert [line for line in look.said if "Failed to load resource" not in line] == []


@contextmanager
def looking(browser: Any, address: str, shots: Path, **options: Any) -> Iterator[Look]:
    """Such a page for one test alone."""
    with page_of(browser, address, **options) as made, looked_after(made, shots) as look:
        yield look
