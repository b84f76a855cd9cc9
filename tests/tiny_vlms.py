"""Tiny random vision-language models of transformers, each a folder as users have it: weights, processor, template."""

import json
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from depictqa_core import tasks
from depictqa_core.backends.profiles import choose_profile
from depictqa_core.backends.vlm_adapter import fingerprint, save_adapter, with_lora
from depictqa_core.backends.vlm_loading import load_vlm

TEXTS = [*tasks.identification_answers(), *tasks.WINNERS, *tasks.LEVELS, *tasks.GRADES, "user assistant model system"]
TEXTS += [task.question for task in tasks.TASKS.values()] + [
    "The quality of the image is excellent",
    "yes no 1 2 3 4 5",
]

CHATML = """{%- for m in messages %}<|im_start|>{{ m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}IMAGE{% else %}\
{{ c.text }}{% endif %}{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
THINK{% endif %}"""
GEMMA = """{{ bos_token }}{%- for m in messages %}{%- if m.role == 'system' %}{{ raise_exception('no system role') }}\
{%- endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}
{% if m.content is string %}{{ m.content }}{% else %}{% for c in m.content %}{% if c.type == 'image' %}\
<start_of_image>{% else %}{{ c.text }}{% endif %}{% endfor %}{% endif %}<end_of_turn>
{% endfor %}{% if add_generation_prompt %}<start_of_turn>model
{% endif %}"""
IDEFICS = """<|im_start|>{% for m in messages %}{{ m.role | capitalize }}:{% for c in m.content %}\
{% if c.type == 'image' %}<image>{% else %} {{ c.text }}{% endif %}{% endfor %}<end_of_utterance>
{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"""
VICUNA = """{% for m in messages %}{{ 'USER: ' if m.role == 'user' else 'ASSISTANT: ' }}{% for c in m.content %}\
{% if c.type == 'image' %}<image>
{% else %}{{ c.text }} {% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"""


def chatml(image: str, think: str = "") -> str:
    return CHATML.replace("IMAGE", image).replace("THINK", think)


QWEN_IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
THINKING = (
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}"
)


def text(vocabulary: int, **more) -> dict:
    """Settings of a tiny language model."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    return {**sizes, **ends, "num_key_value_heads": 2, "vocab_size": vocabulary, "initializer_range": 0.3, **more}


def qwen2_5_vl(ids, size):
    rope = {"type": "mrope", "rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
    vision |= {"patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1], "initializer_range": 0.2}
    return transformers.Qwen2_5_VLConfig(
        text_config=text(size, rope_scaling=rope, rope_parameters=rope), vision_config=vision, **_qwen_ids(ids)
    )


def qwen3_vl(ids, size):
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0, "mrope_interleaved": True}
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
    vision |= {"patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
    return transformers.Qwen3VLConfig(
        text_config=text(size, head_dim=8, rope_scaling=rope, rope_parameters=rope),
        vision_config={**vision, "initializer_range": 0.2},
        **_qwen_ids(ids),
    )


def qwen3_5(ids, size):
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0, "partial_rotary_factor": 1.0}
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8}
    linear |= {"linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]}
    vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "out_hidden_size": 32}
    return transformers.Qwen3_5Config(
        text_config=text(size, head_dim=8, rope_parameters=rope, **linear),
        vision_config={**vision, "patch_size": 16, "num_position_embeddings": 64, "initializer_range": 0.2},
        **_qwen_ids(ids),
    )


def _qwen_ids(ids):
    names = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>"}
    names |= {"vision_start_token_id": "<|vision_start|>", "vision_end_token_id": "<|vision_end|>"}
    return {name: ids[token] for name, token in names.items()}


LORA = {"r": 2, "lora_alpha": 8.0, "lora_dropout": 0.0, "modules_to_save": ["model.visual.merger"]}
SIGLIP = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
SIGLIP |= {"image_size": 32, "patch_size": 8}


def smolvlm(ids, size):
    return transformers.SmolVLMConfig(
        text_config={"model_type": "llama", **text(size)},
        vision_config={**SIGLIP, "initializer_range": 0.2},
        image_token_id=ids["<image>"],
        scale_factor=2,
    )


def internvl(ids, size):
    vision = {**SIGLIP, "image_size": [32, 32], "patch_size": [8, 8], "initializer_range": 0.2}
    return transformers.InternVLConfig(
        text_config={"model_type": "qwen2", **text(size)},
        vision_config=vision,
        image_token_id=ids["<IMG_CONTEXT>"],
        image_seq_length=4,
    )


def gemma3(ids, size):
    return transformers.Gemma3Config(
        text_config=text(size, head_dim=8, sliding_window=16, layer_types=["sliding_attention", "full_attention"]),
        vision_config={"model_type": "siglip_vision_model", **SIGLIP},
        mm_tokens_per_image=4,
        image_token_index=ids["<image_soft_token>"],
        image_token_id=ids["<image_soft_token>"],
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
    )


def llava(ids, size):
    return transformers.LlavaConfig(
        text_config={"model_type": "llama", **text(size)},
        vision_config={"model_type": "clip_vision_model", **SIGLIP, "projection_dim": 32},
        image_token_index=ids["<image>"],
        image_token_id=ids["<image>"],
    )


def llava_onevision(ids, size):
    return transformers.LlavaOnevisionConfig(
        text_config={"model_type": "qwen2", **text(size)},
        vision_config={"model_type": "siglip_vision_model", **SIGLIP},
        image_token_index=ids["<image>"],
        image_token_id=ids["<image>"],
        image_grid_pinpoints=[[32, 32], [32, 64], [64, 32]],
    )


QWEN = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>", "<think>", "</think>"]
FAMILIES = {
    # configuration, control tokens, template, processor, image processor and its settings, settings of the processor
    "qwen2_5_vl": (qwen2_5_vl, QWEN, chatml(QWEN_IMAGE), "Qwen2_5_VLProcessor", "Qwen2VL", {"patch_size": 14}, {}),
    "qwen3_vl": (qwen3_vl, QWEN, chatml(QWEN_IMAGE), "Qwen3VLProcessor", "Qwen2VL", {"patch_size": 16}, {}),
    "qwen3_5": (qwen3_5, QWEN, chatml(QWEN_IMAGE, THINKING), "Qwen3VLProcessor", "Qwen2VL", {"patch_size": 16}, {}),
    "smolvlm": (
        smolvlm,
        ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"],
        IDEFICS,
        "SmolVLMProcessor",
        "SmolVLM",
        {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}},
        {"image_seq_len": 4},
    ),
    "internvl": (
        internvl,
        ["<img>", "</img>", "<IMG_CONTEXT>", "<video>"],
        chatml("<IMG_CONTEXT>\n"),
        "InternVLProcessor",
        "GotOcr2",
        {"size": {"height": 32, "width": 32}, "crop_to_patches": False},
        {"image_seq_length": 4},
    ),
    "gemma3": (
        gemma3,
        ["<start_of_image>", "<end_of_image>", "<image_soft_token>", "<start_of_turn>", "<end_of_turn>"],
        GEMMA,
        "Gemma3Processor",
        "Gemma3",
        {"size": {"height": 32, "width": 32}},
        {"image_seq_length": 4},
    ),
    "llava": (
        llava,
        ["<image>"],
        VICUNA,
        "LlavaProcessor",
        "CLIP",
        {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}},
        {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
    ),
    "llava_onevision": (
        llava_onevision,
        ["<image>", "<video>"],
        chatml("<image>\n"),
        "LlavaOnevisionProcessor",
        "LlavaOnevision",
        {"size": {"height": 32, "width": 32}, "image_grid_pinpoints": [[32, 32], [32, 64], [64, 32]]},
        {"num_image_tokens": 16, "vision_feature_select_strategy": "full"},
    ),
}
NAMED = {
    "internvl": {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    },
    "gemma3": {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
}
"""Control tokens that the processors ask the tokenizer for by name."""


def make_tokenizer(special: list[str], named: dict[str, str] | None = None):
    """A byte-level BPE with the control tokens of a family; ids 0 and 1 begin and end."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    control = ["<bos>", "<eos>", "<|im_start|>", "<|im_end|>", *special]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        TEXTS * 4, trainers.BpeTrainer(vocab_size=700, special_tokens=control, initial_alphabet=alphabet)
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<eos>",
        model_max_length=4096,
        extra_special_tokens=named or {},
        clean_up_tokenization_spaces=False,
    )


def make_tiny_vlm(folder, family: str, seed: int = 0, scale: float = 0.25) -> Path:
    """Write a tiny random model of a family, with weights of this standard deviation, and return its folder."""
    configure, special, template, processor, images, settings, own = FAMILIES[family]
    folder = Path(folder)
    tokenizer = make_tokenizer(special, NAMED.get(family))
    torch.manual_seed(seed)
    config = configure(tokenizer.get_vocab(), len(tokenizer))
    model = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:  # random enough for probabilities that differ
                weight.normal_(0, scale if "embed" not in name else 0.5)
    model.generation_config.eos_token_id = [1, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    kind = getattr(transformers, f"{images}ImageProcessorPil", None) or getattr(transformers, f"{images}ImageProcessor")
    kind(**settings).save_pretrained(folder)
    path = folder / "preprocessor_config.json"
    content = json.loads(path.read_text()) | {"processor_class": processor}
    path.write_text(json.dumps(content))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": processor, **own}))
    return folder


def make_tiny_adapter(folder, base, **changes):
    """Write a LoRA adapter of random weights of a tiny Qwen2.5-VL, straight from peft; return peft's model.

    Args:
        folder: of the adapter, which is made.
        base: folder of the model.
        changes: other entries of the card.
    """
    from peft import get_peft_model_state_dict

    model = load_vlm(base, "cpu", "float32").model
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    settings = {**LORA, "target_modules": [name for name in linear if "language_model" in name]}
    adapted = with_lora(model, settings)
    torch.manual_seed(1)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, 0, 0.2)
    where = {"name": base.name, "path": str(base), "architecture": "qwen2_5_vl", "hash": fingerprint(base)}
    card = {"name": "mine", "version": "1", "license": "CC0", "trained_on": "noise", "tasks": ["score"], "base": where}
    folder.mkdir()
    profile = choose_profile(base, "qwen2_5_vl")
    save_adapter(folder, get_peft_model_state_dict(adapted), settings, profile, {**card, **changes})
    return adapted
