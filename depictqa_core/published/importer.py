"""Importer of the published DepictQA-Wild weights: CLIP, Vicuna and a delta become one ordinary checkpoint folder.

Nothing is loaded whole: tensors go from the files they were published in to new safetensors shards one by one, so the
import needs little more memory than one shard. Source: facts 2.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from ..errors import CheckpointError, quoted
from ..loading.checkpoint import file_hash, write_card
from ..loading.device_placement import DTYPES
from ..network.config import DepictQAConfig
from ..storage.documents import read_json
from ..storage.files import new_folder, readable_file_errors, refuse_full_disk, write_file
from ..storage.rules import whole
from ..tasks import QUESTION
from . import layout as layout
from .layout import Abstractor, Clip, Delta, Language, Table
from .llama_tokenizer import check_llama_tokenizer, tokenizer_file, write_llama_tokenizer
from .tensors import Tensors, model_files, open_tensors, refuse_damaged, refuse_infinite

SHARD_BYTES = 2**29
REST_BYTES = 2**24
"""Room for what a checkpoint holds beside its weights: tokenizer, configuration, card."""
STORED = "stored"
"""Keep every tensor in the number format of its file."""
LICENCES = {
    "clip": "MIT (OpenAI CLIP)",
    "llm": "Llama 2 Community License (Vicuna-7B-v1.5, built on LLaMA 2)",
    "delta": "Apache-2.0 (DepictQA-Wild)",
}
OFFICIAL_CLIP = "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836"
FULL_SIZE = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32} | {
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
"""Settings of Vicuna-7B-v1.5 that shape its tensors."""
_LANGUAGE_SETTINGS = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "hidden_act", "initializer_range"),
)
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
    """Write a checkpoint folder from published weights.

    Args:
        clip: OpenAI's ``ViT-L-14.pt``, a plain state dict or safetensors file of it, or a ``CLIPVisionModel`` folder.
        llm: the folder of Vicuna-7B-v1.5 (shards of safetensors or pickles, config, tokenizer).
        delta: a published ``ckpt.pt``, or the folder that holds it; a function makes one for the sizes of the others.
        out: the folder to write, which must be new or empty; None only checks the files.
        dtype: "float32", "float16" or "bfloat16" for all weights, or "stored" as they are in their files.
        merge: add LoRA to the weights of the language model (in fp32) instead of keeping it apart.
        short, long: other bounds of the picture's sides in pixels than the ones of the training.
        report: called with a line about every step.
        short_questions: whether the delta has also learned short questions of other kinds (``tasks.QUESTION``), as the
            one trained with Q-Instruct has; the files do not tell.

    Returns:
        the card of the checkpoint.

    Raises:
        CheckpointError: a file that is missing, damaged (its checksums do not match, or a tensor contains NaN or Inf),
            unsafe, or does not fit, with the names of its misfits.
        StorageError: the disk has too little room, or cannot be written.
    """
    if dtype not in (STORED, *DTYPES):
        raise CheckpointError(f"unknown dtype '{dtype}': choose one of {STORED}, {', '.join(DTYPES)}")
    out = None if out is None else _new_folder(Path(out))
    report("reading names and shapes")
    settings = _language_settings(Path(llm))
    if (called := settings.pop("_name_or_path", None)) and "vicuna" not in str(called).lower():
        report(f"notice: the config of '{llm}' calls the model '{called}': the published deltas are for Vicuna-7B-v1.5")
    check_llama_tokenizer(llm, settings["vocab_size"])
    llm_sizes = _language_sizes(settings)
    clip_files, clip_parts = _open_clip(Path(clip))
    found_clip, openai = layout.clip_sizes(_shapes(clip_parts), f"CLIP '{clip}'")
    parts = delta(found_clip, llm_sizes) if callable(delta) else open_tensors(_delta_file(Path(delta)))
    clip_sizes, sizes = layout.published_sizes(found_clip, llm_sizes, layout.delta_sizes(parts.shapes))
    shards = model_files(llm, "language model")
    plan = _Plan(clip_sizes, llm_sizes, sizes, openai, merge)
    remedy = "this is not a delta of this language model and CLIP, or not a whole one: get it again"
    layout.refuse_misfits(f"delta '{parts.path}'", parts.shapes, plan.delta, remedy)
    layout.refuse_misfits(f"CLIP '{clip}'", _shapes(clip_parts), plan.clip, "use OpenAI's ViT-L/14 at 224 px", False)
    shapes = _shapes(_without_rotary(open_tensors(shard)) for shard in shards)
    layout.refuse_misfits(f"language model '{llm}'", shapes, plan.language, "use the folder of Vicuna-7B-v1.5")
    config = _config(plan, settings, short, long)
    if short_questions:
        config.tasks.append(QUESTION.name)
    check_network(config, plan)
    files = {
        "clip": clip_files,
        "llm": [*shards, tokenizer_file(llm)],
        "delta": [] if callable(delta) else [parts.path],
    }
    for file in [*clip_files, *shards, *files["delta"]]:
        report(f"checking {file.name}")
        refuse_damaged(file)
    target = None if dtype == STORED else getattr(torch, dtype)
    size = sum(_written_bytes(part, plan.clip, target) for part in clip_parts)
    size += _written_bytes(parts, plan.written_delta, target)
    size += sum(_written_bytes(open_tensors(shard), plan.language, target) for shard in shards)
    if out is None:
        report(f"the files fit and are whole; the checkpoint takes {size / 2**30:.2f} GiB; nothing was written")
        return _card("unwritten", plan, {}, merge, dtype)

    refuse_full_disk(out, size + REST_BYTES)
    with new_folder(out) as work:
        writer = _Writer(work, target)
        report(f"writing {len(clip_parts)} file(s) of CLIP and the delta")
        for part in clip_parts:
            writer.convert(part, plan.clip)
        writer.convert(parts, plan.written_delta)
        for number, shard in enumerate(shards, start=1):
            report(f"writing the language model, file {number} of {len(shards)}")
            writer.convert(open_tensors(shard), plan.language, _merger(parts, plan) if merge else None)
        writer.finish(plan.targets())
        config.save_pretrained(str(work))
        write_llama_tokenizer(llm, work)
        report("computing the SHA-256 of all files")
        sources = list(_provenance(files))
        if openai and plan.clip_sizes == Clip() and not any("recognised" in source for source in sources):
            report(f"notice: '{clip}' has another SHA-256 than ViT-L-14.pt as OpenAI published it ({OFFICIAL_CLIP})")
        return write_card(work, _card(out.name, plan, sources, merge, dtype))


# ---------------------------------------------------------------------- what goes where


class _Plan:
    """The three tables of one import."""

    def __init__(self, clip: Clip, llm: Language, delta: Delta, openai: bool, merge: bool):
        self.sizes, self.clip_sizes, self.merge = delta, clip, merge
        self.clip: Table = (layout.openai_clip if openai else layout.transformers_clip)(clip)
        self.language: Table = layout.language(llm, lora=not merge)
        self.delta: Table = layout.delta(delta, clip, llm)
        self.written_delta = {name: e for name, e in self.delta.items() if not (merge and ".lora_" in name)}

    def targets(self) -> dict[str, tuple[int, ...]]:
        """Every tensor of our network, and its shape."""
        entries = [*self.clip.values(), *self.language.values(), *self.written_delta.values()]
        return {target: entry.target_shape for entry in entries for target in entry.targets}


def check_network(config: DepictQAConfig, plan: _Plan) -> int:
    """Build the network without memory and compare it with the tables; returns the number of its tensors.

    Raises:
        CheckpointError: the tables and the network differ, which is a fault of this program or of a library version.
    """
    from ..network.model import DepictQAModel

    with torch.device("meta"):
        network = DepictQAModel(config).state_dict()
    wanted = {name: layout.Entry(shape, (), shape) for name, shape in plan.targets().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in network.items()}
    layout.refuse_misfits("the network of this version", shapes, wanted, "report this, with the versions installed")
    return len(shapes)


def full_size_config(abstractor: bool) -> DepictQAConfig:
    """The configuration of a published checkpoint at full size, LoRA kept apart."""
    return _config(_full_plan(Abstractor() if abstractor else None, True, False), FULL_SIZE, None, None)


def _full_plan(abstractor: Abstractor | None, openai: bool, merge: bool) -> _Plan:
    return _Plan(Clip(), _language_sizes(FULL_SIZE), Delta(abstractor=abstractor), openai, merge)


def check_layout() -> list[str]:
    """Compare the published layouts with our network at full size, from configuration alone.

    Returns:
        one line for each layout and way to import it.

    Raises:
        CheckpointError: names or shapes differ.
    """
    lines = []
    for abstractor in (None, Abstractor()):
        for merge in (False, True):
            openai, plan = (_full_plan(abstractor, names, merge) for names in (True, False))
            if openai.targets() != plan.targets():
                raise CheckpointError("the two ways to name the tensors of CLIP differ: report this")
            count = check_network(_config(plan, FULL_SIZE, None, None), plan)
            values = sum(_numel(entry.shape) for entry in plan.delta.values())
            lines.append(
                f"{'abstractor' if abstractor else 'projector'} delta ({len(plan.delta)} tensors, {values:,} values),"
                f" LoRA {'merged' if merge else 'kept apart'}: {count} tensors of the network fit"
            )
    return lines


def _numel(shape: tuple[int, ...]) -> int:
    return torch.Size(shape).numel()


def _config(plan: _Plan, settings: dict, short: int | None, long: int | None) -> DepictQAConfig:
    bounds = layout.BOUNDS[plan.sizes.abstractor is not None]
    size = {"short": short or bounds[0], "long": long or bounds[1], "min": 70, "multiple": plan.clip_sizes.patch}
    if not 0 < size["short"] <= size["long"]:
        raise CheckpointError(f"bounds of {size['short']} (short side) and {size['long']} (long side) make no sense")
    lora = {
        "r": plan.sizes.rank,
        "lora_alpha": layout.LORA_ALPHA,
        "lora_dropout": layout.LORA_DROPOUT,
        "target_modules": list(layout.LORA_MODULES),
    }
    more = {} if plan.merge else {"lora": lora}
    return DepictQAConfig(
        vision=plan.clip_sizes.config,
        connector=plan.sizes.connector,
        language={"model_type": "llama", **settings},
        size=size,
        architectures=["DepictQAModel"],
        **more,
    )


# ---------------------------------------------------------------------- reading


def _language_settings(folder: Path) -> dict:
    """The settings of a LLaMA config that shape the network, in words that all versions of transformers know."""
    if not folder.is_dir():
        raise CheckpointError(f"language model '{folder}' is not a folder: give the whole folder of Vicuna-7B-v1.5")
    try:
        raw = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"language model '{folder}' has no readable config.json: download it again") from error
    if not isinstance(raw, dict) or raw.get("model_type") != "llama":
        raise CheckpointError(f"language model '{folder}' is not a LLaMA: use the folder of Vicuna-7B-v1.5")
    if raw.get("tie_word_embeddings") or raw.get("attention_bias") or raw.get("mlp_bias"):
        raise CheckpointError(f"language model '{folder}' is no LLaMA of the kind of Vicuna-7B-v1.5: use that one")
    settings = {name: raw[name] for name in _LANGUAGE_SETTINGS if raw.get(name) is not None}
    missing = [
        name
        for name in _LANGUAGE_SETTINGS[:5]
        if not whole(1, 1024 if "num_" in name else 2**24).fits(settings.get(name))
    ]
    if missing:
        raise CheckpointError(f"language model '{folder}' is damaged: its config.json lacks {', '.join(missing)}")
    rope = raw.get("rope_parameters") or {}
    settings["rope_theta"] = raw.get("rope_theta") or rope.get("rope_theta") or 10000.0
    if raw.get("rope_scaling") or rope.get("rope_type", "default") != "default":
        raise CheckpointError(f"language model '{folder}' scales its positions, which Vicuna-7B-v1.5 does not")
    settings["_name_or_path"] = raw.get("_name_or_path")
    return {**settings, "bos_token_id": 1, "eos_token_id": 2}


def _language_sizes(settings: dict) -> Language:
    return Language(
        settings["hidden_size"],
        settings["num_hidden_layers"],
        settings["num_attention_heads"],
        settings.get("num_key_value_heads", settings["num_attention_heads"]),
        settings["intermediate_size"],
        settings["vocab_size"],
    )


def _open_clip(path: Path) -> tuple[list[Path], list[Tensors]]:
    if not path.is_dir():
        return [path], [open_tensors(path)]
    try:
        raw = read_json(path / "config.json")
        raw = raw.get("vision_config") or raw
        kind, act, heads = raw.get("model_type"), raw.get("hidden_act"), raw.get("num_attention_heads", 12)
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"CLIP '{path}' has no readable config.json: download it again") from error
    if kind not in ("clip_vision_model", "clip") or act not in (None, "quick_gelu"):
        raise CheckpointError(f"CLIP '{path}' is not OpenAI's CLIP (model type {kind}, activation {act})")
    files = model_files(path, "CLIP")
    parts = []
    for file in files:
        tensors = open_tensors(file)
        names = {name.removeprefix("vision_model."): name for name in tensors.shapes}
        read = tensors.read
        shapes = {short: tensors.shapes[name] for short, name in names.items()}
        parts.append(Tensors(file, shapes, lambda short, read=read, names=names: read(names[short])))
    width = _shapes(parts).get("embeddings.class_embedding", (0,))[0]
    if width != heads * layout.HEAD_WIDTH:
        raise CheckpointError(f"CLIP '{path}' has {heads} heads at width {width}: use OpenAI's ViT-L/14 at 224 px")
    return files, parts


def _without_rotary(tensors: Tensors) -> Tensors:
    """Vicuna's files also hold rotary frequencies, which every version of transformers computes itself."""
    kept = {name: shape for name, shape in tensors.shapes.items() if not name.endswith(".rotary_emb.inv_freq")}
    return Tensors(tensors.path, kept, tensors.read)


def _shapes(parts) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for part in parts:
        twice = shapes.keys() & part.shapes.keys()
        if twice:
            raise CheckpointError(f"'{part.path.name}' repeats {sorted(twice)[0]} of another file: download again")
        shapes |= part.shapes
    return shapes


def _written_bytes(tensors: Tensors, table: Table, dtype: torch.dtype | None) -> int:
    """Check the values of all tensors of a file; returns how many bytes those that a table names will take."""
    stored = {name: found for name, found in refuse_infinite(tensors).items() if name in table}
    for name, found in stored.items():
        if not found.is_floating_point:
            raise CheckpointError(f"'{tensors.path}' holds {name} as {found}, which is no weight; download it again")
    return sum(_numel(table[name].shape) * (dtype or found).itemsize for name, found in stored.items())


# ---------------------------------------------------------------------- writing


class _Writer:
    """Writes tensors to safetensors shards of limited size as they come."""

    def __init__(self, folder: Path, dtype: torch.dtype | None):
        self.folder, self.dtype = folder, dtype
        self.held: dict[str, torch.Tensor] = {}
        self.bytes = self.total = 0
        self.shards: list[list[str]] = []

    def convert(self, source: Tensors, table: Table, change: Callable | None = None) -> None:
        """Write all tensors of a file that a table names."""
        for name in source.shapes:
            if name not in table:
                continue
            entry = table[name]
            tensor = source.read(name).detach()
            dtype = self.dtype or tensor.dtype
            if change is not None:
                tensor = change(name, tensor)
            rows = tensor.reshape(len(entry.targets), *entry.target_shape)
            for target, row in zip(entry.targets, rows):
                self.add(target, row, dtype)

    def add(self, name: str, tensor: torch.Tensor, dtype: torch.dtype) -> None:
        # Always a copy: a view into a mapped file would keep that file in memory, and be written with its neighbours.
        tensor = tensor.to(dtype, copy=True, memory_format=torch.contiguous_format)
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} has values that {dtype} cannot hold: import as float32 or bfloat16")
        self.held[name] = tensor
        self.bytes += tensor.nbytes
        if self.bytes >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        if self.held:
            path = self.folder / f"{len(self.shards)}.safetensors"
            with readable_file_errors(path):
                try:
                    save_file(self.held, str(path), metadata={"format": "pt"})
                except SafetensorError as error:  # so it reports a full disk
                    raise OSError(quoted(error)) from None
            self.shards.append(list(self.held))
            self.total += self.bytes
            self.held, self.bytes = {}, 0

    def finish(self, wanted: dict[str, tuple[int, ...]]) -> None:
        """Name the shards and write their index; every wanted tensor must have come."""
        self.flush()
        written = {name for shard in self.shards for name in shard}
        if written != set(wanted):
            raise CheckpointError(f"not written: {', '.join(sorted(set(wanted) ^ written)[:12])}")
        count, places = len(self.shards), {}
        for number, names in enumerate(self.shards, start=1):
            final = f"model-{number:05}-of-{count:05}.safetensors" if count > 1 else "model.safetensors"
            (self.folder / f"{number - 1}.safetensors").rename(self.folder / final)
            places |= dict.fromkeys(names, final)
        if count > 1:
            index = {"metadata": {"total_size": self.total}, "weight_map": dict(sorted(places.items()))}
            text = json.dumps(index, indent=1) + "\n"
            write_file(self.folder / "model.safetensors.index.json", text)


def _merger(delta: Tensors, plan: _Plan) -> Callable[[str, torch.Tensor], torch.Tensor]:
    """Adds what LoRA learned to a weight of the language model, in fp32."""
    scale = layout.LORA_ALPHA / plan.sizes.rank

    def merge(name: str, weight: torch.Tensor) -> torch.Tensor:
        lora = f"llm.base_model.model.{name.removesuffix('.weight')}.lora_"
        if f"{lora}A.default.weight" not in delta.shapes:
            return weight
        a, b = (delta.read(f"{lora}{kind}.default.weight").float() for kind in "AB")
        return weight.float() + scale * (b @ a)

    return merge


def _delta_file(path: Path) -> Path:
    return path / "ckpt.pt" if path.is_dir() else path


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


def _card(name: str, plan: _Plan, sources, merge: bool, dtype: str) -> dict:
    return {
        "name": name,
        "version": "imported",
        "license": "; ".join(LICENCES.values()),
        "trained_on": "DQ-495K, by the authors of DepictQA-Wild (arXiv 2405.18842); some of their deltas also on other"
        " data, see the page that the delta came from",
        "variant": "abstractor" if plan.sizes.abstractor else "projector",
        "lora": "merged" if merge else "kept apart",
        "dtype": dtype,
        "sources": list(sources),
    }
