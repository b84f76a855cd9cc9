"""Classical Metrics in graphs of a real ComfyUI: the values are those of the command line."""

import json

import numpy as np
import pytest
from comfyui.named_pictures import THREE
from PIL import Image

from depictqa_core.images.image import as_image
from depictqa_core.metrics.registry import known, usable

NODE = "DepictQA_ClassicalMetrics"


@pytest.fixture(scope="module")
def metric_graph(graph):
    """The graph of the node; it takes no model."""

    def build(**inputs):
        nodes = graph(NODE, **inputs)
        nodes.pop("load")
        del nodes["node"]["inputs"]["model"]
        return nodes

    return build


def pixels(server, name):
    return as_image(str(server.input / name)).rgb


@pytest.mark.parametrize("as_batch", [True, False])
def test_values_with_a_reference(server, metric_graph, as_batch):
    run = server.run(
        metric_graph(
            images="blurred.png, noisy.png",
            reference="sharp.png",
            metric="SSIM",
            report_format="markdown",
            as_batch=as_batch,
        )
    )
    able, unable = usable(list(known().values()))
    assert "SSIM" not in unable
    for name, text, value in zip(
        ("blurred.png", "noisy.png"), run.texts("all_values"), run.texts("values"), strict=True
    ):
        found = json.loads(text)
        assert list(found) == [metric.name for metric in able] and float(value) == pytest.approx(found["SSIM"])
        for metric in able:
            if found[metric.name] is not None:
                expected = metric(pixels(server, name), pixels(server, "sharp.png"))
                assert found[metric.name] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    assert run.texts("higher_is_better") == ["True"]
    assert "SSIM ↑" in run.text("report") and "MS-SSIM" in run.text("report")


def test_without_a_reference_only_what_needs_none(server, metric_graph):
    run = server.run(
        metric_graph(
            images="sharp.png, wide.png, noisy.png", table="chosen metric", metric="BRISQUE", report_format="json"
        )
    )
    report = json.loads(run.text("report"))
    assert report["better"] == {"BRISQUE": "less"} and len(report["results"]) == 3
    assert [row["BRISQUE"] for row in report["results"]] == pytest.approx(list(map(float, run.texts("values"))))
    every = server.run(metric_graph(images=THREE, metric="BRISQUE"))
    assert set(json.loads(every.texts("all_values")[0])) == {"BRISQUE", "NIQE"}
    assert run.texts("higher_is_better") == ["False"]


def test_sizes_that_differ_are_compared_at_the_smaller_one(server, metric_graph):
    with Image.open(server.input / "sharp.png") as image:
        image.resize((256, 192), Image.Resampling.BICUBIC).save(server.input / "large.png")
    run = server.run(metric_graph(images="large.png", reference="sharp.png", metric="PSNR", table="chosen metric"))
    assert float(run.text("values")) > 30 and "resized to 128 x 96" in run.text("report")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"metric": "PSNR"}, "PSNR compares with a reference: link one"),
        ({"metric": "LPIPS"}, "metric: 'LPIPS' is not known"),
        ({"metric": "NIQE", "images": "flat.png"}, "image 1: NIQE needs an image of at least"),
        ({"metric": "PSNR", "reference": "wide.png"}, "the aspect ratios differ"),
    ],
)
def test_what_cannot_be_measured(server, metric_graph, inputs, message):
    Image.fromarray(np.full((96, 128, 3), 99, np.uint8)).save(server.input / "flat.png")
    run = server.run(metric_graph(**{"images": "sharp.png", **inputs}), expect_error=True)
    assert message in run.error["exception_message"]
