"""The command line as a process: light help, version, models, doctor."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

import auricle
from auricle.cli import app
from auricle.cli import doctor as doctor_command
from auricle.cli.doctor import Finding
from auricle.engines.cpu import native_library
from auricle.hub import CachedModel

HEAVY = ("torch", "numpy", "av", "huggingface_hub", "tokenizers", "safetensors", "httpx")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["transcribe", "--help"], ["--version"]])
def test_help_and_version_load_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
sys.argv = ["auricle", *{arguments!r}]
from auricle.__main__ import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    result = python(code)
    assert result.returncode == 0
    assert result.stderr == "[]\n"
    assert result.stdout.strip()


def test_version_is_that_of_the_package() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"auricle {auricle.__version__}\n"


def test_no_arguments_shows_the_commands() -> None:
    result = CliRunner().invoke(app, [])
    assert result.exit_code == 2
    for command in ("transcribe", "models", "download", "doctor"):
        assert command in result.output


def test_doctor_fails_only_for_something_essential(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = [
        Finding("python", "ok", "3.11"),
        Finding("kenlm", "note", "absent", "pip install 'auricle[lm]'"),
    ]
    monkeypatch.setattr(doctor_command, "examine", lambda: iter(findings))
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 0
    assert "fix: pip install 'auricle[lm]'" in result.stdout
    findings.append(Finding("torch", "fail", "broken", "pip install torch"))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 1
    assert [one["state"] for one in json.loads(result.stdout)] == ["ok", "note", "fail"]


def test_doctor_names_threads_cpu_and_fix_lines_of_this_machine() -> None:
    findings = {finding.subject: finding for finding in doctor_command.check_torch()}
    assert findings["torch"].state == "ok"
    assert "bfloat16" in findings["cpu"].detail
    assert all(finding.fix for finding in findings.values() if finding.state != "ok")


def test_doctor_names_kernels_of_other_sources_and_how_to_build_them_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_library, "kernels", lambda: None)
    monkeypatch.setattr(native_library, "_stale", {"kernels_avx2.so"})
    found = {finding.subject: finding for finding in doctor_command.check_torch()}["kernels"]
    assert found.state == "note"
    assert "kernels_avx2.so was built from other sources" in found.detail
    assert "pip install -e ." in (found.fix or "")
    monkeypatch.setattr(native_library, "_stale", set())
    found = {finding.subject: finding for finding in doctor_command.check_torch()}["kernels"]
    assert "none were built" in found.detail


def test_doctor_sees_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "absent" / "cache"))
    monkeypatch.setattr(doctor_command, "_is_writable", lambda folder: folder != tmp_path)
    findings = list(doctor_command.check_cache())
    assert findings[0].state == "note"
    assert findings[0].fix


def test_doctor_notes_extras_that_are_absent_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_spec(name: str) -> None:
        if "." in name:  # importlib imports the package around it
            raise ModuleNotFoundError(f"No module named {name.partition('.')[0]!r}")

    monkeypatch.setattr("importlib.util.find_spec", find_spec)
    findings = {finding.subject: finding for finding in doctor_command.check_extras()}
    assert findings["pyannote.metrics"].state == "note"
    assert findings["pyannote.metrics"].fix == "pip install 'auricle[evaluate]'"


def test_doctor_names_every_extra_that_a_user_installs(monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    fixes = {finding.fix for finding in doctor_command.check_extras()}
    of_users = set(project["optional-dependencies"]) - {"bench", "test", "train"}  # train is part of evaluate
    assert fixes == {f"pip install 'auricle[{extra}]'" for extra in of_users}


def test_doctor_tries_to_write_instead_of_trusting_the_mode(tmp_path: Path) -> None:
    assert doctor_command._is_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    # Whatever its mode and whoever asks, no file can be made within a file.
    assert not doctor_command._is_writable(Path(__file__))


def test_help_says_the_defaults() -> None:
    for name, defaults in (("transcribe", ("the bundled one", "the best")), ("download", ("HF_TOKEN",))):
        shown = " ".join(CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "200"}).stdout.split())
        assert all(default in shown for default in defaults)


def test_doctor_sends_every_codec_through_a_round_trip() -> None:
    (finding,) = doctor_command.check_decoders()
    assert finding.state == "ok", finding.detail
    assert all(f"{container}/{decoder}" in finding.detail for container, _, decoder, _ in doctor_command.CODECS)
    assert not doctor_command._round_trip("wav", "libopus", 48000)


@pytest.mark.parametrize("name", ["bundled", "/tmp", "~/models/mine", ""])
def test_download_of_what_is_here_is_refused_without_a_network(name: str) -> None:
    result = CliRunner().invoke(app, ["download", name])
    assert result.exit_code == 2
    assert f"{name!r} is no name of the Hub" in result.stderr


def test_models_says_of_each_revision_who_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {}
    for revision, architecture in (("a" * 40, "Wav2Vec2ForCTC"), ("b" * 40, "SEWForCTC")):
        folders[revision] = tmp_path / revision
        folders[revision].mkdir()
        content = {"architectures": [architecture], "model_type": architecture.removesuffix("ForCTC").lower()}
        (folders[revision] / "config.json").write_text(json.dumps(content))
    found = [CachedModel("org/model", revision, 3, folder) for revision, folder in folders.items()]
    monkeypatch.setattr("auricle.hub.cached_models", lambda: found)
    rows = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert [row["runs"] for row in rows] == ["native", "bridged"]
