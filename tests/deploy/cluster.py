"""A Kubernetes control plane for tests: etcd, API server and controllers, on ports of loopback, in a folder.

There is no scheduler and no kubelet: pods are made, and not run but as `tests.deploy.node` plays it. What one waits for
is told by the API server's own watch. A token is all that it asks of a client, and it makes its certificate itself.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import ssl
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from tests.deploy import components
from tests.deploy.chart import ROOT, tool
from tests.faults.process import free_port, until_true

START_S, WAIT_S, STOP_S = 60, 20, 10
GROWING, NODE = "growing", "here"
"""A class of volumes whose claims may grow; a node that nobody runs."""
CONTROLLERS = (
    "deployment-controller", "disruption-controller", "endpointslice-controller", "garbage-collector-controller",
    "persistentvolume-binder-controller", "persistentvolumeclaim-protection-controller", "replicaset-controller",
    "statefulset-controller",
)  # fmt: skip
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
GROUPS = {
    "pods": "api/v1", "persistentvolumeclaims": "api/v1", "configmaps": "api/v1", "secrets": "api/v1",
    "services": "api/v1", "deployments": "apis/apps/v1", "replicasets": "apis/apps/v1", "statefulsets": "apis/apps/v1",
    "endpointslices": "apis/discovery.k8s.io/v1", "poddisruptionbudgets": "apis/policy/v1",
}  # fmt: skip
"""Where the API has the kinds that tests read."""

Object = dict[str, Any]
Done = subprocess.CompletedProcess[str]


class Cluster:
    """The control plane. A context manager: at its end everything is stopped. Its parts log into files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.has_learned = False
        """Whether it knows the kinds of the Gateway API and of the Prometheus operator."""
        self._stack = ExitStack()
        self._spaces = itertools.count(1)
        self._parts: dict[str, subprocess.Popen[bytes]] = {}
        self._url = f"https://127.0.0.1:{free_port()}"
        self._token = secrets.token_urlsafe()
        self._certificate = folder / "apiserver.crt"

    def __enter__(self) -> Self:
        with self._stack:
            self._start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        etcd = f"http://127.0.0.1:{free_port()}"
        self._run(
            "etcd", "--data-dir=etcd", "--unsafe-no-fsync", f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}", "--listen-peer-urls=http://127.0.0.1:0",
        )  # fmt: skip
        (self.folder / "tokens").write_text(f"{self._token},tests,tests,system:masters\n")
        self._run(
            "kube-apiserver", f"--etcd-servers={etcd}", "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
            f"--secure-port={self._url.rpartition(':')[2]}", "--endpoint-reconciler-type=none", "--cert-dir=.",
            "--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC", "--token-auth-file=tokens",
            "--service-account-issuer=https://tests.invalid", "--service-account-key-file=apiserver.key",
            "--service-account-signing-key-file=apiserver.key",
        )  # fmt: skip
        # The private key is written after the certificate.
        until_true(lambda: self._lives((self.folder / "apiserver.key").exists), START_S, "it has a certificate")
        trusted = ssl.create_default_context(cafile=self._certificate)
        headers = {"Authorization": f"Bearer {self._token}"}
        client = httpx.Client(base_url=self._url, headers=headers, verify=trusted, timeout=WAIT_S)
        self.http = self._stack.enter_context(client)
        until_true(lambda: self._lives(self._answers), START_S, "the API server answers")
        self._run(
            "kube-controller-manager", f"--kubeconfig={self._configured('default')}", "--secure-port=0",
            f"--controllers={','.join(CONTROLLERS)}", "--leader-elect=false",
        )  # fmt: skip
        self.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}},
            {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": "high"}, "value": 1},
            {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": GROWING},
             "provisioner": "kubernetes.io/no-provisioner", "allowVolumeExpansion": True},
        )  # fmt: skip

    def _run(self, name: str, *flags: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            command = [str(components.program(name)), *flags]
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        self._parts[name] = process
        self._stack.callback(_stop, process)

    def _lives(self, is_so: Callable[[], bool]) -> bool:
        """Whether it is so; and nothing has ended meanwhile."""
        for name, process in self._parts.items():
            assert process.poll() is None, f"{name} ended:\n{(self.folder / f'{name}.log').read_text()[-2000:]}"
        return is_so()

    def _answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/readyz").is_success
        return False

    def _configured(self, namespace: str) -> Path:
        """A file that tells helm, kubectl and the controllers where it is, and which namespace is meant."""
        server = {"server": self._url, "certificate-authority": str(self._certificate)}
        context = {"cluster": "tests", "user": "tests", "namespace": namespace}
        parts = {"cluster": server, "user": {"token": self._token}, "context": context}
        config = {f"{part}s": [{"name": "tests", part: value}] for part, value in parts.items()}
        file = self.folder / f"{namespace}.config"
        file.write_text(yaml.safe_dump(config | {"current-context": "tests"}))
        return file

    def run(self, *command: str | Path, text: str | None = None, namespace: str = "default") -> Done:
        """Runs a command as someone at the checkout would, with this cluster's kubectl and helm."""
        programs = [str(components.BUILT), str(Path(tool("helm")).parent), os.environ["PATH"]]
        config = str(self._configured(namespace))
        environment = {"KUBECONFIG": config, "HOME": str(self.folder), "PATH": os.pathsep.join(programs)}
        given: dict[str, Any] = {"input": text, "cwd": ROOT, "env": environment, "timeout": START_S}
        return subprocess.run(command, capture_output=True, text=True, **given)

    def apply(self, *objects: Object) -> None:
        """Gives objects to the API server."""
        done = self.run("kubectl", "apply", "--server-side", "-f", "-", text=yaml.safe_dump_all(objects))
        assert done.returncode == 0, done.stderr

    def learn(self) -> None:
        """Teaches it the chart's custom kinds, if it does not know them."""
        if self.has_learned:
            return
        definitions = components.BUILT / "definitions"
        for command in (["apply", "--server-side"], ["wait", "--for=condition=Established"]):
            done = self.run("kubectl", *command, "-f", definitions)
            assert done.returncode == 0, done.stderr
        self.has_learned = True

    def space(self) -> Space:
        """A new namespace, where pods have to fit the `restricted` standard."""
        name = f"space-{next(self._spaces)}"
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}})
        return Space(self, name)


class Space:
    """A namespace of a cluster: what is in it, and what one does there."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def run(self, *command: str | Path, text: str | None = None) -> Done:
        """Runs a command for which this is the namespace."""
        return self.cluster.run(*command, text=text, namespace=self.name)

    def helm(self, *arguments: str | Path) -> Done:
        """Runs helm here."""
        return self.run("helm", *arguments)

    def path(self, kind: str, *more: str) -> str:
        """Where the API has a kind's objects, or one."""
        return "/".join(("", GROUPS[kind], "namespaces", self.name, kind, *more))

    def all(self, kind: str) -> dict[str, Object]:
        """The objects of a kind, by name."""
        found = self.cluster.http.get(self.path(kind)).raise_for_status().json()
        return {one["metadata"]["name"]: one for one in found["items"]}

    def one(self, kind: str, name: str) -> Object:
        """An object that is there."""
        found: Object = self.cluster.http.get(self.path(kind, name)).raise_for_status().json()
        return found

    def patch(self, kind: str, *path: str, change: Object) -> None:
        """Changes an object, or a part of it such as its status."""
        headers = {"Content-Type": "application/merge-patch+json"}
        done = self.cluster.http.patch(self.path(kind, *path), content=json.dumps(change), headers=headers)
        assert done.is_success, done.text

    def provide(self, claim: str, folder: Path) -> None:
        """Brings a volume for a claim: a folder, of a class that lets claims grow."""
        folder.mkdir()
        wanted = {"namespace": self.name, "name": claim}
        spec = {"capacity": {"storage": "10Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": GROWING}
        spec |= {"hostPath": {"path": str(folder)}, "claimRef": wanted}
        about = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": f"{self.name}-{claim}"}}
        self.cluster.apply(about | {"spec": spec})

    def volume(self, claim: str) -> Path:
        """The folder that was brought for a claim, when it has it."""
        bound = self.until("persistentvolumeclaims", lambda found: found[claim]["status"]["phase"] == "Bound")
        path = f"/api/v1/persistentvolumes/{bound[claim]['spec']['volumeName']}"
        return Path(self.cluster.http.get(path).raise_for_status().json()["spec"]["hostPath"]["path"])

    def until(self, kind: str, is_so: Callable[[dict[str, Object]], bool]) -> dict[str, Object]:
        """Watches the objects of a kind until it is so with them, and gives them by name."""
        http, path = self.cluster.http, self.path(kind)
        listed = http.get(path).raise_for_status().json()
        found = {one["metadata"]["name"]: one for one in listed["items"]}
        since = {"resourceVersion": listed["metadata"]["resourceVersion"], "watch": True, "timeoutSeconds": WAIT_S}
        if is_so(found):
            return found
        with http.stream("GET", path, params=since, timeout=2 * WAIT_S) as events:
            for line in events.raise_for_status().iter_lines():
                event = json.loads(line)
                name = event["object"]["metadata"]["name"]
                found.pop(name, None)
                if event["type"] != "DELETED":
                    found[name] = event["object"]
                if is_so(found):
                    return found
        for one in found.values():
            del one["metadata"]["managedFields"]
        raise AssertionError(f"after {WAIT_S} s the {kind} are still\n{yaml.safe_dump(found)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
