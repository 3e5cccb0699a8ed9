"""The image: what its Dockerfile says, and, where an engine answers, what it does when it is built and run for real.

The base is the Dockerfile's, or the image that TEST_BASE_IMAGE names where no registry can be reached: any with glibc,
Python 3.11 or newer, venv and pip.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from ratsvc.client import Producer
from tests.deploy.chart import ROOT, objects

MIB = 1024 * 1024
GRACE_S = 30
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BASE = DOCKERFILE.partition("ARG BASE=")[2].split()[0]
HARD = ["--user", "10001", "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
BOUNDS = ["--memory", "256m", "--memory-swap", "256m", "--pids-limit", "128", "--stop-timeout", str(GRACE_S)]


def docker(*arguments: str, timeout: float = 60) -> str:
    """What docker answers."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
    return done.stdout.strip()


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", str(ROOT / "Dockerfile")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_what_is_sent_to_the_engine_is_what_the_image_is_built_from() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    assert let_in == set(" ".join(copied).split())


@pytest.fixture(scope="module")
def image() -> str:
    """The image, built; the tests are skipped where that cannot be done."""
    if shutil.which("docker") is None:
        pytest.skip("no docker here")
    if subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode != 0:
        pytest.skip("docker is here, and no engine answers it (DOCKER_HOST)")
    base = os.environ.get("TEST_BASE_IMAGE") or BASE
    for ask in (["image", "inspect", base], ["pull", "--quiet", base]):
        if subprocess.run(["docker", *ask], capture_output=True, timeout=60).returncode == 0:
            break
    else:
        pytest.skip(f"the base {base} cannot be had here (TEST_BASE_IMAGE names another)")
    build = ["build", "--network", "host", "--build-arg", f"BASE={base}", "--tag", "ratsvc:test", str(ROOT)]
    try:
        docker(*build, timeout=100)
    except subprocess.TimeoutExpired:
        pytest.skip("the first build takes longer than a test may: `make deploy-test` does it before")
    return "ratsvc:test"


class Container:
    """A running container of the image, and where it listens."""

    def __init__(self, image: str, *options: str, command: tuple[str, ...] = ()) -> None:
        self.bridged = bool(docker("network", "ls", "--quiet", "--filter", "name=^bridge$"))
        if self.bridged:
            network = ["--publish", "127.0.0.1::8080", "--publish", "127.0.0.1::50051"]
        else:
            self.http, self.grpc = free_port(), free_port()
            network = ["--network", "host", "--env", f"RATSVC_HTTP=127.0.0.1:{self.http}"]
            network += ["--env", f"RATSVC_GRPC=127.0.0.1:{self.grpc}"]
        drain = ["--env", "RATSVC_DRAIN_S=2", "--health-interval", "1s"]
        self.id = docker("run", "--detach", *HARD, *BOUNDS, *drain, *network, *options, image, *command)

    def wait(self) -> None:
        """Until the engine finds it healthy."""
        deadline = time.monotonic() + 40
        while (health := self.state["Health"]["Status"]) != "healthy":
            assert self.state["Running"], self.log
            assert time.monotonic() < deadline, (health, self.log)
            time.sleep(0.2)
        if not self.bridged:
            return
        self.http, self.grpc = (
            int(docker("port", self.id, port).splitlines()[0].rpartition(":")[2]) for port in ("8080", "50051")
        )

    @property
    def state(self) -> dict[str, Any]:
        return json.loads(docker("inspect", "--format", "{{json .State}}", self.id))

    @property
    def log(self) -> str:
        logs = ["docker", "logs", self.id]
        return subprocess.run(logs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http}"

    def python(self, code: str) -> str:
        """What a program says inside."""
        return docker("exec", self.id, "python3", "-c", code)

    async def publish(self, values: Iterable[Any]) -> None:
        async with Producer(f"127.0.0.1:{self.grpc}") as producer:
            for value in values:
                await producer.send("s", value)
            await producer.flush()

    def read(self) -> list[Any]:
        query = {"format": "ndjson", "from": "earliest", "until": "now"}
        lines = httpx.get(f"{self.url}/v1/streams/s", params=query, timeout=30).text.splitlines()
        return [json.loads(line) for line in lines if line]

    def stop(self) -> None:
        """As the engine stops it; it has to end by itself, within its grace, with 0."""
        began = time.monotonic()
        docker("stop", self.id)
        assert time.monotonic() - began < GRACE_S
        state = self.state
        assert (state["ExitCode"], state["OOMKilled"]) == (0, False), self.log
        assert "Traceback" not in self.log


@pytest.fixture
def run(image: str) -> Iterator[Callable[..., Container]]:
    """Starts containers, and removes them."""
    made: list[Container] = []

    def start(*options: str, command: tuple[str, ...] = ()) -> Container:
        made.append(Container(image, *options, command=command))
        made[-1].wait()
        return made[-1]

    yield start
    for container in made:
        docker("rm", "--force", "--volumes", container.id)


@pytest.fixture
def volume(image: str) -> Iterator[str]:
    """A volume of its own."""
    name = docker("volume", "create")
    yield name
    docker("volume", "rm", "--force", name)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


Run = Callable[..., Container]


@pytest.mark.timeout(300)
def test_it_says_what_it_is(image: str) -> None:
    config = json.loads(docker("inspect", "--format", "{{json .Config}}", image))
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"].keys() == {"8080/tcp", "50051/tcp"}
    assert config["Volumes"].keys() == {"/data"}
    labels = {name.removeprefix("org.opencontainers.image."): value for name, value in config["Labels"].items()}
    assert labels["title"] == "ratsvc"
    assert labels["licenses"] == "Apache-2.0"
    assert labels["version"] == version("ratsvc")


def test_it_can_send_traces_and_is_looked_into_with_a_token(run: Run) -> None:
    token = "0123456789abcdef"
    tracing = ["--env", "RATSVC_TRACING__ENABLED=true", "--env", "RATSVC_TRACING__ENDPOINT=http://127.0.0.1:9"]
    container = run(*tracing, "--env", f"RATSVC_DEBUG_TOKEN={token}")
    address = f"http://127.0.0.1:{container.http}/debug/profile?seconds=0.2"
    answer = httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=20)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")


async def test_locked_down_it_serves_drains_and_stops_in_its_grace(run: Run) -> None:
    container = run()
    status = container.python("print(open('/proc/1/status').read())")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"].strip() == "1"
    tools = "gcc", "cc", "g++", "make", "ld", "curl"
    assert container.python(f"import shutil; print([t for t in {tools} if shutil.which(t)])") == "[]"
    tried = "import errno\ntry: open('/tmp/x', 'w')\nexcept OSError as e: print(errno.errorcode[e.errno])"
    assert container.python(tried) == "EROFS"
    values = [{"n": n} for n in range(1000)]
    await container.publish(values)
    assert container.read() == values
    with (
        httpx.Client(timeout=GRACE_S) as client,
        connect_sse(client, "GET", f"{container.url}/v1/streams/s?format=sse&from=earliest") as source,
    ):
        events = source.iter_sse()
        first = next(event for event in events if event.data)
        assert first.json() == {"n": 0}
        container.stop()
        assert [event.event for event in events][-1] == "reconnect"


async def test_it_keeps_to_its_memory_when_more_is_published_than_fits(run: Run) -> None:
    container = run("--env", f"RATSVC_LIMITS__LOG_BYTES={48 * MIB}", "--env", f"RATSVC_LIMITS__QUEUE_BYTES={16 * MIB}")
    await container.publish(["x" * 65_536] * 6_000)
    assert 300 < len(container.read()) < 1_000
    container.stop()


async def test_durable_records_outlive_the_container(volume: str, run: Run) -> None:
    mount, durable = ("--volume", f"{volume}:/data"), ("serve", "--data-dir", "/data")
    first = run(*mount, command=durable)
    await first.publish(range(500))
    first.stop()
    docker("start", first.id)
    first.wait()
    await first.publish(range(500, 1000))
    assert first.read() == list(range(1000))
    docker("kill", first.id)
    second = run(*mount, command=durable)
    assert second.read() == list(range(1000))
    second.stop()


def test_the_chart_s_settings_and_its_test_run_in_it(tmp_path: Path, volume: str, run: Run) -> None:
    made = objects("durable")
    file = tmp_path / "ratsvc.toml"
    file.write_text(made["ConfigMap", "r-ratsvc"]["data"]["ratsvc.toml"])
    file.chmod(0o644)
    [server] = made["StatefulSet", "r-ratsvc"]["spec"]["template"]["spec"]["containers"]
    [test] = made["Pod", "r-ratsvc-test"]["spec"]["containers"]
    config = server["env"][0]
    mounts = ["--volume", f"{file}:/etc/ratsvc/ratsvc.toml:ro", "--volume", f"{volume}:/data"]
    container = run(*mounts, "--env", f"{config['name']}={config['value']}", command=tuple(server["args"]))
    assert "data.mdb" in container.python("import os; print(os.listdir('/data/log'))")
    code = [test["args"][0], "http://127.0.0.1:8080", "127.0.0.1:50051"]
    code[1:] = code[1:] if container.bridged else [container.url, f"127.0.0.1:{container.grpc}"]
    beside = ["--network", f"container:{container.id}"]
    said = docker(
        "run", "--rm", *HARD, *BOUNDS, *beside, "--entrypoint", test["command"][0], "ratsvc:test", "-c", *code
    )
    assert said.startswith("10 records went in over gRPC")
    container.stop()
