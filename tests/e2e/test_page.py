"""The browser page in headless Chromium, with real clicks."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")
pytest.importorskip("selenium", reason="needs selenium: pip install selenium")

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from pages import GATE, Shown, shown, until

INSTALL = "apt-get install chromium chromium-driver"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=f"needs Chromium and its driver: {INSTALL}")
STREET = "street=scene://street?people=3&size=640x360&fps=10&live=1"
TOKEN = "let-me-in-please"


class Browser:
    """A browser at a page; looks until what is wanted is there."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get(url)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str, where: Callable[[WebElement], object] = WebElement.is_displayed) -> WebElement:
        """The first element that is as it should be."""

        def look() -> WebElement | None:
            try:
                return next((element for element in self.all(selector) if where(element)), None)
            except StaleElementReferenceException:
                return None

        return until(f"{selector} on the page", look)

    def reading(self, selector: str, text: str) -> WebElement:
        return self.one(selector, lambda element: element.is_displayed() and text in element.text)

    def tile(self, name: str) -> WebElement:
        return self.one(".tile", lambda tile: tile.find_element(By.TAG_NAME, "h2").text == name)

    def names(self) -> list[str]:
        """Of all tiles, in one look: they come and go."""
        return self.driver.execute_script("return [...document.querySelectorAll('.tile h2')].map((name) => name.textContent)")

    def click(self, selector: str) -> None:
        """As soon as it is there and stays; chips of people come and go."""

        def click() -> bool:
            try:
                self.one(selector).click()
                return True
            except WebDriverException:
                return False

        until(f"a click on {selector}", click)

    def slide(self, name: str, presses: int) -> None:
        """Move a slider by keys."""
        slider = self.one(f"#{name}")
        slider.send_keys(*[Keys.PAGE_UP if presses > 0 else Keys.PAGE_DOWN] * abs(presses))

    def complaints(self) -> list[str]:
        """What the browser's console has to say, less answers that are meant to be errors."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if "the server responded with a status of" not in entry["message"]
        ]


@contextmanager
def browser(url: str, *, phone: bool = False) -> Iterator[Browser]:
    """A Chromium without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    if phone:
        metrics = {"width": 390, "height": 844, "pixelRatio": 2, "touch": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        found = Browser(driver, url)
        yield found
        assert found.complaints() == []
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def page() -> Iterator[Shown]:
    with shown([STREET, GATE], imgsz="256x320") as page:
        until("people", lambda: page.streams()["street"]["people"] > 0)
        yield page


def person_place(browser: Browser) -> tuple[int, int]:
    """Where somebody is in the street's canvas, CSS pixels from its middle: as the chip's person says."""
    return browser.driver.execute_script(
        """
        const tile = document.querySelector('.tile[data-source="0"]');
        const chip = tile?.querySelector('.people button'), canvas = tile?.querySelector('canvas');
        if (!chip) return null;
        const [left, top, right, bottom] = chip.person.box, scale = canvas.clientWidth / 640;
        return [Math.round((left + right) / 2 * scale - canvas.clientWidth / 2),
                Math.round((top + bottom) / 2 * scale - canvas.clientHeight / 2)];
        """
    )


def test_tiles_say_how_the_streams_are(page: Shown) -> None:
    with browser(page.url) as seen:
        street = seen.tile("street")
        until("it is online", lambda: street.find_element(By.CLASS_NAME, "state").text == "online")
        until("people are told", lambda: street.find_elements(By.CSS_SELECTOR, ".people button"))
        until("a rate", lambda: float(street.find_element(By.CSS_SELECTOR, "[data-number=rate]").text or 0) > 0)
        assert "ms" in street.find_element(By.CSS_SELECTOR, "[data-number=latency]").text
        # The picture is there: not all of the canvas is of one colour.
        colors = "const c = arguments[0]; return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
        assert seen.driver.execute_script(colors, street.find_element(By.TAG_NAME, "canvas")) > 50
        gate = seen.tile("gate")
        until("it is offline", lambda: gate.find_element(By.CLASS_NAME, "state").text == "offline")
        note = gate.find_element(By.CLASS_NAME, "note").text
        assert note.startswith("offline since ")
        assert "Connection refused" in note
        assert "secret" not in seen.driver.page_source


def test_the_slider_makes_people_disappear(page: Shown) -> None:
    with browser(page.url) as seen:
        street = seen.tile("street")
        until("people", lambda: street.find_elements(By.CSS_SELECTOR, ".people button"))
        seen.slide("conf_thres", 10)
        try:
            until("nobody", lambda: not street.find_elements(By.CSS_SELECTOR, ".people button"))
            assert seen.one("label[data-name=conf_thres] output").text == "0.95"
        finally:
            seen.slide("conf_thres", -7)
        until("people again", lambda: street.find_elements(By.CSS_SELECTOR, ".people button"))
        assert page.get("/api/state").json["thresholds"]["conf_thres"] < 0.5
        seen.slide("draw", 3)  # of this page only
        assert page.get("/api/state").json["thresholds"]["iou_thres"] == 0.45


def test_a_click_on_a_person(page: Shown) -> None:
    with browser(page.url) as seen:

        def click() -> bool:
            if seen.all("dialog[open]"):  # missed: they walk
                seen.click("#tensors .close")
            place = person_place(seen)
            if place:
                canvas = seen.tile("street").find_element(By.TAG_NAME, "canvas")
                ActionChains(seen.driver).move_to_element_with_offset(canvas, *place).click().perform()
            return bool(place) and seen.one("#person", lambda element: True).is_displayed()

        until("a person was hit", click)
        seen.reading("#person-title", "in street")
        rows = seen.all("#person-rows tr")
        assert len(rows) == 17
        name, x, y, score = (cell.text for cell in rows[0].find_elements(By.TAG_NAME, "td"))
        assert name == "nose"
        assert (float(x), float(y)) != (0, 0)
        assert 0 <= float(score) <= 1
        before = seen.one("#person-about").text
        until("they are followed", lambda: seen.one("#person-about").text != before)
        seen.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        until("closed", lambda: not seen.one("#person", lambda element: True).is_displayed())


def test_a_click_on_a_tile_shows_its_tensors(page: Shown) -> None:
    with browser(page.url) as seen:
        canvas = seen.tile("street").find_element(By.TAG_NAME, "canvas")
        until("a picture", lambda: person_place(seen))
        corner = [4 - canvas.size["width"] // 2, 4 - canvas.size["height"] // 2]  # nobody walks in the sky
        ActionChains(seen.driver).move_to_element_with_offset(canvas, *corner).click().perform()
        seen.reading("#tensors-title", "Tensors of street")
        assert "56 × 1680 float32" in seen.reading(".tensor h3", "output0").text
        seen.reading("#tensors-about", "1680 rows")
        assert len(seen.all("#scores-tabs button")) == 3
        seen.all("#scores-tabs button")[2].click()
        assert seen.reading("#scores-caption", "stride 32").is_displayed()
        before = seen.one("#tensors-about").text
        seen.click("#tensors-next")
        until("another frame", lambda: seen.one("#tensors-about").text not in (before, "Waiting for a frame …"))
        assert seen.one("#scores-caption").text.startswith("stride 32")
        seen.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
        until("closed", lambda: not seen.all("dialog[open]"))


def test_tensors_of_a_stream_that_is_offline(page: Shown) -> None:
    with browser(page.url) as seen:
        seen.click('.tile[data-source="1"] .to-tensors')
        seen.reading("#tensors-error", "it is offline: Connection refused")


def test_streams_are_added_and_removed(page: Shown) -> None:
    with browser(page.url) as seen:
        seen.one("#address").send_keys("/nowhere/people.mp4", Keys.ENTER)
        seen.reading("#add-error", "There is no input file '/nowhere/people.mp4'")
        seen.one("#address").clear()
        seen.one("#address").send_keys("scene://room?people=2&size=320x240&fps=5&live=1")
        seen.one("#name").send_keys("den")
        seen.click("#add button")
        den = seen.tile("den")
        until("its picture", lambda: not den.find_element(By.CLASS_NAME, "note").is_displayed())
        seen.one(f'.tile[data-source="{den.get_attribute("data-source")}"] .to-remove').click()
        seen.reading("#removing-title", "Remove den?")
        seen.click("#removing .close")
        assert "den" in page.streams()
        den.find_element(By.CLASS_NAME, "to-remove").click()
        seen.click("#removing-yes")
        until("it is gone", lambda: "den" not in seen.names())
        assert "den" not in page.streams()


def test_a_phone(page: Shown) -> None:
    with browser(page.url, phone=True) as seen:
        wide = seen.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390  # nothing to scroll sideways
        seen.click('.tile[data-source="0"] .people button')
        assert len(seen.all("#person-rows tr")) == 17
        seen.click("#person .close")
        seen.click('.tile[data-source="0"] .to-tensors')
        seen.reading(".tensor h3", "output0")
        assert seen.one("#tensors").size["width"] == 390
        seen.click("#tensors .close")
        seen.one("#thresholds summary").click()
        assert seen.one("#conf_thres").size["height"] >= 32  # a finger hits it


def test_a_tab_in_the_background_is_sent_nothing(page: Shown) -> None:
    with browser(page.url) as seen:
        until("pictures", lambda: page.streams()["street"]["pictures_shown"] > 0)
        seen.driver.switch_to.new_window("tab")

        def rests() -> bool:
            before = page.streams()["street"]
            until("more frames", lambda: page.streams()["street"]["frames"] > before["frames"] + 10)
            return page.streams()["street"]["pictures_shown"] == before["pictures_shown"]

        until("nothing is encoded", rests)


def test_the_token_lets_in_and_leaves_the_address(tmp_path: Path) -> None:
    with shown([GATE], imgsz="256x320", token=TOKEN) as page, browser(page.url) as seen:
        seen.reading("main", "its token")
        seen.one("input[name=token]").send_keys("not-the-token", Keys.ENTER)
        seen.reading(".error", "That token is wrong")
        seen.one("input[name=token]").send_keys(TOKEN, Keys.ENTER)
        seen.tile("gate")
        assert seen.driver.current_url == f"{page.url}/"
        seen.driver.refresh()
        seen.tile("gate")
        assert TOKEN not in seen.driver.execute_script("return document.cookie")


def test_a_run_that_is_over_says_so() -> None:
    with shown([STREET], imgsz="256x320") as page, browser(page.url) as seen:
        seen.tile("street")
        page.server.close()
        seen.reading("#link", "The run is over or cannot be reached")
        with pytest.raises(OSError):  # noqa: PT011
            socket.create_connection(("127.0.0.1", int(page.url.rpartition(":")[2])), timeout=5)
        seen.complaints()  # of requests that fail
