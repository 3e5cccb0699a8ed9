"""Go for the tests: the examples' programs, built once. Where Go or its modules are not to be had, tests say so."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE = ROOT / "examples" / "go"
BUILT = ROOT / "build" / "examples"
USUAL = ("/usr/local/go/bin", str(Path.home() / "go" / "bin"))
"""Where Go's installer, and `go install`, put programs, whether PATH says so or not."""

os.environ["PATH"] = os.pathsep.join([*os.environ["PATH"].split(os.pathsep), *USUAL])


@functools.cache
def _build() -> str:
    """Builds the examples; returns why it cannot be done, or nothing. What does not compile is a failure."""
    if shutil.which("go") is None:
        return "go is not installed"
    try:
        modules = ["go", "mod", "download"]
        done = subprocess.run(modules, cwd=MODULE, capture_output=True, text=True, timeout=100)
    except subprocess.TimeoutExpired:
        return "Go's modules cannot be downloaded: no answer"
    if done.returncode:
        return f"Go's modules cannot be downloaded: {done.stderr.strip().splitlines()[-1]}"
    BUILT.mkdir(parents=True, exist_ok=True)
    tools = ["google.golang.org/protobuf/cmd/protoc-gen-go", "google.golang.org/grpc/cmd/protoc-gen-go-grpc"]
    subprocess.run(["go", "build", "-o", str(BUILT), "./producer", "./consumer", *tools], cwd=MODULE, check=True)
    return ""


def built(name: str) -> Path:
    """The program of that name: `producer`, `consumer`, `protoc-gen-go` or `protoc-gen-go-grpc`. Skips without Go."""
    if why := _build():
        pytest.skip(why)
    return BUILT / name


if __name__ == "__main__":
    print(f"note: {why}: tests of Go are skipped" if (why := _build()) else "the examples in Go are built")
