"""Every sentence and heading of the audit's report, in English and Chinese.

Texts are format strings. In English, `[row|rows]` becomes the first word if `count` is 1, else the second;
`[row|rows|removed]` depends on `removed` instead. Backticks mark names from the configuration or the metrics.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

Language = Literal["en", "zh"]

# key: (English, Chinese)
_TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Data audit: {name}", "数据审计：{name}"),
    "named": ("{name}: {value}", "{name}：{value}"),
    "origin": ("Origin", "来源"),
    "version": ("Data version", "数据版本"),
    "version_after": ("Version after the audit", "审计后的版本"),
    "seconds": ("Duration", "耗时"),
    "seconds_value": ("{seconds:,.1f} s", "{seconds:,.1f} 秒"),
    "verdict": ("What matters", "结论"),
    "all_clear": (
        "Nothing to worry about: no leaks, no conflicting labels, nothing quarantined, nothing unusual.",
        "一切正常：没有泄漏，没有标签冲突，没有隔离的行，也没有其他异常。",
    ),
    "nothing_serious": ("Nothing serious was found.", "没有发现严重问题。"),
    "severity.serious": ("serious", "严重"),
    "severity.warning": ("warning", "警告"),
    "severity.note": ("note", "提示"),
    "severity.handled": ("handled", "已处理"),
    "more_verdicts": ("and {count:,} more in the report", "报告中还有 {count:,} 项"),
    "more": ("{count:,} more", "其余 {count:,} 项"),
    "report_path": ("Report: {path}", "报告：{path}"),
    "contents": ("Sections", "目录"),
    "split": ("Split", "数据集"),
    "split.train": ("train", "训练集"),
    "split.validation": ("validation", "验证集"),
    "split.test": ("test", "测试集"),
    # Verdicts
    "leak": (
        "{count:,} of {total:,} {split} rows ({share:.1%}) also [appears|appear] in train, {exact:,} of them word for "
        "word.",
        "{split}的 {total:,} 条中有 {count:,} 条（{share:.1%}）也出现在训练集里，其中 {exact:,} 条逐字相同。",
    ),
    "leak_kept": ("Scores on these rows are inflated.", "在这些数据上测得的分数偏高。"),
    "leak_handled": ("Their copies in train are excluded from training.", "训练时已去除训练集中的这些文本。"),
    "leak_free": (
        "`test_leakfree/…` is measured on the {leak_free:,} leak-free rows.",
        "`test_leakfree/…` 只用无泄漏的 {leak_free:,} 条计算。",
    ),
    "near_leak": (
        "{count:,} of {total:,} {split} rows ({share:.1%}) [is|are] nearly the same as a training row.",
        "{split}的 {total:,} 条中有 {count:,} 条（{share:.1%}）与训练集的某条近似重复。",
    ),
    "near_leak_handled": ("Those training rows are excluded from training.", "训练时已去除训练集中的这些近似文本。"),
    "other_label": (
        "{count:,} {split} [row has|rows have] a text that appears in train only with another label: one of the two "
        "is wrong.",
        "{split}有 {count:,} 条文本在训练集里只带有其他标签：两者必有一个标错。",
    ),
    "conflict": (
        "{texts:,} [text|texts] in {split} [has|have] conflicting labels ({rows:,} rows, {share:.1%}).",
        "{split}有 {texts:,} 条文本存在标签冲突，涉及 {rows:,} 行（{share:.1%}）。",
    ),
    "conflict_kept": ("No model can get them all right.", "任何模型都不可能全部判对。"),
    "removed": ("{removed:,} [row is|rows are|removed] excluded from training.", "训练时已去除其中 {removed:,} 行。"),
    "duplicate": (
        "{count:,} of {total:,} {split} rows ({share:.1%}) [repeats|repeat] the text of an earlier row.",
        "{split}的 {total:,} 条中有 {count:,} 条（{share:.1%}）与前面的某条重复。",
    ),
    "quarantined_row": ("{source}, row {row}: {shown}", "{source}，第 {row} 行：{shown}"),
    "near_duplicate": (
        "{count:,} of {total:,} {split} rows ({share:.1%}) [is|are] nearly the same as an earlier row.",
        "{split}的 {total:,} 条中有 {count:,} 条（{share:.1%}）与前面的某条近似重复。",
    ),
    "quarantined": (
        "{count:,} of {total:,} rows ({share:.1%}) [breaks|break] the contract and [was|were] quarantined.",
        "读入的 {total:,} 行中有 {count:,} 行（{share:.1%}）不符合数据约定，已隔离（quarantine）。",
    ),
    "shift": (
        "Labels in {split} are distributed differently from those in train (total variation {share:.2f}): compare "
        "scores label by label.",
        "{split}的标签分布与训练集不同（总变差距离 {share:.2f}）：请按标签逐个比较分数。",
    ),
    "absent": (
        "{count:,} [label has|labels have] no {split} rows, so {split} scores say nothing about [it|them].",
        "有 {count:,} 个标签在{split}里没有数据：这些标签没有评测结果。",
    ),
    "few": (
        "{count:,} [label has|labels have] fewer than {least} training rows: [it is|they are] hard to learn.",
        "有 {count:,} 个标签的训练数据不足 {least} 条：难以学好。",
    ),
    "imbalance": (
        "The most frequent label has {ratio:,.0f} times as many training rows as the rarest: judge by macro F1, not "
        "by accuracy.",
        "训练集中最多的标签是最少的 {ratio:,.0f} 倍：请看宏平均 F1，而不是准确率。",
    ),
    "length_by_label": (
        "Training texts of “{long}” are {ratio:.1f} times as long as those of “{short}” (medians {longest:,.0f} and "
        "{shortest:,.0f} characters): a model may rely on length alone.",
        "训练集里“{long}”的文本长度是“{short}”的 {ratio:.1f} 倍（中位数 {longest:,.0f} 字与 {shortest:,.0f} 字）："
        "模型可能只凭长度判断。",
    ),
    "cut": (
        "{count:,} of {total:,} rows ({share:.1%}) [is|are] longer than {length:,} tokens and will be cut: the model "
        "does not see how [it ends|they end].",
        "共 {total:,} 条，其中 {count:,} 条（{share:.1%}）超过 {length:,} 个 token，会被截断：模型看不到后面的内容。",
    ),
    "unknown": (
        "{share:.1%} of the {split} tokens are not in the vocabulary of {tokenizer}.",
        "{split}有 {share:.1%} 的 token 不在 {tokenizer} 的词表里。",
    ),
    "personal": (
        "{count:,} [occurrence|occurrences] of personal data ({kinds}): check that you may use it; "
        "`cleaning.mask_personal_data` masks it.",
        "发现 {count:,} 处个人信息（{kinds}）：请确认是否允许使用；`cleaning.mask_personal_data` 可以屏蔽。",
    ),
    "damaged": (
        "{count:,} of {total:,} rows ({share:.1%}) [looks|look] damaged, probably by a wrong conversion between "
        "encodings.",
        "共 {total:,} 条，其中 {count:,} 条（{share:.1%}）疑似乱码，可能经过错误的编码转换。",
    ),
    "time_overlap": (
        "Train runs until {train_end}, {split} starts on {begin}: the model is trained on rows from the period that "
        "it is measured on.",
        "训练集截至 {train_end}，{split}从 {begin} 开始：时间上有重叠，模型训练时已见过评测时段的数据。",
    ),
    # Sections
    "section.rows": ("Rows and policy", "行数与处理策略"),
    "section.quarantined": ("Quarantined rows", "隔离的行"),
    "section.duplicates": ("Duplicates and conflicts", "重复与标签冲突"),
    "section.leaks": ("Leaks between splits", "数据集之间的泄漏"),
    "section.near": ("Near duplicates", "近似重复"),
    "section.labels": ("Labels", "标签"),
    "section.lengths": ("Lengths", "文本长度"),
    "section.personal": ("Personal data", "个人信息"),
    "section.damaged": ("Damaged text", "乱码"),
    "section.dates": ("Dates", "日期"),
    # Rows
    "rows": ("rows", "行数"),
    "rows_before": ("rows before", "处理前"),
    "rows_after": ("rows after", "处理后"),
    "rows_intro": (
        "The policy changes training rows only; validation and test always stay as they are.",
        "处理策略只改动训练集，验证集和测试集保持不变。",
    ),
    "decision": ("Finding", "问题"),
    "choice": ("Decision", "处理"),
    "rows_removed": ("training rows removed", "删除的训练行"),
    "finding.leaks": ("leaks", "泄漏"),
    "finding.conflicts": ("label conflicts", "标签冲突"),
    "finding.duplicates": ("duplicates", "重复"),
    "choice.leaks.drop": ("training copies dropped (drop)", "删除训练集中的相同文本（drop）"),
    "choice.leaks.drop_near": (
        "training copies and near copies dropped (drop_near)",
        "删除训练集中的相同与近似文本（drop_near）",
    ),
    "choice.leaks.keep": ("kept (keep)", "保留（keep）"),
    "choice.conflicts.majority": ("the most frequent label kept (majority)", "保留多数标签（majority）"),
    "choice.conflicts.drop": ("all dropped (drop)", "全部删除（drop）"),
    "choice.conflicts.keep": ("kept (keep)", "保留（keep）"),
    "choice.duplicates.drop": ("all but the first dropped (drop)", "只保留第一条（drop）"),
    "choice.duplicates.weight": (
        "the first kept, weighted by its copies (weight)",
        "只保留第一条，并按份数加权（weight）",
    ),
    "choice.duplicates.keep": ("kept (keep)", "保留（keep）"),
    # Quarantine
    "none_quarantined": ("No row breaks the contract.", "所有行都符合数据约定。"),
    "reason": ("Reason", "原因"),
    "first_of": ("{reason}: the first {shown:,} of {count:,}", "{reason}：{count:,} 行中的前 {shown:,} 行"),
    # Duplicates
    "exact": ("word for word", "逐字相同"),
    "normalized": ("repeated rows", "重复行"),
    "repeated_texts": ("repeated texts", "重复文本"),
    "conflict_texts": ("conflicting texts", "冲突文本"),
    "conflict_rows": ("rows in conflict", "冲突行"),
    "duplicates_intro": (
        "Repeated rows: the text also appears in an earlier row of the same split, ignoring character width and white "
        "space. Rows in conflict: equal texts with different labels in the same split.",
        "重复行：忽略全角半角和空白后，文本与同一数据集前面的某行相同。冲突：同一数据集内文本相同而标签不同。",
    ),
    "share": ("share", "占比"),
    "examples.duplicates": ("Duplicates", "重复"),
    "examples.conflicts": ("Conflicts", "标签冲突"),
    "examples.leaks": ("Leaks", "泄漏"),
    "examples.near": ("Near duplicates", "近似重复"),
    "examples.damaged": ("Damaged texts", "乱码"),
    "examples": ("{what}: {count:,} [example|examples]", "{what}：{count:,} 个例子"),
    "place": ("{split} · {source}, row {row:,}", "{split} · {source} 第 {row:,} 行"),
    "label": ("Label", "标签"),
    "similarity": ("{share:.0%} alike", "相似度 {share:.0%}"),
    # Leaks
    "leaks_intro": (
        "Validation and test rows whose text also appears in train. Leak-free rows appear in no earlier split and "
        "only once in their own.",
        "验证集和测试集中文本也出现在训练集里的行。无泄漏的行：不在前面任何数据集中出现，彼此也不重复。",
    ),
    "leak_exact": ("word for word", "逐字相同"),
    "leak_normalized": ("in train", "出现在训练集"),
    "leak_near": ("near copy in train", "与训练集近似"),
    "leak_other_label": ("with another label", "标签不同"),
    "leak_free_rows": ("leak-free", "无泄漏"),
    # Near duplicates
    "near_intro": (
        "{count:,} [pair|pairs] of different texts that share at least {threshold:.0%} of their {size}-character "
        "n-grams (Jaccard).",
        "按 {size} 字 n-gram 计算，Jaccard 相似度不低于 {threshold:.0%} 的不同文本共 {count:,} 对。",
    ),
    "near_off": (
        "The search for near duplicates is turned off (`audit.near_duplicates: false`).",
        "没有检查近似重复（`audit.near_duplicates: false`）。",
    ),
    "near_rows": ("near copies of earlier rows", "近似重复行"),
    # Labels
    "labels_intro": ("{count:,} [label|labels].", "共 {count:,} 个标签。"),
    "labels_more": (
        "The {shown:,} most frequent labels are shown; {count:,} more [has|have] {rows:,} rows together.",
        "只列出最多的 {shown:,} 个标签；其余 {count:,} 个标签共 {rows:,} 条。",
    ),
    "share_chart": ("Share of each label, by split", "各数据集的标签占比"),
    "median_characters": ("median characters in train", "训练集长度中位数（字）"),
    "distance": ("total variation", "总变差距离"),
    "p_value": ("p-value", "p 值"),
    "meaning": ("Compared with train", "与训练集相比"),
    "shift_intro": (
        "How the labels of each split differ from those of train. Total variation is 0 for equal distributions and 1 "
        "for disjoint ones; a small p-value means that chance alone rarely explains the difference.",
        "各数据集的标签分布与训练集的差异。总变差距离 0 表示分布相同，1 表示完全不同；p 值很小说明差异并非偶然。",
    ),
    "shift.none": ("no difference beyond chance", "没有超出随机波动的差异"),
    "shift.small": ("a real but small difference", "差异真实存在，但很小"),
    "shift.large": ("clearly different", "明显不同"),
    # Lengths
    "histogram": ("Length in characters, {split}", "{split}文本长度（字）"),
    "p95_line": ("95% of the texts have at most {characters:,.0f} characters", "95% 的文本不超过 {characters:,.0f} 字"),
    "axis": ("characters", "字"),
    "characters_table": ("Characters", "字数"),
    "tokens_table": ("Tokens, cut at {length:,}", "token 数（超过 {length:,} 被截断）"),
    "tokens_of": ("Tokens are counted with the vocabulary of {tokenizer}.", "token 数按 {tokenizer} 的词表计算。"),
    "minimum": ("shortest", "最小"),
    "median": ("median", "中位数"),
    "mean": ("mean", "平均"),
    "p95": ("95%", "95%"),
    "p99": ("99%", "99%"),
    "maximum": ("longest", "最大"),
    "cut_head": ("over {length:,} tokens", "超过 {length:,} 被截断"),
    "cut_rows": ("cut", "被截断"),
    "unknown_share": ("unknown tokens", "未登录词占比"),
    "no_vocabulary": ("No vocabulary was available: tokens were not counted.", "没有可用的词表，未统计 token 数。"),
    # Personal data, damage, dates
    "kind": ("Kind", "类型"),
    "kind.mobile_phone": ("mobile phone", "手机号"),
    "kind.landline_phone": ("landline phone", "座机号"),
    "kind.email": ("e-mail address", "电子邮箱"),
    "kind.identity_card": ("identity card", "身份证号"),
    "personal_head": ("personal data", "个人信息"),
    "personal_none": ("No personal data was found.", "没有发现个人信息。"),
    "personal_intro": (
        "Rows with at least one occurrence of each kind. The examples are masked with asterisks.",
        "至少包含一处该类信息的行数。例子中的号码已用星号隐藏。",
    ),
    "damaged_none": ("No text looks damaged.", "没有发现乱码。"),
    "damaged_head": ("damaged rows", "乱码行"),
    "dates_none": ("The contract names no date column.", "数据约定中没有日期列。"),
    "first_day": ("first day", "最早"),
    "last_day": ("last day", "最晚"),
    "separator": (", ", "、"),
    # Kinds of broken rows, where they are known
    "reason.missing text": ("missing text", "缺少文本"),
    "reason.empty text": ("empty text", "文本为空"),
    "reason.empty after cleaning": ("empty after cleaning", "清洗后为空"),
    "reason.unlabelled": ("unlabelled", "没有标签"),
    "reason.unknown label": ("unknown label", "未知标签"),
    "reason.not a label": ("not a label", "不是标签"),
    "reason.no id": ("no id", "没有 id"),
    "reason.repeated id": ("repeated id", "id 重复"),
    "reason.not a date": ("not a date", "不是日期"),
    "reason.blank line": ("blank line", "空行"),
    "reason.blank row": ("blank row", "空行"),
    "reason.wrong number of fields": ("wrong number of fields", "字段数不对"),
    "reason.not valid CSV": ("not valid CSV", "不是有效的 CSV"),
    "reason.not valid JSON": ("not valid JSON", "不是有效的 JSON"),
}
TEXTS: dict[Language, dict[str, str]] = {
    "en": {key: english for key, (english, _) in _TEXTS.items()},
    "zh": {key: chinese for key, (_, chinese) in _TEXTS.items()},
}
_NUMBER = re.compile(r"\[([^\[\]|]+)\|([^\[\]|]+)(?:\|(\w+))?\]")


class Words:
    """The texts of one language; `quote` escapes names from the data, e.g. for Markdown."""

    def __init__(self, language: Language, quote: Callable[[str], str] = str) -> None:
        self.language = language
        self._texts = TEXTS[language]
        self._quote = quote

    def __call__(self, key: str, **values: str | float) -> str:
        """Fills in the placeholders of a text; `count` (else `texts`) decides singular and plural."""
        number = values.get("count", values.get("texts"))

        def agreeing(match: re.Match[str]) -> str:
            return match[1] if (values[match[3]] if match[3] else number) == 1 else match[2]

        template = _NUMBER.sub(agreeing, self._texts[key])
        return template.format(**{name: self._value(name, value) for name, value in values.items()})

    def known(self, key: str, otherwise: str) -> str:
        """Returns a text, or `otherwise` if the key is unknown: for names that other versions may add."""
        return self._texts.get(key, otherwise)

    def _value(self, name: str, value: str | float) -> str | float:
        if not isinstance(value, str):
            return value
        return self._texts[f"split.{value}"] if name == "split" else self._quote(value)
