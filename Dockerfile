# The service as an image: uid 10001, no compiler, no shell needed, a read-only root file system.
#
#   docker build -t ratsvc .
#   docker run --read-only --cap-drop ALL --stop-timeout 30 -p 8080:8080 -p 50051:50051 ratsvc
#   docker run --read-only --cap-drop ALL --stop-timeout 30 -p 8080:8080 -p 50051:50051 -v ratsvc:/data ratsvc serve --data-dir /data
#
# Nothing is written but /data; /tmp is not used. Other ports are set by RATSVC_HTTP and RATSVC_GRPC, which the health
# check reads too. --stop-timeout has to be over `stop_timeout_s` (25): Docker's own default, 10 seconds, cuts the drain
# short.
#
# Any base of Debian's with Python 3.11 or newer (venv, pip, headers) will do: protobuf and lmdb have no wheels for musl.
# The tag moves with security releases; for a build that can be repeated, give the digest that
# `docker buildx imagetools inspect python:3.11-slim-bookworm` prints: --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv --without-pip /opt/ratsvc
# For the check of records, which is the only thing that is compiled. The base is as new as its tag: no versions to name.
# hadolint ignore=DL3008
RUN command -v cc > /dev/null \
 || { apt-get update -qq && apt-get install -qq -y --no-install-recommends gcc libc6-dev > /dev/null; }
# The dependencies first: they change less often than the source. Of them wheels alone.
COPY pyproject.toml ./
RUN python3 -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
print(*p["dependencies"], *p["optional-dependencies"]["otel"], sep="\n")' > requirements.txt \
 && python3 -m pip --python /opt/ratsvc/bin/python install --no-cache-dir --only-binary=:all: -r requirements.txt
COPY README.md LICENSE hatch_build.py ./
COPY gen ./gen
COPY ratsvc ./ratsvc
RUN RATSVC_COMPILE=always python3 -m pip --python /opt/ratsvc/bin/python install --no-cache-dir --no-deps . \
 && /opt/ratsvc/bin/ratsvc --help > /dev/null

FROM ${BASE}
ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ratsvc" \
      org.opencontainers.image.description="A streaming gateway: typed gRPC in, HTTP streams out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin ratsvc \
 && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=build /opt/ratsvc /opt/ratsvc
ENV PATH=/opt/ratsvc/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RATSVC_HTTP=0.0.0.0:8080 \
    RATSVC_GRPC=0.0.0.0:50051
USER 10001:10001
VOLUME ["/data"]
EXPOSE 8080 50051
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python3", "-c", "import http.client, os; \
c = http.client.HTTPConnection('127.0.0.1', int(os.environ['RATSVC_HTTP'].rpartition(':')[2]), timeout=4); \
c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["ratsvc"]
CMD ["serve"]
