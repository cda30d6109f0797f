"""The store of tokens: secret at rest, several processes at once, revocation that is seen at once."""

from __future__ import annotations

import hashlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from auricle.errors import AuricleError, OptionError
from auricle.server.access.tokens import PATTERN, TokenStore


class Clock:
    """A time that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> TokenStore:
    return TokenStore(tmp_path / "data", clock)


def test_a_token_is_found_with_its_name_and_scopes(store: TokenStore) -> None:
    text, made = store.create("laptop", {"infer", "manage"})
    found = store.find(text)
    assert found is not None
    assert (found.id, found.name, found.scopes) == (made.id, "laptop", {"infer", "manage"})
    assert PATTERN.fullmatch(text)


def test_only_the_hash_is_on_disk_and_only_the_owner_may_read_it(store: TokenStore) -> None:
    text, _ = store.create("laptop", ["infer"])
    on_disk = b"".join(file.read_bytes() for file in store.path.parent.iterdir())
    assert text.split("_", 2)[2].encode() not in on_disk  # the secret, which may have underscores itself
    assert hashlib.sha256(text.encode()).digest() in on_disk
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_wrong_secret_with_a_right_id_is_not_found(store: TokenStore) -> None:
    text, _ = store.create("laptop", ["infer"])
    other = text[:-1] + ("A" if text[-1] != "A" else "B")
    assert store.find(other) is None
    assert store.find("aur_") is None


def test_looking_for_a_token_makes_no_file(store: TokenStore) -> None:
    assert store.find(f"aur_{'0' * 12}_{'x' * 43}") is None
    assert store.tokens() == []
    assert not store.has_active()
    assert not store.path.exists()


def test_a_token_ends_at_its_time(store: TokenStore, clock: Clock) -> None:
    text, token = store.create("visitor", ["infer"], lifetime=60.0)
    assert token.state(clock.now + 59.9) == "active"
    assert store.has_active()
    clock.now += 60.0
    assert token.state(clock.now) == "expired"
    assert not store.has_active()
    found = store.find(text)
    assert found is not None
    assert found.last_used is None  # a refused use is none


@pytest.mark.parametrize("handle", ["id", "name", "text", "prefix"])
def test_a_token_is_revoked_by_any_of_its_handles(store: TokenStore, handle: str) -> None:
    text, token = store.create("laptop", ["infer"])
    other, _ = store.create("phone", ["infer"])
    named = {"id": token.id, "name": token.name, "text": text, "prefix": f"aur_{token.id}"}
    revoked = store.revoke(named[handle])
    assert revoked.id == token.id
    assert [store.find(one).state(0.0) for one in (text, other)] == ["revoked", "active"]  # type: ignore[union-attr]


def test_revoking_what_is_not_in_use_names_the_nearest(store: TokenStore) -> None:
    store.create("laptop", ["infer"])
    with pytest.raises(OptionError, match="did you mean 'laptop'"):
        store.revoke("labtop")
    store.revoke("laptop")
    with pytest.raises(OptionError, match="no token 'laptop' is in use"):
        store.revoke("laptop")


def test_a_name_is_free_again_once_its_token_is_revoked(store: TokenStore) -> None:
    first, _ = store.create("my laptop", ["infer"])
    with pytest.raises(OptionError, match="`auricle token revoke 'my laptop'`"):
        store.create("my laptop", ["infer"])
    store.revoke("my laptop")
    second, token = store.create("my laptop", ["infer"])
    assert first != second
    assert store.revoke("my laptop").id == token.id


@pytest.mark.parametrize("name", ["", " ", "a\nb", "x" * 65, "0123456789ab", "aur_mine", " edge"])
def test_names_that_mislead_are_refused(store: TokenStore, name: str) -> None:
    with pytest.raises(OptionError, match="the name"):
        store.create(name, ["infer"])


def test_scopes_and_lifetimes_are_checked(store: TokenStore) -> None:
    with pytest.raises(OptionError, match="did you mean 'manage'"):
        store.create("a", ["manege"])
    with pytest.raises(OptionError, match="needs a scope"):
        store.create("a", [])
    with pytest.raises(OptionError, match="of no use"):
        store.create("a", ["infer"], lifetime=0.0)
    assert store.tokens() == []


def test_a_use_is_noted_at_most_once_a_minute(store: TokenStore, clock: Clock) -> None:
    text, _ = store.create("laptop", ["infer"])
    start = clock.now
    noted = []
    for after in (1.0, 30.0, 60.9, 61.0):
        clock.now = start + after
        store.find(text)
        noted.append(store.tokens()[0].last_used)
    assert noted == [start + 1.0, start + 1.0, start + 1.0, start + 61.0]


def test_while_another_writes_nobody_is_locked_out(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text, _ = store.create("laptop", ["infer"])
    monkeypatch.setattr("auricle.server.access.tokens._BUSY_S", 0.0)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        assert store.find(text) is not None
    finally:
        other.close()
    assert "was not noted" in caplog.text
    assert text not in caplog.text


def test_another_process_s_changes_are_seen_at_once(store: TokenStore, tmp_path: Path) -> None:
    text, _ = store.create("laptop", ["infer"])
    assert store.find(text) is not None
    code = (
        "import sys; from pathlib import Path; from auricle.server.access.tokens import TokenStore;"
        "store = TokenStore(Path(sys.argv[1])); store.revoke('laptop'); print(store.create('phone', ['infer'])[0])"
    )
    command = [sys.executable, "-c", code, str(store.path.parent)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    assert store.find(text).state(0.0) == "revoked"  # type: ignore[union-attr]
    assert store.find(made).name == "phone"  # type: ignore[union-attr]


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from auricle.server.access.tokens import TokenStore;"
        "store = TokenStore(Path(sys.argv[1]));"
        "[store.find(store.create(f'{sys.argv[2]} {number}', ['infer'])[0]) for number in range(20)]"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "new"), name]) for name in "abc"]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]
    tokens = TokenStore(tmp_path / "new").tokens()
    assert len({token.name for token in tokens}) == 60
    assert all(token.last_used is not None for token in tokens)


def test_a_file_that_is_no_database_is_named(store: TokenStore) -> None:
    store.path.parent.mkdir()
    store.path.write_text("tokens? " * 100)
    with pytest.raises(AuricleError, match=r"tokens\.sqlite3 cannot be used: file is not a database"):
        store.tokens()
