"""Peak memory of an import: writes random weights in the published layout, imports them, and reads the peak.

    python -m benchmarks.import_memory FOLDER [--layers 4] [--merge]

FOLDER is made, and removed at the end. Layers have about the size of Vicuna-7B (0.4 GB each in float16) and lie in two
pickled shards as there. Prints the size of the language model and the peak of resident memory, in all and without the
pages of mapped files, which the system takes back when it needs them.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import torch

from depictqa_core.published import layout as layout

WATCH = """
import re, sys, threading, time
from depictqa_core.published.importer import import_published
peak = {"VmHWM": 0, "RssAnon": 0}
def read():
    return {k: int(v) for k, v in re.findall(r"^(VmHWM|RssAnon):\\s+(\\d+)", open("/proc/self/status").read(), re.M)}
def watch():
    while True:
        for key, value in read().items():
            peak[key] = max(peak[key], value)
        time.sleep(0.02)
start = read()
threading.Thread(target=watch, daemon=True).start()
import_published(*sys.argv[1:4], sys.argv[4], merge=sys.argv[5] == "merge")
print(start["VmHWM"] * 1024, peak["VmHWM"] * 1024, peak["RssAnon"] * 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--merge", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir()
    try:
        size = write(options.folder, options.layers)
        files = [str(options.folder / name) for name in ("clip.pt", "llm", "ckpt.pt", "out")]
        command = [sys.executable, "-c", WATCH, *files, "merge" if options.merge else "apart"]
        start, peak, own = map(int, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        print(f"language model in float16: {size / 2**30:.2f} GiB in two files")
        print(f"before: {start / 2**30:.2f} GiB")
        print(f"peak: {peak / 2**30:.2f} GiB, of it {own / 2**30:.2f} GiB without mapped files")
        print(f"peak / language model: {peak / size:.2f}")
    finally:
        shutil.rmtree(options.folder)


def write(folder: Path, layers: int) -> int:
    """Write clip.pt, llm/ and ckpt.pt of zeros that fit each other; returns the bytes of the language model."""
    from tests.parity.tiny_set import sentencepiece_model

    clip, llm = layout.Clip(layers=2), layout.Language(width=4096 - 128, heads=31, key_heads=31, layers=layers)
    torch.save(_zeros(layout.openai_clip(clip)), folder / "clip.pt")
    torch.save(_zeros(layout.delta(layout.Delta(), clip, llm)), folder / "ckpt.pt")
    (folder / "llm").mkdir()
    names = list(layout.language(llm, lora=False).items())
    places, size = {}, 0
    for number, part in enumerate((names[: len(names) * 3 // 4], names[len(names) * 3 // 4 :]), start=1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        state = _zeros(dict(part))
        torch.save(state, folder / "llm" / file)
        places |= dict.fromkeys(state, file)
        size += sum(tensor.nbytes for tensor in state.values())
    (folder / "llm" / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    config = {
        "model_type": "llama",
        "vocab_size": llm.vocabulary,
        "hidden_size": llm.width,
        "num_hidden_layers": layers,
    }
    config |= {"intermediate_size": llm.feedforward, "num_attention_heads": llm.heads, "rms_norm_eps": 1e-5}
    (folder / "llm" / "config.json").write_text(json.dumps(config))
    (folder / "llm" / "tokenizer.model").write_bytes(sentencepiece_model())
    return size


def _zeros(table) -> OrderedDict:
    return OrderedDict((name, torch.zeros(entry.shape, dtype=torch.float16)) for name, entry in table.items())


if __name__ == "__main__":
    main()
