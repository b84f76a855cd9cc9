"""What a large run judges: every kind of source, in a fixed order, lazily, and damaged ones by name."""

import io
import json
import os
import pickle
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from depictqa_core.bulk.loading import load
from depictqa_core.bulk.sources import Item, items
from depictqa_core.errors import DocumentError, ImageError, PackageError


def encoded(grey: int, kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.full((40, 48, 3), grey, np.uint8)).save(data, kind)
    return data.getvalue()


def greys(sources, **options):
    """Name -> grey level, or the error."""
    found = {}
    for item in items([str(source) for source in sources], **options):
        assert item.name not in found
        one = load(item)
        found[item.name] = one.error if one.image is None else int(one.image.rgb[0, 0, 0])
    return found


def pack(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_folders_in_natural_order_one_inside_another(here):
    for number, name in enumerate(("x10.png", "x2.png", "b/deep.png", "a/z/far.png", "a/near.png", ".hidden.png")):
        path = Path("pics") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(number))
    Path("pics/notes.txt").write_text("no image")
    os.symlink("..", "pics/b/around", target_is_directory=True)
    top = {"pics/x2.png": 1, "pics/x10.png": 0}
    assert greys(["pics"]) == top
    below = {"pics/a/near.png": 4, "pics/a/z/far.png": 3, "pics/b/deep.png": 2}
    assert list(greys(["pics"], recursive=True).items()) == list((top | below).items())
    assert list(greys(["pics/x10.png", "pics/*/*.png", "pics/x10.png"])) == [
        "pics/x10.png",
        "pics/a/near.png",
        "pics/b/deep.png",
    ]
    os.makedirs("empty")
    with pytest.raises(ImageError, match="empty: no images.*--recursive"):
        greys(["empty"])
    with pytest.raises(ImageError, match="no file fits"):
        greys(["gone*.png"])


def test_tar_shards_are_read_where_an_image_lies(here):
    members = {"0001.png": encoded(1), "0001.json": b"{}", "in/0002.jpg": encoded(2, "JPEG"), "0003.png": b"no image"}
    pack(here / "a.tar", members)
    found = greys(["*.tar"])
    assert list(found) == ["a.tar/0001.png", "a.tar/in/0002.jpg", "a.tar/0003.png"]
    assert [*found.values()][:2] == [1, 2] and "not an image of a supported format" in found["a.tar/0003.png"]
    with tarfile.open("b.tar.gz", "w:gz"):
        pass
    with pytest.raises(DocumentError, match="decompress"):
        greys(["b.tar.gz"])


@pytest.mark.parametrize("damage", ["cut", "header"])
def test_a_damaged_shard_is_reported_after_what_can_be_read(here, damage):
    pack(here / "a.tar", {f"{n}.png": encoded(n) for n in range(1, 4)})
    data = bytearray(Path("a.tar").read_bytes())
    third = data.index(b"3.png")
    if damage == "cut":
        del data[third + 600 :]
    else:
        data[third : third + 400] = b"x" * 400
    Path("a.tar").write_bytes(data)
    found = greys(["a.tar"])
    assert found["a.tar/1.png"] == 1 and found["a.tar/2.png"] == 2
    *_, last = found.items()
    assert "shard" in last[1] and len(found) == 3 + (damage == "cut")


def test_lists_name_images_next_to_them(here):
    os.makedirs("pics")
    for n in range(3):
        Path(f"pics/{n}.png").write_bytes(encoded(n))
    Path("list.csv").write_text("\ufeffid,path\n1,pics/0.png\n2,\n3,gone.png\n", encoding="utf-8")
    found = greys(["list.csv"])
    assert found["pics/0.png"] == 0 and found["list.csv#2"] == "row 2 of the list names no image."
    assert found["gone.png"] == "no such file; check the path."
    lines = [json.dumps({"image": "pics/1.png"}), "", "{broken", json.dumps({"other": "pics/2.png"})]
    Path("list.jsonl").write_text("\n".join(lines))
    found = greys(["list.jsonl"])
    assert found["pics/1.png"] == 1 and "line 3" in found["list.jsonl#3"] and "no column" in found["list.jsonl#4"]
    assert "no column image" in greys(["list.jsonl"], column="image")["list.jsonl#4"]
    Path("other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DocumentError, match="other.csv: has no column image.*a, b.*--column"):
        greys(["other.csv"])


def test_parquet_holds_paths_or_images(here):
    images = [encoded(n) for n in range(50)]
    pq.write_table(pa.table({"image": [*images, None, b"no image"]}), "bytes.parquet", row_group_size=20)
    found = greys(["bytes.parquet"])
    assert [*found.values()][:50] == [*range(50)] and found[
        "bytes.parquet#50"
    ] == "the row holds no image. Leave it out."
    structs = [{"bytes": image, "path": f"{n}.png"} for n, image in enumerate(images)]
    pq.write_table(pa.table({"image": structs}), "structs.parquet")
    assert [*greys(["structs.parquet"]).values()] == [*range(50)]
    Path("0.png").write_bytes(images[7])
    pq.write_table(pa.table({"image": ["0.png"], "n": [1]}), "paths.parquet")
    assert greys(["paths.parquet"]) == {"0.png": 7}
    with pytest.raises(DocumentError, match="column n holds int64"):
        greys(["paths.parquet"], column="n")
    Path("no.parquet").write_bytes(b"PAR1")
    with pytest.raises(DocumentError, match="no.parquet is not a Parquet file"):
        greys(["no.parquet"])


def test_rows_may_be_asked_for_from_the_middle_and_a_little_out_of_order(here):
    pq.write_table(pa.table({"image": [encoded(n) for n in range(200)]}), "t.parquet", row_group_size=30)
    listed = list(items(["t.parquet"]))
    for place in (95, 94, 110, 96, 190, 3):
        assert int(load(listed[place]).image.rgb[0, 0, 0]) == place


def test_items_can_be_sent_to_another_process(here):
    Path("0.png").write_bytes(encoded(0))
    pack(here / "a.tar", {"1.png": encoded(1)})
    pq.write_table(pa.table({"image": [encoded(n) for n in range(40)]}), "t.parquet", row_group_size=30)
    Path("list.csv").write_text('image\n0.png\n""\n')
    listed = list(items(["0.png", "a.tar", "t.parquet", "list.csv"]))
    sent = pickle.loads(pickle.dumps(listed))
    for item, other in zip(listed, sent):
        mine, its = load(item), load(other)
        assert (mine.name, mine.error, mine.fingerprint) == (its.name, its.error, its.fingerprint)
    assert len(sent) == 44 and load(sent[-1]).error == "row 2 of the list names no image."


def test_urls_are_opened_by_fsspec(here):
    system = fsspec.filesystem("memory")
    for name in ("pics/x10.png", "pics/x2.png", "pics/in/deep.png"):
        system.pipe(f"/set/{name}", encoded(9))
    pack(here / "a.tar", {"1.png": encoded(1), "2.png": encoded(2)})
    system.pipe("/set/a.tar", Path("a.tar").read_bytes())
    system.pipe("/set/list.csv", b"image\npics/x2.png\n/etc/passwd\n")
    assert list(greys(["memory://set/pics"], recursive=True)) == [
        "/set/pics/x2.png",
        "/set/pics/x10.png",
        "/set/pics/in/deep.png",
    ]
    assert greys(["memory://set/*.tar"]) == {"/set/a.tar/1.png": 1, "/set/a.tar/2.png": 2}
    found = greys(["memory://set/list.csv"])  # a list names files of its own file system only
    assert found["/set/pics/x2.png"] == 9 and "cannot be read" in found["/etc/passwd"]
    with pytest.raises(PackageError, match="nosuch://x"):
        greys(["nosuch://x"])


def test_listing_loads_nothing(here):
    pack(here / "a.tar", {"1.png": b"", "2.png": b""})
    pq.write_table(pa.table({"image": [b""] * 3}), "t.parquet")
    Path("list.csv").write_text("image\ngone.png\n")
    assert sum(1 for _ in items(["a.tar", "t.parquet", "list.csv"])) == 6


def test_an_error_of_the_disk_is_that_of_one_image():
    def broken():
        raise OSError(5, "Input/output error")

    assert "Input/output error" in load(Item("a.png", broken)).error
