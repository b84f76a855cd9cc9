"""The importer of the published weights: agreement with the original, strict and safe reading, and its command."""

import json
import math
import pickle
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from depictqa_core import checkpoints, cli, published
from depictqa_core.checkpoints import load_checkpoint, verify_checkpoint
from depictqa_core.confidence import brief_confidence, letter_confidence
from depictqa_core.decoding import greedy
from depictqa_core.errors import CheckpointError
from depictqa_core.foreign_tensors import open_tensors
from depictqa_core.images import as_picture
from depictqa_core.judge import Judge
from depictqa_core.llama_tokenizer import read_pieces
from depictqa_core.model import IGNORE
from depictqa_core.prompts import REFERENCE, A, B, Slot, answer_ids, encode, layout, text_ids
from depictqa_core.published import import_published
from depictqa_core.reading import Reading
from depictqa_core.tasks import setting
from depictqa_core.vision import prepare
from training.examples import collate, make_example
from training.loader import LivePictures, Shown

PARITY = Path(__file__).resolve().parents[1] / "parity"
sys.path.insert(0, str(PARITY))

import tiny_set  # noqa: E402

GOLDEN = json.loads((PARITY / "golden_projector.json").read_text(encoding="utf-8"))
VALUES = load_file(PARITY / "golden_projector.safetensors")
CLOSE = 1e-4
RESIZED = 0.01
"""For a_tall, which Pillow 13 resizes by up to 2 grey levels differently from Pillow 12."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return tiny_set.write(tmp_path_factory.mktemp("published") / "set")


def parts(files, delta="projector", clip="ViT-tiny-14.pt"):
    return {"clip": files / "clip" / clip, "llm": files / "llm", "delta": files / "delta" / f"ckpt_{delta}.pt"}


@pytest.fixture(scope="module")
def folder(files):
    import_published(**parts(files), out=files / "projector")
    return files / "projector"


@pytest.fixture(scope="module")
def abstractor_folder(files):
    import_published(**parts(files, "abstractor"), out=files / "abstractor")
    return files / "abstractor"


@pytest.fixture(scope="module")
def loaded(folder):
    return load_checkpoint(folder)


@pytest.fixture(scope="module")
def features(files, loaded):
    """What the vision tower saw in every picture."""
    live = LivePictures(loaded.model.config, files)
    with torch.inference_mode():
        return {name: loaded.model.encode([live.show(f"images/{name}.png").content])[0] for name in tiny_set.PICTURES}


@pytest.fixture(scope="module")
def tokens(loaded, features):
    """Language-model embeddings of every picture."""
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


@pytest.mark.parametrize("name", GOLDEN["cases"])
def test_token_ids_of_every_segment(name, loaded):
    case = GOLDEN["cases"][name]
    known = setting(case["task"])
    texts = [part for part in layout(case["query"], known.pair, known.reference) if not isinstance(part, Slot)]
    ids = [part for part in prompt_parts(case, loaded.tokenizer) if not isinstance(part, Slot)]
    assert ids[0][0] == 1
    assert sorted(map(list, zip(texts, [ids[0][1:], *ids[1:]]))) == sorted(case["segments"])


@pytest.mark.parametrize("name", tiny_set.PICTURES)
def test_pixels_and_embeddings(name, files, loaded, features, tokens):
    pixels = prepare(as_picture(files / "images" / f"{name}.png"), loaded.model.config).pixels
    assert [1, *pixels.shape] == GOLDEN["images"][name]["pixels_shape"]
    near = 0.03 if name == "a_tall" else 1e-6
    row = VALUES[f"images.{name}.pixels_row"]
    assert (pixels - row[:, None]).abs().amax((0, 2)).min() < near  # one row of the picture, wherever it was taken
    near = {"rtol": 0, "atol": 0.05 if name == "a_tall" else CLOSE}
    wanted = VALUES[f"images.{name}.patch_features_every_16th"]
    torch.testing.assert_close(features[name][::16, ::4], wanted, **near)
    torch.testing.assert_close(tokens[name], VALUES[f"images.{name}.embeds"], **near)


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
    read = Reading(loaded.model.language, len(cases)).read([prompt(case, loaded, tokens) for case in cases])
    written = greedy(read, end, 8)
    for answer, case in zip(written, cases):
        assert answer.ids == case["greedy_ids"]
        assert answer.probabilities == pytest.approx(case["greedy_probabilities"], rel=tolerance(case))


def shown(examples, features):
    """What the network sees in the pictures of each example; the projector makes a token of every patch."""
    return [[Shown(features[name], len(features[name])) for name in example.pictures] for example in examples]


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


@pytest.mark.parametrize("name", ["single", "double", "compare", "compare_sentence"])
def test_confidences(name):
    case = GOLDEN["confidence"][name]
    ids, probabilities = case["ids"][1:], case["probabilities"]
    if name.startswith("compare"):
        found = letter_confidence(ids, probabilities, [[7084, 319], [7084, 350]])
    else:
        found = brief_confidence(ids, probabilities, [13, 29871, 2], joint=322)
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


def test_abstractor_equals_the_formulas(files, abstractor_folder):
    loaded = load_checkpoint(abstractor_folder)
    weights = {name: value.float() for name, value in torch.load(parts(files, "abstractor")["delta"]).items()}
    pictures = [as_picture(files / "images" / f"{name}.png") for name in ("a_odd", "a_tiny")]
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


def test_bounds_follow_the_kind_of_delta_and_can_be_changed(files, folder, abstractor_folder, tmp_path):
    def size(where):
        return json.loads((where / "config.json").read_text())["size"]

    assert size(folder) == {"short": 224, "long": 672, "min": 70, "multiple": 14}
    assert size(abstractor_folder) == {"short": 1024, "long": 2048, "min": 70, "multiple": 14}
    import_published(**parts(files), out=tmp_path / "larger", short=448, long=1000)
    assert size(tmp_path / "larger") == {"short": 448, "long": 1000, "min": 70, "multiple": 14}
    with pytest.raises(CheckpointError, match="no sense"):
        import_published(**parts(files), out=tmp_path / "wrong", short=448, long=300)


# ---------------------------------------------------------------------- the folder that is written


def test_the_folder_is_whole_and_says_where_it_comes_from(files, folder):
    card = verify_checkpoint(folder)
    assert card["variant"] == "projector" and card["lora"] == "kept apart"
    named = {source["file"]: source for source in card["sources"]}
    assert set(named) == {
        "ViT-tiny-14.pt",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "tokenizer.model",
        "ckpt_projector.pt",
    }
    assert named["ckpt_projector.pt"]["sha256"] == checkpoints.file_hash(files / "delta" / "ckpt_projector.pt")
    assert "Llama 2" in card["license"] and "MIT" in card["license"] and "Apache-2.0" in card["license"]
    assert not any("ln_post" in name or "token_embedding" in name for name in load_file(folder / "model.safetensors"))


def test_a_judge_answers_with_it(folder):
    judge = Judge(load_checkpoint(folder))
    found = judge.identify([tiny_set.picture("a_tiny"), tiny_set.picture("a_odd")])
    assert len(found) == 2 and all(0 <= one.confidence <= 1 for one in found)
    assert 0 < judge.compare(tiny_set.picture("a_tiny"), tiny_set.picture("a_odd")).probability_a < 1


def test_merged_weights_answer_like_lora(files, tmp_path):
    outputs = []
    for merge in (False, True):
        out = tmp_path / str(merge)
        import_published(**parts(files), out=out, dtype="float32", merge=merge)
        loaded = load_checkpoint(out)
        assert any("lora_" in name for name, _ in loaded.model.named_parameters()) != merge
        picture = prepare(as_picture(tiny_set.picture("a_tiny")), loaded.model.config)
        with torch.inference_mode():
            tokens = {A: loaded.model.connect(loaded.model.encode([picture]))[0]}
            embeds = loaded.model.embed_prompt(encode(layout("Noise?", False, False), loaded.tokenizer), tokens)
            outputs.append(loaded.model.language(inputs_embeds=embeds[None]).logits[0, -1])
    torch.testing.assert_close(outputs[0], outputs[1], rtol=0, atol=1e-5)


def transformers_clip(files, folder):
    """The tower of the tiny set as a folder that transformers itself wrote."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    state, ours = tiny_set.clip_state(0), {}
    for name, value in state.items():
        if name.startswith("visual.") and name != "visual.proj":
            name = name.removeprefix("visual.").replace("transformer.resblocks.", "encoder.layers.")
            for old, new in (
                ("conv1.", "embeddings.patch_embedding."),
                ("class_embedding", "embeddings.class_embedding"),
                ("positional_embedding", "embeddings.position_embedding.weight"),
                ("ln_pre.", "pre_layrnorm."),
                ("ln_post.", "post_layernorm."),
                ("ln_1.", "layer_norm1."),
                ("ln_2.", "layer_norm2."),
                ("mlp.c_fc.", "mlp.fc1."),
                ("mlp.c_proj.", "mlp.fc2."),
                ("attn.", "self_attn."),
            ):
                name = name.replace(old, new)
            if "in_proj" in name:
                kind = name.rpartition("_")[2]
                head = name.rpartition("in_proj")[0]
                ours |= {f"{head}{x}_proj.{kind}": row for x, row in zip("qkv", value.float().chunk(3))}
            else:
                ours[name] = value.float()
    model = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=1024,
            intermediate_size=4096,
            num_hidden_layers=2,
            num_attention_heads=16,
            patch_size=14,
            hidden_act="quick_gelu",
        )
    )
    inner = getattr(model, "vision_model", model)
    missing, unexpected = inner.load_state_dict(ours, strict=False)
    assert not unexpected and all(name.endswith("position_ids") for name in missing)
    model.save_pretrained(str(folder))


def test_every_form_of_clip_and_of_the_language_model_gives_the_same(files, folder, tmp_path):
    transformers_clip(files, tmp_path / "clip")
    state = {name: value for name, value in tiny_set.clip_state(0).items() if name.startswith("visual.")}
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "visual.safetensors")
    shutil.copytree(files / "llm", tmp_path / "llm", ignore=shutil.ignore_patterns("*.bin", "*.index.json"))
    save_file(dict(tiny_set.language_state(1)), tmp_path / "llm" / "model.safetensors")
    forms = {
        "plain": {"clip": files / "clip" / "ViT-tiny-14.sd.pt"},
        "transformers": {"clip": tmp_path / "clip"},
        "safetensors": {"clip": tmp_path / "visual.safetensors", "llm": tmp_path / "llm"},
    }
    wanted = load_file(folder / "model.safetensors")
    for name, form in forms.items():
        import_published(**{**parts(files), **form}, out=tmp_path / name)
        found = load_file(tmp_path / name / "model.safetensors")
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key].float(), wanted[key].float()) for key in wanted), name


def test_large_models_are_written_in_shards(files, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(published, "SHARD_BYTES", 4_000_000)
    import_published(**parts(files), out=tmp_path / "out", dtype="float16")
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 3 and shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    found = load_checkpoint(tmp_path / "out").model.state_dict()
    wanted = load_file(folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value.half().float()) for name, value in wanted.items())


def test_tokenizer_equals_sentencepiece(loaded):
    package = pytest.importorskip("sentencepiece")
    reader = package.SentencePieceProcessor(model_proto=tiny_set.sentencepiece_model())
    texts = [
        "Image A",
        "two  spaces ",
        "x\ny\n\n",
        "größer 图像 🙂",
        "What distortion?   ASSISTANT:",
        "<0x0A> <unused300>",
    ]
    for text in texts:
        assert text_ids(text, loaded.tokenizer) == reader.encode(text)
        assert loaded.tokenizer.decode(reader.encode(text)) == text
    assert text_ids("Image </s> Image A </s> ", loaded.tokenizer) == [7084, 29871, 2, 7084, 319, 29871, 2, 29871]


def test_tokenizer_out_of_a_fast_file(files, folder, tmp_path):
    shutil.copy(folder / "tokenizer.json", tmp_path)
    assert read_pieces(tmp_path) == read_pieces(files / "llm")


# ---------------------------------------------------------------------- strictness


def changed_delta(files, tmp_path, change, kind="projector"):
    state = torch.load(parts(files, kind)["delta"])
    change(state)
    torch.save(state, tmp_path / "ckpt.pt")
    return {**parts(files, kind), "delta": tmp_path, "out": tmp_path / "out"}


LORA = "llm.base_model.model.model.layers.1.self_attn.q_proj.lora_A.default.weight"


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda s: s.pop(LORA), f"1 missing: {LORA}"),
        (lambda s: s.pop("vision_proj.bias"), "1 missing: vision_proj.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (lambda s: s.update({LORA: torch.zeros(8, 64)}), f"1 of another shape: {LORA} 8×64 instead of 16×64"),
        (lambda s: s.update({"vision_proj.weight": torch.zeros(32, 1024)}), "vision_proj.weight 32×1024 instead of 64"),
        (lambda s: [s.pop(k) for k in list(s) if "layers.1." in k], "8 missing"),
        (lambda s: s.update({LORA: torch.full((16, 64), float("nan"))}), "not finite"),
        (lambda s: s.update({LORA: torch.zeros(16, 64, dtype=torch.int64)}), "no weight|not finite"),
        (lambda s: s.clear(), "plain state dict"),
        (lambda s: s.update(epoch=3), "epoch is no tensor"),
    ],
)
def test_deltas_that_do_not_fit_are_refused(files, tmp_path, change, said):
    with pytest.raises(CheckpointError, match=said):
        import_published(**changed_delta(files, tmp_path, change))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.pt"]


@pytest.mark.parametrize("name", ["abstractor.query_embeds", "abstractor.abstractor.layers.0.linear1.weight"])
def test_abstractors_that_do_not_fit_are_refused(files, tmp_path, name):
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        import_published(**changed_delta(files, tmp_path, lambda state: state.pop(name), "abstractor"))
    with pytest.raises(CheckpointError, match="1 of another shape: " + name):
        change = {name: torch.zeros(9, 2, 7)}
        import_published(**changed_delta(files, tmp_path, lambda state: state.update(change), "abstractor"))


def test_at_full_size_the_published_depth_is_required():
    found = published.layout.published_sizes(
        published.Clip(layers=23), published.Language(), published.Delta(8, published.Abstractor(layers=3))
    )
    assert found == (published.Clip(), published.Delta(16, published.Abstractor()))


def test_language_models_that_do_not_fit_are_refused(files, tmp_path):
    def attempt(said, **changes):
        with pytest.raises(CheckpointError, match=said):
            import_published(**{**parts(files), "llm": tmp_path / "llm", "out": tmp_path / "out", **changes})
        assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()

    attempt("not a folder")
    shutil.copytree(files / "llm", tmp_path / "llm")
    config = json.loads((tmp_path / "llm" / "config.json").read_text())
    (tmp_path / "llm" / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    attempt("9 missing|8 missing")
    (tmp_path / "llm" / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    attempt("not a LLaMA")
    (tmp_path / "llm" / "config.json").write_text(json.dumps(config))
    shard = tmp_path / "llm" / "pytorch_model-00002-of-00002.bin"
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    attempt("cannot be read")
    shard.unlink()
    attempt("pytorch_model-00002-of-00002.bin missing")
    shard.write_bytes(content)
    index = tmp_path / "llm" / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../../clip/x.bin"}}))
    attempt("outside of the folder")
    (tmp_path / "llm" / "tokenizer.model").write_bytes(b"nothing of the kind")
    index.write_bytes((files / "llm" / index.name).read_bytes())
    attempt("is not a LLaMA tokenizer")


def test_clips_that_do_not_fit_are_refused(files, tmp_path):
    name = "visual.transformer.resblocks.1.ln_2.bias"
    for change, said in (
        (lambda s: s.pop(name), f"1 missing: {name}"),
        (lambda s: s.update({name: torch.zeros(7)}), f"{name} 7 instead of 1024"),
        (lambda s: s.pop("visual.conv1.weight"), "no CLIP vision transformer"),
    ):
        state = tiny_set.clip_state(0)
        change(state)
        torch.save(state, tmp_path / "clip.pt")
        with pytest.raises(CheckpointError, match=said):
            import_published(**{**parts(files), "clip": tmp_path / "clip.pt", "out": tmp_path / "out"})
    with pytest.raises(CheckpointError, match="not a file"):
        import_published(**{**parts(files), "clip": tmp_path / "none.pt", "out": tmp_path / "out"})


def test_nothing_is_overwritten(files, folder):
    before = (folder / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        import_published(**parts(files, "abstractor"), out=folder)
    assert (folder / "config.json").read_bytes() == before


# ---------------------------------------------------------------------- safety


class _Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (eval, (f"open({self.path!r}, 'w').write('ran')",))


@pytest.mark.parametrize("part", ["clip", "llm", "delta"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_write_a_file_is_refused(files, tmp_path, part, legacy):
    crafted = tmp_path / "crafted.pt"
    torch.save({"x": _Writes(tmp_path / "ran")}, crafted, _use_new_zipfile_serialization=not legacy)
    given = {**parts(files), "out": tmp_path / "out", part: crafted}
    if part == "llm":
        shutil.copytree(files / "llm", tmp_path / "llm")
        shutil.copy(crafted, tmp_path / "llm" / "pytorch_model-00001-of-00002.bin")
        given["llm"] = tmp_path / "llm"
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        import_published(**given)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_torchscript_archive_with_a_pickle_that_would_write_a_file_is_refused(files, tmp_path):
    crafted = tmp_path / "crafted.pt"
    with zipfile.ZipFile(files / "clip" / "ViT-tiny-14.pt") as old, zipfile.ZipFile(crafted, "w") as new:
        for item in old.infolist():
            evil = pickle.dumps(_Writes(tmp_path / "ran"), protocol=2)
            new.writestr(item, evil if item.filename.endswith("/data.pkl") else old.read(item))
    with pytest.raises(CheckpointError, match="asks for .*eval.* no weights need"):
        import_published(**{**parts(files), "clip": crafted, "out": tmp_path / "out"})
    assert not (tmp_path / "ran").exists()


def test_the_code_of_a_torchscript_archive_does_not_run(tmp_path):
    class Loud(torch.nn.Module):
        def __init__(self, path: str):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
            self.path = path

        @torch.jit.export
        def __getstate__(self):
            return self.weight, self.path, self.training

        @torch.jit.export
        def __setstate__(self, state: tuple[torch.Tensor, str, bool]):
            self.weight = torch.from_file(state[1], True, 16)  # writes a file when torch.jit.load reads the archive
            self.path = state[1]
            self.training = state[2]

        def forward(self, x: torch.Tensor):
            return x

    archive, ran = tmp_path / "loud.pt", tmp_path / "ran"
    torch.jit.script(Loud(str(ran))).save(str(archive))
    ran.unlink(missing_ok=True)
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        open_tensors(archive)
    assert not ran.exists()


# ---------------------------------------------------------------------- the command


def run(capsys, *words):
    status = cli.main(["import", *map(str, words)])
    return status, *capsys.readouterr()


def test_check_compares_the_real_layout_with_the_network_without_weights(capsys):
    status, out, err = run(capsys, "--check")
    assert status == 0 and not err
    assert "projector delta (258 tensors, 20,975,616 values)" in out
    assert "abstractor delta (331 tensors, 71,442,432 values)" in out


def test_the_command_imports_and_checks(files, folder, tmp_path, capsys):
    words = [word for name, path in parts(files).items() for word in (f"--{name}", path)]
    status, out, err = run(capsys, *words, "--check")
    assert status == 0 and "nothing was written" in out
    status, out, err = run(capsys, *words, "--out", tmp_path / "out", "--dtype", "float16", "--merge")
    assert status == 0 and f"written: {tmp_path / 'out'} (projector, LoRA merged)" in out
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float16}
    status, out, err = run(capsys, *words, "--out", tmp_path / "out")
    assert status == 1 and err.startswith("depictqa: ") and err.count("\n") == 1
    for wrong in (words, words[:4] + ["--check"], ["--check", "--out", "x"], []):
        with pytest.raises(SystemExit) as stop:
            run(capsys, *wrong)
        assert stop.value.code == 2


# ---------------------------------------------------------------------- asking it


@pytest.mark.parametrize("kind", ["projector", "abstractor"])
def test_a_batch_of_mixed_sizes_equals_its_single_runs(kind, folder, abstractor_folder):
    """Padding, grouping by size and shared beginnings change no answer, and no picture takes the place of another."""
    where = folder if kind == "projector" else abstractor_folder
    shown = [as_picture(tiny_set.picture(name), name) for name in ("a_tiny", "a_odd", "a_wide")]
    reference = as_picture(tiny_set.picture("ref_sq"), "ref")
    loaded = load_checkpoint(where)
    for beside in (None, reference):
        together = Judge(loaded).identify(shown, beside)
        for picture, one in zip(shown, together):
            alone = Judge(loaded).identify(picture, beside)[0]
            assert one.picture == picture.name and one.text == alone.text
            wanted = {item.label: item.probability for item in alone.probabilities}
            assert {item.label: item.probability for item in one.probabilities} == pytest.approx(wanted, abs=CLOSE)
    pairs = [(shown[0], shown[2]), (shown[2], shown[1])]
    for pair, one in zip(pairs, Judge(loaded).compare_many(pairs, [reference, reference])):
        assert one.probability_a == pytest.approx(Judge(loaded).compare(*pair, reference).probability_a, abs=CLOSE)


@pytest.mark.parametrize("kind", ["projector", "abstractor"])
def test_all_five_verbs_answer_and_end(kind, folder, abstractor_folder):
    """Random weights write nonsense: it is passed on as it is, within its length, and never replaced."""
    judge = Judge(load_checkpoint(folder if kind == "projector" else abstractor_folder))
    judge.anchors = tuple(judge_anchors())
    shown = [as_picture(tiny_set.picture(name), name) for name in ("a_tiny", "a_odd")]
    assert [one.picture for one in judge.identify(shown)] == ["a_tiny", "a_odd"]
    described = judge.describe(shown, max_new_tokens=8)
    assert all(one.text == one.text.strip() and one.confidence_method == "verdict words" for one in described)
    assert judge.compare(*shown).verdict in ("A", "B", "tie")
    scores = judge.score(shown)
    assert all(one.method == "anchors" and 0 <= one.low <= one.score <= one.high <= 100 for one in scores)
    assert sorted(judge.rank(shown, method="score").order) == sorted(judge.rank(shown).order) == [0, 1]


def judge_anchors():
    from depictqa_core.anchors import Anchor

    for name, position in (("ref_sq", 90.0), ("b_sq", 20.0)):
        yield Anchor(as_picture(tiny_set.picture(name), name), position)


def test_another_tokenizer_is_refused_before_anything_is_written(files, tmp_path):
    shutil.copytree(files / "llm", tmp_path / "llm")
    model = tmp_path / "llm" / "tokenizer.model"
    model.write_bytes(model.read_bytes().replace("▁Image".encode(), "▁Imagf".encode()))
    with pytest.raises(CheckpointError, match="not the tokenizer of the deltas"):
        import_published(**{**parts(files), "llm": tmp_path / "llm"}, out=None)
