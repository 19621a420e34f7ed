"""Selects the files of a repository or folder that are needed, and assigns them to splits.

Paths are relative to the repository or folder and have forward slashes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from textclf.config.sources import SPLITS, Split
from textclf.errors import DataError, HubError, first_lines
from textclf.reading.detection import TEXT_ENDING, data_ending

# In order of preference: Parquet has types, and neither encodings nor quotes must be guessed.
DATA_FORMATS = (".parquet", ".jsonl", ".ndjson", ".tsv", ".csv", ".xlsx", ".xls", ".ods", ".zip", TEXT_ENDING)
"""Endings of data files. Text formats may also be compressed, e.g. `.csv.gz`."""

_MODEL_FILES = frozenset(
    {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
    }
)
_WEIGHTS = "model.safetensors"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_WEIGHTS_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_OTHER_WEIGHTS = re.compile(r"(pytorch_model.*\.bin|.*\.(pt|pth|h5|msgpack|ckpt|onnx|ot|gguf)|.*\.ckpt\..*)")
_SPLIT_NAMES: tuple[tuple[str, Split], ...] = (
    ("train", "train"),
    ("validation", "validation"),
    ("valid", "validation"),
    ("dev", "validation"),
    ("test", "test"),
)
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})")
_SPLIT_TEXT = re.compile(r"(train|validation|valid|dev|test)([._-]?(set|data|\d+|of))*\.txt(\.\w+)?", re.IGNORECASE)


def select_model_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Picks configuration, tokenizer and safetensors weights, but no other format of the same weights.

    A repository without weights is accepted: its architecture and vocabulary can still be used.

    Returns:
        The needed paths, sorted.

    Raises:
        HubError: There is no `config.json`, or the weights exist only in unsupported formats.
    """
    existing = sorted(paths)
    top = [path for path in existing if "/" not in path]
    if "config.json" not in top:
        raise HubError(f"no config.json, so this is not a model; {_listed(existing)}")
    chosen = [path for path in top if path in _MODEL_FILES or path.endswith(".model")]
    shards = [path for path in top if _WEIGHTS_SHARD.fullmatch(path)]
    if _WEIGHTS in top:
        chosen.append(_WEIGHTS)
    elif _WEIGHTS_INDEX in top and shards:
        chosen.extend([_WEIGHTS_INDEX, *shards])
    elif others := [path for path in top if _OTHER_WEIGHTS.fullmatch(path)]:
        raise HubError(
            f"the weights exist only as {', '.join(others)}, but only safetensors are read, because other formats can "
            "run code when they are loaded. Use another source that has model.safetensors, or, if you trust the file, "
            'convert it with `python -c "from transformers import AutoModel, AutoTokenizer; '
            "[kind.from_pretrained('FOLDER').save_pretrained('CONVERTED') for kind in (AutoModel, AutoTokenizer)]\"`, "
            "and use the result as a `local` source"
        )
    return tuple(sorted(chosen))


def find_splits(paths: Iterable[str], patterns: Mapping[Split, str]) -> dict[Split, tuple[str, ...]]:
    """Finds the files of each split by its path or glob pattern; without patterns, by file name.

    Returns:
        The sorted paths of each split found; always includes `train`.

    Raises:
        HubError: A pattern matches nothing, no training file is found, or several files that are not shards of one
            file claim the same split. The message lists the existing files.
    """
    existing = sorted(paths)
    if patterns:
        return _splits_by_pattern(existing, patterns)
    found: dict[Split, list[str]] = {}
    for path in data_files(existing):
        split = split_of(path)
        if split is not None:
            found.setdefault(split, []).append(path)
    if "train" not in found:
        raise HubError(
            "no training file: expected a name that begins with `train` and ends in "
            f"{', '.join(DATA_FORMATS)}; or name the files in `files` of the source; {_listed(existing)}"
        )
    return {split: _one_set(split, found[split]) for split in SPLITS if split in found}


def _splits_by_pattern(existing: Sequence[str], patterns: Mapping[Split, str]) -> dict[Split, tuple[str, ...]]:
    if "train" not in patterns:
        raise HubError("`files` of the source has no pattern for `train`")
    splits: dict[Split, tuple[str, ...]] = {}
    for split, pattern in patterns.items():
        matched = tuple(path for path in existing if path == pattern or fnmatchcase(path, pattern))
        if not matched:
            raise HubError(f"no file matches {pattern!r}, the pattern for {split} in `files`; {_listed(existing)}")
        splits[split] = matched
    return splits


def name_splits(paths: Iterable[str]) -> dict[Split, tuple[str, ...]]:
    """Assigns each of the files to a split.

    Returns:
        The sorted paths of each split, by names that begin with train, validation, valid, dev or test (in any case).
        If no name does, or there is only one file, everything is `train`.

    Raises:
        DataError: Some names indicate a split and others do not.
    """
    existing = sorted(paths)
    found: dict[Split | None, list[str]] = {}
    for path in existing:
        found.setdefault(split_of(path), []).append(path)
    if len(existing) == 1 or found.keys() == {None}:
        return {"train": tuple(existing)}
    if None in found:
        named = [f"{path} ({split})" for split in SPLITS for path in found.get(split, ())]
        raise DataError(
            f"Some file names indicate a split:\n{first_lines(named)}\nand others do not:\n"
            f"{first_lines(found[None])}\nUse files of one kind only, rename some (names that begin with train, "
            "validation, valid, dev or test indicate the split), or list them by split in `files` of a local source in "
            "a configuration."
        )
    return {split: tuple(found[split]) for split in SPLITS if split in found}


def data_files(paths: Iterable[str]) -> list[str]:
    """Picks the data files of a folder or repository when none is named.

    A .txt file is usually something else (a vocabulary, a licence, a list of requirements). It counts only if it is
    named like a split, e.g. train.txt, test_set.txt or dev-1.txt, and if there are no data files in other formats.
    """
    found = [path for path in paths if data_ending(path)]
    others = [path for path in found if not str(data_ending(path)).startswith(TEXT_ENDING)]
    return others or [path for path in found if _SPLIT_TEXT.fullmatch(PurePosixPath(path).name)]


def split_of(path: str) -> Split | None:
    """Returns the split that the name of a data file begins with; None for other names and other files."""
    name = PurePosixPath(path).name.lower()
    if data_ending(name) is None:
        return None
    return next((split for prefix, split in _SPLIT_NAMES if name.startswith(prefix)), None)


def _one_set(split: Split, paths: Sequence[str]) -> tuple[str, ...]:
    # `.csv.gz` counts as `.csv`.
    by_format = {
        format_: [path for path in paths if f"{data_ending(path)}.".startswith(f"{format_}.")]
        for format_ in DATA_FORMATS
    }
    chosen = next(candidates for candidates in by_format.values() if candidates)
    if len(chosen) == 1:
        return tuple(chosen)
    shards = [(path, _SHARD.search(PurePosixPath(path).name)) for path in chosen]
    stems = {path[: path.rindex(match.group())] for path, match in shards if match}
    totals = {int(match.group(2)) for _, match in shards if match}
    if all(match for _, match in shards) and len(stems) == 1 and totals == {len(chosen)}:
        return tuple(chosen)
    raise HubError(
        f"several files could be the {split} split, and they are not the complete shards of one file; name those to "
        f"use in `files` of the source:\n{first_lines(chosen)}"
    )


def _listed(existing: Sequence[str]) -> str:
    return f"existing files:\n{first_lines(existing)}" if existing else "it is empty"
