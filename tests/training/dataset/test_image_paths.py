"""Records name images below their data root only, whoever reads them; nothing else is opened or sent."""

import base64
import io
import json
import os

import numpy as np
import pytest
from chat_server import chat_server, completion
from PIL import Image
from tiny import make_tiny_model

from depictqa_core import tasks
from depictqa_core.chat.client import Client
from depictqa_core.chat.endpoint import Endpoint
from depictqa_core.errors import ImageError
from depictqa_core.metrics.registry import BUILT_IN
from training.dataset.building.samples import KINDS
from training.dataset.detailed import collection as detailed_answers
from training.dataset.detailed.requests import Expected
from training.dataset.records.image_paths import image_path, read_image
from training.evaluation import peers
from training.evaluation.answer_files import AnswerFile
from training.evaluation.peer_vlm import vlm_answers
from training.evaluation.sets import TestSet
from training.trainer.image_features import LiveImages
from training.trainer.record_files import read_parts
from training.trainer.rehearsal import make_rehearsal

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture
def root(tmp_path):
    """A data root with a good image, and links out of it to images and other files that are none of its business."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "inner").mkdir(parents=True)
    outside.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    for file in (root / "good.png", root / "inner" / "good.png", outside / "private.png", tmp_path / "root2.png"):
        Image.fromarray(pixels).save(file)
    (outside / "id_rsa").write_bytes(SECRET)
    (root / "link.png").symlink_to(outside / "private.png")
    (root / "folder").symlink_to(outside)
    (root / "key.png").symlink_to(outside / "id_rsa")
    (root / "circle.png").symlink_to(root / "circle.png")
    (root / "within.png").symlink_to(root / "good.png")
    (root / "text.png").write_bytes(SECRET)
    return root


OUTSIDE = [
    "../outside/private.png",
    "inner/../../outside/private.png",
    "..\\outside\\private.png",
    "inner/../good.png",
    "/etc/hostname",
    "{outside}/private.png",
    "~/private.png",
    "C:\\private.png",
    "C:private.png",
    "\\\\server\\share\\private.png",
    "link.png",
    "folder/private.png",
    "folder/id_rsa",
    "key.png",
    "circle.png",
    "a\0b.png",
    "\udc80.png",
    "x" * 5000,
    "../root2.png",
    "",
    None,
    7,
    ["good.png"],
]


def named(root):
    outside = root.parent / "outside"
    return [name.format(outside=outside) if isinstance(name, str) else name for name in OUTSIDE]


def test_only_paths_below_the_root_are_resolved(root):
    for name in ("good.png", "inner/good.png", "./inner//good.png", "inner\\good.png"):
        assert image_path(root, name).name == "good.png"
    assert image_path(root, "within.png") == (root / "good.png").resolve()
    assert image_path(root, "not there.png") == root.resolve() / "not there.png"
    linked = root.parent / "linked"
    linked.symlink_to(root)
    assert image_path(linked, "good.png") == (root / "good.png").resolve()  # the root itself may be a link
    os.chdir(root)
    assert image_path(".", "good.png") == (root / "good.png").resolve()
    for name in named(root):
        with pytest.raises(ImageError):
            read_image(root, name)
    with pytest.raises(ImageError, match="leads out of .* by a symbolic link, to .*outside.*Copy the image"):
        image_path(root, "link.png")
    with pytest.raises(ImageError, match="without '..'"):
        image_path(root, "../outside/private.png")


def test_images_of_our_own_are_named_by_absolute_paths_within_their_folder_only(root):
    own = root.parent / "outside"
    assert image_path(root, str(own / "private.png"), own) == (own / "private.png").resolve()
    for name in (str(root / "good.png"), str(own / ".." / "root2.png"), "/etc/hostname"):
        with pytest.raises(ImageError):
            image_path(root, name, own)


def requests_of(server) -> bytes:
    """Everything that was sent, with the images decoded from their data URLs."""
    sent = json.dumps(server.requests).encode()
    for request in server.requests:
        for part in request["messages"][-1]["content"]:
            if part["type"] == "image_url":
                data = base64.b64decode(part["image_url"]["url"].split(",")[1])
                Image.open(io.BytesIO(data)).verify()
                sent += data
    return sent


def test_peers_are_sent_nothing_from_outside(root, tmp_path):
    names = [*(name for name in named(root) if isinstance(name, str) and name), "text.png"]
    plain = {"image_ref": None, "image_B": None, "query": "What is the ONE issue?" + tasks.SHORT_TAIL, "answer": "Blur"}
    records = [{"id": str(n), "image_A": name, **plain} for n, name in enumerate(["good.png", *names])]
    test_set = TestSet("made", root, records, ["quality_single_A_noref"] * len(records))
    with chat_server(lambda *_: (200, {}, completion("Blur"))) as server:
        client = Client(Endpoint(server.base, "m"))
        rows = AnswerFile(tmp_path / "a.jsonl", {}).fill(test_set.ids, vlm_answers(client, test_set), "test")
        assert len(server.requests) == 1 and SECRET not in requests_of(server)
    assert rows[0]["text"] == "Blur" and all(row["error"] for row in rows[1:])
    kept, _, failures = test_set.readable(range(len(records)))  # what the judge under test sees
    assert kept == [0] and len(failures) == len(names)
    assert test_set.stamp()["content"]
    shown = [(name, None) for name in ("good.png", "link.png")]
    values = peers.values_of(shown, root, tmp_path / "peers.jsonl", [p for p in BUILT_IN if p.name == "NIQE"])
    assert values["link.png", None]["NIQE"] is None


def test_describe_sends_nothing_from_outside(root):
    step = [{"category": "blur", "name": "blur_lens", "severity": 3}]
    names = ["good.png", "link.png", "../outside/private.png", "key.png", "text.png"]
    todo = [
        detailed_answers.Pending(
            "assessment_single",
            KINDS["assessment_single"],
            {"scene": n, "reference": "good.png", "variants": [{"image": name, "distortions": step}]},
            Expected(({"blur": "obvious"},), 100, False),
        )
        for n, name in enumerate(names)
    ]
    with chat_server(lambda *_: (200, {}, completion("no"))) as server:
        counts = detailed_answers.collect(todo, root, Client(Endpoint(server.base, "m")))
        assert len(server.requests) == 1 and SECRET not in requests_of(server)
    assert counts["unreadable image"] == 4 and sum(counts.values()) == 5
    with pytest.raises(ImageError, match="symbolic link"):
        detailed_answers.request(todo[1], "m", root)  # what --dry-run prints


def test_training_reads_nothing_from_outside(root, tmp_path):
    model, _ = make_tiny_model("cnn")
    live = LiveImages(model.config, root)
    assert live.tokens("good.png") > 0
    for name in named(root):
        if isinstance(name, str):
            assert live.tokens(name) == 0
            with pytest.raises(ImageError):
                live.show(name)
            with pytest.raises((ImageError, OSError), match="can be read"):
                make_rehearsal(tmp_path / "rehearsal", root, [name], 1, ["score"], 0)
    talk = [{"from": "human", "value": "How?"}, {"from": "gpt", "value": "Good."}]
    for bad in ("../outside/private.png", "/etc/hostname", 7):
        record = {"id": "r", "task_type": "quality_single_A_noref", "image_A": bad, "conversations": talk}
        (root / "records.json").write_text(json.dumps([record]))
        with pytest.raises(
            ValueError, match=r"records.json, record 0 \(id r\): image_A is not a path in the data root"
        ):
            read_parts(root, {"records.json": 1})
