"""The table of provider kinds: a row holds all differences between kinds, apart from the code in their folders.

Other code uses the row, never the kind: `tests/providers/test_kinds.py` checks that no kind is named elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal


class ProviderKind(StrEnum):
    """`llama.cpp` without a base URL: GGUF files that NOA loads itself; the others answer over the network."""

    LLAMA_CPP = "llama.cpp"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class KindRow:
    """Dotted names (`package.module:name`) are imported at their first use: the domain has no code for the network.

    label         for people, in the console
    folder        its package in `models_app/providers`
    list_models   async function of a `Client`, returns a `Listing`; raises NoaError
    check_model   async function of a `Client`: one cheap call that checks key and model; raises NoaError
    translation   class of a `Translation` from OpenAI's chat completions; '' if the servers accept them
    speaks        the client dialect besides OpenAI's that its servers accept, and that is forwarded untranslated
    chat_path     the path of a chat request, below the API's URL
    default_url   the base URL if none is configured, in the form of the service's SDK; '' if one is required
    version_path  `/v1` at the end of a base URL: `kept` unchanged, `added` where it is missing, or `removed`
    headers       the headers of every request
    key_header    the name of the header with the API key, and the prefix of the key
    variables     of a key and of a base URL, as other programs name them: the key creates a provider of the kind's name
    aliases       other slugs for the provider of the kind's name
    reads_files   whether a provider of this kind without a base URL stands for model files
    """

    label: str
    folder: str
    list_models: str
    check_model: str
    translation: str = ""
    speaks: str = ""
    chat_path: str = "/chat/completions"
    default_url: str = ""
    version_path: Literal["kept", "added", "removed"] = "kept"
    headers: Mapping[str, str] = field(default_factory=dict)
    key_header: tuple[str, str] = ("Authorization", "Bearer ")
    variables: tuple[str, str] | None = None
    aliases: tuple[str, ...] = ()
    reads_files: bool = False


# In the order of the console's choices.
KINDS: Mapping[ProviderKind, KindRow] = {
    ProviderKind.OPENAI: KindRow(
        label="OpenAI, or a server that speaks its dialect",
        folder="openai",
        list_models="models_app.providers.openai.listing:list_models",
        check_model="models_app.providers.openai.listing:check_model",
        default_url="https://api.openai.com/v1",
        variables=("OPENAI_API_KEY", "OPENAI_BASE_URL"),
    ),
    ProviderKind.ANTHROPIC: KindRow(
        label="Anthropic",
        folder="anthropic",
        list_models="models_app.providers.anthropic.listing:list_models",
        check_model="models_app.providers.anthropic.listing:check_model",
        translation="models_app.providers.anthropic.translation:ToAnthropic",
        speaks="messages",
        chat_path="/v1/messages",
        default_url="https://api.anthropic.com",
        version_path="removed",
        # The version that the translations are written for.
        headers={"anthropic-version": "2023-06-01"},
        key_header=("x-api-key", ""),
        variables=("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        aliases=("claude",),
    ),
    ProviderKind.LLAMA_CPP: KindRow(
        label="llama-server on another machine",
        folder="llamacpp",
        list_models="models_app.providers.llamacpp.listing:list_models",
        check_model="models_app.providers.llamacpp.listing:check_model",
        version_path="added",
        reads_files=True,
    ),
}

# The kind of the built-in provider, which stands for the model files of this team's machines.
LOCAL_KIND = ProviderKind.LLAMA_CPP
FILE_KINDS = tuple(kind for kind, row in KINDS.items() if row.reads_files)
SLUG_ALIASES: Mapping[str, str] = {alias: kind.value for kind, row in KINDS.items() for alias in row.aliases}


def api_url(kind: ProviderKind, base_url: str) -> str:
    """The address to which `chat_path` is appended; '' when neither a base URL is given nor the kind has one.

    Where a kind has one path for its API, both forms of a base URL mean the same. Servers with OpenAI's dialect have it
    at various paths: their base URL stays unchanged.
    """
    row = KINDS[kind]
    url = (base_url or row.default_url).rstrip("/")
    if row.version_path == "removed":
        return url.removesuffix("/v1").rstrip("/")
    if row.version_path == "added" and url and not url.endswith("/v1"):
        return f"{url}/v1"
    return url
