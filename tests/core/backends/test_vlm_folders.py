"""Folders of vision-language models: what is recognised, chosen and refused, each refusal in one line."""

import json
import shutil

import numpy as np
import pytest
import torch
from tiny_vlms import make_tiny_vlm

from depictqa_core.backends.profiles import choose_profile
from depictqa_core.backends.vlm_loading import is_vlm_folder, vlm_dtype
from depictqa_core.calibration import Calibration
from depictqa_core.cli.commands import main
from depictqa_core.errors import CheckpointError, PackageError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.loading.checkpoint_folder import BUNDLED


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "sound", "qwen2_5_vl")


@pytest.fixture
def folder(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "model")


def change(folder, name, **values):
    path = folder / name
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def lacks(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def pickled(folder):
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def adapter(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base", "peft_type": "LORA"}')


def lost_shard(folder):
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00002.safetensors"}}')


def lost_weight(folder):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "lm_head" in name or "layers.0" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def truncated(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-2000])


def change_weights(folder, change):
    from safetensors.torch import load_file, save_file

    weights = {name: change(name, tensor) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def other_tokenizer(folder):
    """A tokenizer with the same number of tokens, whose numbers mean something else."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    numbers = content["model"]["vocab"]
    numbers["<|image_pad|>"], numbers["a"] = numbers["a"], numbers["<|image_pad|>"]
    for token in content["added_tokens"]:
        token["id"] = numbers[token["content"]]
    path.write_text(json.dumps(content))


def longer_tokenizer(folder):
    """Tokens that transformers, or a user, adds to a tokenizer; the network has none for them."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"word{number}" for number in range(50)])
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))


def larger_tokenizer(folder):
    from tiny_vlms import QWEN
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<bos>", "<eos>", "<|im_start|>", "<|im_end|>", *QWEN, *pre_tokenizers.ByteLevel.alphabet()]
    words += [f"word{number}" for number in range(2000)]
    core = Tokenizer(models.BPE({word: index for index, word in enumerate(words)}, []))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.add_special_tokens([word for word in words if word.startswith("<") and len(word) > 1])
    core.save(str(folder / "tokenizer.json"))


BAD = {
    "no processor": (lacks("processor_config.json", "preprocessor_config.json"), "no processor for images"),
    "unknown processor": (
        lambda f: [change(f, n, processor_class="X") for n in ("processor_config.json", "preprocessor_config.json")],
        "its processor 'X' is none of transformers",
    ),
    "no template": (lacks("chat_template.jinja"), "has no chat template"),
    "template without images": (
        lambda f: (f / "chat_template.jinja").write_text("{{ messages[0].role }}"),
        "does not place images",
    ),
    "broken template": (lambda f: (f / "chat_template.jinja").write_text("{% if %}"), "template cannot be rendered"),
    "text-only": (lambda f: change(f, "config.json", model_type="qwen2"), "does not take images and text"),
    "remote code": (
        lambda f: change(f, "config.json", model_type="ovis9", auto_map={"AutoModel": "m.Model"}),
        "needs Python code from its own folder, which is never run",
    ),
    "too new": (
        lambda f: change(f, "config.json", model_type="qwen99_vl"),
        "does not know the architecture 'qwen99_vl'",
    ),
    "code of the processor": (
        lambda f: [
            change(f, n, processor_class="X", auto_map={"AutoProcessor": "p.X"})
            for n in ("processor_config.json", "preprocessor_config.json")
        ],
        "its processor X needs Python code from its own folder, which is never run",
    ),
    "code of the image processor": (
        lambda f: change(
            f, "preprocessor_config.json", image_processor_type="X", auto_map={"AutoImageProcessor": "p.X"}
        ),
        "its processor needs Python code from its own folder, which is never run",
    ),
    "adapter alone": (
        lambda f: [lacks("config.json", "model.safetensors")(f), adapter(f)],
        "'model' is a LoRA adapter of the model .*someone/base.*, not a model: merge both",
    ),
    "adapter with a config": (adapter, "'model' is a LoRA adapter of the model .*someone/base"),
    "truncated": (truncated, "model.safetensors is damaged .*; download it again"),
    "other shapes": (
        lambda f: change_weights(f, lambda n, t: t[:, :-1].contiguous() if n.endswith("q_proj.weight") else t),
        "model 'model'.*download it again",
    ),
    "whole numbers": (
        lambda f: change_weights(f, lambda n, t: t.to(torch.int8) if t.dim() > 1 else t),
        "is stored as I8, but config.json has no quantization_config",
    ),
    "settings of a quantisation that is not installed": (
        lambda f: change(f, "config.json", quantization_config={"quant_method": "gptq", "bits": 4}),
        "cannot be loaded as float32 on cpu",
    ),
    "tokenizer with other numbers": (
        other_tokenizer,
        "it writes images with other tokens than number .*, which config.json states: the tokenizer is that of another",
    ),
    "larger tokenizer": (
        larger_tokenizer,
        "its tokenizer has 22.. tokens or more, and the network .*: the tokenizer is",
    ),
    "pickles": (pickled, "pickles, which are never loaded"),
    "no weights": (lacks("model.safetensors"), "it has no weights"),
    "lost shard": (lost_shard, "model-00002.safetensors is missing"),
    "lost weight": (lost_weight, "its files lack 1 weights"),
    "bad profile": (
        lambda f: (f / "depictqa_profile.json").write_text('{"levels": ["a"]}'),
        "model.*depictqa_profile.json: levels",
    ),
    "bad calibration": (
        lambda f: (f / "depictqa_calibration.json").write_text('{"calibration": {"score_nr": -1}}'),
        "depictqa_calibration.json: calibration",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_a_judge_is_refused_in_one_line(folder, case):
    spoil, words = BAD[case]
    spoil(folder)
    with pytest.raises(CheckpointError, match=words) as refused:
        load_judge(folder, "cpu")
    assert "\n" not in str(refused.value) and "model" in str(refused.value)
    assert "trust" not in str(refused.value)


@pytest.mark.slow
def test_weights_that_are_not_finite_are_found_by_the_first_question(folder):
    change_weights(folder, lambda n, t: t * float("nan") if n.endswith("layers.1.mlp.down_proj.weight") else t)
    judge = load_judge(folder, "cpu")
    for ask in (judge.score, judge.describe):
        with pytest.raises(CheckpointError, match="grey: model gave NaN or Inf .* weights are damaged") as refused:
            ask(as_image(np.full((64, 64, 3), 99, np.uint8), "grey"))
        assert "\n" not in str(refused.value)


def test_tokens_that_are_merely_added_are_allowed(folder):
    longer_tokenizer(folder)
    judge = load_judge(folder, "cpu")
    assert len(judge.backend.tokenizer) > len(judge.model.get_input_embeddings().weight)


def test_formats_and_options_that_cannot_be_had(folder):
    for options, words in (({"dtype": "float8"}, "unknown dtype 'float8'"), ({"compiled": True}, "compiling is for")):
        with pytest.raises(CheckpointError, match=words):
            load_judge(folder, "cpu", **options)
    with pytest.raises(CheckpointError, match="holds no data"):
        load_judge(folder, "meta")


def test_a_missing_package_is_named(tmp_path):
    from transformers.utils import import_utils

    if import_utils.is_num2words_available():
        pytest.skip("num2words is installed")
    smol = make_tiny_vlm(tmp_path / "smol", "smolvlm")
    with pytest.raises(PackageError, match="smol.*num2words"):
        load_judge(smol, "cpu")


def test_folders_are_recognised_by_their_files(folder, tmp_path):
    assert is_vlm_folder(folder) and not is_vlm_folder(BUNDLED) and not is_vlm_folder(tmp_path)
    assert vlm_dtype(folder) == "bfloat16"
    change(folder, "config.json", torch_dtype="float16", dtype="float16")
    assert vlm_dtype(folder) == "float16"
    assert load_judge(folder, "cpu").info["name"] == "model"


@pytest.mark.parametrize(
    ("name", "kind", "profile", "levels"),
    [
        ("Q-ReAlign-0.8B", "qwen3_5", "q-realign", "excellent"),
        ("Q-Insight", "qwen2_5_vl", "q-insight", "5"),
        ("VisualQuality-R1-7B", "qwen2_5_vl", "visualquality-r1", "5"),
        ("UnifiedReward-2.0-qwen3vl-8b", "qwen3_vl", "unified-reward", "excellent"),
        ("Q-Insight", "llava", "generic", "excellent"),
        ("anything", "qwen2_5_vl", "generic", "excellent"),
    ],
)
def test_profiles_are_chosen_by_architecture_and_name(tmp_path, name, kind, profile, levels):
    chosen = choose_profile(tmp_path / name, kind)
    assert (chosen.name, chosen.levels[0]) == (profile, levels)
    assert chosen.tested and chosen.accuracy == "not measured here" and chosen.source
    assert {"identification_one", "severity", "score", "rating", "assessment", "comparison"} <= chosen.questions.keys()


def test_a_folder_may_bring_its_own_profile_and_calibration(folder):
    plain = load_judge(folder, "cpu")
    own = {"name": "mine", "levels": ["a", "b", "c", "d", "e"], "questions": {"score": {"text": "Grade {x} it."}}}
    (folder / "depictqa_profile.json").write_text(json.dumps(own))
    (folder / "depictqa_calibration.json").write_text('{"calibration": {"score_nr": 2.0}}')
    judge = load_judge(folder, "cpu")
    assert judge.info["profile"] == "mine" and judge.backend.profile.questions["rating"]
    assert judge.backend.calibration == Calibration({"score_nr": 2.0})
    assert judge.backend.profile.question("score", x="now") == ("Grade now it.", "")
    assert judge.backend.identity() != plain.backend.identity()


def test_info_tells_what_a_folder_is(folder, capsys):
    assert main(["info", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "qwen2_5_vl" in told and "float32" in told and "identification" in told and "not measured here" in told
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert main(["info", str(folder)]) == 1 and "model.safetensors is damaged" in capsys.readouterr().err
