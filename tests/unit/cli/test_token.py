"""`auricle token`: the token alone on stdout, everything else on stderr, never a secret in a list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from auricle.cli import app
from auricle.cli.token import lifetime_of
from auricle.errors import OptionError
from auricle.server.access.tokens import TokenStore


def token(*arguments: str, folder: Path) -> Result:
    return CliRunner().invoke(app, ["token", *arguments, "--data-dir", str(folder)])


def test_create_prints_the_token_alone_on_stdout(tmp_path: Path) -> None:
    result = token("create", "--name", "laptop", "--expires", "90d", folder=tmp_path)
    assert result.exit_code == 0
    text = result.stdout.removesuffix("\n")
    found = TokenStore(tmp_path).find(text)
    assert found is not None
    assert found.scopes == {"infer"}
    assert found.expires == pytest.approx(found.created + 90 * 86400)
    assert "may infer until 2" in result.stderr
    assert text not in result.stderr


def test_create_takes_several_scopes(tmp_path: Path) -> None:
    result = token("create", "--name", "me", "--scope", "infer", "--scope", "manage", folder=tmp_path)
    found = TokenStore(tmp_path).find(result.stdout.strip())
    assert found is not None
    assert found.scopes == {"infer", "manage"}
    assert "may infer and manage until it is revoked" in result.stderr


def test_list_is_a_table_or_json_without_secrets(tmp_path: Path) -> None:
    text = token("create", "--name", "laptop", folder=tmp_path).stdout.strip()
    token("create", "--name", "guest", "--expires", "1m", folder=tmp_path)
    token("revoke", "guest", folder=tmp_path)
    table = token("list", folder=tmp_path).stdout
    heading, laptop, guest = table.splitlines()
    assert heading.split()[:4] == ["ID", "NAME", "SCOPES", "STATE"]
    assert laptop.split()[1:4] == ["laptop", "infer", "active"]
    assert laptop.split()[5:] == ["never", "-", "-"]
    assert guest.split()[1:4] == ["guest", "infer", "revoked"]
    rows = json.loads(token("list", "--json", folder=tmp_path).stdout)
    assert [row["name"] for row in rows] == ["laptop", "guest"]
    assert rows[0]["expires"] is None
    assert text.split("_", 2)[2] not in table + json.dumps(rows)  # the secret, which may have underscores itself


def test_list_of_nothing_says_what_to_do(tmp_path: Path) -> None:
    result = token("list", folder=tmp_path / "absent")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "`auricle token create --name NAME`" in result.stderr
    assert json.loads(token("list", "--json", folder=tmp_path / "absent").stdout) == []


def test_revoke_of_an_unknown_token_fails_as_wrong_usage(tmp_path: Path) -> None:
    result = token("revoke", "nobody", folder=tmp_path)
    assert result.exit_code == 2
    assert "no token 'nobody' is in use" in result.stderr


def test_the_data_folder_is_the_one_of_the_server_s_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AURICLE_DATA_DIR", str(tmp_path / "named"))
    result = CliRunner().invoke(app, ["token", "create", "--name", "laptop"])
    assert TokenStore(tmp_path / "named").find(result.stdout.strip())
    monkeypatch.delenv("AURICLE_DATA_DIR")
    config = tmp_path / "auricle.toml"
    config.write_text(f"data_dir = {str(tmp_path / 'written')!r}\n")
    result = CliRunner().invoke(app, ["token", "create", "--name", "laptop", "--config", str(config)])
    assert TokenStore(tmp_path / "written").find(result.stdout.strip())


def test_lifetimes_are_read_with_their_units() -> None:
    assert [lifetime_of(text) for text in ("30m", "12h", "90D", "2w", "never")] == [1800, 43200, 7776000, 1209600, None]


@pytest.mark.parametrize("text", ["", "90", "d", "0d", "-1d", "1.5h", "3y"])
def test_a_lifetime_that_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="such as 12h or 90d"):
        lifetime_of(text)
