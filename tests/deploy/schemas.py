"""JSON schemas of the Kubernetes objects that the chart makes, for kubeconform.

Their source is what the projects publish as Go modules, so that a Go proxy is all it takes: Kubernetes' own OpenAPI
document, and the custom resource definitions of the Gateway API and of the Prometheus operator. Objects are strict: a
field that is not in the schema is an error. usage: python schemas.py DIRECTORY
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

KUBERNETES = "k8s.io/kubernetes@v1.36.3"
KINDS = {
    "ConfigMap", "Deployment", "Ingress", "NetworkPolicy", "Pod", "PodDisruptionBudget", "Service", "ServiceAccount",
    "StatefulSet",
}  # fmt: skip
GATEWAY_API = "sigs.k8s.io/gateway-api@v1.6.3"
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
DEFINITIONS = (
    (GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"),
    (GATEWAY_API, "config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml"),
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
)
Loader = yaml.CSafeLoader
Loader.add_constructor("tag:yaml.org,2002:value", Loader.construct_yaml_str)  # a bare = among the values of an enum
INT_OR_STRING: dict[str, Any] = {"type": ["integer", "string"]}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def main(target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name, schema in (*builtin(), *custom()):
        (target / f"{name}.json").write_text(json.dumps(schema))


def builtin() -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema for each kind that Kubernetes itself has, with all that it refers to."""
    document = json.loads((module(KUBERNETES) / "api/openapi-spec/swagger.json").read_text())
    definitions = {name: strict(schema) for name, schema in document["definitions"].items()}
    definitions[QUANTITY] = {"type": ["string", "number"]}
    for name, schema in document["definitions"].items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            if kind["kind"] not in KINDS:
                continue
            used = {one: definitions[one] for one in reachable(name, definitions)}
            yield named(**kind), {"$ref": f"#/definitions/{name}", "definitions": used}


def custom() -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema for each version of each custom resource."""
    for source, path in DEFINITIONS:
        spec = yaml.load((module(source) / path).read_text(), Loader)["spec"]
        for version in spec["versions"]:
            schema = strict(version["schema"]["openAPIV3Schema"])
            schema["properties"]["metadata"] = {"type": "object"}
            yield named(spec["group"], version["name"], spec["names"]["kind"]), schema


def named(group: str, version: str, kind: str) -> str:
    """The name that kubeconform looks for: kind, first word of the group, version."""
    return "-".join(part for part in (kind.lower(), group.split(".")[0], version) if part)


def strict(schema: Any) -> Any:
    """A schema that allows only the fields it names; what OpenAPI says in its own way, said in JSON Schema's."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("format") == "int-or-string" or schema.get("x-kubernetes-int-or-string"):
        return INT_OR_STRING
    made = {
        name: {field: strict(one) for field, one in value.items()} if name == "properties" else strict(value)
        for name, value in schema.items()
        if not name.startswith("x-") and name not in ("description", "default", "example")
    }
    if "properties" in made and "type" in made and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def reachable(name: str, definitions: dict[str, Any]) -> set[str]:
    """The names of a definition and of all that it refers to."""
    found, ahead = set(), [name]
    while ahead:
        here = ahead.pop()
        if here not in found:
            found.add(here)
            ahead += references(definitions[here])
    return found


def references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("$ref"), str):
            yield schema["$ref"].removeprefix("#/definitions/")
        for one in schema.values():
            yield from references(one)
    elif isinstance(schema, list):
        for one in schema:
            yield from references(one)


def module(version: str) -> Path:
    """The folder of a Go module, fetched when it is not there."""
    done = subprocess.run(["go", "mod", "download", "-json", version], capture_output=True, text=True, cwd="/")
    answer = json.loads(done.stdout or "{}")
    if "Dir" not in answer:
        sys.exit(f"{version}: {answer.get('Error', done.stderr)}")
    return Path(answer["Dir"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
