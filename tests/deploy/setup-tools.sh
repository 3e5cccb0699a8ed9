#!/usr/bin/env bash
# Makes what the chart's tests need: helm and kubeconform, built by Go into its own bin folder, and schemas, under
# build/. Once: minutes of compiling. `make deploy-test` calls it; `make test` uses what is there.
set -eu
cd "$(dirname "$0")/../.."
export PATH="$PATH:$(go env GOPATH)/bin"
command -v kubeconform >/dev/null || go install github.com/yannh/kubeconform/cmd/kubeconform@v0.8.0
command -v helm >/dev/null || go install helm.sh/helm/v4/cmd/helm@v4.3.1
if [ ! -f build/schemas/.made ] || [ tests/deploy/schemas.py -nt build/schemas/.made ]; then
  .venv/bin/python tests/deploy/schemas.py build/schemas
  touch build/schemas/.made
fi
