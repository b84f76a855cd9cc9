"""Custom nodes for tests only: sources of images and of what follows them, sinks that tell what arrived."""

import contextlib
import copy
import hashlib
import os
import sys
from json import loads
from types import SimpleNamespace
from unittest import mock

import folder_paths
import numpy as np
import torch
from aiohttp import web
from comfy import model_management
from PIL import Image
from server import PromptServer

SPECIAL = {
    "nan": lambda: torch.full((1, 32, 32, 3), float("nan")),
    "alpha": lambda: torch.linspace(0, 1, 32 * 32 * 4).reshape(1, 32, 32, 4),
    "grey": lambda: torch.linspace(0, 1, 32 * 32).reshape(1, 32, 32, 1),
    "small": lambda: torch.linspace(0, 1, 16 * 16 * 3).reshape(1, 16, 16, 3),
    "huge": lambda: torch.linspace(0, 1, 8192).reshape(1, 1, 8192, 1).expand(1, 8192, 8192, 3),
    "empty": lambda: torch.zeros((0, 32, 32, 3)),
}


class AnyType(str):
    """A type of socket that takes links of every type."""

    def __ne__(self, other):
        return False


ANY = AnyType("*")


def take_any_coverage() -> None:
    """Let answers of random weights count: these give next to no probability to the answers that are allowed."""
    for name, module in list(sys.modules.items()):
        if name.endswith("depictqa_core.confidence"):
            module.LEAST_COVERAGE = module.LOW_COVERAGE = 0.0


class Pictures:
    """A list of batches of ``copies``. Names are files of the input folder, keys of SPECIAL or ``random:SEED``, each
    with an optional size as in ``sharp.png@64x48`` (width x height)."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES, OUTPUT_IS_LIST = ("IMAGE",), (True,)

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "names": ("STRING", {"default": ""}),
                "as_batch": ("BOOLEAN", {"default": False}),
                "copies": ("INT", {"default": 1}),
            }
        }

    def run(self, names, as_batch, copies):
        take_any_coverage()
        pictures = [_picture(name.strip()).repeat(copies, 1, 1, 1) for name in names.split(",")]
        return ([torch.cat(pictures)] if as_batch else pictures,)


class Followers:
    """Latents, masks and texts of ``count`` images, item number i full of i; latents and masks as one batch each."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES, OUTPUT_IS_LIST = ("LATENT", "MASK", "STRING"), (False, False, True)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"count": ("INT", {"default": 1})}}

    def run(self, count):
        numbers = torch.arange(count, dtype=torch.float32)
        latent = {
            "samples": numbers[:, None, None, None].expand(-1, 4, 4, 4),
            "noise_mask": torch.ones(1, 1, 32, 32),
            "batch_index": list(range(count)),
        }
        return latent, numbers[:, None, None].expand(-1, 32, 32), [f"text {i}" for i in range(count)]


class Values:
    """The values of a JSON list as a list output, for inputs that want one text or number per image."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES, OUTPUT_IS_LIST = (ANY,), (True,)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"json": ("STRING", {"default": "[]"})}}

    def run(self, json):
        return (loads(json),)


class Arrived:
    """Shows every item that arrives, one text each: shape and hash of an image, values of latents and masks, texts."""

    CATEGORY, FUNCTION, OUTPUT_NODE = "tests", "run", True
    RETURN_TYPES, INPUT_IS_LIST = (), True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"items": (ANY,)}}

    def run(self, items):
        return {"ui": {"text": [_shown(item) for item in items]}}


@PromptServer.instance.routes.get("/test/memory_requests")
async def memory_requests(request):
    """What was asked of ``/free`` and is not yet begun."""
    return web.json_response(PromptServer.instance.prompt_queue.get_flags(reset=False))


class LoadedModels:
    """Shows the classes of the models that ComfyUI's memory management holds now; runs every time."""

    CATEGORY, FUNCTION, OUTPUT_NODE = "tests", "run", True
    RETURN_TYPES = ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": (ANY,)}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def run(self, after):
        return {"ui": {"text": [type(held.model.model).__name__ for held in model_management.current_loaded_models]}}


class PartlyUnloaded:
    """A judge of whose weights ComfyUI has moved half away again, for another model; shows how many megabytes."""

    CATEGORY, FUNCTION, OUTPUT_NODE = "tests", "run", True
    RETURN_TYPES = ("DEPICTQA_MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("DEPICTQA_MODEL",)}}

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")

    def run(self, model):
        assert model.judge
        patcher = model._patcher
        model_management.load_models_gpu([patcher], force_full_load=True)
        freed = patcher.partially_unload(patcher.offload_device, patcher.model_size() // 2)
        return {"ui": {"text": [str(freed / patcher.model_size())]}, "result": (model,)}


class LittleMemory:
    """A judge whose network runs out of memory when it sees more than ``most`` images at once."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("DEPICTQA_MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("DEPICTQA_MODEL",), "most": ("INT", {"default": 1})}}

    def run(self, model, most):
        backend = copy.copy(model.judge.backend)
        backend.forget_answers()  # the copy's own: what the other judge has answered must be asked again
        backend.runner = runner = copy.copy(backend.runner)
        runner.features = copy.copy(runner.features)
        original = backend.model
        backend.model = runner.model = runner.features.model = network = copy.copy(original)

        def connect(pooled, *beside):
            if len(pooled) > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return original.connect(pooled, *beside)

        network.__dict__["connect"] = connect
        return (type(model)(lambda: type(model.judge)(backend), **model._devices),)


class Writes:
    """A judge whose free answers all are ``text``."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("DEPICTQA_MODEL",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("DEPICTQA_MODEL",), "text": ("STRING", {"default": ""})}}

    def run(self, model, text):
        backend = copy.copy(model.judge.backend)
        backend.forget_answers()
        backend.decode = lambda ids: text
        return (type(model)(lambda: type(model.judge)(backend), **model._devices),)


class Doubts:
    """What a judge warns of an answer with a coverage of 0.2, where ``take_any_coverage`` is not in force."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("STRING",)

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("DEPICTQA_MODEL",)}}

    def run(self, model):
        (confidence,) = {module for name, module in sys.modules.items() if name.endswith("depictqa_core.confidence")}
        with mock.patch.object(confidence, "LOW_COVERAGE", 0.5):
            return ("\n".join(model.doubts([SimpleNamespace(coverage=0.2)])),)


class BrightJudge:
    """A judge without a network: the score of an image is its brightness in percent."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("DEPICTQA_MODEL",)
    info, tasks, notices = {"name": "brightness"}, ("rating",), ()

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        return (self,)

    def ask(self, verb, pictures, *_, progress=None, **__):
        assert verb == "score"
        (results,) = {module for name, module in sys.modules.items() if name.endswith("depictqa_core.results")}
        shades = [float(picture.rgb.mean()) / 2.55 for picture in pictures]
        return [
            results.Score(picture.name, shade, 1.0, 0.9, (), shade - 1, shade + 1, "levels", 1.0)
            for picture, shade in zip(pictures, shades)
        ]

    def doubts(self, _):
        return []

    def kept_loaded(self):
        return contextlib.nullcontext()


class Shades:
    """Two grey images, their latents and their prompt, in the place of a sampler. Brightness by seed: ``SHADES``."""

    CATEGORY, FUNCTION = "tests", "run"
    RETURN_TYPES = ("IMAGE", "LATENT", "STRING")
    SHADES = (10, 60, 30, 80, 20)  # percent; the second image is 5 darker

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"max": 2**64 - 1}), "round": ("INT", {"default": 1})}}

    def run(self, seed, round):
        shade = self.SHADES[seed % len(self.SHADES)] / 100
        images = torch.stack([torch.full((16, 16, 3), value) for value in (shade, shade - 0.05)])
        latent = {"samples": torch.full((2, 4, 2, 2), float(seed)), "batch_index": [0, 1]}
        return images, latent, f"prompt {seed} {round}"


def _picture(name):
    name, _, size = name.partition("@")
    if name in SPECIAL:
        picture = SPECIAL[name]()
    elif name.startswith("random:"):  # as many different images as a test needs
        picture = torch.rand((1, 48, 64, 3), generator=torch.Generator().manual_seed(int(name.removeprefix("random:"))))
    else:
        with Image.open(os.path.join(folder_paths.get_input_directory(), name)) as image:
            picture = torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32) / 255)[None]
    if size:
        width, height = map(int, size.split("x"))
        picture = torch.nn.functional.interpolate(picture.movedim(-1, 1), (height, width)).movedim(1, -1)
    return picture


def _shown(item):
    if isinstance(item, dict):
        return f"{tuple(item['samples'].shape)} {item['samples'].unique().tolist()} {item['batch_index']}"
    if isinstance(item, torch.Tensor) and item.ndim == 4:
        return f"{tuple(item.shape)} {hashlib.sha256(item.cpu().numpy().tobytes()).hexdigest()[:12]}"
    return f"{tuple(item.shape)} {item.unique().tolist()}" if isinstance(item, torch.Tensor) else str(item)


NODE_CLASS_MAPPINGS = {
    "Test_Pictures": Pictures,
    "Test_Followers": Followers,
    "Test_Values": Values,
    "Test_Arrived": Arrived,
    "Test_LoadedModels": LoadedModels,
    "Test_PartlyUnloaded": PartlyUnloaded,
    "Test_LittleMemory": LittleMemory,
    "Test_Writes": Writes,
    "Test_Doubts": Doubts,
    "Test_BrightJudge": BrightJudge,
    "Test_Shades": Shades,
}
