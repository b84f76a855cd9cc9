"""Published weights that do not fit or would run code are refused before anything is written."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import traceback
import zipfile

import pytest
import torch
from core.published_set import parts, tiny_set
from safetensors import SafetensorError
from safetensors.torch import save_file
from trees import ROOT

from depictqa_core.errors import CheckpointError, StorageError
from depictqa_core.published import importer as published
from depictqa_core.published import layout, writer
from depictqa_core.published.importer import import_published
from depictqa_core.published.tensors import open_tensors


def changed_delta(published_files, tmp_path, change, kind="projector"):
    state = torch.load(parts(published_files, kind)["delta"])
    change(state)
    torch.save(state, tmp_path / "ckpt.pt")
    return {**parts(published_files, kind), "delta": tmp_path, "out": tmp_path / "out"}


LORA = "llm.base_model.model.model.layers.1.self_attn.q_proj.lora_A.default.weight"


@pytest.mark.slow
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
        (lambda s: s.update({LORA: torch.zeros(16, 64, dtype=torch.int64)}), "not a weight"),
        (lambda s: s.clear(), "plain state dict"),
        (lambda s: s.update(epoch=3), "epoch is not a tensor"),
    ],
)
def test_deltas_that_do_not_fit_are_refused(published_files, tmp_path, change, said):
    with pytest.raises(CheckpointError, match=said):
        import_published(**changed_delta(published_files, tmp_path, change))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ckpt.pt"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["abstractor.query_embeds", "abstractor.abstractor.layers.0.linear1.weight"])
def test_abstractors_that_do_not_fit_are_refused(published_files, tmp_path, name):
    with pytest.raises(CheckpointError, match=f"1 missing: {name}"):
        import_published(**changed_delta(published_files, tmp_path, lambda state: state.pop(name), "abstractor"))
    with pytest.raises(CheckpointError, match="1 of another shape: " + name):
        change = {name: torch.zeros(9, 2, 7)}
        import_published(**changed_delta(published_files, tmp_path, lambda state: state.update(change), "abstractor"))


def test_at_full_size_the_published_depth_is_required():
    found = layout.published_sizes(
        layout.Clip(layers=23), layout.Language(), layout.Delta(8, layout.Abstractor(layers=3))
    )
    assert found == (layout.Clip(), layout.Delta(16, layout.Abstractor()))


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_torchscript_archive_with_a_pickle_that_would_write_a_file_is_refused(published_files, tmp_path):
    crafted = tmp_path / "crafted.pt"
    with zipfile.ZipFile(published_files / "clip" / "ViT-tiny-14.pt") as old, zipfile.ZipFile(crafted, "w") as new:
        for item in old.infolist():
            evil = pickle.dumps(_Writes(tmp_path / "ran"), protocol=2)
            new.writestr(item, evil if item.filename.endswith("/data.pkl") else old.read(item))
    with pytest.raises(CheckpointError, match="requests .*eval.* weights do not need"):
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


def test_the_advice_of_torch_to_load_unsafely_is_not_passed_on(published_files, tmp_path):
    for legacy in (False, True):
        torch.save({"x": _Writes(tmp_path / "ran")}, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError) as caught:
            open_tensors(tmp_path / "a.pt")
        shown = "".join(traceback.format_exception(caught.value))
        assert "eval" in str(caught.value) and "\n" not in str(caught.value)
        assert not any(word in shown for word in ("weights_only", "trust", "safe_globals"))


# ---------------------------------------------------------------------- damage


def flip(path, name, out):
    """Copy a zip file and change one byte in the middle of a member, in such a way that its value stays finite."""
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        item = next(item for item in archive.infolist() if item.filename.endswith(name))
    name_bytes, more = struct.unpack_from("<HH", content, item.header_offset + 26)
    start = item.header_offset + 30 + name_bytes + more
    content[start + item.file_size // 4 * 2] ^= 1  # the lowest bits of a number
    out.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["clip", "plain clip", "llm", "delta"])
def test_a_flipped_bit_is_found_by_its_checksum(published_files, tmp_path, part):
    given = {**parts(published_files), "out": tmp_path / "out"}
    if part == "llm":
        shutil.copytree(published_files / "llm", tmp_path / "llm")
        shard = "pytorch_model-00002-of-00002.bin"
        flip(published_files / "llm" / shard, "/data/3", tmp_path / "llm" / shard)
        given["llm"], said = tmp_path / "llm", shard
    else:
        source = published_files / "clip" / "ViT-tiny-14.sd.pt" if part == "plain clip" else given[part]
        flip(source, "/data/3", tmp_path / "damaged.pt")
        given[part.split()[-1]], said = tmp_path / "damaged.pt", "damaged.pt"
    for out in (None, tmp_path / "out"):
        with pytest.raises(CheckpointError, match=f"{said}' is damaged: a checksum does not match"):
            import_published(**{**given, "out": out})
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
def test_files_without_checksums_are_read(published_files, tmp_path):
    state = torch.load(parts(published_files)["delta"])
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "plain.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    for name in ("plain.pt", "legacy.pt"):
        import_published(**{**parts(published_files), "delta": tmp_path / name}, out=None)


@pytest.mark.slow
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_every_tensor_of_every_file_must_be_finite(published_files, tmp_path, value):
    def spoiled(state, name):
        state = dict(state)
        state[name] = state[name].clone()
        state[name].view(-1)[-1] = value
        return state

    clip, language = tiny_set.clip_state(0), tiny_set.language_state(1)
    unused = next(name for name in clip if not name.startswith("visual.") and clip[name].is_floating_point())
    for name in ("visual.conv1.weight", unused):
        torch.save(spoiled(clip, name), tmp_path / "clip.pt")
        with pytest.raises(CheckpointError, match=f"clip.pt': {name} contains NaN or Inf; download it again"):
            import_published(**{**parts(published_files), "clip": tmp_path / "clip.pt"}, out=tmp_path / "out")
    shutil.copytree(published_files / "llm", tmp_path / "llm", ignore=shutil.ignore_patterns("*.bin", "*.index.json"))
    save_file(spoiled(language, "model.norm.weight"), tmp_path / "llm" / "model.safetensors")
    with pytest.raises(CheckpointError, match="model.safetensors': model.norm.weight contains NaN or Inf"):
        import_published(**{**parts(published_files), "llm": tmp_path / "llm"}, out=tmp_path / "out")
    assert not list(tmp_path.glob("out*"))


@pytest.mark.slow
def test_the_attention_mask_of_clip_is_infinite_on_purpose(published_files, tmp_path):
    state = tiny_set.clip_state(0)
    state["transformer.resblocks.0.attn_mask"] = torch.full((7, 7), -float("inf")).triu(1)
    torch.save(state, tmp_path / "clip.pt")
    import_published(**{**parts(published_files), "clip": tmp_path / "clip.pt"}, out=None)


@pytest.mark.slow
def test_values_that_float16_cannot_hold_are_refused(published_files, tmp_path):
    state = torch.load(parts(published_files)["delta"])
    state["vision_proj.bias"] = state["vision_proj.bias"].float()
    state["vision_proj.bias"][0] = 1e6
    torch.save(state, tmp_path / "delta.pt")
    given = {**parts(published_files), "delta": tmp_path / "delta.pt"}
    with pytest.raises(CheckpointError, match="connector.projector.bias has values that torch.float16 cannot hold"):
        import_published(**given, out=tmp_path / "out", dtype="float16")
    assert not list(tmp_path.glob("out*"))
    import_published(**given, out=tmp_path / "out", dtype="bfloat16")


@pytest.mark.slow
@pytest.mark.parametrize(
    "width, patch, positions, name",
    [
        (1024, 14, 577, "ViT-L/14@336px"),
        (768, 16, 197, "ViT-B/16"),
        (768, 32, 50, "ViT-B/32"),
        (1280, 14, 257, "ViT-H/14"),
    ],
)
def test_other_towers_are_named_beside_a_small_language_model_too(
    published_files, tmp_path, width, patch, positions, name
):
    state = {
        "visual.conv1.weight": torch.zeros(width, 3, patch, patch),
        "visual.positional_embedding": torch.zeros(positions, width),
        "visual.transformer.resblocks.0.mlp.c_fc.weight": torch.zeros(4 * width, width),
    }
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=f"is {name}: use OpenAI's ViT-L/14 at 224 px"):
        import_published(**{**parts(published_files), "clip": tmp_path / "clip.pt"}, out=None)


# ---------------------------------------------------------------------- disk, signals, permissions


@pytest.mark.slow
def test_a_disk_that_is_too_full_is_refused_before_anything_is_written(published_files, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=published.REST_BYTES + 1000))
    monkeypatch.setattr(published, "ShardWriter", None)
    with pytest.raises(StorageError, match="needs 0.[0-9]+ GiB, but the disk has 0.02 GiB free"):
        import_published(**parts(published_files), out=tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("error", [SafetensorError("No space left on device"), OSError(28, "No space left on device")])
def test_a_disk_that_fills_meanwhile_leaves_nothing(published_files, tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr(writer, "save_file", full)
    with pytest.raises(StorageError, match="cannot be written .*No space left"):
        import_published(**parts(published_files), out=tmp_path / "new" / "out")
    assert not list(tmp_path.iterdir())


STOPPED = """
import os, signal, sys
from depictqa_core.cli import commands
from depictqa_core.published import importer as published
shown = published.write_card
clip, llm, delta, out = sys.argv[1:]
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup has it ignored, also in what it starts
for name in ("SIGTERM", "SIGHUP", "SIGINT"):
    def stopped(*given):
        os.kill(os.getpid(), getattr(signal, name))
        return shown(*given)
    published.write_card = stopped
    status = commands.main(["import", "--clip", clip, "--llm", llm, "--delta", delta, "--out", out])
    print("status", name, status, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_a_stop_leaves_nothing_behind(published_files, tmp_path):
    given = parts(published_files)
    words = [*(str(given[part]) for part in ("clip", "llm", "delta")), str(tmp_path / "new" / "out")]
    done = subprocess.run([sys.executable, "-c", STOPPED, *words], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "depictqa: interrupted\n" * 3)
    stopped = [line for line in done.stdout.splitlines() if line.startswith("status")]
    assert stopped == [f"status {name} 130" for name in ("SIGTERM", "SIGHUP", "SIGINT")]
    assert done.stdout.count("computing the SHA-256") == 3 and not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(published_files, tmp_path, mask):
    before = os.umask(mask)
    try:
        import_published(**parts(published_files), out=tmp_path / "out")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()}
    assert modes.keys() >= {"model.safetensors", "config.json", "tokenizer.json", "depictqa.json"}
    assert set(modes.values()) == {0o666 & ~mask}
