"""Tiny random judges in the real checkpoint format, for tests in which the weights do not matter."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from transformers import LlamaConfig  # noqa: E402

from depictqa_core import tasks  # noqa: E402
from depictqa_core.loading.saving import save_checkpoint
from depictqa_core.network.config import DepictQAConfig  # noqa: E402
from depictqa_core.network.model import DepictQAModel  # noqa: E402
from training.trainer.tokenizer import train_tokenizer  # noqa: E402

TEXTS = [*tasks.identification_answers(), *tasks.WINNERS, *map(str.capitalize, tasks.LEVELS)]
TEXTS += [task.question for task in tasks.TASKS.values() if task is not tasks.QUESTION]

CNN = {
    "vision": {
        "kind": "cnn",
        "stem": 8,
        "stages": [[1, 3, 1, 1, 8], [1, 5, 2, 2, 12], [1, 3, 2, 2, 16], [1, 3, 2, 2, 16]],
    },
    "connector": {"kind": "pooling", "hidden": 32, "summary_tokens": 3, "grid_stages": [1, 2]},
    "size": {"short": 64, "long": 128, "min": 32, "multiple": 1},
    "tasks": tuple(tasks.TASKS),
}
CLIP = {
    "vision": {
        "kind": "clip",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    | {"image_size": 56},
    "connector": {"kind": "linear"},
    "size": {"short": 56, "long": 112, "min": 28, "multiple": 14},
    "tasks": tuple(tasks.TASKS),
}
ABSTRACTOR = {**CLIP, "connector": {"kind": "abstractor", "queries": 4, "layers": 1, "heads": 2, "feedforward": 32}}
BACKBONE = {
    **CNN,
    "vision": {
        "kind": "backbone",
        "config": {"model_type": "resnet", "embedding_size": 8, "hidden_sizes": [8, 12, 16, 16], "depths": [1, 1, 1, 1]}
        | {"layer_type": "basic", "out_features": ["stage1", "stage2", "stage3", "stage4"]},
    },
}
KINDS = {"cnn": CNN, "clip": CLIP, "abstractor": ABSTRACTOR, "backbone": BACKBONE}


def make_tiny_model(kind: str = "cnn", seed: int = 0, **changes):
    """A random network and its tokenizer; ``kind`` is cnn, clip, abstractor or backbone."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(TEXTS, 600)
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = DepictQAModel(DepictQAConfig(**{**KINDS[kind], "language": language, **changes}))
    return model.eval(), tokenizer


def make_tiny_checkpoint(folder, kind: str = "cnn", seed: int = 0, **changes) -> Path:
    """Write a tiny random checkpoint folder and return its path."""
    model, tokenizer = make_tiny_model(kind, seed, **changes)
    card = {"name": f"tiny-{kind}", "version": "0", "license": "Apache-2.0", "trained_on": "nothing: random weights"}
    save_checkpoint(folder, model, tokenizer, card)
    return Path(folder)


def make_tiny_encoder(folder, seed: int = 0) -> Path:
    """Write a random BERT with a word tokenizer, in the files of a Hugging Face folder, and return its path."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"image a b has slight noise , but is good .".split()]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(folder)
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return Path(folder)
