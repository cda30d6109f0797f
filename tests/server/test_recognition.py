"""The one way to a transcript, with the bundled model: the same text whoever else asks, kept, told, cancelled."""

from __future__ import annotations

import asyncio
import hashlib
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.audio.decode import load_audio
from auricle.errors import AudioError, AudioTooLargeError, ModelNotFoundError, OptionError
from auricle.pipelines import pipeline
from auricle.server.cache import ResultCache
from auricle.server.errors import Refused
from auricle.server.recognition import Event, Heard, Progress, Recognition, Source
from auricle.server.registry import Registry
from auricle.server.runner import Runner
from auricle.server.settings import Settings

SAMPLE = Path(__file__).parents[2] / "samples" / "librispeech-1320-122612-0008.ogg"
DEADLINE_S = 60


@pytest.fixture(scope="module")
def listen() -> Any:
    return pipeline("automatic-speech-recognition", "bundled")


@pytest.fixture(scope="module")
def waveform() -> np.ndarray:
    return load_audio(str(SAMPLE))


def source(path: Path) -> Source:
    data = path.read_bytes()
    return Source(path, hashlib.sha256(data).hexdigest(), len(data))


def recording(folder: Path, samples: np.ndarray) -> Source:
    path = folder / f"{len(samples)}.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return source(path)


@asynccontextmanager
async def made(listen: Any, folder: Path, **values: Any) -> AsyncIterator[Recognition]:
    settings = Settings(data_dir=folder, **values)
    registry, runner = Registry(settings, lambda place, _: listen), Runner(settings.max_active, settings.max_queue)
    cache = ResultCache(folder / "results.sqlite3", settings.cache_bytes, settings.cache_max_age)
    try:
        yield Recognition(settings, registry, runner, cache)
    finally:
        runner.close()
        await registry.close()
        cache.close()


def test_requests_together_have_the_texts_that_they_have_alone(
    listen: Any, waveform: np.ndarray, tmp_path: Path
) -> None:
    seconds = [1.5, 2, 3, 4, 5, 6, 7, 8]
    recordings = [recording(tmp_path, waveform[: int(16000 * one)]) for one in seconds]
    alone = [listen(str(one.path))["text"] for one in recordings]

    async def main() -> list[str]:
        async with made(listen, tmp_path) as recognition:
            found = await asyncio.gather(*(recognition.recognize(None, one, {}, use_cache=False) for one in recordings))
            return [one.transcript.text for one in found]

    assert asyncio.run(main()) == alone


def test_windows_of_several_requests_share_a_batch(listen: Any, waveform: np.ndarray, tmp_path: Path) -> None:
    sizes: list[int] = []

    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            recognition.registry.on_batch = lambda _, n_rows: sizes.append(n_rows)
            one = recording(tmp_path, waveform[:48000])
            await asyncio.gather(*(recognition.recognize(None, one, {}, use_cache=False) for _ in range(12)))

    asyncio.run(main())
    assert sum(sizes) == 12
    assert max(sizes) > 1


def test_a_repeated_request_is_answered_from_the_cache(listen: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            one = source(SAMPLE)
            first = await recognition.recognize(None, one, {"return_timestamps": "word"})
            again = await recognition.recognize(None, one, {"return_timestamps": "word"})
            other = await recognition.recognize(None, one, {"vad": False})
            anew = await recognition.recognize(None, one, {"return_timestamps": "word"}, use_cache=False)
            assert [one.is_cached for one in (first, again, other, anew)] == [False, True, False, False]
            assert again.transcript == first.transcript
            assert again.result == first.result

    asyncio.run(main())


def test_segments_and_progress_are_told_while_it_is_heard(listen: Any, waveform: np.ndarray, tmp_path: Path) -> None:
    events: list[Event] = []

    async def main() -> Any:
        async with made(listen, tmp_path) as recognition:
            one = recording(tmp_path, np.tile(waveform, 8))
            return await recognition.recognize(None, one, {}, on_event=events.append)

    found = asyncio.run(main())
    told = [segment for event in events if isinstance(event, Heard) for segment in event.segments]
    assert [one.text for one in told] == [one.text for one in found.transcript.segments]
    done = [event for event in events if isinstance(event, Progress)]
    assert len(done) > 1
    assert done[-1].done == pytest.approx(done[-1].duration, abs=0.1)


def test_a_cancelled_request_ends_within_a_window(listen: Any, waveform: np.ndarray, tmp_path: Path) -> None:
    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            one = recording(tmp_path, np.tile(waveform, 200))  # half an hour
            begun = asyncio.Event()
            task = asyncio.create_task(
                recognition.recognize(None, one, {}, use_cache=False, on_event=lambda _: begun.set())
            )
            async with asyncio.timeout(DEADLINE_S):
                await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await recognition.runner.drained(DEADLINE_S / 4)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({"retrun_timestamps": True}, "did you mean 'return_timestamps'"),
        ({"decoder_kwargs": {"lm": "/etc/passwd"}}, "'lm' is not taken over HTTP"),
        ({"resume": "/tmp/x"}, "'resume' is not taken over HTTP"),
        ({"return_timestamps": "sentence"}, "it takes"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_computed(
    listen: Any, tmp_path: Path, parameters: dict[str, Any], told: str
) -> None:
    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            with pytest.raises(OptionError, match=told):
                await recognition.recognize(None, source(SAMPLE), parameters)

    asyncio.run(main())


def test_what_is_no_recording_is_refused(listen: Any, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("this is text and no sound at all")

    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            with pytest.raises(AudioError):
                await recognition.recognize(None, source(tmp_path / "text.wav"), {})
            with pytest.raises(ModelNotFoundError):
                await recognition.recognize("no/such", source(SAMPLE), {})

    asyncio.run(main())


def test_a_recording_longer_than_may_be_is_refused(listen: Any, tmp_path: Path) -> None:
    async def main() -> None:
        async with made(listen, tmp_path, max_duration=1.0) as recognition:
            with pytest.raises(AudioTooLargeError, match="at most 1 s"):
                await recognition.recognize(None, source(SAMPLE), {})

    asyncio.run(main())


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    class Classifier:
        task = "image-classification"

    async def main() -> None:
        async with made(Classifier(), tmp_path) as recognition:
            with pytest.raises(Refused) as refused:
                await recognition.recognize(None, source(SAMPLE), {})
            assert refused.value.status == 422

    asyncio.run(main())


def test_a_journal_keeps_windows_that_are_not_decoded_again(listen: Any, waveform: np.ndarray, tmp_path: Path) -> None:
    async def main() -> None:
        async with made(listen, tmp_path) as recognition:
            one = recording(tmp_path, np.tile(waveform, 8))
            journal = tmp_path / "one.jsonl"
            first = await recognition.recognize(None, one, {}, use_cache=False, journal=journal)
            lines = journal.read_text().splitlines()
            again = await recognition.recognize(None, one, {}, use_cache=False, journal=journal)
            assert len(lines) > 2
            assert journal.read_text().splitlines() == lines
            assert again.transcript.text == first.transcript.text

    asyncio.run(main())
