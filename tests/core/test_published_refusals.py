"""Published weights that do not fit or would run code are refused before anything is written."""

import json
import pickle
import shutil
import zipfile

import pytest
import torch
from core.published_set import parts, tiny_set

from depictqa_core import published
from depictqa_core.errors import CheckpointError
from depictqa_core.foreign_tensors import open_tensors
from depictqa_core.published import import_published


def changed_delta(published_files, tmp_path, change, kind="projector"):
    state = torch.load(parts(published_files, kind)["delta"])
    change(state)
    torch.save(state, tmp_path / "ckpt.pt")
    return {**parts(published_files, kind), "delta": tmp_path, "out": tmp_path / "out"}


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
        (lambda s: s.update({LORA: torch.full((16, 64), float("nan"))}), "contains NaN or Inf"),
        (lambda s: s.update({LORA: torch.zeros(16, 64, dtype=torch.int64)}), "no weight"),
        (lambda s: s.clear(), "plain state dict"),
        (lambda s: s.update(epoch=3), "epoch is no tensor"),
    ],
)
def test_deltas_that_do_not_fit_are_refused(published_files, tmp_path, change, said):
    with pytest.raises(CheckpointError, match=said):
        import_published(**changed_delta(published_files, tmp_path, change))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.pt"]


@pytest.mark.parametrize("name", ["abstractor.query_embeds", "abstractor.abstractor.layers.0.linear1.weight"])
def test_abstractors_that_do_not_fit_are_refused(published_files, tmp_path, name):
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        import_published(**changed_delta(published_files, tmp_path, lambda state: state.pop(name), "abstractor"))
    with pytest.raises(CheckpointError, match="1 of another shape: " + name):
        change = {name: torch.zeros(9, 2, 7)}
        import_published(**changed_delta(published_files, tmp_path, lambda state: state.update(change), "abstractor"))


def test_at_full_size_the_published_depth_is_required():
    found = published.layout.published_sizes(
        published.Clip(layers=23), published.Language(), published.Delta(8, published.Abstractor(layers=3))
    )
    assert found == (published.Clip(), published.Delta(16, published.Abstractor()))


def test_language_models_that_do_not_fit_are_refused(published_files, tmp_path):
    def attempt(said, **changes):
        with pytest.raises(CheckpointError, match=said):
            import_published(**{**parts(published_files), "llm": tmp_path / "llm", "out": tmp_path / "out", **changes})
        assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()

    attempt("not a folder")
    shutil.copytree(published_files / "llm", tmp_path / "llm")
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
    index.write_bytes((published_files / "llm" / index.name).read_bytes())
    attempt("is not a LLaMA tokenizer")


def test_clips_that_do_not_fit_are_refused(published_files, tmp_path):
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
            import_published(**{**parts(published_files), "clip": tmp_path / "clip.pt", "out": tmp_path / "out"})
    with pytest.raises(CheckpointError, match="not a file"):
        import_published(**{**parts(published_files), "clip": tmp_path / "none.pt", "out": tmp_path / "out"})


def test_nothing_is_overwritten(published_files, projector_folder):
    before = (projector_folder / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="exists already"):
        import_published(**parts(published_files, "abstractor"), out=projector_folder)
    assert (projector_folder / "config.json").read_bytes() == before


def test_another_tokenizer_is_refused_before_anything_is_written(published_files, tmp_path):
    shutil.copytree(published_files / "llm", tmp_path / "llm")
    model = tmp_path / "llm" / "tokenizer.model"
    model.write_bytes(model.read_bytes().replace("▁Image".encode(), "▁Imagf".encode()))
    with pytest.raises(CheckpointError, match="not the tokenizer of the deltas"):
        import_published(**{**parts(published_files), "llm": tmp_path / "llm"}, out=None)


# ---------------------------------------------------------------------- safety


class _Writes:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (eval, (f"open({self.path!r}, 'w').write('ran')",))


@pytest.mark.parametrize("part", ["clip", "llm", "delta"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_write_a_file_is_refused(published_files, tmp_path, part, legacy):
    crafted = tmp_path / "crafted.pt"
    torch.save({"x": _Writes(tmp_path / "ran")}, crafted, _use_new_zipfile_serialization=not legacy)
    given = {**parts(published_files), "out": tmp_path / "out", part: crafted}
    if part == "llm":
        shutil.copytree(published_files / "llm", tmp_path / "llm")
        shutil.copy(crafted, tmp_path / "llm" / "pytorch_model-00001-of-00002.bin")
        given["llm"] = tmp_path / "llm"
    with pytest.raises(CheckpointError, match="nothing in it was run"):
        import_published(**given)
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out").exists()


def test_a_torchscript_archive_with_a_pickle_that_would_write_a_file_is_refused(published_files, tmp_path):
    crafted = tmp_path / "crafted.pt"
    with zipfile.ZipFile(published_files / "clip" / "ViT-tiny-14.pt") as old, zipfile.ZipFile(crafted, "w") as new:
        for item in old.infolist():
            evil = pickle.dumps(_Writes(tmp_path / "ran"), protocol=2)
            new.writestr(item, evil if item.filename.endswith("/data.pkl") else old.read(item))
    with pytest.raises(CheckpointError, match="asks for .*eval.* no weights need"):
        import_published(**{**parts(published_files), "clip": crafted, "out": tmp_path / "out"})
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
