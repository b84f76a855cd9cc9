"""The HTML report in Chromium: thousands of images, sorted and filtered, whatever their files are called.

The screenshot goes to the folder that DEPICTQA_SCREENSHOTS names.
"""

import base64
import io
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
from depictqa_core.images.image import as_image
from depictqa_core.ranking.quality_map import cut, grid, quality_map
from depictqa_core.reports.gallery import Maps, write_gallery
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


RED, BLUE = (0xA5, 0x00, 0x26), (0x31, 0x36, 0x95)


def save_turned(name, size, dark):
    """A white JPEG with one black quarter, stored on its side; ``size`` and ``dark`` are as it is seen."""
    width, height = size
    image = Image.new("RGB", size, "white")
    image.paste("black", (dark[0] * width // 2, dark[1] * height // 2, *((n + 1) * s // 2 for n, s in zip(dark, size))))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it by 90 degrees to the right
    image.rotate(90, expand=True).save(name, quality=95, exif=exif)


def map_of_brightness(name):
    """White is a score of 100 and black 0."""
    image = as_image(name)
    tiles = grid(image.height, image.width)
    return quality_map(image, tiles, [part.rgb.mean() / 2.55 for part in cut(image, tiles)])


def opened(address):
    return Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))


@pytest.mark.parametrize("dark", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("side", [64, 512])
def test_a_map_lies_on_its_image(here, dark, side):
    save_turned("turned.jpg", (160, 240), dark)
    write_gallery([row("turned.jpg")], "page.html", side, Maps({0}, map_of_brightness))
    (image,) = data_of("page.html")
    small, drawn = opened(image["thumbnail"]).convert("L"), opened(image["map"]["overlay"]).convert("RGBA")
    assert small.size == drawn.size and small.height == min(side, 240) and drawn.getextrema()[3] == (140, 140)
    for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
        at = x * (small.width - 1), y * (small.height - 1)
        assert (small.getpixel(at) < 128) == ((x, y) == dark)
        assert drawn.getpixel(at)[:3] == pytest.approx(RED if (x, y) == dark else BLUE, abs=8)
    assert image["map"]["low"] == pytest.approx(0, abs=2) and image["map"]["high"] == pytest.approx(100, abs=2)
    assert len(image["map"]["overlay"]) < 20_000


def test_maps_are_for_the_chosen_images_alone(here):
    for name in ("a.png", "b.png", "c.png"):
        Image.new("RGB", (64, 48), "white").save(name)
    rows = [row(name) for name in ("a.png", "b.png", "c.png", "x.tar/1.png")]
    write_gallery(rows, "plain.html")
    asked = []

    def find(name):
        asked.append(name)
        return None if name == "b.png" else map_of_brightness("a.png")

    write_gallery(rows, "page.html", maps=Maps({1, 2, 3, 99}, find, "By </script> another."))
    assert asked == ["b.png", "c.png", "x.tar/1.png"]
    assert ["map" in image for image in data_of("page.html")] == [False, False, True, False]
    text, plain = Path("page.html").read_text(), Path("plain.html").read_text()
    assert "By \\u003c/script> another." in text and text.count("<script") == 2 and '"maps": {' not in plain
    policy = re.search("<meta http-equiv.*", plain)[0]
    assert (
        policy in text
        and "unsafe" not in policy
        and data_of("plain.html")
        == [{key: value for key, value in image.items() if key != "map"} for image in data_of("page.html")]
    )

    def stopped(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_gallery(rows, "stopped.html", maps=Maps({1}, stopped))
    assert not Path("stopped.html").exists() and not list(here.glob(".*.part"))


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
    Image.effect_noise((48, 36), 60).convert("RGB").save("0.png")
    for n in range(1, 4988):  # every card has its small image
        os.link("0.png", f"{n}.png")
    rows = [row(f"{n}.png", score=chance.uniform(1, 99), labels=[chance.choice(DISTORTIONS)]) for n in range(4988)]
    rows += [row(name, score=0.0, labels=[]) for name in HOSTILE]
    rows += [row("a.png", score=100.0, faults=[]), row("b.tar/1.png", score=99.5, faults=["moire", "seams"])]
    rows += [row(f"bad{n}.png", error="truncated </script>", score=None, labels=None) for n in range(2)]
    save_turned("turned.jpg", (160, 240), (0, 1))
    save_turned("wide.jpg", (700, 100), (1, 0))
    rows += [row("turned.jpg", score=0.5), row("wide.jpg", score=0.6)]
    maps = Maps({len(rows) - 2, len(rows) - 1}, map_of_brightness, "By another <b>judge</b>.")
    write_gallery(rows, "page.html", 512, maps)
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
    assert page.locator(".card img").count() > before

    page.select_option("#sort", "-score")
    assert names.first.text_content() in HOSTILE
    page.fill("#high", "0")
    assert sorted(names.all_text_contents()) == sorted(HOSTILE) and page.inner_text("#count") == "6 of 5000 images"
    page.click("#clear")
    page.select_option("#label", "blur")
    blurred = sum(one["labels"] == ["blur"] for one in rows)
    assert page.inner_text("#count") == f"{blurred} of 5000 images"
    page.click("#clear")
    page.select_option("#label", "seams")
    assert page.inner_text("#count") == "1 of 5000 images" and "fault: moire, seams" in page.inner_text(".card")
    page.click("#clear")
    page.locator("#scores button").last.click()
    assert page.inner_text("#count") == f"{sum((one['score'] or 0) >= 95 for one in rows)} of 5000 images"
    page.click("#clear")
    page.check("#failed")
    assert page.locator(".card .error").all_text_contents() == ["truncated </script>"] * 2
    page.click("#clear")
    check_maps(page)
    page.click("#clear")
    page.fill("#text", "ONERROR")
    assert names.all_text_contents() == [HOSTILE[0]]
    assert page.evaluate("window.hacked") is None and page.problems == []


def check_maps(page):
    """Show the maps with the keyboard, and look at the pixels."""
    overlays = page.locator(".map")
    show = page.get_by_role("checkbox", name="show quality maps")
    page.get_by_role("checkbox", name="only the 2 images with a map").check()
    assert page.inner_text("#count") == "2 of 5000 images" and overlays.count() == 2
    assert "scored one by one, from 0 (worst) to 100 (best)" in page.inner_text("#meaning")
    assert "By another <b>judge</b>." in page.inner_text("#meaning")
    assert page.get_by_role("img", name="Colors of the maps").is_visible()
    page.select_option("#sort", "score")
    assert not overlays.first.is_visible()
    show.focus()
    page.keyboard.press("Space")
    assert show.is_checked() and overlays.first.is_visible() and overlays.last.is_visible()
    if folder := os.environ.get("DEPICTQA_SCREENSHOTS"):
        page.screenshot(path=str(Path(folder) / "report_maps.png"))
    for name, dark in (("wide.jpg", (1, 0)), ("turned.jpg", (0, 1))):
        link = page.get_by_role("link", name=re.compile(f"^{re.escape(name)} quality map: its tiles score from"))
        small, drawn = link.locator("img").all()
        assert small.bounding_box() == drawn.bounding_box()
        seen = Image.open(io.BytesIO(drawn.screenshot())).convert("RGB")
        for x, y in ((0, 0), (1, 0), (0, 1), (1, 1)):
            red, _, blue = seen.getpixel((3 + x * (seen.width - 7), 3 + y * (seen.height - 7)))
            assert (red > blue) == ((x, y) == dark)  # over black or white, at 55 %
    page.keyboard.press("Space")
    assert not overlays.first.is_visible()
