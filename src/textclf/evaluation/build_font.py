"""Builds the Chinese font that the plots use, from Noto Sans CJK.

A machine without Chinese fonts would draw empty boxes, and the complete font is 19 MB, so the package contains a
subset: ASCII, Latin-1, common punctuation and GB2312, whose 6,763 hanzi cover simplified Chinese. It is renamed,
because under the old name it would hide an installed complete font, and remains under the SIL Open Font License
(`font_files/OFL.txt`). To rebuild it:

    apt-get install fonts-noto-cjk
    python -m textclf.evaluation.build_font /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc

fontTools is installed with matplotlib.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from textclf.evaluation.fonts import BUNDLED_FAMILY, BUNDLED_FONT

SIMPLIFIED_CHINESE_FACE = 2
"""Index of the face with simplified Chinese forms in the Noto collection."""

_UNUSED_TABLES = ["BASE", "DSIG", "GDEF", "GPOS", "GSUB", "STAT", "VORG", "meta", "vhea", "vmtx"]
_LEGAL_NAMES = {0, 7, 8, 9, 11, 13, 14}


def gb2312(first_row: int, last_row: int) -> set[int]:
    """Returns the code points of rows of the GB2312 table, first and last included: hanzi are in rows 16 to 87."""
    points = set()
    for row in range(first_row, last_row + 1):
        for cell in range(1, 95):
            try:
                points.add(ord(bytes([row + 0xA0, cell + 0xA0]).decode("gb2312")))
            except UnicodeDecodeError:
                continue
    return points


def bundled_characters() -> set[int]:
    """Returns the code points that the font should contain."""
    latin = set(range(0x20, 0x7F)) | set(range(0xA0, 0x100))
    punctuation = set(range(0x2010, 0x2028)) | {0x2030, 0x20AC, 0x2122, 0x2212, 0x25A1}
    return latin | punctuation | gb2312(1, 1) | gb2312(3, 3) | gb2312(16, 87)


def build_font(source: Path, target: Path = BUNDLED_FONT) -> Path:
    """Extracts the needed characters from `NotoSansCJK-Regular.ttc` into a renamed OpenType font; returns its path.

    Raises:
        OSError: The source cannot be read or the target cannot be written.
    """
    from fontTools import subset
    from fontTools.ttLib import TTFont

    options = subset.Options()
    options.hinting = False
    options.glyph_names = False
    options.layout_features = []
    options.notdef_outline = True
    options.name_IDs = ["*"]
    options.drop_tables += _UNUSED_TABLES
    # Keeping Noto's modification time makes the bytes reproducible.
    font = TTFont(source, fontNumber=SIMPLIFIED_CHINESE_FACE, recalcTimestamp=False)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=bundled_characters())
    subsetter.subset(font)

    postscript_name = f"{BUNDLED_FAMILY.replace(' ', '')}-Regular"
    table = font["name"]
    table.names = [record for record in table.names if record.nameID in _LEGAL_NAMES and record.langID == 0x409]
    new_names = {1: BUNDLED_FAMILY, 2: "Regular", 3: postscript_name, 4: BUNDLED_FAMILY, 6: postscript_name}
    for identifier, name in new_names.items():
        table.setName(name, identifier, 3, 1, 0x409)
    outlines = font["CFF "].cff
    outlines.fontNames = [postscript_name]
    outlines.topDictIndex[0].FamilyName = outlines.topDictIndex[0].FullName = BUNDLED_FAMILY
    font.save(target)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Builds the Chinese font that the plots use.")
    parser.add_argument("source", type=Path, help="NotoSansCJK-Regular.ttc")
    print(build_font(parser.parse_args().source))
