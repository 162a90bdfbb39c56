"""`/api/schema` and `/api/docs`: the OpenAPI document, and a page to try it. Both describe the program and need no key.

The document is generated once per process. It never changes, and making it takes half a second.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.cache import get_conditional_response, patch_vary_headers
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiYamlRenderer
from drf_spectacular.views import SpectacularSwaggerSplitView

from models_app.domain.errors import InvalidRequest

_JSON, _YAML = "application/vnd.oai.openapi+json", "application/vnd.oai.openapi"
# The media types of the `Accept` header, and the values of `?format=`, that select JSON; YAML is the default.
_JSON_TYPES = ("application/json", _JSON)
_making = threading.Lock()


@dataclass(frozen=True, slots=True)
class _Document:
    """One format: the bytes, plain and compressed, and the tag of the plain ones."""

    content_type: str
    plain: bytes
    packed: bytes
    tag: str


_documents: dict[bool, _Document] = {}


def _read_only(view: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    @functools.wraps(view)
    def checked(request: HttpRequest) -> HttpResponseBase:
        if request.method in ("GET", "HEAD"):
            return view(request)
        error = InvalidRequest("Only GET is allowed here.", code="method_not_allowed")
        return JsonResponse(error.body(), status=405, headers={"Allow": "GET, HEAD"})

    return checked


docs = _read_only(SpectacularSwaggerSplitView.as_view(url_name="schema"))


@_read_only
def schema(request: HttpRequest) -> HttpResponse:
    """GET and HEAD /api/schema, as YAML or JSON."""
    document = _document(is_json=_wants_json(request))
    is_packed = "gzip" in request.headers.get("Accept-Encoding", "").lower()
    tag = f'"{document.tag}{"-gzip" if is_packed else ""}"'
    answer = get_conditional_response(request, etag=tag)
    if answer is None:
        answer = HttpResponse(
            document.packed if is_packed else document.plain,
            content_type=document.content_type,
            headers={"Content-Disposition": f'inline; filename="noa.{"json" if _wants_json(request) else "yaml"}"'},
        )
        if is_packed:
            answer["Content-Encoding"] = "gzip"
    answer["ETag"] = tag
    # The document of the next version has the same address.
    answer["Cache-Control"] = "no-cache"
    patch_vary_headers(answer, ("Accept", "Accept-Encoding"))
    return answer


def _wants_json(request: HttpRequest) -> bool:
    named = request.GET.get("format")
    if named is not None:
        return named in ("json", "openapi-json")
    return request.get_preferred_type([_YAML, "application/yaml", *_JSON_TYPES]) in _JSON_TYPES


def _document(*, is_json: bool) -> _Document:
    with _making:
        if not _documents:
            content = SchemaGenerator().get_schema(request=None, public=True)
            for of_json, renderer in ((True, OpenApiJsonRenderer()), (False, OpenApiYamlRenderer())):
                plain = bytes(renderer.render(content))
                _documents[of_json] = _Document(
                    f"{_JSON if of_json else _YAML}; charset=utf-8",
                    plain,
                    gzip.compress(plain, mtime=0),
                    hashlib.sha256(plain).hexdigest()[:32],
                )
        return _documents[is_json]
