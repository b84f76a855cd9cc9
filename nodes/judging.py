"""The judge that travels between nodes: its weights in ComfyUI's memory management, progress, Cancel, kept answers."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import comfy.model_patcher
import comfy.utils
import torch
from comfy import model_management

from ..depictqa_core.images import Picture

KEPT_ANSWERS = 8192
CHUNK = 16
"""Questions asked in one go. What a chunk answered is kept, whatever happens to the next one."""
NAMES = {
    "identify": ("picture",),
    "describe": ("picture",),
    "score": ("picture",),
    "compare_many": ("picture_a", "picture_b"),
}
"""The verbs that answer item by item, with the fields of an answer that name its pictures."""


class LoadedJudge:
    """What travels over a DEPICTQA_MODEL socket: a judge whose weights ComfyUI's memory management moves about.

    "Free memory" and the needs of other models push the weights out to ``offload_device``; the next question brings
    them back. Answers are kept by the content of the pictures: a run with another threshold, or with one picture more,
    asks nothing twice, and a cancelled run goes on where it stopped.

    Attributes:
        info: name, version, licence and training data of the checkpoint.
    """

    def __init__(
        self,
        read: Callable[[], object],
        load_device: torch.device,
        offload_device: torch.device,
        keep: bool = True,
    ):
        """
        Args:
            read: reads the ``depictqa_core`` judge from its files; called now, and again each time it was let go.
            load_device, offload_device: where the weights work, and where they wait.
            keep: False lets the judge go after every question, from the GPU and from ordinary memory.
        """
        self._read, self._keep = read, keep
        self._devices = {"load_device": load_device, "offload_device": offload_device}
        self._judge = self._patcher = None
        self._answers = OrderedDict()
        self.info = self.judge.info

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
        options_key = tuple(sorted(options.items()))
        try:
            if verb in NAMES:
                return self._ask_each(verb, *pictures, on_text=on_text, options=options, options_key=options_key)
            key = (verb, _contents(pictures), _names(pictures), options_key)
            if key not in self._answers:
                self._keep_answers([(key, self._call(verb, *pictures, progress=_Progress(), **options))])
            return self._answers[key]
        finally:
            if not self._keep:
                self._let_go()

    def _ask_each(self, verb, items, references=None, *, on_text, options, options_key) -> list:
        """One answer per picture or pair, in order; only what is not known yet is asked."""
        beside = references if references and len(references) > 1 else (references or [None]) * len(items)
        keys = [(verb, _contents(pair), options_key) for pair in zip(items, beside, strict=True)]
        known = {key: self._answers[key] for key in keys if key in self._answers}
        missing = list({key: index for index, key in enumerate(keys) if key not in known}.values())
        progress = _Progress(len(missing))
        for start in range(0, len(missing), CHUNK):
            chunk = missing[start : start + CHUNK]
            progress.starts(start, len(chunk))
            streamed = {"on_text": lambda i, text, chunk=chunk: on_text(chunk[i], text)} if on_text else {}
            answers = self._call(
                verb,
                [items[i] for i in chunk],
                [beside[i] for i in chunk] if references else None,
                progress=progress,
                **options,
                **streamed,
            )
            answered = [(keys[i], answer) for i, answer in zip(chunk, answers, strict=True)]
            known.update(answered)
            self._keep_answers(answered)
        return [
            replace(known[key], **dict(zip(NAMES[verb], _names(item), strict=True)))
            for key, item in zip(keys, items, strict=True)
        ]

    def _call(self, verb, *pictures, **options):
        judge = self.judge
        # The network runs on one device only, so a part of its weights is no use: all or nothing.
        model_management.load_models_gpu([self._patcher], force_full_load=True)
        return getattr(judge, verb)(*pictures, **options)

    def _keep_answers(self, answered: list[tuple]):
        self._answers.update(answered)
        while len(self._answers) > KEPT_ANSWERS:
            self._answers.popitem(last=False)

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
    """The judge's ``progress`` callback: moves the bar of the running node and stops the work on Cancel.

    Several calls one after another can share one bar: ``starts`` says which part of it the next call fills.
    """

    def __init__(self, items: int | None = None):
        self._items, self._start, self._part, self._bar = items, 0, items, None

    def starts(self, start: int, part: int):
        self._start, self._part = start, part

    def __call__(self, done: int, total: int):
        model_management.throw_exception_if_processing_interrupted()
        items, part = self._items or total, self._part or total
        self._bar = self._bar or comfy.utils.ProgressBar(items)
        self._bar.update_absolute(self._start + done * part // total, items)


def _layers(model: torch.nn.Module):
    """The repeated layers of the network, of which one takes a small part of the time for one picture."""
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList):
            yield from module


def _stop_on_cancel(*_):
    model_management.throw_exception_if_processing_interrupted()


def _contents(value):
    """Pictures in nested lists as their content keys."""
    if isinstance(value, Picture):
        return value.key
    return tuple(_contents(item) for item in value) if isinstance(value, (list, tuple)) else value


def _names(value) -> tuple:
    """The names of all pictures in nested lists, in order."""
    if isinstance(value, Picture):
        return (value.name,)
    return tuple(name for item in value or () for name in _names(item))
