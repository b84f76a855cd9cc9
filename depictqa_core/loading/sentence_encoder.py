"""A sentence encoder from a local folder, such as all-MiniLM-L6-v2: from texts to unit vectors.

It weights the words of detailed answers for their confidence (method.md 4). No network access, no code from the folder,
no pickles.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import CheckpointError, quoted
from ..storage.documents import read_json
from ..storage.rules import problem, whole

BATCH = 64
"""Batch size in texts."""
LONGEST = 512
"""Maximum length of a text in tokens if the folder does not set one."""


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
                f"sentence encoder '{folder}' is not a model folder (it has no config.json): give one such as"
                " all-MiniLM-L6-v2, with model.safetensors and tokenizer"
            )
        import torch
        from transformers import AutoModel, AutoTokenizer

        from ..runtime.quiet import quiet

        safe = {"local_files_only": True, "trust_remote_code": False}
        try:
            with quiet(), torch.device("cpu"):  # independent of the default device of the process
                self.tokenizer = AutoTokenizer.from_pretrained(str(folder), **safe)
                self.model, report = AutoModel.from_pretrained(
                    str(folder), use_safetensors=True, output_loading_info=True, torch_dtype=torch.float32, **safe
                )
            self.model = self.model.float().eval().to(device)
        except Exception as error:  # a damaged folder may raise any error
            raise CheckpointError(
                f"sentence encoder '{folder}' cannot be read ({quoted(error)}); download it again"
            ) from error
        missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
        if missing:
            raise CheckpointError(
                f"sentence encoder '{folder}' lacks weights ({', '.join(missing[:3])}); download it again"
            )
        self.longest = self._longest()

    def _longest(self) -> int:
        """Return the maximum length of the encoder, as stored by the sentence-transformers library."""
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
        """Encode texts as unit vectors, float32 [N, D]."""
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
