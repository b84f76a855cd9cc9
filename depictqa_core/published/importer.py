"""Convert the published DepictQA-Wild weights (CLIP, Vicuna and a delta) to one checkpoint folder.

Tensors are converted one at a time to new safetensors shards, so the import needs little more memory than one shard.
Source: method.md 2.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..loading.checkpoint_folder import file_hash
from ..loading.device_placement import DTYPES
from ..loading.saving import write_card
from ..storage.files import new_folder, refuse_full_disk
from ..tasks import QUESTION
from . import layout
from .conversion import Conversion, check_network, language_sizes, network_config
from .layout import Clip, Language
from .llama_tokenizer import check_llama_tokenizer, tokenizer_file, write_llama_tokenizer
from .sources import all_shapes, delta_file, language_settings, open_clip, without_rotary, written_bytes
from .tensors import Tensors, model_files, open_tensors, refuse_damaged
from .writer import ShardWriter, lora_merger

REST_BYTES = 2**24
"""Disk space for the other files of a checkpoint: tokenizer, configuration, card."""
STORED = "stored"
"""Keep the dtype of every tensor."""
LICENCES = {
    "clip": "MIT (OpenAI CLIP)",
    "llm": "Llama 2 Community License (Vicuna-7B-v1.5, built on LLaMA 2)",
    "delta": "Apache-2.0 (DepictQA-Wild)",
}
OFFICIAL_CLIP = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
Report = Callable[[str], None]


def import_published(
    clip: str | Path,
    llm: str | Path,
    delta: str | Path | Callable[[Clip, Language], Tensors],
    out: str | Path | None,
    dtype: str = STORED,
    merge: bool = False,
    short: int | None = None,
    long: int | None = None,
    report: Report = lambda line: None,
    short_questions: bool = False,
) -> dict:
    """Convert published weights to a checkpoint folder.

    Args:
        clip: OpenAI's ``ViT-L-14.pt``, a plain state dict or safetensors file of it, or a ``CLIPVisionModel`` folder.
        llm: the folder of Vicuna-7B-v1.5 (shards of safetensors or pickles, config, tokenizer).
        delta: a published ``ckpt.pt``, or its folder; or a function that makes one for the sizes of the others.
        out: the folder to write, which must be new or empty; None only checks the files.
        dtype: "float32", "float16" or "bfloat16" for all weights, or "stored" to keep them as they are.
        merge: merge LoRA into the weights of the language model (in fp32).
        short, long: maximum sides of images in pixels, if different from the training.
        report: called with a line about every step.
        short_questions: whether the delta supports short questions of other kinds (``tasks.QUESTION``), like the one
            trained with Q-Instruct; the files do not show this.

    Returns:
        The card of the checkpoint.

    Raises:
        CheckpointError: a file is missing, damaged (its checksums do not match, or a tensor contains NaN or Inf),
            unsafe, or does not fit; the message has the tensors.
        StorageError: there is not enough free disk space, or the folder cannot be written.
    """
    if dtype not in (STORED, *DTYPES):
        raise CheckpointError(f"unknown dtype '{dtype}': choose one of {STORED}, {', '.join(DTYPES)}")
    out = None if out is None else _new_folder(Path(out))
    report("reading names and shapes")
    settings = language_settings(Path(llm))
    if (called := settings.pop("_name_or_path", None)) and "vicuna" not in str(called).lower():
        report(
            f"notice: the config of '{llm}' names the model '{called}', but the published deltas are for Vicuna-7B-v1.5"
        )
    check_llama_tokenizer(llm, settings["vocab_size"])
    llm_sizes = language_sizes(settings)
    clip_files, clip_parts = open_clip(Path(clip))
    found_clip, openai = layout.clip_sizes(all_shapes(clip_parts), f"CLIP '{clip}'")
    parts = delta(found_clip, llm_sizes) if callable(delta) else open_tensors(delta_file(Path(delta)))
    clip_sizes, sizes = layout.published_sizes(found_clip, llm_sizes, layout.delta_sizes(parts.shapes))
    shards = model_files(llm, "language model")
    conversion = Conversion(clip_sizes, llm_sizes, sizes, openai, merge)
    remedy = "this is not a delta of this language model and CLIP, or an incomplete one: download it again"
    layout.refuse_misfits(f"delta '{parts.path}'", parts.shapes, conversion.delta, remedy)
    layout.refuse_misfits(
        f"CLIP '{clip}'", all_shapes(clip_parts), conversion.clip, "use OpenAI's ViT-L/14 at 224 px", False
    )
    shapes = all_shapes(without_rotary(open_tensors(shard)) for shard in shards)
    layout.refuse_misfits(f"language model '{llm}'", shapes, conversion.language, "use the folder of Vicuna-7B-v1.5")
    config = network_config(conversion, settings, short, long)
    if short_questions:
        config.tasks.append(QUESTION.name)
    check_network(config, conversion)
    files = {
        "clip": clip_files,
        "llm": [*shards, tokenizer_file(llm)],
        "delta": [] if callable(delta) else [parts.path],
    }
    for file in [*clip_files, *shards, *files["delta"]]:
        report(f"checking {file.name}")
        refuse_damaged(file)
    target = None if dtype == STORED else getattr(torch, dtype)
    size = sum(written_bytes(part, conversion.clip, target) for part in clip_parts)
    size += written_bytes(parts, conversion.written_delta, target)
    size += sum(written_bytes(open_tensors(shard), conversion.language, target) for shard in shards)
    if out is None:
        report(
            f"the files are complete and fit together; the checkpoint takes {size / 2**30:.2f} GiB; nothing was written"
        )
        return _card("unwritten", conversion, {}, merge, dtype)

    refuse_full_disk(out, size + REST_BYTES)
    with new_folder(out) as work:
        writer = ShardWriter(work, target)
        report(f"writing {len(clip_parts)} file(s) of CLIP and the delta")
        for part in clip_parts:
            writer.convert(part, conversion.clip)
        writer.convert(parts, conversion.written_delta)
        for number, shard in enumerate(shards, start=1):
            report(f"writing the language model, file {number} of {len(shards)}")
            writer.convert(open_tensors(shard), conversion.language, lora_merger(parts, conversion) if merge else None)
        writer.finish(conversion.targets())
        config.save_pretrained(str(work))
        write_llama_tokenizer(llm, work)
        report("computing the SHA-256 of all files")
        sources = list(_provenance(files))
        if openai and conversion.clip_sizes == Clip() and not any("recognised" in source for source in sources):
            report(f"notice: '{clip}' has another SHA-256 than ViT-L-14.pt as OpenAI published it ({OFFICIAL_CLIP})")
        return write_card(work, _card(out.name, conversion, sources, merge, dtype))


def _new_folder(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"'{out}' exists already: give the name of a new folder")
    return out.absolute()


def _provenance(files: dict[str, list[Path]]) -> Iterator[dict]:
    for part, paths in files.items():
        for path in paths:
            digest = file_hash(path)
            facts = {"part": part, "file": path.name, "bytes": path.stat().st_size, "sha256": digest}
            if digest == OFFICIAL_CLIP:
                facts["recognised"] = "ViT-L-14.pt as OpenAI published it"
            yield {**facts, "license": LICENCES[part]}


def _card(name: str, conversion: Conversion, sources: Iterable[dict], merge: bool, dtype: str) -> dict:
    return {
        "name": name,
        "version": "imported",
        "license": "; ".join(LICENCES.values()),
        "trained_on": "DQ-495K, by the authors of DepictQA-Wild (arXiv 2405.18842); some of their deltas also on other"
        " data, see the page that the delta came from",
        "variant": "abstractor" if conversion.sizes.abstractor else "projector",
        "lora": "merged" if merge else "kept apart",
        "dtype": dtype,
        "sources": list(sources),
    }
