"""Recordings of any length with Whisper: windows of 30 s, each from where the text before it ended.

A recording is divided into units: stretches of voice, or all of it. Windows follow one another within a unit,
as rows of a batch; what a row comes to does not depend on the others. One after the other, a unit is told the
text of those before it; together, they are not, and so the two schedules differ in nothing but that. Offsets
are whole samples, so that times neither drift nor go back. Windows are decoded with timestamp tokens whether
or not times are asked for, and word times come from a pass of their own over the finished text, so that
asking for times never changes it.

Source: openai/whisper transcribe.py; Radford et al. 2022, section 4.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.errors import OptionError
from auricle.results import Segment, Transcript, Warning
from auricle.speech.journal import Journal
from auricle.speech.journal_entries import segment_from_json, warning_to_json
from auricle.speech.languages import language_code, language_name
from auricle.speech.scheduling import Scheduler, at_once
from auricle.speech.whisper_decoder import SECONDS_PER_STEP, Ask, Engine, WindowDecoder
from auricle.speech.whisper_guards import voiced_seconds
from auricle.speech.whisper_languages import SURE, average, most_probable
from auricle.speech.whisper_options import WhisperOptions
from auricle.speech.whisper_rows import Reading, Row
from auricle.speech.whisper_segments import Heard, WindowReader, believed, report_doubts
from auricle.speech.whisper_tokens import WhisperTokenizer, alignment_heads, read_tokens
from auricle.speech.whisper_units import Source, Unit
from auricle.speech.whisper_windows import is_silence, text_before

__all__ = ["WhisperOptions", "WhisperRecognizer"]

SHORTEST_REST = 0.1  # seconds: what is left after the last window, if no longer, holds no word
LEAST_VOICE = 1.0  # seconds of voice in a window that must have text
BATCH = 8  # windows decoded together if nothing else is asked for

States = tuple[Tensor, Tensor]  # of the encoder, (R, T, D), and their lengths (R,)


class Recording(Protocol):
    """What this needs of a recording."""

    def blocks(self) -> Iterable[np.ndarray]:
        """Mono float32 samples at the model's rate, in order."""
        ...


class WindowFeatures(Protocol):
    """What this needs of features."""

    sample_rate: int
    window_samples: int

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        """One window each."""
        ...


@dataclass(frozen=True)
class _Plan:
    """What all windows of a call have in common."""

    options: WhisperOptions
    task: str
    language: str | None  # None: detected
    always: list[int]  # tokens that every window is told
    first: list[int]  # tokens that the first window is told
    prefix: list[int]
    room: int  # tokens before a window, at most
    n_rows: int  # at most, at once
    key: str  # equal for plans that say the same of a window


class WhisperRecognizer:
    """Transcribes recordings of any length with one Whisper checkpoint."""

    def __init__(
        self,
        engine: Engine,
        features: WindowFeatures,
        tokenizer: WhisperTokenizer,
        config: Any,
        generation: dict[str, Any],
    ) -> None:
        """Take the parts of a loaded checkpoint; `generation` is generation_config.json as it is, or {}.

        Raises:
            ConfigError: if neither it nor the tokenizer has a token that every Whisper needs.
        """
        self.engine = engine
        self.features = features
        self.tokenizer = tokenizer
        self.tokens = read_tokens(generation, tokenizer)
        self.scheduler: Scheduler = at_once
        self.joint = ""  # between the texts of segments in a transcript's text: they begin with their own space
        self.decoder = WindowDecoder(engine, tokenizer, self.tokens, int(config.max_target_positions))
        self.heads = alignment_heads(
            generation, config.decoder_layers, config.decoder_attention_heads, self.tokens.multilingual
        )
        self._step_samples = round(SECONDS_PER_STEP * features.sample_rate)
        self._reader = WindowReader(tokenizer, self.tokens, self._step_samples, features.sample_rate)

    def transcribe(
        self,
        audios: Sequence[Recording],
        options: WhisperOptions | None = None,
        progress: Callable[[float], None] | None = None,
        journals: Sequence[Journal | None] | None = None,
    ) -> list[Transcript]:
        """Transcribe recordings, in the memory of `options.batch_size` windows.

        `progress` is told the seconds done of all recordings together. A journal, one for each recording, is
        told of every window that is done; what it has of an interrupted run is not decoded again.

        Raises:
            OptionError: for a language or a task that the checkpoint does not have, or words that are too many
            for a prompt. AudioError: as reading a recording raises it.
        """
        plan = self._plan(options or WhisperOptions(), len(audios))
        rate = self.features.sample_rate
        readings = [
            Reading(Source(audio.blocks(), rate, plan.options), list(plan.first), plan.language, journal)
            for audio, journal in zip(audios, journals or [None] * len(audios), strict=True)
        ]
        rows: list[Row] = []
        while rows := self._fill(rows, readings, plan):
            if progress is not None:
                progress(sum(reading.n_done for reading in readings) / rate)
            self._round(rows, plan)
        transcripts = [reading.transcript() for reading in readings]
        if progress is not None and readings:
            progress(sum(reading.source.reader.position for reading in readings) / rate)
        return transcripts

    def heard(self, entry: dict[str, Any]) -> tuple[Segment, ...]:
        """Return the segments that a journal's entry says."""
        return tuple(segment_from_json(one) for one in entry.get("segments", ()))

    def detect_languages(
        self, audios: Sequence[Recording], options: WhisperOptions | None = None
    ) -> list[dict[str, float]]:
        """The probability of every language the checkpoint knows, from several windows of each recording's speech.

        A recording without any speech has none.

        Raises:
            OptionError: if the checkpoint is English-only.
        """
        if not self.tokens.multilingual:
            raise OptionError("this checkpoint is English-only and detects no language; use a multilingual one")
        plan = replace(self._plan(options or WhisperOptions(), len(audios)), language=None)
        found = []
        for audio in audios:
            source = Source(audio.blocks(), self.features.sample_rate, plan.options)
            reading = Reading(source, [], None, None)
            self._detect(reading, plan)
            found.append(reading.probabilities)
        return found

    def _plan(self, options: WhisperOptions, n_recordings: int) -> _Plan:
        language, task = self._language_and_task(options)
        given = options.prompt_ids
        first = self.decoder.words("initial_prompt", options.initial_prompt or "")
        first = first if given is None else self.decoder.prompt_tokens(given)
        # A length that counts the prompt leaves less room for it.
        limit = options.max_length if options.max_new_tokens is None else None
        room = max(min(self.decoder.max_positions, limit or self.decoder.max_positions) // 2 - 1, 0)
        always = self.decoder.words("hotwords", ", ".join(options.hotwords), room)
        prefix = self.decoder.words("prefix", options.prefix or "", room)
        if options.carry_initial_prompt:
            always, first = [*always, *first[max(len(first) - (room - len(always)), 0) :]], []
        n_rows = options.batch_size or (BATCH if options.is_batched else max(n_recordings, 1))
        said = {**vars(options), "batch_size": None}
        return _Plan(options, task, language, always, first, prefix, room, n_rows, repr((said, task, language)))

    def _language_and_task(self, options: WhisperOptions) -> tuple[str | None, str]:
        """The language for the prompt, None to detect it, and the task."""
        tokens = self.tokens
        if not tokens.multilingual:
            for name in ("language", "task", "multilingual"):
                if getattr(options, name):
                    raise OptionError(
                        f"{name}={getattr(options, name)!r}, but this checkpoint is English-only and has no "
                        f"tokens to choose one; leave {name} out, or use a multilingual checkpoint"
                    )
            return "en", "transcribe"
        task = options.task or tokens.task or "transcribe"
        if task not in tokens.tasks:
            raise OptionError(f"task={task!r}: this checkpoint has no token for it; it has {', '.join(tokens.tasks)}")
        if options.language is not None:
            return language_code(options.language, tokens.languages), task
        return None if options.multilingual else tokens.language, task

    def _fill(self, rows: Sequence[Row], readings: Sequence[Reading], plan: _Plan) -> list[Row]:
        """The rows that go on, and new ones: of a recording one at a time, or together as many as there are."""
        found = [row for row in rows if self._open(row, plan)]
        for reading in readings:
            while len(found) < plan.n_rows:
                if not plan.options.is_batched and any(row.reading is reading for row in found):
                    break
                if reading.language is None and not reading.parts:
                    self._detect(reading, plan)
                row = reading.row(plan.options.is_batched, self.features.window_samples)
                if row is None:
                    break
                if self._open(row, plan):
                    found.append(row)
        return found

    def _open(self, row: Row, plan: _Plan) -> bool:
        """Open a row's next window, and in a recording of several languages find its language."""
        shortest = round(SHORTEST_REST * self.features.sample_rate)
        if not row.open_window(self.features.window_samples, shortest):
            return False
        if plan.options.multilingual and (row.is_first_window or row.unit.is_endless):
            [(states, probabilities)] = self.scheduler("languages", [(row.window, row.unit.states)], self._languages)
            row.unit.states = states
            tracker, before = row.reading.tracker, row.reading.tracker.language
            if tracker.hear(probabilities):
                start = row.start / self.features.sample_rate
                message = f"the language changes from {language_name(before)} to {language_name(tracker.language)}"
                row.part.warn("language", message, start, start + len(row.window) / self.features.sample_rate)
                row.history.clear()  # which is in the other language
            assert tracker.language is not None, "a window was heard"
            row.language, row.language_probability = tracker.language, probabilities[tracker.language]
            row.heard = tracker.language, tracker.rival
        return True

    def _detect(self, reading: Reading, plan: _Plan) -> None:
        """Give a recording the language that its first windows of speech agree on most."""
        options = plan.options
        n_windows, least = options.language_detection_segments, options.language_detection_threshold
        heard: list[dict[str, float]] = []
        probabilities: dict[str, float] = {}
        # The second time as many windows again, where the first ones do not tell.
        for first in (0, n_windows):
            windows = self._speech(reading, first + n_windows)[first:]
            if not windows:
                break
            rows = [(samples, None) for samples, _ in windows]
            found = self.scheduler("languages", rows, self._languages)
            for (states, spoken), (_, unit) in zip(found, windows, strict=True):
                heard.append(spoken)
                if unit is not None:
                    unit.states = states
            probabilities = average(heard)
            if least is None or most_probable(probabilities)[1] >= least:
                break
        if not probabilities:
            return
        language, probability = most_probable(probabilities)
        warnings = []
        if least is not None and probability < least:
            message = f"the language is uncertain: {language_name(language)} with a probability of {probability:.2f}"
            warnings.append(Warning("language", message))
        reading.detected(probabilities, warnings)
        if reading.journal is not None:
            entry = {"probabilities": probabilities, "warnings": [warning_to_json(one) for one in warnings]}
            reading.journal.append(entry)

    def _speech(self, reading: Reading, n_windows: int) -> list[tuple[np.ndarray, Unit | None]]:
        """The first windows of a recording's speech, each with the unit that it is the first window of."""
        length = self.features.window_samples
        found: list[tuple[np.ndarray, Unit | None]] = []
        for unit in reading.ahead(n_windows):
            n_samples = length * n_windows if unit.is_endless else length
            samples = unit.samples.window(n_samples)
            found += [(samples[at : at + length], unit if at == 0 else None) for at in range(0, len(samples), length)]
        # What is left at a recording's end says little, unless there is nothing else.
        return [one for one in found[:n_windows] if one[1] or len(one[0]) > LEAST_VOICE * self.features.sample_rate]

    def _encode(self, windows: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        return self.engine.encode(self.features(windows))

    def _states(self, windows: Sequence[tuple[np.ndarray, States | None]]) -> States:
        """The encoder's states of windows, of those that lack them computed together."""
        unknown = [window for window, states in windows if states is None]
        if len(unknown) == len(windows):
            return self._encode(unknown)
        computed = iter(_rows(*self._encode(unknown)) if unknown else ())
        rows = [next(computed) if states is None else states for _, states in windows]
        return torch.cat([states for states, _ in rows]), torch.cat([lengths for _, lengths in rows])

    def _languages(self, windows: Sequence[tuple[np.ndarray, States | None]]) -> list[tuple[States, dict[str, float]]]:
        """The states of each window, and the probabilities of its language."""
        states, lengths = self._states(windows)
        return list(zip(_rows(states, lengths), self.decoder.languages(states, lengths), strict=True))

    def _round(self, rows: Sequence[Row], plan: _Plan) -> None:
        """Decode the window that each row has open, and move each to its next one."""
        for one in self.scheduler(("whisper", plan.key), rows, lambda rows: self._hear(rows, plan)):
            row, part = one.row, one.row.part
            before = row.start, len(part.segments), len(part.warnings)
            self._accept(one, plan)
            if row.reading.journal is not None:
                row.reading.journal.append(row.entry(*before))

    def _hear(self, rows: Sequence[Row], plan: _Plan) -> list[Heard]:
        """Return what is heard in the window that each row has open; the rows stay where they are."""
        options = plan.options
        states, lengths = self._states([(row.window, row.unit.states) for row in rows])
        starts = [self.decoder.start(row.language, plan.task) for row in rows]
        asks = [
            Ask(self._prompt(row, start, plan), row.start, self._is_voiced(row))
            for row, start in zip(rows, starts, strict=True)
        ]
        found = self.decoder.decode(states, lengths, asks, options)
        heard = [self._reader.read(*one) for one in zip(rows, found, starts, strict=True)]
        if options.return_timestamps == "word" or options.hallucination_silence_threshold is not None:
            self._time_words(heard, states, options)
        return heard

    def _prompt(self, row: Row, start: Sequence[int], plan: _Plan) -> list[int]:
        prefix = plan.prefix if row.begins else []
        before = text_before(plan.always, row.history, plan.room)
        return self.decoder.prompt(before, start, prefix, plan.options.without_timestamps)

    def _is_voiced(self, row: Row) -> bool:
        rate = self.features.sample_rate
        end = row.start + len(row.window)
        return voiced_seconds(row.start / rate, end / rate, row.unit.voice.spans or []) >= LEAST_VOICE

    def _time_words(self, heard: Sequence[Heard], states: Tensor, options: WhisperOptions) -> None:
        """Give words to the segments of all windows that have text, within the samples that they used up."""
        rows = [number for number, one in enumerate(heard) if one.text and not is_silence(one.decoded, options)]
        if not rows:
            return
        onsets = self.decoder.onsets(
            [heard[row].text for row in rows],
            [heard[row].start for row in rows],
            states[rows],
            [max(1, math.ceil(heard[row].n_used / self._step_samples)) for row in rows],
            self.heads,
        )
        for row, frames in zip(rows, onsets, strict=True):
            self._reader.with_words(heard[row], frames.tolist(), options)

    def _accept(self, heard: Heard, plan: _Plan) -> None:
        """Add the segments of a decoded window, and let go of the samples they used up."""
        row, decoded, options = heard.row, heard.decoded, plan.options
        rate = self.features.sample_rate
        start, n_samples = row.start / rate, len(row.window)
        if is_silence(decoded, options):
            row.part.warn("no_speech", "no speech was found", start, (row.start + n_samples) / rate)
            self._forget(row, plan)
            row.skip(n_samples)
            return
        said = believed(heard, options, rate, self._ends_soon(row, options))
        report_doubts(heard, said, options, rate)
        if plan.language is None and not options.multilingual:
            self._report_language(heard)
        if said and said[-1].words:
            row.spoken_until = said[-1].words[-1].end
        if options.return_timestamps != "word":
            said = [replace(segment, words=()) for segment in said]
        row.part.segments += said
        row.history += [token for segment in said for token in segment.tokens]
        del row.history[: max(len(row.history) - self.decoder.max_positions, 0)]
        if not decoded.trusted or decoded.loosened or decoded.temperature > options.prompt_reset_on_temperature:
            row.history.clear()
        self._forget(row, plan)
        row.skip(heard.n_used)

    def _forget(self, row: Row, plan: _Plan) -> None:
        if not plan.options.is_conditioned:
            row.history.clear()

    def _ends_soon(self, row: Row, options: WhisperOptions) -> bool:
        """Whether the unit ends within the threshold of silence after the open window."""
        threshold = options.hallucination_silence_threshold
        if threshold is None:
            return False
        n_samples = len(row.window) + round(threshold * self.features.sample_rate)
        return len(row.unit.samples.window(n_samples)) < n_samples

    def _report_language(self, heard: Heard) -> None:
        """Warn where a window sounds like another language than the one that was detected."""
        row = heard.row
        if not heard.text or not heard.decoded.languages:
            return
        best, probability = most_probable(dict(zip(self.tokens.languages, heard.decoded.languages, strict=True)))
        if best != row.language and probability >= SURE:
            rate = self.features.sample_rate
            message = f"this sounds like {language_name(best)} and is written as {language_name(row.language)}"
            row.part.warn("language", message, row.start / rate, (row.start + heard.n_used) / rate)


def _rows(states: Tensor, lengths: Tensor) -> list[States]:
    """Encoded windows, each by itself."""
    return [(states[row : row + 1], lengths[row : row + 1]) for row in range(len(states))]
