"""Names and shapes of the published DepictQA-Wild weights, and their names in our network.

Source: method.md 2.1 to 2.4. Every table maps a name in a published file to an ``Entry``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..errors import CheckpointError

LORA_ALPHA, LORA_DROPOUT = 16, 0.1
LORA_MODULES = ("q_proj", "k_proj", "v_proj", "o_proj")
ABSTRACTOR_HEADS = 8
HEAD_WIDTH = 64
BOUNDS = {False: (224, 672), True: (1024, 2048)}
"""Maximum short and long side in pixels in the training, without and with abstractor."""

TOWER_LETTERS = {768: "B", 1024: "L", 1280: "H", 1408: "g", 1664: "bigG"}
"""Widths of CLIP's vision transformers, and the letters in their names."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """One tensor of a published file.

    Attributes:
        shape: its shape in the file.
        targets: the tensors of our network that it is split into along its first axis.
        target_shape: the shape of each of them.
    """

    shape: Shape
    targets: tuple[str, ...]
    target_shape: Shape


Table = dict[str, Entry]


@dataclass(frozen=True)
class Clip:
    """Sizes of the CLIP vision tower; ``positions`` counts the class token."""

    width: int = 1024
    layers: int = 24
    feedforward: int = 4096
    patch: int = 14
    positions: int = 257

    @property
    def config(self) -> dict:
        return {
            "kind": "clip",
            "hidden_size": self.width,
            "intermediate_size": self.feedforward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.width // HEAD_WIDTH,
            "patch_size": self.patch,
            "image_size": round((self.positions - 1) ** 0.5) * self.patch,
            "hidden_act": "quick_gelu",
        }


@dataclass(frozen=True)
class Language:
    """Sizes of the LLaMA language model."""

    width: int = 4096
    layers: int = 32
    heads: int = 32
    key_heads: int = 32
    feedforward: int = 11008
    vocabulary: int = 32000


@dataclass(frozen=True)
class Abstractor:
    """Sizes of the abstractor."""

    queries: int = 64
    layers: int = 4
    feedforward: int = 2048


@dataclass(frozen=True)
class Delta:
    """Sizes of a delta: LoRA rank, and the abstractor if it has one."""

    rank: int = 16
    abstractor: Abstractor | None = None

    @property
    def connector(self) -> dict:
        if self.abstractor is None:
            return {"kind": "linear"}
        a = self.abstractor
        return {"kind": "abstractor"} | {
            "queries": a.queries,
            "layers": a.layers,
            "heads": ABSTRACTOR_HEADS,
            "feedforward": a.feedforward,
        }


def _same(shape: Shape, target: str) -> Entry:
    return Entry(shape, (target,), shape)


def _both(source: str, target: str, weight: Shape) -> Table:
    """Return the entries of a weight and its bias."""
    return {f"{source}.{kind}": _same(s, f"{target}.{kind}") for kind, s in (("weight", weight), ("bias", weight[:1]))}


def openai_clip(clip: Clip) -> Table:
    """Return the table of the vision tower in OpenAI's names, without unused tensors (``ln_post``, ``proj``, the text
    tower)."""
    w, table = clip.width, {}
    table["visual.class_embedding"] = _same((w,), "vision.class_embedding")
    table["visual.positional_embedding"] = _same((clip.positions, w), "vision.position_embedding")
    table["visual.conv1.weight"] = _same((w, 3, clip.patch, clip.patch), "vision.patch_embedding.weight")
    table |= _both("visual.ln_pre", "vision.pre_layernorm", (w,))
    for i in range(clip.layers):
        source, target = f"visual.transformer.resblocks.{i}.", f"vision.encoder.layers.{i}."
        for kind, shape in (("weight", (w, w)), ("bias", (w,))):
            targets = tuple(f"{target}self_attn.{x}_proj.{kind}" for x in "qkv")
            table[f"{source}attn.in_proj_{kind}"] = Entry((3 * w, *shape[1:]), targets, shape)
        table |= _both(source + "attn.out_proj", target + "self_attn.out_proj", (w, w))
        table |= _both(source + "ln_1", target + "layer_norm1", (w,))
        table |= _both(source + "ln_2", target + "layer_norm2", (w,))
        table |= _both(source + "mlp.c_fc", target + "mlp.fc1", (clip.feedforward, w))
        table |= _both(source + "mlp.c_proj", target + "mlp.fc2", (w, clip.feedforward))
    return table


def transformers_clip(clip: Clip) -> Table:
    """Return the table of the same tower in the names of ``CLIPVisionModel``, without the prefix ``vision_model.``."""
    w, table = clip.width, {}
    table["embeddings.class_embedding"] = _same((w,), "vision.class_embedding")
    table["embeddings.position_embedding.weight"] = _same((clip.positions, w), "vision.position_embedding")
    table["embeddings.patch_embedding.weight"] = _same((w, 3, clip.patch, clip.patch), "vision.patch_embedding.weight")
    table |= _both("pre_layrnorm", "vision.pre_layernorm", (w,))
    for i in range(clip.layers):
        layer = f"encoder.layers.{i}."
        shapes: dict[str, tuple[int, ...]] = {f"self_attn.{x}_proj": (w, w) for x in ("q", "k", "v", "out")}
        shapes |= {"layer_norm1": (w,), "layer_norm2": (w,)}
        shapes |= {"mlp.fc1": (clip.feedforward, w), "mlp.fc2": (w, clip.feedforward)}
        for name, shape in shapes.items():
            table |= _both(layer + name, f"vision.{layer}{name}", shape)
    return table


def language(sizes: Language, lora: bool) -> Table:
    """Return the table of the language model in the names of ``LlamaForCausalLM``; ``lora``: for separate LoRA
    weights."""
    w, head = sizes.width, sizes.width // sizes.heads
    layer = {
        "self_attn.q_proj.weight": (sizes.heads * head, w),
        "self_attn.k_proj.weight": (sizes.key_heads * head, w),
        "self_attn.v_proj.weight": (sizes.key_heads * head, w),
        "self_attn.o_proj.weight": (w, sizes.heads * head),
        "mlp.gate_proj.weight": (sizes.feedforward, w),
        "mlp.up_proj.weight": (sizes.feedforward, w),
        "mlp.down_proj.weight": (w, sizes.feedforward),
        "input_layernorm.weight": (w,),
        "post_attention_layernorm.weight": (w,),
    }
    shapes = {"model.embed_tokens.weight": (sizes.vocabulary, w), "model.norm.weight": (w,)}
    shapes |= {f"model.layers.{i}.{name}": shape for i in range(sizes.layers) for name, shape in layer.items()}
    shapes["lm_head.weight"] = (sizes.vocabulary, w)
    table = {}
    for name, shape in shapes.items():
        target = "language." + name
        if lora and name.endswith(tuple(f".{module}.weight" for module in LORA_MODULES)):
            target = target.removesuffix("weight") + "base_layer.weight"
        table[name] = _same(shape, target)
    return table


def delta(sizes: Delta, clip: Clip, llm: Language) -> Table:
    """Return the table of LoRA, projector and abstractor in the names of a published ``ckpt.pt``."""
    w, head, table = clip.width, llm.width // llm.heads, {}
    keys, queries = llm.key_heads * head, llm.heads * head
    sides = {"q_proj": (llm.width, queries), "k_proj": (llm.width, keys), "v_proj": (llm.width, keys)}
    sides["o_proj"] = (queries, llm.width)
    for i in range(llm.layers):
        for module, (inputs, outputs) in sides.items():
            name = f"model.layers.{i}.self_attn.{module}.lora_"
            for kind, shape in (("A", (sizes.rank, inputs)), ("B", (outputs, sizes.rank))):
                tail = f"{name}{kind}.default.weight"
                table["llm.base_model.model." + tail] = _same(shape, "language." + tail)
    table |= _both("vision_proj", "connector.projector", (llm.width, w))
    if sizes.abstractor is None:
        return table
    a = sizes.abstractor
    table["abstractor.query_embeds"] = Entry((a.queries, 1, w), ("connector.queries",), (a.queries, w))
    for i in range(a.layers):
        source, target = f"abstractor.abstractor.layers.{i}.", f"connector.abstractor.layers.{i}."
        for attention in ("self_attn.", "multihead_attn."):
            table[f"{source}{attention}in_proj_weight"] = _same((3 * w, w), f"{target}{attention}in_proj_weight")
            table[f"{source}{attention}in_proj_bias"] = _same((3 * w,), f"{target}{attention}in_proj_bias")
            table |= _both(f"{source}{attention}out_proj", f"{target}{attention}out_proj", (w, w))
        table |= _both(source + "linear1", target + "linear1", (a.feedforward, w))
        table |= _both(source + "linear2", target + "linear2", (w, a.feedforward))
        for norm in ("norm1", "norm2", "norm3"):
            table |= _both(source + norm, target + norm, (w,))
    return table


# ---------------------------------------------------------------------- sizes from the shapes of a file


def clip_sizes(shapes: Mapping[str, Shape], what: str) -> tuple[Clip, bool]:
    """Return the sizes of a CLIP file, and whether it has OpenAI's names.

    Raises:
        CheckpointError: it is not a ViT-L/14 at 224 px (with any number of layers).
    """
    openai = "visual.conv1.weight" in shapes
    names = ["visual.conv1.weight", "visual.positional_embedding", "visual.transformer.resblocks.0.mlp.c_fc.weight"]
    if not openai:
        names = ["embeddings.patch_embedding.weight", "embeddings.position_embedding.weight"]
        names.append("encoder.layers.0.mlp.fc1.weight")
    missing = [name for name in names if len(shapes.get(name, ())) < 2]
    if missing:
        raise CheckpointError(f"{what} holds no CLIP vision transformer (missing: {', '.join(missing)})")
    conv, positions, first = (shapes[name] for name in names)
    block = r"visual\.transformer\.resblocks\.(\d+)\." if openai else r"encoder\.layers\.(\d+)\."
    clip = Clip(conv[0], _count(block, shapes), first[0], conv[-1], positions[0])
    if clip.width % HEAD_WIDTH or round((clip.positions - 1) ** 0.5) ** 2 != clip.positions - 1:
        raise CheckpointError(
            f"{what} is no CLIP of a known kind (width {clip.width}, {clip.positions} position embeddings)"
        )
    if (clip.width, clip.patch, clip.positions) != (Clip.width, Clip.patch, Clip.positions):
        raise CheckpointError(f"{what} is {_tower_name(clip)}: use OpenAI's ViT-L/14 at 224 px")
    return clip, openai


def _tower_name(clip: Clip) -> str:
    """Return the name of a tower as used by CLIP's authors, such as ViT-L/14@336px."""
    side = clip.config["image_size"]
    letter = TOWER_LETTERS.get(clip.width, f"(width {clip.width})")
    return f"ViT-{letter}/{clip.patch}" + (f"@{side}px" if side != Clip().config["image_size"] else "")


def delta_sizes(shapes: Mapping[str, Shape]) -> Delta:
    """Return the sizes of a delta, as far as its shapes determine them; it must match the whole table made from
    them."""
    ranks = Counter(shape[0] for name, shape in shapes.items() if ".lora_A." in name and shape)
    found = Delta(ranks.most_common(1)[0][0] if ranks else Delta.rank)
    if not any(name.startswith("abstractor.") for name in shapes):
        return found
    queries = shapes.get("abstractor.query_embeds", ())
    widths = Counter(s[0] for name, s in shapes.items() if ".linear1." in name and s)
    widths += Counter(s[1] for name, s in shapes.items() if name.endswith(".linear2.weight") and len(s) == 2)
    return replace(
        found,
        abstractor=Abstractor(
            queries[0] if len(queries) == 3 else Abstractor.queries,
            _count(r"abstractor\.abstractor\.layers\.(\d+)\.", shapes) or Abstractor.layers,
            widths.most_common(1)[0][0] if widths else Abstractor.feedforward,
        ),
    )


def published_sizes(clip: Clip, llm: Language, found: Delta) -> tuple[Clip, Delta]:
    """Return the required sizes.

    A language model of the published size requires the published sizes of all others, so that a file without its last
    layers is not accepted as a smaller one.
    """
    if llm.width != Language.width:
        return clip, found
    return Clip(), Delta(abstractor=found.abstractor and Abstractor())


def _count(pattern: str, names: Iterable[str]) -> int:
    """Return the number of layers by the numbers in the names."""
    return max((int(match[1]) + 1 for match in (re.match(pattern, name) for name in names) if match), default=0)


def refuse_misfits(what: str, shapes: Mapping[str, Shape], table: Table, remedy: str, extra: bool = True) -> None:
    """Raise CheckpointError with the names that are missing, unexpected (if ``extra``) or of another shape."""
    wrong = {
        "missing": [name for name in table if name not in shapes],
        "unexpected": [name for name in shapes if name not in table] if extra else [],
        "of another shape": [
            f"{name} {_text(shapes[name])} instead of {_text(entry.shape)}"
            for name, entry in table.items()
            if name in shapes and tuple(shapes[name]) != entry.shape
        ],
    }
    listed = []
    for kind, names in wrong.items():
        if names:
            more = f" and {len(names) - 12} more" if len(names) > 12 else ""
            listed.append(f"{len(names)} {kind}: {', '.join(sorted(names)[:12])}{more}")
    if listed:
        raise CheckpointError(f"{what} does not fit ({'; '.join(listed)}); {remedy}")


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape)) or "a single value"
