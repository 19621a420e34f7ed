"""Which address of a hub is asked, and which credentials are sent there."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from textclf.config.home import Environment, without_credentials
from textclf.config.sources import HubSource

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
    """How a hub is asked.

    Attributes:
        endpoint: Its address, without credentials.
        address: The same with user and password where the environment states them; never shown.
        token: Empty if there is none, or if this address must not see it.
        headers: Sent with each request for a file, and dropped when it is redirected to another host.
        advice: What to do when access is refused.
    """

    endpoint: str
    address: str = field(repr=False)
    token: str = field(repr=False)
    headers: dict[str, str] = field(repr=False)
    advice: str


def endpoint_of(source: HubSource, environment: Environment) -> str:
    """The address that is asked, without credentials: of the source, else of the environment, else the hub's own."""
    return without_credentials(_address(source, environment))


def access_to(source: HubSource, environment: Environment) -> Access:
    """Decides what a source's address gets to see.

    An address may come from a form or a file of somebody else. So a token goes only to the hub's own host, to the one
    that the environment names, and to those in TEXTCLF_TRUSTED_ENDPOINTS; scheme and port count.
    """
    address = _address(source, environment)
    endpoint = without_credentials(address)
    variable, prefix = _TOKEN_VARIABLE[source.provider], _PREFIX[source.provider]
    stated = environment.hf_token if source.provider == "huggingface" else environment.modelscope_api_token
    token = stated.get_secret_value() if stated else ""
    advice = (
        f"the token in {variable} is not accepted for it" if token else f"set {variable} to a token that may read it"
    )
    if _origin(endpoint) not in _trusted(source, environment):
        allowed = (
            f"{variable} is sent only to {_OWN[source.provider][0]}, to {prefix}_ENDPOINT, and to the addresses in "
            "TEXTCLF_TRUSTED_ENDPOINTS"
        )
        if token:
            logger.warning("%s; not to %s.", allowed, endpoint)
        token, advice = "", f"{allowed}; {endpoint} is none of them"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if token and source.provider == "modelscope":
        headers["Cookie"] = f"m_session_id={token}"
    if login := urlsplit(address).netloc.rpartition("@")[0]:
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(login).encode()).decode()}"
        advice = f"the user and password in {prefix}_ENDPOINT are not accepted for it"
    return Access(endpoint=endpoint, address=address, token=token, headers=headers, advice=advice)


def _address(source: HubSource, environment: Environment) -> str:
    named = environment.hf_endpoint if source.provider == "huggingface" else environment.modelscope_endpoint
    return (source.endpoint or named or _OWN[source.provider][0]).rstrip("/")


def _trusted(source: HubSource, environment: Environment) -> set[str]:
    named = environment.hf_endpoint if source.provider == "huggingface" else environment.modelscope_endpoint
    listed = [part.strip() for part in (environment.textclf_trusted_endpoints or "").split(",")]
    return {_origin(address) for address in (*_OWN[source.provider], named, *listed) if address}


def _origin(address: str) -> str:
    """Scheme, host and port in one spelling."""
    parts = urlsplit(address.lower())
    default = {"https": ":443", "http": ":80"}.get(parts.scheme, "")
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].removesuffix(default)}"
