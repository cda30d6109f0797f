"""The files of deploy/ fit the package: what they copy is there, what they set exists, what they start starts."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from auricle.server.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
AURICLE = Path(sys.executable).with_name("auricle")
MOST_EXPOSED = 2.0  # of systemd's scale from 0 (closed) to 10 (open)


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions, one line each."""
    lines = [line for line in (DEPLOY / "Dockerfile").read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in whole.splitlines() if line.strip()]


def values(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for line in values("ENV") for pair in line.split())


def is_ignored(path: str) -> bool:
    """Say whether docker would leave a path out: the last rule that fits decides."""
    ignored = False
    for rule in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        if rule and not rule.startswith("#"):
            is_exception, pattern = rule.startswith("!"), rule.lstrip("!").removeprefix("**/")
            places = [Path(path), *Path(path).parents]
            parts = [part for place in places for part in (str(place), place.name)]
            if any(fnmatch.fnmatch(part, pattern) for part in parts if part not in ("", ".")):
                ignored = not is_exception
    return ignored


def check_settings(variables: dict[str, str]) -> Settings:
    """Read variables as the server would; a name that is no setting fails."""
    named = {name.removeprefix(PREFIX).lower(): value for name, value in variables.items() if name.startswith(PREFIX)}
    assert named
    return Settings.model_validate(named)


def test_dockerfile_has_only_instructions_that_docker_knows() -> None:
    known = {"FROM", "ARG", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
    assert {name for name, _ in instructions()} <= known | {"ENTRYPOINT", "CMD"}
    assert instructions()[0][0] == "FROM"
    for command in values("RUN"):
        subprocess.run(["bash", "-n", "-c", command], check=True)


def test_everything_that_is_copied_is_there_and_not_ignored() -> None:
    for line in values("COPY"):
        if line.startswith("--from="):
            continue
        *sources, _ = line.split()
        for source in sources:
            assert (ROOT / source).exists(), source
            assert not is_ignored(source), source
    for left_out in (".venv/bin/python", ".git/config", "tests/conftest.py", "src/auricle/__pycache__/a.pyc"):
        assert is_ignored(left_out), left_out
    assert not is_ignored("src/auricle/bundled/config.json")


def test_the_package_can_be_built_from_what_is_copied() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    copied = {source for line in values("COPY") if not line.startswith("--") for source in line.split()[:-1]}
    assert {"pyproject.toml", "setup.py", "src"} <= copied
    assert set(re.findall(r'(?:readme = |license-files = \[)"([^"]+)"', project)) <= copied
    assert "[server]" in " ".join(values("RUN"))
    assert re.search(r"^server = \[", project, re.MULTILINE)


def test_container_runs_as_nobody_in_particular_and_keeps_what_must_outlive_it() -> None:
    assert values("USER") == ["10001:10001"]
    volumes = json.loads(values("VOLUME")[0])
    assert {environment()["AURICLE_DATA_DIR"], environment()["HF_HOME"]} == set(volumes)
    assert values("EXPOSE") == [environment()["AURICLE_PORT"]]


def test_containers_settings_exist_and_do_not_open_it() -> None:
    settings = check_settings(environment())
    assert settings.token_required
    assert not settings.is_loopback


def test_entry_command_parses() -> None:
    command = json.loads(values("ENTRYPOINT")[0]) + json.loads(values("CMD")[0])
    assert command[0] == AURICLE.name
    done = subprocess.run([AURICLE, *command[1:], "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_health_check_asks_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = values("HEALTHCHECK")
    options, _, command = line.partition("CMD ")
    assert {"--interval", "--timeout", "--start-period", "--retries"} == set(re.findall(r"--[\w-]+", options))
    python, flag, code = json.loads(command)
    assert (python, flag) == ("python", "-c")
    asked: list[str] = []
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: asked.append(url))
    monkeypatch.setenv("AURICLE_PORT", "9")
    exec(compile(code, "HEALTHCHECK", "exec"), {})
    assert asked == ["http://127.0.0.1:9/health"]


def test_compose_builds_this_image_and_waits_for_the_end() -> None:
    (service,) = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"].values()
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    defaults = {name: re.sub(r"\$\{\w+:-(.*?)\}", r"\1", value) for name, value in service["environment"].items()}
    settings = check_settings(defaults)
    assert float(service["stop_grace_period"].rstrip("s")) > settings.shutdown
    assert service["ports"] == [f"127.0.0.1:8000:{environment()['AURICLE_PORT']}"]
    assert {volume.split(":")[1] for volume in service["volumes"]} == set(json.loads(values("VOLUME")[0]))


def unit(tmp_path: Path) -> Path:
    """Write the unit with the program of this installation, which is checked to be there."""
    text = (DEPLOY / "auricle.service").read_text()
    path = tmp_path / "auricle.service"
    path.write_text(text.replace("/opt/auricle/bin/auricle", str(AURICLE)))
    return path


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(unit(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_the_unit_exposes_little(tmp_path: Path) -> None:
    limit = f"--threshold={round(MOST_EXPOSED * 10)}"
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", limit, str(unit(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]


def test_the_units_settings_exist_and_its_end_is_waited_for() -> None:
    text = (DEPLOY / "auricle.service").read_text()
    (line,) = re.findall(r"^Environment=(.*)$", text, re.MULTILINE)
    settings = check_settings(dict(pair.split("=", 1) for pair in line.split()))
    (wait,) = re.findall(r"^TimeoutStopSec=(\d+)$", text, re.MULTILINE)
    assert float(wait) > settings.shutdown
    assert "ExecStart=/opt/auricle/bin/auricle serve\n" in text


def test_every_setting_that_the_readme_names_exists() -> None:
    text = (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"AURICLE_([A-Z_]+)", text)) - {"CONFIG"}
    assert {name.lower() for name in named} <= set(Settings.model_fields)
    elsewhere = r"https?://(?!localhost|127\.0\.0\.1|speech\.example\.org)"
    for file in ("README.md", "Dockerfile", "compose.yaml"):
        assert not re.search(elsewhere, (DEPLOY / file).read_text()), file
