"""Texts to token ids for prediction, by the library `tokenizers` alone: no torch, no transformers.

Training encodes with the tokenizer class of transformers (`textclf.model.tokens`), which calls the same library with
the same `tokenizer.json`; tests compare both.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from textclf.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENIZER, _SETTINGS = "tokenizer.json", "tokenizer_config.json"


@dataclass(frozen=True)
class TokenIds:
    """Token ids of some texts, without padding.

    Attributes:
        ids: int64[tokens of all texts], one text after the other.
        types: 0 or 1 for the first or second text of a pair, of the same shape; None for single texts.
        lengths: Tokens of each text: int64[texts].
        pad_id: The id that pads a batch.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64] | None
    lengths: NDArray[np.int64]
    pad_id: int

    def padded(
        self, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Returns ids, mask and types of a batch, each int64[rows, longest of them], as `Engine.logits` takes them."""
        lengths = self.lengths[rows]
        starts = (np.cumsum(self.lengths) - self.lengths)[rows]
        positions = np.arange(lengths.max())
        is_token = positions < lengths[:, None]
        places = (starts[:, None] + positions)[is_token]
        ids = np.full(is_token.shape, self.pad_id, dtype=np.int64)
        ids[is_token] = self.ids[places]
        types = None
        if self.types is not None:
            types = np.zeros(is_token.shape, dtype=np.int64)
            types[is_token] = self.types[places]
        # Without a mask, attention takes its fastest path.
        return ids, None if is_token.all() else is_token.astype(np.int64), types


class TextTokenizer:
    """The tokenizer of a model folder, with truncation to `max_length` tokens; of a pair, the longer text first."""

    def __init__(self, tokenizer: Tokenizer, pad_id: int) -> None:
        self._tokenizer = tokenizer
        self.pad_id = pad_id

    @classmethod
    def load(cls, folder: Path, *, max_length: int) -> TextTokenizer:
        """Loads the tokenizer that `save_pretrained` of a fast tokenizer wrote.

        Raises:
            ModelError: A file is missing or damaged.
        """
        from tokenizers import Tokenizer

        try:
            settings: dict[str, Any] = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
            # `from_file` reports a missing file only as a plain Exception.
            content = (folder / _TOKENIZER).read_text(encoding="utf-8")
            tokenizer = Tokenizer.from_str(content)
            given = settings["pad_token"]
            pad_token = given["content"] if isinstance(given, dict) else given
            pad_id = tokenizer.token_to_id(pad_token)
            if pad_id is None:
                raise ValueError(f"its vocabulary lacks the padding token {pad_token!r}")
            tokenizer.no_padding()
            direction = settings.get("truncation_side", "right")
            tokenizer.enable_truncation(max_length, strategy="longest_first", direction=direction)
        # The library raises plain Exceptions.
        except Exception as error:
            raise ModelError(
                f"The tokenizer in {folder} cannot be loaded: {error}\nExpected {_TOKENIZER} and {_SETTINGS}, as "
                "training writes them."
            ) from error
        return cls(tokenizer, pad_id)

    def encode(self, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> TokenIds:
        """Turns cleaned texts, or pairs of them, into token ids with special tokens, using all cores."""
        given: Any = list(texts) if text_pairs is None else list(zip(texts, text_pairs, strict=True))
        encodings = self._tokenizer.encode_batch_fast(given)
        lengths = np.fromiter((len(item) for item in encodings), np.int64, len(encodings))
        total = int(lengths.sum())
        ids = np.fromiter((token for item in encodings for token in item.ids), np.int64, total)
        types = None
        if text_pairs is not None:
            types = np.fromiter((kind for item in encodings for kind in item.type_ids), np.int64, total)
        return TokenIds(ids, types, lengths, self.pad_id)
