"""What a recipe starts from, behind one interface: a network of ours, or a vision-language model with an adapter."""

import copy
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from depictqa_core.backends.vlm import TASKS
from depictqa_core.backends.vlm_loading import is_vlm_folder, load_vlm
from depictqa_core.errors import CheckpointError
from depictqa_core.storage.documents import named

from .examples import NativeForm
from .image_features import LiveImages
from .start_network import kept_calibration, start_network
from .state import save_whole
from .vlm_examples import VlmForm, VlmImages, single_answers, task_of
from .vlm_network import TunedVlm, lora_settings, save_tuned, teacher_of


class NativeStart:
    """A network of ours.

    Attributes:
        model: what learns.
        tasks: names of the tasks that it supports.
        card: of the checkpoint that it comes from, None for a new network.
        form: makes examples and batches of records.
    """

    def __init__(self, recipe, texts: Iterable[str]):
        self.model, self.tokenizer, self.card = start_network(recipe, texts)
        self.tasks = tuple(self.model.config.tasks)
        self.form = self.form_of(recipe)

    def form_of(self, recipe) -> NativeForm:
        """The form of records by a recipe, which may crop other than that of the run."""
        return NativeForm(recipe, self.tokenizer)

    def records(self, parts: list[list[dict]]) -> list[list[dict]]:
        """The records as they are learned."""
        return parts

    def images(self, root: Path, also: Path) -> LiveImages:
        """Images as the network takes them."""
        return LiveImages(self.model.config, root, also)

    def teacher(self) -> Callable[..., Any]:
        """The network as it is now."""
        return copy.deepcopy(self.model).eval().requires_grad_(False)

    def save(self, folder: Path, accelerator, model, card: dict) -> None:
        """Write the checkpoint folder of the trained model; all processes call this."""
        save_whole(folder, accelerator, model, self.tokenizer, card)


class VlmStart:
    """A vision-language model of transformers, of which a LoRA adapter learns; attributes as ``NativeStart``.

    Raises:
        CheckpointError: ``start`` is no such model, or lacks a file.
        ValueError: the model has no part that the recipe names.
    """

    def __init__(self, recipe):
        self.folder = Path(recipe.start)
        if not is_vlm_folder(self.folder):
            raise CheckpointError(
                f"start '{named(recipe.start)}' is not a folder of a vision-language model; for a checkpoint of"
                " DepictQA leave adapter out of the recipe"
            )
        self.loaded = load_vlm(self.folder, "cpu", recipe.frozen_precision)
        self.settings = lora_settings(self.loaded.model, recipe.adapter, recipe.trainable)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.model = TunedVlm(self.loaded, self.settings)
        self.tasks, self.card = TASKS, self.loaded.card
        self.form = VlmForm(self.loaded, recipe.max_tokens)
        self._personal = bool((recipe.changes or {}).get("personal"))
        self._calibration = kept_calibration(self.loaded.calibration, recipe, self._personal)
        self._learned: set[str] = set()

    def form_of(self, recipe) -> VlmForm:
        """The form of records, the same for every recipe."""
        return self.form

    def records(self, parts: list[list[dict]]) -> list[list[dict]]:
        """The records as they are learned: one answer each."""
        self._learned |= {task_of(record).name for part in parts for record in part}
        return [single_answers(part) for part in parts]

    def images(self, root: Path, also: Path) -> VlmImages:
        """Images as the model takes them."""
        return VlmImages(self.form.prompts, root, also)

    def teacher(self) -> Callable[..., Any]:
        """The base model: the same weights without the adapter."""
        return teacher_of(self.model)

    def save(self, folder: Path, accelerator, model, card: dict) -> None:
        """Write the adapter folder of the trained model; all processes call this."""
        facts = {**card, "tasks": sorted(self._learned), "personal": self._personal}
        facts |= {"calibration": self._calibration} if self._calibration else {}
        save_tuned(folder, accelerator, model, self.loaded, self.settings, self.folder, facts)


def start_of(recipe, texts: Iterable[str]) -> NativeStart | VlmStart:
    """Open what a recipe starts from; errors as of the classes."""
    return NativeStart(recipe, texts) if recipe.adapter is None else VlmStart(recipe)
