#!/usr/bin/env bash
# Makes what the tests of image and chart need: helm and kubeconform, built by Go into its own bin folder; schemas, and the
# programs of a Kubernetes control plane, under build/; Debian's promtool; the image, where an engine answers. Once: 20
# minutes of compiling and 4 GB, most of them in Go's caches, which go by themselves. `make deploy-test` calls it; `make
# test` uses what is there.
set -eu
cd "$(dirname "$0")/../.."
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
  docker build --network host ${TEST_BASE_IMAGE:+--build-arg "BASE=$TEST_BASE_IMAGE"} --tag ratsvc:test . ||
    echo "note: the image could not be built"
fi
if ! command -v promtool >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing prometheus, for its promtool"
    # RUNLEVEL=1: where there is an init system, it is installed and not started.
    { apt-get update -qq &&
      RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus; } \
      >/dev/null 2>&1 || echo "note: prometheus could not be installed: promtool's tests will be skipped"
  else
    echo "note: no promtool, and no right to install it: its tests will be skipped"
  fi
fi
if ! command -v go >/dev/null; then
  echo "note: no Go: tests of the chart that need helm are skipped, unless helm is here"
  exit 0
fi
PATH=$PATH:$(go env GOPATH)/bin
command -v kubeconform >/dev/null || go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
command -v helm >/dev/null || go install helm.sh/helm/v4/cmd/helm@v4.3.1
if [ ! -f build/schemas/.made ] || [ tests/deploy/schemas.py -nt build/schemas/.made ]; then
  .venv/bin/python tests/deploy/schemas.py build/schemas
  touch build/schemas/.made
fi
nice .venv/bin/python -m tests.deploy.components || true
