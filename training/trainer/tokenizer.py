"""A small byte-level BPE tokenizer for judges that bring their own language model."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from depictqa_core.prompts import fixed_strings
from depictqa_core.tasks import SHORT_TAIL


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a tokenizer on questions and answers.

    Every constant piece of the prompt layout is one token, so that the long system text costs a small model one
    position instead of fifty. Any other text is split into word pieces, down to bytes, so nothing is unknown.

    Args:
        texts: questions and answers.
        vocab_size: upper bound of the vocabulary, constant pieces included.
    """
    pieces = [*fixed_strings(), SHORT_TAIL]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(pieces),
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>")
