"""The files of deploy/ are valid, and agree with the server: its options, port, paths, periods and figures."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import enfold
from enfold.cli.key import command as key
from enfold.cli.serve import command as serve
from enfold.serve import Settings
from enfold.serve.app import make_app
from enfold.serve.dispatch import Dispatcher
from enfold.serve.metrics import Metrics

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
MANIFESTS = sorted(path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.stem != "kustomization")
READMES = [DEPLOY / "README.md", DEPLOY / "README.zh-CN.md"]
KUBERNETES = ("1.28", "1.37")
"""The oldest and the newest version that the manifests are for."""

CACHE = "/var/cache/enfold"
WORKERS_S = 5
"""Seconds that workers get to end, after the server's own grace."""
_SIZES = {"GB": 10**9, "Gi": 1 << 30, "G": 1 << 30, "g": 1 << 30}  # systemd and Docker count by 1024


# ── what the files hold ──────────────────────────────────────────────────────


def dockerfile() -> list[tuple[str, str]]:
    """Instructions and their arguments, comments left out and lines joined."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined if line.strip())]


def last(instruction: str) -> str:
    """An instruction's arguments in the image that results."""
    return [rest for name, rest in dockerfile() if name == instruction][-1]


def unit() -> dict[str, list[str]]:
    """A service's settings, each with its values."""
    text = (DEPLOY / "enfold.service").read_text("utf-8").replace("\\\n", " ")
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", text, re.M):
        found.setdefault(name, []).append(value.strip())
    return found


def compose() -> dict[str, Any]:
    """The one service of the compose file."""
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text("utf-8"))["services"].values()
    return service


@cache
def manifest(kind: str) -> Any:
    (found,) = [each for path in MANIFESTS if (each := yaml.safe_load(path.read_text("utf-8")))["kind"] == kind]
    return found


def pod() -> Any:
    return manifest("Deployment")["spec"]["template"]["spec"]


def container() -> Any:
    (found,) = pod()["containers"]
    return found


def arguments() -> dict[str, list[str]]:
    """What each file gives ``enfold serve``."""
    executable, name, *given = shlex.split(unit()["ExecStart"][0])
    assert (Path(executable).name, name) == ("enfold", "serve")
    image, *rest = json.loads(last("ENTRYPOINT"))
    assert (image, rest) == ("enfold", ["serve"])
    return {
        "Dockerfile": json.loads(last("CMD")),
        "compose": compose()["command"],
        "systemd": given,
        "kubernetes": container()["args"],
    }


def parsed(given: list[str]) -> dict[str, Any]:
    """Arguments as the command understands them."""
    return dict(serve.make_context("serve", list(given)).params)


def size(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * _SIZES[unit]


def tool(name: str) -> str:
    """A program of the test environment."""
    return str(Path(sys.executable).parent / name)


def run(*line: Any) -> None:
    done = subprocess.run([str(each) for each in line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


@cache
def routes() -> dict[str, Any]:
    """The paths of the application's own description."""
    app = make_app(Dispatcher(["a=/nowhere"], "auto", Settings(), Metrics()))
    return app.openapi()["paths"]


# ── they are valid ───────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifests_are_what_kubernetes_describes(path: Path, version: str) -> None:
    kubernetes_validate.validate(yaml.safe_load(path.read_text("utf-8")), version, strict=True)


def test_the_kustomization_has_every_manifest_and_gives_the_image_its_version() -> None:
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text("utf-8"))
    assert kustomization["resources"] == [path.name for path in MANIFESTS]
    (image,) = kustomization["images"]
    assert image == {"name": container()["image"], "newName": "enfold", "newTag": enfold.__version__}


def test_yaml_is_plain() -> None:
    rules = "{extends: default, rules: {document-start: disable, line-length: {max: 120}, octal-values: disable}}"
    run(tool("yamllint"), "--strict", "--config-data", rules, DEPLOY)


def test_the_compose_file_is_what_compose_describes() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_the_dockerfile_has_no_fault_that_a_linter_knows() -> None:
    run(tool("hadolint"), "--failure-threshold", "style", DEPLOY / "Dockerfile")


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze, which only systems with systemd have")
    text = (DEPLOY / "enfold.service").read_text("utf-8")
    copy = tmp_path / "enfold.service"
    copy.write_text(text.replace("/opt/enfold/bin/enfold", "/bin/true"), "utf-8")  # the program has to be there
    run("systemd-analyze", "verify", copy)


# ── they agree with the server, and with one another ─────────────────────────


@pytest.mark.parametrize("place", ["Dockerfile", "compose", "systemd", "kubernetes"])
def test_arguments_are_those_of_the_command(place: str) -> None:
    given = parsed(arguments()[place])
    assert given["models"]
    assert given["port"] == Settings().port
    assert given["host"] == ("127.0.0.1" if place == "systemd" else "0.0.0.0")


@pytest.mark.parametrize("place", ["compose", "systemd", "kubernetes"])
def test_models_leave_memory_for_the_rest(place: str) -> None:
    limits = {
        "compose": compose()["mem_limit"],
        "systemd": unit()["MemoryMax"][0],
        "kubernetes": container()["resources"]["limits"]["memory"],
    }
    settings = Settings()
    models = size(parsed(arguments()[place])["memory_bytes"])
    kept = settings.prefix_bytes * settings.workers * len(parsed(arguments()[place])["models"])
    assert models + kept + (1 << 30) <= size(limits[place])


def test_every_file_has_the_servers_port() -> None:
    port = Settings().port
    assert last("EXPOSE") == str(port)
    assert f"'127.0.0.1', {port}" in last("HEALTHCHECK")
    assert f"'127.0.0.1', {port}" in compose()["healthcheck"]["test"][-1]
    assert compose()["ports"] == [f"127.0.0.1:{port}:{port}"]
    (named,) = container()["ports"]
    assert named == {"name": "http", "containerPort": port}
    assert [(each["port"], each["targetPort"]) for each in manifest("Service")["spec"]["ports"]] == [(port, "http")]
    assert [each["port"] for each in manifest("NetworkPolicy")["spec"]["ingress"][0]["ports"]] == ["http"]
    annotations = manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(port)


def test_every_path_that_is_asked_is_one_of_the_application() -> None:
    probes = {name: container()[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ready",
        "readiness": "/ready",
        "liveness": "/health",
    }
    assert {probe["port"] for probe in probes.values()} == {"http"}
    asked = {probe["path"] for probe in probes.values()}
    asked.add(manifest("Deployment")["spec"]["template"]["metadata"]["annotations"]["prometheus.io/path"])
    for text in (last("HEALTHCHECK"), compose()["healthcheck"]["test"][-1]):
        asked |= set(re.findall(r"'GET', '([^']+)'", text))
    assert asked == {"/health", "/ready", "/metrics"}
    assert all("get" in routes()[path] for path in asked)


def test_the_end_is_waited_for_longer_than_it_takes() -> None:
    needed = Settings().grace_s + WORKERS_S
    assert float(compose()["stop_grace_period"].removesuffix("s")) > needed
    assert float(unit()["TimeoutStopSec"][0]) > needed
    pause = container()["lifecycle"]["preStop"]["exec"]["command"]
    assert pause[0] == "sleep"
    assert pod()["terminationGracePeriodSeconds"] > needed + float(pause[1])


def test_only_the_server_is_told_to_end_and_not_its_workers() -> None:
    assert last("STOPSIGNAL") == "SIGTERM"
    assert unit()["KillSignal"] == ["SIGTERM"]
    assert unit()["KillMode"] == ["mixed"]
    assert compose()["init"] is True


def test_models_are_kept_in_one_place_that_can_be_written_to() -> None:
    image = dict(re.findall(r"(\w+)=(\S+)", last("ENV")))
    service = dict(each.split("=", 1) for each in unit()["Environment"])
    for variables in (image, service):
        assert variables["HF_HOME"] == f"{CACHE}/huggingface"
        assert variables["ENFOLD_CACHE"] == f"{CACHE}/models"
    assert last("VOLUME") == CACHE
    assert compose()["volumes"] == [f"models:{CACHE}"]
    assert unit()["CacheDirectory"] == [Path(CACHE).name]
    assert {each["mountPath"] for each in container()["volumeMounts"] if not each.get("readOnly")} == {CACHE, "/tmp"}
    assert {each["name"] for each in pod()["volumes"]} == {each["name"] for each in container()["volumeMounts"]}


def test_keys_are_read_from_where_they_are_put() -> None:
    (secret,) = compose()["secrets"]
    assert parsed(compose()["command"])["keys"] == Path("/run/secrets", secret["target"])
    (mount,) = [each for each in container()["volumeMounts"] if each["name"] == "keys"]
    assert parsed(container()["args"])["keys"].parent == Path(mount["mountPath"])
    assert "subPath" not in mount  # such a file would not change with its Secret
    assert parsed(arguments()["systemd"])["keys"].parent == Path("/var/lib", unit()["StateDirectory"][0])


def test_nothing_runs_as_root_or_writes_elsewhere() -> None:
    user, group = last("USER").split(":")
    security = pod()["securityContext"]
    assert {user, group} == {str(security[name]) for name in ("runAsUser", "runAsGroup", "fsGroup")}
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert compose()["read_only"] is True
    assert compose()["cap_drop"] == ["ALL"]
    assert unit()["User"] == ["enfold"]
    assert unit()["ProtectSystem"] == ["strict"]


def test_selectors_select_the_pods() -> None:
    labels = manifest("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert manifest("Deployment")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("Service")["spec"]["selector"] == labels
    assert manifest("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    assert manifest("NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == labels
    target = manifest("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", manifest("Deployment")["metadata"]["name"])
    assert "replicas" not in manifest("Deployment")["spec"]


def test_images_have_the_packages_version_and_no_registry() -> None:
    assert compose()["image"] == f"enfold:{enfold.__version__}"
    assert {rest.split()[0] for name, rest in dockerfile() if name == "FROM"} == {"python:${PYTHON}"}
    assert f"enfold:{enfold.__version__}" in (DEPLOY / "Dockerfile").read_text("utf-8")


def test_the_image_is_built_from_what_is_sent_to_it() -> None:
    context = compose()["build"]
    assert (DEPLOY / context["context"] / context["dockerfile"]).samefile(DEPLOY / "Dockerfile")
    copied = [rest.split()[:-1] for name, rest in dockerfile() if name == "COPY" and "--from" not in rest]
    sent = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8"), re.M)
    assert sorted(name for names in copied for name in names) == sorted(sent)
    assert all((ROOT / name).exists() for name in sent)


# ── what is written about them ───────────────────────────────────────────────


def rows(text: str, heading: str) -> set[str]:
    """Names at the beginnings of rows of one part."""
    part = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert part
    return set(re.findall(r"^\| `(\w+)`", part[1], re.M))


@pytest.mark.parametrize(("path", "heading"), list(zip(READMES, ("Metrics", "指标"), strict=True)), ids=["en", "zh"])
def test_the_table_of_metrics_is_complete(path: Path, heading: str) -> None:
    families = Metrics().registry.collect()
    names = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert rows(path.read_text("utf-8"), heading) == names


@pytest.mark.parametrize("path", READMES, ids=["en", "zh"])
def test_readmes_name_figures_options_and_files_that_there_are(path: Path) -> None:
    text = path.read_text("utf-8")
    families = {each.name for each in Metrics().registry.collect()}
    for name in re.findall(r"\benfold_\w+", text):
        assert re.sub(r"_(total|bucket|count|sum)$", "", name) in families
    known = {option for each in (serve, key) for parameter in each.params for option in parameter.opts}
    assert set(re.findall(r"`(--[a-z-]+)", text)) <= known
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (DEPLOY / link).exists(), link


def test_both_readmes_have_the_same_parts_commands_and_rows() -> None:
    english, chinese = (path.read_text("utf-8") for path in READMES)
    counts = [[line.split(" ")[0] for line in re.findall(r"^#+ .+$", text, re.M)] for text in (english, chinese)]
    assert counts[0] == counts[1]
    code = [re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S) for text in (english, chinese)]
    assert [(kind, re.sub(r" *#.*", "", lines)) for kind, lines in code[0]] == [
        (kind, re.sub(r" *#.*", "", lines)) for kind, lines in code[1]
    ]
    assert english.count("\n|") == chinese.count("\n|")


@pytest.mark.parametrize("path", READMES, ids=["en", "zh"])
def test_the_proxy_lets_through_what_the_server_does(path: Path) -> None:
    (block,) = re.findall(r"^```nginx\n(.*?)^```$", path.read_text("utf-8"), re.M | re.S)
    settings = Settings()
    assert "proxy_buffering off;" in block
    assert f"proxy_pass http://127.0.0.1:{settings.port};" in block
    assert f"client_max_body_size {settings.max_bytes >> 20}m;" in block
    (wait,) = re.findall(r"proxy_read_timeout (\d+)s;", block)
    assert int(wait) > settings.timeout_s
