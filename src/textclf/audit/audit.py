"""Audits a prepared data set, and applies the policy to its training rows."""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import textclf
from textclf.audit.damage import looks_damaged
from textclf.audit.duplicates import (
    EXAMPLES,
    NearTexts,
    compare_with_train,
    conflict_examples,
    count_conflicts,
    count_duplicates,
    count_near,
    duplicate_examples,
    example,
    find_near,
    leak_examples,
    near_examples,
)
from textclf.audit.findings import Example, Examples, Findings, Labels, LabelShift
from textclf.audit.lengths import measure_lengths
from textclf.audit.policy import Outcome, apply_policy
from textclf.audit.report.html import write_html
from textclf.config.data import AuditConfig
from textclf.config.sources import Split
from textclf.data.personal_data import MASKS, personal_data_kinds
from textclf.data.prepare import QUARANTINE_FILE, write_table
from textclf.data.prepared import SplitRows, read_splits
from textclf.data.quarantine import Quarantine
from textclf.data.splits import content_digest
from textclf.data.versions import version_of
from textclf.errors import StorageError
from textclf.language import _, current_language
from textclf.model.tokens import load_tokenizer
from textclf.progress import progress_bar
from textclf.records import FetchedModel, PreparedData, Quarantined
from textclf.store import building, digest_of, find, publish, write_text

logger = logging.getLogger(__name__)

# Part of the digest: increase it when the same data would give another result.
AUDIT_VERSION = 3
FINDINGS_FILE = "findings.json"
REPORT_FILE = "report.html"
REMOVED_FILE = "removed.jsonl"


def audit(
    prepared: PreparedData, model: FetchedModel | None, *, settings: AuditConfig, max_length: int, folder: Path
) -> PreparedData:
    """Audits a prepared data set and applies the policy to its training rows.

    `<folder>/<digest>` receives the three Parquet files as `prepare` writes them, without the training rows that the
    policy removed and, with `audit.duplicates: weight`, with a column weight (float32) in train.parquet;
    `findings.json` (`Findings`), `report.html`, `removed.jsonl` with every removed row and the reason, and
    `quarantine.jsonl`. An existing result is reused.

    Args:
        prepared: The data set.
        model: The model whose vocabulary counts the tokens; None skips them.
        settings: The policy, and how near duplicates are found.
        max_length: Tokens at which training cuts texts.
        folder: Parent folder of the result.

    Returns:
        The record of the data set for training.

    Raises:
        DataError: The policy would remove all training rows of a label.
        ModelError: The model's tokenizer cannot be loaded.
        StorageError: A file could not be read or written; no partial result remains.
    """
    digest = digest_of(textclf.__version__, AUDIT_VERSION, prepared.digest, settings.model_dump(mode="json"))
    # The rows depend on less than the report: another language must not cause new tokenisation.
    page = [prepared.name, prepared.origin, current_language(), max_length]
    target = folder / digest_of(digest, page, model.digest if model else None)
    if record := find(target, PreparedData):
        logger.info("Reusing the audit of the same data with the same settings: %s", target / REPORT_FILE)
        fields = ("uri", "revision", "files", "relabelled_from")
        return record.model_copy(update={field: getattr(prepared, field) for field in fields})
    started = time.monotonic()
    splits = read_splits(prepared)
    near = find_near(splits, settings)
    outcome = apply_policy(splits, near, settings)
    with building(target) as draft:
        record = _write_rows(prepared, splits, outcome, draft).model_copy(update={"digest": digest, "folder": target})
        findings = _findings(prepared, record, splits, near, outcome, model, settings, max_length, started)
        write_text(draft / FINDINGS_FILE, findings.model_dump_json(indent=1))
        write_html(findings, draft / REPORT_FILE)
        record = publish(draft, target, record)
    logger.info(
        "Audited %s rows in %.1f s, data version %s; removed from training: %s. Report: %s",
        f"{sum(prepared.rows.values()):,}",
        findings.seconds,
        record.version,
        ", ".join(f"{rows:,} {finding}" for finding, rows in record.removed.items() if rows) or "nothing",
        target / REPORT_FILE,
    )
    return record


def read_findings(audited: PreparedData) -> Findings:
    """Reads the findings of an audit, given the record that `audit` returned.

    Raises:
        StorageError: The file cannot be read.
    """
    file = audited.folder / FINDINGS_FILE
    try:
        return Findings.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"The findings in {file} cannot be read: {error}\nRemove {file.parent} to have it rebuilt."
        ) from error


def _findings(
    prepared: PreparedData,
    record: PreparedData,
    splits: dict[Split, SplitRows],
    near: NearTexts | None,
    outcome: Outcome,
    model: FetchedModel | None,
    settings: AuditConfig,
    max_length: int,
    started: float,
) -> Findings:
    tokenizer = load_tokenizer(model.folder) if model else None
    measured = {
        split: measure_lengths(rows, max_length=max_length, tokenizer=tokenizer) for split, rows in splits.items()
    }
    unknown = {split: share for split, (_, share) in measured.items() if share is not None}
    personal, personal_examples, damaged, damaged_examples = _look_through(splits)
    held_out = {split: rows for split, rows in splits.items() if split != "train"}
    train = splits["train"]
    return Findings(
        version=prepared.version,
        name=prepared.name,
        origin=prepared.origin,
        rows=prepared.rows,
        quarantined=_read_quarantine(prepared.folder / QUARANTINE_FILE),
        duplicates={split: count_duplicates(rows) for split, rows in splits.items()},
        conflicts={split: count_conflicts(rows) for split, rows in splits.items()},
        cross_split={
            split: compare_with_train(rows, train, near, prepared.rows[split] - prepared.leaked[split])
            for split, rows in held_out.items()
        },
        near_duplicates=None if near is None else count_near(splits, near, settings),
        labels=_labels(prepared, splits),
        lengths={split: lengths for split, (lengths, _) in measured.items()},
        tokenizer=model.origin if model else None,
        unknown_token_share=unknown or None,
        personal_data=personal,
        damaged=damaged,
        dates=_dates(splits),
        decisions=outcome.decisions,
        rows_after=record.rows,
        version_after=record.version,
        seconds=round(time.monotonic() - started, 1),
        examples=Examples(
            duplicates=tuple(islice(chain.from_iterable(map(duplicate_examples, splits.values())), EXAMPLES)),
            conflicts=tuple(islice(chain.from_iterable(map(conflict_examples, splits.values())), EXAMPLES)),
            leaks=tuple(pair for rows in held_out.values() for pair in leak_examples(rows, train)),
            near_duplicates=() if near is None else tuple(near_examples(splits, near)),
            personal_data=personal_examples,
            damaged=damaged_examples,
        ),
    )


def _look_through(
    splits: dict[Split, SplitRows],
) -> tuple[dict[Split, dict[str, int]], dict[str, tuple[Example, ...]], dict[Split, int], tuple[Example, ...]]:
    """Searches every text for personal data and damage."""
    personal: dict[Split, dict[str, int]] = {}
    examples: dict[str, list[Example]] = {}
    damaged: dict[Split, int] = {}
    damaged_examples: list[Example] = []
    for split, rows in splits.items():
        kinds: Counter[str] = Counter()
        damaged[split] = 0
        texts = progress_bar(rows.texts, desc=_("looking through {split}").format(split=split), unit=" rows", delay=2)
        for index, text in enumerate(texts):
            whole = text if rows.pairs is None else f"{text}\n{rows.pairs[index]}"
            for kind in personal_data_kinds(whole):
                kinds[kind] += 1
                if len(examples.setdefault(kind, [])) < EXAMPLES:
                    examples[kind].append(example(rows, index))
            if looks_damaged(whole):
                damaged[split] += 1
                if len(damaged_examples) < EXAMPLES:
                    damaged_examples.append(example(rows, index))
        personal[split] = {kind: kinds[kind] for kind in MASKS}
    return personal, {kind: tuple(found) for kind, found in examples.items()}, damaged, tuple(damaged_examples)


def _labels(prepared: PreparedData, splits: dict[Split, SplitRows]) -> Labels:
    train = splits["train"]
    characters = np.fromiter(map(len, train.texts), dtype=np.int64, count=len(train))
    medians = {
        name: float(np.median(characters[train.labels == label]))
        for label, name in enumerate(prepared.labels)
        if (train.labels == label).any()
    }
    return Labels(
        counts=prepared.label_counts,
        shift={
            split: label_shift(prepared.label_counts["train"], counts)
            for split, counts in prepared.label_counts.items()
            if split != "train"
        },
        median_characters=medians,
    )


def label_shift(train: dict[str, int], other: dict[str, int]) -> LabelShift:
    """Compares the rows by label of a split with those of train; both have the same labels."""
    from scipy.stats import chi2_contingency

    counts = np.array([[train[name], other[name]] for name in train], dtype=float).T
    shares = counts / counts.sum(axis=1, keepdims=True)
    present = counts[:, counts.sum(axis=0) > 0]
    # Without Yates' correction, which only applies to 2×2 tables and would make the test depend on the label count.
    p_value = float(chi2_contingency(present, correction=False).pvalue) if present.shape[1] > 1 else 1.0
    return LabelShift(total_variation=float(np.abs(shares[0] - shares[1]).sum() / 2), p_value=p_value)


def _dates(splits: dict[Split, SplitRows]) -> dict[Split, tuple[str, str]] | None:
    if "date" not in splits["train"].table.column_names:
        return None
    ranges = {split: pc.min_max(rows.table["date"]).as_py() for split, rows in splits.items()}
    return {split: (found["min"], found["max"]) for split, found in ranges.items()}


def _read_quarantine(path: Path) -> tuple[Quarantined, ...]:
    quarantine = Quarantine()
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            quarantine.add(row["split"], row["source"], row["row"], row["reason"], row["content"])
    return quarantine.kinds()


def _write_rows(prepared: PreparedData, splits: dict[Split, SplitRows], outcome: Outcome, draft: Path) -> PreparedData:
    """Writes the kept and the removed rows; returns the record without its place."""
    train = splits["train"]
    table: pa.Table = train.table.filter(pa.array(outcome.kept))
    if outcome.weights is not None:
        table = table.append_column("weight", pa.array(outcome.weights, pa.float32()))
    write_table(table, draft / "train.parquet")
    for split, rows in splits.items():
        if split != "train":
            write_table(rows.table, draft / f"{split}.parquet")
    _write_removed(train, splits, outcome, draft / REMOVED_FILE)
    (draft / QUARANTINE_FILE).write_bytes((prepared.folder / QUARANTINE_FILE).read_bytes())
    counts = Counter(train.labels[outcome.kept].tolist())
    changed = not outcome.kept.all() or outcome.weights is not None
    digests = dict(prepared.split_digests)
    if changed:
        digests["train"] = content_digest(_contents(train, outcome))
    return prepared.model_copy(
        update={
            "rows": prepared.rows | {"train": table.num_rows},
            "label_counts": prepared.label_counts
            | {"train": {name: counts[label] for label, name in enumerate(prepared.labels)}},
            "split_digests": digests,
            "version": version_of(digests, prepared.contract),
            "audited_from": prepared.version,
            "removed": {finding: len(rows) for finding, rows in outcome.removed.items()},
            "cached": False,
        }
    )


def _contents(train: SplitRows, outcome: Outcome) -> list[tuple[object, ...]]:
    kept = outcome.kept.nonzero()[0].tolist()
    weights = None if outcome.weights is None else outcome.weights.tolist()
    return [
        (
            train.texts[index],
            "" if train.pairs is None else train.pairs[index],
            train.label_names[train.labels[index]],
            *(() if weights is None else (weights[position],)),
        )
        for position, index in enumerate(kept)
    ]


def _write_removed(train: SplitRows, splits: dict[Split, SplitRows], outcome: Outcome, path: Path) -> None:
    leaking = set(train.fingerprints[outcome.removed["leaks"]].tolist())
    places: dict[int, str] = {}
    for split, rows in splits.items():
        if split != "train":
            for index, text in enumerate(rows.fingerprints.tolist()):
                if text in leaking and text not in places:
                    places[text] = f"{split}, {rows.sources[index]}, row {rows.numbers[index]}"
    reasons = {
        "conflicts": "its text also has another label in train",
        "duplicates": "its text appears in an earlier row of train with the same label",
    }
    columns = [name for name in ("source", "row", "id", "text", "text_pair") if name in train.table.column_names]
    with path.open("w", encoding="utf-8") as file:
        for finding, indices in outcome.removed.items():
            rows = train.table.select(columns).take(pa.array(indices)).to_pylist()
            for index, row in zip(indices.tolist(), rows, strict=True):
                place = places.get(int(train.fingerprints[index]))
                reason = reasons.get(finding) or (
                    f"its text appears in {place}" if place else "a near duplicate appears in validation or test"
                )
                label = train.label_names[train.labels[index]]
                line = {"finding": finding, "reason": reason, "label": label, **row}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
