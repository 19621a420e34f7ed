"""The typed configuration of the data: its contract, how it is cleaned, and what an audit does about it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from textclf.config.sources import DataSource, SampleDataSource, StrictModel

Encoding = Literal["auto", "utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"]
Delimiter = Literal["auto", ",", ";", "|", "\t"]


class SplitConfig(StrictModel):
    """How splits that the source does not have are cut from `train`."""

    validation_fraction: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of the training rows that becomes `validation` if it is missing."
    )
    test_fraction: float = Field(
        default=0.1, gt=0, lt=0.5, description="Share of the training rows that becomes `test` if it is missing."
    )
    seed: int = Field(
        default=42,
        ge=0,
        lt=2**32,
        description="Picks the rows of the splits that are cut. It is not the seed of training: another one there "
        "leaves the splits as they are.",
    )


class ContractConfig(StrictModel):
    """What rows and labels must satisfy beside having the columns; a row that does not is quarantined."""

    min_characters: int = Field(
        default=1, ge=1, le=1_000_000, description="Shortest text, in characters after cleaning."
    )
    min_rows_per_label: int = Field(
        default=1, ge=1, description="Fewest training rows of each label; with fewer the run stops."
    )
    max_quarantined_share: float = Field(
        default=0.1, ge=0, le=1, description="The run stops if a larger share of a split's rows breaks the contract."
    )


class DataConfig(StrictModel):
    """The labelled data and its contract: what stands in which column, and what must hold for it."""

    name: str = Field(
        default="quickstart",
        pattern=r"^[a-z0-9][a-z0-9-]{0,63}$",
        description="Short name of the data set; names the MLflow experiment and the registered model `textclf-NAME`.",
    )
    sources: tuple[DataSource, ...] = Field(
        default=(SampleDataSource(provider="sample"),),
        min_length=1,
        description="Where the data comes from, tried in order: `huggingface`, `modelscope`, `local` or `sample`, "
        'e.g. `{"provider": "local", "path": "reviews.csv"}`.',
    )
    text_column: str = Field(default="text", min_length=1, description="Column that holds the text.")
    text_pair_column: str | None = Field(
        default=None, min_length=1, description="Column that holds a second text, for classifying pairs of texts."
    )
    label_column: str = Field(default="label", min_length=1, description="Column that holds the label.")
    label_separator: str | None = Field(
        default=None,
        min_length=1,
        max_length=3,
        description="What separates several labels of one row, e.g. `|`. Such data can be checked; training takes one "
        "label a row.",
    )
    id_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column that names each row; values must be unique. Without it, row numbers serve.",
    )
    date_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column that holds the day of each row, e.g. 2026-05-01 or 2026年5月1日.",
    )
    group_column: str | None = Field(
        default=None,
        min_length=1,
        description="Column whose equal values belong together, e.g. an author; splits that are cut never part them.",
    )
    labels: dict[str, str] | None = Field(
        default=None,
        min_length=2,
        description="Label names by the value in the file, in the order of their ids, e.g. "
        '`{"0": "负面", "1": "正面"}`; values with the same name become one label, and without it the values found in '
        "`train` are the names, sorted.",
    )
    column_names: tuple[str, ...] | None = Field(
        default=None, description="Names for the columns of CSV and TSV files that have no header line."
    )
    file_encoding: Encoding = Field(
        default="auto",
        description="Character encoding of text files; `auto` tries UTF-8 (with or without BOM), UTF-16 with BOM, then "
        "GB18030; Big5 only if it is named.",
    )
    delimiter: Delimiter = Field(
        default="auto",
        description="What separates the columns of CSV and .txt files; `auto` finds it in the first lines.",
    )
    sheet: str | None = Field(default=None, description="Sheet of an Excel workbook; without it, the first one.")
    contract: ContractConfig = Field(default=ContractConfig(), description="What rows and labels must satisfy.")
    split: SplitConfig = Field(default=SplitConfig(), description="How missing splits are cut from `train`.")

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
        """What MLflow calls the experiment and the registered model of this data set."""
        return f"textclf-{self.name}"

    @property
    def columns(self) -> dict[str, str]:
        """The columns that the data must have, by the field that names them."""
        fields = ("text_column", "text_pair_column", "label_column", "id_column", "date_column", "group_column")
        return {field: column for field in fields if (column := getattr(self, field))}


class CleaningConfig(StrictModel):
    """What happens to a text before it is tokenised, in training and in prediction alike."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rule: Literal["standard", "tutorial", "none"] = Field(
        default="standard",
        description="`standard` keeps punctuation, emoticons and digits and removes markup, control characters and "
        "repeated white space; `tutorial` turns every run of other than word characters into one space; `none`.",
    )
    max_characters: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="A longer text is quarantined with its reason instead of being tokenised.",
    )
    mask_personal_data: bool = Field(
        default=False,
        description="Put a word in the place of phone numbers, e-mail addresses and identity-card numbers.",
    )


class AuditConfig(StrictModel):
    """What is looked for in the data before training, and what is done with what is found."""

    near_duplicates: bool = Field(default=True, description="Also look for texts that are nearly the same.")
    near_duplicate_threshold: float = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="Share of character n-grams in common (Jaccard) from which two texts are near duplicates.",
    )
    near_duplicate_ngram_size: int = Field(default=3, ge=1, le=8, description="Characters of an n-gram.")
    leaks: Literal["drop", "drop_near", "keep"] = Field(
        default="drop",
        description="Training rows whose text also stands in validation or test: `drop` them, `drop_near` also drops "
        "near duplicates, `keep`.",
    )
    conflicts: Literal["majority", "drop", "keep"] = Field(
        default="majority",
        description="Equal training texts with different labels: `majority` keeps those of the most frequent label "
        "(none in a tie), `drop` none, `keep` all.",
    )
    duplicates: Literal["keep", "drop", "weight"] = Field(
        default="keep",
        description="Equal training texts with the same label: `keep` all, `drop` all but the first, `weight` keeps "
        "the first and lets it count as often as the text stood there.",
    )
    report_language: Literal["en", "zh"] = Field(default="en", description="Language of the report.")
