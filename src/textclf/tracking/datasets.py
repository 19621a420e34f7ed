"""Data sets as MLflow knows them: each split with its digest, where it came from, its columns and its rows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from textclf.records import PreparedData
from textclf.store import digest_of

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

MOST_FILES_LOGGED = 20
_TYPES = {"bool": "boolean", "int64": "long", "float": "float"}
"""MLflow's names of the types that prepared data has, by Arrow's; all else is text."""


def dataset_inputs(prepared: PreparedData) -> dict[str, DatasetInput]:
    """Describes each split as an input of a run, by split."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.dataset_source import DatasetSource
    from mlflow.data.http_dataset_source import HTTPDatasetSource
    from mlflow.entities import Dataset, DatasetInput, InputTag

    source: DatasetSource
    if prepared.uri.startswith("http"):
        source = HTTPDatasetSource(prepared.uri)
    else:
        source = CodeDatasetSource({"textclf.uri": prepared.uri, "textclf.origin": prepared.origin})
    files = {file.path: file.sha256 for file in prepared.files}
    inputs = {}
    for split, digest in prepared.split_digests.items():
        profile = {
            "num_rows": prepared.rows[split],
            "labels": prepared.label_counts[split],
            "version": prepared.version,
            "revision": prepared.revision,
            "uri": prepared.uri,
            # Thousands of files would not fit into the column; `textclf data show` lists them all.
            "files": dict(list(files.items())[:MOST_FILES_LOGGED]),
        }
        described = source.to_json(), json.dumps(profile, ensure_ascii=False), _schema(prepared, split)
        dataset = Dataset(
            # An experiment has one data set per name and digest: without a name of their own, the same rows from
            # another place would be logged with the place of an earlier run.
            name=f"{split}-{digest_of(described)[:8]}",
            # MLflow allows 36 characters.
            digest=digest[:32],
            source_type=source._get_source_type(),
            source=described[0],
            profile=described[1],
            schema=described[2],
        )
        inputs[str(split)] = DatasetInput(dataset, [InputTag("mlflow.data.context", split)])
    return inputs


def _schema(prepared: PreparedData, split: str) -> str:
    import pyarrow.parquet as pq
    from mlflow.types.schema import ColSpec, Schema

    columns = pq.read_schema(prepared.folder / f"{split}.parquet")
    schema = Schema([ColSpec(_TYPES.get(str(column.type), "string"), column.name) for column in columns])
    return json.dumps({"mlflow_colspec": schema.to_dict()}, ensure_ascii=False)
