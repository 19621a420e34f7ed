"""Which files of a repository or folder are needed, and which split each of them belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from textclf.config.sources import SPLITS, Split
from textclf.errors import DataError, HubError, first_lines
from textclf.reading.detection import TEXT_ENDING, data_ending

# In the order of preference: Parquet carries types and needs no guessing of encodings or quotes.
DATA_FORMATS = (".parquet", ".jsonl", ".ndjson", ".tsv", ".csv", ".xlsx", ".xls", ".ods", ".zip", TEXT_ENDING)
"""Endings of data files; those of text files may be followed by that of a compression, e.g. `.csv.gz`."""

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
    """Picks configuration, tokenizer and safetensors weights; nothing twice in another format.

    A repository without any weights is accepted: its shape and vocabulary can still be used.

    Args:
        paths: All files of the repository, with forward slashes.

    Returns:
        The needed paths, sorted.

    Raises:
        HubError: There is no `config.json`, or the weights exist only in formats that are not read.
    """
    existing = sorted(paths)
    top = [path for path in existing if "/" not in path]
    if "config.json" not in top:
        raise HubError(f"holds no config.json, so it is no model; {_listed(existing)}")
    chosen = [path for path in top if path in _MODEL_FILES or path.endswith(".model")]
    shards = [path for path in top if _WEIGHTS_SHARD.fullmatch(path)]
    if _WEIGHTS in top:
        chosen.append(_WEIGHTS)
    elif _WEIGHTS_INDEX in top and shards:
        chosen.extend([_WEIGHTS_INDEX, *shards])
    elif others := [path for path in top if _OTHER_WEIGHTS.fullmatch(path)]:
        raise HubError(
            f"has its weights only as {', '.join(others)}, and only safetensors are read, because other formats can "
            "run code when they are loaded. Take another source that has model.safetensors, or convert it on a "
            'machine where you trust the file, with `python -c "from transformers import AutoModel, AutoTokenizer; '
            "[kind.from_pretrained('FOLDER').save_pretrained('CONVERTED') for kind in (AutoModel, AutoTokenizer)]\"`, "
            "and use the result as a `local` source"
        )
    return tuple(sorted(chosen))


def find_splits(paths: Iterable[str], patterns: Mapping[Split, str]) -> dict[Split, tuple[str, ...]]:
    """Says which files make up which split.

    Args:
        paths: All files of the repository or folder, with forward slashes.
        patterns: Path or glob pattern by split; empty to recognise splits by file names.

    Returns:
        The paths of each split that was found, sorted; `train` is always among them.

    Raises:
        HubError: A pattern matches nothing, no training file is found, or several files that are no shards of
            one another claim the same split. The message lists the files that exist.
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
            "holds no training file: expected a name that begins with `train` and ends in "
            f"{', '.join(DATA_FORMATS)}, or `files` of the source to name them; {_listed(existing)}"
        )
    return {split: _one_set(split, found[split]) for split in SPLITS if split in found}


def _splits_by_pattern(existing: Sequence[str], patterns: Mapping[Split, str]) -> dict[Split, tuple[str, ...]]:
    if "train" not in patterns:
        raise HubError("`files` of the source names no pattern for `train`")
    splits: dict[Split, tuple[str, ...]] = {}
    for split, pattern in patterns.items():
        matched = tuple(path for path in existing if path == pattern or fnmatchcase(path, pattern))
        if not matched:
            raise HubError(f"no file matches {pattern!r}, which `files` gives for {split}; {_listed(existing)}")
        splits[split] = matched
    return splits


def name_splits(paths: Iterable[str]) -> dict[Split, tuple[str, ...]]:
    """Says which of some files that are all to be used make up which split.

    Args:
        paths: The files, with forward slashes.

    Returns:
        The paths of each split, sorted, by names that begin with train, validation, valid, dev or test (in any case).
        If no name does, or there is one file only, all stand under `train`.

    Raises:
        DataError: Some names tell a split and others do not.
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
            f"Some names of the data files tell their split:\n{first_lines(named)}\nand others do not:\n"
            f"{first_lines(found[None])}\nUse only files of one kind, rename some (names that begin with train, "
            "validation, valid, dev or test tell the split), or name them by split in `files` of a local source in a "
            "configuration."
        )
    return {split: tuple(found[split]) for split in SPLITS if split in found}


def data_files(paths: Iterable[str]) -> list[str]:
    """Picks the files of a folder or repository that hold data, where none is named.

    What ends in .txt is mostly something else (a vocabulary, a licence, a list of requirements): it counts only if its
    name is that of a split, such as train.txt, test_set.txt or dev-1.txt, and if no file of another format is there.

    Args:
        paths: The files, with forward slashes.
    """
    found = [path for path in paths if data_ending(path)]
    others = [path for path in found if not str(data_ending(path)).startswith(TEXT_ENDING)]
    return others or [path for path in found if _SPLIT_TEXT.fullmatch(PurePosixPath(path).name)]


def split_of(path: str) -> Split | None:
    """Tells the split of a data file by the beginning of its name; None if it tells none, or is no data file."""
    name = PurePosixPath(path).name.lower()
    if data_ending(name) is None:
        return None
    return next((split for prefix, split in _SPLIT_NAMES if name.startswith(prefix)), None)


def _one_set(split: Split, paths: Sequence[str]) -> tuple[str, ...]:
    # `.csv.gz` is of the format `.csv`.
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
        f"several files could be the {split} split and are not the complete shards of one; name those to use in "
        f"`files` of the source:\n{first_lines(chosen)}"
    )


def _listed(existing: Sequence[str]) -> str:
    return f"files that exist:\n{first_lines(existing)}" if existing else "it is empty"
