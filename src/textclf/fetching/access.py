"""Which address of a hub is used, and which credentials are sent to it."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import unquote, urlsplit

from textclf.config.home import Environment, without_credentials
from textclf.config.sources import Source

logger = logging.getLogger(__name__)

_OWN = {
    "huggingface": ("https://huggingface.co",),
    "modelscope": (
        "https://modelscope.cn",
        "https://www.modelscope.cn",
        "https://modelscope.ai",
        "https://www.modelscope.ai",
    ),
}
_PREFIX = {"huggingface": "HF", "modelscope": "MODELSCOPE"}
_TOKEN_VARIABLE = {"huggingface": "HF_TOKEN", "modelscope": "MODELSCOPE_API_TOKEN"}


@dataclass(frozen=True)
class Access:
    """How to reach a hub.

    Attributes:
        endpoint: The address without credentials.
        address: The address with user and password, if the environment gives them; never shown.
        token: Empty if there is none, or if this address must not receive it.
        headers: Sent with each request for a file; dropped on a redirect to another host.
        advice: What to do when access is refused.
    """

    endpoint: str
    address: str = field(repr=False)
    token: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    advice: str


def endpoint_of(source: Source, environment: Environment) -> str:
    """Returns the address without credentials: from the source, else the environment, else the hub's own."""
    return without_credentials(_address(source, environment))


def access_to(source: Source, environment: Environment, *, scope: Literal["read", "write"] = "read") -> Access:
    """Decides which credentials a source's address receives.

    An address may come from a form or from someone else's file. A token therefore goes only to the hub's own host, to
    the one in the environment, and to those in TEXTCLF_TRUSTED_ENDPOINTS; scheme and port must match.

    Args:
        source: Names the hub.
        environment: Has addresses and tokens.
        scope: What the token is needed for; only for the advice.
    """
    address = _address(source, environment)
    endpoint = without_credentials(address)
    variable, prefix = _TOKEN_VARIABLE[source.provider], _PREFIX[source.provider]
    stated = environment.hf_token if source.provider == "huggingface" else environment.modelscope_api_token
    token = stated.get_secret_value() if stated else ""
    rejected = f"the hub rejects the token in {variable}{', which needs write access' if scope == 'write' else ''}"
    advice = rejected if token else f"set {variable} to a token with {scope} access"
    if _origin(endpoint) not in _trusted(source, environment):
        allowed = (
            f"{variable} is sent only to {_OWN[source.provider][0]}, {prefix}_ENDPOINT and the addresses in "
            "TEXTCLF_TRUSTED_ENDPOINTS"
        )
        if token:
            logger.warning("%s, not to %s.", allowed, endpoint)
        token, advice = "", f"{allowed}; {endpoint} is not one of them"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if token and source.provider == "modelscope":
        headers["Cookie"] = f"m_session_id={token}"
    if login := urlsplit(address).netloc.rpartition("@")[0]:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(login).encode()).decode()}"
        advice = f"the hub rejects the user and password in {prefix}_ENDPOINT"
    return Access(endpoint=endpoint, address=address, token=token, headers=headers, advice=advice)


def _address(source: Source, environment: Environment) -> str:
    named = environment.hf_endpoint if source.provider == "huggingface" else environment.modelscope_endpoint
    return (source.endpoint or named or _OWN[source.provider][0]).rstrip("/")


def _trusted(source: Source, environment: Environment) -> set[str]:
    named = environment.hf_endpoint if source.provider == "huggingface" else environment.modelscope_endpoint
    listed = [part.strip() for part in (environment.textclf_trusted_endpoints or "").split(",")]
    return {_origin(address) for address in (*_OWN[source.provider], named, *listed) if address}


def _origin(address: str) -> str:
    """Normalises scheme, host and port."""
    parts = urlsplit(address.lower())
    default = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].removesuffix(default)}"
