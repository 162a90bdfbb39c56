"""A registry as one document: what it can hold, and that every error names the place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from models_app.domain.catalog import registry_file
from models_app.domain.catalog.entries import Entry
from models_app.domain.catalog.provider_settings import ProviderSettings
from models_app.domain.catalog.registry_file import Document, ModelFile, ModelLine, ProviderEntry, RouteEntry
from models_app.domain.errors import InvalidRequest
from models_app.domain.json_body import Fields
from models_app.domain.keys import ModelKey
from models_app.domain.provider_kinds import ProviderKind

HEAD = {"format": "noa-registry", "version": 1}
PROVIDER = {"slug": "other", "kind": "openai"}
FILE = {"sha256": "0123456789abcdef" * 4, "size_bytes": 7}
MODEL = {"key": "openai:m"}
ROUTE = {"name": "main"}
LEAST = {"providers": PROVIDER, "models": MODEL, "routes": ROUTE}


def parsed(part: str, *items: Any) -> Any:
    document = registry_file.parse(HEAD | {part: list(items)})
    return getattr(document, part)


def refusal(data: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        registry_file.parse(data)
    return caught.value


def refused(part: str, item: Any) -> InvalidRequest:
    """The error of `item` as the second of a list, whose first is right."""
    first = (
        deepcopy(LEAST[part]) | {"providers": {"slug": "a"}, "models": {"key": "a:b"}, "routes": {"name": "a"}}[part]
    )
    return refusal(HEAD | {part: [first, item]})


def test_a_document_without_lists_is_an_empty_registry() -> None:
    assert registry_file.parse(HEAD) == Document([], [], [])
    empty = {"exported_at": "2026-01-01T00:00:00Z", "providers": [], "models": [], "routes": []}
    assert registry_file.parse(HEAD | empty) == Document([], [], [])


@pytest.mark.parametrize(
    "wrong",
    [{"format": "noa"}, {"format": None}, {"version": 2}, {"version": 0}, {"version": "1"}, {"version": True}]
    + [{"version": 1.0}, {"version": None}],
)
def test_another_format_or_version_is_refused(wrong: dict[str, Any]) -> None:
    assert refusal(HEAD | wrong).param == "format"
    assert refusal({name: value for name, value in HEAD.items() if name not in wrong}).param == "format"


def test_a_field_that_does_not_exist_is_named() -> None:
    assert refusal(HEAD | {"keys": []}).param == "keys"
    for part, least in LEAST.items():
        error = refused(part, least | {"x": 1})
        assert (error.code, error.param) == ("unknown_field", f"{part}[1].x")
    error = refused("models", MODEL | {"file": FILE | {"x": 1}})
    assert (error.code, error.param) == ("unknown_field", "models[1].file.x")


@pytest.mark.parametrize(("part", "limit"), [("providers", 200), ("models", 20_000), ("routes", 1_000)])
def test_a_list_has_a_limit_and_holds_objects(part: str, limit: int) -> None:
    assert refusal(HEAD | {part: {}}).param == part
    assert refusal(HEAD | {part: None}).param == part
    assert refusal(HEAD | {part: [7]}).param == f"{part}[0]"
    error = refusal(HEAD | {part: [LEAST[part]] * (limit + 1)})
    assert (error.param, f"0 to {limit:,}" in error.message) == (part, True)
    # At the limit it is the second entry that is wrong.
    assert refusal(HEAD | {part: [LEAST[part]] * limit}).code == "named_twice"


@pytest.mark.parametrize(("part", "name"), [("providers", "other"), ("models", "openai:m"), ("routes", "main")])
def test_nothing_is_named_twice(part: str, name: str) -> None:
    others = {
        "providers": [PROVIDER | {"slug": "b"}],
        "models": [{"key": "b:b"}],
        "routes": [{"name": "b"}],
    }[part]
    error = refusal(HEAD | {part: [LEAST[part], *others, LEAST[part]]})
    assert (error.code, error.param) == ("named_twice", f"{part}[2]")
    assert error.message == f"{part}[2]: '{name}' is named twice."


def test_two_names_of_one_provider_are_the_same() -> None:
    models = [{"key": "claude:x"}, {"key": "anthropic:x"}]
    assert refusal(HEAD | {"models": models}).code == "named_twice"
    providers = [{"slug": "claude", "kind": "anthropic"}, {"slug": "anthropic", "kind": "anthropic"}]
    assert refusal(HEAD | {"providers": providers}).code == "named_twice"


# Providers


def test_a_provider_has_defaults() -> None:
    assert parsed("providers", PROVIDER) == [ProviderEntry("other", ProviderSettings(kind=ProviderKind.OPENAI))]
    nulls = dict.fromkeys(("name", "base_url", "secret_env", "timeouts", "enabled", "allow_private_addresses"))
    assert parsed("providers", PROVIDER | nulls) == parsed("providers", PROVIDER)


def test_a_provider_has_all_its_settings() -> None:
    full = {
        "slug": "claude",
        "kind": "anthropic",
        "name": "Ours",
        "base_url": "http://10.0.0.7",
        "enabled": False,
        "secret_env": "OUR_KEY",
        "allow_private_addresses": True,
        "timeouts": {"connect": 5},
    }
    settings = ProviderSettings(
        kind=ProviderKind.ANTHROPIC,
        name="Ours",
        base_url="http://10.0.0.7",
        secret_env="OUR_KEY",
        allow_private_addresses=True,
        timeouts={"connect": 5},
        enabled=False,
    )
    assert parsed("providers", full) == [ProviderEntry("anthropic", settings)]


def test_the_files_of_this_machine_are_a_provider_without_an_address() -> None:
    local = {"slug": "llama.cpp", "kind": "llama.cpp"}
    assert parsed("providers", local) == [ProviderEntry("llama.cpp", ProviderSettings(kind=ProviderKind.LLAMA_CPP))]
    # It has no address and no key, so other fields are not checked.
    assert refused("providers", local | {"slug": "gpu"}).code == "missing_base_url"
    assert refused("providers", local | {"base_url": "nowhere"}).param == "providers[1].base_url"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"slug": None}, "slug"),
        ({"slug": ""}, "slug"),
        ({"slug": 7}, "slug"),
        ({"slug": "A b"}, "slug"),
        ({"kind": None}, "kind"),
        ({"kind": "azure"}, "kind"),
        ({"name": "a\nb"}, "name"),
        ({"base_url": 7}, "base_url"),
        ({"base_url": "http://10.0.0.7"}, "base_url"),
        ({"secret_env": "NOA_SECRET_KEY"}, "secret_env"),
        ({"secret_env": 7}, "secret_env"),
        ({"enabled": "yes"}, "enabled"),
        ({"allow_private_addresses": 1}, "allow_private_addresses"),
        ({"timeouts": []}, "timeouts"),
        ({"timeouts": {"connect": 0}}, "timeouts.connect"),
    ],
    ids=str,
)
def test_a_wrong_provider_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused("providers", PROVIDER | fields)
    assert error.param == f"providers[1].{param}"
    assert "providers[1]" in error.message


# Models


def test_a_model_is_an_entry_with_the_facts_of_its_file() -> None:
    file = FILE | {"path": " /m.gguf ", "quantization": "F16", "architecture": "llama", "template_digest": "ef"}
    first = parsed("models", MODEL | {"name": "One", "file": file})
    facts = ModelFile("/m.gguf", "0123456789abcdef" * 4, 7, "F16", "llama", "ef")
    assert first == [ModelLine(Entry(ModelKey("openai", "m"), {"name": "One"}), facts)]
    assert parsed("models", MODEL, {"key": "a:b", "file": None}) == [
        ModelLine(Entry(ModelKey("openai", "m"), {}), None),
        ModelLine(Entry(ModelKey("a", "b"), {}), None),
    ]


@pytest.mark.parametrize("size", [0, 2**63 - 1])
def test_only_digest_and_size_of_a_file_are_required(size: int) -> None:
    (line,) = parsed("models", MODEL | {"file": FILE | {"size_bytes": size}})
    assert line.file == ModelFile("", "0123456789abcdef" * 4, size, "", "", "")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"key": "nothing"}, "key"),
        ({"path": "/m.gguf"}, "path"),
        ({"price": {"input": "x", "output": 1}}, "price.input"),
        ({"file": []}, "file"),
        ({"file": {}}, "file.sha256"),
        ({"file": {"sha256": "ab" * 32}}, "file.size_bytes"),
        ({"file": FILE | {"sha256": None}}, "file.sha256"),
        ({"file": FILE | {"sha256": ""}}, "file.sha256"),
        ({"file": FILE | {"sha256": "a" * 63}}, "file.sha256"),
        ({"file": FILE | {"sha256": "A" * 64}}, "file.sha256"),
        ({"file": FILE | {"sha256": "g" * 64}}, "file.sha256"),
        ({"file": FILE | {"size_bytes": -1}}, "file.size_bytes"),
        ({"file": FILE | {"size_bytes": 2**63}}, "file.size_bytes"),
        ({"file": FILE | {"size_bytes": True}}, "file.size_bytes"),
        ({"file": FILE | {"path": "a\nb"}}, "file.path"),
        ({"file": FILE | {"quantization": 7}}, "file.quantization"),
        ({"file": FILE | {"architecture": "\0"}}, "file.architecture"),
        ({"file": FILE | {"template_digest": []}}, "file.template_digest"),
    ],
    ids=str,
)
def test_a_wrong_model_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused("models", MODEL | fields)
    assert error.param == f"models[1].{param}"
    assert "models[1]" in error.message


def test_a_message_names_the_whole_path_of_a_field() -> None:
    error = refused("models", MODEL | {"name": 7})
    assert error.message == "'models[1].name' must be a string of at most 190 characters."


# Routes


def test_a_route_leads_to_a_model_or_nowhere() -> None:
    full = {"name": "app", "target": "claude:x", "fallbacks": ["openai:y", "claude:z"], "description": " For us. "}
    assert parsed("routes", ROUTE, full) == [
        RouteEntry("main", None, (), ""),
        RouteEntry("app", "anthropic:x", ("openai:y", "anthropic:z"), "For us."),
    ]
    nulls = dict.fromkeys(("target", "fallbacks", "description"))
    assert parsed("routes", ROUTE | nulls) == parsed("routes", ROUTE | {"fallbacks": []}) == parsed("routes", ROUTE)


def test_a_route_has_at_most_eight_fallbacks() -> None:
    keys = [f"a:m{number}" for number in range(9)]
    assert parsed("routes", ROUTE | {"fallbacks": keys[:8]})[0].fallbacks == tuple(keys[:8])
    assert refused("routes", ROUTE | {"fallbacks": keys}).param == "routes[1].fallbacks"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"name": None}, "name"),
        ({"name": ""}, "name"),
        ({"name": "A b"}, "name"),
        ({"target": 7}, "target"),
        ({"target": ""}, "target"),
        ({"target": "nothing"}, "target"),
        ({"target": "A:b"}, "target"),
        ({"target": "a:.."}, "target"),
        ({"fallbacks": "a:b"}, "fallbacks"),
        ({"fallbacks": ["a:b", 7]}, "fallbacks"),
        ({"fallbacks": ["a:b", "nothing"]}, "fallbacks"),
        ({"description": 7}, "description"),
        ({"description": "a\nb"}, "description"),
    ],
    ids=str,
)
def test_a_wrong_route_is_refused(fields: dict[str, Any], param: str) -> None:
    error = refused("routes", ROUTE | fields)
    assert error.param == f"routes[1].{param}"
    assert "routes[1]" in error.message


# Texts


@pytest.mark.parametrize(
    ("part", "path", "limit"),
    [
        ("providers", "name", 100),
        ("providers", "slug", 64),
        ("providers", "base_url", 500),
        ("providers", "secret_env", 100),
        ("models", "file.path", 4096),
        ("models", "file.sha256", 64),
        ("models", "file.quantization", 32),
        ("models", "file.architecture", 64),
        ("models", "file.template_digest", 64),
        ("routes", "name", 64),
        ("routes", "target", 255),
        ("routes", "description", 255),
    ],
)
def test_a_text_has_a_limit(part: str, path: str, limit: int) -> None:
    filled = {
        "slug": "a" * limit,
        "base_url": "https://example.com/".ljust(limit, "a"),
        "secret_env": "A" * limit,
        "sha256": "a" * limit,
        "target": "a" * 64 + ":" + "a" * 190,
    }
    name = path.rpartition(".")[2]
    for text, fits in ((filled.get(name, "a" * limit), True), (filled.get(name, "a" * limit) + "a", False)):
        item = LEAST[part] | ({"file": FILE | {name: text}} if "." in path else {name: text})
        if fits:
            assert parsed(part, item)
        else:
            error = refused(part, item)
            assert (error.param, f"at most {limit:,} characters" in error.message) == (f"{part}[1].{path}", True)


@pytest.mark.parametrize(
    ("param", "message", "placed", "said"),
    [
        (None, "It is wrong.", "models[3]", "models[3]: It is wrong."),
        ("key", "It is wrong.", "models[3].key", "models[3]: It is wrong."),
        ("models[3].key", "'models[3].key' is wrong.", "models[3].key", "'models[3].key' is wrong."),
    ],
)
def test_an_error_without_a_place_gets_that_of_its_object(
    param: str | None, message: str, placed: str, said: str
) -> None:
    def refuse(_: Fields) -> None:
        raise InvalidRequest(message, param=param)

    with pytest.raises(InvalidRequest) as caught:
        registry_file._placed(refuse, Fields({}, "models[3]."))
    assert (caught.value.param, caught.value.message) == (placed, said)
