"""The files for containers: they fit the tree and each other, and their commands work when they are run here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from noa_site.config import Config
from tests.journeys.server import free_port
from tests.markdown import ROOT
from tests.servers.postgres import PostgresServer
from tests.servers.redis import RedisServer
from tests.waiting import until

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
NOA = [name for name, service in SERVICES.items() if service["image"] == "noa"]
MANIFESTS = [
    document
    for path in sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
WORKLOADS = [one for one in MANIFESTS if "template" in one.get("spec", {})]
BIN = Path(sys.executable).parent
# Secrets of PostgreSQL and Redis, which are not among the manifests.
OF_SERVERS = {"postgres_password", "redis_password", "redis_conf"}


def known_settings() -> set[str]:
    names = {str(field.validation_alias or f"NOA_{name.upper()}") for name, field in Config.model_fields.items()}
    return names | {f"{name}_FILE" for name in names} | {"POD_IP"}


def test_the_image_copies_what_there_is_and_the_builder_is_given_all_of_it() -> None:
    given = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert copied == given
    assert all((ROOT / source).exists() for source in copied)


def test_nobody_is_root_and_nothing_more_is_granted_than_needed() -> None:
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert "privileged" not in service, name
    for workload in WORKLOADS:
        pod = workload["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] is True
            assert locked["allowPrivilegeEscalation"] is False
            assert locked["capabilities"] == {"drop": ["ALL"]}


def test_every_setting_that_they_give_is_one() -> None:
    given = {name for service in NOA for name in SERVICES[service]["environment"]}
    for manifest in MANIFESTS:
        if manifest["kind"] == "ConfigMap":
            given |= set(manifest["data"])
    for workload in WORKLOADS:
        for container in workload["spec"]["template"]["spec"]["containers"]:
            given |= {one["name"] for one in container.get("env", [])}
    assert given <= known_settings()


def test_secrets_come_by_file_and_all_of_them_are_made(tmp_path: Path) -> None:
    made = secrets_in(tmp_path / "secrets")
    files = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert files == made
    for service in SERVICES.values():
        for value in service.get("environment", {}).values():
            assert not re.search(r"password|:[^/@]+@", str(value).replace("_password", ""))
    (kustomization,) = [one for one in MANIFESTS if one["kind"] == "Kustomization"]
    (generator,) = kustomization["secretGenerator"]
    assert {Path(name).name for name in generator["files"]} == made - OF_SERVERS


def secrets_in(folder: Path) -> set[str]:
    subprocess.run([ROOT / "deploy" / "make_secrets", folder], check=True, capture_output=True)
    again = subprocess.run([ROOT / "deploy" / "make_secrets", folder], check=False, capture_output=True)
    assert again.returncode == 1, "secrets must never be overwritten"
    return {path.name for path in folder.iterdir()}


def test_the_servers_of_data_are_reached_by_noa_only() -> None:
    assert COMPOSE["networks"]["data"] == {"internal": True}
    for name, service in SERVICES.items():
        assert service["networks"] == (["front", "data"] if name in NOA else ["data"])
        assert name == "web" or "ports" not in service


def test_every_container_has_bounds() -> None:
    for name, service in SERVICES.items():
        assert service["mem_limit"] and service["pids_limit"], name
        for folder in service.get("tmpfs", []):
            assert re.search(r":size=\d+m\b", folder) and "nosuid" in folder and "nodev" in folder, (name, folder)
    for workload in WORKLOADS:
        pod = workload["spec"]["template"]["spec"]
        assert all(container["resources"]["limits"]["memory"] for container in pod["containers"])
        assert all(volume["emptyDir"]["sizeLimit"] for volume in pod["volumes"] if "emptyDir" in volume)
        for claim in workload["spec"].get("volumeClaimTemplates", []):
            assert claim["spec"]["resources"]["requests"]["storage"]


def test_no_setting_allows_every_host() -> None:
    (settings,) = [one["data"] for one in MANIFESTS if one["kind"] == "ConfigMap"]
    for hosts in (settings["NOA_ALLOWED_HOSTS"], SERVICES["web"]["environment"]["NOA_ALLOWED_HOSTS"]):
        assert "*" not in hosts


def test_policies_select_every_pod_and_open_only_declared_ports() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in MANIFESTS if one["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    pods = {one["spec"]["template"]["metadata"]["labels"]["app"]: one["spec"]["template"]["spec"] for one in WORKLOADS}
    (egress,) = policies["noa-egress"]["podSelector"]["matchExpressions"]
    assert set(egress["values"]) == set(pods)
    for name in ("noa-web", "noa-worker"):
        (rule,) = policies[name]["ingress"]
        assert rule["from"], "an empty list would allow every source"
        (container,) = pods[name]["containers"]
        assert [port["port"] for port in rule["ports"]] == [port["name"] for port in container["ports"]]
    for rule in policies["noa-egress"]["egress"]:
        for target in rule.get("to", []):
            if "ipBlock" in target:
                assert "169.254.0.0/16" in target["ipBlock"]["except"], "metadata services"
    (namespace,) = [one for one in MANIFESTS if one["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_redis_of_the_stack_answers_with_the_password_only(tmp_path: Path) -> None:
    secrets_in(tmp_path / "secrets")
    (tmp_path / "data").mkdir()
    port = free_port()
    places = {"/run/secrets": str(tmp_path / "secrets"), "/data": str(tmp_path / "data")}
    service = Container("redis", places, port, ["--port", str(port), "--bind", "127.0.0.1"])
    try:
        kind, command = SERVICES["redis"]["healthcheck"]["test"]
        assert kind == "CMD-SHELL"
        check = command.replace("redis-cli", f"redis-cli -p {port}")
        until(lambda: service.is_healthy(["sh", "-c", check]), "Redis was healthy", 20.0)
        stranger = subprocess.run(["redis-cli", "-p", str(port), "ping"], check=False, capture_output=True, text=True)
        assert "NOAUTH" in stranger.stdout + stranger.stderr
        password = (tmp_path / "secrets" / "redis_password").read_text()
        assert password not in Path(f"/proc/{service.process.pid}/cmdline").read_text()
    finally:
        service.stop()


def test_every_service_is_waited_for_until_it_is_healthy() -> None:
    for name, service in SERVICES.items():
        for other, wish in service.get("depends_on", {}).items():
            assert wish == {"condition": "service_healthy"}, name
            assert other == "web" or "healthcheck" in SERVICES[other]
    assert "HEALTHCHECK" in DOCKERFILE


def test_manifests_agree_on_names_ports_and_volumes() -> None:
    for workload in WORKLOADS:
        spec = workload["spec"]["template"]["spec"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", [])}
        for container in spec["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["envFrom"] == [{"configMapRef": {"name": "noa"}}]
            ports = {port["name"] for port in container.get("ports", [])}
            for word in ("startupProbe", "livenessProbe", "readinessProbe"):
                probe = container.get(word, {})
                asked = probe.get("httpGet") or probe.get("tcpSocket")
                assert asked is None or asked["port"] in ports


class Container:
    """Runs the command of a service in docker-compose.yml, with folders and addresses of this test."""

    def __init__(self, name: str, places: dict[str, str], port: int, arguments: Sequence[str] = ()) -> None:
        """`arguments` are added to its command."""
        service = SERVICES[name]
        self._places = {**places, "127.0.0.1:8000": f"127.0.0.1:{port}"}
        self.environment = os.environ | {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            **{key: self.here(str(value)) for key, value in service.get("environment", {}).items()},
            "NOA_PORT": str(port),
            "NOA_HOST": "127.0.0.1",
        }
        # `$$` is compose's way to write `$`.
        words = [self.here(word.replace("$$", "$")) for word in [*service.get("entrypoint", []), *service["command"]]]
        self.log = Path(places["/run/secrets"]).parent / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*words, *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def here(self, text: str) -> str:
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        for there, place in self._places.items():
            text = text.replace(there, place)
        return text

    def is_healthy(self, test: list[str]) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        words = [self.here(word.replace("$$", "$")) for word in test]
        done = subprocess.run(words, cwd=ROOT, env=self.environment, capture_output=True)
        return done.returncode == 0

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(60)


def signs_in(port: int, password: str) -> bool:
    """Whether the console accepts `admin` with this password."""
    url = f"http://127.0.0.1:{port}/admin/login/"
    with httpx2.Client(headers={"Referer": url}) as client:
        client.get(url)
        token = client.cookies["csrftoken"]
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
        return client.post(url, data=form).status_code == 302


def image_health() -> list[str]:
    (found,) = re.findall(r"^    CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
    words: list[str] = json.loads(found)
    return words


@pytest.mark.journey
def test_the_commands_of_web_and_worker_come_up_healthy_and_end_in_good_order(
    tmp_path: Path,
) -> None:
    secrets_in(tmp_path / "secrets")
    (tmp_path / "data").mkdir()
    (tmp_path / "models").mkdir()
    postgres, redis = PostgresServer().start(), RedisServer().start()
    runners = free_port()
    places = {
        "/run/secrets": str(tmp_path / "secrets"),
        "/var/lib/noa": str(tmp_path / "data"),
        "/models": str(tmp_path / "models"),
        "0.0.0.0:8790": f"127.0.0.1:{runners}",
        "'127.0.0.1', 8790": f"'127.0.0.1', {runners}",
    }
    running: list[Container] = []
    try:
        (tmp_path / "secrets" / "database_url").write_text(postgres.create("noa"))
        (tmp_path / "secrets" / "broker_url").write_text(redis.url())
        port = free_port()
        web = Container("web", places, port)
        running.append(web)
        until(lambda: web.is_healthy(image_health()), "the web service was healthy", 90.0)
        worker = Container("worker", places, port)
        running.append(worker)
        kind, *command = SERVICES["worker"]["healthcheck"]["test"]
        assert kind == "CMD"
        until(lambda: worker.is_healthy(command), "the worker was healthy", 90.0)
        rows = postgres.execute("SELECT name, address FROM models_app_node", "noa")
        hostname = shlex.quote(os.uname().nodename.lower())
        assert [str(name) for name, _ in rows] == [hostname]
        assert str(rows[0][1]).startswith("https://127.0.0.1:")
        password = (tmp_path / "secrets" / "admin_password").read_text()
        assert signs_in(port, password)
        assert password not in web.log.read_text() and not re.search(r"noa_[0-9a-f]{12}_", web.log.read_text())
        assert worker.stop() == 0, worker.log.read_text()[-3000:]
        assert web.stop() == 0, web.log.read_text()[-3000:]
        running.clear()
    finally:
        for container in running:
            container.process.kill()
            container.process.wait()
        redis.stop()
        postgres.stop()
