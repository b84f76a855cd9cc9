"""Where weights go: number formats, quantisation with and without bitsandbytes, several devices, offloaded layers."""

import importlib.metadata
import importlib.util
import sys
import types

import accelerate
import numpy as np
import pytest
import torch
from tiny import make_tiny_checkpoint, make_tiny_model
from trees import ROOT

from depictqa_core.backends.native import NativeBackend
from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import RGBImage
from depictqa_core.judge import Judge
from depictqa_core.loading import device_placement as placement
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.device_placement import QUANTISED, loading_options, spread

LORA = {"r": 4, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("placement") / "c", "abstractor", lora=LORA)


@pytest.fixture
def bitsandbytes(monkeypatch):
    """A stand-in that says where it runs, as the real package does; it can quantise nothing."""

    def install(*devices):
        found = importlib.util.find_spec
        module = types.ModuleType("bitsandbytes")
        module.supported_torch_devices = set(devices)
        monkeypatch.setitem(sys.modules, "bitsandbytes", module)
        version = importlib.metadata.version
        monkeypatch.setattr(importlib.metadata, "version", lambda n: "0.49.0" if n == "bitsandbytes" else version(n))
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name, *a: object() if name == "bitsandbytes" else found(name, *a)
        )

    return install


def pictures():
    rng = np.random.default_rng(0)
    return [RGBImage(rng.integers(0, 256, (56 + 14 * i, 80, 3), dtype=np.uint8), f"p{i}") for i in range(3)]


def answers(judge):
    shown = pictures()
    return [one.confidence for one in judge.identify(shown, count=None)] + [
        one.probability_a for one in judge.compare_many([(shown[0], shown[1]), (shown[1], shown[2])])
    ]


# ---------------------------------------------------------------------- number formats


@pytest.mark.parametrize("dtype", QUANTISED)
def test_without_bitsandbytes_the_message_says_what_to_do(folder, dtype, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "bitsandbytes" else found(n, *a))
    with pytest.raises(
        CheckpointError, match=f"dtype {dtype} needs the package bitsandbytes.*pip install bitsandbytes"
    ):
        load_checkpoint(folder, "cpu", dtype)


@pytest.mark.parametrize("dtype", QUANTISED)
def test_a_device_that_bitsandbytes_does_not_know_is_refused(folder, dtype, bitsandbytes):
    bitsandbytes("cuda", "xpu")
    with pytest.raises(CheckpointError, match=f"dtype {dtype}: .* not run on 'cpu', only on cuda, xpu; choose float16"):
        load_checkpoint(folder, "cpu", dtype)


def test_a_bitsandbytes_that_cannot_do_it_is_one_line(folder, bitsandbytes):
    bitsandbytes("cpu")
    with pytest.raises(
        CheckpointError, match="cannot be loaded as int8 on cpu .*; choose float16 or float32"
    ) as caught:
        load_checkpoint(folder, "cpu", "int8")
    assert "\n" not in str(caught.value) and "download the folder again" not in str(caught.value)


def test_only_the_language_model_is_quantised(folder, bitsandbytes):
    """What the rules for names of transformers 4 and 5 convert are the blocks of the language model, without LoRA."""
    bitsandbytes("cuda", "cpu")
    model, _ = make_tiny_model("abstractor", lora=LORA)
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for dtype, loaded in (("int8", "load_in_8bit"), ("int4", "load_in_4bit")):
        options = loading_options(model.config, "cuda:1", dtype)
        config = options["quantization_config"]
        assert getattr(config, loaded) and options["device_map"] == {"": "cuda:1"}
        assert options["torch_dtype"] == torch.float16
        assert loading_options(model.config, "cpu", dtype)["torch_dtype"] == torch.float32
        words = config.llm_int8_skip_modules
        four = [n for n in linear if n.split(".")[-1] not in words and not any(f"{w}." in n or w == n for w in words)]
        assert four and all("language.model.layers." in name and "lora_" not in name for name in four)
        assert len(four) == 2 * 7  # q, k, v, o, gate, up and down of two layers
        utilities = pytest.importorskip("transformers.quantizers.quantizers_utils")
        if hasattr(utilities, "should_convert_module"):
            assert [name for name in linear if utilities.should_convert_module(name, words)] == four


def test_unknown_number_formats_are_refused(folder):
    with pytest.raises(CheckpointError, match="unknown dtype 'int3'.*float32.*int4"):
        load_checkpoint(folder, "cpu", "int3")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_answers_alike(folder, dtype):
    wanted = answers(Judge(NativeBackend(load_checkpoint(folder))))
    loaded = load_checkpoint(folder, "cpu", dtype)
    assert {p.dtype for p in loaded.model.parameters()} == {getattr(torch, dtype)}
    assert answers(Judge(NativeBackend(loaded))) == pytest.approx(wanted, abs=0.02 if dtype == "float16" else 0.1)


# ---------------------------------------------------------------------- several devices


def sizes(model):
    whole = sum(p.numel() * 4 for p in model.parameters())
    layer = sum(p.numel() * 4 for p in model.language.model.layers[0].parameters())
    return whole, layer


def test_pictures_and_words_stay_on_the_first_device_and_layers_go_on():
    model, _ = make_tiny_model("abstractor")
    whole, layer = sizes(model)
    first = whole - sum(p.numel() * 4 for p in model.language.parameters())
    words = model.get_input_embeddings().weight.numel() * 4
    memory = {0: first + 2 * words + int(1.5 * layer), 1: whole, "cpu": whole}  # accelerate leaves room for one block
    places = spread(model.config, "float32", "sequential", memory)
    assert places["vision"] == places["connector"] == places["language.model.embed_tokens"] == 0
    assert places["language.lm_head"] == places["language.model.layers.1"] == 1
    covered = [name for name, _ in model.named_parameters() if any(f"{name}.".startswith(f"{key}.") for key in places)]
    assert covered == [name for name, _ in model.named_parameters()]


def test_what_fits_nowhere_is_refused():
    if accelerate.__version__.startswith("1.1."):
        pytest.skip("accelerate 1.1 asks torch for devices by number, which needs an accelerator")
    model, _ = make_tiny_model("abstractor")
    whole, _ = sizes(model)
    with pytest.raises(CheckpointError, match="does not fit into the memory"):
        spread(model.config, "float32", "balanced", {0: whole // 3, "cpu": whole // 3})
    with pytest.raises(CheckpointError, match="does not fit into the memory"):
        spread(model.config, "int8", "sequential", {0: whole // 8, "cpu": whole})


@pytest.mark.slow
def test_balanced_on_a_machine_with_one_device_answers_the_same(folder):
    wanted = answers(Judge(NativeBackend(load_checkpoint(folder))))
    assert answers(Judge(NativeBackend(load_checkpoint(folder, "balanced")))) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_layers_that_are_offloaded_answer_the_same(folder):
    """Weights that lie elsewhere between forward passes, as on a GPU that is too small."""
    from accelerate import cpu_offload

    wanted = answers(Judge(NativeBackend(load_checkpoint(folder))))
    loaded = load_checkpoint(folder)
    for layer in loaded.model.language.model.layers:
        cpu_offload(layer, torch.device("cpu"), offload_buffers=True)
    assert any(p.is_meta for p in loaded.model.parameters())
    assert answers(Judge(NativeBackend(loaded))) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
def test_lora_is_not_merged_into_layers_that_are_offloaded(folder):
    from accelerate import cpu_offload
    from peft.tuners.tuners_utils import BaseTunerLayer

    loaded = load_checkpoint(folder)
    with torch.no_grad():
        for name, parameter in loaded.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    wanted = answers(Judge(NativeBackend(loaded)))
    for layer in loaded.model.language.model.layers[1:]:
        cpu_offload(layer, torch.device("cpu"), offload_buffers=True)
    loaded.model.merge_lora()
    adapters = [module for module in loaded.model.modules() if isinstance(module, BaseTunerLayer)]
    assert {adapter.merged for adapter in adapters} == {True, False}
    assert answers(Judge(NativeBackend(loaded))) == pytest.approx(wanted, abs=1e-5)


def test_pictures_of_any_size_use_fused_attention(folder):
    model = load_checkpoint(folder).model
    assert model.language.config._attn_implementation == "sdpa"
    assert model.vision.encoder.layers[0].self_attn.config._attn_implementation == "sdpa"
    assert placement.DTYPES[0] == "float32"


# ---------------------------------------------------------------------- what memory is needed


@pytest.mark.slow
def test_the_memory_of_weights_is_what_the_loaded_weights_take(folder):
    from depictqa_core.loading.memory_needs import memory_needs

    for dtype in placement.DTYPES:
        model = load_checkpoint(folder, "cpu", dtype).model
        taken = sum(t.numel() * t.element_size() for t in model.parameters())
        need = next(need for need in memory_needs(model.config) if need.dtype == dtype)
        assert need.weights == pytest.approx(taken, rel=0.01)
        assert need.total == need.weights + need.words + need.image


def test_keys_and_values_are_what_the_language_model_keeps(folder):
    from depictqa_core.loading.memory_needs import ANSWER_TOKENS, TEXT_TOKENS, memory_needs

    model = load_checkpoint(folder).model
    with torch.inference_mode():
        kept = model.language(torch.tensor([[1, 2, 3, 4, 5]]), use_cache=True).past_key_values
    layers = [(kept[i][0], kept[i][1]) for i in range(2)] if hasattr(kept, "__getitem__") else None
    layers = layers or [(layer.keys, layer.values) for layer in kept.layers]
    each = sum(t.numel() * t.element_size() for pair in layers for t in pair) / 5
    tokens = 3 * 4 + TEXT_TOKENS + ANSWER_TOKENS  # the tiny abstractor has 4 queries
    assert memory_needs(model.config)[0].words == each * tokens


@pytest.mark.slow
def test_the_table_of_the_docs_is_the_one_of_the_command(capsys):
    from depictqa_core.cli.commands import main

    assert main(["import", "--memory"]) == 0
    printed = capsys.readouterr().out.strip()
    page = (ROOT / "docs" / "published_weights.md").read_text(encoding="utf-8")
    assert printed in page and "| int4 | 4." in printed
