"""The judge inside ComfyUI: checkpoint folders, memory management, progress, Cancel, answers kept for re-use."""

import os
from collections import OrderedDict
from pathlib import Path

import comfy.model_patcher
import comfy.utils
import folder_paths
import torch
from comfy import model_management

from ..depictqa_core.checkpoints import BUNDLED as BUNDLED_FOLDER
from ..depictqa_core.checkpoints import describe_checkpoint
from ..depictqa_core.errors import CheckpointError
from ..depictqa_core.images import Picture

BUNDLED = "depictqa-mini (bundled)"
DEVICES = ["auto", "cpu"]
DTYPES = ["auto", "float32", "bfloat16", "float16"]
LARGE = 2**30  # bytes of weights from which half precision is worth its rounding
KEPT_ANSWERS = 32


def checkpoint_folders() -> dict[str, Path]:
    """The folders directly under every ``models/depictqa``, by name; of two with one name the first path wins."""
    folders = {}
    for root in folder_paths.get_folder_paths("depictqa"):
        if os.path.isdir(root):
            for entry in sorted(os.scandir(root), key=lambda entry: entry.name.lower()):
                if entry.is_dir() and not entry.name.startswith("."):
                    folders.setdefault(entry.name, Path(entry.path))
    return folders


def checkpoint_names() -> list[str]:
    """What the checkpoint widget offers, the bundled model first."""
    return [BUNDLED, *checkpoint_folders()]


def checkpoint_path(name: str) -> Path | None:
    """The folder of a name that came with a graph, None for the bundled model.

    Only names that the widget offers are taken, so no name can lead out of the model folders.

    Raises:
        CheckpointError: there is no such folder.
    """
    if name == BUNDLED:
        return None
    folders = checkpoint_folders()
    if name not in folders:
        raise CheckpointError(
            f"checkpoint: there is no folder {name!r} under models/depictqa; "
            f"choose one of: {', '.join([BUNDLED, *folders])}."
        )
    return folders[name]


def checkpoint_state(name: str) -> str:
    """A stable text that changes when the files of a checkpoint change, so that ComfyUI then loads it again."""
    folder = None if name == BUNDLED else checkpoint_folders().get(name)
    if folder is None:
        return str(name)
    files = [(path.relative_to(folder).as_posix(), path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    return repr([name] + [(file, stat.st_size, stat.st_mtime_ns) for file, stat in files])


class LoadedJudge:
    """What travels over a DEPICTQA_MODEL socket: a judge whose weights ComfyUI's memory management moves about.

    "Free memory" and the needs of other models push the weights out to ``offload_device``; the next question brings
    them back. Answers are kept, so that a re-run with another ``top_k`` alone asks nothing twice.

    Attributes:
        judge: the ``depictqa_core`` judge.
        patcher: ComfyUI's handle on its weights.
    """

    def __init__(self, judge, load_device: torch.device, offload_device: torch.device):
        self.judge = judge
        self.patcher = comfy.model_patcher.ModelPatcher(
            _Weights(judge.model.eval()), load_device=load_device, offload_device=offload_device
        )
        self._answers = OrderedDict()

    def ask(self, verb: str, *pictures, **options):
        """Call a method of the judge, with progress bar and Cancel.

        Args:
            verb: name of the method.
            pictures: its positional arguments: lists (or lists of tuples) of ``Picture``, or None.
            options: its keyword arguments, all hashable.

        Raises:
            DepictQAError: what the judge could not do.
            InterruptProcessingException: the user cancelled.
        """
        key = (verb, _keys(pictures), tuple(sorted(options.items())))
        if key not in self._answers:
            # The network runs on one device only, so a part of its weights is no use: all or nothing.
            model_management.load_models_gpu([self.patcher], force_full_load=True)
            self._answers[key] = getattr(self.judge, verb)(*pictures, progress=_Progress(), **options)
            if len(self._answers) > KEPT_ANSWERS:
                self._answers.popitem(last=False)
        self._answers.move_to_end(key)
        return self._answers[key]


def load(checkpoint: str, device: str, dtype: str) -> LoadedJudge:
    """Read a checkpoint into ordinary memory; it moves to the GPU when it is first asked.

    Args:
        checkpoint: one of ``checkpoint_names()``.
        device: "auto" (ComfyUI's device) or "cpu".
        dtype: "auto" or the name of a floating-point dtype. Auto is float32, except for large checkpoints on a GPU,
            which get bfloat16 or float16 as ComfyUI finds fit.

    Raises:
        CheckpointError: the checkpoint is missing, damaged or unsafe to read.
    """
    folder = checkpoint_path(checkpoint)
    on_cpu = device == "cpu" or model_management.get_torch_device().type == "cpu"
    load_device = torch.device("cpu") if on_cpu else model_management.get_torch_device()
    offload_device = torch.device("cpu") if on_cpu else model_management.unet_offload_device()
    if dtype == "auto":
        dtype = "float32" if on_cpu or _weight_bytes(folder) < LARGE else _half(load_device)
    from ..depictqa_core.judge import load_judge  # brings in transformers: only now that a model is wanted

    # Nodes run in inference mode; weights made there could never be updated in place again.
    with torch.inference_mode(False), torch.no_grad():
        judge = load_judge(folder, device="cpu", dtype=dtype)
    return LoadedJudge(judge, load_device, offload_device)


def _weight_bytes(folder: Path | None) -> int:
    files = describe_checkpoint(folder or BUNDLED_FOLDER)["files"]
    return sum(facts["bytes"] for facts in files.values())


def _half(device: torch.device) -> str:
    if model_management.should_use_bf16(device):
        return "bfloat16"
    return "float16" if model_management.should_use_fp16(device) else "float32"


class _Weights(torch.nn.Module):
    """Lets ComfyUI note things such as ``device`` on a module; transformers' own models refuse that."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model


class _Progress:
    """The judge's ``progress`` callback: moves the bar of the running node and stops the work on Cancel."""

    def __init__(self):
        self._bar = None

    def __call__(self, done: int, total: int):
        model_management.throw_exception_if_processing_interrupted()
        self._bar = self._bar or comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def _keys(value):
    if isinstance(value, Picture):
        return value.key, value.name
    if isinstance(value, (list, tuple)):
        return tuple(_keys(item) for item in value)
    return value
