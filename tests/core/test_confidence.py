"""Confidence rules against numbers of the published code and computations by hand."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_tiny_encoder

from depictqa_core.confidence import TOP_TOKENS, brief_confidence, coverage_notices, detailed_confidence, reliable
from depictqa_core.errors import CheckpointError
from depictqa_core.loading.sentence_encoder import SentenceEncoder
from depictqa_core.prompts import answer_ids
from depictqa_core.tasks import DISTORTIONS

END = [13, 29871, 2]

# Written by the published code on a tiny random model.
SINGLE = (
    [341, 337, 13, 29871, 2],
    [0.09034425020217896, 0.5273253321647644, 0.6793861985206604, 0.2638806700706482, 0.39059627056121826],
)


def test_published_number():
    assert brief_confidence(*SINGLE, END) == pytest.approx(0.3088347911834717, abs=1e-7)


def test_brief_drops_everything_from_the_first_end_on():
    assert brief_confidence([7, 322, 8, 322], [0.5, 0.25, 0.125, 0.0625], END) == pytest.approx(0.9375 / 4)
    assert brief_confidence([7, *END, 322], [0.5, 0.1, 0.1, 0.1, 0.9], END) == 0.5
    assert brief_confidence([7, 13, 29871], [0.5, 0.1, 0.3], END) == pytest.approx(0.3)  # cut off before the end
    assert brief_confidence(END, [0.5, 0.5, 0.5], END) is None
    assert brief_confidence([], [], END) is None


WORDS = "Image A has slight noise , but Image B is good .".split()


def words(ids):
    return " ".join(WORDS[i] for i in ids)


def test_verdict_words_count_and_others_do_not():
    ids, chances = list(range(len(WORDS))), [0.01 * 2**i for i in range(12)]
    confidence, method = detailed_confidence(words(ids), ids, chances, words)
    verdict = [i for i, word in enumerate(WORDS) if word in ("Image", "A", "B", "slight", "noise", "good")]
    assert confidence == pytest.approx(np.mean([chances[i] for i in verdict]))
    assert method == "verdict words"


def test_every_token_counts_when_no_word_carries_a_verdict():
    assert detailed_confidence("has but", [2, 6], [0.2, 0.6], words)[0] == pytest.approx(0.4)
    assert detailed_confidence("", [], [], words) == (None, "empty answer")


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_distortion_is_a_verdict_word(name):
    pieces = ["The ", *(f"{part} " for part in name.split()), "harms ", "it."]
    chances = [0.0] + [0.5] * len(name.split()) + [0.0, 0.0]
    ids = list(range(len(pieces)))
    assert detailed_confidence("", ids, chances, lambda i: "".join(pieces[k] for k in i))[0] == pytest.approx(0.5)


def test_parts_of_words_count_when_the_word_is_a_verdict():
    pieces = ["no", "ise", " noises", " un", "noise", "."]
    decode = lambda ids: "".join(pieces[i] for i in ids)  # noqa: E731
    assert detailed_confidence("", list(range(6)), [0.2, 0.4, 1, 1, 1, 1], decode)[0] == pytest.approx(0.3)


@pytest.mark.parametrize("signs", [1, 2, 3])
def test_a_character_of_several_tokens_shifts_nothing(signs):
    """A piece of a character decodes to one replacement sign for each byte, or to one for all of them."""
    data = [b"a", b"\xe2", b"\x80", b"\xa6", b"noise", b"\xf0\x9f", b"\x98\x80", b" z"]

    def decode(ids):
        raw, text = b"".join(data[i] for i in ids), ""
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            text = raw[: error.start].decode()
            return text + "\ufffd" * min(signs, len(raw) - error.start)

    whole = [9.0] * 8
    whole[4] = 0.25
    # "a…noise😀 z": noise stands between signs that are no letters, so it is a word
    assert detailed_confidence("", list(range(8)), whole, decode)[0] == 0.25


def test_sentence_encoder_weights():
    """w = 1 - cos(text, text without the token), the heaviest tokens, mean of p weighted by w."""
    rng = np.random.default_rng(0)
    n = TOP_TOKENS + 12
    ids, chances = list(range(n)), rng.random(n).tolist()
    vectors = {}

    def embed(texts):
        for text in texts:
            vectors.setdefault(text, rng.normal(size=8))
        rows = np.array([vectors[text] for text in texts])
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def decode(part):
        return " ".join(map(str, part))

    confidence, method = detailed_confidence(decode(ids), ids, chances, decode, embed)
    weights = []
    whole = vectors[decode(ids)]
    for i in ids:
        other = vectors[decode([k for k in ids if k != i])]
        weights.append(1 - whole @ other / np.linalg.norm(whole) / np.linalg.norm(other))
    heaviest = sorted(ids, key=lambda i: -weights[i])[:30]
    expected = sum(weights[i] * chances[i] for i in heaviest) / sum(weights[i] for i in heaviest)
    assert TOP_TOKENS == 30 and confidence == pytest.approx(expected) and method == "sentence encoder"


def test_sentence_encoder_that_sees_no_difference():
    same = lambda texts: np.tile([1.0, 0.0], (len(texts), 1))  # noqa: E731
    assert detailed_confidence("has but", [2, 6], [0.2, 0.6], words, same) == (pytest.approx(0.4), "sentence encoder")


def test_real_tokenizer():
    from tiny import make_tiny_model

    tokenizer = make_tiny_model()[1]
    ids = answer_ids("Noise and blur", tokenizer)[:-1]
    pieces = [tokenizer.decode([i]) for i in ids]
    chances = [0.0 if piece.strip() == "and" else 1.0 for piece in pieces]
    assert 0.0 in chances
    assert detailed_confidence("", ids, chances, tokenizer.decode)[0] == 1.0


# ---------------------------------------------------------------------- a sentence encoder out of a folder


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory):
    return make_tiny_encoder(tmp_path_factory.mktemp("encoder"))


def test_encoder_is_the_mean_over_the_words_of_a_text_whatever_the_batch(encoder_folder):
    from transformers import AutoModel, AutoTokenizer

    encoder = SentenceEncoder(encoder_folder)
    texts = ["image a has noise", "good", "image b is good but has slight noise , a b a b a b"] * 40
    found = encoder(texts)
    model, tokenizer = AutoModel.from_pretrained(encoder_folder).eval(), AutoTokenizer.from_pretrained(encoder_folder)
    for text, row in zip(texts[:3], found):
        with torch.inference_mode():
            hidden = model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
        mean = hidden.mean(0).numpy()
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-5)
    assert np.abs(found[:3] - found[-3:]).max() < 1e-5 and found.shape == (120, 16)


def test_texts_are_cut_at_the_length_that_the_folder_notes(encoder_folder, tmp_path):
    shutil.copytree(encoder_folder, tmp_path / "e")
    (tmp_path / "e" / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    short = SentenceEncoder(tmp_path / "e")
    assert short(["image a b has noise"]) == pytest.approx(short(["image a b is good . but"]), abs=1e-6)
    long = SentenceEncoder(encoder_folder)
    assert np.abs(long(["image a b has noise"]) - long(["image a b is good . but"])).max() > 1e-3


@pytest.mark.slow
def test_a_judge_with_an_encoder_says_so(encoder_folder, tmp_path):
    from tiny import make_tiny_checkpoint

    from depictqa_core.judge import load_judge

    folder = make_tiny_checkpoint(tmp_path / "c")
    picture = np.full((70, 80, 3), 90, np.uint8)
    plain = load_judge(folder, "cpu").describe(picture, max_new_tokens=12)[0]
    judge = load_judge(folder, "cpu", encoder=encoder_folder)
    weighed = judge.describe(picture, max_new_tokens=12)[0]
    assert plain.text == weighed.text
    assert (plain.confidence_method, weighed.confidence_method) == ("verdict words", "sentence encoder")
    assert 0 <= weighed.confidence <= 1


@pytest.mark.parametrize(
    "harm, said",
    [
        (lambda f: (f / "config.json").unlink(), "no config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "cannot be read"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "cannot be read"),
        (lambda f: (f / "tokenizer.json").unlink(), "cannot be read"),
        (lambda f: _drop(f / "model.safetensors"), "lacks weights .*layer.1"),
    ],
)
def test_encoders_that_cannot_be_used_are_one_line(encoder_folder, tmp_path, harm, said):
    shutil.copytree(encoder_folder, tmp_path / "e")
    harm(tmp_path / "e")
    with pytest.raises(CheckpointError, match=said) as caught:
        SentenceEncoder(tmp_path / "e")
    assert "\n" not in str(caught.value)


def _drop(path):
    weights = load_file(path)
    save_file({name: value for name, value in weights.items() if "layer.1." not in name}, path, {"format": "pt"})


def test_little_coverage_is_warned_of_and_refused():
    assert reliable(0.9, 0.5, coverage=0.1) and reliable(0.9, 0.0, coverage=None)
    assert not reliable(0.99, 0.5, coverage=0.09) and not reliable(0.99, 0.0, coverage=1e-9)
    assert coverage_notices([0.5, 1.0, None], "do this") == [] == coverage_notices([], "do this")
    (doubtful,) = coverage_notices([0.4, 1.0, None], "do this")
    assert doubtful.startswith("coverage below 0.5 in 1 of 2 answers (lowest 0.4)") and "unreliable" not in doubtful
    assert doubtful.endswith(": do this")
    (refused,) = coverage_notices([0.4, 1e-9, 0.9], "do this")
    assert "lowest 1e-09" in refused and "below 0.1, as for 1, answers are unreliable" in refused
