"""The web page in a real headless Chromium: typing, watching, cancelling, errors, keyboard."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serve.conftest import Running
from tests.serve.http.pictures import drawn

playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect  # noqa: E402

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SHOTS = os.environ.get("SDOPT_SCREENSHOTS")
LATER_PREVIEW = re.compile(r"Preview ([2-9]|\d\d)$")
"""Any but the first: the page shows what there is when it asks."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, server: Running) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1100, "height": 800})
    page.set_default_timeout(60_000)
    outside: list[str] = []
    faults: list[str] = []
    page.on("request", lambda r: outside.append(r.url) if is_outside(r.url, server) else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(server.url)
    expect(page.locator("#num_inference_steps")).to_have_value("20")
    yield page
    page.close()
    assert outside == []
    assert faults == []


def is_outside(url: str, server: Running) -> bool:
    return not url.startswith((server.url, "data:", "blob:"))


def shoot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def fill(page: Page, **fields: object) -> None:
    for name, value in fields.items():
        page.locator(f"#{name}").fill(str(value))


def test_type_generate_watch_and_reuse(page: Page) -> None:
    fill(page, prompt="a large red circle on a blue background", num_inference_steps=60, seed=3)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("of 60")
    preview = page.locator("#previews img")
    expect(preview).to_have_attribute("alt", re.compile("Preview"), timeout=60_000)
    first = preview.get_attribute("src")
    shoot(page, "preview")
    assert first is not None
    expect(preview).not_to_have_attribute("src", first, timeout=60_000)
    figure = page.locator("#pictures figure")
    expect(figure).to_have_count(1, timeout=60_000)
    expect(figure).to_contain_text("a large red circle on a blue background")
    expect(figure).to_contain_text("60 steps, guidance 3, seed 3, 96×96")
    expect(page.locator("#now")).to_be_hidden()
    shoot(page, "finished")
    made = figure.locator("img").get_attribute("src")
    with page.expect_download() as download:
        figure.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "sdopt-3.png"
    fill(page, prompt="something else", num_inference_steps=1, seed="")
    figure.get_by_role("button", name="Reuse").click()
    expect(page.locator("#seed")).to_have_value("3")
    page.get_by_role("button", name="Generate").click()
    expect(figure).to_have_count(2, timeout=60_000)
    sources = [image.get_attribute("src") for image in page.locator("#pictures img").all()]
    assert sources == [made, made]  # the settings give the same file again


def test_start_from_a_picture(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "disc.png"
    drawn(200, 100).save(file)
    strength = page.get_by_label("Strength")
    expect(strength).to_be_hidden()
    page.get_by_label("Start from a picture").set_input_files(file)
    expect(page.locator("#width")).to_have_value("136")
    expect(page.locator("#height")).to_have_value("64")
    fill(page, prompt="a green star", num_inference_steps=8, seed=3)
    strength.fill("0.5")
    page.get_by_role("button", name="Generate").click()
    figure = page.locator("#pictures figure")
    expect(figure).to_contain_text("seed 3, 136×64, from a picture at strength 0.5")
    shoot(page, "from a picture")
    page.get_by_role("button", name="Generate").click()
    expect(figure).to_have_count(2)
    sources = [image.get_attribute("src") for image in page.locator("#pictures img").all()]
    assert sources[0] == sources[1]
    page.get_by_role("button", name="Remove the picture").click()
    expect(strength).to_be_hidden()
    expect(page.locator("#width")).to_have_value("96")
    figure.first.get_by_role("button", name="Reuse").click()
    expect(page.get_by_role("alert")).to_have_text(
        "This one was made from a picture. Choose that picture again."
    )
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    page.get_by_label("Start from a picture").set_input_files(broken)
    expect(page.get_by_role("alert")).to_have_text("The picture cannot be read.")


def test_cancel(page: Page, server: Running) -> None:
    fill(page, prompt="a ring", num_inference_steps=150, n=10)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("of 1500")
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_have_text("Cancelled.")
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    while server.service.backlog.jobs:
        page.wait_for_timeout(20)
    assert page.locator("#pictures figure").count() == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"width": 100}, "width=100 is not a multiple of 8. The nearest widths are 96 and 104."),
        ({"width": ""}, "size='x96' is not allowed. size is 'auto' or WIDTHxHEIGHT in pixels."),
        ({"num_inference_steps": "many"}, "num_inference_steps: Input should be a valid integer."),
        (
            {"guidance_scale": "1e38", "seed": 0},
            re.compile(r"^The latents turned NaN or infinite at evaluation \d+ of 20\. A lower "),
        ),
    ],
)
def test_errors_are_told_in_words(
    page: Page, fields: dict[str, object], message: str | re.Pattern[str]
) -> None:
    fill(page, **{"prompt": "a ring"} | fields)
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_have_text(message, timeout=60_000)
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    shoot(page, "error")


def test_a_phone_needs_no_sideways_scrolling_and_shows_what_goes_on(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 740})
    fill(page, prompt="a star", num_inference_steps=40)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#status")).to_contain_text("of 40")
    expect(page.locator("#status")).to_be_in_viewport()
    expect(page.locator("#previews img")).to_have_attribute("alt", LATER_PREVIEW)
    shoot(page, "phone generating")
    expect(page.locator("#pictures figure")).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    shoot(page, "phone")


def test_the_keyboard_is_enough(page: Page) -> None:
    expect(page.locator("#prompt")).to_be_focused()
    page.keyboard.type("a cross")
    fill(page, num_inference_steps=150)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#status")).to_contain_text("of 150")
    page.keyboard.press("Escape")
    expect(page.get_by_role("alert")).to_have_text("Cancelled.")


def test_a_prompt_is_text_and_never_markup(page: Page) -> None:
    fill(page, prompt="<img src=x onerror=alert(1)>", num_inference_steps=1)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#pictures figcaption")).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#pictures img").count() == 1
