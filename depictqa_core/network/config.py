"""The configuration of a judge network: one ``transformers`` config that nests the language model's own."""

from typing import Any

from transformers import AutoConfig, CLIPVisionConfig, PretrainedConfig

from ..calibration import Calibration
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
        size: limits of ``images.SizePolicy`` as a dict (short, long, min, multiple), in pixels.
        mean, std: normalization of RGB values in 0..1.
        tasks: names of the supported tasks; the judge rejects the others.
        calibration: the settings of a ``calibration.Calibration``.
        names_first: whether assessments start with the names of the distortions, spelled as in the brief answer; then
            identification decides this prefix, so that both answers have the same names. Comparisons then start with
            the distortions of each image, in the same way.
        free_questions: whether assessments and ratings accept any wording; False accepts only the training
            questions (``questions.require_trained``). Short questions of other kinds are a separate task, "question" in
            ``tasks``.
        personal: whether ratings follow one person's preferences; then scores are computed by comparison with anchors,
            because the rating levels do not follow these preferences.
        lora (in ``kwargs``): settings of ``peft.LoraConfig`` for adapters in the language model; none by default.

    Raises:
        ValueError: a setting is invalid (``checkpoint_rules.config_problem``).
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
        **kwargs: Any,
    ) -> None:
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
        Calibration(self.calibration)  # find a damaged one now
        kwargs.setdefault("tie_word_embeddings", bool(self.language.get("tie_word_embeddings", False)))
        super().__init__(**kwargs)

    def language_config(self) -> PretrainedConfig:
        """The language model's own config object."""
        settings = dict(self.language)
        config: PretrainedConfig = AutoConfig.for_model(settings.pop("model_type"), **settings)
        return config

    def vision_config(self) -> CLIPVisionConfig:
        """The CLIP tower's own config object (kind "clip" only)."""
        settings = {key: value for key, value in self.vision.items() if key != "kind"}
        return CLIPVisionConfig(**{"hidden_act": "quick_gelu", "patch_size": 14, **settings})


def _plain(value: object) -> Any:
    """Convert a tuple to the list that JSON makes of it; anything else stays as it is and is checked later."""
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
