"""Stand-ins for a diffusion model in tests: a checkpoint of nothing, and images of one photograph.

The latents of image i of a batch are filled with ``BLURS[i]``, those of a single image with ``BLURS[seed % 4]``; they
keep it when they are scaled and sampled again.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

PHOTOGRAPH = Path(__file__).resolve().parents[2] / "workflows" / "samples" / "balloons_original.jpg"
BLURS = (3.0, 6.0, 0.0, 9.0)  # the third image is the best


class Text:
    """Stands for a text encoder."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.zeros(1, 77, 8), {}]]


class Decoder:
    """Stands for a VAE: the photograph at eight times the size of the latents, blurred by what they are filled with."""

    def decode(self, samples):
        height, width = samples.shape[2] * 8, samples.shape[3] * 8
        with Image.open(PHOTOGRAPH) as image:
            photograph = image.convert("RGB").resize((width, height))
        pictures = [photograph.filter(ImageFilter.GaussianBlur(float(blur))) for blur in samples.mean((1, 2, 3))]
        return torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]).astype(np.float32) / 255)


class Checkpoint:
    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"ckpt_name": ("STRING", {})}}

    def run(self, ckpt_name):
        return "no model", Text(), Decoder()


class Sampler:
    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("LATENT",)

    @classmethod
    def INPUT_TYPES(cls):
        numbers = {"seed": ("INT", {"max": 2**64 - 1}), "steps": ("INT", {}), "cfg": ("FLOAT", {})}
        names = {"sampler_name": ("STRING", {}), "scheduler": ("STRING", {}), "denoise": ("FLOAT", {})}
        links = {"model": ("MODEL",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",)}
        return {"required": {**numbers, **names, **links, "latent_image": ("LATENT",)}}

    def run(self, latent_image, seed, denoise, **_):
        samples = latent_image["samples"]
        if denoise == 1:
            first = seed % len(BLURS) if len(samples) == 1 else 0
            samples = torch.tensor(BLURS)[first : first + len(samples), None, None, None].expand_as(samples)
        return ({**latent_image, "samples": samples},)


NODE_CLASS_MAPPINGS = {"Test_CheckpointLoaderSimple": Checkpoint, "Test_KSampler": Sampler}
