"""The judge that travels between nodes: its weights in ComfyUI's memory management, progress, Cancel, its answers."""

from collections import OrderedDict
from collections.abc import Callable, Hashable

import comfy.model_patcher
import comfy.utils
import torch
from comfy import model_management

from ..depictqa_core.confidence import coverage_notices
from ..depictqa_core.engine.engine import ANSWER_BYTES
from ..depictqa_core.images.image import Picture
from ..depictqa_core.runtime.byte_cache import ByteCache

KEPT_ANSWERS = 32
KEPT_CHECKPOINTS = 4


class Answers:
    """What one checkpoint has answered. "Free model and node cache" drops judges and outputs of nodes, but not this.

    Attributes:
        calls: the last ``KEPT_ANSWERS`` answers of verbs.
        questions: the answers to single questions, from which a cancelled or failed run goes on.
        facts: info, tasks and notices of the checkpoint, None until it was read.
    """

    def __init__(self):
        self.calls, self.questions, self.facts = OrderedDict(), ByteCache(ANSWER_BYTES), None


_answers: OrderedDict[Hashable, Answers] = OrderedDict()


def answers_of(state: Hashable) -> Answers:
    """Return the answers of a checkpoint, kept for the last ``KEPT_CHECKPOINTS`` that were asked for.

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
    """What travels over a DEPICTQA_MODEL socket: a judge whose weights ComfyUI's memory management moves about.

    "Free memory" and the needs of other models push the weights out to ``offload_device``; the next question brings
    them back. Answers are stored in ``Answers``, so that what was answered before does not even need the weights.

    Attributes:
        info: name, version, licence and training data of the checkpoint.
        tasks: what it was taught, by the names in ``depictqa_core.tasks``.
        notices: lines about the checkpoint, such as a failed self-test.
    """

    def __init__(
        self,
        read: Callable[[], object],
        load_device: torch.device,
        offload_device: torch.device,
        keep: bool = True,
        answers: Answers | None = None,
    ):
        """
        Args:
            read: reads the ``depictqa_core`` judge from its files; called now, unless ``answers`` has the facts of the
                checkpoint, and when it is needed after it was let go.
            load_device, offload_device: where the weights work, and where they wait.
            keep: False lets the judge go after every question, from the GPU and from ordinary memory.
            answers: of this checkpoint; None stores them as long as this object lives.
        """
        self._read, self._keep = read, keep
        self._devices = {"load_device": load_device, "offload_device": offload_device}
        self._judge = self._patcher = None
        self._answers = answers = answers or Answers()
        if answers.facts is None:
            judge = self.judge
            answers.facts = judge.info, tuple(judge.model.config.tasks), tuple(judge.notices)
        self.info, self.tasks, self.notices = answers.facts

    @property
    def judge(self):
        """The ``depictqa_core`` judge; read anew if it was let go."""
        if self._judge is None:
            self._judge = self._read()
            for layer in _layers(self._judge.model.eval()):
                layer.register_forward_pre_hook(_stop_on_cancel)
            self._patcher = comfy.model_patcher.ModelPatcher(DepictQAWeights(self._judge.model), **self._devices)
        return self._judge

    def ask(self, verb: str, *pictures, on_text: Callable[[int, str], None] | None = None, **options):
        """Call a method of the judge, with progress bar and Cancel.

        Args:
            verb: name of the method.
            pictures: its positional arguments: lists (or lists of tuples) of ``Picture``, or None.
            on_text: for ``describe``: called with (index, text so far) while answers are written.
            options: its keyword arguments, all hashable.

        Raises:
            DepictQAError: what the judge could not do.
            InterruptProcessingException: the user cancelled.
        """
        key, calls = (verb, _keys(pictures), tuple(sorted(options.items()))), self._answers.calls
        if key not in calls:
            streamed = {"on_text": on_text} if on_text else {}
            try:
                calls[key] = self._call(verb, *pictures, progress=_Progress(), **options, **streamed)
            finally:
                if not self._keep:
                    self._let_go()
            if len(calls) > KEPT_ANSWERS:
                calls.popitem(last=False)
        calls.move_to_end(key)
        return calls[key]

    def doubts(self, answers) -> list[str]:
        """Lines on why answers should not be relied on: of the checkpoint, and of those with little coverage."""
        return [*self.notices, *coverage_notices(answer.coverage for answer in answers)]

    def _call(self, verb, *pictures, **options):
        judge = self.judge
        # The network runs on one device only, so a part of its weights is no use: all or nothing.
        model_management.load_models_gpu([self._patcher], force_full_load=True)
        return getattr(judge, verb)(*pictures, **options)

    def _let_go(self):
        for index, loaded in reversed(list(enumerate(model_management.current_loaded_models))):
            if loaded.model is self._patcher:
                loaded.model_unload()
                del model_management.current_loaded_models[index]
        self._judge = self._patcher = None
        model_management.soft_empty_cache()


class DepictQAWeights(torch.nn.Module):
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


def _layers(model: torch.nn.Module):
    """The repeated layers of the network, of which one takes a small part of the time for one picture."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            yield from module


def _stop_on_cancel(*_):
    model_management.throw_exception_if_processing_interrupted()


def _keys(value):
    if isinstance(value, Picture):
        return value.key, value.name
    return tuple(_keys(item) for item in value) if isinstance(value, (list, tuple)) else value
