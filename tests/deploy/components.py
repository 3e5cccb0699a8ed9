"""The programs of a Kubernetes control plane, built by Go from what any Go proxy has: no release page, no container.

Kubernetes' own module is built in place, with a `go.mod` of ours: its own one names folders that only its checkout has
(`staging`), and what is in them is published as modules too, under the matching version. It also names the etcd that it
is tested with. Built once, for a quarter of an hour on two cores; tests are skipped where it was not done.

usage: python -m tests.deploy.components
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.chart import ROOT
from tests.deploy.schemas import DEFINITIONS, KUBERNETES, module

BUILT = ROOT / "build" / "cluster"
VERSION = KUBERNETES.partition("@")[2]
MADE = "\n".join([KUBERNETES, *(f"{source} {path}" for source, path in DEFINITIONS)])
"""What `build` made, in a file beside it."""
PROGRAMS = {
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "./cmd/kube-apiserver",
    "kube-controller-manager": "./cmd/kube-controller-manager",
    "kubectl": "./cmd/kubectl",
}


@functools.cache
def missing() -> str:
    """Why there is no control plane here, or nothing."""
    made = BUILT / "made"
    if made.exists() and made.read_text() == MADE:
        return ""
    return f"no control plane of Kubernetes {VERSION} in build/cluster: `make deploy-test` builds it with Go"


def program(name: str) -> Path:
    """The path of one of `PROGRAMS`; the test is skipped where it was not built."""
    if why := missing():
        pytest.skip(why)
    return BUILT / name


def build() -> None:
    """Builds all of `PROGRAMS`, and puts the chart's custom kinds beside them.

    What was compiled before it was interrupted is in Go's cache, and is not compiled again.
    """
    source = module(KUBERNETES)
    staged = "v0." + VERSION.removeprefix("v1.")
    requirements = re.sub(r"^.* => \./staging/.*\n", "", (source / "go.mod").read_text(), flags=re.M)
    BUILT.mkdir(parents=True, exist_ok=True)
    (BUILT / "made").unlink(missing_ok=True)
    (BUILT / "go.mod").write_text(re.sub(r"^(\s+k8s\.io/\S+) v0\.0\.0$", rf"\1 {staged}", requirements, flags=re.M))
    (BUILT / "go.sum").write_bytes((source / "go.sum").read_bytes())
    major, minor, _ = VERSION.removeprefix("v").split(".")
    said = {"gitVersion": VERSION, "gitMajor": major, "gitMinor": minor}
    linked = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in said.items())
    options = ["-mod=mod", f"-modfile={BUILT / 'go.mod'}", "-trimpath", f"-ldflags=-s -w {linked}"]
    environment = os.environ | {"GOWORK": "off", "CGO_ENABLED": "0"}
    for name, package in PROGRAMS.items():
        print(f"building {name}", flush=True)
        command = ["go", "build", *options, "-o", str(BUILT / name), package]
        subprocess.run(command, cwd=source, env=environment, check=True)
    (BUILT / "definitions").mkdir(exist_ok=True)
    for definitions, path in DEFINITIONS:
        shutil.copyfile(module(definitions) / path, BUILT / "definitions" / Path(path).name)
    (BUILT / "made").write_text(MADE)


if __name__ == "__main__":
    if missing():
        try:
            build()
        except subprocess.CalledProcessError:
            sys.exit(f"note: Kubernetes {VERSION} could not be built: tests in a cluster are skipped")
