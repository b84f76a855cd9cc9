"""A model folder that is served by vLLM for its judge alone, with a stub of the command ``vllm``."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import vllm_command
from chat_server import chat_server
from PIL import Image
from tiny_vlms import make_tiny_adapter, make_tiny_vlm
from trees import ROOT
from vllm_command import ended, noted
from vlm_server import vllm

from depictqa_core import load_judge
from depictqa_core.backends import vllm_server
from depictqa_core.backends.server_options import ServerOptions
from depictqa_core.bulk.parts import read_rows
from depictqa_core.chat.endpoint import EndpointError
from depictqa_core.cli import commands
from depictqa_core.errors import CheckpointError, DepictQAError, PackageError

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_vlm(tmp_path_factory.mktemp("models") / "tiny-vlm", "qwen2_5_vl")


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Where the stub notes its runs; keys of the environment are those of other servers."""
    monkeypatch.setenv("DEPICTQA_API_KEY", "sk-of-another-server")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), "/other/packages"]))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return vllm_command.install(tmp_path, monkeypatch)


@pytest.fixture
def pics(tmp_path):
    (tmp_path / "pics").mkdir()
    rng = np.random.default_rng(5)
    for n in range(5):
        Image.fromarray(rng.integers(0, 256, (40, 48, 3), np.uint8)).save(tmp_path / "pics" / f"{n}.png")
    return tmp_path / "pics"


@pytest.mark.slow
def test_a_judge_serves_its_folder_until_it_is_closed(folder, notes, pics, monkeypatch):
    judge = load_judge(folder, vllm="--max-model-len 512 --dtype 'float16'")
    ((pid, note),) = noted(notes).items()
    words = note["words"]
    assert words[:2] == ["serve", str(folder)] and words[-6:-3:2] == ["--host", "--port"]
    assert words[-10:-6] == ["--max-model-len", "512", "--dtype", "float16"]  # what comes last counts
    assert words[-5] == "127.0.0.1" and words[-2:] == ["--served-model-name", "tiny-vlm"]
    other = {"PYTHONPATH": "/other/packages"}  # it may belong to another environment than this package
    assert note["environment"] == {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **other}
    assert len(note["key"]) >= 24 and note["key"] not in str(words)
    assert judge.backend.concurrency == vllm_server.CONCURRENCY

    found = judge.score([pics / "0.png", pics / "1.png"])
    with chat_server(vllm()) as server:
        monkeypatch.delenv("DEPICTQA_API_KEY")
        other = load_judge(server.base, model="tiny-vlm").score([pics / "0.png", pics / "1.png"])
    assert [one.levels for one in found] == [one.levels for one in other]

    loaded = load_judge(folder).info
    assert {name: judge.info[name] for name in loaded} == loaded
    assert judge.info["probabilities"].startswith("exact")
    judge.backend.close()
    assert not vllm_command.runs(pid)
    judge.backend.close()


@pytest.mark.slow
def test_a_server_that_ends_too_early_is_the_cause_of_what_fails(folder, notes, pics, monkeypatch):
    make = ServerOptions.__init__
    monkeypatch.setattr(
        ServerOptions, "__init__", lambda self, *args, **more: make(self, *args, **{**more, "pause": 0.01})
    )
    judge = load_judge(folder, vllm="", concurrency=10)
    (pid,) = noted(notes)
    os.kill(pid, signal.SIGKILL)
    assert ended(pid)
    with pytest.raises(EndpointError, match="vllm serve tiny-vlm ended with status 137: nothing was printed"):
        judge.score(pics / "0.png")
    said: set[str] = set()
    threads = [threading.Thread(target=lambda: said.add(judge.backend.ended())) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(said) == 1  # by whatever thread is asked first


def test_the_server_ends_with_a_judge_that_nobody_holds(folder, notes):
    judge = load_judge(folder, vllm="")
    (pid,) = noted(notes)
    assert vllm_command.runs(pid)
    del judge
    gc.collect()
    assert ended(pid)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda number: number.name)
def test_the_server_ends_with_its_process_however_that_ends(folder, notes, number):
    source = "import sys, time; from depictqa_core import load_judge; judge = load_judge(sys.argv[1], vllm='')\n"
    words = [sys.executable, "-c", f"{source}print('loaded', flush=True); time.sleep(60)", str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout.readline() == "loaded\n"
    (pid,) = noted(notes)
    process.send_signal(number)
    process.wait()
    assert ended(pid)


def test_a_server_that_ends_gives_its_error_and_its_log(folder, notes):
    with pytest.raises(EndpointError, match=r"ended with status 1: ERROR .* the KV cache does not fit \(all") as failed:
        load_judge(folder, vllm="--broken")
    log = Path(str(failed.value).split("printed: ")[1].rstrip(")"))
    assert log.read_text().strip() == vllm_command.BROKEN.strip()


def test_a_server_that_never_answers_is_ended(folder, notes):
    with pytest.raises(EndpointError, match="did not answer within 4 s: nothing was printed"):
        vllm_server.VllmServer(folder, "--silent", {"version": "1"}, patience=4)
    (pid,) = noted(notes)
    assert ended(pid) and not list(Path(tempfile.gettempdir()).glob("depictqa-vllm-*"))


def test_another_server_at_its_port_gets_no_key(folder, notes, monkeypatch):
    """One that answers to every key is not ours."""
    keys = []
    with chat_server(lambda number, request: (200, {}, {})) as server:
        server.get = lambda path, headers: keys.append(headers.get("Authorization")) or 200
        monkeypatch.setattr(vllm_server, "_free_port", lambda: server.http.server_port)
        with pytest.raises(EndpointError, match="Address already in use"):
            load_judge(folder, vllm="")
    (note,) = noted(notes).values()
    assert keys and note["key"] not in str(keys)


@pytest.mark.slow
def test_what_a_server_started_ends_with_it(folder, notes):
    judge = load_judge(folder, vllm="--child")
    pids = list(noted(notes))
    assert len(pids) == 2 and all(map(vllm_command.runs, pids))
    judge.backend.close()
    assert all(map(ended, pids))


def test_settings_may_have_a_profile_or_leave_that_of_the_folder(folder, notes, tmp_path):
    mine, empty = tmp_path / "mine", tmp_path / "empty"
    for place in (mine, empty):
        place.mkdir()
    (mine / "depictqa_profile.json").write_text('{"name": "mine"}')
    (folder / "depictqa_profile.json").write_text('{"name": "of the folder"}')
    try:
        for settings, name in ((mine, "mine"), (empty, "of the folder"), (None, "of the folder")):
            judge = load_judge(folder, vllm="", settings=settings)
            assert judge.backend.profile.name == name == judge.info["profile"]
            judge.backend.close()
    finally:
        (folder / "depictqa_profile.json").unlink()


def test_what_is_wrong_with_other_arguments_leaves_no_server(folder, notes, tmp_path):
    with pytest.raises(DepictQAError):
        load_judge(folder, vllm="", anchors=tmp_path / "no-such-folder")
    (pid,) = noted(notes)
    assert not vllm_command.runs(pid)


def test_what_vllm_cannot_serve_is_refused_before_it_starts(folder, notes, checkpoint, tmp_path, monkeypatch):
    make_tiny_adapter(tmp_path / "adapter", folder)
    for where, more, message in (
        (checkpoint, {}, "is not a vision-language model"),
        (tmp_path / "adapter", {}, "is an adapter folder"),
        ("http://127.0.0.1:1/v1", {}, "a server is used as it is"),
        (folder, {"dtype": "float16"}, "such as --dtype float16"),
        (folder, {"device": "cpu"}, "CUDA_VISIBLE_DEVICES"),
        (folder, {"compiled": True}, "not for vLLM"),
        (folder, {"model": "other"}, "under its own name"),
        (folder, {"vllm": "--trust_remote_code"}, "leave --trust-remote-code out"),
        (folder, {"vllm": "--tru"}, "leave --trust-remote-code out"),
        (folder, {"vllm": "--config=a.yaml"}, "leave --config out"),
        (folder, {"vllm": "--api-key sk-1"}, "leave --api-key out"),
        (folder, {"vllm": "'--open"}, "cannot be read"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_judge(where, **{"vllm": "", **more})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PackageError, match="there is no command vllm"):
        load_judge(folder, vllm="")
    assert noted(notes) == {}


@pytest.mark.slow
def test_a_large_run_resumes_with_another_server(folder, notes, pics, tmp_path, capsys):
    words = ["judge", str(pics), "--out", str(tmp_path / "out"), "--checkpoint", str(folder), "--verbs", "score"]
    assert commands.main([*words, "--quiet", "--vllm"]) == 0
    Image.new("RGB", (40, 48), "gray").save(pics / "9.png")
    assert commands.main([*words, "--vllm-args", "--enforce-eager"]) == 0
    assert "6 images" in (said := capsys.readouterr()).out and "5 of them by an earlier run" in said.out
    first, second = noted(notes).items()
    assert "--enforce-eager" in second[1]["words"] and "--enforce-eager" not in first[1]["words"]
    assert all(row["score"] is not None for row in read_rows(tmp_path / "out"))
    assert ended(first[0])


@pytest.mark.slow
def test_stored_replies_are_those_of_the_folder_not_of_the_port(folder, notes, pics, tmp_path):
    def stored():
        return {path: path.read_bytes() for path in (tmp_path / "replies").iterdir()}

    opening = partial(load_judge, folder, cache=tmp_path / "replies")
    wanted = opening(vllm="").score(pics / "0.png")
    before = stored()
    assert opening(vllm="").score(pics / "0.png") == wanted and stored() == before != {}
    assert opening(vllm="--quantization fp8").score(pics / "0.png") == wanted and stored() != before
