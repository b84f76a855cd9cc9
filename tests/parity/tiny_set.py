"""A tiny random model set in the on-disk layout of the published one, the same tensors from the same seed every time.

The golden files beside this one hold what the original model computed on the set of seed 0 with the projector delta
(fp32, CPU, transformers 4.35, peft 0.3, Pillow 12): token ids of every segment, image embeddings, patch features,
logits, hidden states, greedy ids, training batches with their loss, and confidences. Logits are kept for every 8th
token, patch features for every 16th patch and 4th channel.
"""

import json
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

WIDTH, PATCH, POSITIONS, BLOCKS = 1024, 14, 257, 2
HIDDEN, LAYERS, HEADS, VOCABULARY, RANK = 64, 2, 4, 32000, 16
ABSTRACTOR = {"queries": 8, "layers": 2, "heads": 8, "feedforward": 128}
PIECES = Path(__file__).parent / "pieces.txt"
FIXED = {319: "▁A", 322: "▁and", 350: "▁B", 7084: "▁Image", 29871: "▁"}
"""Pieces whose ids matter stand where the real tokenizer has them."""
PICTURES = {
    "ref_sq": (224, 224, "clean"),
    "a_sq": (224, 224, "noise"),
    "b_sq": (224, 224, "dark"),
    "a_wide": (300, 500, "noise"),
    "a_tall": (900, 260, "clean"),
    "a_tiny": (40, 97, "noise"),
    "a_odd": (131, 157, "dark"),
    "a_strip": (100, 1000, "clean"),
}


def _random(generator, *shape, std=0.02, mean=0.0):
    return torch.randn(*shape, generator=generator) * std + mean


def _attention(g, prefix, width, out):
    out[prefix + "in_proj_weight"] = _random(g, 3 * width, width, std=0.04)
    out[prefix + "in_proj_bias"] = _random(g, 3 * width)
    out[prefix + "out_proj.weight"] = _random(g, width, width, std=0.04)
    out[prefix + "out_proj.bias"] = _random(g, width)


def _norm(g, name, width, out):
    out[name + ".weight"] = _random(g, width, std=0.1, mean=1.0)
    out[name + ".bias"] = _random(g, width, std=0.1)


def _block(g, prefix, width, out):
    _attention(g, prefix + "attn.", width, out)
    _norm(g, prefix + "ln_1", width, out)
    _norm(g, prefix + "ln_2", width, out)
    out[prefix + "mlp.c_fc.weight"] = _random(g, 4 * width, width, std=0.04)
    out[prefix + "mlp.c_fc.bias"] = _random(g, 4 * width)
    out[prefix + "mlp.c_proj.weight"] = _random(g, width, 4 * width, std=0.02)
    out[prefix + "mlp.c_proj.bias"] = _random(g, width)


def clip_state(seed: int) -> OrderedDict:
    """A whole CLIP in OpenAI's names, text tower included: matrices in fp16, norms and embeddings in fp32."""
    g, out, text = torch.Generator().manual_seed(seed), OrderedDict(), 64
    out["positional_embedding"] = _random(g, 8, text)
    out["text_projection"] = _random(g, text, 768)
    out["logit_scale"] = torch.tensor(4.6)
    out["visual.class_embedding"] = _random(g, WIDTH, std=0.5)
    out["visual.positional_embedding"] = _random(g, POSITIONS, WIDTH, std=0.5)
    out["visual.proj"] = _random(g, WIDTH, 768)
    out["visual.conv1.weight"] = _random(g, WIDTH, 3, PATCH, PATCH, std=0.05)
    _norm(g, "visual.ln_pre", WIDTH, out)
    _norm(g, "visual.ln_post", WIDTH, out)
    for i in range(BLOCKS):
        _block(g, f"visual.transformer.resblocks.{i}.", WIDTH, out)
    _block(g, "transformer.resblocks.0.", text, out)
    out["token_embedding.weight"] = _random(g, 32, text)
    out["ln_final.weight"] = _random(g, text, mean=1.0)
    out["ln_final.bias"] = _random(g, text)
    half = ("conv1", "in_proj", "out_proj", "c_fc", "c_proj", "text_projection", "visual.proj")
    out = OrderedDict((k, v.half() if any(part in k for part in half) else v.float()) for k, v in out.items())
    out |= {"input_resolution": torch.tensor(224), "context_length": torch.tensor(8), "vocab_size": torch.tensor(32)}
    return out


class _Node(nn.Module):
    def forward(self, x):
        return x


def save_torchscript(state: dict, path: Path) -> None:
    """Write a state dict as a TorchScript archive of nested modules."""
    root = _Node()
    for name, value in state.items():
        node, (*folders, leaf) = root, name.split(".")
        for folder in folders:
            if folder not in node._modules:
                node.add_module(folder, _Node())
            node = node._modules[folder]
        if value.is_floating_point():
            node.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
        else:
            node.register_buffer(leaf, value)
    torch.jit.trace(root, torch.zeros(1), check_trace=False).save(str(path))


def language_state(seed: int, padding: int | None = 0) -> OrderedDict:
    """A LLaMA as transformers 4.35 initialises it: every module draws first PyTorch's default, then normal weights."""
    torch.manual_seed(seed)
    shapes = {f"self_attn.{x}_proj": (HIDDEN, HIDDEN) for x in "qkvo"}
    shapes |= {f"mlp.{x}_proj": (HIDDEN, 2 * HIDDEN) for x in ("gate", "up")} | {"mlp.down_proj": (2 * HIDDEN, HIDDEN)}
    modules = {"model.embed_tokens": nn.Embedding(VOCABULARY, HIDDEN)}
    for i in range(LAYERS):
        for name, (inputs, outputs) in shapes.items():
            modules[f"model.layers.{i}.{name}"] = nn.Linear(inputs, outputs, bias=False)
    for module in modules.values():
        module.weight.data.normal_(0.0, 0.08)
    modules["model.embed_tokens"].weight.data[0].zero_()
    modules["lm_head"] = nn.Linear(HIDDEN, VOCABULARY, bias=False)
    modules["lm_head"].weight.data.normal_(0.0, 0.08)
    out = OrderedDict((f"{name}.weight", module.weight.data.half()) for name, module in modules.items())
    norms = [f"model.layers.{i}.{n}_layernorm" for i in range(LAYERS) for n in ("input", "post_attention")]
    return out | {f"{name}.weight": torch.ones(HIDDEN).half() for name in (*norms, "model.norm")}


def _message(*fields) -> bytes:
    """A protocol buffer message of (number, value); ints are varints, floats 32 bits, the rest bytes."""

    def varint(value):
        low, rest = value & 127, value >> 7
        return bytes([low | 128]) + varint(rest) if rest else bytes([low])

    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        elif isinstance(value, float):
            out += varint(number << 3 | 5) + struct.pack("<f", value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def pieces() -> list[tuple[str, float, int]]:
    """(piece, score, kind) of all 32000 ids: special ones, bytes, 221 trained pieces, and unused ones between."""
    trained = {piece: -float(rank) for rank, piece in enumerate(PIECES.read_text(encoding="utf-8").splitlines())}
    lowest = min(trained.values()) - 1
    table = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)] + [(f"<0x{i:02X}>", 0.0, 6) for i in range(256)]
    table += [None] * (VOCABULARY - len(table))
    for index, piece in FIXED.items():
        table[index] = (piece, trained.pop(piece, lowest), 1)
    free = iter(index for index, entry in enumerate(table) if entry is None)
    for piece, score in trained.items():
        table[next(free)] = (piece, score, 1)
    return [entry or (f"<unused{index}>", 0.0, 5) for index, entry in enumerate(table)]


def sentencepiece_model() -> bytes:
    """The tokenizer as a serialised SentencePiece model."""
    rows = [(1, _message((1, piece.encode()), (2, score), (3, kind))) for piece, score, kind in pieces()]
    trained = _message((3, 2), (4, VOCABULARY), (35, 1), (40, 0), (41, 1), (42, 2))
    return _message(*rows, (2, trained), (3, _message((1, b"identity"), (3, 1), (4, 0), (5, 1))))


def write_language(folder: Path, seed: int) -> None:
    """A LLaMA folder: two pickled shards with an index and rotary buffers, config, slow tokenizer."""
    folder.mkdir(parents=True)
    state = language_state(seed)
    for i in range(LAYERS):
        state[f"model.layers.{i}.self_attn.rotary_emb.inv_freq"] = torch.ones(HIDDEN // HEADS // 2)
    names, places = list(state), {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save(OrderedDict((name, state[name]) for name in part), folder / file)
        places |= dict.fromkeys(part, file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in state.values())}, "weight_map": places}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "vocab_size": 32000}
    config |= {"hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": LAYERS}
    config |= {"num_attention_heads": HEADS, "num_key_value_heads": HEADS, "max_position_embeddings": 4096}
    config |= {"rms_norm_eps": 1e-05, "rope_scaling": None, "tie_word_embeddings": False, "initializer_range": 0.08}
    config |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "torch_dtype": "float16", "use_cache": True}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.model").write_bytes(sentencepiece_model())
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer", "legacy": False}))


def delta_state(seed: int, abstractor: bool) -> OrderedDict:
    """A delta: LoRA and projector, and the abstractor where asked for, in fp16."""
    g, out = torch.Generator().manual_seed(seed), OrderedDict()
    for i in range(LAYERS):
        for m in "qkvo":
            prefix = f"llm.base_model.model.model.layers.{i}.self_attn.{m}_proj.lora_"
            out[prefix + "A.default.weight"] = _random(g, RANK, HIDDEN, std=0.1)
            out[prefix + "B.default.weight"] = _random(g, HIDDEN, RANK, std=0.1)
    if abstractor:
        inner = ABSTRACTOR["feedforward"]
        out["abstractor.query_embeds"] = torch.randn(ABSTRACTOR["queries"], 1, WIDTH, generator=g)
        for i in range(ABSTRACTOR["layers"]):
            prefix = f"abstractor.abstractor.layers.{i}."
            _attention(g, prefix + "self_attn.", WIDTH, out)
            _attention(g, prefix + "multihead_attn.", WIDTH, out)
            out[prefix + "linear1.weight"] = _random(g, inner, WIDTH, std=0.04)
            out[prefix + "linear1.bias"] = _random(g, inner)
            out[prefix + "linear2.weight"] = _random(g, WIDTH, inner, std=0.04)
            out[prefix + "linear2.bias"] = _random(g, WIDTH)
            for norm in ("norm1", "norm2", "norm3"):
                _norm(g, prefix + norm, WIDTH, out)
    out["vision_proj.weight"] = _random(g, HIDDEN, WIDTH, std=0.03)
    out["vision_proj.bias"] = _random(g, HIDDEN, std=0.03)
    return OrderedDict((name, value.half()) for name, value in out.items())


def picture(name: str) -> np.ndarray:
    """One synthetic image, uint8 [H, W, 3]."""
    h, w, kind = PICTURES[name]
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    r = 127.5 + 90 * np.sin(x / 9.0) * np.cos(y / 13.0) + 30 * (x / w)
    g = 127.5 + 80 * np.cos(x / 17.0 + y / 7.0) - 20 * (y / h)
    b = 255.0 * ((x // 16 + y // 16) % 2) * 0.6 + 40
    image = np.stack([r, g, b], -1)
    if kind == "noise":
        image = image + np.random.RandomState(7).normal(0, 35, image.shape)
    if kind == "dark":
        image = image * 0.45
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def write(folder: Path, seed: int = 0) -> Path:
    """Write the whole set: clip/, llm/, delta/ and images/."""
    folder = Path(folder)
    for name in ("clip", "delta", "images"):
        (folder / name).mkdir(parents=True)
    state = clip_state(seed)
    torch.save(state, folder / "clip" / "ViT-tiny-14.sd.pt")
    save_torchscript(state, folder / "clip" / "ViT-tiny-14.pt")
    write_language(folder / "llm", seed + 1)
    torch.save(delta_state(seed + 2, False), folder / "delta" / "ckpt_projector.pt")
    torch.save(delta_state(seed + 3, True), folder / "delta" / "ckpt_abstractor.pt")
    for name in PICTURES:
        Image.fromarray(picture(name)).save(folder / "images" / f"{name}.png")
    return folder
