"""Wrong labels: how many planted and how many claimed errors the ranking of `textclf data suspects` finds.

Planted errors: the labels of some training texts are changed, and the list is as long as the number of planted errors.
The data's real errors take up places in it, so 100% is out of reach. Claimed errors: ChnSentiCorp reviews whose label
someone considers wrong; that collection is incomplete as well.

Rankings are compared on planted errors only; the claimed ones are reported.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from comparison import SHARED

from textclf.config import Home, TrainConfig
from textclf.correction.cross_fitting import folds, tfidf_probabilities
from textclf.correction.suspects import find_suspects, judge
from textclf.data.prepare import prepare
from textclf.data.prepared import SplitRows
from textclf.data.splits import fingerprint
from textclf.fetching import fetch_data
from textclf.model.linear import LinearModel
from textclf.tables import markdown_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labels = NDArray[np.int64]
    Shares = NDArray[np.float64]

CHOSEN = "mean of both models, cleanlab's self-confidence (chosen)"
LIST_LENGTH = 200


@dataclass(frozen=True)
class DataSet:
    """Distinct texts, one row each, without those whose copies have different labels.

    `plant_in` holds the indices of the rows that may get a wrong label.
    """

    name: str
    rows: SplitRows
    plant_in: Labels


def main() -> None:
    """Measures and prints Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=SHARED / "data", help="folder of both data sets (%(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="samples of planted errors (default: %(default)s)")
    parser.add_argument("--no-claims", action="store_true", help="skip the claimed errors")
    parser.add_argument("--no-planted", action="store_true", help="skip the planted errors")
    arguments = parser.parse_args()
    if not (arguments.data / "chnsenticorp").is_dir():
        sys.exit(f"Skipped: there is no ChnSentiCorp in {arguments.data}; name its folder with --data.")
    if not arguments.no_planted:
        sets = [chnsenticorp(arguments.data / "chnsenticorp")]
        if (arguments.data / "tnews").is_dir():
            sets.append(tnews(arguments.data / "tnews" / "dev.tsv"))
        for data in sets:
            print(f"{planted_table(data, arguments.seeds)}\n", flush=True)
    if not arguments.no_claims:
        print(claims_table(arguments.data / "chnsenticorp"))


def chnsenticorp(folder: Path) -> DataSet:
    """Loads all splits; errors are planted in the training rows."""
    import numpy as np
    import pyarrow.parquet as pq

    labels_of: dict[int, set[int]] = defaultdict(set)
    first: dict[int, tuple[str, int, bool]] = {}
    for split in ("train", "validation", "test"):
        (path,) = (folder / "data").glob(f"{split}-*.parquet")
        table = pq.read_table(path).to_pydict()
        for text, label in zip(table["text"], table["label"], strict=True):
            key = fingerprint(text)
            labels_of[key].add(label)
            first.setdefault(key, (text, label, split == "train"))
    kept = [first[key] for key in first if len(labels_of[key]) == 1]
    rows = labelled([text for text, _, _ in kept], np.array([label for _, label, _ in kept]), ("0", "1"))
    return DataSet("ChnSentiCorp, 2 labels", rows, np.flatnonzero([train for _, _, train in kept]))


def tnews(path: Path) -> DataSet:
    """Loads the smaller file; errors are planted everywhere."""
    import numpy as np

    first: dict[int, tuple[str, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        text, label = line.rsplit("\t", 1)
        first.setdefault(fingerprint(text), (text, label))
    names = sorted({label for _, label in first.values()})
    labels = np.array([names.index(label) for _, label in first.values()])
    rows = labelled([text for text, _ in first.values()], labels, tuple(names))
    return DataSet(f"TNEWS (dev), {len(names)} labels", rows, np.arange(len(labels)))


def labelled(texts: list[str], labels: Labels, names: tuple[str, ...]) -> SplitRows:
    """Returns rows with these texts and labels."""
    import pyarrow as pa

    return SplitRows("train", names, pa.table({"text": texts, "label": labels}))


def planted_table(data: DataSet, seeds: int) -> str:
    """Compares rankings by the share of the planted errors in a list of the same length."""
    import numpy as np

    shares = (0.02, 0.05)
    found: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    flagged: dict[float, list[tuple[float, float]]] = defaultdict(list)
    seconds = []
    for share in shares:
        for seed in range(seeds):
            chance = np.random.default_rng(seed)
            planted = chance.choice(data.plant_in, int(share * len(data.plant_in)), replace=False)
            labels = data.rows.labels.copy()
            shift = chance.integers(1, len(data.rows.label_names), len(planted))
            labels[planted] = (labels[planted] + shift) % len(data.rows.label_names)
            rows = labelled(data.rows.texts, labels, data.rows.label_names)
            started = time.perf_counter()
            chosen = tfidf_probabilities(rows, seed=0)
            quality, issues = judge(labels, chosen)
            seconds.append(time.perf_counter() - started)
            flagged[share].append((issues.sum(), issues[planted].mean()))
            for name, score in {CHOSEN: quality, **alternatives(rows, chosen)}.items():
                listed = np.argsort(score, kind="stable")[: len(planted)]
                found[name][share].append(np.isin(planted, listed).mean())
    lines = [["ranking", *(f"{share:.0%} planted" for share in shares)]]
    for name, by_share in found.items():
        lines.append([name, *(_spread(by_share[share]) for share in shares)])
    notes = "; ".join(
        f"at {share:.0%}, confident learning marks {np.mean([marks for marks, _ in flagged[share]]):,.0f} rows as "
        f"issues, among them {np.mean([recall for _, recall in flagged[share]]):.0%} of the planted errors"
        for share in shares
    )
    return (
        f"**{data.name}**, {len(data.rows.texts):,} distinct texts, share of the planted errors in a list of the same "
        f"length, mean of {seeds} samples (lowest to highest)\n\n{markdown_table(lines)}\n\n"
        f"With the chosen ranking, {notes}. It took {min(seconds):.0f} to {max(seconds):.0f} s."
    )


def alternatives(rows: SplitRows, chosen: Shares) -> dict[str, Shares]:
    """Returns other scores of the same labels; low is bad."""
    import numpy as np
    from cleanlab.rank import get_label_quality_scores
    from sklearn.isotonic import IsotonicRegression

    labels = rows.labels
    tfidf = tfidf_alone(rows, seed=0)
    # `chosen` is the mean of both models.
    ratios = 2 * chosen - tfidf
    calibrated = np.stack(
        [
            IsotonicRegression(out_of_bounds="clip").fit(chosen[:, label], labels == label).predict(chosen[:, label])
            for label in range(len(rows.label_names))
        ],
        axis=1,
    )
    # Breaks the ties within a step.
    calibrated = calibrated + 1e-6 + 1e-3 * chosen
    calibrated /= calibrated.sum(axis=1, keepdims=True)

    def plain(probabilities: Shares) -> Shares:
        return probabilities[np.arange(len(labels)), labels]

    def margin(adjusted: bool) -> Shares:
        return get_label_quality_scores(labels, chosen, method="normalized_margin", adjust_pred_probs=adjusted)

    return {
        "mean of both models, probability of the label, without cleanlab": plain(chosen),
        "TF-IDF baseline alone, probability of the label, without cleanlab": plain(tfidf),
        "log-count ratios alone, probability of the label": plain(ratios),
        "mean of both models, two divisions into folds": plain(chosen + tfidf_probabilities(rows, seed=1)),
        "mean of both models, calibrated per label": plain(calibrated),
        "mean of both models, cleanlab's normalized margin": margin(False),
        "the same with cleanlab's adjusted probabilities": margin(True),
        "mean of both models, cleanlab's confidence-weighted entropy": get_label_quality_scores(
            labels, chosen, method="confidence_weighted_entropy"
        ),
    }


def tfidf_alone(rows: SplitRows, *, seed: int) -> Shares:
    """Returns out-of-fold probabilities of the TF-IDF baseline."""
    import numpy as np

    probabilities = np.zeros((len(rows.texts), len(rows.label_names)))
    for train, held_out in folds(rows, seed):
        train_texts, texts = ([rows.texts[index] for index in indices] for indices in (train, held_out))
        baseline = LinearModel.fit(train_texts, rows.labels[train], num_labels=len(rows.label_names), seed=seed)
        probabilities[held_out] = baseline.probabilities(texts)
    return probabilities


def claims_table(folder: Path) -> str:
    """Looks for the claimed errors among the suspects of all splits."""
    with (folder / "claimed_label_errors.csv").open(encoding="utf-8-sig", newline="") as file:
        claimed = [fingerprint(next(iter(row.values()))) for row in csv.DictReader(file)]
    values = {"data": {"sources": [{"provider": "local", "path": str(folder / "data")}], "name": "suspects"}}
    config = TrainConfig.model_validate(values)
    with tempfile.TemporaryDirectory() as temporary:
        home = Home(root=Path(temporary), tracking_uri="unused")
        fetched = fetch_data(config.data.sources, home=home)
        prepared = prepare(fetched, data=config.data, cleaning=config.cleaning, home=home)
        keys = fingerprints(prepared.folder)
        suspects = find_suspects(prepared, estimate=partial(tfidf_probabilities, seed=42), limit=2**31)
    ranked = [keys[suspect.split, suspect.row][0] for suspect in suspects.suspects]
    others = [key for key, suspect in zip(ranked, suspects.suspects, strict=True) if not suspect.conflict]
    # A limited list has at most half its places for conflicts.
    conflicts = ranked[: min(len(ranked) - len(others), LIST_LENGTH // 2)]
    lists = {
        "texts ranked by quality alone": others,
        f"the table as written with --limit {LIST_LENGTH}, conflicts first": [*conflicts, *others],
    }
    wanted = set(claimed)
    lines = [["list", "precision at 39", f"recall at {LIST_LENGTH}, of {len(wanted)} texts", "of the 39 claims"]]
    for name, order in lists.items():
        listed = set(order[:LIST_LENGTH])
        right = sum(key in wanted for key in order[:39])
        lines.append(
            [
                name,
                f"{right}/39 = {right / 39:.2f}",
                _share(key in listed for key in wanted),
                _share(key in listed for key in claimed),
            ]
        )
    return (
        f"**Claimed errors of ChnSentiCorp.** {where_claims_stand(keys, claimed)} Of "
        f"{suspects.texts:,} distinct texts, {suspects.conflicts:,} have copies with different labels; of the others, "
        f"confident learning marks {suspects.issues:,} as issues.\n\n{markdown_table(lines)}"
    )


def fingerprints(folder: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """Returns fingerprint and label id of each prepared row, by split and row number."""
    import pyarrow.parquet as pq

    found = {}
    for split in ("train", "validation", "test"):
        table = pq.read_table(folder / f"{split}.parquet", columns=["row", "fingerprint", "label"]).to_pydict()
        for row, key, label in zip(table["row"], table["fingerprint"], table["label"], strict=True):
            found[split, row] = key, label
    return found


def where_claims_stand(keys: dict[tuple[str, int], tuple[int, int]], claimed: list[int]) -> str:
    """Describes how many claimed texts the data has, in which splits, and how many have copies."""
    wanted = set(claimed)
    rows: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for (split, _), (key, label) in keys.items():
        if key in wanted:
            rows[key].append((split, label))

    def count(holds: Callable[[list[tuple[str, int]]], bool]) -> int:
        return sum(holds(places) for places in rows.values())

    return (
        f"Of {len(claimed)} claims, {sum(key in rows for key in claimed)} are found in the data; they are "
        f"{len(wanted)} distinct texts, in {sum(map(len, rows.values()))} rows: "
        f"{count(lambda places: any(split == 'train' for split, _ in places))} texts are in train, "
        f"{count(lambda places: any(split == 'validation' for split, _ in places))} also in validation, "
        f"{count(lambda places: any(split == 'test' for split, _ in places))} also in test; "
        f"{count(lambda places: len(places) > 1)} are in more than one row, "
        f"{count(lambda places: len({label for _, label in places}) > 1)} with different labels."
    )


def _spread(values: list[float]) -> str:
    return f"{sum(values) / len(values):.1%} ({min(values):.1%} to {max(values):.1%})"


def _share(hits: Iterable[bool]) -> str:
    hits = list(hits)
    return f"{sum(hits)}/{len(hits)} = {sum(hits) / len(hits):.2f}"


if __name__ == "__main__":
    main()
