"""What the speed benchmark runs on: judges, images, the naive way of asking, and a description of the machine."""

import os
import platform
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image, ImageFilter
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from depictqa_core import tasks
from depictqa_core.backends.native import NativeBackend
from depictqa_core.calibration import Calibration
from depictqa_core.engine.decoding import answer_probabilities, forced_prefix, greedy, token_embeddings
from depictqa_core.engine.prefill import Prefill
from depictqa_core.images.image import RGBImage, as_image
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import Checkpoint, load_checkpoint
from depictqa_core.loading.checkpoint_folder import BUNDLED
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.head_answers import answer_logits
from depictqa_core.network.model import DepictQAModel
from depictqa_core.network.vision import prepare, prepare_comparison
from depictqa_core.prompts import REFERENCE, A, B, answer_ids, encode, fixed_strings, layout

COUNT = 16
"""Images of the rows that judge each image."""
WORDS = 60
"""Longest description in tokens."""
SAMPLES = Path(__file__).resolve().parents[1] / "workflows" / "samples"
REDUCED = {
    "vision": {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4},
    "connector": {"kind": "linear"},
    "language": {"hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 4, "num_attention_heads": 8},
    "lora": {"r": 16},
    "size": {"short": 112, "long": 336, "min": 28, "multiple": 14},
}
REDUCED_NOTE = """reduced: a random model of the published layout (CLIP ViT, one linear layer, LLaMA with LoRA) with
64 patches of 14 pixels for a square image instead of 256, widths of 256 instead of 1024 and 4096, 6 and 4 layers
instead of 24 and 32"""


def bundled(dtype: str = "float32") -> Checkpoint:
    """The bundled checkpoint on the CPU."""
    return load_checkpoint(BUNDLED, "cpu", dtype)


def reduced(**changes) -> Checkpoint:
    """A random model of the published layout at the size of ``REDUCED``; its words are split like a large model's.

    Args:
        changes: other settings of its config.
    """
    torch.manual_seed(0)
    texts = [*fixed_strings(), *tasks.identification_answers(), *tasks.WINNERS, *map(str.capitalize, tasks.LEVELS)]
    tokenizer = _tokenizer([*texts, *(task.question for task in tasks.TASKS.values()), tasks.SHORT_TAIL], 600)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    language = LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **ids, **REDUCED["language"])
    config = DepictQAConfig(
        vision={"kind": "clip", "image_size": 112, **REDUCED["vision"]},
        language=language,
        tasks=tuple(tasks.TASKS),
        **{**{key: REDUCED[key] for key in ("connector", "lora", "size")}, **changes},
    )
    model = DepictQAModel(config).eval()
    model.merge_lora()  # as load_judge does
    return Checkpoint(model, tokenizer, {"name": "random model of the published layout"})


def _tokenizer(texts: list[str], size: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"special_tokens": ["<s>", "</s>"], "initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=size, show_progress=False, **special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def pictures(count: int, side: int = 512, seed: int = 0) -> tuple[list[RGBImage], RGBImage]:
    """Distorted copies of a sample photograph, all different, and the photograph itself; ``side`` x ``side`` pixels."""
    original = Image.open(SAMPLES / "garage_original.jpg").convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
    rng = np.random.default_rng(seed)
    made = []
    for index in range(count):
        blurred = np.asarray(original.filter(ImageFilter.GaussianBlur(index % 8 / 2)), np.float32)
        grain = rng.integers(-40, 41, (side, side, 1), np.int8) * (index % 5 / 4)
        rgb = np.clip(blurred * rng.uniform(0.5, 1.3) + grain + rng.uniform(0, 3), 0, 255).astype(np.uint8)
        made.append(as_image(rgb, f"image {index + 1}"))
    return made, as_image(np.asarray(original), "reference")


def judge(checkpoint: Checkpoint) -> Judge:
    """A judge with empty caches."""
    return Judge(NativeBackend(checkpoint))


@torch.inference_mode()
def encode_naively(checkpoint: Checkpoint, shown: dict[str, RGBImage]) -> dict[str, torch.Tensor]:
    """The vision features of the images of one prompt by role: nothing is shared or stored."""
    model = checkpoint.model
    return {role: model.encode([prepare(image, model.config)])[0] for role, image in shown.items()}


@torch.inference_mode()
def prefill_naively(
    checkpoint: Checkpoint,
    task,
    question: str,
    shown: dict[str, RGBImage],
    pooled: dict[str, torch.Tensor],
    forced: list[int],
) -> Prefill:
    """Prefill one prompt by itself, from the features of its images."""
    model = checkpoint.model
    beside = {role: pooled[REFERENCE] for role in shown if REFERENCE in shown and role != REFERENCE}
    compared = {role: prepare_comparison(shown[role], shown[REFERENCE], model.config) for role in beside}
    first = {B: pooled[A]} if B in shown and REFERENCE not in shown else {}
    tokens = {
        role: model.connect([pooled[role]], [beside.get(role)], [compared.get(role)], [first.get(role)])[0]
        for role in shown
    }
    parts = encode(layout(question, task.pair, REFERENCE in shown), checkpoint.tokenizer)
    prompt = model.embed_prompt(parts, tokens)
    return Prefill(model.language, 1).extend(
        [torch.cat([prompt, token_embeddings(model.language, forced)])], 1 + len(forced)
    )


def choose_naively(checkpoint: Checkpoint, task, question: str | None, asked: list[tuple]) -> np.ndarray:
    """The probabilities of ``Engine.choose``, by one call per question and without any cache."""
    calibration, words = Calibration(checkpoint.model.config.calibration), question or task.question
    options = tasks.answers(task, words)
    ids = [answer_ids(text, checkpoint.tokenizer) for text in options]
    forced, rows, heads = forced_prefix(ids), [], []
    for pictures in asked:
        shown = by_role(pictures)
        pooled = encode_naively(checkpoint, shown)
        heads.append(head_logits(checkpoint, task, words, options, pooled))
        reading = prefill_naively(checkpoint, task, task.ask(question), shown, pooled, forced)
        temperature = calibration.temperature(tasks.temperature_names(task, words, pictures[-1] is not None))
        rows.append(answer_probabilities(reading, ids, temperature).probabilities[0].numpy())
    references = [pictures[-1] is not None for pictures in asked]
    joined = calibration.with_heads(task, words, references, np.array(rows), np.array(heads))
    return calibration.with_prior(task, words, options, references, joined)


@torch.inference_mode()
def head_logits(
    checkpoint: Checkpoint, task, question: str, options: tuple[str, ...], pooled: dict[str, torch.Tensor]
) -> np.ndarray:
    """What the heads of a network add to the answers to one question, [K], from the features of its images by role."""
    connector = checkpoint.model.connector
    logits = None
    if getattr(connector, "heads", None) is not None and REFERENCE not in pooled:
        found = [connector.findings(row[None]) for row in pooled.values()]
        logits = answer_logits(task, question, options, found)
    return np.zeros(len(options)) if logits is None else logits[0].numpy()


def write_naively(checkpoint: Checkpoint, asked: list[tuple], length: int) -> list[list[int]]:
    """The tokens of detailed assessments, one call per image."""
    task, end = tasks.ASSESSMENT, answer_ids("", checkpoint.tokenizer)
    texts = []
    for pictures in asked:
        shown = by_role(pictures)
        pooled = encode_naively(checkpoint, shown)
        texts.append(greedy(prefill_naively(checkpoint, task, task.question, shown, pooled, []), end, length)[0].ids)
    return texts


def by_role(pictures: tuple) -> dict[str, RGBImage]:
    """(A, reference) or (A, B, reference) by role."""
    *judged, reference = pictures
    return ({} if reference is None else {REFERENCE: reference}) | dict(zip((A, B), judged))


def machine() -> dict:
    """What the numbers depend on; nothing that tells which machine it was."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "load before": [round(value, 1) for value in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def seconds(work) -> tuple[float, object]:
    """How long a call takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def show(first: str, *cells: str) -> None:
    """One line of a table."""
    print(f"{first:42s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)
