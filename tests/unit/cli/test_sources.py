"""Which recordings the arguments of a command name, and what each one's results are called."""

from __future__ import annotations

from pathlib import Path

import pytest

from auricle.cli.sources import find_sources
from auricle.errors import OptionError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(*arguments: object) -> list[tuple[str, str]]:
    return [(source.given, str(source.output)) for source in find_sources([str(one) for one in arguments])]


def test_folder_gives_its_recordings_with_subfolders_in_order_of_names(tmp_path: Path) -> None:
    touch(tmp_path, "b.WAV", "a.mkv", "sub/c.opus", "notes.txt", ".git/d.wav", ".e.wav")
    assert found(tmp_path) == [
        (str(tmp_path / "a.mkv"), "a"),
        (str(tmp_path / "b.WAV"), "b"),
        (str(tmp_path / "sub/c.opus"), "sub/c"),
    ]


def test_glob_gives_files_of_any_suffix_and_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "a.xyz", "sub/b.xyz", "c.wav")
    assert found(tmp_path / "**" / "*.xyz") == [
        (str(tmp_path / "a.xyz"), "a"),
        (str(tmp_path / "sub/b.xyz"), "b"),
    ]


def test_file_whose_name_looks_like_a_glob_is_itself(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].wav", "a1.wav")
    assert found(tmp_path / "a[1].wav") == [(str(tmp_path / "a[1].wav"), "a[1]")]


def test_url_is_named_after_its_last_part() -> None:
    assert found("https://example.org/x/My%20talk.mp3?key=1") == [
        ("https://example.org/x/My%20talk.mp3?key=1", "My talk")
    ]
    assert found("https://example.org/") == [("https://example.org/", "url")]


def test_encoded_slashes_in_a_url_name_no_other_folder() -> None:
    assert found("https://example.org/..%2f..%2fetc%2fpasswd.wav")[0][1] == "passwd"


def test_stdin_is_named_stdin_and_taken_once() -> None:
    assert found("-") == [("-", "stdin")]
    with pytest.raises(OptionError, match="more than once"):
        find_sources(["-", "-"])


def test_same_path_is_taken_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.wav")
    assert len(found(tmp_path, tmp_path / "a.wav", tmp_path / "*.wav")) == 1


def test_equal_stems_get_outputs_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.wav", "y/a.wav", "x/A.mp3", "x/b.wav", "x/a.wav.ogg")
    names = [name for _, name in found(tmp_path / "x" / "*", tmp_path / "y" / "*")]
    assert names == ["A.mp3", "a.wav", "a.wav-2", "b", "a.wav-3"]
    assert len({name.casefold() for name in names}) == len(names)


def test_missing_file_is_left_to_fail_in_its_turn(tmp_path: Path) -> None:
    assert len(found(tmp_path / "absent.wav")) == 1


@pytest.mark.parametrize("argument", ["", "*.wav"])
def test_folder_or_glob_without_recordings_is_refused(tmp_path: Path, argument: str) -> None:
    with pytest.raises(OptionError, match=r"holds no recording|no file matches"):
        find_sources([str(tmp_path / argument)])


def test_other_spellings_of_a_path_are_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.wav").touch()
    assert [source.given for source in find_sources(["a.wav", "./a.wav", str(tmp_path), "x/../a.wav"])] == ["a.wav"]


def test_empty_name_is_refused() -> None:
    with pytest.raises(OptionError, match="empty name"):
        find_sources([""])


@pytest.mark.parametrize("address", ["HTTPS://example.org/a.wav?token=1", "ftp://example.org/*.wav", "s3://b/c?.wav"])
def test_an_address_of_any_scheme_is_no_pattern(address: str) -> None:
    assert [source.given for source in find_sources([address])] == [address]


def test_output_of_a_very_long_name_leaves_room_for_its_endings(tmp_path: Path) -> None:
    names = [f"{'ж' * 120}{end}.wav" for end in ("а", "б")]  # 246 bytes
    for name in [*names, "short.wav"]:
        (tmp_path / name).touch()
    outputs = [source.output.name for source in find_sources([str(tmp_path)])]
    assert outputs[0] == "short"
    assert len(set(outputs)) == 3
    for name, output in zip(names, outputs[1:], strict=True):
        assert name.startswith(output.rpartition("-")[0])
        assert len(output.encode()) <= 220
