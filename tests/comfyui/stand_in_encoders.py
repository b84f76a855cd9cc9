"""Tiny text encoders with random weights, made of ComfyUI's own classes, and probabilities straight from them.

Only a ComfyUI from 0.26 on has these classes.
"""

import json
import os
import string
import tempfile
from functools import partial
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
from PIL import Image


class AnyType(str):
    """A type of socket that takes links of every type."""

    def __ne__(self, other):
        return False


ANY = AnyType("*")
VISION = {"hidden_size": 32, "num_heads": 2, "intermediate_size": 64, "depth": 2}
LANGUAGE = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 2, "num_key_value_heads": 1}
QWEN35 = {"head_dim": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8}
QWEN35 |= {"linear_value_head_dim": 8, "mrope_section": [2, 1, 1]}
QWEN35 |= {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
SIGLIP = {"num_channels": 3, "hidden_act": "gelu_pytorch_tanh", "hidden_size": 32, "image_size": 896, "patch_size": 224}
SIGLIP |= {"intermediate_size": 64, "model_type": "siglip_vision_model", "num_attention_heads": 2}
SIGLIP |= {"num_hidden_layers": 2}
QWEN35_SPECIAL = {248044: "<|endoftext|>", 248045: "<|im_start|>", 248046: "<|im_end|>", 248053: "<|vision_start|>"}
QWEN35_SPECIAL |= {248054: "<|vision_end|>", 248056: "<|image_pad|>", 248068: "<think>", 248069: "</think>"}
GEMMA_SPECIAL = ["<start_of_turn>", "<start_of_image>", "<end_of_image>"]
GEMMA_SPECIAL += [f"\N{LOWER ONE EIGHTH BLOCK}{level}" for level in ("excellent", "good", "fair", "poor", "bad")]
TEXTS = ["How would you rate the quality of the image? The quality of the image is excellent good fair poor bad"] * 9
TEXTS += ["Image A: Image B: Which image has the higher quality? Answer with Image A or Image B only. yes no"] * 9
TEXTS += [f"{string.ascii_letters} {string.digits} {string.punctuation} model user"]


def qwen3vl(config=None):
    from comfy.text_encoders import krea2, qwen3vl

    sizes = {**VISION, "deepstack_visual_indexes": [0, 1]}
    with (
        mock.patch.dict(qwen3vl.QWEN3VL_VISION, {"qwen3vl_4b": sizes}),
        mock.patch.dict(qwen3vl.QWEN3VL_VISION_COMMON, {"num_heads": 2, "num_position_embeddings": 64}),
    ):
        settings = {**LANGUAGE, "num_hidden_layers": 2, **(config or {})}
        return clip_of(krea2.te(), krea2.Krea2Tokenizer, {"qwen3vl_4b_model_config": settings})


def truncated():
    return qwen3vl({"final_norm": False})


def sightless():
    """A file that lacks the vision tower: ComfyUI leaves such weights as they are."""
    clip = qwen3vl()
    for weight in clip.cond_stage_model.qwen3vl_4b.transformer.visual.parameters():
        weight.zero_()
    return clip


def qwen35():
    from comfy import sd1_clip
    from comfy.text_encoders import qwen35
    from transformers import Qwen2Tokenizer

    class Tokens(sd1_clip.SDTokenizer):
        """That of Qwen3.5, over a small vocabulary with the control tokens in their places."""

        def __init__(self, **_):
            source = os.path.join(os.path.dirname(qwen35.__file__), "qwen25_tokenizer")
            with open(os.path.join(source, "vocab.json"), encoding="utf-8") as file:
                known = json.load(file)
            first, last = min(QWEN35_SPECIAL), max(QWEN35_SPECIAL)  # without gaps, which would move ids
            tokens = {key: QWEN35_SPECIAL.get(key, f"<|unused {key}|>") for key in range(first, last + 1)}
            control = {str(key): {"content": text, "special": True} for key, text in tokens.items()}
            with tempfile.TemporaryDirectory() as folder:
                vocabulary = known | {f"<unused {i}>": i for i in range(len(known), first)}
                for name, content in (("vocab", vocabulary), ("tokenizer_config", {"added_tokens_decoder": control})):
                    with open(os.path.join(folder, f"{name}.json"), "w", encoding="utf-8") as file:
                        file.write(json.dumps(content))
                os.symlink(os.path.join(source, "merges.txt"), os.path.join(folder, "merges.txt"))
                fixed = {"has_start_token": False, "has_end_token": False, "pad_to_max_length": False}
                super().__init__(
                    folder, 99999999, False, tokenizer_class=Qwen2Tokenizer, min_length=1, pad_token=248044, **fixed
                )

    with mock.patch.dict(qwen35.QWEN35_MODELS, {"qwen35_2b": {"vision": {**VISION, "num_position_embeddings": 64}}}):
        settings = {**LANGUAGE, **QWEN35, "num_hidden_layers": 3}
        given = {"tokenizer_data": {"qwen35_2b_tokenizer_class": Tokens}}
        return clip_of(qwen35.te(), partial(qwen35.tokenizer(), **given), {"qwen35_2b_model_config": settings})


def gemma3():
    import sentencepiece
    from comfy.text_encoders import llama, lumina2

    class Config(llama.Gemma3_4B_Vision_Config):
        vision_config, mm_tokens_per_image, head_dim = SIGLIP, 4, 32

    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(TEXTS), model_prefix=os.path.join(folder, "m"), vocab_size=200, bos_id=2, eos_id=1,
            pad_id=0, unk_id=3, user_defined_symbols=GEMMA_SPECIAL, add_dummy_prefix=False, minloglevel=2,
            remove_extra_whitespaces=False, normalization_rule_name="identity", hard_vocab_limit=False,
        )  # fmt: skip
        with open(os.path.join(folder, "m.model"), "rb") as file:
            model = torch.tensor(list(file.read()), dtype=torch.uint8)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=bytes(model.tolist())).get_piece_size()
    with mock.patch.object(llama, "Gemma3_4B_Vision_Config", Config):
        settings = {**LANGUAGE, "num_hidden_layers": 6, "vocab_size": max(pieces, 107)}
        tokenizer = partial(lumina2.NTokenizer, tokenizer_data={"spiece_model": model})
        kind = "gemma3_4b_vision"
        return clip_of(lumina2.te(model_type=kind), tokenizer, {f"{kind}_model_config": settings})


def blind():
    from comfy.text_encoders import flux

    settings = {**LANGUAGE, "num_hidden_layers": 2}
    return clip_of(flux.klein_te(), flux.KleinTokenizer, {"qwen3_4b_model_config": settings})


def headless():
    """ComfyUI loads Qwen2.5-VL 7B without its head, which is none of the input embeddings."""
    from comfy.text_encoders import qwen_image, qwen_vl

    def small_tower(**more):
        return tower(**{**more, "hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 64})

    tower = qwen_vl.Qwen2VLVisionTransformer
    with mock.patch.object(qwen_vl, "Qwen2VLVisionTransformer", small_tower):
        settings = {**LANGUAGE, "num_hidden_layers": 2}
        return clip_of(qwen_image.te(), qwen_image.QwenImageTokenizer, {"qwen25_7b_model_config": settings})


def no_encoder():
    return SimpleNamespace()


def clip_of(model, tokenizer, sizes, seed=0):
    """ComfyUI's CLIP object over random weights; small embeddings, which are the head, spread the probabilities."""
    import comfy.sd

    target = SimpleNamespace(params={}, clip=model, tokenizer=lambda **_: tokenizer())
    clip = comfy.sd.CLIP(target, model_options={"dtype": torch.float32, **sizes})
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in clip.cond_stage_model.named_parameters():
            fresh = torch.empty(weight.shape).normal_(0, 0.1 if "embed" in name else 0.25, generator=generator)
            weight.copy_(1 + fresh if weight.dim() == 1 and "norm" in name else fresh)
    return clip


KINDS = {kind.__name__: kind for kind in (qwen3vl, qwen35, gemma3, truncated, sightless, blind, headless, no_encoder)}


class TextEncoder:
    """A tiny text encoder of one of ``KINDS``."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("CLIP",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": ("STRING", {}), "copy": ("INT", {"default": 0})}}

    def run(self, kind, copy):
        return (KINDS[kind](),)


class AnswerProbabilities:
    """How probable a text encoder finds answers behind a prompt: softmax over its vocabulary at every token of each
    answer, one run of ComfyUI's model for each. Nothing of the pack."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        words = {name: ("STRING", {"multiline": True}) for name in ("prompt", "answers")}
        image = {"image_id": ("INT", {"max": 2**20})}
        return {"required": {"clip": ("CLIP",), "images": ("IMAGE",), **words, **image}}

    INPUT_IS_LIST = True

    def run(self, clip, images, prompt, answers, image_id):
        (clip,), (prompt,), (answers,), (image_id,) = clip, prompt, answers, image_id
        clip.load_model(clip.tokenize(prompt))
        chances = [self._chance(clip, images, prompt, image_id, answer) for answer in answers.split("|")]
        return (json.dumps(chances),)

    def _chance(self, clip, images, prompt, image_id, answer):
        encoder = next(module for module in clip.cond_stage_model.modules() if hasattr(module, "process_tokens"))
        (before,), (after,) = (next(iter(clip.tokenize(text).values())) for text in (prompt, prompt + answer))
        assert after[: len(before)] == before
        model = encoder.transformer
        shown = (as_judged(image, getattr(model, "image_size", None)) for image in images)
        tokens = [{"type": "image", "data": next(shown)} if token == image_id else token for token, _ in after]
        embeds, _, _, info = encoder.process_tokens([tokens], clip.patcher.load_device)
        hidden = model(None, embeds=embeds, embeds_info=info, dtype=torch.float32)[0][0]
        head = getattr(model.model, "lm_head", model.model.embed_tokens).weight
        table = (hidden @ head.T).double().log_softmax(-1)
        ids = [token for token, _ in after[len(before) :]]
        return sum(table[place - len(ids) - 1, token].item() for place, token in enumerate(ids))


def as_judged(image, side):
    """An image in 8 bits, as judges take it; for a model of one fixed size, as its processor scales it."""
    pixels = Image.fromarray((image[0].numpy() * 255).round().astype("uint8"))
    pixels = pixels if side is None else pixels.resize((side, side))
    return torch.from_numpy(np.asarray(pixels).astype("float32") / 255)[None]


class Encoder:
    """Tells how a judge ran a text encoder: whether its weights, which path, how many images, what it left behind."""

    CATEGORY, FUNCTION, RETURN_TYPES = "tests", "run", ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("DEPICTQA_MODEL",), "clip": ("CLIP",), "after": (ANY,)}}

    INPUT_IS_LIST = True

    def run(self, model, clip, after):
        backend, modules = model[0].judge.backend, list(clip[0].cond_stage_model.modules())
        told = {"sharing": backend.run.sharing, "encoded": backend.encoder.encoded}
        told["own weights"] = any(module is backend.encoder.model for module in modules)
        told["hooks"] = sum(len(module._forward_pre_hooks) for module in modules)
        return (json.dumps(told),)


NODE_CLASS_MAPPINGS = {
    "Test_TextEncoder": TextEncoder,
    "Test_AnswerProbabilities": AnswerProbabilities,
    "Test_Encoder": Encoder,
}
