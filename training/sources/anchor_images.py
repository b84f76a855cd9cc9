"""Make the anchor images in ``depictqa_core/anchor_pictures``: two scenes, clean and with one distortion each.

    python -m training.sources.anchor_images data/pictures/validation depictqa_core/anchor_pictures

The position of an image is 100 times the quality that the training data gives it: the severity of its distortion,
refined by full-reference metrics (``dataset/records/labels.py``). No person has rated them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from ..dataset.building.measures import metrics
from ..dataset.records.labels import quality
from ..distortions import apply
from ..output_files import write_text

SIDE = 224
"""Pixels: at this size no published checkpoint resizes an image."""
SCENES = {
    "wheat": (
        "comfyui-workflow-templates-media-image__flux_fill_inpaint_example-1.png",
        "comfyui-workflow-templates-media-image 0.3.160, flux_fill_inpaint_example-1",
        (None, ("compression_jpeg", 1), ("blur_gaussian", 2), ("noise_gaussian_RGB", 4), ("compression_jpeg", 5)),
    ),
    "car": (
        "comfyui-workflow-templates-media-assets-01__image_marigold_v2_depth_estimation-2.png",
        "comfyui-workflow-templates-media-assets-01 0.1.48, image_marigold_v2_depth_estimation-2",
        (None, ("noise_gaussian_RGB", 1), ("compression_jpeg", 3), ("blur_gaussian", 4), ("pixelate", 5)),
    ),
}
ABOUT = (
    "Made by training/sources/anchor_images.py. Positions (0 worst, 100 flawless) follow the severity of the"
    " distortion, refined by full-reference metrics; no person has rated them."
)


def main() -> None:
    """Write all anchor images and their list."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", metavar="IMAGES", type=Path, help="folder of prepared pristine images")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    entries = []
    for scene, (file, source, distortions) in SCENES.items():
        whole = Image.open(options.pictures / file).convert("RGB")
        clean = np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        for distortion in distortions:
            name, severity = distortion or ("clean", 0)
            rgb = apply(name, clean, severity, np.random.default_rng(0)) if distortion else clean
            done = [{"name": name, "severity": severity}] if distortion else []
            file_name, position = f"{scene}_{name}{severity or ''}.png", round(100 * quality(done, metrics(rgb, clean)))
            Image.fromarray(rgb).save(options.out / file_name, optimize=True)
            made = f"{name}, severity {severity}" if distortion else f"scaled to {SIDE} x {SIDE} pixels"
            facts = {"made_by": made, "source": source, "licence": "MIT (Comfy-Org), AI-generated"}
            entries.append((position, {"file": file_name, "position": position, **facts}))
    entries.sort(key=lambda entry: -entry[0])
    text = json.dumps({"about": ABOUT, "anchors": [entry for _, entry in entries]}, indent=1)
    write_text(options.out / "anchors.json", text + "\n")


if __name__ == "__main__":
    main()
