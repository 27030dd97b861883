"""The OpenAPI document of what is served, made from the signatures."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import msgspec

from forge_cortex.server.messages import Endpoint, Field, Group
from forge_cortex.server.signature import annotation

JSON = dict[str, Any]
_PROBLEM: JSON = {
    "description": "A problem document (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_ANY_ROW: JSON = {"description": "what this model takes"}


def document(described: Sequence[tuple[Endpoint, Group | None]], version: str) -> JSON:
    """OpenAPI 3.1 for every endpoint."""
    paths: JSON = {f"/predict/{endpoint.name}": {"post": _predict(endpoint, group)} for endpoint, group in described}
    for path, text in (
        ("/healthz", "Alive."),
        ("/readyz", "Every endpoint has all its workers."),
        ("/ping", "MLflow's readiness."),
        ("/version", "The server's version."),
    ):
        paths[path] = {
            "get": {
                "summary": text,
                "responses": {"200": {"description": "Yes."}} | ({"503": {"description": "No."}} if path in {"/readyz", "/ping"} else {}),
            }
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Forge endpoints", "version": version},
        "paths": paths,
        "components": {
            "schemas": {"Problem": _problem(), "Answer": _answer()},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}, {}],
    }


def html(described: Sequence[tuple[Endpoint, Group | None]]) -> str:
    """A section per endpoint: its version, its columns."""
    parts = []
    for endpoint, group in described:
        parts.append(f"<h2><code>POST /predict/{escape(endpoint.name)}</code></h2>")
        if group is None:
            parts.append("<p>Its first version is being loaded.</p>")
            continue
        parts.append(f"<p>{escape(group.model)} version {group.version}, revision {endpoint.revision}</p>")
        rows = "".join(
            f"<li><code>{escape(field.name)}</code> {escape(field.type)}{' or null' if field.nullable else ''}</li>"
            for field in group.signature or ()
        )
        parts.append(f"<ul>{rows}</ul>" if rows else "<p>Takes any JSON.</p>")
    return "".join(parts)


def _predict(endpoint: Endpoint, group: Group | None) -> JSON:
    content: JSON = {
        "application/json": {"schema": _payload(group.signature) if group is not None and group.signature is not None else _ANY_ROW}
    }
    if group is not None and group.signature is not None:
        content["application/vnd.apache.arrow.stream"] = {"schema": {"type": "string", "format": "binary"}}
    answers: JSON = {
        "200": {
            "description": "One prediction a row, in order.",
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
        }
    }
    answers |= {str(code): _PROBLEM for code in (400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504)}
    return {
        "operationId": f"predict_{endpoint.name}",
        "summary": f"Predict by {group.model} version {group.version}." if group is not None else "Predict.",
        "requestBody": {"required": True, "content": content},
        "responses": answers,
    }


def _payload(signature: Sequence[Field]) -> JSON:
    row = {
        "type": "object",
        "properties": {field.name: _schema(field) for field in signature},
        "required": [field.name for field in signature],
    }
    array: JSON = {
        "type": "array",
        "prefixItems": [_schema(field) for field in signature],
        "minItems": len(signature),
        "maxItems": len(signature),
    }
    columns: JSON = {
        "type": "object",
        "properties": {field.name: {"type": "array", "items": _schema(field)} for field in signature},
        "required": row["required"],
    }
    rows: JSON = {"type": "array", "items": {"anyOf": [row, array]}}
    split: JSON = {
        "type": "object",
        "properties": {"columns": {"type": "array", "items": {"type": "string"}}, "data": {"type": "array", "items": {"type": "array"}}},
        "required": ["columns", "data"],
    }
    members: JSON = {
        "dataframe_records": {"type": "array", "items": row},
        "dataframe_split": split,
        "instances": rows,
        "inputs": {"anyOf": [columns, rows]},
    }
    return {"oneOf": [{"type": "object", "properties": {name: schema}, "required": [name]} for name, schema in members.items()]}


def _schema(field: Field) -> JSON:
    kind = annotation(field)
    if kind is None:
        return {"description": f"{field.type}: comes in an Arrow stream only"}
    return msgspec.json.schema(kind)


def _problem() -> JSON:
    text, number = {"type": "string"}, {"type": "integer"}
    return {
        "type": "object",
        "properties": {"type": text, "title": text, "status": number, "detail": text, "request_id": text, "field": text, "row": number},
        "required": ["type", "title", "status", "detail", "request_id"],
    }


def _answer() -> JSON:
    return {
        "type": "object",
        "properties": {
            "predictions": {"type": "array"},
            "probabilities": {"type": "array", "items": {"type": "array", "items": {"type": "number"}}},
            "model": {"type": "string"},
            "version": {"type": "integer"},
            "request_id": {"type": "string"},
        },
        "required": ["predictions", "model", "version", "request_id"],
    }
