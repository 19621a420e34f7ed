"""Generates the quickstart's sample: Chinese reviews and everyday sentences that no person wrote.

`python -m textclf.data.sample.generator --output FOLDER` writes `train.tsv`, `validation.tsv` and `test.tsv` from the
phrases in `textclf/data/sample/phrases`. The same seed gives the same bytes on every machine with Python 3.11 or later.

A text's label is its verdict, not its words: many contain an argument against the verdict, or negate a word instead of
using its opposite, so that negation, conjunction and order decide.

In the phrases, `<a|b>` stands for one of the alternatives, `<3-8>` for a number from that range, and `<name>` for a
phrase from the list of that name.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from textclf.config.sources import SPLITS, Split
from textclf.data.sample.dice import Dice, load_phrases
from textclf.data.sample.everyday import EverydayWriter
from textclf.data.sample.reviews import ReviewWriter
from textclf.errors import StorageError, TextclfError
from textclf.progress import progress_bar
from textclf.store import appearing

logger = logging.getLogger(__name__)

POSITIVE = "正面"
NEGATIVE = "负面"
DEFAULT_SEED = 7
DOMAINS = ("hotel", "laptop", "book", "food", "clothes", "phone", "film", "service", "life")
REVIEWS_PER_DOMAIN_AND_LABEL: Mapping[Split, int] = {"train": 180, "validation": 20, "test": 25}
EVERYDAY_PER_LABEL: Mapping[Split, int] = {"train": 3400, "validation": 270, "test": 300}
LABEL_NOISE = 0.03
"""Share of the reviews with the wrong label. Everyday sentences have none: what is wrong there is learnt by heart."""

RATED_SHARE = 0.7
"""Share of the unlabelled texts with a rating."""

_MINIMUM_LENGTH = 2
_MAXIMUM_LENGTH = 200
# Texts that share more of their five-character pieces than this count as copies.
_MAXIMUM_SIMILARITY = 0.5
_PIECE_LENGTH = 5


@dataclass(frozen=True)
class Review:
    """One labelled text of the sample.

    Attributes:
        text: One line of Chinese, 2 to 200 characters, without tabs.
        label: `正面` or `负面`.
    """

    text: str
    label: str


def _styled(text: str, positive: bool, dice: Dice, common: Mapping[str, Any]) -> str:
    """Gives a text a personal style: punctuation, typing errors, an emoticon at the end."""
    comma = dice.pick(["，"] * 13 + [","] * 3 + [" "] * 4)
    stop = dice.pick(["。"] * 12 + ["！"] * 3 + [comma] * 3 + ["。。。", "…", "～"])
    closing = "" if stop == comma else stop
    ending = dice.pick([closing, closing, "", "！", "。"])
    if dice.chance(0.12):
        slips = [(right, slip) for right, slip in common["typos"] if right in text]
        if slips:
            text = text.replace(*dice.pick(slips), 1)
    text = text.replace("？，", "？").replace("。", stop).replace("，", comma)
    if not text.endswith("？"):
        text += ending
    if dice.chance(0.12):
        faces = common["happy" if positive else "unhappy"] if dice.chance(0.6) else common["neutral_faces"]
        text += dice.pick(faces)
    return text


def _bare(text: str) -> str:
    return "".join(character for character in text if character.isalnum())


class _Seen:
    """Remembers accepted reviews and recognises copies, including those with other punctuation or a few other words."""

    def __init__(self) -> None:
        self._bare: set[str] = set()
        self._sizes: list[int] = []
        self._holders: dict[str, list[int]] = {}

    def accept(self, text: str) -> bool:
        bare = _bare(text)
        pieces = {bare[i : i + _PIECE_LENGTH] for i in range(max(1, len(bare) - _PIECE_LENGTH + 1))}
        shared = Counter(number for piece in pieces for number in self._holders.get(piece, ()))
        similar = any(
            count / (len(pieces) + self._sizes[number] - count) > _MAXIMUM_SIMILARITY
            for number, count in shared.items()
        )
        if similar or bare in self._bare:
            return False
        self._bare.add(bare)
        for piece in pieces:
            self._holders.setdefault(piece, []).append(len(self._sizes))
        self._sizes.append(len(pieces))
        return True


def generate(seed: int = DEFAULT_SEED) -> dict[Split, list[Review]]:
    """Returns the shuffled texts of each split: a third of them reviews, the others everyday sentences.

    Every split has the same share of each domain and label. Then 3% of the labels of reviews are flipped, as by a
    careless annotator. No text is a copy or near copy of another, in any split. The shipped files have the default
    seed.
    """
    dice, seen, common = Dice(seed), _Seen(), load_phrases("common")
    splits: dict[Split, list[Review]] = {split: [] for split in SPLITS}

    def add(write: Callable[[bool], str], counts: Mapping[Split, int], noise: float) -> None:
        for positive in (True, False):
            for split in SPLITS:
                for _ in range(counts[split]):
                    text = _new_text(write, positive, dice, common, seen)
                    noted = positive != dice.chance(noise)
                    splits[split].append(Review(text, POSITIVE if noted else NEGATIVE))

    for name in DOMAINS:
        add(ReviewWriter(dice, load_phrases(name), common).review, REVIEWS_PER_DOMAIN_AND_LABEL, LABEL_NOISE)
    everyday = _everyday_writer(dice, common)
    add(everyday.text, EVERYDAY_PER_LABEL, 0.0)
    return {split: dice.shuffled(reviews) for split, reviews in splits.items()}


def _everyday_writer(dice: Dice, common: dict[str, Any]) -> EverydayWriter:
    return EverydayWriter(dice, load_phrases("words"), load_phrases("events"), load_phrases("everyday"), common)


def labelled_texts(count: int, seed: int) -> Iterator[Review]:
    """Yields further labelled texts, three quarters of them everyday sentences; copies are possible.

    They are what the encoder that ships with textclf learns from. None of them is in the sample's validation or test
    rows.
    """
    dice, common = Dice(seed), load_phrases("common")
    writers = [ReviewWriter(dice, load_phrases(name), common).review for name in DOMAINS]
    everyday = _everyday_writer(dice, common)
    writers += [everyday.text] * 3 * len(DOMAINS)
    sample = generate()
    held_out = {_bare(review.text) for split in ("validation", "test") for review in sample[split]}
    while count:
        positive = dice.chance(0.5)
        text = _styled(dice.pick(writers)(positive), positive, dice, common)
        if _MINIMUM_LENGTH <= len(text) <= _MAXIMUM_LENGTH and _bare(text) not in held_out:
            count -= 1
            yield Review(text, POSITIVE if positive else NEGATIVE)


def unlabelled_texts(count: int, seed: int) -> Iterator[str]:
    """Yields the texts of `labelled_texts`, most of them with a rating or an emoticon, as in reviews and chats.

    Guessing a rating where it is masked teaches what is good and bad (Felbo et al. 2017, arXiv:1708.00524).
    """
    dice, ratings = Dice(seed), load_phrases("common")["ratings"]
    for review in labelled_texts(count, seed):
        if dice.chance(RATED_SHARE):
            rating = dice.pick(ratings["good" if review.label == POSITIVE else "bad"])
            yield f"{review.text} {rating}" if dice.chance(0.7) else f"{rating} {review.text}"
        else:
            yield review.text


def _new_text(write: Callable[[bool], str], positive: bool, dice: Dice, common: Mapping[str, Any], seen: _Seen) -> str:
    while True:
        text = _styled(write(positive), positive, dice, common)
        if _MINIMUM_LENGTH <= len(text) <= _MAXIMUM_LENGTH and seen.accept(text):
            return text


def write(folder: Path, seed: int = DEFAULT_SEED) -> list[Path]:
    r"""Writes one TSV file per split (header `text<TAB>label`, UTF-8, `\n`, no quoting), and returns their paths.

    Raises:
        StorageError: The folder cannot be created or a file cannot be written.
    """
    paths = []
    for split, reviews in generate(seed).items():
        path = folder / f"{split}.tsv"
        _write_lines(path, "text\tlabel", (f"{review.text}\t{review.label}" for review in reviews))
        logger.info("Wrote %s texts to %s.", f"{len(reviews):,}", path)
        paths.append(path)
    return paths


def write_further(folder: Path, count: int, seed: int) -> list[Path]:
    """Writes `unlabelled_texts` and `labelled_texts` of the next seed as `unlabelled.tsv` and `labelled.tsv`.

    Raises:
        StorageError: The folder cannot be created or a file cannot be written.
    """
    unlabelled, labelled = folder / "unlabelled.tsv", folder / "labelled.tsv"
    bar = progress_bar(unlabelled_texts(count, seed), total=count, desc=unlabelled.name, unit="texts", delay=2)
    _write_lines(unlabelled, "text", bar)
    bar = progress_bar(labelled_texts(count, seed + 1), total=count, desc=labelled.name, unit="texts", delay=2)
    _write_lines(labelled, "text\tlabel", (f"{review.text}\t{review.label}" for review in bar))
    logger.info("Wrote %s texts each to %s and %s.", f"{count:,}", unlabelled, labelled)
    return [unlabelled, labelled]


def _write_lines(path: Path, header: str, lines: Iterable[str]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with appearing(path) as draft, draft.open("wb") as file:
            file.writelines(f"{line}\n".encode() for line in chain([header], lines))
    except OSError as error:
        raise StorageError(f"The sample cannot be written to {path}: {error}. Choose another --output.") from error


def main() -> None:
    """Writes the files that the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m textclf.data.sample.generator", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="folder for the files")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="random seed (default: %(default)s)")
    parser.add_argument(
        "--further", type=int, metavar="COUNT", help="write unlabelled.tsv and labelled.tsv instead, so many texts each"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if arguments.further:
            write_further(arguments.output, arguments.further, arguments.seed)
        else:
            write(arguments.output, arguments.seed)
    except TextclfError as error:
        parser.exit(error.exit_code, f"{error}\n")


if __name__ == "__main__":
    main()
