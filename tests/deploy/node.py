"""What a node does with a pod, as far as the tests need it: runs its one container here, as the pod's object says.

Command, arguments, environment, mounted files, probes and how it is stopped are the object's; the image's part is read
from the Dockerfile. Nothing is isolated: a mount is a folder of this machine, and what is listened at is a port of
loopback, so both are others in what the container is given. Services are played too: where a container names one with
its port, it gets the address of the endpoints that the cluster found for it.
"""

from __future__ import annotations

import base64
import itertools
import re
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import httpx
from grpc import RpcError, insecure_channel
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.deploy.chart import ROOT
from tests.deploy.cluster import NODE, Object, Space
from tests.faults.process import free_port, until_true

DOCKERFILE = (ROOT / "Dockerfile").read_text()
ENTRYPOINT = re.findall(r'^ENTRYPOINT \["(\w+)"\]', DOCKERFILE, re.M)
IMAGE = dict(re.findall(r"^    (RATSVC_\w+)=([\w.:]+)", DOCKERFILE, re.M))
PROGRAMS = Path(sys.executable).parent
WAIT_S = 40


def say_ready(space: Space, name: str, address: str) -> None:
    """Says of a pod what its node says when it runs and is ready."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [{"type": one, "status": "True", "lastTransitionTime": now} for one in ("ContainersReady", "Ready")]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
    space.patch("pods", name, "status", change={"status": status})


class Node:
    """A node for the pods of one namespace. A context manager: at its end nothing of them runs."""

    def __init__(self, space: Space, folder: Path) -> None:
        self.space = space
        self.folder = folder
        self.addresses = (f"10.1.0.{host}" for host in itertools.count(2))
        self._containers: list[Container] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._containers:
            if one.process.poll() is None:
                one.process.kill()
                one.process.wait()

    def start(self, name: str) -> Container:
        """Takes a pod that waits for a node, and starts its container."""
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"name": NODE}}
        done = self.space.cluster.http.post(self.space.path("pods", name, "binding"), json=binding)
        assert done.is_success, done.text
        container = Container(self, self.space.one("pods", name))
        self._containers.append(container)
        return container

    def run(self, name: str) -> Container:
        """The same, and says that the pod is ready when its probes do."""
        container = self.start(name)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            container.passes(probe)
        say_ready(self.space, name, container.address)
        return container

    def reached(self, service: str, port: int) -> str:
        """Where a Service's port leads, as soon as it leads anywhere."""
        ports = {one["port"]: one["name"] for one in self.space.one("services", service)["spec"]["ports"]}

        def ends(slices: dict[str, Object]) -> list[tuple[str, int]]:
            return [
                (address, end["port"])
                for one in slices.values()
                if one["metadata"]["labels"]["kubernetes.io/service-name"] == service
                for endpoint in one["endpoints"] or []
                if endpoint["conditions"]["ready"]
                for address in endpoint["addresses"]
                for end in one["ports"]
                if end["name"] == ports[port]
            ]

        [(address, end)] = ends(self.space.until("endpointslices", lambda slices: bool(ends(slices))))
        [container] = [one for one in self._containers if one.address == address]
        return f"127.0.0.1:{container.ports[end]}"


class Container:
    """The container of a pod."""

    def __init__(self, node: Node, pod: Object) -> None:
        self._node = node
        self._space = node.space
        self._volumes = {one["name"]: one for one in pod["spec"].get("volumes", [])}
        [self.spec] = pod["spec"]["containers"]
        self.name = pod["metadata"]["name"]
        self.address = next(node.addresses)
        self.ports: dict[int, int] = defaultdict(free_port)
        """The port of this machine for each that it listens at."""
        self.mounts = {one["mountPath"]: self._folder(one["name"]) for one in self.spec.get("volumeMounts", [])}
        for one in self.spec.get("volumeMounts", []):
            self._fill(self.mounts[one["mountPath"]], self._volumes[one["name"]])
        command = [self._here(one) for one in (*self.spec.get("command", ENTRYPOINT), *self.spec["args"])]
        environment = IMAGE | {one["name"]: self._value(one) for one in self.spec.get("env", [])}
        self.log = node.folder / f"{self.name}-{self.address}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [PROGRAMS / command[0], *command[1:]], stdout=log, stderr=log, cwd=node.folder,
                env={name: self._here(value) for name, value in environment.items()},
            )  # fmt: skip

    @property
    def url(self) -> str:
        """Where it speaks HTTP."""
        return f"http://127.0.0.1:{self.ports[8080]}"

    @property
    def grpc(self) -> str:
        """Where it speaks gRPC."""
        return f"127.0.0.1:{self.ports[50051]}"

    def passes(self, kind: str) -> None:
        """Asks a probe as often as its pod says, until it passes."""
        probe = self.spec[kind]

        def passed() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self._asked(probe)

        until_true(passed, probe["failureThreshold"] * probe["periodSeconds"], f"{kind} of {self.name} passes")

    def _asked(self, probe: Object) -> bool:
        limit = probe["timeoutSeconds"]
        if "grpc" in probe:
            with insecure_channel(f"127.0.0.1:{self.ports[probe['grpc']['port']]}") as channel:
                asked = health_pb2.HealthCheckRequest(service=probe["grpc"].get("service", ""))
                with suppress(RpcError):
                    said = health_pb2_grpc.HealthStub(channel).Check(asked, timeout=limit)
                    return bool(said.status == health_pb2.HealthCheckResponse.SERVING)
            return False
        asked = probe["httpGet"]
        [port] = [one["containerPort"] for one in self.spec["ports"] if one["name"] == asked["port"]]
        with suppress(httpx.TransportError):
            url = f"{asked['scheme'].lower()}://127.0.0.1:{self.ports[port]}{asked['path']}"
            return httpx.get(url, headers={"Host": f"{self.address}:{port}"}, timeout=limit).status_code < 400
        return False

    def stop(self) -> None:
        """Ends it when its pod is to go, in the time that the pod gives, and says that it is gone."""
        asked = self._space.until("pods", lambda pods: "deletionTimestamp" in pods[self.name]["metadata"])
        grace = asked[self.name]["metadata"]["deletionGracePeriodSeconds"]
        self.process.terminate()
        status = self.process.wait(grace - self.spec["lifecycle"]["preStop"]["sleep"]["seconds"])
        assert status == 0, self.log.read_text()
        self._space.cluster.http.request(
            "DELETE", self._space.path("pods", self.name), json={"gracePeriodSeconds": 0}
        ).raise_for_status()

    def finish(self) -> None:
        """Waits for a container that ends by itself, and says that it did."""
        status = self.process.wait(WAIT_S)
        assert status == 0, self.log.read_text()
        self._space.patch("pods", self.name, "status", change={"status": {"phase": "Succeeded"}})

    def _folder(self, volume: str) -> Path:
        if claim := self._volumes[volume].get("persistentVolumeClaim"):
            return self._space.volume(claim["claimName"])
        return self._node.folder / f"{self.name}-{self.address}-{volume}"

    def _fill(self, folder: Path, volume: Object) -> None:
        if "configMap" in volume:
            folder.mkdir()
            for name, text in self._space.one("configmaps", volume["configMap"]["name"])["data"].items():
                (folder / name).write_text(self._here(text))

    def _value(self, variable: Object) -> str:
        if "valueFrom" not in variable:
            return str(variable["value"])
        wanted = variable["valueFrom"]["secretKeyRef"]
        return base64.b64decode(self._space.one("secrets", wanted["name"])["data"][wanted["key"]]).decode()

    def _here(self, text: str) -> str:
        """What a text for the container says, in the words of this machine."""
        text = re.sub(r"\b0\.0\.0\.0:(\d+)", lambda found: f"127.0.0.1:{self.ports[int(found[1])]}", text)
        for path, folder in self.mounts.items():
            text = re.sub(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", str(folder), text)
        services = rf"(?<![\w.-])({'|'.join(map(re.escape, self._space.all('services')))}):(\d+)"
        return re.sub(services, lambda found: self._node.reached(found[1], int(found[2])), text)
