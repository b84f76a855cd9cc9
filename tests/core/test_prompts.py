"""Prompt layouts against the published template, written out in full, and how they are tokenised."""

import pytest
from tiny import make_tiny_model
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from depictqa_core import tasks
from depictqa_core.prompts import (
    Slot,
    answer_ids,
    description_layout,
    encode,
    encode_question,
    fixed_strings,
    layout,
    next_turn,
    text_ids,
)

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. "
    "As an AI assistant, you are performing an image quality assessment task."
)
REFERENCE = " A high-quality Reference Image is provided to assist the evaluation."
LAYOUTS = {  # (pair, reference): the whole prompt of the question "x"
    (False, False): [
        SYSTEM + "\n\n </s> Image: <Img>",
        Slot("A"),
        "</Img>\n\n </s> USER: x\n   ASSISTANT: ",
    ],
    (False, True): [
        SYSTEM + REFERENCE + "\n\n </s> Reference Image: <Img-Reference>",
        Slot("reference"),
        "</Img-Reference>\n\n </s> Image: <Img>",
        Slot("A"),
        "</Img>\n\n </s> USER: x\n   ASSISTANT: ",
    ],
    (True, False): [
        SYSTEM + "\n\n </s> Image A: <Img-A>",
        Slot("A"),
        "</Img-A>\n\n </s> Image B: <Img-B>",
        Slot("B"),
        "</Img-B>\n\n </s> USER: x\n   ASSISTANT: ",
    ],
    (True, True): [
        SYSTEM + REFERENCE + "\n\n </s> Reference Image: <Img-Reference>",
        Slot("reference"),
        "</Img-Reference>\n\n </s> Image A: <Img-A>",
        Slot("A"),
        "</Img-A>\n\n </s> Image B: <Img-B>",
        Slot("B"),
        "</Img-B>\n\n </s> USER: x\n   ASSISTANT: ",
    ],
}


@pytest.fixture(scope="module")
def tokenizer():
    return make_tiny_model()[1]


def character_tokenizer(**special) -> PreTrainedTokenizerFast:
    """One id per character, so that ids can be checked by hand."""
    known = {chr(code): code for code in range(128)} | {token: 200 + i for i, token in enumerate(special.values())}
    inner = Tokenizer(models.WordLevel({**known, "?": 127}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


@pytest.mark.parametrize("pair, reference", LAYOUTS)
def test_layout(pair, reference):
    assert layout("x", pair, reference) == LAYOUTS[pair, reference]


@pytest.mark.parametrize("question", ["x", "<image>\nx", "x\n<image>"])
def test_layout_of_a_description(question):
    opening, slot, closing = description_layout(question)
    assert opening == (
        SYSTEM.split(" As an AI")[0] + " As an AI assistant, you are performing an image detail description task, and "
        "your goal is to generate a natural language description of an image that accurately and comprehensively "
        "conveys its visual content.\n\n </s> USER: <Img>"
    )
    assert (slot, closing) == (Slot("A"), "</Img> x   ASSISTANT: ")


def test_layout_of_a_further_turn():
    assert next_turn("x") == "USER: x\n   ASSISTANT: "


@pytest.mark.parametrize("pair, reference", LAYOUTS)
def test_every_segment_is_tokenised_on_its_own_behind_one_beginning(pair, reference, tokenizer):
    parts = layout("What ONE distortion?", pair, reference)
    expected = [
        part if isinstance(part, Slot) else tokenizer(part, add_special_tokens=False)["input_ids"] for part in parts
    ]
    expected[0] = [tokenizer.bos_token_id] + expected[0]
    assert encode(parts, tokenizer) == expected
    text = "".join(tokenizer.decode(part) for part in expected if not isinstance(part, Slot))
    assert text == "<s>" + "".join(part for part in parts if not isinstance(part, Slot))


def test_constant_pieces_are_one_token_each(tokenizer):
    for piece in fixed_strings():
        assert len(text_ids(piece, tokenizer)) == 1, piece
    for pair, reference in LAYOUTS:  # and nothing of a layout but the question is left to word pieces
        known = set(sum((text_ids(piece, tokenizer) for piece in fixed_strings()), [tokenizer.bos_token_id]))
        assert {
            i for part in encode(layout("", pair, reference), tokenizer) if isinstance(part, list) for i in part
        } <= known


def test_boundary_is_not_merged():
    """`</Img>` begins a new tokenisation: a tokenizer that marks word starts sees a start there."""
    inner = Tokenizer(models.WordLevel({"\u2581a": 0, "b": 1, "\u2581b": 2, "?": 3}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split("b", "isolated")]
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    assert encode(["a", Slot("A"), "a"], tokenizer) == [[0], Slot("A"), [0]]
    assert tokenizer.bos_token_id is None  # no beginning is made up


def test_separator_is_the_end_token_of_the_tokenizer():
    tokenizer = character_tokenizer(bos_token="<s>", eos_token="<end>")
    assert text_ids("a </s> b", tokenizer) == [97, 32, 201, 32, 98]
    assert encode(["a </s>", Slot("A"), "</s>b"], tokenizer) == [[200, 97, 32, 201], Slot("A"), [201, 98]]


def test_answers_end_in_newline_space_and_end_token():
    tokenizer = character_tokenizer(eos_token="</s>")
    assert answer_ids("ab", tokenizer) == [97, 98, 10, 32, 200]
    assert answer_ids(" ab\n ", tokenizer) == [97, 98, 10, 32, 200]
    assert answer_ids("", tokenizer) == [10, 32, 200]


@pytest.mark.parametrize("reference", [False, True])
def test_questions_about_the_same_images_share_the_words_that_all_begin_with(reference, tokenizer):
    questions = [tasks.fault_question(fault) for fault in tasks.FAULTS]
    openings = set()
    for question in questions:
        whole = encode(layout(question, False, reference), tokenizer)
        *before, opening, rest = encode_question(question, False, reference, tokenizer, questions)
        assert [*before, [*opening, *rest]] == whole == encode_question(question, False, reference, tokenizer)
        openings.add(tuple(opening))
    assert len(openings) == 1 and tokenizer.decode(openings.pop()).endswith("the fault")


def test_questions_that_have_nothing_in_common_share_what_comes_before_them(tokenizer):
    *before, opening, rest = encode_question("What?", False, False, tokenizer, ["What?", "How?"])
    assert opening == text_ids("</Img>\n\n </s> USER: ", tokenizer)
    assert [*before, [*opening, *rest]] == encode(layout("What?", False, False), tokenizer)
