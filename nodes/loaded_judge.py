"""The judge that is passed between nodes: weights in ComfyUI's memory management, progress, Cancel, cached answers."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.model_patcher
import comfy.utils
import torch
from comfy import model_management

from ..depictqa_core.backends.base import ANSWER_BYTES
from ..depictqa_core.calibration import OrderCalibration
from ..depictqa_core.confidence import coverage_notices, typicality_notices
from ..depictqa_core.images.image import RGBImage
from ..depictqa_core.judge import Judge
from ..depictqa_core.runtime.byte_cache import ByteCache
from ..depictqa_core.runtime.progress import OnText, Progress

KEPT_ANSWERS = 32
KEPT_CHECKPOINTS = 4


class Facts(NamedTuple):
    """What is known of a checkpoint without its weights: ``info``, ``tasks`` and ``notices`` as in ``LoadedJudge``, its
    order calibrations without (False) and with (True) references, and ``Backend.low_coverage_remedy``."""

    info: dict[str, Any]
    tasks: tuple[str, ...]
    notices: tuple[str, ...]
    orders: dict[bool, OrderCalibration | None]
    remedy: str


class Answers:
    """The cached answers of one checkpoint. "Free model and node cache" drops judges and node outputs, but not this.

    Attributes:
        calls: the last ``KEPT_ANSWERS`` answers of verbs.
        questions: the answers to single questions, from which a cancelled or failed run resumes.
        facts: of the checkpoint, None until it is loaded.
    """

    def __init__(self) -> None:
        self.calls: OrderedDict[Hashable, Any] = OrderedDict()
        self.questions = ByteCache(ANSWER_BYTES)
        self.facts: Facts | None = None


_answers: OrderedDict[Hashable, Answers] = OrderedDict()


def answers_of(state: Hashable) -> Answers:
    """Return the cached answers of a checkpoint; the last ``KEPT_CHECKPOINTS`` checkpoints are cached.

    Args:
        state: everything that answers depend on besides question and images: the files of the checkpoint, of anchors
            and encoder, the dtype and the device.
    """
    found = _answers.setdefault(state, Answers())
    _answers.move_to_end(state)
    if len(_answers) > KEPT_CHECKPOINTS:
        _answers.popitem(last=False)
    return found


class LoadedJudge:
    """The value of a DEPICTQA_MODEL socket: a judge whose weights are in ComfyUI's memory management.

    "Free memory" and other models offload the weights to ``offload_device``; the next run loads them back. Answers are
    cached in ``Answers``, so that a repeated question does not need the weights.

    Attributes:
        info: name, version, licence and training data of the checkpoint.
        tasks: the supported tasks, by their names in ``depictqa_core.tasks``.
        notices: lines about the checkpoint, such as a failed self-test.
    """

    def __init__(
        self,
        read: Callable[[], Judge],
        load_device: torch.device,
        offload_device: torch.device,
        keep: bool = True,
        answers: Answers | None = None,
    ):
        """
        Args:
            read: loads the ``depictqa_core`` judge from its files; called now, unless ``answers`` has the facts of the
                checkpoint, and again after it was unloaded.
            load_device, offload_device: the devices of the weights while they are used and while they are not.
            keep: False unloads the judge from GPU and CPU memory after every run.
            answers: the answers of this checkpoint; None caches them for the life of this object.
        """
        self._read, self._keep = read, keep
        self._devices = {"load_device": load_device, "offload_device": offload_device}
        self._judge: Judge | None = None
        self._patcher: comfy.model_patcher.ModelPatcher | None = None
        self._answers = answers = answers or Answers()
        if answers.facts is None:
            judge, backend = self.judge, self.judge.backend
            orders = {reference: backend.calibration.order(reference) for reference in (False, True)}
            known = (judge.info, backend.capabilities.tasks, tuple(judge.notices), orders, backend.low_coverage_remedy)
            answers.facts = Facts(*known)
        self.info, self.tasks, self.notices, self._orders, self._remedy = answers.facts

    @property
    def judge(self) -> Judge:
        """The ``depictqa_core`` judge; loaded again if it was unloaded."""
        if self._judge is None:
            self._judge = judge = self._read()
            network = judge.model
            if network is not None:
                for layer in _layers(network.eval()):
                    layer.register_forward_pre_hook(_stop_on_cancel)
                self._patcher = comfy.model_patcher.ModelPatcher(DepictQAWeights(network), **self._devices)
        return self._judge

    def ask(
        self,
        verb: str,
        *pictures: Any,
        on_text: OnText | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Any:
        """Call a method of the judge, with progress bar and Cancel.

        Args:
            verb: name of the method.
            pictures: its positional arguments: lists (or lists of tuples) of ``RGBImage``, or None.
            on_text: for ``describe``: called with (index, text so far) while answers are generated.
            progress: called with (done, total) in place of the progress bar of the running node.
            options: its keyword arguments, all hashable.

        Raises:
            DepictQAError: the judge cannot answer.
            InterruptProcessingException: the user cancelled.
        """
        key, calls = (verb, _keys(pictures), tuple(sorted(options.items()))), self._answers.calls
        if key not in calls:
            streamed = {"on_text": on_text} if on_text else {}
            try:
                calls[key] = self._call(verb, *pictures, progress=progress or _Progress(), **options, **streamed)
            finally:
                if not self._keep:
                    self._unload()
            if len(calls) > KEPT_ANSWERS:
                calls.popitem(last=False)
        calls.move_to_end(key)
        return calls[key]

    @contextmanager
    def kept_loaded(self) -> Iterator[None]:
        """Have many calls of ``ask`` load the weights once, also where they are freed after use."""
        keep, self._keep = self._keep, True
        try:
            yield
        finally:
            self._keep = keep
            if not keep:
                self._unload()

    def doubts(self, answers: Iterable[Any]) -> list[str]:
        """Return warnings: the notices of the checkpoint, on answers with low coverage, and on atypical images."""
        given = list(answers)
        typicalities = (getattr(answer, "typicality", None) for answer in given)
        return [
            *self.notices,
            *coverage_notices((answer.coverage for answer in given), self._remedy),
            *typicality_notices(typicalities),
        ]

    def order_calibration(self, reference: bool) -> OrderCalibration | None:
        """What is known of the judge's errors about orders, with or without references; None if nothing is."""
        return self._orders[reference]

    def _call(self, verb: str, *pictures: Any, **options: Any) -> Any:
        judge = self.judge
        # The network runs on one device only, so its weights cannot be loaded partially.
        if self._patcher is not None:
            model_management.load_models_gpu([self._patcher], force_full_load=True)
        return getattr(judge, verb)(*pictures, **options)

    def _unload(self) -> None:
        for index, loaded in reversed(list(enumerate(model_management.current_loaded_models))):
            if loaded.model is self._patcher:
                loaded.model_unload()
                del model_management.current_loaded_models[index]
        self._judge = self._patcher = None
        model_management.soft_empty_cache()


class DepictQAWeights(torch.nn.Module):
    """A module on which ComfyUI can set attributes such as ``device``; the models of transformers do not allow that."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model


class _Progress:
    """The judge's ``progress`` callback: updates the progress bar of the running node and stops on Cancel."""

    def __init__(self) -> None:
        self._bar: comfy.utils.ProgressBar | None = None

    def __call__(self, done: int, total: int) -> None:
        model_management.throw_exception_if_processing_interrupted()
        self._bar = self._bar or comfy.utils.ProgressBar(total)
        self._bar.update_absolute(done, total)


def _layers(model: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Return the repeated layers of the network; each takes a small fraction of the time for one image."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            yield from module


def _stop_on_cancel(*_: object) -> None:
    model_management.throw_exception_if_processing_interrupted()


@contextmanager
def stopping_on_cancel(model: torch.nn.Module) -> Iterator[None]:
    """Have Cancel stop a module that others use too: before each of its layers, until the block ends."""
    handles = [layer.register_forward_pre_hook(_stop_on_cancel) for layer in _layers(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _keys(value: Any) -> Any:
    if isinstance(value, RGBImage):
        return value.key, value.name
    return tuple(_keys(item) for item in value) if isinstance(value, (list, tuple)) else value
