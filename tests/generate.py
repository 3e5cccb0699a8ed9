"""Generates code of protos/ into a folder: `python tests/generate.py gen`, or `… examples/go PLUGINS` for Go, where
PLUGINS is the folder with protoc-gen-go and protoc-gen-go-grpc."""

from __future__ import annotations

import sys
from pathlib import Path

import google.rpc
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
#: google/rpc/status.proto comes with googleapis-common-protos.
INCLUDE = Path(next(iter(google.rpc.__path__))).parent.parent


def generate(target: Path) -> None:
    """Writes rat/v1/*_pb2.py, their stubs and the gRPC services under `target`."""
    _protoc(*(f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")))
    for package in ("rat", "rat/v1"):
        (target / package / "__init__.py").write_text('"""Generated from protos/rat/v1."""\n')
    for empty in ("value", "record"):  # no services in these
        (target / "rat/v1" / f"{empty}_pb2_grpc.py").unlink()


def generate_go(target: Path, plugins: Path) -> None:
    """Writes the package ratsvc/rat/v1 of the Go module `ratsvc` under `target`."""
    words = [f"--plugin={plugins}/protoc-gen-{name}" for name in ("go", "go-grpc")]
    _protoc(*words, *(f"--{name}={value}" for kind in ("go", "go-grpc")
                      for name, value in ((f"{kind}_out", target), (f"{kind}_opt", "module=ratsvc"))))  # fmt: skip


def _protoc(*options: str) -> None:
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(["protoc", f"-I{ROOT / 'protos'}", f"-I{INCLUDE}", f"-I{well_known}", *options, *protos])
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    folders = [Path(word) for word in sys.argv[1:]]
    generate(*folders) if len(folders) == 1 else generate_go(*folders)
