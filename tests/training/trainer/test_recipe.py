"""Recipes are refused by the name of what is wrong in them, before anything runs; the shipped ones are good."""

import copy
from dataclasses import replace

import pytest
import yaml
from trees import ROOT

from depictqa_core.errors import CheckpointError
from training.dataset.records.record_models import record_problem
from training.trainer.recipe import RecipeError, read_recipe

RECIPES = ROOT / "training" / "recipes"
MINI = yaml.safe_load((RECIPES / "mini" / "recipe.yaml").read_text())
START = {"start": {"clip": "a", "llm": "b"}, "network": None, "cache_features": False, "warmup_epochs": 0}


def changed(tmp_path, changes):
    """The mini recipe with values replaced; a key such as "network.size.min" goes into nested settings."""
    content = copy.deepcopy(MINI)
    for key, value in changes.items():
        place, *path = content, *key.split(".")
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.mark.parametrize("name", ["mini/recipe", "mini/refine", "depictqa_wild_7b", "personal"])
def test_the_shipped_recipes_are_good(name):
    read_recipe(RECIPES / f"{name}.yaml")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stepz": 3}, r"unknown key stepz \(did you mean steps\?\); known keys are .*steps"),
        ({"network.vizion": 3}, "network: unknown key vizion"),
        (
            {"network.connector.hiden": 3},
            r"network: unknown key connector.hiden \(did you mean hidden\?\); known keys are .*hidden",
        ),
        ({"network.language.hidden": 3}, "network: unknown key language.hidden .*; known keys"),
        ({"network.vision.stage": 3}, "network: unknown key vision.stage .*stages"),
        ({"network.size.smallest": 3}, "network: unknown key size.smallest; known keys are long, min"),
        ({"network.lora.rank": 3}, "network: unknown key lora.rank;"),
        ({**START, "start.checkpoint": "c"}, "unknown key start.checkpoint;"),
        (
            {"rehearsal": {"shares": 0.5}},
            r"unknown key rehearsal.shares \(did you mean share\?\); known keys are pictures, share",
        ),
        ({"steps": -1}, "steps is -1; allowed: a whole number from 0"),
        ({"steps": 0}, "steps: 0 and trainable: \\[\\] go together"),
        ({"steps": True}, "steps is True; allowed"),
        ({"steps": "many"}, "steps is 'many'; allowed"),
        ({"learning_rate": "2e-4"}, r"learning_rate is '2e-4' \(text; write 2.0e-04\)"),
        ({"learning_rate": float("nan")}, "learning_rate is nan, which is not a finite number"),
        ({"betas": [0.9, 1.0]}, r"betas is \[0.9, 1.0\]; allowed: two numbers"),
        ({"precision": "fp8"}, "precision is 'fp8'; allowed: one of no, fp16, bf16"),
        (
            {"trainable": ["eyes"]},
            "trainable is .*eyes.*allowed: a list of any of vision, connector, pair, language, lora",
        ),
        ({"trainable": ["connector", "connector"]}, "trainable is .*each once"),
        ({"output": ""}, "output is ''; allowed: a folder with a name"),
        ({"output": "."}, "output is '.'; allowed: a folder with a name"),
        ({"name": " "}, "name is ' '; allowed: a name"),
        ({"warm_steps": 10, "steps": 10}, "warm_steps is 10, but the run has 10 steps"),
        ({"parts": {}}, "parts is {}; allowed: files below records .* and their weights above 0"),
        ({"parts": {"a.json": -1}}, "parts is .*-1"),
        ({"parts": {"/etc/*": 1}}, "parts is .*allowed: files below records"),
        ({"parts": {"../*.json": 1}}, "parts is .*allowed: files below records"),
        ({"parts": {"a.json": 1e9}}, "parts is .*at most 10,000"),
        ({"workers": 10**9}, "workers is 1000000000; allowed: a whole number from 1 to 256"),
        ({"steps": "1e9"}, r"steps is '1e9' \(text; write 1.0e\+09\)"),
        ({"data": "a\0b"}, "data is 'a.x00b'; allowed: a name"),
        ({"network.size.short": 10**9}, "network: .*size.short is 1000000000; allowed"),
        ({"network.vision.stages": [[10**9, 3, 1, 1, 8]]}, "network: .*vision.stages is .*allowed"),
        ({"network.language.num_hidden_layers": 10**9}, "network: .*num_hidden_layers is 1000000000; allowed"),
        ({"network.calibration": {"rating_nr": 0}}, "network: .*calibration.rating_nr is 0"),
        ({"crop": [0.9, 0.7], "cache_features": False}, "crop is .*allowed: two shares"),
        ({"network.language.num_attention_heads": 0}, "network: these settings make no network"),
        ({"network.size.min": 0}, "network: these settings make no network.*min.*0"),
        ({"network.connector.grid_stages": [99]}, "network: these settings make no network"),
        ({"network.vision.kind": "eye"}, "network: vision.kind is 'eye'; allowed: clip, backbone, cnn"),
        ({"network.vocabulary": "large"}, "network: vocabulary is 'large'"),
        ({"start": "somewhere"}, "give either start .* or network"),
        ({"epochs": 1}, "give either steps or epochs"),
        ({"epochs": 1, "steps": None}, "epochs needs sampling: repeat"),
        ({"sampling": "repeat"}, "sampling: repeat needs whole numbers as weights"),
        ({"crop": [0.7, 1.0]}, "cache_features stores the features of the tower"),
        (
            {"cache_features": False},
            "warmup_epochs, comparison_epochs, evidence_epochs, finding_epochs, pair_epochs need cache_features",
        ),
        ({"pair_scenes": "x"}, "pair_scenes needs pair_epochs"),
        (
            {"start": "x", "network": None, "changes": {"connector": {"pair": True}}, "warmup_epochs": 0},
            "changes: connector: pair: true needs pair_epochs",
        ),
        (
            {"pair_epochs": 1, "trainable": ["pair"], "frozen_precision": "float16"},
            "pair needs frozen_precision: float32",
        ),
        ({"rehearsal": {"share": 0.5}}, "rehearsal needs start: a checkpoint folder"),
        ({"start": "x", "network": None, "changes": {"conector": {}}}, "changes: unknown key conector"),
    ],
)
def test_a_bad_recipe_is_refused_by_key_and_value(tmp_path, changes, said):
    with pytest.raises(RecipeError, match=f"recipe.yaml: {said}"):
        read_recipe(changed(tmp_path, changes))


def test_a_file_that_is_no_recipe_is_named(tmp_path):
    file = tmp_path / "x.yaml"
    for text in ("[1, 2", "just text"):
        file.write_text(text)
        with pytest.raises(RecipeError, match="x.yaml is no"):
            read_recipe(file)
    with pytest.raises(RecipeError, match=r"the recipe .*nope.yaml cannot be read \(No such file"):
        read_recipe(tmp_path / "nope.yaml")


BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (BOMB, "more than 20000 values"),
        ("a: &a [*a]", "alias"),
        ("a: *b", "alias"),
        ("[" * 100_000, "nested more than 64"),
        ("{a: " * 100 + "}" * 100, "nested more than 64"),
        ("a: 1\na: 2", "the key 'a' occurs twice"),
        ("1: 2", "the key 1 is not text"),
        ("? [a]\n: 2", "not text"),
        ("a: .inf", "a is inf, which is not a finite number"),
        ("a: 2001-13-45", "month"),
        ("a: 2001-12-24", "put it in quotes"),
        ("a: " + "9" * 5000, "not a valid YAML file"),
        ('a: "\\ud800"', "not a valid YAML file"),
        ("a: !!python/object/apply:os.system [ls]", "not a valid YAML file"),
        ("x" * 10**6, "larger than the limit of 0.25 MiB"),
        (b"\xff\xfea", "not UTF-8"),
        (b"a\0b", "not a valid YAML file"),
    ],
)
@pytest.mark.timeout(20)
def test_no_yaml_file_hangs_or_ends_in_an_error_of_the_libraries(tmp_path, content, said):
    file = tmp_path / "x.yaml"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RecipeError, match=said) as caught:
        read_recipe(file)
    assert "x.yaml" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400


@pytest.mark.parametrize("file", ["/etc/passwd", "/dev/zero", "/"])
def test_recipes_that_are_odd_files(file):
    with pytest.raises(RecipeError, match=file):
        read_recipe(file)


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = changed(tmp_path, {})
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    read_recipe(file)


def test_weights_of_the_tower_that_are_something_else(tmp_path):
    from training.trainer.start_network import load_efficientnet_lite0

    with pytest.raises(CheckpointError, match="has no weights of EfficientNet-Lite0") as caught:
        load_efficientnet_lite0(None, "/etc/passwd")
    assert "weights_only" not in str(caught.value)


def test_what_shapes_a_run_does_not_change_with_its_length_and_its_place():
    recipe = read_recipe(RECIPES / "mini" / "recipe.yaml")
    longer = replace(recipe, steps=10**6, output="x", save_every=1, log_every=1, workers=9, name="x", trained_on="x")
    assert recipe.shape == longer.shape != replace(recipe, learning_rate=1e-5).shape


def test_a_bare_no_is_a_precision_and_steps_of_the_command_stand_for_epochs(tmp_path):
    assert read_recipe(changed(tmp_path, {"precision": False})).precision == "no"
    recipe = read_recipe(RECIPES / "depictqa_wild_7b.yaml", steps=3, output="elsewhere")
    assert (recipe.steps, recipe.epochs, recipe.output) == (3, None, "elsewhere")


@pytest.mark.parametrize("severities", [[1, 5], [None], 0, None])
def test_records_of_pristine_and_double_distorted_images_are_whole(severities):
    turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": "None"}]
    record = {"id": 1, "task_type": "quality_single_A_noref", "image_ref": None, "image_A": "a.png", "image_B": None}
    record |= {"conversations": turns, "distortion_classes": None, "severities": severities}
    assert record_problem(record, "train") is None
    for key, value in {"severities": 3, "image_A": ["a.png"], "conversations": turns[:1], "id": [1]}.items():
        assert record_problem({**record, key: value}, "train").startswith(key)
