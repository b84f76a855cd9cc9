"""Checkpoint folders: written and read, verified, and refused in one readable line when anything is wrong with them."""

import json
import pickle
import shutil
import socket

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import KINDS, make_tiny_checkpoint

from depictqa_core.errors import CheckpointError
from depictqa_core.judge import load_judge
from depictqa_core.loading import checkpoint_folder, saving
from depictqa_core.loading.checkpoint import load_checkpoint
from depictqa_core.loading.checkpoint_folder import describe_checkpoint, verify_checkpoint
from depictqa_core.runtime.quiet import quiet

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_tiny_checkpoint(tmp_path_factory.mktemp("checkpoints") / "whole")


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "mine")


class Bomb:
    """A pickle that writes a file when it is read."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def change_json(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


def change_config(folder, key, value):
    """Set one value of config.json; a key such as "size.short" goes into nested settings."""
    config = json.loads((folder / "config.json").read_text())
    place, *path = config, *key.split(".")
    for name in path[:-1]:
        place = place.setdefault(name, {})
    place[path[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


def replace_in(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def say_in_card(folder):
    """Make the card agree with the weight files, so that what is wrong with them must be found in them."""
    names = [path.name for path in folder.glob("*.safetensors")]
    files = {
        n: {"bytes": (folder / n).stat().st_size, "sha256": checkpoint_folder.file_hash(folder / n)} for n in names
    }
    known = [name for name in checkpoint_folder.TOKENIZER_FILES if (folder / name).is_file()]
    tokenizer = {name: checkpoint_folder.text_hash(folder / name) for name in known}
    change_json(folder / "depictqa.json", files=files, tokenizer=tokenizer)


def change_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    say_in_card(folder)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


# what is done to the folder -> words that the message must hold
DAMAGES = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), [WEIGHTS, "missing"]),
    "half the weights": (lambda f: truncate(f / WEIGHTS), [WEIGHTS, "bytes"]),
    "half the weights, and the card agrees": (lambda f: (truncate(f / WEIGHTS), say_in_card(f)), []),
    "no bytes at all": (lambda f: ((f / WEIGHTS).write_bytes(b""), say_in_card(f)), []),
    "no card": (lambda f: (f / "depictqa.json").unlink(), ["depictqa.json"]),
    "half the card": (lambda f: truncate(f / "depictqa.json"), ["depictqa.json", "JSON"]),
    "a card that is a list": (lambda f: (f / "depictqa.json").write_text("[1]"), ["depictqa.json", "object"]),
    "a card in another encoding": (lambda f: (f / "depictqa.json").write_bytes(b"\xff\xfe\x00"), ["depictqa.json"]),
    "a card without files": (lambda f: change_json(f / "depictqa.json", files={}), ["no weight files"]),
    "a card with odd files": (lambda f: change_json(f / "depictqa.json", files={WEIGHTS: {}}), [WEIGHTS]),
    "a card that leads out": (
        lambda f: change_json(f / "depictqa.json", files={f"../mine/{WEIGHTS}": {"bytes": 1, "sha256": ""}}),
        ["../mine"],
    ),
    "no config": (lambda f: (f / "config.json").unlink(), ["config.json", "missing"]),
    "half the config": (lambda f: truncate(f / "config.json"), ["config.json", "JSON"]),
    "an empty config": (lambda f: (f / "config.json").write_text("{}"), []),
    **{
        f"a config whose {key} is {value}": (
            lambda f, key=key, value=value: change_config(f, key, value),
            ["config.json", key.split(".")[-1]],
        )
        for key, value in [
            *[("size", 5), ("size.short", 0), ("size.long", 1e9), ("size.multiple", "x")],
            *[("mean", 0.5), ("mean", [0.5, 0.5]), ("mean", [0.5, 0.5, 40]), ("std", [0, 1, 1]), ("std", None)],
            *[("tasks", []), ("tasks", "rating"), ("tasks", ["rating", "rating"]), ("tasks", ["cooking"])],
            *[
                ("calibration.rating_nr", 0),
                ("calibration.rating_nr", "warm"),
                ("calibration", [1]),
                ("calibration.rating_nr", {}),
            ],
            *[("language.num_hidden_layers", 10**9), ("vision.stages", [[10**9, 3, 1, 1, 8]]), ("lora", "yes")],
            *[("connector.grid", -1), ("connector.grid_stages", [99]), ("connector.hidden", 1.5)],
            *[("language.attn_implementation", "someone/kernel"), ("names_first", "no")],
        ]
    },
    "a calibration that is infinite": (
        lambda f: (f / "config.json").write_text(
            (f / "config.json").read_text().replace('"calibration": {', '"calibration": {"rating_nr": Infinity')
        ),
        ["config.json", "Infinity"],
    ),
    "a config nested without end": (lambda f: (f / "config.json").write_text("[" * 10**5), ["config.json", "nested"]),
    "a card nested without end": (lambda f: (f / "depictqa.json").write_text("[" * 10**5), ["nested"]),
    "a card with one key twice": (lambda f: (f / "depictqa.json").write_text('{"name": 1, "name": 2}'), ["twice"]),
    "a card whose name is a list": (lambda f: change_json(f / "depictqa.json", name=["x"]), ["name"]),
    "a card with a file whose name is too long": (
        lambda f: change_json(f / "depictqa.json", tokenizer={"x" * 300: "0"}),
        ["missing"],
    ),
    "a special token with another letter": (
        lambda f: replace_in(f / "tokenizer.json", "</s>", "</t>"),
        ["tokenizer.json", "changed"],
    ),
    "a special token with another letter, and the card agrees": (
        lambda f: (replace_in(f / "tokenizer_config.json", "</s>", "</t>"), say_in_card(f)),
        [],
    ),
    "a word with another letter, and the card agrees": (
        lambda f: (replace_in(f / "tokenizer.json", "oversharpening", "oversharpenin!"), say_in_card(f)),
        [],
    ),
    "an unknown tower": (lambda f: change_json(f / "config.json", vision={"kind": "eagle"}), ["eagle"]),
    "an unknown language": (lambda f: change_json(f / "config.json", language={"model_type": "elvish"}), ["elvish"]),
    "no tokenizer config": (lambda f: (f / "tokenizer_config.json").unlink(), ["tokenizer_config.json", "missing"]),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), []),
    "half the tokenizer": (lambda f: truncate(f / "tokenizer.json"), []),
    "a weight too few": (
        lambda f: change_weights(f, lambda w: w.pop("vision.stem.weight")),
        ["missing", "vision.stem.weight"],
    ),
    "a weight too many": (
        lambda f: change_weights(f, lambda w: w.update(extra=torch.ones(2))),
        ["unexpected", "extra"],
    ),
    "a weight of another shape": (
        lambda f: change_weights(f, lambda w: w.update({"connector.cells.bias": torch.ones(3)})),
        ["mismatched", "connector.cells.bias"],
    ),
}


def test_a_panic_in_a_library_is_an_error():
    """The exception class of Rust code is no Exception: without a translation nothing would catch it."""

    class PanicException(BaseException):
        pass

    with pytest.raises(RuntimeError, match="out of range"), quiet():
        raise PanicException("range end index out of range")
    with pytest.raises(KeyboardInterrupt), quiet():
        raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_one_readable_line(folder, damage):
    harm, words = DAMAGES[damage]
    harm(folder)
    with pytest.raises(CheckpointError) as caught:
        load_judge(folder)
    message = str(caught.value)
    assert "\n" not in message and "mine" in message and len(message) < 400, message
    assert all(word in message for word in words), message
    assert "https://" not in message and "ignore_mismatched_sizes" not in message, message


@pytest.mark.parametrize("place", [WEIGHTS, "pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("agreed", [False, True])
def test_a_pickle_is_never_opened(folder, tmp_path, place, agreed):
    (folder / WEIGHTS).unlink()
    torch.save({"vision.stem.weight": Bomb(tmp_path / "witness")}, folder / place)
    if agreed and place == WEIGHTS:
        say_in_card(folder)
    elif agreed:
        facts = {"bytes": (folder / place).stat().st_size, "sha256": checkpoint_folder.file_hash(folder / place)}
        change_json(folder / "depictqa.json", files={place: facts})
    with pytest.raises(CheckpointError) as caught:
        load_judge(folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "witness").exists()


def test_a_plain_pickle_of_the_right_size_is_never_opened(folder, tmp_path):
    size = (folder / WEIGHTS).stat().st_size
    bomb = pickle.dumps(Bomb(tmp_path / "witness"))
    (folder / WEIGHTS).write_bytes(bomb + bytes(size - len(bomb)))
    with pytest.raises(CheckpointError):
        load_judge(folder)
    with pytest.raises(CheckpointError, match="contents of model.safetensors have changed"):
        verify_checkpoint(folder)
    assert not (tmp_path / "witness").exists()
    pickle.loads(bomb).close()  # the bomb does work
    assert (tmp_path / "witness").exists()


def test_code_beside_the_weights_is_never_run(folder, tmp_path):
    (folder / "mine.py").write_text(
        f"open({str(tmp_path / 'witness')!r}, 'w')\nfrom transformers import *\n"
        "class Mine(PreTrainedTokenizerFast): pass\nclass MineConfig(PretrainedConfig): pass\nclass MineModel: pass\n"
    )
    maps = {"AutoConfig": "mine.MineConfig", "AutoModel": "mine.MineModel"}
    change_json(folder / "config.json", auto_map=maps)
    change_json(
        folder / "tokenizer_config.json", auto_map={"AutoTokenizer": [None, "mine.Mine"]}, tokenizer_class="Mine"
    )
    try:
        load_checkpoint(folder)
    except CheckpointError as error:
        assert "\n" not in str(error)
    assert not (tmp_path / "witness").exists()


def test_a_folder_of_pickles_is_named_as_such(tmp_path):
    torch.save({}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="pickle ckpt.pt"):
        load_judge(tmp_path)


def test_missing_folder_and_file_instead_of_folder(tmp_path, whole):
    with pytest.raises(CheckpointError, match="'.*nowhere' does not exist"):
        load_judge(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="is a file; give the folder"):
        load_judge(str(whole / WEIGHTS))
    with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
        load_judge(tmp_path)


def test_a_bundled_model_that_is_gone(monkeypatch, tmp_path):
    monkeypatch.setattr("depictqa_core.loading.checkpoint_folder.BUNDLED", tmp_path / "depictqa-mini")
    with pytest.raises(CheckpointError, match="depictqa-mini' does not exist"):
        load_judge()


@pytest.mark.slow
def test_the_included_model_has_a_name_wherever_a_checkpoint_is_taken(monkeypatch, tmp_path, whole):
    monkeypatch.setattr("depictqa_core.loading.checkpoint_folder.BUNDLED", whole)
    monkeypatch.chdir(tmp_path)
    for name in ("bundled", "depictqa-mini", None):
        assert (
            describe_checkpoint(name) == verify_checkpoint(name) == load_checkpoint(name).card == load_judge(name).info
        )
    with pytest.raises(CheckpointError, match="give a folder that holds depictqa.json, or 'bundled' for"):
        load_judge("mini")
    (tmp_path / "bundled").mkdir()  # a folder of one's own of that name is taken for what it is
    with pytest.raises(CheckpointError, match="'bundled' is not a checkpoint folder"):
        load_judge("bundled")


def test_unknown_dtype_and_device(whole):
    with pytest.raises(CheckpointError, match="unknown dtype 'int3'.*float32, float16, bfloat16"):
        load_judge(whole, dtype="int3")
    with pytest.raises(CheckpointError, match="device 'abacus' is not known: choose auto, cpu") as caught:
        load_judge(whole, device="abacus")
    assert "\n" not in str(caught.value)


def test_verify(folder):
    assert verify_checkpoint(folder) == describe_checkpoint(folder)
    assert describe_checkpoint(folder)["name"] == "tiny-cnn"
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    describe_checkpoint(folder)
    with pytest.raises(CheckpointError, match="'mine' is damaged: the contents of model.safetensors have changed"):
        verify_checkpoint(folder)


def test_card_names_every_weight_file_of_a_sharded_checkpoint(whole, tmp_path):
    loaded = load_checkpoint(whole)
    saving.save_checkpoint(tmp_path / "shards", loaded.model, loaded.tokenizer, {"name": "x"}, max_shard_size="200KB")
    card = verify_checkpoint(tmp_path / "shards")
    assert len(card["files"]) > 1 and set(card["files"]) == {
        p.name for p in (tmp_path / "shards").glob("*.safetensors")
    }
    again = load_checkpoint(tmp_path / "shards")
    for key, value in loaded.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[key])
    (tmp_path / "shards" / sorted(card["files"])[1]).unlink()
    with pytest.raises(CheckpointError, match="is missing"):
        load_checkpoint(tmp_path / "shards")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_load_in_every_dtype(kind, dtype, tmp_path):
    make_tiny_checkpoint(tmp_path / "c", kind)
    judge = load_judge(tmp_path / "c", "cpu", dtype)
    assert {p.dtype for p in judge.model.parameters()} == {getattr(torch, dtype)}
    assert not judge.model.training
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    (answer,) = judge.score(picture)
    assert sum(level.probability for level in answer.levels) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("device", ["balanced", "sequential"])
def test_spread_over_devices(whole, device):
    judge, plain = load_judge(whole, device), load_judge(whole, "cpu")
    picture = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
    assert judge.score(picture)[0].score == pytest.approx(plain.score(picture)[0].score, abs=1e-3)
    assert judge.describe(picture, max_new_tokens=4)[0].text == plain.describe(picture, max_new_tokens=4)[0].text


def test_loading_and_judging_need_no_network(whole, monkeypatch):
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network here")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    judge = load_judge(whole)
    judge.identify(np.zeros((32, 32, 3), np.uint8))
    assert tried == []


def test_weights_that_are_no_numbers_give_no_answer(folder):
    change_weights(
        folder, lambda w: w.update({"connector.norm.bias": torch.full_like(w["connector.norm.bias"], torch.nan)})
    )
    judge = load_judge(folder)
    picture = np.zeros((32, 32, 3), np.uint8)
    for ask in (judge.identify, judge.score, judge.describe):
        with pytest.raises(CheckpointError, match="NaN or Inf as probabilities"):
            ask(picture)


def test_the_tokenizer_class_is_one_that_every_supported_transformers_knows(tmp_path):
    settings = json.loads((make_tiny_checkpoint(tmp_path / "c") / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    bundled = json.loads((checkpoint_folder.BUNDLED / "tokenizer_config.json").read_text())
    assert bundled["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_line_ends_that_git_changes_are_no_damage(folder):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    load_checkpoint(folder)


def test_a_byte_order_mark_is_no_damage(folder):
    for name in ("config.json", "depictqa.json"):
        path = folder / name
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert describe_checkpoint(folder)["name"] == "tiny-cnn"


def test_a_card_from_before_the_hashes_of_tokenizers_is_read(folder):
    card = json.loads((folder / "depictqa.json").read_text())
    del card["tokenizer"]
    (folder / "depictqa.json").write_text(json.dumps(card))
    load_checkpoint(folder)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "\udcff"])
def test_a_name_that_no_folder_can_have_is_a_checkpoint_error(name):
    with pytest.raises(CheckpointError, match="does not exist"):
        load_judge(name)


@pytest.mark.parametrize("kind", ["clip", "abstractor"])
def test_sizes_that_leave_no_trace_in_the_weights_are_found(tmp_path, kind):
    folder = make_tiny_checkpoint(tmp_path / "mine", kind)
    change_config(folder, "size.min", 1)
    change_config(folder, "size.multiple", 1)  # an image of one pixel is then smaller than a patch
    with pytest.raises(CheckpointError, match="accepts no image"):
        load_checkpoint(folder)
