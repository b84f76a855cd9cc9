"""Adapter folders: what they hold opens next to its base and no other, and each refusal is one line."""

import json
import shutil

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from tiny_vlms import make_tiny_adapter, make_tiny_vlm

from depictqa_core.backends.vlm_adapter import (
    ADAPTER,
    SETTINGS,
    WEIGHTS,
    fingerprint,
    vlm_folder,
)
from depictqa_core.backends.vlm_loading import calibration_file
from depictqa_core.cli.commands import main
from depictqa_core.errors import CheckpointError, TaskError
from depictqa_core.images.image import as_image
from depictqa_core.judge import load_judge

IMAGE = as_image(np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8), "noise")


def levels(judge):
    return np.array([one.probability for one in judge.score([IMAGE])[0].levels])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folders of a base and of an adapter next to it, and the level probabilities of peft's own model."""
    root = tmp_path_factory.mktemp("adapters")
    base = make_tiny_vlm(root / "base", "qwen2_5_vl")
    adapted = make_tiny_adapter(root / "adapter", base)
    judge = load_judge(base, "cpu")
    before = levels(judge)
    judge.backend.run.model = adapted.get_base_model().eval()  # the same weights, not merged and never written
    judge.backend.run.features.clear()
    judge.backend.run._cache_features()
    judge.backend.forget_answers()
    return base, root / "adapter", levels(judge), before


@pytest.fixture
def copies(made, tmp_path):
    base, adapter, *_ = made
    shutil.copytree(base, tmp_path / "base")
    return tmp_path / "base", shutil.copytree(adapter, tmp_path / "adapter")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.slow
def test_a_loaded_adapter_gives_the_probabilities_of_the_model_that_was_saved(made):
    _, adapter, wanted, before = made
    judge = load_judge(adapter, "cpu")
    np.testing.assert_allclose(levels(judge), wanted, atol=1e-5)
    assert np.abs(levels(judge) - before).max() > 1e-2
    assert judge.info["name"] == "mine" and judge.info["base"]["name"] == "base" and judge.info["tasks"] == ["score"]
    half = load_judge(adapter, "cpu", dtype="bfloat16")  # where it is not merged
    np.testing.assert_allclose(levels(half), wanted, atol=0.1)


def test_the_base_is_found_where_it_was_next_to_the_folder_or_as_given(made, copies, tmp_path):
    base, adapter = copies
    assert vlm_folder(adapter) == made[0]  # where it was
    card = json.loads((adapter / ADAPTER).read_text())
    change(adapter / ADAPTER, base={**card["base"], "path": str(tmp_path / "gone" / "base")})
    assert vlm_folder(adapter) == base  # next to it
    base.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"adapter 'adapter' needs its base model 'base' \(qwen2_5_vl\)"):
        load_judge(adapter, "cpu")
    np.testing.assert_allclose(levels(load_judge(adapter, "cpu", base=tmp_path / "elsewhere")), made[2], atol=1e-5)


def test_a_stated_path_is_never_a_connection_to_another_machine(copies):
    base, adapter = copies
    card = json.loads((adapter / ADAPTER).read_text())
    for path in (f"/{base}", rf"\\{str(base)[1:]}", "base"):
        change(adapter / ADAPTER, base={**card["base"], "path": path, "name": "no such folder"})
        with pytest.raises(CheckpointError, match="needs its base model"):
            vlm_folder(adapter)


def other_weights(base, adapter):
    """One value of one matrix has changed, and with it no size."""
    weights = load_file(base / "model.safetensors")
    name = max(weights, key=lambda name: weights[name].numel())
    weights[name].view(-1)[-1] += 1
    save_file(weights, base / "model.safetensors", {"format": "pt"})


def truncated(base, adapter):
    (adapter / WEIGHTS).write_bytes((adapter / WEIGHTS).read_bytes()[:-1])


def another_kind(base, adapter):
    change(adapter / SETTINGS, peft_type="LOHA")


def strange_module(base, adapter):
    change(adapter / SETTINGS, target_modules=["nowhere"])


BAD = {
    "another base": (other_weights, "was tuned on other weights than those of 'base'"),
    "truncated": (truncated, f"{WEIGHTS} has .* bytes instead of"),
    "another kind": (another_kind, "of another kind than LORA"),
    "other names": (strange_module, "does not fit its base model"),
    "no profile": (
        lambda base, adapter: (adapter / "depictqa_profile.json").unlink(),
        "depictqa_profile.json is missing",
    ),
    "wrong card": (lambda base, adapter: change(adapter / ADAPTER, tasks=["cooking"]), f"{ADAPTER}: tasks"),
    "no base in the card": (lambda base, adapter: change(adapter / ADAPTER, base={}), "is missing"),
    "bad calibration": (
        lambda base, adapter: calibration_file(adapter).write_text('{"calibration": {"score_nr": -1}}'),
        "calibration",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused_in_one_line(copies, case):
    base, adapter = copies
    spoil, words = BAD[case]
    spoil(base, adapter)
    with pytest.raises(CheckpointError, match=words) as refused:
        load_judge(adapter, "cpu", base=base)
    assert "\n" not in str(refused.value) and "adapter" in str(refused.value)


def test_a_base_belongs_to_adapters_alone(made, tmp_path):
    with pytest.raises(CheckpointError, match="is not an adapter folder: leave out base"):
        load_judge(None, "cpu", base=made[0])
    with pytest.raises(CheckpointError, match="is not a folder of a vision-language model"):
        load_judge(made[1], "cpu", base=tmp_path)
    with pytest.raises(TaskError, match="base"):
        load_judge(made[1], "cpu", base=3)


def test_the_hash_tells_weights_not_files(copies):
    base, _ = copies
    before = fingerprint(base)
    weights = load_file(base / "model.safetensors")
    names = sorted(weights)
    (base / "model.safetensors").unlink()
    for part in (0, 1):
        some = {name: weights[name] for name in names[part::2]}
        save_file(some, base / f"model-0000{part + 1}-of-00002.safetensors", {"format": "pt"})
    assert fingerprint(base) == before
    (base / "tokenizer.json").write_text("{}")
    assert fingerprint(base) != before
    (base / "model-00001-of-00002.safetensors").write_bytes(b"\0" * 4)
    with pytest.raises(CheckpointError, match="model-00001-of-00002.safetensors is damaged"):
        fingerprint(base)


def test_info_tells_of_an_adapter_and_verifies_it(copies, capsys):
    _, adapter = copies
    assert main(["info", str(adapter), "--verify"]) == 0
    shown = capsys.readouterr().out
    assert "mine" in shown and "base.name" in shown and "tuned_on" in shown
    content = bytearray((adapter / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (adapter / WEIGHTS).write_bytes(content)
    assert main(["info", str(adapter), "--verify"]) != 0
    assert "have changed" in capsys.readouterr().err


@pytest.mark.slow
def test_a_personal_adapter_scores_by_comparisons(made, tmp_path):
    make_tiny_adapter(tmp_path / "personal", made[0], personal=True)
    assert load_judge(tmp_path / "personal", "cpu").backend.capabilities.personal
    assert not load_judge(made[1], "cpu").backend.capabilities.personal
