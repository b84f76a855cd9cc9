"""How much a vision-language model gains from sharing: a ranking of 16 images against one call per question.

    python -m benchmarks.vlm_speed [--images 16] [--side 512] [--sample 8] [--json FILE]

Random weights in reduced shapes of Qwen3-VL and SmolVLM (their proportions of vision tower, image tokens and language
model; fewer layers), float32, one thread. Times are CPU seconds, so that other work on the machine does not count.
*Naive* is the documented use of transformers: processor and model are called with both images for every question, timed
on a sample of the same questions. Both give the same probabilities, which is checked. Accuracy plays no part.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from depictqa_core.backends.vlm_batch import TOGETHER, groups
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge, load_judge

ROOT = Path(__file__).resolve().parents[1]
FAMILIES = ("qwen3_vl", "smolvlm")


def shapes(family: str, config):
    """Enlarge the tiny configuration of a family to a reduced one."""
    text, vision = config.text_config, config.vision_config
    text.hidden_size, text.intermediate_size, text.num_hidden_layers, text.head_dim = 256, 768, 6, 64
    vision.hidden_size, vision.intermediate_size = 256, 1024
    if family == "qwen3_vl":
        vision.depth, vision.num_heads, vision.out_hidden_size = 8, 4, 256
        vision.num_position_embeddings, vision.deepstack_visual_indexes = 1024, [2, 4, 6]
        text.rope_parameters["mrope_section"] = [12, 10, 10]
    else:
        vision.num_hidden_layers, vision.num_attention_heads = 8, 4
        vision.image_size, vision.patch_size, config.scale_factor = 256, 16, 4
    return config


def reduced_judge(family: str, folder: str) -> Judge:
    """Build and load a random model of a reduced shape."""
    sys.path.insert(0, str(ROOT / "tests"))
    import tiny_vlms
    from transformers.models.smolvlm import processing_smolvlm

    processing_smolvlm.num2words = processing_smolvlm.num2words or str  # for videos alone
    settings = {"size": {"longest_edge": 256}, "max_image_size": {"longest_edge": 256}}
    row = list(tiny_vlms.FAMILIES[family])
    make = row[0]
    row[0] = lambda ids, size: shapes(family, make(ids, size))
    if family == "smolvlm":
        row[5], row[6] = settings, {"image_seq_len": 16}
    tiny_vlms.FAMILIES[family] = tuple(row)
    return load_judge(tiny_vlms.make_tiny_vlm(Path(folder) / family, family), "cpu")


def measure(family: str, count: int, side: int, sample: int) -> dict:
    """Time one ranking, and its questions one by one."""
    generator = np.random.default_rng(0)
    images = [as_image(generator.integers(0, 256, (side, side, 3), np.uint8), f"{i}") for i in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        judge = reduced_judge(family, folder)
        run, asked = judge.backend.run, []
        together = max(map(len, groups(run, [judge.backend.template.prompt("", (images[0], None))] * TOGETHER)))
        sharing, before, original = run.sharing, run.encoded, judge.backend._rows

        def rows_of(prompts, rows, columns, *more):
            found = original(prompts, rows, columns, *more)
            asked.extend((prompt, rows, columns, tables) for prompt, tables in zip(prompts, found, strict=True))
            return found

        judge.backend._rows = rows_of
        start = time.process_time()
        ranking = judge.rank(images, reasons=False)
        fast = time.process_time() - start
        encoded = run.encoded - before
        chosen = [asked[i] for i in np.linspace(0, len(asked) - 1, sample).astype(int)]
        run.prepared.budget, gap = 0, 0.0
        run.prepared.clear()
        start = time.process_time()
        for prompt, rows, columns, found in chosen:
            for one, other in zip(run.plain(prompt, rows[:1], lambda: None, columns), found):
                gap = max(gap, float((one.exp() - other.exp()).abs().max()))
        naive = (time.process_time() - start) / sample * len(asked)
    shown = sum(len(prompt.images) for prompt, *_ in asked)
    return {
        "sharing": sharing,
        "together": together,
        "questions": len(asked),
        "pairs": ranking.comparisons,
        "fast_cpu_s": round(fast, 2),
        "naive_cpu_s": round(naive, 2),
        "times_faster": round(naive / fast, 2),
        "images_encoded": encoded,
        "images_shown": shown,
        "encodings_saved": round(1 - encoded / shown, 3),
        "largest_difference": gap,
    }


def main() -> None:
    """Measure all families and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--sample", type=int, default=8)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: measure(name, options.images, options.side, options.sample) for name in FAMILIES}
    for name, row in results.items():
        print(name, *(f"{key}={value}" for key, value in row.items()), sep="  ")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
