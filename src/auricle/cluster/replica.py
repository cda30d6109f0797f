"""A model in a process of its own, somewhere in the cluster: loads the pipeline and transcribes for the server."""

from __future__ import annotations

import asyncio
import traceback
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from auricle import __version__
from auricle.audio.decode import open_audio
from auricle.cluster.depot import fetch
from auricle.cluster.scratch import Scratch
from auricle.cluster.wire import Description, Ended, Kept, Listened, ReplicaError, Said, Sound, Told, Work
from auricle.errors import AuricleError, TaskError
from auricle.pipelines.provenance import ModelIdentity
from auricle.server.registry import load_pipeline
from auricle.server.scheduling import Batcher, Cancelled, Ticket
from auricle.server.settings import Settings

TASK = "automatic-speech-recognition"


class SpeechReplica:
    """What a deployment has several of. Requests of one replica are decoded together."""

    def __init__(self, deployment: str, place: str, settings: dict[str, Any], depot: Any) -> None:
        """Load the model; `settings` are values of the server's Settings.

        Raises:
            AuricleError: it cannot be loaded here; the depot has been told.
        """
        chosen = Settings.model_construct(**settings)
        try:
            self._pipeline = _speech(place, chosen)
        except Exception as error:
            # Ray would tell the server a traceback; it needs the class, which says whose fault it is.
            told = error if isinstance(error, AuricleError) else AuricleError(f"{type(error).__name__}: {error}")
            ray.get(depot.failed.remote(deployment, told))
            raise
        self._depot = depot
        self._batches: deque[int] = deque()
        self._batcher = Batcher(chosen.batch_size, self._batches.append, place)
        self._pool = ThreadPoolExecutor(chosen.max_active, thread_name_prefix="auricle-request")
        self._scratch: Scratch | None = Scratch()

    def close(self) -> None:
        """End the threads and remove the files; nothing may be called after it."""
        scratch, self._scratch = self._scratch, None
        if scratch is not None:
            self._batcher.close()
            self._pool.shutdown()
            scratch.close()

    def __del__(self) -> None:
        # So Ray tells a replica that it ends; it may have ended in __init__.
        if hasattr(self, "_scratch"):
            self.close()

    async def describe(self) -> Description:
        """Return what the server must know of the model."""
        one, identity = self._pipeline, self._pipeline.identity
        # The digest of a folder is taken here: the server need not have the folder.
        revision = await asyncio.to_thread(lambda: identity.revision)
        known = ModelIdentity(
            identity.name, revision, None, identity.adapter, identity.engine, identity.device, identity.dtype
        )
        return Description(
            dialect=one.dialect.model,
            sample_rate=one.sample_rate,
            name=one.name,
            device=str(one.device),
            identity=known,
            joint=one.recognizer.joint,
            version=__version__,
        )

    async def transcribe(self, work: Work) -> AsyncIterator[tuple[Told, ...]]:
        """Tell what becomes known of a recording, then its transcript or error; cancelled, end within a window."""
        ticket = self._batcher.ticket(work.background)
        loop = asyncio.get_running_loop()
        told: asyncio.Queue[Told] = asyncio.Queue()

        def tell(one: Told) -> None:
            loop.call_soon_threadsafe(told.put_nowait, one)

        assert self._scratch is not None, "nothing is called after close"
        with self._scratch.job() as folder:
            path = Path(folder) / "recording"
            await fetch(work.recording, self._depot, path)
            working = loop.run_in_executor(self._pool, self._work, work, path, ticket, tell)
            try:
                ended = False
                while not ended:
                    news = [await told.get()]
                    while not told.empty():
                        news.append(told.get_nowait())
                    ended = isinstance(news[-1], Ended)
                    yield tuple(news)
            finally:
                ticket.cancel()
                # The thread reads the recording, which must not go before it ends.
                await asyncio.shield(asyncio.wait([working]))

    async def hear(self, sound: Sound) -> Ended:
        """Transcribe a moment of a live stream."""
        ticket = self._batcher.ticket()
        recognizer = self._pipeline.scheduled(ticket).recognizer

        def work() -> Any:
            return recognizer.transcribe([open_audio(sound.samples, sound.sample_rate)], sound.options)[0]

        try:
            return self._ended(await asyncio.get_running_loop().run_in_executor(self._pool, work))
        except AuricleError as error:
            return self._ended(error)
        finally:
            ticket.cancel()

    def _work(self, work: Work, path: Path, ticket: Ticket, tell: Callable[[Told], None]) -> None:
        """Transcribe in a thread; all that happens is told, errors too."""
        try:
            tell(self._ended(self._transcribe(work, path, ticket, tell)))
        except Cancelled:
            pass  # nobody listens
        except AuricleError as error:
            tell(self._ended(error))
        except Exception:
            # What it is may not be known to the server's Python, or not be picklable.
            tell(self._ended(ReplicaError(traceback.format_exc())))

    def _transcribe(self, work: Work, path: Path, ticket: Ticket, tell: Callable[[Told], None]) -> Any:
        place = path.with_name("journal.jsonl")
        place.write_bytes(work.journal)
        journal = _Growing(place, len(work.journal))

        def say(one: Told) -> None:
            ticket.check()
            # First what keeps it: the server may need to hand the work to another replica at any time.
            for lines in journal.news():
                tell(lines)
            tell(one)

        pipeline = self._pipeline.scheduled(ticket)
        pipeline.limits = work.limits
        (transcript,) = pipeline.transcripts(
            str(path),
            on_error="raise",
            progress=lambda seconds: say(Listened(seconds)),
            told=lambda segments: say(Said(segments)),
            resume=place,
            **work.parameters,
        )
        for lines in journal.news():
            tell(lines)
        return transcript

    def _ended(self, outcome: Any) -> Ended:
        batches = []
        while self._batches:
            batches.append(self._batches.popleft())
        return Ended(outcome, tuple(batches))


class _Growing:
    """A journal that somebody else writes, read as it grows."""

    def __init__(self, path: Path, known: int) -> None:
        self._path, self._known = path, known

    def news(self) -> list[Kept]:
        """Return the lines that are new, if there are any."""
        with self._path.open("rb") as file:
            file.seek(self._known)
            lines = file.read()
        kept = [Kept(self._known, lines)] if lines else []
        self._known += len(lines)
        return kept


def _speech(place: str, settings: Settings) -> Any:
    """Load a pipeline that recognizes speech."""
    loaded = load_pipeline(place, settings)
    if loaded.task != TASK:
        raise TaskError(f"the model does {loaded.task}, and a cluster serves {TASK}; serve it without --cluster")
    return loaded
