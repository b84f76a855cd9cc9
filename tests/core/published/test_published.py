"""The importer of the published weights: what it makes agrees with the original program, and answers."""

import json
import math

import pytest
import torch
from core.published_set import PARITY, parts, tiny_set
from safetensors.torch import load_file

from depictqa_core.backends.native import NativeBackend
from depictqa_core.confidence import brief_confidence
from depictqa_core.engine.decoding import greedy
from depictqa_core.engine.prefill import Prefill
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.network.model import IGNORE
from depictqa_core.network.vision import prepare
from depictqa_core.prompts import REFERENCE, A, B, Slot, answer_ids, encode, layout
from depictqa_core.tasks import setting
from training.trainer.examples import collate, make_example
from training.trainer.image_features import ImageFeatures, LiveImages

GOLDEN = json.loads((PARITY / "golden_projector.json").read_text(encoding="utf-8"))
VALUES = load_file(PARITY / "golden_projector.safetensors")
CLOSE = 1e-4
RESIZED = 0.01
"""For a_tall, which Pillow 13 resizes by up to 2 grey levels differently from Pillow 12."""


@pytest.fixture(scope="module")
def loaded(projector_folder):
    return load_checkpoint(projector_folder)


@pytest.fixture(scope="module")
def features(published_files, loaded):
    """What the vision tower saw in every image."""
    live = LiveImages(loaded.model.config, published_files)
    with torch.inference_mode():
        return {name: loaded.model.encode([live.show(f"images/{name}.png").content])[0] for name in tiny_set.PICTURES}


@pytest.fixture(scope="module")
def tokens(loaded, features):
    """Language-model embeddings of every image."""
    with torch.inference_mode():
        return dict(zip(features, loaded.model.connect(list(features.values()))))


def prompt_parts(case, tokenizer):
    known = setting(case["task"])
    return encode(layout(case["query"], known.pair, known.reference), tokenizer)


def prompt(case, loaded, tokens):
    shown = dict(zip((REFERENCE, A, B), case["images_ref_A_B"]))
    if not setting(case["task"]).pair:
        shown[A] = shown[A] or shown[B]
    return loaded.model.embed_prompt(
        prompt_parts(case, loaded.tokenizer), {role: tokens[name] for role, name in shown.items() if name}
    )


def tolerance(case):
    return RESIZED if "a_tall" in case["images_ref_A_B"] else CLOSE


# ---------------------------------------------------------------------- agreement with the original


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_token_ids_of_every_segment(name, loaded):
    case = GOLDEN["cases"][name]
    known = setting(case["task"])
    texts = [part for part in layout(case["query"], known.pair, known.reference) if not isinstance(part, Slot)]
    ids = [part for part in prompt_parts(case, loaded.tokenizer) if not isinstance(part, Slot)]
    assert ids[0][0] == 1
    assert sorted(map(list, zip(texts, [ids[0][1:], *ids[1:]]))) == sorted(case["segments"])


@pytest.mark.slow
@pytest.mark.parametrize("name", tiny_set.PICTURES)
def test_pixels_and_embeddings(name, published_files, loaded, features, tokens):
    pixels = prepare(as_image(published_files / "images" / f"{name}.png"), loaded.model.config).pixels
    assert [1, *pixels.shape] == GOLDEN["images"][name]["pixels_shape"]
    near = 0.03 if name == "a_tall" else 1e-6
    row = VALUES[f"images.{name}.pixels_row"]
    assert (pixels - row[:, None]).abs().amax((0, 2)).min() < near  # one row of the image, wherever it was taken
    near = {"rtol": 0, "atol": 0.05 if name == "a_tall" else CLOSE}
    wanted = VALUES[f"images.{name}.patch_features_every_16th"]
    torch.testing.assert_close(features[name][::16, ::4], wanted, **near)
    torch.testing.assert_close(tokens[name], VALUES[f"images.{name}.embeds"], **near)


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_logits_and_hidden_states(name, loaded, tokens):
    case = GOLDEN["cases"][name]
    with torch.inference_mode():
        embeds = prompt(case, loaded, tokens)[None]
        assert embeds.shape[1] == case["sequence_length"]
        out = loaded.model.language(inputs_embeds=embeds, output_hidden_states=True)
    near = {"rtol": 0, "atol": tolerance(case)}
    torch.testing.assert_close(out.logits[0, -4:, ::8], VALUES[f"cases.{name}.logits_last_4"], **near)
    torch.testing.assert_close(out.hidden_states[-1][0, -4:], VALUES[f"cases.{name}.last_hidden_last_4"], **near)


def test_greedy_ids_in_one_mixed_batch(loaded, tokens):
    cases = list(GOLDEN["cases"].values())
    end = answer_ids("", loaded.tokenizer)
    assert end[-3:] == [13, 29871, 2]
    read = Prefill(loaded.model.language, len(cases)).extend([prompt(case, loaded, tokens) for case in cases])
    written = greedy(read, end, 8)
    for answer, case in zip(written, cases):
        assert answer.ids == case["greedy_ids"]
        assert answer.probabilities == pytest.approx(case["greedy_probabilities"], rel=tolerance(case))


def shown(examples, features):
    """What the network sees in the images of each example; the projector makes a token of every patch."""
    return [[ImageFeatures(features[name], len(features[name])) for name in example.pictures] for example in examples]


@pytest.mark.slow
@pytest.mark.parametrize("name", GOLDEN["train"])
def test_training_batches_and_loss(name, loaded, features):
    case, wanted = GOLDEN["cases"][name], GOLDEN["train"][name]
    record = dict(zip(("image_ref", "image_A", "image_B"), case["images_ref_A_B"])) | {"task_type": case["task"]}
    record["conversations"] = [{"value": case["query"]}, {"value": wanted["answer"]}]
    example = make_example(record, loaded.tokenizer)
    batch = collate([example], shown([example], features), 2, hide_separators=True)
    tail = len(wanted["input_ids"])
    assert batch["input_ids"][0, -tail:].tolist() == wanted["input_ids"]
    assert batch["labels"][0, -tail:].tolist() == wanted["labels"]
    assert batch["attention_mask"][0, -tail:].tolist() == wanted["mask"]
    assert (batch["labels"][0, :-tail] == IGNORE).all() and batch["attention_mask"][0, :-tail].all()
    with torch.inference_mode():
        loss = loaded.model(**batch).loss.item()
    assert loss == pytest.approx(wanted["loss"], abs=tolerance(case))
    assert collate([example], shown([example], features), 2)["attention_mask"].all()


def test_a_description_is_learned_as_by_the_original(loaded, features, tokens):
    """Segments and mask are written out here from method.md, and the loss is computed from logits by hand."""
    question, answer = "What does the image show?\n<image>", "A house and a wave."
    talk = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    example = make_example({"task_type": "description", "image": "a_odd", "conversations": talk}, loaded.tokenizer)
    batch = collate([example], shown([example], features), 2, hide_separators=True)
    opening = (
        "A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the human's questions. As an AI assistant, you are performing an image detail "
        "description task, and your goal is to generate a natural language description of an image that accurately and "
        "comprehensively conveys its visual content.\n\n </s> USER: <Img>"
    )
    first, second, said = (
        loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in (opening, "</Img> What does the image show?   ASSISTANT: ", answer + "\n </s>")
    )
    first, count = [1, *first], len(features["a_odd"])
    words = loaded.model.get_input_embeddings()
    embedded = torch.cat([words(torch.tensor(first)), tokens["a_odd"], words(torch.tensor(second + said))])
    mask = torch.tensor([[1] * (len(first) + count) + [int(token != 2) for token in second + said]])
    with torch.inference_mode():
        logits = loaded.model.language(inputs_embeds=embedded[None], attention_mask=mask).logits[0]
        chosen = logits.log_softmax(-1)[-len(said) - 1 : -1].gather(1, torch.tensor(said)[:, None])
        loss = loaded.model(**batch).loss.item()
    assert batch["attention_mask"].tolist() == mask.tolist() and said[-3:] == [13, 29871, 2]
    assert loss == pytest.approx(-chosen.mean().item(), abs=1e-5)


def test_hidden_separators_leave_padding_hidden_and_other_rows_alone(loaded, features):
    def example(question, answer):
        turns = [{"value": question}, {"value": answer}]
        record = {"task_type": "quality_single_A_noref", "image_A": "a_tiny", "conversations": turns}
        return make_example(record, loaded.tokenizer)

    both = [
        example("Which image?", "Noise"),
        example("What distortion is most apparent here?", "Noise and blur"),
    ]
    batch = collate(both, shown(both, features), 2, hide_separators=True)
    for row, one in enumerate(both):
        alone = collate([one], shown([one], features), 2, hide_separators=True)
        length = alone["input_ids"].shape[1]
        assert batch["attention_mask"][row, :length].tolist() == alone["attention_mask"][0].tolist()
        assert not batch["attention_mask"][row, length:].any()


def test_confidence_of_a_brief_answer():
    case = GOLDEN["confidence"]["single"]
    found = brief_confidence(case["ids"][1:], case["probabilities"], [13, 29871, 2])
    assert found == pytest.approx(case["confidence"], abs=1e-6)


# ---------------------------------------------------------------------- the abstractor, computed by hand


def attend(queries, seen, weights, prefix, heads=8):
    size = queries.shape[1]
    (q, k, v), biases = weights[prefix + "in_proj_weight"].split(size), weights[prefix + "in_proj_bias"].split(size)
    q, k, v = (x @ w.T + b for x, w, b in zip((queries, seen, seen), (q, k, v), biases))
    rows = []
    for head in range(heads):
        part = slice(head * size // heads, (head + 1) * size // heads)
        scores = (q[:, part] @ k[:, part].T / math.sqrt(size // heads)).softmax(-1)
        rows.append(scores @ v[:, part])
    return torch.cat(rows, 1) @ weights[prefix + "out_proj.weight"].T + weights[prefix + "out_proj.bias"]


def normed(x, weights, name):
    x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, correction=0) + 1e-5).sqrt()
    return x * weights[name + ".weight"] + weights[name + ".bias"]


@pytest.mark.slow
def test_abstractor_equals_the_formulas(published_files, abstractor_folder):
    loaded = load_checkpoint(abstractor_folder)
    weights = {name: value.float() for name, value in torch.load(parts(published_files, "abstractor")["delta"]).items()}
    pictures = [as_image(published_files / "images" / f"{name}.png") for name in ("a_odd", "a_tiny")]
    prepared = [prepare(picture, loaded.model.config) for picture in pictures]
    with torch.inference_mode():
        features = loaded.model.encode(prepared)
        tokens = loaded.model.connect(features)
    for seen, found in zip(features, tokens):
        x = weights["abstractor.query_embeds"][:, 0]
        for i in range(tiny_set.ABSTRACTOR["layers"]):
            p = f"abstractor.abstractor.layers.{i}."
            x = normed(x + attend(x, x, weights, p + "self_attn."), weights, p + "norm1")
            x = normed(x + attend(x, seen, weights, p + "multihead_attn."), weights, p + "norm2")
            inner = (x @ weights[p + "linear1.weight"].T + weights[p + "linear1.bias"]).relu()
            x = normed(x + inner @ weights[p + "linear2.weight"].T + weights[p + "linear2.bias"], weights, p + "norm3")
        wanted = x @ weights["vision_proj.weight"].T + weights["vision_proj.bias"]
        torch.testing.assert_close(found, wanted, rtol=0, atol=CLOSE)


# ---------------------------------------------------------------------- asking it


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["projector", "abstractor"])
def test_a_batch_of_mixed_sizes_equals_its_single_runs(kind, projector_folder, abstractor_folder):
    """Padding, grouping by size and shared beginnings change no answer, and no image takes the place of another."""
    where = projector_folder if kind == "projector" else abstractor_folder
    shown = [as_image(tiny_set.picture(name), name) for name in ("a_tiny", "a_odd", "a_wide")]
    reference = as_image(tiny_set.picture("ref_sq"), "ref")
    loaded = load_checkpoint(where)
    single = Judge(NativeBackend(loaded))  # asked about one image or pair at a time; each is encoded once
    for beside in (None, reference):
        together = Judge(NativeBackend(loaded)).identify(shown, beside)
        for picture, one in zip(shown, together):
            alone = single.identify(picture, beside)[0]
            assert one.picture == picture.name and one.text == alone.text
            wanted = {item.label: item.probability for item in alone.probabilities}
            assert {item.label: item.probability for item in one.probabilities} == pytest.approx(wanted, abs=CLOSE)
    pairs = [(shown[0], shown[2]), (shown[2], shown[1])]
    for pair, one in zip(pairs, Judge(NativeBackend(loaded)).compare_many(pairs, [reference, reference])):
        assert one.probability_a == pytest.approx(single.compare(*pair, reference).probability_a, abs=CLOSE)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["projector", "abstractor"])
def test_all_five_verbs_answer_and_end(kind, projector_folder, abstractor_folder):
    """Random weights write nonsense: it is passed on as it is, within its length, and never replaced."""
    judge = Judge(NativeBackend(load_checkpoint(projector_folder if kind == "projector" else abstractor_folder)))
    judge.anchors = tuple(judge_anchors())
    shown = [as_image(tiny_set.picture(name), name) for name in ("a_tiny", "a_odd")]
    assert [one.picture for one in judge.identify(shown)] == ["a_tiny", "a_odd"]
    described = judge.describe(shown, max_new_tokens=8)
    assert all(one.text == one.text.strip() and one.confidence_method == "verdict words" for one in described)
    assert judge.compare(*shown).verdict in ("A", "B", "tie")
    scores = judge.score(shown)
    assert all(one.method == "anchors" and 0 <= one.low <= one.score <= one.high <= 100 for one in scores)
    assert sorted(judge.rank(shown, method="score").order) == sorted(judge.rank(shown).order) == [0, 1]


def judge_anchors():
    from depictqa_core.ranking.anchors import Anchor

    for name, position in (("ref_sq", 90.0), ("b_sq", 20.0)):
        yield Anchor(as_image(tiny_set.picture(name), name), position)
