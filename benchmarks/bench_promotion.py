"""How often rules promote the worse model: simulated pairs of a champion and a challenger whose difference is known.

Each pair is a population of rows with two equally frequent labels: the share on which both are right, only one is, or
neither is, the same for both labels, so that macro F1 equals accuracy and the true difference is exact. The rules see
one sample of it, as large as a test split, and decide. Nothing is trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from comparison import section
from numpy.typing import NDArray

from textclf.config.registration import RegistrationConfig
from textclf.evaluation.intervals import paired_interval
from textclf.records import PairedDifference
from textclf.registry.contest import judge

MARGIN = RegistrationConfig().champion_margin
LARGEST_DIFFERENCE = 0.03
CHAMPION_ACCURACY = (0.82, 0.94)
DISAGREEMENT = (0.03, 0.12)

RULES: dict[str, Callable[[PairedDifference], bool]] = {
    "at least as good on this sample": lambda found: found.first >= found.second,
    "better by 0.5 points on this sample": lambda found: found.first >= found.second + 0.005,
    "the gate, `non_inferior`": lambda found: judge(found, RegistrationConfig(), 1)[0] == "non_inferior",
    "the gate, `superior`": lambda found: judge(found, RegistrationConfig(rule="superior"), 1)[0] == "superior",
}


@dataclass(frozen=True)
class Decision:
    """What is known of one pair: the truth, and what a sample shows of it."""

    difference: float
    found: PairedDifference


def main() -> None:
    """Simulates the pairs and prints a section for RESULTS.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=2000, help="default: 2000")
    parser.add_argument("--rows", type=int, default=812, help="of a test split (default: 812)")
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments = parser.parse_args()
    generator = np.random.default_rng(arguments.seed)
    decisions = [pair(generator, arguments.rows) for _ in range(arguments.pairs)]
    kinds = {
        "worse": [each for each in decisions if each.difference < 0],
        "worse by more than 1 point": [each for each in decisions if each.difference < -MARGIN],
        "better": [each for each in decisions if each.difference > 0],
        "better by more than 1 point": [each for each in decisions if each.difference > MARGIN],
    }
    table = [
        "| promoted, of | " + " | ".join(f"{len(chosen):,} {kind}" for kind, chosen in kinds.items()) + " |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for rule, promotes in RULES.items():
        shares = (sum(promotes(each.found) for each in chosen) / len(chosen) for chosen in kinds.values())
        table.append(f"| {rule} | " + " | ".join(f"{share:.1%}" for share in shares) + " |")
    covered = np.mean([each.found.interval.low <= each.difference <= each.found.interval.high for each in decisions])
    width = np.median([each.found.interval.high - each.found.interval.low for each in decisions])
    note = f"The intervals contain {covered:.1%} of the true differences; half their width is {width * 50:.1f} points."
    facts = {"pairs": f"{arguments.pairs:,}", "rows": arguments.rows, "seed": arguments.seed}
    print(section("Promotion", facts, table, [note]))


def pair(generator: np.random.Generator, rows: int) -> Decision:
    """Makes up a champion and a challenger, and compares them on a sample."""
    difference = generator.uniform(-LARGEST_DIFFERENCE, LARGEST_DIFFERENCE)
    accuracy = generator.uniform(*CHAMPION_ACCURACY)
    # They cannot differ in accuracy by more than they disagree, nor be wrong together less than never.
    disagreement = max(generator.uniform(*DISAGREEMENT), abs(difference))
    only_challenger, only_champion = (disagreement + difference) / 2, (disagreement - difference) / 2
    only_challenger = min(only_challenger, 1 - accuracy)
    only_champion = only_challenger - difference
    shares = [accuracy - only_champion, only_challenger, only_champion, 1 - accuracy - only_challenger]
    labels = generator.integers(0, 2, rows)
    outcome = generator.choice(4, rows, p=shares)
    challenger, champion = (predicted(labels, np.isin(outcome, right)) for right in ([0, 1], [0, 2]))
    found = paired_interval(labels, challenger, champion, num_labels=2, metric="f1_macro")
    return Decision(difference, found)


def predicted(labels: NDArray[np.int64], right: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns label ids that are the true ones exactly where `right` says so."""
    return np.where(right, labels, 1 - labels)


if __name__ == "__main__":
    main()
