"""The home directory, and the environment variables: secrets, addresses and the home.

Everything else is configuration. Only this module reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from textclf.errors import ConfigError
from textclf.language import LANGUAGES, Language, use_language

# The configurations next to the flows in a checkout.
CONFIGS = Path(__file__).resolve().parents[3] / "configs"
_SET_HOME = "Set TEXTCLF_HOME to a directory that you may write to."


class Environment(BaseSettings):
    """The environment variables that textclf reads, all optional."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    textclf_home: Path | None = Field(default=None, description="The home directory.")
    mlflow_tracking_uri: str | None = Field(default=None, description="MLflow's store, instead of the one in the home.")
    mlflow_ui_url: str | None = Field(default=None, description="Where people open MLflow, for links.")
    hf_endpoint: str | None = Field(default=None, description="Address of the Hugging Face hub or a mirror.")
    hf_token: SecretStr | None = Field(default=None, description="Access token for the Hugging Face hub.")
    modelscope_endpoint: str | None = Field(default=None, description="Address of ModelScope.")
    modelscope_api_token: SecretStr | None = Field(default=None, description="Access token for ModelScope.")
    textclf_trusted_endpoints: str | None = Field(
        default=None, description="Further hubs and mirrors that may receive the tokens, separated by commas."
    )
    textclf_alerts: SecretStr | None = Field(
        default=None, description="Who is told when a scheduled run fails: addresses of Apprise, separated by spaces."
    )
    prefect_api_url: str | None = Field(default=None, description="The Prefect server; by default, a temporary one.")
    prefect_ui_url: str | None = Field(default=None, description="Where people open the Prefect UI, for links.")
    textclf_up: str | None = Field(default=None, description="Set by `textclf up` for the programs that it starts.")
    textclf_language: str | None = Field(default=None, description="Language of what people read: `en` or `zh`.")

    @property
    def language(self) -> Language:
        """The language of everything that no configuration decides; English by default.

        Raises:
            ConfigError: TEXTCLF_LANGUAGE names none of the languages.
        """
        for language in LANGUAGES:
            if language == (self.textclf_language or "en"):
                return language
        raise ConfigError(
            f"TEXTCLF_LANGUAGE is {self.textclf_language!r}, which is not a language of textclf. Set it to "
            f"{' or '.join(LANGUAGES)}, or remove it for English."
        )


@dataclass(frozen=True)
class Home:
    """The directory for everything that runs produce.

    Attributes:
        root: Absolute path.
        tracking_uri: MLflow's store: MLFLOW_TRACKING_URI, else `mlflow.db` in the root.
        mlflow_page: Where people open MLflow: MLFLOW_UI_URL, else the tracking server; None for a local store.
    """

    root: Path
    tracking_uri: str
    mlflow_page: str | None = None

    @classmethod
    def from_environment(cls, environment: Environment | None = None) -> Home:
        """Finds the home: TEXTCLF_HOME, else the repository root in a checkout, else the current directory.

        Raises:
            ConfigError: The directory cannot be created or written to.
        """
        environment = environment or Environment()
        root = (environment.textclf_home or _checkout() or Path.cwd()).expanduser().resolve()
        try:
            root.mkdir(parents=True, exist_ok=True)
            writable = os.access(root, os.W_OK | os.X_OK)
        except OSError as error:
            raise ConfigError(f"The home directory {root} cannot be created: {error.strerror}.\n{_SET_HOME}") from error
        if not writable:
            raise ConfigError(f"The home directory {root} cannot be written to.\n{_SET_HOME}")
        uri = environment.mlflow_tracking_uri or f"sqlite:///{root / 'mlflow.db'}"
        page = environment.mlflow_ui_url or (without_credentials(uri) if uri.startswith("http") else None)
        return cls(root=root, tracking_uri=uri, mlflow_page=page)

    @property
    def store_file(self) -> Path | None:
        """MLflow's store if it is a local file, which need not exist yet."""
        path = self.tracking_uri.removeprefix("sqlite:///")
        return None if path == self.tracking_uri else Path(path)

    @property
    def raw(self) -> Path:
        """Fetched data sets and models, one folder per digest."""
        return self.root / "data" / "raw"

    @property
    def prepared(self) -> Path:
        """Cleaned and tokenised data sets, one folder per digest."""
        return self.root / "data" / "prepared"

    @property
    def quarantine(self) -> Path:
        """Broken rows of data sets that were refused because they have too many."""
        return self.root / "data" / "quarantine"

    @property
    def engines(self) -> Path:
        """Which engine was measured to be the fastest, one file per model and kind of machine."""
        return self.root / "engines"

    @property
    def checkpoints(self) -> Path:
        """Training checkpoints, one folder per MLflow run."""
        return self.root / "checkpoints"

    @property
    def artifacts(self) -> Path:
        """MLflow's artifacts, unless a tracking server keeps them."""
        return self.root / "mlruns"

    @property
    def logs(self) -> Path:
        """What the programs that `textclf up` started have printed."""
        return self.root / "logs"

    @property
    def runs(self) -> Path:
        """Which flow runs are executed, one record and lock per run."""
        return self.root / "runs"

    @property
    def prefect(self) -> Path:
        """Prefect's database, and its pages, under `textclf up`.

        Not called `prefect`: in a checkout, tools would take a folder of that name for the package.
        """
        return self.root / "prefect-server"

    @property
    def predictions(self) -> Path:
        """The state of batch predictions: finished shards, and the record of finished files."""
        return self.root / "predictions"

    @property
    def shadow(self) -> Path:
        """What versions say beside the champion, and the state of these predictions, one folder per version."""
        return self.root / "shadow"


def environment_with(changes: Mapping[str, str]) -> dict[str, str]:
    """Returns this process's environment with changes, for a program that it starts."""
    return {**os.environ, **changes}


def choose_language(configured: Language | None = None) -> None:
    """Chooses the language of the current context: the configured one, else TEXTCLF_LANGUAGE, else English.

    Raises:
        ConfigError: TEXTCLF_LANGUAGE is needed, and names none of the languages.
    """
    use_language(configured or Environment().language)


def without_credentials(uri: str) -> str:
    """Removes user and password from an address."""
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _checkout() -> Path | None:
    root = CONFIGS.parent
    return root if CONFIGS.is_dir() and (root / "flows").is_dir() else None
