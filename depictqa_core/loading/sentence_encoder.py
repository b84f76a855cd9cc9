"""A sentence encoder out of a local folder, such as all-MiniLM-L6-v2: texts in, unit vectors out.

It weighs the words of detailed answers for their confidence (facts 4). No network, no code from the folder, no pickles.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, quoted
from ..storage.documents import read_json
from ..storage.rules import problem, whole

BATCH = 64
"""Texts that are encoded at once."""
LONGEST = 512
"""Tokens of a text beyond which it is cut, where the folder says nothing else."""


class SentenceEncoder:
    """Any ``AutoModel`` of text with mean pooling over its last hidden states.

    Args:
        folder: a Hugging Face folder with safetensors weights and a tokenizer.
        device: torch device.

    Raises:
        CheckpointError: the folder is missing, incomplete, or not such a model.
    """

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.folder = Path(folder)
        if not (self.folder / "config.json").is_file():
            raise CheckpointError(
                f"sentence encoder '{folder}' is no folder of a model (no config.json in it): give one such as"
                " all-MiniLM-L6-v2, with model.safetensors and tokenizer"
            )
        import torch
        from transformers import AutoModel, AutoTokenizer

        from .checkpoint import quiet

        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet(), torch.device("cpu"):  # whatever device is the default of the process
                self.tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
                self.model, report = AutoModel.from_pretrained(
                    str(folder), use_safetensors=True, output_loading_info=True, torch_dtype=torch.float32, **safe
                )
            self.model = self.model.float().eval().to(device)
        except Exception as error:  # whatever a damaged folder makes the libraries raise
            raise CheckpointError(
                f"sentence encoder '{folder}' cannot be read ({quoted(error)}); get the folder again"
            ) from error
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise CheckpointError(f"sentence encoder '{folder}' lacks weights ({', '.join(missing[:3])}); get it again")
        self.longest = self._longest()

    def _longest(self) -> int:
        """The length that the encoder was trained for, as the sentence-transformers library notes it."""
        noted = self.folder / "sentence_bert_config.json"
        limits = [LONGEST, self.tokenizer.model_max_length]
        if noted.is_file():
            where = f"sentence encoder '{self.folder}': {noted.name}"
            noted = read_json(noted, where=where, error=CheckpointError)
            if wrong := problem(noted, {"max_seq_length": whole(1, 2**20)}):
                raise CheckpointError(f"{where}: {wrong}; download the folder again")
            limits.append(noted.get("max_seq_length", LONGEST))
        return min(limits)

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors, float32 [N, D]."""
        import torch

        vectors = []
        for start in range(0, len(texts), BATCH):
            batch = self.tokenizer(
                list(texts[start : start + BATCH]),
                padding=True,
                truncation=True,
                max_length=self.longest,
                return_tensors="pt",
            ).to(self.model.device)
            with torch.inference_mode():
                hidden = self.model(**batch).last_hidden_state  # [B, T, D]
            mask = batch["attention_mask"][..., None].to(hidden)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            vectors.append(torch.nn.functional.normalize(mean, dim=1).cpu().numpy())
        return np.concatenate(vectors)
