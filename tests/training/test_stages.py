"""Chains of commands: what is done is not done again, and what an interruption left is removed."""

import json
import re

import pytest

from benchmarks.against import Figure, compared, difference, figures, main
from training.recipes.mini import from_scratch
from training.recipes.mini.from_scratch import SHIPPED, stages
from training.recipes.mini.sizes import FULL, RECIPE, TINY, TRAINED, shortened
from training.stages import CHECKOUT, Chain, Command, Stage, StageFailed, run_line

STAGES = [
    Stage("one", (Command("a"), Command("b", ("made",)))),
    Stage("two", (Command("c"),)),
]


class Runner:
    """Notes command lines; those in ``failing`` end with status 3 and leave half of a folder."""

    def __init__(self):
        self.lines, self.failing = [], set()

    def __call__(self, line, folder):
        self.lines.append(line)
        if line in self.failing:
            (folder / "made").mkdir()
            return 3
        assert line != "b" or not (folder / "made").exists()
        return 0


def test_an_interrupted_chain_resumes_with_the_command_that_failed(tmp_path):
    run = Runner()
    run.failing = {"b"}
    with pytest.raises(StageFailed, match="stage one: the command ended with status 3: b"):
        Chain(STAGES, tmp_path, run).go(print)
    run.failing = set()
    Chain(STAGES, tmp_path, run).go(print)
    assert run.lines == ["a", "b", "b", "c"]
    said = []
    chain = Chain(STAGES, tmp_path, run)
    chain.go(said.append)
    assert run.lines == ["a", "b", "b", "c"] and all("done before" in line for line in said)
    stored = json.loads((tmp_path / "chain.json").read_text())
    assert stored["machine"]["cores"] and all(one["finished"] for one in stored["stages"].values())
    assert chain.times().splitlines()[-1].startswith("total")


def test_a_changed_stage_is_run_again_with_all_after_it_and_none_before(tmp_path):
    run = Runner()
    Chain(STAGES, tmp_path, run).go(print)
    run.lines.clear()
    Chain([STAGES[0], Stage("two", (Command("c --more"),)), Stage("three", (Command("d"),))], tmp_path, run).go(print)
    assert run.lines == ["c --more", "d"]
    Chain([Stage("one", (Command("a"),)), Stage("two", (Command("c --more"),))], tmp_path, run).go(print)
    assert run.lines == ["c --more", "d", "a", "c --more"]


def test_commands_run_with_this_interpreter_and_stop_at_their_first_error(tmp_path):
    assert run_line('python -c \'import training, sys; open("x", "w").write(sys.prefix)\'', tmp_path) == 0
    import sys

    assert (tmp_path / "x").read_text() == sys.prefix
    assert run_line("false | true; touch y", tmp_path) and not (tmp_path / "y").exists()


def test_a_moved_checkout_with_spaces_and_other_workers_resume(tmp_path, monkeypatch, capsys):
    def short(recipe, shipped, workers, size):
        return [Stage("one", (Command(f"echo {recipe}/a.yaml {workers} >> said"), Command(f"test -e {shipped}")))]

    monkeypatch.setattr(from_scratch, "stages", short)
    monkeypatch.setattr(from_scratch, "SHIPPED", "figures of 1.0.json")
    for checkout, workers in (("first place", "2"), ("another", "3")):
        (tmp_path / checkout).mkdir()
        (tmp_path / checkout / "figures of 1.0.json").touch()
        monkeypatch.setattr(from_scratch, "CHECKOUT", tmp_path / checkout)
        assert from_scratch.main(["--root", str(tmp_path), "--workers", workers]) == 0
    assert (tmp_path / "said").read_text() == f"{tmp_path}/first place/{RECIPE}/a.yaml 2\n"
    out = capsys.readouterr().out
    assert f"RECIPE='{tmp_path}/first place/{RECIPE}'" in out and "one: done before" in out


def test_every_recipe_of_the_chain_starts_from_what_a_command_before_has_made():
    """And no two commands make the same checkpoint."""
    import yaml

    made = set()
    for stage in stages(RECIPE, SHIPPED, "2"):
        for command in stage.commands:
            words = command.line.split()
            if "train" in words[3:4]:
                recipe = yaml.safe_load((CHECKOUT / words[4]).read_text())
                assert recipe.get("start") is None or recipe["start"] in made
                new = recipe["output"]
            elif words[:4] in (["python", "-m", "training", "average"], ["python", "-m", "training", "convert"]):
                *sources, new = [word for word in words[4:] if word.startswith("runs/")]
                assert set(sources) <= made
            else:
                continue
            assert new not in made
            made.add(new)
    assert "runs/depictqa-mini" in made
    tiny = stages(RECIPE, SHIPPED, "2", TINY)
    assert [stage.name for stage in tiny] == [stage.name for stage in stages(RECIPE, SHIPPED, "2")]
    assert "fetch_pictures" not in str(tiny)


def test_a_share_of_the_chain_has_the_same_commands_with_smaller_numbers(capsys):
    def numbers(size):
        lines = [command.line for stage in stages(RECIPE, SHIPPED, "2", size) for command in stage.commands]
        trained = [line for line in lines if "training train " in line]
        return lines, trained, [int(found) for found in re.findall(r"--scenes (\d+)", " ".join(lines))]

    full, trained, scenes = numbers(FULL)
    lines, short, fewer = numbers(shortened(0.1))
    assert len(lines) == len(full) and [line.split()[:2] for line in lines] == [line.split()[:2] for line in full]
    assert all(few <= many for few, many in zip(fewer, scenes, strict=True))
    assert sum(fewer) == pytest.approx(0.1 * sum(scenes), rel=0.1)
    assert [re.sub(r" --steps \d+ --set warm_steps=\d+", "", line) for line in short] == trained != short
    assert f"train {RECIPE}/recipe.yaml --steps 420 --set warm_steps=84" in short[0]
    assert {line.split()[4].split("/")[-1] for line in trained} == {f"{name}.yaml" for name in TRAINED}
    with pytest.raises(SystemExit):
        from_scratch.main(["--share", "0", "--list"])
    assert "--share 0: give a number above 0" in capsys.readouterr().err


def test_the_interval_of_a_difference_is_newcombes():
    """The example of Newcombe (1998): 56 of 70 and 48 of 80, method 10: 0.0524 to 0.3339."""
    from benchmarks.shares import wilson

    first, second = Figure(56 / 70, wilson(56 / 70, 70)), Figure(48 / 80, wilson(48 / 80, 80))
    assert difference(first, second) == pytest.approx((0.0524, 0.3339), abs=2e-4)


def test_files_of_figures_are_compared_figure_by_figure(tmp_path, capsys):
    share = {"share": 0.5, "low": 0.4, "high": 0.6}
    old = {"parts": {"a": {"right": share, "ece": 0.1, "count": 9}, "b": {"none": {**share, "share": 0.5}}, "c": 1}}
    new = {"parts": {"a": {"right": {"share": 0.9, "low": 0.8, "high": 0.95}, "ece": 0.2}, "b": {"none": share}}}
    found = compared(new, old)
    assert [row["figure"] for row in found["rows"]] == ["a / right", "a / ece", "b / none"]
    assert (found["shares"], found["better"], found["worse"], found["only_old"]) == (2, 1, 0, 1)
    assert dict(figures(new["parts"]))["a / ece"] == Figure(0.2)
    for name, content in (("new", new), ("old", old)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert main([str(tmp_path / "new.json"), str(tmp_path / "old.json"), "--output", str(tmp_path / "out.json")]) == 0
    assert "a / right: 0.900, formerly 0.500" in capsys.readouterr().out
    assert json.loads((tmp_path / "out.json").read_text()) == found
    (tmp_path / "new.json").write_text("{}")
    assert main([str(tmp_path / "new.json"), str(tmp_path / "old.json")]) == 1
