"""The configuration of a judge network: one ``transformers`` config that nests the language model's own."""

from collections.abc import Sequence

from transformers import AutoConfig, CLIPVisionConfig, PretrainedConfig

from ..calibration import OrderCalibration, ScoreCalibration
from .checkpoint_rules import CONFIG, config_problem

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class DepictQAConfig(PretrainedConfig):
    """Configuration of ``DepictQAModel``.

    Args:
        vision: the vision tower as a dict with ``kind`` and the tower's own settings:
            ``{"kind": "clip", **CLIPVisionConfig fields}``, ``{"kind": "backbone", "config": {…}}`` for any
            transformers backbone, or ``{"kind": "cnn"}`` for the small CNN with pixel statistics.
        connector: the connector as a dict with ``kind`` ("linear", "abstractor" or "pooling") and its settings.
        language: config of any causal language model, as a ``PretrainedConfig`` or its dict with ``model_type``.
        size: bounds of ``images.SizePolicy`` as a dict (short, long, min, multiple), in pixels.
        mean, std: normalisation of RGB values in 0..1.
        tasks: names of the tasks that the weights were taught; the judge refuses the others.
        calibration: what is known of the judge's errors: temperatures by question, see ``answer_temperature``; and the
            settings of an ``OrderCalibration`` (``order_fr`` with a reference, ``order_nr`` without) and of a
            ``ScoreCalibration`` (``score_error_fr``, ``score_error_nr``).
        names_first: whether assessments open with the names of the distortions, as the brief answer spells them; then
            identification decides this opening, so that both answers name the same. Comparisons then open with what
            each image shows, in the same way.
        free_questions: whether assessments and ratings may be asked for in any words; False takes only the words of the
            training questions (``questions.require_trained``). Short questions of other kinds are a task of their own,
            "question" in ``tasks``.
        personal: whether ratings follow one person's preferences; then scores are placed by them among anchors, because
            the rating levels do not follow these preferences.
        lora (among ``kwargs``): settings of ``peft.LoraConfig`` for adapters in the language model; none by default.

    Raises:
        ValueError: a setting that no network can have (``checkpoint_rules.config_problem``).
    """

    model_type = "depictqa"
    has_no_defaults_at_init = True

    def __init__(
        self,
        vision: dict | None = None,
        connector: dict | None = None,
        language: dict | PretrainedConfig | None = None,
        size: dict | None = None,
        mean: tuple[float, ...] = CLIP_MEAN,
        std: tuple[float, ...] = CLIP_STD,
        tasks: tuple[str, ...] = ("identification", "assessment", "rating", "comparison"),
        calibration: dict | None = None,
        names_first: bool = False,
        free_questions: bool = True,
        personal: bool = False,
        **kwargs,
    ):
        self.vision = vision or {"kind": "clip"}
        self.connector = connector or {"kind": "linear"}
        language = language if language is not None else {"model_type": "llama"}
        self.language = language if isinstance(language, dict) else _compact(language)
        self.size = size or {"short": 224, "long": 672, "min": 70, "multiple": 14}
        self.mean, self.std, self.tasks = (_plain(value) for value in (mean, std, tasks))
        self.calibration = calibration or {}
        self.names_first = names_first
        self.free_questions, self.personal = free_questions, personal
        settings = {key: getattr(self, key) for key in CONFIG if hasattr(self, key)}
        if wrong := config_problem({**settings, "lora": kwargs.get("lora")}):
            raise ValueError(wrong)
        for reference in (False, True):  # a damaged one is noticed now
            self.order_calibration(reference), self.score_calibration(reference)
        kwargs.setdefault("tie_word_embeddings", bool(self.language.get("tie_word_embeddings", False)))
        super().__init__(**kwargs)

    def answer_temperature(self, names: Sequence[str]) -> float:
        """What the log-probabilities of a brief question's answers are divided by.

        Args:
            names: of ``tasks.temperature_names``; the first that ``calibration`` holds counts, and 1 if it holds none.
        """
        return float(next((self.calibration[name] for name in names if name in self.calibration), 1.0))

    def has_temperature(self, names: Sequence[str]) -> bool:
        """Whether ``answer_temperature`` of these names was fitted."""
        return any(name in self.calibration for name in names)

    def order_calibration(self, reference: bool) -> OrderCalibration | None:
        """The calibration of orders of images with or without a reference; None if there is none."""
        return self._calibration(OrderCalibration, "order", reference)

    def score_calibration(self, reference: bool) -> ScoreCalibration | None:
        """The calibration of scores with or without a reference; None if there is none."""
        return self._calibration(ScoreCalibration, "score_error", reference)

    def _calibration(self, kind, name: str, reference: bool):
        settings = self.calibration.get(f"{name}_{'fr' if reference else 'nr'}")
        if settings is None:
            return None
        try:
            return kind(**settings)
        except TypeError as error:
            raise ValueError(f"calibration of {name}: {error}") from error

    def language_config(self) -> PretrainedConfig:
        """The language model's own config object."""
        settings = dict(self.language)
        return AutoConfig.for_model(settings.pop("model_type"), **settings)

    def vision_config(self) -> CLIPVisionConfig:
        """The CLIP tower's own config object (kind "clip" only)."""
        settings = {key: value for key, value in self.vision.items() if key != "kind"}
        return CLIPVisionConfig(**{"hidden_act": "quick_gelu", "patch_size": 14, **settings})


def _plain(value):
    """A tuple as the list that JSON makes of it; anything else as it is, for the check to refuse."""
    return list(value) if isinstance(value, tuple) else value


def _compact(config: PretrainedConfig) -> dict:
    settings = config.to_diff_dict()
    settings["model_type"] = config.model_type
    for key in (
        "transformers_version",
        "_name_or_path",
        "architectures",
        "quantization_config",
        "dtype",
        "torch_dtype",
    ):
        settings.pop(key, None)
    return settings


AutoConfig.register("depictqa", DepictQAConfig, exist_ok=True)
