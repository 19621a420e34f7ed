"""Example findings for the tests of the audit's report: of clean data, and of data where everything is wrong."""

from __future__ import annotations

from textclf.audit.findings import (
    Conflicts,
    CrossSplit,
    Decision,
    Distribution,
    Duplicates,
    Example,
    ExamplePair,
    Examples,
    Findings,
    Labels,
    LabelShift,
    Lengths,
    NearDuplicates,
)
from textclf.config.sources import Split
from textclf.records import Quarantined

SCRIPT = "<script>alert(1)</script>"
TEMPLATE = "{{ 7*7 }}"
MARKDOWN = "[x](javascript:alert(1)) | **`y`** <b>"
LONG_LABEL = "农业与乡村振兴、粮食安全及水利基础设施建设专项资金使用情况监督检查"
REVIEWS = (
    "房间很干净，前台服务热情，早餐的豆浆和油条都不错，离地铁站走路五分钟，下次出差还会选择这家酒店。",
    "键盘手感一般，用了两个星期空格键就失灵了，联系客服三天没有人回复，非常失望，不建议购买。",
    "这本书的翻译很流畅，注释也详细，对初学者很友好；只是纸张偏薄，背面的字会透过来。",
    "物流很快，包装完好，电池续航比想象中好，就是充电器有点发烫。",
    "服务态度极差！！！等了一个多小时才上菜，鱼还是凉的……",
)
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def clean_findings(**changes: object) -> Findings:
    """Findings of flawless data."""
    rows: dict[Split, int] = {"train": 9600, "validation": 1200, "test": 1200}
    findings = Findings(
        version="0f3a5c7e9b1d2f4a",
        name="reviews",
        origin="local reviews.tsv",
        rows=rows,
        quarantined=(),
        duplicates={split: Duplicates(exact=0, normalized=0, texts=0) for split in SPLITS},
        conflicts={split: Conflicts(texts=0, rows=0) for split in SPLITS},
        cross_split={
            split: CrossSplit(exact=0, normalized=0, near=0, other_label=0, leak_free=1200)
            for split in SPLITS
            if split != "train"
        },
        near_duplicates=NearDuplicates(threshold=0.8, ngram_size=3, pairs=0, rows=dict.fromkeys(SPLITS, 0)),
        labels=Labels(
            counts={split: {"负面": count // 2, "正面": count // 2} for split, count in rows.items()},
            shift={split: LabelShift(total_variation=0.0, p_value=1.0) for split in SPLITS if split != "train"},
            median_characters={"负面": 61.0, "正面": 58.0},
        ),
        lengths={split: _lengths(count, cut=0) for split, count in rows.items()},
        tokenizer="huggingface tiansz/bert-base-chinese",
        unknown_token_share=dict.fromkeys(SPLITS, 0.0004),
        personal_data={split: {"mobile_phone": 0, "email": 0} for split in SPLITS},
        damaged=dict.fromkeys(SPLITS, 0),
        dates=None,
        decisions=tuple(_decisions("drop", "majority", "keep", rows=(0, 0, 0))),
        rows_after=rows,
        version_after="0f3a5c7e9b1d2f4a",
        seconds=3.2,
        examples=Examples(duplicates=(), conflicts=(), leaks=(), near_duplicates=(), personal_data={}, damaged=()),
    )
    return findings.model_copy(update=changes)


def bad_findings(**changes: object) -> Findings:
    """Findings of data in which everything is wrong, with hostile names and texts."""
    clean = clean_findings()
    labels = [
        "正面",
        "负面",
        LONG_LABEL,
        f"{SCRIPT} {TEMPLATE}",
        MARKDOWN,
        "Miscellaneous_and_other_unclassified_topics",
    ]
    train = dict(zip(labels, (6100, 2800, 400, 200, 92, 8), strict=True))
    other = dict(zip(labels, (500, 600, 60, 30, 10, 0), strict=True))
    findings = clean.model_copy(
        update={
            "name": f"评论 {SCRIPT}",
            "origin": f"huggingface lansinuote/ChnSentiCorp at https://hf-mirror.com, revision {TEMPLATE}",
            "version_after": "7d21aa90c4e35b68",
            "quarantined": (
                Quarantined(
                    reason="wrong number of fields",
                    rows=454,
                    examples=tuple(
                        f"数据/train.tsv, row {1000 + row:,}: {SCRIPT} {REVIEWS[row % 5]}" for row in range(10)
                    ),
                ),
                Quarantined(reason="empty text", rows=3, examples=("train.tsv, row 7: ", "dev.tsv, row 2: ")),
                Quarantined(reason="a reason of tomorrow", rows=1, examples=()),
            ),
            "duplicates": {
                "train": Duplicates(exact=1190, normalized=1231, texts=820),
                "validation": Duplicates(exact=30, normalized=31, texts=30),
                "test": Duplicates(exact=0, normalized=1, texts=1),
            },
            "conflicts": {
                "train": Conflicts(texts=41, rows=96),
                "validation": Conflicts(texts=1, rows=2),
                "test": Conflicts(texts=0, rows=0),
            },
            "cross_split": {
                "validation": CrossSplit(exact=280, normalized=290, near=31, other_label=0, leak_free=870),
                "test": CrossSplit(exact=300, normalized=331, near=57, other_label=12, leak_free=812),
            },
            "near_duplicates": NearDuplicates(
                threshold=0.8, ngram_size=3, pairs=512, rows={"train": 431, "validation": 9, "test": 4}
            ),
            "labels": Labels(
                counts={"train": train, "validation": other, "test": other},
                shift={
                    "validation": LabelShift(total_variation=0.031, p_value=0.0004),
                    "test": LabelShift(total_variation=0.219, p_value=1e-30),
                },
                median_characters=dict(zip(labels, (52.0, 88.0, 140.0, 61.0, 60.0, 412.0), strict=True)),
            ),
            "lengths": {split: _lengths(count, cut=count // 10) for split, count in clean.rows.items()},
            "unknown_token_share": {"train": 0.011, "validation": 0.012, "test": 0.064},
            "personal_data": {
                "train": {"mobile_phone": 37, "landline_phone": 4, "email": 12, "identity_card": 1},
                "validation": {"mobile_phone": 2, "landline_phone": 0, "email": 1, "identity_card": 0},
                "test": {"mobile_phone": 3, "landline_phone": 0, "email": 0, "identity_card": 0},
            },
            "damaged": {"train": 14, "validation": 0, "test": 2},
            "dates": {
                "train": ("2019-01-03", "2021-06-30"),
                "validation": ("2021-05-01", "2021-07-31"),
                "test": ("2021-08-01", "2021-12-31"),
            },
            "decisions": tuple(_decisions("keep", "majority", "drop", rows=(0, 52, 1190))),
            "rows_after": clean.rows | {"train": 9600 - 1242},
            "seconds": 12.84,
            "examples": Examples(
                duplicates=_pairs("train", "train", labels),
                conflicts=_pairs("train", "train", labels, other_label=True),
                leaks=_pairs("train", "test", labels),
                near_duplicates=_pairs("train", "validation", labels, similarity=0.874),
                personal_data={
                    "mobile_phone": (_example("train", 17, labels[0], "请联系王经理 138****5678，谢谢。"),),
                    "email": (_example("validation", 3, labels[1], "来信请寄 ****@example.com"),),
                },
                damaged=tuple(
                    _example("train", row, labels[0], "ÎÒÃÇ¶¼ºÜÂúÒâ 锟斤拷锟斤拷 \ufffd\ufffd") for row in (4, 9)
                ),
            ),
        }
    )
    return findings.model_copy(update=changes)


def many_labels(number: int) -> Findings:
    """Findings of clean data with many labels, the later ones rarer."""
    counts = {f"类别{index:04d}": 20_000 - 10 * index for index in range(number)}
    labels = Labels(counts=dict.fromkeys(SPLITS, counts), shift={}, median_characters=dict.fromkeys(counts, 60.0))
    return clean_findings(labels=labels)


def leak_policy(choice: str, rows: int) -> dict[str, object]:
    """How findings change with the decision about leaks."""
    return {"decisions": tuple(_decisions(choice, "majority", "keep", rows=(rows, 0, 0)))}


def _decisions(*choices: str, rows: tuple[int, int, int]) -> list[Decision]:
    kinds = zip(("leaks", "conflicts", "duplicates"), choices, rows, strict=True)
    return [Decision(finding=finding, choice=choice, rows=count) for finding, choice, count in kinds]


def _lengths(rows: int, *, cut: int) -> Lengths:
    shares = (0.02, 0.07, 0.16, 0.22, 0.18, 0.12, 0.08, 0.05, 0.04, 0.025, 0.015, 0.01, 0.005, 0.003, 0.001, 0.001)
    return Lengths(
        characters=Distribution(minimum=4, median=62.0, mean=81.3, p95=212.0, p99=301.0, maximum=1985),
        tokens=Distribution(minimum=6, median=64.0, mean=83.9, p95=214.0, p99=303.0, maximum=1990),
        max_length=256,
        cut=cut,
        histogram=tuple((20 * (index + 1), round(rows * share)) for index, share in enumerate(shares)),
    )


def _example(split: Split, row: int, label: str, text: str) -> Example:
    return Example(split=split, source=f"数据集/{split}.tsv", row=row, label=label, text=text)


def _pairs(
    first: Split, second: Split, labels: list[str], *, similarity: float = 1.0, other_label: bool = False
) -> tuple[ExamplePair, ...]:
    texts = [
        *REVIEWS,
        f"{SCRIPT} {TEMPLATE} `{MARKDOWN}`",
        "无空格的很长一行" + "很" * 280,
        "https://example.com/" + "a" * 200,
    ]
    return tuple(
        ExamplePair(
            first=_example(first, 10 + index, labels[index % len(labels)], text),
            second=_example(second, 1210 + index, labels[(index + other_label) % len(labels)], text),
            similarity=similarity,
        )
        for index, text in enumerate(texts)
    )
