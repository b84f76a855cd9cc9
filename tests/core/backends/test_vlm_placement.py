"""Where the weights of a vision-language model go: number formats, quantisation, several devices, memory needs."""

import importlib.machinery
import importlib.metadata
import sys
import types

import numpy as np
import pytest
import torch
from core.judging import alike, plain
from tiny_vlms import FAMILIES, make_tiny_vlm
from transformers import AutoConfig, AutoModelForImageTextToText

from depictqa_core.backends import vlm_loading
from depictqa_core.backends.vlm_info import describe_vlm
from depictqa_core.backends.vlm_memory import ImageInput, skeleton, unquantised, vlm_needs
from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.loading.device_placement import loading_options
from depictqa_core.loading.memory_needs import ANSWER_TOKENS


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_5"])
def folder(request, tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / request.param, request.param)


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """The configuration of a tiny model of every family."""
    root = tmp_path_factory.mktemp("configs")
    return {name: AutoConfig.from_pretrained(make_tiny_vlm(root / name, name)) for name in FAMILIES}


@pytest.fixture
def bitsandbytes(monkeypatch):
    """A stand-in that says where it runs, as the real package does; it can quantise nothing."""
    module = types.ModuleType("bitsandbytes")
    module.supported_torch_devices = {"cuda", "cpu"}
    module.__spec__ = importlib.machinery.ModuleSpec("bitsandbytes", None)
    monkeypatch.setitem(sys.modules, "bitsandbytes", module)
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda n: "0.49.0" if n == "bitsandbytes" else version(n))


def images(count=3):
    rng = np.random.default_rng(3)
    return [as_image(rng.integers(0, 256, (64, 64 + 32 * i, 3), np.uint8), f"i{i}") for i in range(count)]


def answers(judge):
    a, b, c = images()
    return plain(judge.score([a, b, c])) + plain(judge.compare_many([(a, b), (b, c)]))


# ---------------------------------------------------------------------- number formats


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 0.02), ("bfloat16", 0.1)])
def test_half_precision_answers_alike(folder, dtype, tolerance):
    judge = load_judge(folder, "cpu", dtype)
    assert {p.dtype for p in judge.model.parameters()} == {getattr(torch, dtype)}
    a, b, _ = images()
    wanted, got = load_judge(folder, "cpu").compare(a, b), judge.compare(a, b)
    assert got.probability_a == pytest.approx(wanted.probability_a, abs=tolerance)
    assert judge.backend.run.sharing == "images"  # the fast path is judged by the rounding of the format


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_language_model_is_quantised(configs, family):
    """Whatever its parts are called: by the rules for names of transformers 4 and 5."""
    model = skeleton(configs[family])
    left = unquantised(model)
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    four = [n for n in linear if n.split(".")[-1] not in left and not any(f"{w}." in f"{n}." for w in left)]
    assert four and all((".language_model." in name or ".text_model." in name) and ".layers." in name for name in four)
    assert {f"layers.{i}." in name for i in (0, 1) for name in four} == {True, False}
    rest = set(linear) - set(four)
    assert any("vis" in name for name in rest) and any("lm_head" in name for name in rest)
    utilities = pytest.importorskip("transformers.quantizers.quantizers_utils")
    if hasattr(utilities, "should_convert_module"):
        assert [name for name in linear if utilities.should_convert_module(name, left)] == four


@pytest.mark.parametrize(("dtype", "loaded"), [("int8", "load_in_8bit"), ("int4", "load_in_4bit")])
def test_quantised_folders_are_loaded_by_these_names(folder, dtype, loaded, bitsandbytes, monkeypatch):
    asked = []
    monkeypatch.setattr(vlm_loading, "loading_options", lambda *a: asked.append(a) or loading_options(*a))
    with pytest.raises(CheckpointError, match=f"cannot be loaded as {dtype} on cpu") as refused:
        load_judge(folder, "cpu", dtype)
    assert "\n" not in str(refused.value)
    options = loading_options(*asked[0])
    assert getattr(options["quantization_config"], loaded) and options["device_map"] == {"": "cpu"}
    assert options["quantization_config"].llm_int8_skip_modules == ["model.visual", "lm_head"]


@pytest.mark.slow
def test_the_rounding_of_int8_does_not_forbid_the_fast_path(folder):
    """int8 rounds activations where both paths differ by less than float32 shows."""
    judge = load_judge(folder, "cpu")
    run, original = judge.backend.run, judge.backend.run.plain

    def rounded(*arguments):
        return [table + 0.003 * torch.sign(torch.arange(table.shape[-1]) % 2 - 0.5) for table in original(*arguments)]

    run.plain = rounded
    assert run.sharing == "nothing"
    run._sharing, run.model.is_loaded_in_8bit = None, True
    assert run.sharing == "images" and run.batches


def test_a_language_model_that_cannot_be_told_is_not_quantised():
    with pytest.raises(CheckpointError, match="Linear: its language model cannot be told .* choose bfloat16"):
        unquantised(torch.nn.Linear(2, 2))


# ---------------------------------------------------------------------- several devices


@pytest.mark.slow
@pytest.mark.parametrize("device", ["balanced", {"": "cpu"}])
def test_a_device_map_answers_the_same(folder, device, monkeypatch):
    given, original = [], AutoModelForImageTextToText.from_pretrained
    monkeypatch.setattr(
        AutoModelForImageTextToText, "from_pretrained", lambda *a, **k: given.append(k) or original(*a, **k)
    )
    judge = load_judge(folder, device, "float32")
    assert given[0]["device_map"] == device
    assert alike(answers(judge), answers(load_judge(folder, "cpu")))


@pytest.mark.slow
def test_layers_that_are_offloaded_answer_the_same(folder):
    """Weights that lie elsewhere between forward passes, as on a GPU that is too small."""
    from accelerate import cpu_offload

    judge = load_judge(folder, "cpu")
    for name, module in list(judge.model.named_modules()):
        if name.endswith((".layers.0", ".blocks.0")):
            cpu_offload(module, torch.device("cpu"), offload_buffers=True)
    assert any(p.is_meta for p in judge.model.parameters())
    assert alike(answers(judge), answers(load_judge(folder, "cpu")))


@pytest.mark.slow
def test_weights_that_move_between_two_questions_answer_the_same(folder):
    """As ComfyUI's memory management does it: the cache of vision features follows the network."""
    judge = load_judge(folder, "cpu")
    before = answers(judge)
    judge.backend.forget_answers()
    device = judge.backend.run.device
    judge.model.to(torch.float64)  # other weights at another place in memory
    judge.model.to(torch.float32)
    assert judge.backend.run.device == device and alike(answers(judge), before)


# ---------------------------------------------------------------------- memory


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_the_memory_of_weights_is_what_loaded_weights_take(configs, family):
    needs = {need.dtype: need for need in vlm_needs(configs[family], None)}
    for dtype in ("float32", "bfloat16"):
        model = AutoModelForImageTextToText.from_config(configs[family]).to(getattr(torch, dtype))
        assert needs[dtype].weights == sum(p.numel() * p.element_size() for p in model.parameters())
    assert needs["float16"].weights > needs["int8"].weights > needs["int4"].weights
    assert needs["float32"].total == needs["float32"].weights


@pytest.mark.slow
def test_keys_and_values_are_what_the_language_model_keeps(folder):
    judge, config = load_judge(folder, "cpu"), AutoConfig.from_pretrained(folder)
    run = judge.backend.run
    assert run.sharing == "images"
    state = run.state(judge.backend.template.prompt("Which?", (*images(2), None)), lambda: None)
    kept = [layer for layer in state.cache.layers if getattr(layer, "keys", None) is not None]
    each = sum(t.nbytes for layer in kept for t in (layer.keys, layer.values)) / len(state.ids)
    one, two = (vlm_needs(config, ImageInput(tokens, (3, 2, 64, 64)))[0].words for tokens in (100, 101))
    assert two - one == 3 * each and one > (300 + ANSWER_TOKENS) * each


@pytest.mark.slow
def test_info_states_the_memory_of_weights_and_of_the_longest_question(folder):
    told = describe_vlm(folder)["memory"]
    need = next(need for need in vlm_needs(AutoConfig.from_pretrained(folder), None) if need.dtype == "int8")
    assert f"int8 {need.weights / 1e9:.2g} GB + " in told and told.endswith("largest images)")
