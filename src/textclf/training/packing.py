"""Unlabelled texts as token ids in sequences of one length, one text after the other, with the borders of words."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from textclf.config.adaptation import AdaptationConfig
from textclf.config.schema import ArchitectureConfig
from textclf.config.sources import Split
from textclf.errors import DataError, ModelError
from textclf.language import _
from textclf.model.tokens import (
    LARGEST_UNKNOWN_SHARE,
    SPECIAL_TOKENS,
    load_tokenizer,
    new_tokenizer,
    tokenizer_identity,
)
from textclf.progress import progress_bar
from textclf.records import CollectedTexts, FetchedModel, PackedTexts
from textclf.store import building, digest_of, find, publish

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Part of the digest: raise it when the same texts would be packed differently.
PACKING_VERSION = 1
TEXTS_PER_BATCH = 4096
SMALLEST_VOCABULARY = 50
WORD_START, SPECIAL, TEXT_START, MASKED_FIRST = 1, 2, 4, 8
"""Flags of a token: it begins a word, is a special token, begins a text, is in a word that is masked first."""


@dataclass(frozen=True)
class Sequences:
    """The packed texts of a split, mapped into memory.

    Attributes:
        ids: Token ids: int32[sequences, sequence_length].
        flags: What each token is, such as `WORD_START`: uint8 of the same shape.
    """

    ids: NDArray[np.int32]
    flags: NDArray[np.uint8]


def pack(
    texts: CollectedTexts,
    fetched: FetchedModel | None,
    *,
    architecture: ArchitectureConfig,
    adaptation: AdaptationConfig,
    folder: Path,
) -> PackedTexts:
    """Tokenizes texts and packs them into sequences, or reuses the result of an earlier run.

    Each text has the special tokens that it would have alone. A text that does not fit goes on in the next sequence;
    what is left at the end of a split is dropped. Words are those of jieba's dictionary and model, for Chinese; in
    other languages, those between spaces.

    What stands in `masked_first` counts as one word. The tokenizer is that of the fetched model; without one, its
    vocabulary is the file in `architecture` or is built from the texts. `folder` holds one subfolder per digest.

    Raises:
        ModelError: The tokenizer cannot be loaded, or has no `[MASK]`.
        ConfigError: The vocabulary file cannot be read.
        DataError: The texts are too few for a vocabulary, or for one step of training; or the vocabulary is not one for
            their language.
        StorageError: The disk is full or not writable.
    """
    length, masked_first, batch_size = (
        adaptation.sequence_length,
        adaptation.masked_first,
        adaptation.per_device_train_batch_size,
    )
    digest = digest_of(PACKING_VERSION, texts.digest, tokenizer_identity(fetched, architecture), length, masked_first)
    target = folder / digest
    if found := find(target, PackedTexts):
        logger.info("Tokenize: reusing the result of an earlier run (digest %s).", digest[:12])
        _check_enough(found, batch_size)
        return found
    with building(target) as temporary:
        tokenizer = load_tokenizer(fetched.folder) if fetched else new_tokenizer(_texts(texts), architecture, temporary)
        _check_tokenizer(tokenizer, fetched)
        tokenizer.save_pretrained(temporary / "tokenizer")
        packers = {split: _Packer(tokenizer, temporary / split, length, masked_first) for split in texts.rows}
        for split, packer in packers.items():
            packer.pack(_batches(texts, split), total=texts.rows[split])
        train = packers["train"]
        if train.unknown > LARGEST_UNKNOWN_SHARE * train.tokens:
            raise DataError(
                f"The tokenizer knows only {1 - train.unknown / train.tokens:.0%} of the texts' tokens: its vocabulary "
                "is for another language or damaged. Choose a model made for the language of the texts."
            )
        record = PackedTexts(
            digest=digest,
            folder=target,
            vocabulary_size=len(tokenizer),
            sequence_length=length,
            sequences={split: packer.sequences for split, packer in packers.items()},
            tokens=train.tokens,
            words=train.words,
            unknown_share=train.unknown / max(train.tokens, 1),
            cached=False,
        )
        _check_enough(record, batch_size)
        record = publish(temporary, target, record)
    logger.info(
        "Tokenize: %s tokens of %s words in %s sequences of %d tokens; %.2f %% of the tokens are unknown.",
        f"{record.tokens:,}",
        f"{record.words:,}",
        f"{record.sequences['train']:,}",
        length,
        100 * record.unknown_share,
    )
    return record


def read_sequences(packed: PackedTexts, split: Split) -> Sequences:
    """Maps the sequences of a split into memory."""
    shape = (packed.sequences[split], packed.sequence_length)
    ids = np.memmap(packed.folder / f"{split}.ids", dtype="<i4", mode="r", shape=shape)
    flags = np.memmap(packed.folder / f"{split}.flags", dtype=np.uint8, mode="r", shape=shape)
    return Sequences(ids, flags)


class _Packer:
    """Writes the sequences of one split; the attributes count what was written."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, target: Path, sequence_length: int, masked_first: Sequence[str]
    ) -> None:
        import rjieba

        self._tokenizer = tokenizer
        self._target = target
        self._length = sequence_length
        self._words_of = rjieba.Jieba().tokenize
        # The longest of those that begin at a place.
        given = sorted(map(re.escape, masked_first), key=len, reverse=True)
        self._masked_first = re.compile("|".join(given)) if given else None
        self.sequences = self.tokens = self.words = self.unknown = 0

    def pack(self, batches: Iterator[list[str]], *, total: int) -> None:
        ids, flags = np.empty(0, dtype="<i4"), np.empty(0, dtype=np.uint8)
        desc = _("Tokenize {split}").format(split=self._target.name)
        with ExitStack() as stack:
            bar = stack.enter_context(progress_bar(total=total, desc=desc, unit="texts", leave=False))
            files = [stack.enter_context(self._target.with_suffix(end).open("wb")) for end in (".ids", ".flags")]
            for texts in batches:
                new_ids, new_flags = self._encoded(texts)
                ids, flags = np.concatenate([ids, new_ids]), np.concatenate([flags, new_flags])
                full = len(ids) // self._length * self._length
                files[0].write(ids[:full].tobytes())
                files[1].write(flags[:full].tobytes())
                ids, flags = ids[full:], flags[full:]
                self.sequences += full // self._length
                bar.update(len(texts))

    def _encoded(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
        """Returns ids and flags of some texts, one after the other."""
        encodings: Any = self._tokenizer(list(texts)).encodings
        ids = np.fromiter((token for item in encodings for token in item.ids), "<i4")
        special = np.fromiter((flag for item in encodings for flag in item.special_tokens_mask), bool)
        places = np.fromiter((start for item in encodings for start, _ in item.offsets), np.int64)
        lengths = [len(item) for item in encodings]
        characters = np.array([len(text) for text in texts])
        # The word of each character, all texts in a row.
        sizes = [end - start for text in texts for _, start, end in self._words_of(text)]
        word_of = np.repeat(np.arange(len(sizes)), sizes)
        bases = np.cumsum(characters) - characters
        masked_first = np.zeros(len(word_of), dtype=bool)
        for begin, end in self._spans(texts, bases.tolist()):
            masked_first[begin:end] = True
            word_of[begin:end] = len(sizes) + begin
        at = np.repeat(bases, lengths) + places
        at[special] = 0
        words = np.where(special, -1, word_of[at])
        begins = np.concatenate([[True], words[1:] != words[:-1]]) & ~special
        flags: NDArray[np.uint8] = (begins * WORD_START + special * SPECIAL).astype(np.uint8)
        flags[np.cumsum(lengths) - lengths] |= TEXT_START
        flags[masked_first[at] & ~special] |= MASKED_FIRST
        self.tokens += int((~special).sum())
        self.words += int(begins.sum())
        self.unknown += int((ids == self._tokenizer.unk_token_id).sum())
        return ids, flags

    def _spans(self, texts: Sequence[str], bases: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yields where words that are masked first stand in the characters of all texts."""
        if self._masked_first:
            for text, base in zip(texts, bases, strict=True):
                for match in self._masked_first.finditer(text):
                    yield base + match.start(), base + match.end()


def _texts(texts: CollectedTexts) -> Iterator[str]:
    return (text for batch in _batches(texts, "train") for text in batch)


def _batches(texts: CollectedTexts, split: Split) -> Iterator[list[str]]:
    for batch in pq.ParquetFile(texts.folder / f"{split}.parquet").iter_batches(TEXTS_PER_BATCH, columns=["text"]):
        yield batch.column("text").to_pylist()


def _check_tokenizer(tokenizer: PreTrainedTokenizerBase, fetched: FetchedModel | None) -> None:
    if fetched and tokenizer.mask_token_id is None:
        raise ModelError(
            f"The tokenizer from {fetched.origin} has no mask token such as [MASK], so its model was not trained to "
            "guess masked words and cannot be adapted. Choose an encoder such as bert-base-chinese."
        )
    if not fetched and len(tokenizer) < SMALLEST_VOCABULARY:
        found = len(tokenizer) - len(SPECIAL_TOKENS)
        raise DataError(
            f"The texts are too few for a vocabulary: they have {found} different characters and words, and "
            f"{SMALLEST_VOCABULARY - len(SPECIAL_TOKENS)} are needed. Add texts to data.files, name a vocabulary in "
            "model.architecture.vocabulary_path, or adapt an existing encoder (model.sources)."
        )


def _check_enough(packed: PackedTexts, batch_size: int) -> None:
    if packed.sequences["train"] < batch_size or not packed.sequences.get("validation"):
        raise DataError(
            f"There is too little text: it fills {packed.sequences['train']:,} sequences of {packed.sequence_length} "
            f"tokens to train on and {packed.sequences.get('validation', 0):,} to validate. One step needs "
            f"{batch_size:,} (adaptation.per_device_train_batch_size), and validation one.\nAdd texts to data.files, "
            "raise data.validation_fraction, or lower adaptation.sequence_length or the batch size."
        )
