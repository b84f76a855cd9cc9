"""The HTML report in Chromium: thousands of images, sorted and filtered, whatever their files are called.

The screenshot goes to the folder that DEPICTQA_SCREENSHOTS names.
"""

import json
import os
import random
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from comfyui.front_end import CHROMIUM, needs_chromium
from PIL import Image

from depictqa_core.errors import StorageError
from depictqa_core.reports.gallery import write_gallery
from depictqa_core.tasks import DISTORTIONS

HOSTILE = [
    "<img src=x onerror=window.hacked=1>.png",
    "</script><script>window.hacked=1</script>.png",
    "javascript:window.hacked=1.png",
    "%3Cb%3E #?&.png",
    "\u202egnp.exe.png",
    '"onload="window.hacked=1.png',
]


def row(name, **changes):
    facts = {"image": name, "error": None, "width": 64, "height": 48, "score": 50.0, "low": 40.0, "high": 60.0}
    return {**facts, "score_confidence": 0.5, "labels": ["noise"], **changes}


def data_of(path):
    (found,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', Path(path).read_text(), re.S)
    return json.loads(found)["images"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_names_are_data_and_links_lead_to_the_files(here):
    os.makedirs("pics")
    names = [f"pics/{name}" for name in HOSTILE if "/" not in name] + [HOSTILE[2]]
    for name in names:
        Image.new("RGB", (64, 48), "red").save(name)
    Path("gone.png").touch()
    rows = [row(name) for name in names] + [row("x.tar/1.png"), row("gone.png", error="<b>damaged</b>")]
    assert write_gallery(rows, "page.html") == len(rows)
    text, found = Path("page.html").read_text(), data_of("page.html")
    assert text.count("<script") == 2 and "<img" not in text and "<b>" not in text
    assert [image["name"] for image in found] == [one["image"] for one in rows]
    for name, image in zip(names, found):
        assert image["href"].startswith("./") and unquote(image["href"]) == f"./{name}"
        assert image["thumbnail"].startswith("data:image/jpeg;base64,")
    assert "href" not in found[-2] and "thumbnail" not in found[-1] and found[-1]["error"] == "<b>damaged</b>"
    write_gallery(rows, "small.html", 0)
    assert not any("thumbnail" in image for image in data_of("small.html"))
    with pytest.raises(StorageError, match="nowhere"):
        write_gallery(rows, "nowhere/page.html")


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.problems = []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        yield page
        browser.close()


@pytest.mark.slow
@needs_chromium
def test_five_thousand_images_in_a_browser(here, page):
    chance = random.Random(0)
    Image.effect_noise((96, 72), 60).convert("RGB").save("a.png")
    rows = [row(f"{n}.png", score=chance.uniform(1, 99), labels=[chance.choice(DISTORTIONS)]) for n in range(4990)]
    rows += [row(name, score=0.0, labels=[]) for name in HOSTILE]
    rows += [row("a.png", score=100.0), row("b.tar/1.png", score=99.5)]
    rows += [row(f"bad{n}.png", error="truncated </script>", score=None, labels=None) for n in range(2)]
    write_gallery(rows, "page.html")
    page.goto(f"file://{here}/page.html")
    names = page.locator(".card .name")
    assert page.inner_text("#count") == "5000 of 5000 images" and 0 < names.count() < 1000
    assert names.first.text_content() == "a.png" and page.locator(".card img").first.is_visible()
    assert "2 could not be judged" in page.inner_text("#summary")
    if folder := os.environ.get("DEPICTQA_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "report.png"))

    before = names.count()
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    names.nth(before).wait_for(state="attached")  # not wait_for_function: the policy of the page forbids eval

    page.select_option("#sort", "-score")
    assert names.first.text_content() in HOSTILE
    page.fill("#high", "0")
    assert sorted(names.all_text_contents()) == sorted(HOSTILE) and page.inner_text("#count") == "6 of 5000 images"
    page.click("#clear")
    page.select_option("#label", "blur")
    blurred = sum(one["labels"] == ["blur"] for one in rows)
    assert page.inner_text("#count") == f"{blurred} of 5000 images"
    page.click("#clear")
    page.locator("#scores button").last.click()
    assert page.inner_text("#count") == f"{sum((one['score'] or 0) >= 95 for one in rows)} of 5000 images"
    page.click("#clear")
    page.check("#failed")
    assert page.locator(".card .error").all_text_contents() == ["truncated </script>"] * 2
    page.click("#clear")
    page.fill("#text", "ONERROR")
    assert names.all_text_contents() == [HOSTILE[0]]
    assert page.evaluate("window.hacked") is None and page.problems == []
