"""What a classifier costs: texts a second on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from textclf.model.classifier import Classifier

_FIRST_TEXTS = 16
_MOST_TEXTS = 2_048


def texts_per_second(
    classifier: Classifier, texts: Sequence[str], text_pairs: Sequence[str] | None = None, *, seconds: float = 1.0
) -> float:
    """Measures how fast a classifier predicts these texts, after a warm-up; takes about `seconds` or a little longer.

    Loading is not measured. Each measurement takes more texts than the one before, over and over from the start, until
    one of them takes long enough to count.
    """
    places = [index % len(texts) for index in range(_MOST_TEXTS)]
    count = _FIRST_TEXTS
    classifier.predict(*_some(texts, text_pairs, places[:count]))
    while True:
        some = _some(texts, text_pairs, places[:count])
        started = time.perf_counter()
        classifier.predict(*some)
        took = time.perf_counter() - started
        if took >= seconds / 2 or count == _MOST_TEXTS:
            return count / took
        count = min(_MOST_TEXTS, max(2 * count, int(count * seconds / max(took, 1e-6))))


def _some(
    texts: Sequence[str], text_pairs: Sequence[str] | None, places: Sequence[int]
) -> tuple[list[str], list[str] | None]:
    pairs = None if text_pairs is None else [text_pairs[place] for place in places]
    return [texts[place] for place in places], pairs
