"""The page of a study in Chromium: keyboard, touch, zoom, a server that is restarted, and names that would be markup.

Screenshots go to the folder that DEPICTQA_SCREENSHOTS names.
"""

import json
import os
from pathlib import Path

import pytest
from comfyui.front_end import CHROMIUM, needs_chromium
from core.study.studies import folder_of, plan_of, started
from PIL import Image
from served import Served

from depictqa_core.study.app import build_study
from depictqa_core.study.votes import EQUAL, LEFT, RIGHT, read_record

pytestmark = [pytest.mark.slow, needs_chromium]
HOSTILE = ["<img src=x onerror=window.hacked=1>.png", '"onload="window.hacked=1.png', "%3Cb%3E #?&.png"]
KEY = "a-key-of-this-test-0123456789"
READY = "button[data-choice=left]:not([disabled])"


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pics(tmp_path_factory):
    pics = folder_of(tmp_path_factory.mktemp("page") / "pics", HOSTILE)
    for name in HOSTILE:
        with Image.open(pics / name) as image:
            image.resize((1600, 1000), Image.Resampling.NEAREST).save(pics / name, compress_level=1)
    return pics


class Running:
    """A study that can be stopped and started again at the same port."""

    def __init__(self, pics, votes, key=None, **rules):
        self.pics, self.votes, self.key, self.rules = pics, votes, key, {"checks": 0, **rules}
        self.reference = self.rules.pop("reference", None)
        self.server = None
        self.start()

    def start(self):
        session = started(self.votes, plan_of([self.pics], self.votes, self.reference, **self.rules))
        app = build_study(session, self.key)
        if self.server is None:
            self.server = Served(app, self.key)
            self.url = f"http://127.0.0.1:{self.server.port}/"
        else:
            self.server = Served(app, self.key, port=self.server.port)

    def choices(self):
        return [(vote.trial, vote.choice) for vote in read_record(self.votes).votes]


@pytest.fixture
def study(pics, tmp_path):
    running = []

    def run(**options):
        running.append(Running(pics, tmp_path / "votes.jsonl", **options))
        return running[-1]

    yield run
    for one in running:
        one.server.join()


def opened(browser, url, **options):
    page = browser.new_context(viewport={"width": 1280, "height": 800}, **options).new_page()
    page.problems = []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.goto(url)
    return page


def enter(page, name):
    page.fill("#name", name)
    page.click("button[type=submit]")
    page.wait_for_selector(READY)


def at(page, place):
    page.bring_to_front()  # pages in the background take no answers
    page.locator("#count", has_text=f"{place} of").wait_for()
    page.wait_for_selector(READY)


def screenshot(page, name):
    if folder := os.environ.get("DEPICTQA_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / name))


def places(page):
    """Where both images are: left, top, width of each, relative to its frame."""
    return page.evaluate(
        """() => ['left', 'right'].map((side) => {
          const box = document.querySelector(`figure[data-side=${side}] .view`);
          const image = box.firstElementChild.getBoundingClientRect(), frame = box.getBoundingClientRect();
          return [image.left - frame.left, image.top - frame.top, image.width].map(Math.round);
        })"""
    )


def test_a_person_answers_by_keyboard_goes_back_and_resumes(browser, study):
    run = study()
    page = opened(browser, run.url)
    enter(page, "<b>Anna</b>")
    screenshot(page, "study.png")
    page.keyboard.press("ArrowLeft")
    at(page, 2)
    page.keyboard.press("Backspace")
    at(page, 1)
    assert page.locator("button.chosen").get_attribute("data-choice") == LEFT
    page.keyboard.press("ArrowRight")
    at(page, 2)
    assert run.choices() == [(0, RIGHT)]
    page.reload()
    assert page.input_value("#name") == "<b>Anna</b>"
    page.click("button[type=submit]")
    at(page, 2)
    page.keyboard.press("ArrowDown")
    at(page, 3)
    page.click("button[data-choice=left]")
    page.wait_for_selector("#end:not([hidden])")
    assert run.choices() == [(0, RIGHT), (1, EQUAL), (2, LEFT)]
    page.click("#again")
    at(page, 3)
    text = page.content()
    assert page.problems == [] and page.evaluate("window.hacked") is None
    assert not any(name[:8] in text for name in HOSTILE) and ".png" not in text
    seconds = [json.loads(line).get("seconds") for line in run.votes.read_text().splitlines()[2:]]
    assert all(0 < one < 60 for one in seconds)


def test_both_images_are_zoomed_to_full_resolution_together(browser, study):
    page = opened(browser, study().url)
    enter(page, "Anna")
    (left, _, width), right = places(page)
    assert [left, _, width] == right and width <= 640 and left >= 0
    page.keyboard.press("z")
    assert [one[2] for one in places(page)] == [1600, 1600]  # one pixel of the image on one of the screen
    page.mouse.move(300, 300)
    page.mouse.down()
    page.mouse.move(200, 280, steps=4)
    page.mouse.up()
    moved = places(page)
    assert moved[0] == moved[1] and moved[0][2] == 1600 and abs(moved[0][0] - ((638 - 1600) / 2 - 100)) <= 3
    screenshot(page, "study_zoomed.png")
    page.keyboard.press("z")
    assert places(page)[0][2] == width
    page.mouse.wheel(0, -300)
    page.wait_for_selector(".view.close")
    zoomed = places(page)
    assert zoomed[0] == zoomed[1] and zoomed[0][2] > width
    page.keyboard.press("ArrowLeft")
    at(page, 2)
    assert places(page)[0][2] == width and page.problems == []


def test_a_phone_with_a_reference_by_touch(browser, study, pics):
    run = study(reference=pics / HOSTILE[0], ties=False)
    page = opened(browser, run.url, has_touch=True, is_mobile=True)
    page.set_viewport_size({"width": 390, "height": 844})
    enter(page, "Anna")
    assert page.locator("figure:visible").count() == 3 and page.locator("#equal").is_hidden()
    screenshot(page, "study_phone.png")
    page.locator("figure[data-side=right] .view").tap()
    page.wait_for_selector(".view.close")
    page.locator("figure[data-side=right] .view").tap()
    page.wait_for_selector(".view:not(.close)")
    page.keyboard.press("ArrowDown")  # no answer here
    page.locator("button[data-choice=right]").tap()
    at(page, 2)
    assert run.choices() == [(0, RIGHT)]
    page.keyboard.down("r")
    left = page.locator("figure[data-side=left] img")
    assert left.get_attribute("src").endswith("/reference")
    page.keyboard.press("ArrowLeft")
    page.locator("button[data-choice=left]").tap()  # of two equal images no answer is taken
    assert run.choices() == [(0, RIGHT)] and page.locator(READY).count() == 1
    page.evaluate("window.dispatchEvent(new Event('blur'))")  # a window without focus gets no keyup
    assert left.get_attribute("src").endswith("/1/left")
    page.keyboard.up("r")
    assert left.get_attribute("src").endswith("/1/left") and page.problems == []
    page.keyboard.press("ArrowLeft")
    at(page, 3)
    assert run.choices() == [(0, RIGHT), (1, LEFT)]


def test_an_answer_survives_a_server_that_is_restarted(browser, study):
    run = study(key=KEY)
    page = opened(browser, run.url)
    page.fill("#name", "Anna")
    page.click("button[type=submit]")
    page.locator("#refused", has_text="key").wait_for()
    page.fill("#key", KEY)
    page.click("button[type=submit]")
    at(page, 1)
    run.server.join()
    page.keyboard.press("ArrowRight")
    page.locator("#problem", has_text="Not stored yet").wait_for()
    run.start()
    at(page, 2)
    assert run.choices() == [(0, RIGHT)] and page.inner_text("#problem") == ""
    page.keyboard.press("ArrowLeft")
    at(page, 3)
    assert run.choices() == [(0, RIGHT), (1, LEFT)]


def test_two_people_at_once(browser, study):
    run = study()
    pages = [opened(browser, run.url) for _ in range(2)]
    for page, name in zip(pages, ("Anna", "Ben")):
        enter(page, name)
    for place in (2, 3):
        for page in pages:
            page.keyboard.press("ArrowLeft")
        for page in pages:
            at(page, place)
    record = read_record(run.votes)
    assert record.people == ["Anna", "Ben"]
    assert sorted((vote.person, vote.trial) for vote in record.votes) == [(0, 0), (0, 1), (1, 0), (1, 1)]
