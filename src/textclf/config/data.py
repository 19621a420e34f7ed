"""The typed configuration of the data: its contract, cleaning and audit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from textclf.config.sources import DataSource, StrictModel
from textclf.language import _

# How files are read, wherever a configuration names files.
Encoding = Annotated[
    Literal["auto", "utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"],
    Field(
        description="Character encoding of text files; `auto` detects UTF-8 (with or without BOM), UTF-16 with BOM and "
        "GB18030, but not Big5."
    ),
]
ColumnNames = Annotated[
    tuple[str, ...] | None,
    # A form sends an empty list after the last name was removed.
    BeforeValidator(lambda names: names or None),
    Field(description="Column names for CSV and TSV files without a header line."),
]
Delimiter = Annotated[
    Literal["auto", ",", ";", "|", "\t"],
    Field(description="Column separator of CSV and .txt files; `auto` detects it from the first lines."),
]
Sheet = Annotated[str | None, Field(description="Sheet of an Excel workbook; by default, the first one.")]


class SplitConfig(StrictModel):
    """How splits missing from the source are cut from `train`."""

    validation_fraction: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of the training rows that becomes `validation` if there is none."
    )
    test_fraction: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of the training rows that becomes `test` if there is none."
    )
    seed: int = Field(
        default=42, ge=0, lt=2**32, description="Seed for cutting splits, independent of `training.seed`."
    )


class ContractConfig(StrictModel):
    """What rows and labels must satisfy; rows that break the contract are quarantined."""

    min_characters: int = Field(
        default=1, ge=1, le=1_000_000, description="Minimum length of a text, in characters after cleaning."
    )
    min_rows_per_label: int = Field(
        default=1, ge=1, description="Minimum number of training rows per label; with fewer, the run stops."
    )
    max_quarantined_share: float = Field(
        default=0.1, ge=0, le=1, description="The run stops if more than this share of a split breaks the contract."
    )


class DataConfig(StrictModel):
    """The labelled data and its contract: which columns it has, and what must hold for them."""

    name: str = Field(
        default="quickstart",
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$",
        description="Short name of the data set. The MLflow experiment and the registered model are `textclf-NAME`.",
    )
    sources: tuple[DataSource, ...] = Field(
        default=(DataSource(provider="sample"),),
        min_length=1,
        description="Where the data comes from, tried in order: `huggingface`, `modelscope`, `local` or `sample`, "
        'e.g. `{"provider": "local", "path": "reviews.csv"}`.',
    )
    license: str | None = Field(
        default=None, max_length=100, description="Licence of the data, for the model card, e.g. cc-by-4.0."
    )
    text_column: str = Field(default="text", min_length=1, description="Column with the text.")
    label_column: str = Field(default="label", min_length=1, description="Column with the label.")
    labels: dict[str, str] | None = Field(
        default=None,
        min_length=2,
        description='Name of each label value in the files, in the order of the label ids, e.g. `{"0": "负面", "1": '
        '"正面"}`. Values with the same name become one label. By default, the sorted values in `train` are the names.',
    )
    text_pair_column: str | None = Field(
        default=None, min_length=1, description="Column with a second text, for classifying pairs of texts."
    )
    id_column: str | None = Field(
        default=None, min_length=1, description="Column with a unique id per row; by default, row numbers are used."
    )
    date_column: str | None = Field(
        default=None, min_length=1, description="Column with the date of each row, e.g. 2026-05-01 or 2026年5月1日."
    )
    group_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column that groups rows, e.g. by author; when splits are cut, a group stays in one split.",
    )
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="Separator between several labels in one row, e.g. `|`. Such data can only be checked; training "
        "needs one label per row.",
    )
    column_names: ColumnNames = None
    file_encoding: Encoding = "auto"
    delimiter: Delimiter = "auto"
    sheet: Sheet = None
    contract: ContractConfig = Field(default=ContractConfig(), description="What rows and labels must satisfy.")
    split: SplitConfig = Field(
        default=SplitConfig(), title="Splitting", description="How missing splits are cut from `train`."
    )

    @model_validator(mode="before")
    @classmethod
    def _labels_are_strings(cls, values: Any) -> Any:
        # YAML reads `0: 负面` with an integer key.
        if isinstance(values, dict) and isinstance(values.get("labels"), dict):
            values = {**values, "labels": {str(key): str(name) for key, name in values["labels"].items()}}
        return values

    @model_validator(mode="after")
    def _check_columns(self) -> DataConfig:
        columns = list(self.columns.values())
        if len(set(columns)) != len(columns):
            raise ValueError(f"{', '.join(self.columns)} must differ, found {columns}")
        if self.column_names is not None:
            missing = [column for column in columns if column not in self.column_names]
            if missing:
                raise ValueError(f"column_names {list(self.column_names)} lacks {missing}")
        if self.labels and len(set(self.labels.values())) < 2:
            raise ValueError(f"labels must have at least two different names, found {list(self.labels.values())}")
        return self

    @property
    def registered_name(self) -> str:
        """The name of this data set's experiment and registered model in MLflow."""
        return f"textclf-{self.name}"

    @property
    def columns(self) -> dict[str, str]:
        """The required columns, by the field that names them."""
        fields = ("text_column", "text_pair_column", "label_column", "id_column", "date_column", "group_column")
        return {field: column for field in fields if (column := getattr(self, field))}


class CleaningConfig(StrictModel):
    """How texts are cleaned before tokenisation, in training and in prediction alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["standard", "tutorial", "none"] = Field(
        default="standard",
        description="`standard` removes markup, control characters and repeated white space, and keeps punctuation, "
        "emoticons and digits; `tutorial` replaces each run of punctuation and symbols with a space; `none` changes "
        "nothing.",
    )
    max_characters: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Maximum length of a text, in characters after cleaning; a longer text is quarantined.",
    )
    mask_personal_data: bool = Field(
        default=False, description="Replace phone numbers, e-mail addresses and identity card numbers with a word."
    )


class AuditConfig(StrictModel):
    """What the audit looks for before training, and what it does about it."""

    near_duplicates: bool = Field(default=True, description="Also look for near-duplicate texts.")
    near_duplicate_threshold: float = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Jaccard similarity of character n-grams from which two texts count as near duplicates.",
    )
    near_duplicate_ngram_size: int = Field(default=3, ge=1, le=8, description="Characters per n-gram.")
    leaks: Literal["drop", "drop_near", "keep"] = Field(
        default="drop",
        description="Training rows whose text also occurs in validation or test: `drop` removes them, `drop_near` "
        "removes near duplicates as well, `keep` keeps them.",
    )
    conflicts: Literal["majority", "drop", "keep"] = Field(
        default="majority",
        description="Equal training texts with different labels: `majority` keeps those with the most frequent label "
        "(none in a tie), `drop` removes them all, `keep` keeps them all.",
    )
    duplicates: Literal["keep", "drop", "weight"] = Field(
        default="keep",
        description="Equal training texts with the same label: `keep` keeps all, `drop` keeps the first, `weight` "
        "keeps the first and weights it by the number of copies.",
    )

    @model_validator(mode="before")
    @classmethod
    def _language_has_moved(cls, values: Any) -> Any:
        if isinstance(values, dict) and "report_language" in values:
            raise ValueError(
                "report_language is now `language`, which stands beside `audit` and applies to everything that people "
                f"read: remove it, and write `language: {values['report_language']}` at the top level (or --language)"
            )
        return values


def finding_name(finding: str) -> str:
    """Names, in the current language, what a field of `AuditConfig` decides about."""
    names = {"leaks": _("leaks"), "conflicts": _("label conflicts"), "duplicates": _("duplicates")}
    return names.get(finding, finding)
