"""What an interrupted run leaves on disk, and how the next one goes on from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.pipelines.automatic_speech_recognition import AutomaticSpeechRecognitionPipeline
from auricle.pipelines.journal import ENDING, FileJournal, JournalPlaces
from auricle.pipelines.speech_parameters import Dialect
from auricle.results import Segment, Transcript

RATE = 16000
HEADER = {"name": "me/fake", "revision": "r1", "options": {"louder": False, "batch_size": 1}, "audio_sha256": "ab"}


@dataclass(frozen=True)
class FakeOptions:
    louder: bool = False
    batch_size: int | None = None


FAKE = Dialect("a fake", FakeOptions, {"louder": "louder"}, {}, {None: None}, has_windows=True)


class Stepwise:
    """Decodes a second of sound a step, keeps each step, and may be stopped before one."""

    def __init__(self) -> None:
        self.decoded: list[float] = []
        self.stop_before: int | None = None

    def transcribe(
        self, audios: Any, options: Any, progress: Callable[[float], None] | None = None, journals: Any = None
    ) -> list[Transcript]:
        found = []
        for audio, journal in zip(audios, journals or [None] * len(audios), strict=True):
            samples = audio.read()
            words = [] if journal is None else [entry["word"] for entry in journal.entries()]
            for second in range(len(words), len(samples) // RATE):
                if len(self.decoded) == self.stop_before:
                    raise KeyboardInterrupt
                level = float(samples[second * RATE : (second + 1) * RATE].max())
                self.decoded.append(level)
                words.append(f"{level:.2f}")
                if journal is not None:
                    journal.append({"word": words[-1]})
            segments = [Segment(word, float(at), at + 1.0) for at, word in enumerate(words)]
            found.append(Transcript(" ".join(words), tuple(segments), duration=len(samples) / RATE))
        return found


@pytest.fixture
def recognizer() -> Stepwise:
    return Stepwise()


@pytest.fixture
def pipe(recognizer: Stepwise) -> AutomaticSpeechRecognitionPipeline:
    return AutomaticSpeechRecognitionPipeline(recognizer, FAKE, name="me/fake")


def sound(seconds: int, first: float = 0.1) -> np.ndarray:
    """Each second has a level of its own."""
    return np.repeat(first + np.arange(seconds) / 100, RATE).astype(np.float32)


def interrupted(pipe: Any, recognizer: Stepwise, after: int, sources: list[Any], **parameters: Any) -> None:
    recognizer.stop_before = after
    with pytest.raises(KeyboardInterrupt):
        list(pipe.transcripts(sources, **parameters))
    recognizer.stop_before, recognizer.decoded = None, []


# The file


def test_steps_come_back_in_order_and_by_channel(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j.jsonl", HEADER) as journal:
        assert journal.channel(0).entries() == []
        journal.channel(0).append({"at": 1.1})
        journal.channel(1).append({"text": "grüße \ud800"})
        journal.channel(0).append({"at": 2})
    with FileJournal(tmp_path / "j.jsonl", HEADER) as again:
        assert again.channel(0).entries() == [{"at": 1.1}, {"at": 2}]
        assert again.channel(1).entries() == [{"text": "grüße \ud800"}]


def test_no_step_leaves_no_file(tmp_path: Path) -> None:
    FileJournal(tmp_path / "j.jsonl", HEADER).close()
    assert list(tmp_path.iterdir()) == []


def test_step_is_on_disk_as_soon_as_it_is_added(tmp_path: Path) -> None:
    journal = FileJournal(tmp_path / "j.jsonl", HEADER)
    journal.append(0, {"at": 1})
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 2
    journal.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", [b'{"channel":0,"ent', b'{"channel":0,"entry":{"at":3}}', b"\0\0\0\0\n", b"[]\n"])
def test_torn_last_line_is_passed_over_and_written_anew(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "j.jsonl"
    with FileJournal(path, HEADER) as journal:
        journal.append(0, {"at": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    with FileJournal(path, HEADER) as journal:
        assert journal.entries(0) == [{"at": 1}]
        journal.append(0, {"at": 2})
    assert path.read_bytes() == whole + b'{"channel":0,"entry":{"at":2}}\n'


def test_torn_header_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "j.jsonl").write_bytes(b'{"auricle_jour')
    with FileJournal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(0, {"at": 1})
    assert FileJournal(tmp_path / "j.jsonl", HEADER).entries(0) == [{"at": 1}]


def test_many_differences_are_told_by_the_first_and_their_number(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(0, {"at": 1})
    other = {**HEADER, "revision": "r2", "options": {f"option_{number}": number for number in range(40)}}
    with pytest.raises(OptionError, match=r'revision was "r1" and is "r2"; .*; and \d+ more\. Run with') as raised:
        FileJournal(tmp_path / "j.jsonl", other)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"revision": "r2"}, 'revision was "r1" and is "r2"'),
        ({"audio_sha256": "cd"}, 'audio_sha256 was "ab" and is "cd"'),
        ({"options": {"louder": True, "batch_size": 1}}, "options.louder was false and is true"),
    ],
)
def test_journal_of_another_run_is_refused_with_what_differs(tmp_path: Path, change: Any, said: str) -> None:
    with FileJournal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(0, {"at": 1})
    with pytest.raises(OptionError, match=f"is the journal of another run: {said}"):
        FileJournal(tmp_path / "j.jsonl", {**HEADER, **change})


def test_how_many_windows_go_together_may_differ(tmp_path: Path) -> None:
    with FileJournal(tmp_path / "j.jsonl", HEADER) as journal:
        journal.append(0, {"at": 1})
    other = {**HEADER, "name": "elsewhere", "options": {"louder": False, "batch_size": 8}}
    assert FileJournal(tmp_path / "j.jsonl", other).n_steps == 1


@pytest.mark.parametrize("content", ['{"my": "notes"}\n', "my notes", "\n", "[]\n"])
def test_file_that_is_no_journal_is_refused_and_left_alone(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text(content)
    with pytest.raises(OptionError, match="is no journal"):
        FileJournal(path, HEADER)
    assert path.read_text() == content


def test_place_that_cannot_be_written_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"journal .*j\.jsonl cannot be used: .*give another place"):
        FileJournal(tmp_path / "file" / "j.jsonl", HEADER)
    journal = FileJournal(tmp_path / "later" / "j.jsonl", HEADER)
    (tmp_path / "later").touch()
    with pytest.raises(OptionError, match="cannot be used"):
        journal.append(0, {})


@pytest.mark.parametrize("wrong", [5, [5], {"a": 1}])
def test_what_is_no_place_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match="resume is"):
        JournalPlaces(wrong)


# The pipeline


@pytest.mark.parametrize("after", [1, 3])
def test_resumed_transcript_is_that_of_an_uninterrupted_run_without_decoding_again(
    pipe: Any, recognizer: Stepwise, tmp_path: Path, after: int
) -> None:
    (whole,) = pipe.transcripts([sound(4)])
    recognizer.decoded = []
    interrupted(pipe, recognizer, after, [sound(4)], resume=tmp_path / "j.jsonl")
    (resumed,) = pipe.transcripts([sound(4)], resume=tmp_path / "j.jsonl")
    assert resumed == whole
    assert len(recognizer.decoded) == 4 - after


def test_channels_keep_their_own_steps(pipe: Any, recognizer: Stepwise, tmp_path: Path) -> None:
    stereo = np.stack([sound(3), sound(3, 0.5)])
    (whole,) = pipe.transcripts([stereo], channels="split")
    recognizer.decoded = []
    interrupted(pipe, recognizer, 4, [stereo], channels="split", resume=tmp_path)
    (resumed,) = pipe.transcripts([stereo], channels="split", resume=tmp_path)
    assert resumed == whole
    assert recognizer.decoded == [pytest.approx(0.51), pytest.approx(0.52)]


def test_folder_keeps_recordings_apart_even_where_one_comes_twice(
    pipe: Any, recognizer: Stepwise, tmp_path: Path
) -> None:
    sources = [sound(2), sound(2, 0.5), sound(2)]
    first = list(pipe.transcripts(sources, resume=tmp_path, batch_size=2))
    assert len(list(tmp_path.glob(f"*{ENDING}"))) == 3
    recognizer.decoded = []
    assert list(pipe.transcripts(sources, resume=tmp_path, batch_size=2)) == first
    assert recognizer.decoded == []
    list(pipe.transcripts(sources[:1], resume=tmp_path, louder=True))  # another run has a journal of its own
    assert len(list(tmp_path.glob(f"*{ENDING}"))) == 4


def test_list_of_files_has_one_for_each_and_none_is_without(pipe: Any, tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", None, tmp_path / "b.jsonl"]
    list(pipe.transcripts([sound(1), sound(2), sound(1)], resume=files))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl"]


def test_recording_that_cannot_be_opened_leaves_the_others_their_files(pipe: Any, tmp_path: Path) -> None:
    files = [tmp_path / "absent.jsonl", tmp_path / "there.jsonl"]
    (tmp_path / "absent.wav").write_bytes(b"")
    list(pipe.transcripts([tmp_path / "absent.wav", sound(1)], resume=files, on_error="return"))
    assert [path.exists() for path in files] == [False, True]


def test_one_file_is_not_for_two_recordings(pipe: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="fewer journals than there are recordings"):
        list(pipe.transcripts([sound(1), sound(2)], resume=tmp_path / "j.jsonl"))


def test_journal_of_other_options_is_an_error_of_that_recording_alone(pipe: Any, tmp_path: Path) -> None:
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    list(pipe.transcripts([sound(1)], resume=files[:1]))
    found = list(pipe.transcripts([sound(1), sound(2)], resume=files, louder=True, on_error="return"))
    assert isinstance(found[0], OptionError)
    assert isinstance(found[1], Transcript)


def test_journals_are_read_by_line(tmp_path: Path, pipe: Any) -> None:
    list(pipe.transcripts([sound(2)], resume=tmp_path / "j.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "j.jsonl").read_text().splitlines()]
    assert lines[0]["options"] == {"louder": False, "batch_size": None, "channels": "mix"}
    assert [line["entry"] for line in lines[1:]] == [{"word": "0.10"}, {"word": "0.11"}]


def test_generator_of_sources_is_read_as_it_is_asked_for(pipe: Any, tmp_path: Path) -> None:
    taken: list[int] = []

    def sources() -> Iterator[np.ndarray]:
        for number in (1, 2, 3):
            taken.append(number)
            yield sound(number)

    found = pipe.transcripts(sources(), resume=tmp_path)
    assert taken == []
    assert next(found).duration == 1.0
    assert taken == [1]
