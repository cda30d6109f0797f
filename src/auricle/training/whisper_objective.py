"""Fine-tuning of a Whisper with its decoder, in which timestamps stay learned.

Dimension key: B windows, M mel bins, F feature frames of a window, S tokens, V vocabulary.

A clip is kept as its samples, and becomes a part of a window anew each time that it is learned: alone or between
others, with times or without, changed as the augmentation says. In validation it is alone, unchanged.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.decode import load_audio
from auricle.engines.reference import ReferenceEngine
from auricle.errors import AudioError, OptionError
from auricle.speech.languages import language_code
from auricle.speech.stretches import voice_regions
from auricle.speech.voice import VoiceOptions
from auricle.speech.whisper_decoder import Ask, WindowDecoder
from auricle.speech.whisper_options import WhisperOptions
from auricle.text.tokenizer import N_TIMESTAMPS
from auricle.training.augment import mask_spectrum
from auricle.training.disturbance import Disturbance, DisturbanceOptions
from auricle.training.lora import tensors_to_save
from auricle.training.objective import Batch, Example, Rejected
from auricle.training.whisper_labels import (
    IGNORED,
    PLAIN,
    Drawing,
    Piece,
    draw_windows,
    history,
    segments_of,
    sequence,
    shifted,
    timed_labels,
    word_times,
)
from auricle.training.whisper_start import WhisperStart, whole_generation, write_whisper

if TYPE_CHECKING:
    from auricle.corpora import Utterance

TASKS = ("transcribe", "translate")
WINDOWS_AT_ONCE = 8  # that are decoded together in validation
MOST_NEW_TOKENS = 224  # of a window in validation: what the authors' loop writes at most
CLOSE = VoiceOptions(pad_s=0.05)  # where a clip's voice begins and ends


@dataclass(frozen=True)
class Seq2SeqSettings:
    """What the objective is told."""

    language: str | None = None  # of rows that name none; None: the checkpoint's own
    task: str = "transcribe"
    freeze_encoder: bool = False
    label_smoothing: float = 0.0
    augments: bool = True  # masks over the spectrum (SpecAugment)
    min_duration: float = 0.1  # seconds
    max_duration: float = 30.0  # at most a window
    drawing: Drawing = field(default_factory=Drawing)
    disturbance: DisturbanceOptions | None = None  # None: the sound itself stays as it is

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise OptionError(f"task is {self.task!r}; expected one of {', '.join(TASKS)}")
        if not 0 <= self.label_smoothing < 1:
            raise OptionError(f"label_smoothing is {self.label_smoothing!r}; expected 0 or more, and below 1")


class WhisperObjective:
    """A Whisper that learns to write windows."""

    kind = "seq2seq"

    def __init__(self, start: WhisperStart, settings: Seq2SeqSettings | None = None) -> None:
        """Take a checkpoint as it was read; its model is trained in place.

        Raises:
            OptionError: the language is none of the checkpoint's, or it cannot translate.
        """
        self.start, self.settings = start, settings or Seq2SeqSettings()
        self.model: Any = start.model
        self.tokens, self.tokenizer = start.tokens, start.tokenizer
        if not self.tokens.multilingual and self.settings.task != "transcribe":
            raise OptionError(f"task is {self.settings.task!r}, but {start.name} is English-only and only transcribes")
        self.language = self._code(self.settings.language or self.tokens.language)
        self.disturbance = None
        if self.settings.disturbance is not None and self.settings.disturbance.changes_sound:
            self.disturbance = Disturbance(self.settings.disturbance, start.features.sample_rate)
        if self.settings.freeze_encoder:
            self.model.model.encoder.requires_grad_(False)
        prepared: dict[str, Any] = {
            "language": self.language,
            "task": self.settings.task,
            "max": self.settings.max_duration,
        }
        prepared |= {"min": self.settings.min_duration, "drawing": asdict(self.settings.drawing)}
        described = json.dumps([start.fingerprint(), prepared, self.settings.label_smoothing])
        self.identity = hashlib.sha256(described.encode()).hexdigest()
        self.step_samples = round(0.02 * start.features.sample_rate)
        self.set_training(False)

    @property
    def begin(self) -> int:
        """The token of 0.00 s."""
        return self.tokens.timestamp_begin

    @property
    def room(self) -> int:
        """Labels of a window, beside what stands before and after them."""
        n_before = 4 if self.tokens.multilingual else 2
        return int(self.model.config.max_target_positions) - n_before - 1

    def prepare(self, row: Utterance) -> Example | Rejected:
        """Read a recording; its labels are segments of its text between timestamps."""
        if row.text is None or not row.text.strip():
            return Rejected(row.id, "without text")
        try:
            language = self._code(row.language) or self.language
        except OptionError as error:
            return Rejected(row.id, "a language that the checkpoint does not have", str(error))
        if language is None and self.tokens.multilingual:
            return Rejected(row.id, "without a language", "name it in the data, or for all (--language)")
        rate = self.start.features.sample_rate
        try:
            waveform = load_audio(row.source(), rate)
        except (AudioError, OSError) as error:
            return Rejected(row.id, "the recording cannot be read", str(error))
        duration, longest = len(waveform) / rate, self._longest()
        if duration > longest:
            return Rejected(row.id, f"longer than {longest:g} s", f"{duration:.2f} s")
        if duration < max(self.settings.min_duration, 1 / rate):
            return Rejected(row.id, f"shorter than {self.settings.min_duration:g} s", f"{duration:.2f} s")
        n_steps = -(-len(waveform) // self.step_samples)
        text = " ".join(row.text.split())
        times = word_times(row.extra, len(text.split()))
        segments = segments_of(text, times, _spoken(waveform, rate))
        labels = timed_labels(segments, n_steps, self.tokenizer.encode, self.begin)
        if len(labels) > self.room:
            return Rejected(row.id, "more tokens than the decoder has positions", f"{len(labels)}: {text!r}")
        features = torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32))[:, None]  # (samples, 1)
        return Example(row.id, features, tuple(labels), n_steps, text, duration, row.speaker, language)

    def collate(self, examples: Sequence[Example], generator: torch.Generator | None) -> Batch:
        """Make windows: with a generator joined, with times or without; else each clip alone and without times."""
        drawing = self.settings.drawing if generator is not None else PLAIN
        draw = generator or torch.Generator().manual_seed(0)
        sounds = [self._sound(one, generator) for one in examples]
        sizes = [
            (-(-len(sound) // self.step_samples), len(one.labels))
            for (sound, _), one in zip(sounds, examples, strict=True)
        ]
        whole = self.start.features.window_samples // self.step_samples
        if generator is None:
            windows = [[Piece(place, 0)] for place in range(len(examples))]
        else:
            languages = [one.language for one in examples]
            windows = draw_windows(sizes, languages, (whole, self.room), drawing, draw)
        pairs, rows, prompts = [], [], []
        for window in windows:
            labels = [
                id
                for piece in window
                for id in shifted(examples[piece.place].labels, self.begin, piece.first, sounds[piece.place][1])
            ]
            prompt = self._prompt(examples[window[0].place].language)
            timed, told, which = torch.rand(3, generator=draw).tolist()
            before: list[int] = []
            # Told its own text, a window would learn to copy it.
            own = {piece.place for piece in window}
            others = [one for place, one in enumerate(examples) if place not in own]
            others = [one for one in others if one.language == examples[window[0].place].language]
            if told < drawing.told and others:
                other = others[int(which * len(others))]
                most = min(self.room - len(labels), self.model.config.max_target_positions // 2) - 1
                before = history(other.labels, self.begin, max(0, most))
            pairs.append(sequence(self.tokens, prompt, labels, timed < drawing.timed, before))
            rows.append(self._window(window, sounds, generator))
            prompts.append(prompt)
        return self._batch(rows, pairs, prompts, [" ".join(examples[p.place].text for p in w) for w in windows])

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """Cross-entropy per token, and the share of tokens, and of timestamps, that are the likeliest."""
        states, lengths = self.model.encode(batch.features.transpose(1, 2), batch.lengths)
        tokens = batch.extra["tokens"]
        logits = self.model.decode(tokens, self.model.new_cache(states, lengths), tokens.shape[1])  # (B, S, V)
        total = F.cross_entropy(
            logits.transpose(1, 2),
            batch.labels,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.settings.label_smoothing,
        )
        with torch.no_grad():
            right, learned = logits.argmax(-1) == batch.labels, batch.labels != IGNORED
            times = (batch.labels >= self.begin) & (batch.labels < self.begin + N_TIMESTAMPS)
            figures = {"token_accuracy": float((right & learned).sum() / learned.sum().clamp(min=1))}
            if bool(times.any()):
                figures["time_accuracy"] = float((right & times).sum() / times.sum())
        return total / batch.n_units, figures

    @torch.no_grad()
    def transcribe(self, batch: Batch) -> list[str]:
        """Greedy text of each window by the library's own decoder, with timestamps if they are learned."""
        engine = ReferenceEngine(self.model, batch.features.device, torch.float32)
        decoder = WindowDecoder(engine, self.tokenizer, self.tokens, int(self.model.config.max_target_positions))
        options = WhisperOptions(
            temperature=0.0,
            without_timestamps=self.settings.drawing.timed == 0,
            compression_ratio_threshold=None,
            max_new_tokens=min(MOST_NEW_TOKENS, self.room),
        )
        mode = [self.tokens.no_timestamps] if options.without_timestamps else []
        texts: list[str] = []
        for first in range(0, len(batch.features), WINDOWS_AT_ONCE):
            rows = slice(first, first + WINDOWS_AT_ONCE)
            states, lengths = self.model.encode(batch.features[rows].transpose(1, 2), batch.lengths[rows])
            asks = [Ask([*prompt, *mode], 0) for prompt in batch.extra["prompt"][rows].tolist()]
            found = decoder.decode(states, lengths, asks, options)
            texts += [" ".join(self.tokenizer.decode(one.generated.tokens).split()) for one in found]
        return texts

    def set_training(self, training: bool) -> None:
        """Change the mode; the family has no dropout but that of adapters."""
        self.model.train(training)

    def save(self, folder: Path) -> None:
        """Write the Hub's format, with generation_config.json whole and no language forced."""
        generation = whole_generation(self.start, self.language, self.settings.task)
        write_whisper(self.start, tensors_to_save(cast(nn.Module, self.model)), generation, folder)

    def _code(self, language: str | None) -> str | None:
        """The checkpoint's code for a language or a locale; None of an English-only checkpoint."""
        if language is None or not self.tokens.multilingual:
            return None
        if language.lower() not in self.tokens.languages and ("-" in language or "_" in language):
            language = language.replace("_", "-").split("-")[0]
        return language_code(language, self.tokens.languages)

    def _longest(self) -> float:
        return min(self.settings.max_duration, self.start.features.window_samples / self.start.features.sample_rate)

    def _prompt(self, language: str | None) -> list[int]:
        if not self.tokens.multilingual:
            return [self.tokens.start]
        assert language is not None, "rows without a language are rejected"
        return [self.tokens.start, self.tokens.languages[language], self.tokens.tasks[self.settings.task]]

    def _sound(self, example: Example, generator: torch.Generator | None) -> tuple[np.ndarray, float]:
        """A clip's samples, and how many times as fast they are played."""
        waveform = example.features[:, 0].numpy()
        if generator is None or self.disturbance is None:
            return waveform, 1.0
        changed, speed = self.disturbance(waveform, generator)
        # Slowed down, the longest clips would no longer fit the window.
        return (changed, speed) if len(changed) <= self.start.features.window_samples else (waveform, 1.0)

    def _window(
        self, window: Sequence[Piece], sounds: Sequence[tuple[np.ndarray, float]], generator: torch.Generator | None
    ) -> tuple[Tensor, int]:
        """Log-mel frames (F, M) of a window, and how many of them are its own."""
        features = self.start.features
        samples = np.zeros(features.window_samples, np.float32)
        end = 0
        for piece in window:
            sound, first = sounds[piece.place][0], piece.first * self.step_samples
            end = min(first + len(sound), len(samples))
            samples[first:end] = sound[: end - first]
        mel = features.window(samples[:end]).T.clone()  # (F, M)
        n_frames = max(1, -(-end // features.hop_samples))
        if generator is not None and self.settings.augments:
            mask_spectrum(mel[:n_frames], generator)
        return mel, n_frames

    def _batch(
        self,
        rows: Sequence[tuple[Tensor, int]],
        pairs: Sequence[tuple[list[int], list[int]]],
        prompts: Sequence[list[int]],
        texts: Sequence[str],
    ) -> Batch:
        longest = max(len(tokens) for tokens, _ in pairs)
        # What follows a row's own tokens changes nothing before them, and nothing is learned there.
        tokens = [row + [self.tokens.eos] * (longest - len(row)) for row, _ in pairs]
        labels = torch.tensor([row + [IGNORED] * (longest - len(row)) for _, row in pairs])
        learned = (labels != IGNORED).sum(1)
        return Batch(
            features=torch.stack([mel for mel, _ in rows]),
            lengths=torch.tensor([n_frames for _, n_frames in rows]),
            labels=labels,
            label_lengths=learned,
            n_units=int(learned.sum()),
            texts=tuple(texts),
            extra={"tokens": torch.tensor(tokens), "prompt": torch.tensor(prompts)},
        )


def _spoken(waveform: np.ndarray, rate: int) -> tuple[float, float]:
    """Where a clip's voice begins and ends, in seconds; all of it where none is detected."""
    found = voice_regions(waveform, rate, CLOSE)
    if not found:
        return 0.0, len(waveform) / rate
    return found[0].start / rate, found[-1].end / rate
