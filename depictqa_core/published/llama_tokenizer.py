"""The LLaMA tokenizer of the published checkpoints, from a SentencePiece file but without the sentencepiece package.

Source: method.md 1.5 and 1.6. Spaces stay as they are, a text gets a leading space unless it has one, and nothing is
inserted after a special token inside a text (LLaMA's "legacy = false"). The written ``tokenizer.json`` defines all of
this, so that every version of transformers behaves the same.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import CheckpointError, quoted
from ..storage.documents import parse_json
from ..storage.files import write_file

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_Pieces: TypeAlias = tuple[dict[str, int], list[tuple[str, str]]]
"""Vocabulary (piece -> id), and merges in order."""

SPECIAL = ("<unk>", "<s>", "</s>")
"""Special tokens with ids 0, 1 and 2."""
KNOWN = {"Image A\n </s>": [7084, 319, 13, 29871, 2], "Image B\n </s>": [7084, 350, 13, 29871, 2]}
"""Answers and their ids in the tokenizer of LLaMA (method.md 9)."""
_NORMAL, _UNKNOWN, _CONTROL, _UNUSED, _BYTE = 1, 2, 3, 5, 6
_BPE = 2
_HOW_TO_GET = "download tokenizer.model from the page of the language model again"


def write_llama_tokenizer(source: str | Path, folder: str | Path) -> None:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` into a folder.

    Args:
        source: folder with ``tokenizer.model``, or else with the ``tokenizer.json`` of a LLaMA tokenizer.
        folder: folder to write to.

    Raises:
        CheckpointError: neither file exists, or it has another kind of tokenizer.
    """
    vocabulary, merges = read_pieces(source)
    _build(vocabulary, merges).save(str(Path(folder) / "tokenizer.json"))
    settings = {
        # The plain class: LlamaTokenizer would replace the normalization, differently in each version.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": "<unk>",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "pad_token": "</s>",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 4096,
        "padding_side": "left",
    }
    write_file(Path(folder) / "tokenizer_config.json", json.dumps(settings, indent=1) + "\n")


def check_llama_tokenizer(source: str | Path, size: int) -> None:
    """Raise CheckpointError unless a language model folder has the tokenizer that the deltas were trained with.

    Args:
        source: as in ``write_llama_tokenizer``.
        size: vocabulary size of the language model.
    """
    path, (vocabulary, merges) = tokenizer_file(source), read_pieces(source)
    if max(vocabulary.values()) >= size:
        raise CheckpointError(f"'{path}' has more pieces than the language model's {size} tokens: {_HOW_TO_GET}")
    tokenizer = _build(vocabulary, merges)
    for text, wanted in KNOWN.items():
        found = tokenizer.encode(text, add_special_tokens=False).ids
        if found != wanted:
            raise CheckpointError(
                f"'{path}' is not the tokenizer of the deltas ({text!r} is {found} and not {wanted}): {_HOW_TO_GET}"
            )


def tokenizer_file(source: str | Path) -> Path:
    """Return the tokenizer file of a language model folder; raise CheckpointError if there is none."""
    for name in ("tokenizer.model", "tokenizer.json"):
        if (Path(source) / name).is_file():
            return Path(source) / name
    raise CheckpointError(f"language model '{source}' has no tokenizer.model: {_HOW_TO_GET}")


def read_pieces(source: str | Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return vocabulary (piece -> id) and merges, in order, of a language model folder."""
    path = tokenizer_file(source)
    try:
        vocabulary, merges = (_sentencepiece if path.suffix == ".model" else _fast)(path.read_bytes())
    except (ValueError, KeyError, TypeError, IndexError, struct.error) as error:
        raise CheckpointError(f"'{path}' is not a LLaMA tokenizer ({quoted(error)}): {_HOW_TO_GET}") from error
    if [vocabulary.get(piece) for piece in SPECIAL] != [0, 1, 2]:
        raise CheckpointError(f"'{path}' is not a LLaMA tokenizer (ids 0 to 2 are not {', '.join(SPECIAL)})")
    return vocabulary, merges


def _build(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(piece, normalized=False, special=True) for piece in SPECIAL])
    return tokenizer


def _fast(content: bytes) -> _Pieces:
    model = parse_json(content, "tokenizer.json")["model"]
    if model["type"] != "BPE" or not model.get("byte_fallback"):
        raise ValueError("not a BPE model with byte fallback")
    merges = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"]]
    return dict(model["vocab"]), merges


def _sentencepiece(content: bytes) -> _Pieces:
    """Parse a serialized SentencePiece ModelProto: field 1 the pieces, 2 the training, 3 the normalization."""
    pieces: list[tuple[str, float, int]] = []
    trained: dict[int, Any] = {}
    normaliser: dict[int, Any] = {}
    for number, value in _fields(content):
        if number == 1:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece.get(2, bytes(4)))[0]
            pieces.append((piece[1].decode("utf-8"), score, piece.get(3, _NORMAL)))
        elif number == 2:
            trained = dict(_fields(value))
        elif number == 3:
            normaliser = dict(_fields(value))
    if trained.get(3) != _BPE:
        raise ValueError("not a BPE model")
    if normaliser.get(2) or not normaliser.get(3, 1) or normaliser.get(4, 1) or not normaliser.get(5, 1):
        raise ValueError("it changes the text before it splits it, which LLaMA's does not")
    vocabulary = {piece: index for index, (piece, _, _) in enumerate(pieces)}
    if len(vocabulary) != len(pieces):
        raise ValueError("a piece occurs twice")
    if any(kind not in (_NORMAL, _UNKNOWN, _CONTROL, _UNUSED, _BYTE) for _, _, kind in pieces):
        raise ValueError("pieces of an unknown kind")
    return vocabulary, _merges({piece: score for piece, score, kind in pieces if kind == _NORMAL}, vocabulary)


def _merges(scores: dict[str, float], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Return the merges of a SentencePiece model: it joins the adjacent pair with the best score, like ordered
    merges."""
    found = []
    for piece, score in scores.items():
        splits = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        found += [(-score, ids[a], ids[b], a, b) for a, b in splits if a in scores and b in scores]
    return [(a, b) for *_, a, b in sorted(found)]


def _fields(content: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (field number, value) of one protocol buffer message; values are int or bytes, as the number says."""
    value: int | bytes
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(content, position)
        elif kind in (1, 2, 5):
            size, position = _varint(content, position) if kind == 2 else ({1: 8, 5: 4}[kind], position)
            value, position = content[position : position + size], position + size
        else:
            raise ValueError("not a SentencePiece file")
        if position > len(content):
            raise ValueError("the file is truncated")
        yield tag >> 3, value


def _varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[position]
        position += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, position
        shift += 7
