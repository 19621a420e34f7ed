"""Tables shared by page, terminal and Markdown: counts, decisions, quarantined rows and labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from textclf.audit.findings import Findings
from textclf.config.data import finding_name
from textclf.config.sources import Split, split_name
from textclf.data.quarantine import reason_name
from textclf.language import _, ngettext
from textclf.pages.tables import Table
from textclf.records import Quarantined

MOST_LABELS = 30
"""Labels in a table; only the number of the others is given."""
LENGTH_RATIO = 1.5
"""Ratio of two labels' median lengths above which length gives a label away."""


def counts_table(findings: Findings) -> Table:
    """Counts what was found in each split."""
    shared, near = findings.cross_split, findings.near_duplicates
    figures: dict[str, Callable[[Split], int | None]] = {
        _("rows before"): lambda split: findings.rows[split],
        _("rows after"): lambda split: findings.rows_after[split],
        _("repeated rows"): lambda split: findings.duplicates[split].normalized,
        _("rows in conflict"): lambda split: findings.conflicts[split].rows,
        _("in train"): lambda split: shared[split].normalized if split in shared else None,
        _("near copy in train"): lambda split: shared[split].near if split in shared else None,
        _("near copies of earlier rows"): lambda split: None if near is None else near.rows.get(split, 0),
        _("over {length:,} tokens").format(length=findings.lengths["train"].max_length): lambda split: (
            findings.lengths[split].cut
        ),
        _("personal data"): lambda split: sum(findings.personal_data.get(split, {}).values()),
        _("damaged rows"): lambda split: findings.damaged[split],
    }
    rows = [[name, *(count(figure(split)) for split in findings.rows)] for name, figure in figures.items()]
    return Table([_("rows"), *split_names(findings)], rows)


def decisions_table(findings: Findings) -> Table:
    """Lists the decisions of the policy, and how many training rows each removed."""
    rows = [
        [
            finding_name(decision.finding),
            _choice_name(decision.finding, decision.choice),
            f"{decision.rows:,}",
        ]
        for decision in findings.decisions
    ]
    return Table([_("Finding"), _("Decision"), _("training rows removed")], rows, text_columns=2)


def quarantine_table(kinds: Sequence[Quarantined], *, most: int | None = None) -> Table:
    """Counts the kinds of broken rows; those beyond the `most` frequent ones share a row."""
    shown = kinds[:most]
    rows = [[reason_name(kind.reason), f"{kind.rows:,}"] for kind in shown]
    if rest := kinds[len(shown) :]:
        rows.append([_("{count:,} more").format(count=len(rest)), f"{sum(kind.rows for kind in rest):,}"])
    return Table([_("Reason"), _("rows")], rows)


def labels_table(findings: Findings) -> Table:
    """Counts the most frequent labels by split, next to the median length of their training texts."""
    counts, medians = findings.labels.counts, findings.labels.median_characters
    shares = label_shares(findings)
    names = shown_labels(findings)
    shortest = min((length for length in medians.values() if length > 0), default=0)
    rows = [
        [
            name,
            *(f"{counts[split].get(name, 0):,} ({shares[split].get(name, 0):.1%})" for split in findings.rows),
            f"{medians[name]:,.0f}" if name in medians else "–",
        ]
        for name in names
    ]
    marked = frozenset(index for index, name in enumerate(names) if medians.get(name, 0) > LENGTH_RATIO * shortest > 0)
    return Table([_("Label"), *split_names(findings), _("median characters in train")], rows, marked=marked)


def hidden_labels(findings: Findings) -> str:
    """Describes the labels that the table omits; empty if it shows all."""
    shown = shown_labels(findings)
    hidden = findings.labels.counts["train"].keys() - set(shown)
    if not hidden:
        return ""
    rows = sum(by_label.get(name, 0) for by_label in findings.labels.counts.values() for name in hidden)
    return ngettext(
        "The {shown:,} most frequent labels are shown; {count:,} more has {rows:,} rows.",
        "The {shown:,} most frequent labels are shown; {count:,} more have {rows:,} rows together.",
        len(hidden),
    ).format(shown=len(shown), count=len(hidden), rows=rows)


def kind_name(kind: str) -> str:
    """Names a kind of personal data in the current language; one that another version added keeps its key."""
    names = {
        "mobile_phone": _("mobile phone"),
        "landline_phone": _("landline phone"),
        "email": _("e-mail address"),
        "identity_card": _("identity card"),
    }
    return names.get(kind, kind)


def shown_labels(findings: Findings) -> list[str]:
    """The labels to show, the most frequent first."""
    by_split = findings.labels.counts
    totals = {name: sum(counts.get(name, 0) for counts in by_split.values()) for name in by_split["train"]}
    return sorted(totals, key=lambda name: -totals[name])[:MOST_LABELS]


def label_shares(findings: Findings) -> Mapping[Split, Mapping[str, float]]:
    """Share of each label in each split, 0 to 1."""
    return {
        split: {name: rows / (sum(counts.values()) or 1) for name, rows in counts.items()}
        for split, counts in findings.labels.counts.items()
    }


def split_names(findings: Findings) -> Iterable[str]:
    """The names of the splits, in order."""
    return [split_name(split) for split in findings.rows]


def count(number: int | None) -> str:
    """Formats a count, or a dash for None."""
    return "–" if number is None else f"{number:,}"


def _choice_name(finding: str, choice: str) -> str:
    names = {
        ("leaks", "drop"): _("training copies dropped (drop)"),
        ("leaks", "drop_near"): _("training copies and near copies dropped (drop_near)"),
        ("conflicts", "majority"): _("the most frequent label kept (majority)"),
        ("conflicts", "drop"): _("all dropped (drop)"),
        ("duplicates", "drop"): _("all but the first dropped (drop)"),
        ("duplicates", "weight"): _("the first kept, weighted by its copies (weight)"),
    }
    return _("kept (keep)") if choice == "keep" else names.get((finding, choice), choice)
