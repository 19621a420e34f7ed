"""Encode texts as token ids: data sets as Arrow files that are reused by digest, and texts in memory."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from textclf.config.schema import ArchitectureConfig, EncodingConfig, ModelConfig
from textclf.config.sources import Split
from textclf.data.prepared import read_split
from textclf.errors import ConfigError, DataError, ModelError
from textclf.language import _
from textclf.progress import progress_bar
from textclf.records import EncodedData, FetchedModel, PreparedData
from textclf.store import building, digest_of, file_sha256, find, publish

if TYPE_CHECKING:
    from transformers import BatchEncoding, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# Part of the digest: raise it when the same texts would be encoded differently.
ENCODING_VERSION = 1
ROWS_PER_BATCH = 4096
WEIGHTS_AND_SHAPE = re.compile(r"\.safetensors(\.index\.json)?$|^config\.json$")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Above this share of unknown tokens, the vocabulary is not one for the language of the texts.
LARGEST_UNKNOWN_SHARE = 0.5


def encode(
    prepared: PreparedData, fetched: FetchedModel | None, *, model: ModelConfig, encoding: EncodingConfig, folder: Path
) -> EncodedData:
    """Encodes every split of a prepared data set as token ids, or reuses the result of an earlier run.

    Each split becomes an Arrow stream file `<split>.arrow` with columns row: int64, input_ids: list<int32> (with
    special tokens, truncated to `max_length`, not padded), length: int32, label: int64. Pairs of texts (with a column
    `text_pair`) become one sequence, the longer text truncated first, with a column token_type_ids: list<int32> if the
    tokenizer produces it. A column `weight` of the training rows is kept: float32.

    The tokenizer is that of the fetched model; without one, its vocabulary is the file in `model.architecture` or is
    built from the training text. `folder` holds one subfolder per digest.

    Raises:
        ModelError: The tokenizer cannot be loaded or has no vocabulary.
        ConfigError: The vocabulary file cannot be read.
        DataError: The vocabulary is not one for the language of the texts.
        StorageError: The disk is full or not writable.
    """
    digest = digest_of(
        ENCODING_VERSION,
        prepared.digest,
        prepared.split_digests,
        tokenizer_identity(fetched, model.architecture),
        encoding.max_length,
    )
    target = folder / digest
    found = find(target, EncodedData)
    if found:
        logger.info("Tokenize: reusing the result of an earlier run (digest %s).", digest[:12])
        return found
    with building(target) as temporary:
        if fetched:
            tokenizer = load_tokenizer(fetched.folder)
        else:
            train = read_split(prepared, "train")
            tokenizer = new_tokenizer(chain(train.texts, train.pairs or ()), model.architecture, temporary)
        tokenizer.save_pretrained(temporary / "tokenizer")
        tokens = unknown = 0
        truncated: dict[Split, int] = {}
        for split in prepared.rows:
            counts = encode_file(
                prepared.folder / f"{split}.parquet", temporary / f"{split}.arrow", tokenizer, encoding
            )
            truncated[split] = counts["truncated"]
            if split == "train":
                tokens, unknown = counts["tokens"], counts["unknown"]
        if unknown > LARGEST_UNKNOWN_SHARE * tokens:
            raise DataError(
                f"The tokenizer knows only {1 - unknown / tokens:.0%} of the training text's tokens: its vocabulary "
                "is for another language or damaged. Choose a model made for the language of the texts."
            )
        record = EncodedData(
            digest=digest,
            folder=target,
            vocabulary_size=len(tokenizer),
            max_length=encoding.max_length,
            rows=prepared.rows,
            truncated=truncated,
            mean_tokens=tokens / max(prepared.rows["train"], 1),
            unknown_share=unknown / max(tokens, 1),
            cached=False,
        )
        record = publish(temporary, target, record)
    logger.info(
        "Tokenize: %s texts, %.0f tokens on average, %.1f %% of the training texts truncated to %d tokens.",
        f"{sum(prepared.rows.values()):,}",
        record.mean_tokens,
        100 * truncated["train"] / max(prepared.rows["train"], 1),
        encoding.max_length,
    )
    return record


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Loads a fast tokenizer from a model folder, without network access.

    Raises:
        ModelError: The folder has no fast tokenizer, or one with hardly any vocabulary.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, use_fast=True, local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"The tokenizer in {folder} cannot be loaded: {error}\n"
            "Expected tokenizer.json, or vocab.txt with tokenizer_config.json."
        ) from error
    # A tokenizer that does not find its vocabulary loads silently with the special tokens alone.
    if not tokenizer.is_fast or len(tokenizer) <= 2 * len(SPECIAL_TOKENS):
        raise ModelError(
            f"The tokenizer in {folder} has {len(tokenizer)} tokens: its vocabulary is missing, or "
            "it is not a fast tokenizer."
        )
    return tokenizer


def token_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], text_pairs: Sequence[str] | None, *, max_length: int
) -> BatchEncoding:
    """Turns cleaned texts, or pairs of them, into token ids, for training and prediction alike.

    Sequences are truncated to `max_length` tokens; of a pair, the longer text first.

    Returns:
        `input_ids`, not padded, and for pairs `token_type_ids` if the tokenizer produces them: lists of lists.
    """
    encoded: BatchEncoding = tokenizer(
        list(texts),
        None if text_pairs is None else list(text_pairs),
        truncation="longest_first",
        max_length=max_length,
        padding=False,
        return_attention_mask=False,
        # None leaves it to the tokenizer, which knows whether its model accepts them.
        return_token_type_ids=False if text_pairs is None else None,
    )
    return encoded


def build_vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Builds a WordPiece vocabulary: special tokens, characters, then words, each by frequency.

    Every character gets an entry, also as the continuation of a word: as far as `size` allows, the training texts have
    no unknown tokens.

    Returns:
        The tokens in the order of their ids.
    """
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    normalizer, splitter = BertNormalizer(lowercase=True), BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    pieces: Counter[str] = Counter()
    for word, count in words.items():
        pieces[word[0]] += count
        for character in word[1:]:
            pieces[f"##{character}"] += count
    # Ties are broken by the token, so that the same texts always give the same ids.
    by_frequency = sorted(pieces.items(), key=lambda item: (-item[1], item[0]))
    frequent = sorted(
        ((word, count) for word, count in words.items() if len(word) > 1 and count > 1), key=lambda i: (-i[1], i[0])
    )
    ordered = dict.fromkeys([*SPECIAL_TOKENS, *(token for token, _ in by_frequency), *(token for token, _ in frequent)])
    return list(ordered)[:size]


def tokenizer_identity(fetched: FetchedModel | None, architecture: ArchitectureConfig) -> object:
    """Returns what decides, with the texts that a vocabulary is built from, how texts are tokenized; for a digest.

    Raises:
        ConfigError: There is no vocabulary file.
    """
    if fetched:
        return [(file.path, file.sha256) for file in fetched.files if not WEIGHTS_AND_SHAPE.search(file.path)]
    if architecture.vocabulary_path:
        return file_sha256(_existing(architecture.vocabulary_path))
    return architecture.vocabulary_size


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise ConfigError(f"model.architecture.vocabulary_path: there is no file {path.absolute()}.")
    return path


def new_tokenizer(texts: Iterable[str], architecture: ArchitectureConfig, folder: Path) -> PreTrainedTokenizerBase:
    """Makes BERT's tokenizer with the vocabulary file of an architecture, or with one built from texts.

    Args:
        texts: Read only if there is no file.
        architecture: Names the file, or the size.
        folder: Where a temporary file may lie.

    Raises:
        ConfigError: The vocabulary file cannot be used.
    """
    from transformers import BertTokenizer

    vocabulary_file = folder / "vocab.txt"
    if architecture.vocabulary_path:
        vocabulary = _read_vocabulary(architecture.vocabulary_path)
    else:
        vocabulary = build_vocabulary(texts, architecture.vocabulary_size)
    vocabulary_file.write_text("".join(f"{token}\n" for token in vocabulary), encoding="utf-8")
    tokenizer: PreTrainedTokenizerBase = BertTokenizer(vocab=str(vocabulary_file))
    vocabulary_file.unlink()
    return tokenizer


def _read_vocabulary(path: Path) -> list[str]:
    try:
        lines = _existing(path).read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"model.architecture.vocabulary_path: {path} is not UTF-8 (byte {error.start}).") from error
    # A repeated token would leave ids beyond the length of the vocabulary.
    vocabulary = list(dict.fromkeys(line.rstrip("\r") for line in lines if line.rstrip("\r")))
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing or len(vocabulary) <= 2 * len(SPECIAL_TOKENS):
        raise ConfigError(
            f"model.architecture.vocabulary_path: {path} lacks {missing or 'all but special tokens'}: expected a BERT "
            "vocabulary, one token per line."
        )
    return vocabulary


def encode_file(
    source: Path, target: Path, tokenizer: PreTrainedTokenizerBase, encoding: EncodingConfig
) -> dict[str, int]:
    """Encodes a Parquet file of cleaned texts as an Arrow stream file; `encode` describes the columns of both.

    Returns:
        The number of `tokens`, of `unknown` ones among them, and of `truncated` texts.

    Raises:
        OSError: The file cannot be read or written.
    """
    counts = {"tokens": 0, "unknown": 0, "truncated": 0}
    file = pq.ParquetFile(source)
    given = file.schema_arrow.names
    pairs, weighted = "text_pair" in given, "weight" in given
    typed = pairs and "token_type_ids" in tokenizer.model_input_names
    fields = [("row", pa.int64()), ("input_ids", pa.list_(pa.int32()))]
    fields += [("token_type_ids", pa.list_(pa.int32()))] if typed else []
    fields += [("length", pa.int32()), ("label", pa.int64())]
    fields += [("weight", pa.float32())] if weighted else []
    schema = pa.schema(fields)
    wanted = [name for name in ("row", "text", "text_pair", "label", "weight") if name in given]
    with (
        pa.OSFile(str(target), "wb") as sink,
        pa.ipc.new_stream(sink, schema) as writer,
        progress_bar(
            total=file.metadata.num_rows,
            desc=_("Tokenize {split}").format(split=source.stem),
            unit="texts",
            leave=False,
        ) as bar,
    ):
        for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=wanted):
            # The fast tokenizer works on a batch with all cores.
            encoded = token_ids(
                tokenizer,
                batch.column("text").to_pylist(),
                batch.column("text_pair").to_pylist() if pairs else None,
                max_length=encoding.max_length,
            )
            ids = encoded["input_ids"]
            lengths = [len(sequence) for sequence in ids]
            columns = {
                **{name: batch.column(name) for name in ("row", "label", "weight") if name in wanted},
                **{name: pa.array(encoded[name], pa.list_(pa.int32())) for name in encoded},
                "length": pa.array(lengths, pa.int32()),
            }
            writer.write_batch(pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema))
            counts["tokens"] += sum(lengths)
            counts["truncated"] += sum(bool(item.overflowing) for item in encoded.encodings or ())
            counts["unknown"] += sum(sequence.count(tokenizer.unk_token_id) for sequence in ids)
            bar.update(len(ids))
    return counts
