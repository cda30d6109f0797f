"""What a fine-tuning run is told, checked when it is made; and what it is when nothing is told."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from auricle.errors import OptionError
from auricle.training.ctc_fronts import FREEZE

METHODS = ("ctc", "seq2seq", "lora")
SCHEDULES = ("linear", "cosine")
# What may be changed when a run goes on: how long, and what is said about it.
CHANGEABLE = frozenset({"epochs", "steps", "minutes", "patience", "tensorboard", "save_minutes", "device", "force",
                        "language_model"})  # fmt: skip
# Without a number of epochs or steps: so many passes over the data, and of small data at least so many steps.
DEFAULT_EPOCHS, DEFAULT_STEPS = 15, 600
EVALUATIONS = 20  # in a run, unless --evaluate-every says otherwise
# The peak rate where none is given, by what is frozen.
RATES = {"encoder": 3e-3, "feature-encoder": 1e-4, "none": 1e-4}
# Of the bundled model's size; large ones forget at such a rate.
PARAKEET_RATE = 4e-4
WHISPER_RATE = 1e-5  # what its authors tuned theirs with is of that order; times are forgotten at higher ones
# What is known by a fingerprint, which says nothing to a reader.
FINGERPRINTS = {
    "model": "the model was another one, or the vocabulary that is made of the training texts",
    "training data": "the training data was other data",
    "validation data": "the validation data was other data",
}
LORA_RATE, ADAPTER_RATE = 5e-4, 1e-3  # of what is new, upon weights that stay


@dataclass(frozen=True)
class FinetuneOptions:
    """A run's settings; None is a default that depends on model and data."""

    method: str | None = None  # one of METHODS; None: "ctc", and "seq2seq" of a Whisper with a decoder
    freeze: str | None = None  # one of FREEZE
    vocabulary: str = "auto"  # "keep", "new", or "auto": kept where it can write every text
    language: str | None = None  # a code: how letters are lower-cased, what the model card says
    language_model: bool = True  # one that lies beside the weights stays, with their vocabulary and in their language
    epochs: float | None = None
    steps: int | None = None
    minutes: float | None = None  # of training; not exactly repeatable, since machines differ in speed
    learning_rate: float | None = None  # at its peak
    schedule: str = "linear"
    warmup_share: float = 0.1  # of the run, in which the rate rises
    weight_decay: float = 0.01
    clip: float = 1.0  # largest norm of a gradient
    batch_seconds: float = 120.0  # of sound in a batch, padding included, over all processes
    accumulate: int = 1  # batches in a step
    bf16: bool = False
    averaging: float = 0.0  # decay of a moving average of the weights, which is then what is kept; 0: none
    patience: int | None = 8  # evaluations without a better one before a run ends; None: never
    evaluate_every: int | None = None  # steps
    metric: str = "wer"  # or "cer": by which the best checkpoint is chosen
    validation_split: str | None = None
    validation_share: float = 0.05
    text_column: str | None = None  # of the text, where it is not found by itself
    audio_column: str | None = None  # of the recordings
    min_duration: float = 0.1  # seconds
    max_duration: float = 20.0
    augments: bool = True
    noise: str | None = None  # a folder of recordings that are mixed into the training's
    rir: str | None = None  # a folder of room impulse responses that they are placed in
    speed: float = 0.0  # recordings are played up to this share slower or faster
    target_lang: str | None = None  # train the adapters of this language (MMS), upon a frozen model
    lora_rank: int = 16
    lora_alpha: float | None = None  # None: twice the rank
    lora_dropout: float = 0.05
    lora_targets: str | None = None  # a pattern of layers' names; None: attention and feed-forward
    adapter: bool = False  # write what LoRA trained alone, in PEFT's files, and not merged into the model
    timed: float | None = None  # of a Whisper: share of windows with timestamps; None: half
    label_smoothing: float = 0.0  # of a Whisper
    force: bool = False  # train although the data has faults that make it fail
    seed: int = 1
    tensorboard: bool = False
    save_minutes: float = 2.0  # between snapshots, beside those at evaluations
    device: str = "auto"

    def __post_init__(self) -> None:
        self._check_choices()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type.split()[0] in ("int", "float") and isinstance(value, str | bytes | bool):
                raise OptionError(f"{field.name} is {value!r}, a {type(value).__name__}; expected a number")
            if field.type.split()[0] == "int" and isinstance(value, float):
                raise OptionError(f"{field.name} is {value!r}; expected a whole number, such as 10")
        positive = ("epochs", "steps", "minutes", "learning_rate", "evaluate_every", "patience")
        for name in (*positive, "batch_seconds", "accumulate", "max_duration", "save_minutes", "clip"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise OptionError(f"{name} is {value!r}; expected a number above 0")
        for name in ("weight_decay", "min_duration", "seed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise OptionError(f"{name} is {value!r}; expected 0 or more")
        if self.min_duration >= self.max_duration:
            raise OptionError(
                f"min_duration is {self.min_duration!r} and max_duration {self.max_duration!r}; nothing is between them"
            )
        for name in ("warmup_share", "averaging", "validation_share"):
            if not 0 <= getattr(self, name) < 1:
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected a number from 0 on and below 1")
        budgets = [name for name in ("epochs", "steps", "minutes") if getattr(self, name) is not None]
        if len(budgets) > 1:
            raise OptionError(f"{' and '.join(budgets)} were given; a run has one of epochs, steps and minutes")

    def _check_choices(self) -> None:
        choices = {
            "method": (None, *METHODS),
            "freeze": (None, *FREEZE),
            "vocabulary": ("auto", "keep", "new"),
            "schedule": SCHEDULES,
            "metric": ("wer", "cer"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                listed = ", ".join(repr(one) for one in known if one is not None)
                raise OptionError(f"{name} is {getattr(self, name)!r}; expected one of {listed}")

    def resolved(self, family: str, n_batches: float) -> FinetuneOptions:
        """The same with its defaults filled in, for a family and a number of batches in an epoch."""
        default = {"whisper_ctc": "encoder", "parakeet_ctc": "none", "whisper": "none"}.get(family, "feature-encoder")
        if self.method == "lora" and default == "encoder":
            default = "none"
        freeze = self.freeze or default
        rate = self._rate(family, freeze)
        epochs = self.epochs
        if self.steps is None and epochs is None and self.minutes is None:
            epochs = max(DEFAULT_EPOCHS, math.ceil(DEFAULT_STEPS * self.accumulate / max(n_batches, 1)))
        return replace(self, freeze=freeze, epochs=epochs, learning_rate=self.learning_rate or rate)

    def pace(self, n_batches: float) -> int:
        """Steps between evaluations, with so many batches in an epoch.

        Not a part of `resolved`: it follows the run's length, which may be another when a run goes on.
        """
        n_steps = self.steps or math.ceil((self.epochs or DEFAULT_EPOCHS) * n_batches / self.accumulate)
        return self.evaluate_every or max(1, round(n_steps / EVALUATIONS))

    def _rate(self, family: str, freeze: str) -> float:
        """The peak rate where none is given."""
        if self.method == "lora":
            return LORA_RATE
        if self.target_lang is not None:
            return ADAPTER_RATE
        if family == "whisper":
            return WHISPER_RATE
        return PARAKEET_RATE if family == "parakeet_ctc" and freeze != "encoder" else RATES[freeze]

    def fixed(self) -> dict[str, Any]:
        """What must be the same when a run goes on."""
        return {name: value for name, value in asdict(self).items() if name not in CHANGEABLE}


def refuse_changes(before: dict[str, Any], now: dict[str, Any], what: str) -> None:
    """Compare what a run was begun with and what it is told now.

    Raises:
        OptionError: naming what differs, options with both values.
    """
    names = [field.name for field in fields(FinetuneOptions)]
    order = sorted(set(before) | set(now), key=lambda name: names.index(name) if name in names else -1)
    differing = [name for name in order if before.get(name) != now.get(name)]
    # An option such as the language or the longest duration changes vocabulary and data with it: it alone is told.
    changed = [
        f"{name} was {before.get(name)!r} and is {now.get(name)!r}" for name in differing if name not in FINGERPRINTS
    ] or [FINGERPRINTS[name] for name in differing]
    if changed:
        raise OptionError(
            f"{what} holds a run that was begun otherwise: {'; '.join(changed)}. Give what it was begun with to go on, "
            "or another --out for a new run"
        )
