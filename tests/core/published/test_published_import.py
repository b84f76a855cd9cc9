"""The folder that is made of the published weights, from every form of them, and the command that makes it."""

import json
import shutil

import pytest
import torch
from core.published_set import parts, tiny_set
from safetensors.torch import load_file, save_file

from depictqa_core.backends.native import NativeBackend
from depictqa_core.cli import commands as cli
from depictqa_core.errors import CheckpointError
from depictqa_core.images.image import as_image
from depictqa_core.judge import Judge
from depictqa_core.loading import checkpoint_folder
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.checkpoint_folder import verify_checkpoint
from depictqa_core.network.vision import prepare
from depictqa_core.prompts import A, encode, layout, text_ids
from depictqa_core.published import writer
from depictqa_core.published.importer import import_published
from depictqa_core.published.llama_tokenizer import read_pieces


@pytest.fixture(scope="module")
def loaded(projector_folder):
    return load_checkpoint(projector_folder)


def test_the_folder_is_whole_and_says_where_it_comes_from(published_files, projector_folder):
    card = verify_checkpoint(projector_folder)
    assert card["variant"] == "projector" and card["lora"] == "kept apart"
    named = {source["file"]: source for source in card["sources"]}
    assert set(named) == {
        "ViT-tiny-14.pt",
        "pytorch_model-00001-of-00002.bin",
        "pytorch_model-00002-of-00002.bin",
        "tokenizer.model",
        "ckpt_projector.pt",
    }
    assert named["ckpt_projector.pt"]["sha256"] == checkpoint_folder.file_hash(
        published_files / "delta" / "ckpt_projector.pt"
    )
    assert "Llama 2" in card["license"] and "MIT" in card["license"] and "Apache-2.0" in card["license"]
    assert not any(
        "ln_post" in name or "token_embedding" in name for name in load_file(projector_folder / "model.safetensors")
    )


@pytest.mark.slow
def test_a_judge_answers_with_it(projector_folder):
    judge = Judge(NativeBackend(load_checkpoint(projector_folder)))
    found = judge.identify([tiny_set.picture("a_tiny"), tiny_set.picture("a_odd")])
    assert len(found) == 2 and all(0 <= one.confidence <= 1 for one in found)
    assert 0 < judge.compare(tiny_set.picture("a_tiny"), tiny_set.picture("a_odd")).probability_a < 1


@pytest.mark.slow
def test_merged_weights_answer_like_lora(published_files, tmp_path):
    outputs = []
    for merge in (False, True):
        out = tmp_path / str(merge)
        import_published(**parts(published_files), out=out, dtype="float32", merge=merge)
        loaded = load_checkpoint(out)
        assert any("lora_" in name for name, _ in loaded.model.named_parameters()) != merge
        picture = prepare(as_image(tiny_set.picture("a_tiny")), loaded.model.config)
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


@pytest.mark.slow
def test_every_form_of_clip_and_of_the_language_model_gives_the_same(published_files, projector_folder, tmp_path):
    transformers_clip(published_files, tmp_path / "clip")
    state = {name: value for name, value in tiny_set.clip_state(0).items() if name.startswith("visual.")}
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "visual.safetensors")
    shutil.copytree(published_files / "llm", tmp_path / "llm", ignore=shutil.ignore_patterns("*.bin", "*.index.json"))
    save_file(dict(tiny_set.language_state(1)), tmp_path / "llm" / "model.safetensors")
    forms = {
        "plain": {"clip": published_files / "clip" / "ViT-tiny-14.sd.pt"},
        "transformers": {"clip": tmp_path / "clip"},
        "safetensors": {"clip": tmp_path / "visual.safetensors", "llm": tmp_path / "llm"},
    }
    wanted = load_file(projector_folder / "model.safetensors")
    for name, form in forms.items():
        import_published(**{**parts(published_files), **form}, out=tmp_path / name)
        found = load_file(tmp_path / name / "model.safetensors")
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[key].float(), wanted[key].float()) for key in wanted), name


@pytest.mark.slow
def test_large_models_are_written_in_shards(published_files, projector_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 4_000_000)
    import_published(**parts(published_files), out=tmp_path / "out", dtype="float16")
    shards = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 3 and shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    found = load_checkpoint(tmp_path / "out").model.state_dict()
    wanted = load_file(projector_folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], value.half().float()) for name, value in wanted.items())


@pytest.mark.slow
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


def test_tokenizer_out_of_a_fast_file(published_files, projector_folder, tmp_path):
    shutil.copy(projector_folder / "tokenizer.json", tmp_path)
    assert read_pieces(tmp_path) == read_pieces(published_files / "llm")


@pytest.mark.slow
def test_bounds_follow_the_kind_of_delta_and_can_be_changed(
    published_files, projector_folder, abstractor_folder, tmp_path
):
    def size(where):
        return json.loads((where / "config.json").read_text())["size"]

    assert size(projector_folder) == {"short": 224, "long": 672, "min": 70, "multiple": 14}
    assert size(abstractor_folder) == {"short": 1024, "long": 2048, "min": 70, "multiple": 14}
    import_published(**parts(published_files), out=tmp_path / "larger", short=448, long=1000)
    assert size(tmp_path / "larger") == {"short": 448, "long": 1000, "min": 70, "multiple": 14}
    with pytest.raises(CheckpointError, match="not possible"):
        import_published(**parts(published_files), out=tmp_path / "wrong", short=448, long=300)


# ---------------------------------------------------------------------- the command


def run(capsys, *words):
    status = cli.main(["import", *map(str, words)])
    return status, *capsys.readouterr()


@pytest.mark.slow
def test_check_compares_the_real_layout_with_the_network_without_weights(capsys):
    status, out, err = run(capsys, "--check")
    assert status == 0 and not err
    assert "projector delta (258 tensors, 20,975,616 values)" in out
    assert "abstractor delta (331 tensors, 71,442,432 values)" in out


@pytest.mark.slow
def test_the_command_imports_and_checks(published_files, projector_folder, tmp_path, capsys):
    words = [word for name, path in parts(published_files).items() for word in (f"--{name}", path)]
    status, out, err = run(capsys, *words, "--check")
    assert status == 0 and "nothing was written" in out
    status, out, err = run(capsys, *words, "--out", tmp_path / "out", "--dtype", "float16", "--merge")
    assert status == 0 and f"written: {tmp_path / 'out'} (projector, LoRA merged)" in out
    found = json.loads((tmp_path / "out" / "depictqa.json").read_text())["self_test"]
    assert found.keys() == {"identification", "rating"} and all(share < 0.01 for share in found.values())
    assert "self-test: coverage identification" in out and "out: the self-test failed" in err  # random weights
    assert "the self-test failed" in Judge(NativeBackend(load_checkpoint(tmp_path / "out"))).notices[0]
    assert "without a self-test" in Judge(NativeBackend(load_checkpoint(projector_folder))).notices[0]
    assert {t.dtype for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float16}
    status, out, err = run(capsys, *words, "--out", tmp_path / "out")
    assert status == 1 and err.startswith("depictqa: ") and err.count("\n") == 1
    for wrong in (words, words[:4] + ["--check"], ["--check", "--out", "x"], []):
        with pytest.raises(SystemExit) as stop:
            run(capsys, *wrong)
        assert stop.value.code == 2
