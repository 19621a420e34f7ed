"""In which writing texts are: by the letters they are made of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from functools import cache
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCRIPTS = (
    "simplified_chinese",
    "traditional_chinese",
    "chinese",
    "japanese",
    "korean",
    "latin",
    "cyrillic",
    "mixed",
    "other",
    "none",
)
"""The keys of what `count_scripts` returns, in this order."""

SHARE = 0.8
"""Of its letters that a text must have in one script, not to be mixed."""
LEAST_KANA_SHARE = 0.2
"""Of Han and kana together: from here on the Han characters are Japanese."""
TEXTS_PER_BATCH = 10_000
_UNICODE_END = 0x110000
# Blocks whose letters are all there is to a script; all other letters are `OTHER`.
_BLOCKS = {
    "LATIN": ((0x0041, 0x0250), (0x1E00, 0x1F00), (0x2C60, 0x2C80), (0xA720, 0xA800), (0xFF21, 0xFF5B)),
    "CYRILLIC": ((0x0400, 0x0530), (0x1C80, 0x1C90), (0x2DE0, 0x2E00), (0xA640, 0xA6A0)),
    "KANA": ((0x3041, 0x3100), (0x31F0, 0x3200), (0xFF66, 0xFFA0)),
    "HANGUL": ((0x1100, 0x1200), (0x3131, 0x3190), (0xA960, 0xA980), (0xAC00, 0xD7FC), (0xFFA0, 0xFFDD)),
    "HAN": ((0x3005, 0x3008), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0)),
}  # fmt: skip


class CharacterClass(IntEnum):
    """What a character is. From `LATIN` on a run of them is one word, before that each letter stands for itself."""

    SPACE = 0
    """White space and control characters."""
    SIGN = 1
    """All that is none of the others: punctuation, symbols, emoji."""
    HAN = 2
    """In simplified and in traditional text, or in neither."""
    SIMPLIFIED = 3
    """Han that only simplified text has: in GB 2312 and not in Big5."""
    TRADITIONAL = 4
    """Han that only traditional text has: in Big5 and not in GB 2312."""
    KANA = 5
    HANGUL = 6
    LATIN = 7
    CYRILLIC = 8
    OTHER = 9
    """Letters of other scripts: Greek, Arabic, Thai ..."""
    DIGIT = 10


def count_scripts(texts: Iterable[str]) -> dict[str, int]:
    """Counts texts by their writing.

    A Han, kana or hangul character counts as one letter, and so does a whole run of Latin, Cyrillic or other letters:
    a Chinese review with a few names in it is Chinese. The script that has 80 % of the letters decides; if none has,
    the text is `mixed`. Han characters count as Japanese where at least a fifth of Han and kana together is kana.
    Chinese is simplified if at least 80 % of the characters that only one of simplified and traditional text has are
    simplified ones (in GB 2312 and not in Big5), traditional the other way round, and just `chinese` if the text has
    no such characters or has both.

    Args:
        texts: Any texts.

    Returns:
        Number of texts by script, with all keys of `SCRIPTS`; `none` are those without letters.

    Example:
        >>> {script: count for script, count in count_scripts(["房间很干净", "好", "WiFi", "!!"]).items() if count}
        {'simplified_chinese': 1, 'chinese': 1, 'latin': 1, 'none': 1}
    """
    import numpy as np

    counts = np.zeros(len(SCRIPTS), dtype=np.int64)
    for batch in _batches(texts):
        counts += np.bincount(_scripts(batch), minlength=len(SCRIPTS))
    return dict(zip(SCRIPTS, counts.tolist(), strict=True))


def character_classes(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Classifies the characters of many texts at once.

    Args:
        texts: Any texts.

    Returns:
        For each character of all texts together, shape (characters,): its `CharacterClass` (uint8), the index of its
        text (int64), and whether it is the first of its class in a row (bool).
    """
    import numpy as np

    codes = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    classes = _classes()[codes]
    rows = np.repeat(np.arange(len(texts)), np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)))
    first = np.ones(len(codes), dtype=np.bool_)
    first[1:] = (classes[1:] != classes[:-1]) | (rows[1:] != rows[:-1])
    return classes, rows, first


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(islice(iterator, TEXTS_PER_BATCH)):
        yield batch


def _scripts(texts: Sequence[str]) -> NDArray[np.int64]:
    import numpy as np

    kinds = CharacterClass
    classes, rows, first = character_classes(texts)
    counted = (classes < kinds.LATIN) | first
    shape = (len(texts), len(kinds))
    letters = np.bincount(rows[counted] * len(kinds) + classes[counted], minlength=shape[0] * shape[1]).reshape(shape)
    simplified, traditional, kana = (letters[:, kind] for kind in (kinds.SIMPLIFIED, kinds.TRADITIONAL, kinds.KANA))
    han = letters[:, kinds.HAN] + simplified + traditional
    total = letters[:, kinds.HAN : kinds.DIGIT].sum(axis=1)
    needed = SHARE * total
    japanese = (kana > 0) & (kana >= LEAST_KANA_SHARE * (han + kana))
    chinese = ~japanese & (han >= needed)
    telling = simplified + traditional
    answers = {
        "none": total == 0,
        "simplified_chinese": chinese & (simplified > 0) & (simplified >= SHARE * telling),
        "traditional_chinese": chinese & (traditional > 0) & (traditional >= SHARE * telling),
        "chinese": chinese,
        "japanese": japanese & (han + kana >= needed),
        "korean": letters[:, kinds.HANGUL] >= needed,
        "latin": letters[:, kinds.LATIN] >= needed,
        "cyrillic": letters[:, kinds.CYRILLIC] >= needed,
        "other": letters[:, kinds.OTHER] >= needed,
    }
    return np.select(list(answers.values()), [SCRIPTS.index(script) for script in answers], SCRIPTS.index("mixed"))


@cache
def _classes() -> NDArray[np.uint8]:
    import numpy as np

    table = np.full(_UNICODE_END, CharacterClass.SIGN, dtype=np.uint8)
    # Letters beyond the supplementary planes of Han do not exist; the table is made once a process, in milliseconds.
    for code in range(0x20000):
        character = chr(code)
        if character.isalpha():
            table[code] = CharacterClass.OTHER
        elif character.isdecimal():
            table[code] = CharacterClass.DIGIT
        elif character.isspace() or code < 0x20 or 0x7F <= code < 0xA0:
            table[code] = CharacterClass.SPACE
    for script, blocks in _BLOCKS.items():
        for start, end in blocks:
            block = table[start:end]
            every = script == "HAN"
            block[np.full(len(block), True) if every else block == CharacterClass.OTHER] = CharacterClass[script]
    simplified, traditional = _characters_of("gb2312"), _characters_of("big5")
    table[list(simplified - traditional)] = CharacterClass.SIMPLIFIED
    table[list(traditional - simplified)] = CharacterClass.TRADITIONAL
    return table


def _characters_of(encoding: str) -> set[int]:
    return {code for code in range(0x4E00, 0xA000) if chr(code).encode(encoding, "ignore")}
