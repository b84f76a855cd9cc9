"""The network as a transformers model: saving, training loss, padding, gradient checkpointing, LoRA, freezing."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open
from tiny import KINDS, make_tiny_model
from transformers import LlamaConfig

from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge
from depictqa_core.loading.saving import save_checkpoint
from depictqa_core.network.config import DepictQAConfig
from depictqa_core.network.model import IGNORE, IMAGE_TOKEN, DepictQAModel
from depictqa_core.network.vision import prepare
from depictqa_core.prompts import REFERENCE, Slot, answer_ids, encode, layout

QUESTION = "Which image is better? Answer the question using a single word or phrase."


@pytest.fixture(scope="module", params=KINDS)
def judge(request):
    return make_tiny_model(request.param)


@pytest.fixture(scope="module")
def cnn():
    return make_tiny_model("cnn")


def pictures(count, seed=0):
    rng = np.random.default_rng(seed)
    sizes = [(40, 60), (60, 40), (70, 70), (30, 100)]
    return [as_image(rng.integers(0, 256, (*sizes[i % 4], 3), np.uint8)) for i in range(count)]


def examples(model, tokenizer):
    """Three examples of unequal length with three, one and two images: parts, answer ids, prepared images."""
    rows = []
    cases = [(True, True, "Image A", 3), (False, False, "None", 1), (True, False, "Image B", 2)]
    for i, (pair, reference, answer, count) in enumerate(cases):
        parts = encode(layout(QUESTION, pair, reference), tokenizer)
        prepared = [prepare(p, model.config) for p in pictures(count, seed=i)]
        rows.append((parts, answer_ids(answer, tokenizer), prepared))
    return rows


def batch_of(model, rows, left=False, pad=1):
    """The rows as ``DepictQAModel.forward`` takes them."""
    flat = [model.encode(prepared) for _, _, prepared in rows]
    lines, labels, references = [], [], []
    for (parts, answer, _), pooled in zip(rows, flat):
        seen = iter(pooled)
        ids = []
        first = len(references) if any(part == Slot(REFERENCE) for part in parts) else None
        references += [None if index == 0 else first for index in range(len(pooled))]
        for part in parts:
            ids += [IMAGE_TOKEN] * model.connector.token_count(next(seen)) if isinstance(part, Slot) else part
        lines.append(ids + answer)
        labels.append([IGNORE] * len(ids) + answer)
    length = max(map(len, lines))

    def padded(line, value):
        fill = [value] * (length - len(line))
        return fill + line if left else line + fill

    return {
        "input_ids": torch.tensor([padded(line, pad) for line in lines]),
        "labels": torch.tensor([padded(line, IGNORE) for line in labels]),
        "attention_mask": torch.tensor([padded([1] * len(line), 0) for line in lines]),
        "pooled": [one for pooled in flat for one in pooled],
        "references": references,
    }


def loss_by_hand(model, rows):
    """Mean cross-entropy over all answer tokens, one unpadded example and one image at a time."""
    total, count = 0.0, 0
    for parts, answer, prepared in rows:
        seen = [model.encode([one])[0] for one in prepared]
        beside = seen[0] if Slot(REFERENCE) in parts else None
        tokens = iter(model.connect([one], [beside if i else None])[0] for i, one in enumerate(seen))
        table = model.get_input_embeddings().weight
        embeds = torch.cat([next(tokens) if isinstance(part, Slot) else table[part] for part in [*parts, answer]])
        logits = model.language(inputs_embeds=embeds[None]).logits[0]
        total = total + F.cross_entropy(logits[-len(answer) - 1 : -1], torch.tensor(answer), reduction="sum")
        count += len(answer)
    return total / count


@pytest.mark.slow
def test_loss_of_a_padded_batch_equals_an_independent_computation(judge):
    model, tokenizer = judge
    rows = examples(model, tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(model(**batch_of(model, rows)).loss, loss_by_hand(model, rows), rtol=1e-5, atol=1e-5)


def test_padding_side_and_padding_id_do_not_matter(judge):
    model, tokenizer = judge
    rows = examples(model, tokenizer)
    with torch.no_grad():
        right, left, other = (batch_of(model, rows, **o) for o in ({}, {"left": True}, {"pad": 7}))
        outputs = [model(**batch) for batch in (right, left, other)]
    answers = [o.logits[b["labels"].roll(-1, 1) != IGNORE] for o, b in zip(outputs, (right, left, other))]
    torch.testing.assert_close(answers[0], answers[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(answers[0], answers[2], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(outputs[0].loss, outputs[1].loss, rtol=1e-5, atol=1e-5)


def test_every_picture_goes_to_its_own_slot(judge):
    """Swapping two images of a batch changes the answers of just the examples that they belong to."""
    model, tokenizer = judge
    rows = examples(model, tokenizer)
    batch = batch_of(model, rows)
    with torch.no_grad():
        before = model(**batch).logits
        for first, second, changed in ((1, 2, [0]), (0, 3, [0, 1]), (4, 5, [2])):
            pooled = list(batch["pooled"])
            pooled[first], pooled[second] = pooled[second], pooled[first]
            if pooled[first].shape != pooled[second].shape and model.connector.token_count(
                pooled[0]
            ) != model.connector.token_count(pooled[3]):
                continue  # patch features of other sizes need other slots
            difference = (model(**{**batch, "pooled": pooled}).logits - before).abs().amax((1, 2))
            assert [row for row in range(3) if difference[row] > 1e-4] == changed


def test_slots_and_pictures_that_do_not_match_are_refused(judge):
    model, tokenizer = judge
    batch = batch_of(model, examples(model, tokenizer))
    with pytest.raises(ValueError, match="5 entries in references"):
        model(**{**batch, "references": batch["references"][:-1]})
    batch["references"] = None
    with pytest.raises(ValueError, match="image tokens"):
        model(**{**batch, "pooled": batch["pooled"][:-1]})
    with pytest.raises(ValueError, match="image tokens"):
        model(**{**batch, "pooled": batch["pooled"] + batch["pooled"][:1]})


def outputs_of(model, tokenizer):
    with torch.no_grad():
        return model(**batch_of(model, examples(model, tokenizer))).logits


@pytest.mark.slow
def test_save_and_load_give_equal_outputs(judge, tmp_path):
    model, tokenizer = judge
    model.save_pretrained(str(tmp_path))
    assert not list(tmp_path.glob("*.bin")) and list(tmp_path.glob("*.safetensors"))
    again, report = DepictQAModel.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert not again.training
    expected, got = model.state_dict(), again.state_dict()
    assert expected.keys() == got.keys() and all(torch.equal(expected[key], got[key]) for key in expected)
    assert torch.equal(outputs_of(model, tokenizer), outputs_of(again, tokenizer))
    again.save_pretrained(str(tmp_path / "again"))
    assert (tmp_path / "again" / "config.json").read_text() == (tmp_path / "config.json").read_text()


def test_tied_word_embeddings_are_saved_once_and_tied_again(tmp_path):
    language = LlamaConfig(
        vocab_size=600, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2
    )
    model, tokenizer = make_tiny_model(
        "cnn", language={**language.to_dict(), "tie_word_embeddings": True, "initializer_range": 0.3}
    )
    assert model.language.lm_head.weight is model.language.model.embed_tokens.weight
    model.save_pretrained(str(tmp_path))
    with safe_open(str(next(tmp_path.glob("*.safetensors"))), "pt") as file:
        assert len([key for key in file.keys() if "lm_head" in key or "embed_tokens" in key]) == 1
    again, report = DepictQAModel.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert again.language.lm_head.weight is again.language.model.embed_tokens.weight
    assert torch.equal(outputs_of(model, tokenizer), outputs_of(again, tokenizer))


@pytest.mark.slow
@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_close(kind, half):
    model, tokenizer = make_tiny_model(kind)
    model.language.lm_head.weight.data *= 0.1
    rows = examples(model, tokenizer)
    with torch.no_grad():
        full = model(**batch_of(model, rows)).logits.log_softmax(-1)
        output = model.to(half)(**batch_of(model, rows)).logits
    assert output.dtype == half
    mask = batch_of(model, rows)["attention_mask"].bool()
    difference = (output.float().log_softmax(-1) - full)[mask].abs()
    assert difference.median() < (0.02 if half == torch.float16 else 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_checkpointing_gives_equal_gradients(kind):
    gradients = []
    for checkpointing in (False, True):
        model, tokenizer = make_tiny_model(kind, connector={**KINDS[kind]["connector"], "dropout": 0.0})
        if checkpointing:
            model.checkpoint_activations()
            assert model.language.model.gradient_checkpointing or model.is_gradient_checkpointing
        model.train()
        if kind == "backbone":
            model.vision.eval()
        model(**batch_of(model, examples(model, tokenizer))).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    assert any(g is not None and g.abs().max() > 1e-6 for name, g in gradients[0].items() if name.startswith("vision"))
    for name, gradient in gradients[0].items():
        if gradient is None:
            assert gradients[1][name] is None, name
        else:
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def test_gradient_checkpointing_reaches_lora_behind_frozen_parts():
    model, tokenizer = make_tiny_model("cnn", lora={"r": 2, "lora_dropout": 0.0})
    model.freeze(("lora",))
    model.checkpoint_activations()
    model.train()
    model(**batch_of(model, examples(model, tokenizer))).loss.backward()
    trained = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    assert trained and all(g is not None for g in trained.values())
    assert all(g.abs().max() > 0 for name, g in trained.items() if "lora_B" in name)


@pytest.fixture(scope="module")
def lora():
    model, tokenizer = make_tiny_model("clip", lora={"r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]})
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model, tokenizer


def test_lora_is_saved_and_loaded(lora, tmp_path):
    model, tokenizer = lora
    assert sum("lora_" in name for name, _ in model.named_parameters()) == 2 * 2 * 2  # layers, modules, matrices
    model.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["lora"]["r"] == 2
    assert not (tmp_path / "adapter_config.json").exists()
    again, report = DepictQAModel.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert torch.equal(outputs_of(model, tokenizer), outputs_of(again, tokenizer))


def test_lora_adds_scaled_products_to_the_weights(lora):
    model, tokenizer = lora
    plain, _ = make_tiny_model("clip")
    weights = model.state_dict()
    merged = {key.replace(".base_layer", ""): value for key, value in weights.items() if "lora_" not in key}
    for key, a in weights.items():
        if key.endswith(".lora_A.default.weight"):
            target = key.replace(".lora_A.default.weight", ".weight")
            merged[target] = merged[target] + 6 / 2 * weights[key.replace("lora_A", "lora_B")] @ a
    plain.load_state_dict(merged)
    torch.testing.assert_close(outputs_of(model, tokenizer), outputs_of(plain, tokenizer), rtol=1e-4, atol=1e-4)


def test_merged_lora_answers_alike_and_is_merged_by_a_judge_in_full_precision_only(lora, tmp_path):
    model, tokenizer = lora
    save_checkpoint(tmp_path, model, tokenizer, {"name": "tiny"})
    for dtype, is_merged in (("float32", True), ("bfloat16", False)):
        judged = load_judge(tmp_path, "cpu", dtype).model
        layers = [m for m in judged.modules() if isinstance(m, BaseTunerLayer)]
        assert layers and all(layer.merged == is_merged for layer in layers)
        if is_merged:
            got, expected = outputs_of(judged, tokenizer), outputs_of(model, tokenizer)
            torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def parts_of(model):
    """Which parts have trainable parameters, and whether wholly."""
    found = {}
    for name, parameter in model.named_parameters():
        part = "lora" if "lora_" in name else name.split(".")[0]
        found.setdefault(part, set()).add(parameter.requires_grad)
    return {part: states == {True} for part, states in found.items() if True in states}


@pytest.mark.parametrize(
    "trainable", [("connector", "lora"), ("lora",), ("connector", "language"), ("vision", "connector", "lora"), ()]
)
def test_freeze(trainable):
    model, _ = make_tiny_model("cnn", lora={"r": 2})
    model.freeze(trainable)
    assert parts_of(model) == dict.fromkeys(trainable, True)
    model.freeze(("vision",))
    assert parts_of(model) == {"vision": True}


def test_freeze_of_an_unknown_part_is_an_error(cnn):
    with pytest.raises(ValueError, match="conector.*vision, connector, pair, language, lora"):
        cnn[0].freeze(("conector",))
    assert parts_of(cnn[0])  # and nothing was frozen


def test_frozen_parts_get_no_gradient_and_others_do():
    model, tokenizer = make_tiny_model("cnn", lora={"r": 2, "lora_dropout": 0.0})
    model.freeze()
    model(**batch_of(model, examples(model, tokenizer))).loss.backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == (name.startswith("connector") or "lora_" in name), name


def test_training_does_not_keep_keys_and_values(cnn):
    model, tokenizer = cnn
    with torch.no_grad():
        output = model(**batch_of(model, examples(model, tokenizer)))
    assert getattr(output, "past_key_values", None) is None


def test_embed_prompt_places_pictures_by_role(cnn):
    model, tokenizer = cnn
    parts = encode(layout(QUESTION, True, True), tokenizer)
    tokens = {role: torch.full((n, 32), float(n)) for role, n in (("reference", 2), ("A", 3), ("B", 4))}
    embeds = model.embed_prompt(parts, tokens)
    table, expected = model.get_input_embeddings().weight, []
    for part in parts:
        expected.append(tokens[part.role] if isinstance(part, Slot) else table[part])
    assert torch.equal(embeds, torch.cat(expected))


def test_config_survives_json():
    config = DepictQAConfig(
        **KINDS["cnn"], language=LlamaConfig(hidden_size=32), lora={"r": 4}, calibration={"rating": 1.5}
    )
    again = DepictQAConfig.from_dict(json.loads(config.to_json_string()))
    assert again.to_dict() == config.to_dict()
    assert again.language_config().hidden_size == 32 and again.lora == {"r": 4} and again.calibration == {"rating": 1.5}
    assert DepictQAConfig().size == {"short": 224, "long": 672, "min": 70, "multiple": 14}


def test_device_map(tmp_path):
    model, tokenizer = make_tiny_model("clip")
    model.save_pretrained(str(tmp_path))
    again = DepictQAModel.from_pretrained(str(tmp_path), device_map="auto")
    torch.testing.assert_close(outputs_of(again, tokenizer), outputs_of(model, tokenizer))
