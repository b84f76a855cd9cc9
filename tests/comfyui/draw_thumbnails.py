"""Draws workflows/*.jpg, the images of the templates: each template runs in a real ComfyUI, and its result is drawn.

    python tests/comfyui/draw_thumbnails.py [NAME ...]

Templates that need a vision-language model of the user are drawn with the answers that are true of the sample images.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[level]) for level in (1, 2)]

from comfyui.comfy_server import PACK, ComfyServer, Run
from comfyui.stand_in_diffusion import BLURS, Decoder
from comfyui.templates import WORKFLOWS, node_of, rows_of, template_graph, with_pick
from served import serving

from depictqa_core.judge import load_judge
from depictqa_core.reports import drawing

SIZE, MARGIN = (640, 480), 10
PAPER, INK, GOOD, BAD, CALM = "#f4f4f2", "#222222", "#1f8a4c", "#c0392b", "#3867b7"
SAMPLES = PACK / "workflows" / "samples"


@dataclass(frozen=True)
class Tile:
    """An image, what stands on it, and the colour of its frame."""

    image: Image.Image
    text: str = ""
    colour: str = CALM


class Ran:
    """A template after its run."""

    def __init__(self, server: ComfyServer, name: str, address: str):
        self.server, self.graph = server, template_graph(name, server)
        if name == "judge_from_server":
            load = self.graph[node_of(self.graph, "DepictQA_LoadServer")]
            load["inputs"] |= {"url": address, "model_name": "depictqa-mini"}
        if name == "collect_preferences":
            self.graph[node_of(self.graph, "DepictQA_PickImages")]["inputs"]["wait"] = "always"
        self.run: Run = server.run(self.graph, on_message=with_pick(server, 2))

    def images(self, class_type: str, **inputs) -> list[Image.Image]:
        return self.server.images(self.run, node_of(self.graph, class_type, **inputs))

    def rows(self, class_type: str) -> list[list[str]]:
        return rows_of(self.run, node_of(self.graph, class_type))


def samples(pattern: str) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob(pattern))]


def page(tiles: list[Tile], columns: int, title: str = "") -> Image.Image:
    """Draw tiles in rows of ``columns``; a title stands above them."""
    sheet = Image.new("RGB", SIZE, PAPER)
    top = MARGIN
    if title:
        drawing.write(sheet, (SIZE[0] / 2, 30), title, 26, INK, "mm")
        top = 56
    lines = -(-len(tiles) // columns)
    wide = (SIZE[0] - MARGIN * (columns + 1)) // columns
    high = (SIZE[1] - top - MARGIN * lines) // lines
    for place, tile in enumerate(tiles):
        x, y = MARGIN + place % columns * (wide + MARGIN), top + place // columns * (high + MARGIN)
        sheet.paste(ImageOps.expand(ImageOps.fit(tile.image, (wide - 8, high - 8)), 4, tile.colour), (x, y))
        if tile.text:
            size = 22 if wide > 200 else 17
            width = drawing.width(tile.text, size) + 16
            drawing.rounded(sheet, (x + 4, y + high - size - 16, x + 4 + width, y + high - 4), 4, tile.colour)
            drawing.write(sheet, (x + 12, y + high - size / 2 - 10), tile.text, size, "#ffffff", "lm")
    return sheet


def whole(image: Image.Image) -> Image.Image:
    """A drawing of the pack that is the result itself."""
    return ImageOps.pad(image, SIZE, color=PAPER)


def ranked(ran: Ran) -> Image.Image:
    rows, shown = ran.rows("DepictQA_RankImages"), ran.images("PreviewImage")
    return page([Tile(image, f"{i}.  score {row[0]}") for i, (image, row) in enumerate(zip(shown, rows), 1)], 2)


def compared(ran: Ran) -> Image.Image:
    a, b = (samples(f"photographs/raccoon_{name}.jpg")[0] for name in ("soft", "compressed"))
    ((_, verdict, confidence, *_),) = ran.rows("DepictQA_CompareImages")
    colours = (GOOD, BAD) if "A" in verdict else (BAD, GOOD)
    return page([Tile(a, "A", colours[0]), Tile(b, "B", colours[1])], 2, f"{verdict} ({confidence})")


def filtered(ran: Ran) -> Image.Image:
    rows = ran.rows("DepictQA_FilterImages")
    images = {path.name: Image.open(path).convert("RGB") for path in (SAMPLES / "photographs").iterdir()}
    tiles = []
    for score, name, reason, *_ in rows:
        good = reason == "passed"
        text = score if good or reason.startswith("score") else reason.split(" (")[0]
        tiles.append(Tile(images[name], text, GOOD if good else BAD))
    return page(tiles, 4)


def repaired(ran: Ran) -> Image.Image:
    before, after = ran.rows("DepictQA_FilterImages")[0][0], ran.rows("DepictQA_ScoreImages")[0][0]
    (sharper,) = ran.images("SaveImage", filename_prefix="DepictQA/repaired")
    soft = samples("photographs/raccoon_soft.jpg")[0]
    box = (150, 0, 406, 384)
    tiles = [Tile(soft.crop(box), f"score {before}", BAD), Tile(sharper.crop(box), f"score {after}", GOOD)]
    return page(tiles, 2, "score below 80: sharpen")


def picked(_: Ran) -> Image.Image:
    tiles = [Tile(image) for image in samples("photographs/raccoon_*.jpg")]
    tiles[1] = Tile(tiles[1].image, "your pick", GOOD)
    return page(tiles, 2)


def sampled(size: int) -> list[Image.Image]:
    """What the stand-in for a diffusion model samples, in the order of the seeds."""
    latents = torch.tensor(BLURS)[:, None, None, None].expand(-1, 4, size // 8, size // 8)
    return [Image.fromarray((image.numpy() * 255).astype("uint8")) for image in Decoder().decode(latents)]


def best_of_n(ran: Ran) -> Image.Image:
    tiles = [Tile(image, f"seed {seed}") for seed, image in enumerate(sampled(512), 1)]
    best = int(ran.rows("DepictQA_RankImages")[0][1].split()[-1]) - 1
    (refined,) = ran.images("SaveImage")
    tiles[best] = Tile(refined, "best: refined", GOOD)
    return page(tiles, 2)


def until_good(ran: Ran) -> Image.Image:
    _, *rounds = ran.rows("DepictQA_GenerateUntilGoodEnd")  # the best, then the rounds, the last one first
    tiles = [Tile(image, f"score {row[1]}", BAD) for image, row in zip(sampled(512), reversed(rounds), strict=False)]
    tiles[-1] = Tile(tiles[-1].image, tiles[-1].text, GOOD)
    return page(tiles, len(tiles), f"good after {len(tiles)} rounds")


def checked(_: Ran | None) -> Image.Image:
    people, others = samples("photographs/portrait_*.jpg")[:2], samples("photographs/raccoon_*.jpg")[1:3]
    tiles = [*(Tile(image, "yes", GOOD) for image in people), *(Tile(image, "no", BAD) for image in others)]
    return page(tiles, 2, "Does the image show a person?")


def own_criterion(_: Ran | None) -> Image.Image:
    names = ("clean", "soft", "compressed", "blurred")
    images = [samples(f"photographs/raccoon_{name}.jpg")[0].crop((200, 0, 500, 225)) for name in names]
    return page([Tile(image, f"{place}.") for place, image in enumerate(images, 1)], 2, "sharpness of the eyes")


def served(ran: Ran) -> Image.Image:
    images = samples("photographs/raccoon_*.jpg")
    tiles = [
        Tile(image, f"score {row[0]}") for image, row in zip(images, ran.rows("DepictQA_ScoreImages"), strict=True)
    ]
    return page(tiles, 2, "judged on a server")


DRAWN: dict[str, Callable] = {
    "best_of_n": best_of_n,
    "check_images": checked,
    "collect_preferences": picked,
    "compare_models": lambda ran: whole(ran.images("PreviewImage")[0]),
    "compare_with_reference": compared,
    "filter_bad_samples": filtered,
    "generate_until_good": until_good,
    "judge_a_folder": lambda ran: whole(ran.images("SaveImage")[0]),
    "judge_from_server": served,
    "judge_from_text_encoder": checked,
    "judge_video": lambda ran: whole(ran.images("DepictQA_JudgeVideo")[0]),
    "own_criteria": own_criterion,
    "quality_map": lambda ran: whole(ran.images("PreviewImage")[0]),
    "rank_a_batch": ranked,
    "score_if_else": repaired,
}
WITHOUT_A_RUN = ("check_images", "judge_from_text_encoder", "own_criteria")
"""These need a vision-language model, which the tests do not have."""


def main(names: list[str]) -> None:
    """Draw the thumbnails of the templates with these names, or of all."""
    with contextlib.ExitStack() as stack:
        server = ComfyServer(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(server.stop)
        address = stack.enter_context(serving(load_judge(device="cpu"))).base
        for name in names or [path.stem for path in WORKFLOWS]:
            ran = None if name in WITHOUT_A_RUN else Ran(server, name, address)
            DRAWN[name](ran).save(PACK / "workflows" / f"{name}.jpg", quality=88)
            print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
