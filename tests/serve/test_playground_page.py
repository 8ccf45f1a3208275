"""What the playground promises around its drawings: two languages, every reader, clear errors, strict files."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import enfold
from enfold.serve.keys import new_key
from enfold.serve.models import Served
from enfold.serve.queue import FairQueue
from tests.serve.browsing import CONTRASTS, NAMED, UNNAMED, Look, looking
from tests.serve.models import WORDS, slow_writer
from tests.serve.running import Running, running

HOME = Path(enfold.__file__).parent / "serve" / "playground"

# ── languages ────────────────────────────────────────────────────────────────


def test_everything_is_said_in_both_languages(look: Look) -> None:
    look.open()
    texts = look.page.evaluate("async () => (await import('/playground/texts.js')).TEXTS")
    examples = look.page.evaluate("async () => (await import('/playground/examples.js')).EXAMPLES")
    assert texts["en"].keys() == texts["zh"].keys()
    holes = {key: set(re.findall(r"{\w*}", text)) for key, text in texts["en"].items()}
    assert {key: set(re.findall(r"{\w*}", text)) for key, text in texts["zh"].items()} == holes
    assert [text for text in texts["zh"].values() if re.search(r"[一-鿿][,;:!?]", text)] == []
    for task, each in examples.items():
        assert [sorted(one["values"]) for one in each["en"]] == [sorted(one["values"]) for one in each["zh"]], task
    used = {match for path in HOME.rglob("*.js") for match in _keys(path)}
    assert used - texts["en"].keys() == set()


def _keys(path: Path) -> list[str]:
    return re.findall(r'\bt\(\s*"([\w.-]+)"', path.read_text("utf-8"))


def test_the_language_is_the_browsers_until_one_is_chosen(browser: Any, server: Running, tmp_path: Path) -> None:
    with looking(browser, server.address, tmp_path, locale="zh-CN") as look:
        look.open(task="text-classification")
        assert look.page.get_attribute("html", "lang") == "zh-CN"
        assert look.text("#task-title") == "文本分类"
        assert look.page.input_value("#field-text").startswith("前一个小时")
        look.page.click("[data-language=en]")
        assert look.page.get_attribute("html", "lang") == "en"
        assert look.text("#task-title") == "Text classification"
        assert look.page.input_value("#field-text").startswith("The first hour")  # an example, which nobody changed
        look.type(text="my own")
        look.page.click("[data-language=zh]")
        assert look.page.input_value("#field-text") == "my own"
        assert "lang=zh" in look.page.url


# ── views and models ─────────────────────────────────────────────────────────


def test_an_address_is_a_view(look: Look) -> None:
    look.open(task="embed", model="judge", lang="en")
    assert (look.text("#task-title"), look.page.input_value("#model")) == ("Embedding", "judge")
    look.page.select_option("#model", "reader")
    assert look.page.url.endswith("#task=embed&model=reader&lang=en")
    look.go("Tokens")
    look.page.go_back()
    look.page.locator("#task-title:text-is('Embedding')").wait_for()
    assert look.page.input_value("#model") == "reader"
    look.open(task="nonsense", lang="en")
    assert "“nonsense”" in look.text("#notices")


def test_tasks_are_those_that_some_model_does(look: Look) -> None:
    look.open(lang="en")
    shown = look.texts("nav a")
    assert "Your own labels, by inference" not in shown
    assert {"Entities", "Masked words", "Chat", "Tokens"} <= set(shown)
    look.go("Entities")
    assert look.texts("#model option") == ["tagger"]


def test_an_example_of_masked_words_has_the_mask_of_the_model(look: Look) -> None:
    look.page.route("**/v1/models", lambda route: _with_mask(route))
    look.open(task="fill-mask", lang="en")
    assert look.page.input_value("#field-text") == "The capital of France is <mask>."
    assert "<mask>" in look.text("label[for=field-text]")


def _with_mask(route: Any) -> None:
    body = route.fetch().json()
    route.fulfill(json={**body, "data": [{**each, "mask_token": "<mask>"} for each in body["data"]]})


def test_models_that_load_are_waited_for(look: Look) -> None:
    asked = 0

    def loading(route: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            route.abort()
            return
        body = route.fetch().json()
        if asked == 2:
            body["data"] = [{"id": each["id"], "state": "loading"} for each in body["data"]]
        route.fulfill(json=body)

    look.page.route("**/v1/models", loading)
    look.page.goto("about:blank")
    look.page.goto(f"{look.address}/#task=fill-mask&lang=en")
    look.page.locator("#notices:has-text('does not answer')").wait_for()
    look.page.locator("#notices:has-text('Still loading: reader, ')").wait_for()
    look.page.locator("#task-title:text-is('Masked words')").wait_for()
    assert look.text("#notices") == ""


# ── errors ───────────────────────────────────────────────────────────────────


def test_what_the_server_refuses_stands_where_the_answer_would(look: Look) -> None:
    look.open(task="fill-mask", model="reader", lang="en")
    look.type(text="a b <img src=x onerror=alert(1)>")
    look.run()
    assert "the text has no mask token: write [MASK]" in look.text("[role=alert]")
    assert look.text("#drawing") == ""
    assert look.page.input_value("#field-text") == "a b <img src=x onerror=alert(1)>"
    look.type(text="a [MASK]")
    look.run()
    assert look.text("[role=alert]") == ""


def test_the_request_of_a_chat_ends_with_what_was_asked(look: Look) -> None:
    look.open(task="chat", model="writer", lang="en")
    look.type(message="a b", max_new_tokens=3)
    look.run()
    assert len(look.texts("#drawing .prose")) == 2
    shown = look.code("curl")
    assert '"a b"' in shown and "assistant" not in shown
    look.type(message="c")
    assert "assistant" in look.code("curl")
    look.type(message="")
    look.run()  # nothing is asked
    assert len(look.texts("#drawing .prose")) == 2


def test_no_field_begins_with_more_than_the_server_allows(look: Look) -> None:
    look.open(task="chat", model="writer", lang="en")
    assert look.page.input_value("#field-max_new_tokens") == "60"
    look.type(message="a b")
    look.run()
    assert look.text("[role=alert]") == ""


def test_a_server_that_is_gone_has_its_own_words(look: Look) -> None:
    look.open(task="chat", model="writer", lang="en")
    look.type(message="hello", max_new_tokens=5)
    look.page.route("**/v1/chat/completions", lambda route: route.abort())
    look.run()
    assert "could not be reached" in look.text("[role=alert]")
    assert look.page.input_value("#field-message") == "hello"
    look.page.unroute("**/v1/chat/completions")
    look.page.route("**/v1/chat/completions", _half)
    look.run()
    assert "ended before the answer did" in look.text("[role=alert]")
    assert look.texts("#drawing .prose") == ["hello", "half an"]


def _half(route: Any) -> None:
    event = {"choices": [{"index": 0, "delta": {"content": "half an"}, "finish_reason": None}]}
    route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(event)}\n\n")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, str, str]]:
    """A server with a slow writer, a key that may ask three times a minute, and one that may ask without end."""
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    few, many = new_key(file, "few", requests_per_minute=3), new_key(file, "many")
    with running(slow_writer(), threads=1, keys=file) as server:
        yield server, few, many


def give_key(look: Look, key: str) -> None:
    """Opens the chat of a server that wants a key."""
    look.page.goto(f"{look.address}/#task=chat&lang=en")
    look.page.locator("#notices:has-text('only with an API key')").wait_for()
    look.page.fill("#key-field", key)
    look.page.click("#key button[type=submit]")
    look.page.locator("#task-title:text-is('Chat')").wait_for()


def test_a_key_is_asked_for_and_a_spent_one_says_when(
    browser: Any, guarded: tuple[Running, str, str], tmp_path: Path
) -> None:
    server, key, _ = guarded
    with looking(browser, server.address, tmp_path) as look:
        give_key(look, key)
        assert key in look.page.evaluate("JSON.stringify(sessionStorage)")
        assert key not in look.page.evaluate("JSON.stringify(localStorage)") + look.page.url
        assert key not in look.code("curl") + look.code("server")
        assert '"Authorization: Bearer $ENFOLD_API_KEY"' in look.code("curl")
        for _ in range(4):
            look.type(message="a b", max_new_tokens=1)
            look.run()
        assert "Try again in" in look.text("[role=alert]")
        assert "the key 'few' may spend 3 requests a minute" in look.text("[role=alert]")
        look.page.click("#key-forget")
        look.page.locator("#key-field:visible").wait_for()


@pytest.mark.parametrize("how", ["button", "Escape"])
def test_stop_ends_an_answer_and_the_servers_work(
    browser: Any, guarded: tuple[Running, str, str], tmp_path: Path, how: str
) -> None:
    server, _, key = guarded
    with looking(browser, server.address, tmp_path) as look:
        give_key(look, key)
        look.page.route("**/v1/chat/completions", _without_end)
        look.type(message="a b c", max_new_tokens=3000, temperature=0)
        look.page.click("#run")
        look.page.locator("article.assistant .prose:not(:empty)").wait_for()
        if how == "button":
            look.page.click("#stop")
        else:
            look.page.keyboard.press("Escape")
        look.wait()
        assert look.text("#status") == "Stopped."
        written = look.texts("#drawing .prose")
        assert written[0] == "a b c"
        assert set(written[1].split()) == {"a"}
        time.sleep(0.5)
        assert look.texts("#drawing .prose") == written
        metrics = httpx.get(f"{server.address}/metrics", headers={"Authorization": f"Bearer {key}"}).text
        assert re.findall(r"^enfold_running_jobs\S* (\S+)$", metrics, re.MULTILINE) == ["0.0"]


def _without_end(route: Any) -> None:
    """Asks for one letter again and again."""
    letter = str(WORDS.index("a"))
    route.continue_(post_data={**route.request.post_data_json, "logit_bias": {letter: 100}})


# ── readers ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_view_can_be_read_on_a_phone_and_by_everybody(
    browser: Any, server: Running, tmp_path: Path, scheme: str
) -> None:
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with looking(browser, server.address, tmp_path, **phone) as look:
        look.open(lang="en" if scheme == "light" else "zh")
        for task in look.page.locator("#task-choice option").evaluate_all("all => all.map((each) => each.value)"):
            look.page.select_option("#task-choice", task)
            if look.page.locator("#field-max_new_tokens").count():
                look.type(max_new_tokens=20)
            look.run()
            look.page.screenshot(path=tmp_path / f"{task}.png", full_page=True)
            assert look.text("[role=alert]") == "", task
            assert look.overflow <= 0, task
            assert look.page.evaluate(UNNAMED, NAMED) == [], task
            assert [each for each in look.page.evaluate(CONTRASTS) if each[0] < 4.5] == [], task
            ids = look.page.evaluate("() => [...document.querySelectorAll('[id]')].map((each) => each.id)")
            assert len(ids) == len(set(ids)), task


def test_everything_is_reached_and_done_by_keys(look: Look) -> None:
    look.open(task="text-classification", model="judge", lang="en")
    reached = []
    for _ in range(60):
        look.page.keyboard.press("Tab")
        name, outline = look.page.evaluate(
            "() => { const at = document.activeElement; const style = getComputedStyle(at);"
            " return [at === document.body ? null : at.id || at.textContent.trim(), style.outlineStyle]; }"
        )
        if name is None or name in reached:
            break
        assert outline != "none", name
        reached.append(name)
    assert reached[0] == "skip"
    assert {"English", "中文", "appearance", "Entities", "model", "A film", "field-text", "run"} <= set(reached)
    look.page.focus("#field-text")
    look.page.keyboard.press("Control+Enter")
    look.page.locator("#drawing .bars").wait_for()
    assert look.text("#status").startswith("Done in")
    assert look.page.evaluate("document.activeElement.id") == "field-text"
    look.page.focus("nav a:text-is('Entities')")
    look.page.keyboard.press("Enter")
    look.page.locator("#task-title:text-is('Entities')").wait_for()
    assert look.page.evaluate("document.activeElement.textContent") == "Entities"


def test_light_and_dark_are_the_systems_until_one_is_chosen(browser: Any, server: Running, tmp_path: Path) -> None:
    with looking(browser, server.address, tmp_path, color_scheme="dark") as look:
        paper = "getComputedStyle(document.documentElement).backgroundColor"
        look.open()
        dark = look.page.evaluate(paper)
        look.page.select_option("#appearance", "light")
        light = look.page.evaluate(paper)
        assert dark != light
        look.page.reload()
        assert look.page.evaluate(paper) == light


# ── files ───────────────────────────────────────────────────────────────────


def test_models_tell_where_others_find_them_but_no_folder_of_the_server(client: httpx.Client) -> None:
    assert {each["source"] for each in client.get("/v1/models").json()["data"]} == {None}
    shared = Served("sentiment", "enfold:sentiment", "auto", FairQueue(1, 1))
    assert shared.public_source == "enfold:sentiment"


def test_files_are_strict_and_asked_for_again(client: httpx.Client) -> None:
    for path in (
        "/",
        "/playground/main.js",
        "/playground/style.css",
        "/playground/draw/bars.js",
        "/playground/icon.svg",
    ):
        first = client.get(path)
        assert first.status_code == 200
        assert first.headers["content-security-policy"].startswith("default-src 'self';")
        assert first.headers["x-content-type-options"] == "nosniff"
        assert first.headers["cache-control"] == "no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.head(path).headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "draw",
        "nothing.js",
        "..%2fapp.py",
        "%2e%2e/__init__.py",
        "/etc/passwd",
        "main.js%00",
        "draw/%2e%2e/../../app.py",
    ],
)
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(f"/playground/{path}").status_code == 404
