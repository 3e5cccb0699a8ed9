"""Generates the Python code of protos/ into a folder: `python tests/generate.py gen`."""

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
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    well_known = Path(protoc.__file__).parent / "_proto"
    code = protoc.main(
        ["protoc", f"-I{ROOT / 'protos'}", f"-I{INCLUDE}", f"-I{well_known}"]
        + [f"--{kind}={target}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
        + protos
    )
    if code:
        raise SystemExit(code)
    for package in ("rat", "rat/v1"):
        (target / package / "__init__.py").write_text('"""Generated from protos/rat/v1."""\n')
    for empty in ("value", "record"):  # no services in these
        (target / "rat/v1" / f"{empty}_pb2_grpc.py").unlink()


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
