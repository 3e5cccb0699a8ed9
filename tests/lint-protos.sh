#!/usr/bin/env bash
# buf's STANDARD lint over protos/, with google/rpc/status.proto from the Python package that carries it.
set -eu
cd "$(dirname "$0")/.."
buf=$PWD/tests/e2e/node_modules/.bin/buf
if [ ! -x "$buf" ]; then
  echo "skipped: buf lint (npm package @bufbuild/buf is not installed)"
  exit 0
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/deps/google/rpc"
cp -r protos "$work/protos"
rm -f "$work/protos/buf.yaml"
cp "$(.venv/bin/python -c 'import google.rpc; print(next(iter(google.rpc.__path__)))')/status.proto" "$work/deps/google/rpc/"
cat >"$work/buf.yaml" <<'YAML'
version: v2
modules:
  - path: protos
  - path: deps
    lint: {ignore: [deps]}
lint: {use: [STANDARD, COMMENTS]}
YAML
cd "$work" && "$buf" lint && echo "buf lint: clean"
