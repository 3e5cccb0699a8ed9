#!/usr/bin/env bash
# Installs what the tests need beside Python packages, where it may: Debian's chromium, curl, jq, strace, faketime,
# nginx and gcc, npm packages, and with Go the examples and grpcurl.
# Where it may not, the tests that need them say so when they skip. Arguments name more commands: Firefox and WebKit, which
# are large, are installed by make browser-test alone.
set -u
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/go/bin
if ! command -v chromium >/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing chromium"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } \
      >/dev/null 2>&1 || echo "note: chromium could not be installed: browser tests will be skipped"
  else
    echo "note: no chromium, and no right to install it: browser tests will be skipped"
  fi
fi
for command in curl jq strace faketime nginx "$@"; do
  case $command in
    nginx) package=nginx-light ;;
    WebKitWebDriver) package=webkit2gtk-driver ;;
    Xvfb) package=xvfb ;;
    *) package=$command ;;
  esac
  if ! PATH=$PATH:/usr/sbin command -v $command >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "installing $package"
      # RUNLEVEL=1: where there is an init system, nginx is installed and not started.
      { apt-get update -qq &&
        RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $package; } \
        >/dev/null 2>&1 || echo "note: $package could not be installed: the tests that need it will be skipped"
    else
      echo "note: no $package, and no right to install it: the tests that need it will be skipped"
    fi
  fi
done
if [ -x .venv/bin/python ] && ! .venv/bin/python -c 'import ratsvc.quickmem._records' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing gcc and Python's headers, and compiling the check of records"
    { apt-get update -qq &&
      DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends gcc libc6-dev python3-dev &&
      RATSVC_COMPILE=always .venv/bin/python -m pip install -q --no-deps -e .; } \
      >/dev/null 2>&1 || echo "note: it could not be compiled: records are checked in Python, and the tests of the compiled check are skipped"
  else
    echo "note: no C compiler with Python's headers, and no right to install them: the tests of the compiled check are skipped"
  fi
fi
if ! command -v npm >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "installing nodejs and npm"
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nodejs npm; } \
    >/dev/null 2>&1 || echo "note: nodejs could not be installed: Node.js tests will be skipped"
fi
if command -v npm >/dev/null; then
  if [ ! -f tests/e2e/node_modules/.package-lock.json ] ||
     [ tests/e2e/package.json -nt tests/e2e/node_modules/.package-lock.json ]; then
    # No lock file: it would name the packages of every platform, and some registries hold only their own.
    (cd tests/e2e && npm install --silent --no-package-lock --no-audit --no-fund) ||
      echo "note: npm packages could not be installed: Node.js tests and buf lint will be skipped"
  fi
else
  echo "note: no npm: Node.js tests and buf lint will be skipped"
fi
if [ -x .venv/bin/python ]; then
  .venv/bin/python -m tests.golang # the first time it compiles gRPC: half a minute
fi
if command -v go >/dev/null && ! { command -v grpcurl || PATH=$(go env GOPATH)/bin command -v grpcurl; } >/dev/null; then
  echo "installing grpcurl"
  timeout 300 go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3 >/dev/null 2>&1 ||
    echo "note: grpcurl could not be installed: its examples will be skipped"
fi
if ! { command -v helm || PATH=~/go/bin command -v helm; } >/dev/null; then
  echo "note: no helm: tests of the chart will be skipped; make deploy-test builds it with Go, which takes minutes"
fi
exit 0
