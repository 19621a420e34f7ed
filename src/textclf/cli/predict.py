"""`textclf predict`: answers texts at once, with a registered model."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, BinaryIO

from textclf.config import Home, Parser, PredictConfig
from textclf.errors import ConfigError
from textclf.language import _
from textclf.tables import display_width, one_line, pad, shorten, wrap

if TYPE_CHECKING:
    from textclf.model.classifier import Classifier
    from textclf.model.rows import RowAnswer
    from textclf.registry.versions import ChosenModel

EXAMPLES = """\
  textclf predict 房间很干净 太差了
  textclf predict --json --model textclf-chnsenticorp < reviews.txt
  tail -f comments.log | textclf predict
"""
MAX_LINE_BYTES = 16 << 20
"""A longer line is not predicted, so that memory stays bounded."""
_READ_BYTES = 1 << 16
_WIDEST_LABEL, _NARROWEST_TEXT, _SCORE_WIDTH = 24, 20, 6


@dataclass(frozen=True)
class Line:
    """One text to answer, or a pair of them; with a problem, it is only shown."""

    texts: tuple[str, ...]
    problem: str | None = None


def predict(arguments: Sequence[str]) -> int:
    """Prints an answer to each text.

    Returns:
        0; 2 if there were texts and none could be answered.

    Raises:
        TextclfError: The model cannot be found or loaded, or the arguments do not fit it.
    """
    from textclf.registry.lookup import load_resolved, resolve_model

    given = _parse(arguments)
    home = Home.from_environment()
    chosen = resolve_model(home, given.model or _default_model(home, given.alias), given.alias)
    classifier = load_resolved(home, chosen, engine=given.engine)
    threshold = classifier.threshold(given.min_precision)
    typed = _typed(given.texts, pairs=classifier.pairs)
    print(
        _("{model} version {version} ({alias}) answers, computed by {engine}.").format(
            model=chosen.name, version=chosen.version, alias=given.alias, engine=classifier.engine_name
        ),
        file=sys.stderr,
        flush=True,
    )
    table = None if given.json else _Table(classifier, typed)
    asked = answered = 0
    for lines in [typed] if typed else _piped(pairs=classifier.pairs):
        if table and not asked:
            print(table.header())
        for line, answer in _answer(classifier, lines, threshold):
            asked += 1
            answered += answer.error is None
            print(table.row(line, answer) if table else _json_line(line, answer, chosen, classifier))
        # Whoever waits at the other end of a pipe gets each answer when it is known.
        sys.stdout.flush()
    return 2 if asked and not answered else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    from textclf.model.engines.engine import EXPORTED_ENGINES

    width = shutil.get_terminal_size().columns
    description = _(
        "Answers texts at once with a registered model: those that are given as arguments, else the lines of standard "
        "input, each as soon as it arrives. For a model of pairs, two arguments make a pair; in a line, a tab stands "
        "between the two texts."
    )
    codes = _(
        "Exit code 0 if at least one text was answered, or none was given; 2 if none could be, or for a mistake; 1 for "
        "a failure. A text that batch prediction would put into quarantine is answered with the reason."
    )
    parser = Parser(
        prog="textclf predict",
        # `parse_intermixed_args` would cut the length of the English `usage: ` off a generated one.
        usage="%(prog)s [TEXT …] [--model MODEL] [--alias ALIAS] [--engine ENGINE] [--min-precision P] [--json] "
        "[--debug]",
        description="\n".join(wrap(description, width)),
        epilog="\n".join(wrap(codes, width)) + f"\n\n{_('examples:')}\n{EXAMPLES}",
        allow_abbrev=False,
    )
    parser.add_argument("texts", nargs="*", metavar="TEXT", help=_("a text (default: the lines of standard input)"))
    parser.add_argument(
        "--model",
        help=_("registered model (default: the only one with the alias, or {name})").format(name=_flow_default()),
    )
    parser.add_argument(
        "--alias",
        default="champion",
        help=_("alias of the version to use (default: {default})").format(default="champion"),
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "torch", *EXPORTED_ENGINES),
        default="auto",
        help=_("what computes (default: auto, an exported engine that agrees with the model, else torch)"),
    )
    parser.add_argument(
        "--min-precision",
        type=float,
        metavar="P",
        help=_("answer `abstain` where fewer than this share of the labels would be right, e.g. 0.95"),
    )
    parser.add_argument("--json", action="store_true", help=_("print one JSON object for each text, on a line"))
    parser.add_argument("--debug", action="store_true", help=_("Show a traceback when something fails."))
    return parser.parse_intermixed_args(arguments)


def _flow_default() -> str:
    return str(PredictConfig.model_fields["model"].default)


def _default_model(home: Home, alias: str) -> str:
    """Returns the only registered model with the alias, else the one that the prediction flow uses by default."""
    from textclf.registry.lookup import models_with

    names = models_with(home, alias)
    if len(names) == 1:
        return names[0]
    default = _flow_default()
    if names and default not in names:
        raise ConfigError(f"Several models have the alias {alias}; choose one with --model: {', '.join(names)}.")
    return default


def _typed(texts: Sequence[str], *, pairs: bool) -> list[Line]:
    """Converts the arguments.

    Raises:
        ConfigError: They do not make pairs.
    """
    if not pairs:
        return [Line((text,)) for text in texts]
    if len(texts) % 2:
        raise ConfigError(
            f"The model classifies pairs of texts, but {len(texts):,} texts were given. Give two for each pair."
        )
    return [Line(pair) for pair in zip(texts[::2], texts[1::2], strict=True)]


def _piped(*, pairs: bool) -> Iterator[list[Line]]:
    """Yields the lines of standard input, as many at once as have arrived."""
    if sys.stdin is None:
        return
    if sys.stdin.isatty():
        print(_("Type a text and press Enter; end with Ctrl-D."), file=sys.stderr, flush=True)
    for lines in _raw_lines(sys.stdin.buffer):
        yield [_line(raw, pairs=pairs) for raw in lines]


def _raw_lines(stream: BinaryIO) -> Iterator[list[bytes]]:
    """Yields complete lines without their ends; of one that is too long, the beginning."""
    pending, first = b"", True
    # `read1` returns what has arrived, without waiting for more.
    while chunk := stream.read1(_READ_BYTES):  # type: ignore[attr-defined]
        *lines, pending = (pending + chunk).split(b"\n") if b"\n" in chunk else (pending + chunk,)
        # One byte more than allowed shows that the line is too long, however it goes on.
        pending = pending[: MAX_LINE_BYTES + 1]
        if lines:
            yield [lines[0].removeprefix(b"\xef\xbb\xbf"), *lines[1:]] if first else lines
            first = False
    if pending:
        yield [pending.removeprefix(b"\xef\xbb\xbf") if first else pending]


def _line(raw: bytes, *, pairs: bool) -> Line:
    if len(raw) > MAX_LINE_BYTES:
        return Line((raw[:1000].decode("utf-8", "replace"),), f"longer than {MAX_LINE_BYTES >> 20} MiB")
    try:
        text = raw.decode("utf-8").removesuffix("\r")
    except UnicodeDecodeError as error:
        return Line((raw.decode("utf-8", "replace"),), f"not UTF-8 (byte {error.start + 1})")
    texts = tuple(text.split("\t")) if pairs else (text,)
    if pairs and len(texts) != 2:
        return Line((text,), f"expected two texts with a tab between them, found {len(texts)}")
    return Line(texts)


def _answer(classifier: Classifier, lines: Sequence[Line], threshold: float) -> Iterable[tuple[Line, RowAnswer]]:
    from textclf.model.rows import RowAnswer, answer_rows

    answers = iter(
        answer_rows(classifier, [line.texts for line in lines if line.problem is None], abstain_below=threshold)
    )
    return [(line, next(answers) if line.problem is None else RowAnswer(error=line.problem)) for line in lines]


def _json_line(line: Line, answer: RowAnswer, chosen: ChosenModel, classifier: Classifier) -> str:
    content = {
        **dict(zip(("text", "text_pair"), line.texts, strict=False)),
        **asdict(answer),
        "model": chosen.name,
        "version": chosen.version,
        "engine": classifier.engine_name,
    }
    return json.dumps(content, ensure_ascii=False)


class _Table:
    """A table that begins before its last line is known: its columns have the widths that fit into the terminal.

    Args:
        classifier: Has the labels.
        lines: What will be shown, if it is known.
    """

    def __init__(self, classifier: Classifier, lines: Sequence[Line]) -> None:
        self._has_rungs = len(classifier.rungs) > 1
        self._heading = [
            _("text"),
            _("label"),
            *([_("answered by")] if self._has_rungs else []),
            _("score"),
            _("error"),
        ]
        self._label = min(max(map(display_width, (*classifier.labels, _("label")))), _WIDEST_LABEL)
        rungs = [max(map(display_width, (*classifier.rungs, _("answered by"))))] if self._has_rungs else []
        fixed = [self._label, *rungs, max(display_width(_("score")), _SCORE_WIDTH)]
        room = shutil.get_terminal_size().columns - sum(width + 2 for width in fixed)
        self._text = max(room, _NARROWEST_TEXT)
        if lines:
            self._text = min(self._text, max(display_width(text) for text in (_("text"), *map(_shown, lines))))
        # What stands in the last column moves nothing.
        self._widths = [self._text, *fixed, 0]

    def header(self) -> str:
        return self._pad(self._heading)

    def row(self, line: Line, answer: RowAnswer) -> str:
        rung = [answer.answered_by or "–"] if self._has_rungs else []
        label = "–" if answer.label is None else shorten(one_line(answer.label), self._label)
        score = "–" if answer.score is None else f"{answer.score:.4f}"
        return self._pad([shorten(_shown(line), self._text), label, *rung, score, answer.error or ""])

    def _pad(self, cells: Sequence[str]) -> str:
        return pad(cells, self._widths, text_columns=len(cells) - 2)


def _shown(line: Line) -> str:
    return " | ".join(one_line(text) for text in line.texts)
