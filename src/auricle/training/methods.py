"""Which objective a model and options make: CTC, sequence to sequence, a language's adapters; whole or by LoRA."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from auricle.checkpoints.config import read_json
from auricle.errors import OptionError
from auricle.hub import locate
from auricle.models.whisper_ctc import ARCHITECTURE
from auricle.speech.languages import named_language
from auricle.training.adapter_objective import AdapterObjective
from auricle.training.ctc_labels import Labels, kept_labels, new_labels
from auricle.training.ctc_objective import CTCObjective, CTCSettings
from auricle.training.ctc_start import Start, read_start
from auricle.training.disturbance import Disturbance, DisturbanceOptions
from auricle.training.disturbed_front import DisturbedFront
from auricle.training.lora import ATTENTION, FEED_FORWARD, LoraOptions, add_lora
from auricle.training.mms_objective import MMSObjective, read_mms
from auricle.training.objective import Objective
from auricle.training.options import FinetuneOptions
from auricle.training.vocabulary import build_vocabulary
from auricle.training.whisper_labels import Drawing
from auricle.training.whisper_objective import Seq2SeqSettings, WhisperObjective
from auricle.training.whisper_start import read_whisper

if TYPE_CHECKING:
    from auricle.corpora import Utterance

# A vocabulary is kept although some rows cannot be written with it: they may be mistakes or foreign names.
RARELY = 0.01
LORA_ALONE = ("lora_rank", "lora_alpha", "lora_dropout", "lora_targets", "adapter")  # options of that method


class Base(Protocol):
    """What is told of the model that a run starts from."""

    @property
    def name(self) -> str:
        """As it was asked for."""
        ...

    @property
    def family(self) -> str:
        """Its model_type."""
        ...

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes, where they are known."""
        ...


def open_objective(model: str | Path, options: FinetuneOptions, rows: Sequence[Utterance]) -> tuple[Objective, Base]:
    """Read the model and decide how it learns.

    Raises:
        CheckpointError: the model cannot be read.
        OptionError: a method that the model has no form for, or options that contradict each other.
    """
    given = [name for name in LORA_ALONE if getattr(options, name) != getattr(FinetuneOptions, name)]
    if given and options.method != "lora":
        raise OptionError(f"{', '.join(given)} is of --method lora; give that, or leave it out")
    has_decoder = _has_decoder(model)
    if options.method == "seq2seq" or (has_decoder and options.method != "ctc"):
        return _open_seq2seq(model, options)
    if options.timed is not None or options.label_smoothing:
        raise OptionError("timed and label_smoothing are for sequence-to-sequence models; leave them out")
    objective, start = _open_ctc(model, options, rows)
    disturbance = _disturbance(options)
    if disturbance is not None:
        rate = start.features.sample_rate
        objective.front = DisturbedFront(objective.front, Disturbance(disturbance, rate))
        objective.identity = _named(objective.identity, "as samples")
    return _detoured(objective, options, (start.head,), start.name), start


def _detoured(objective: Objective, options: FinetuneOptions, trained: tuple[str, ...], base: str) -> Objective:
    """The same objective, with LoRA where that is the method."""
    if options.method != "lora":
        return objective
    chosen = lora_options(options, trained)
    add_lora(objective.model, chosen, options.seed)
    if not options.adapter:
        return objective
    if isinstance(objective, CTCObjective):
        _refuse_adapter(objective.start)
    return AdapterObjective(objective, chosen, str(Path(base).resolve()) if Path(base).is_dir() else base)


def _refuse_adapter(start: Start) -> None:
    """Refuse an adapter whose base has no place for its CTC layer, so that nothing could merge the two."""
    if start.family == "whisper_ctc" and ARCHITECTURE not in (start.raw.get("architectures") or ()):
        raise OptionError(
            f"adapter: {start.name} is a Whisper's encoder without a CTC layer, and LoRA's part alone is merged into a "
            f"{ARCHITECTURE}; leave --adapter out, which writes the whole model"
        )


def lora_options(options: FinetuneOptions, trained: tuple[str, ...]) -> LoraOptions:
    """What LoRA adds, by the options of a run."""
    targets = options.lora_targets
    if targets is None and options.freeze == "encoder":
        targets = rf".*decoder\..*\.({'|'.join((*ATTENTION, *FEED_FORWARD))})"
    alpha = 2.0 * options.lora_rank if options.lora_alpha is None else options.lora_alpha
    return LoraOptions(options.lora_rank, alpha, options.lora_dropout, targets, trained=trained)


def choose_labels(start: Start, vocabulary: str, language: str | None, texts: Sequence[str]) -> Labels:
    """The vocabulary that is kept, or a new one of the texts.

    Raises:
        OptionError: there is none to keep.
    """
    kept = None
    if start.tokenizer is not None:
        kept = kept_labels(start.tokenizer, start.folder, language)
    elif vocabulary == "keep":
        raise OptionError(f"{start.name} has no vocabulary to keep: it was not trained to write; leave it out")
    if kept is not None and vocabulary == "auto":
        unwritable = sum(bool(kept.missing(kept.spelled(text))) for text in texts)
        kept = kept if unwritable <= RARELY * len(texts) else None
    if kept is not None and vocabulary != "new":
        return kept
    return new_labels(build_vocabulary(texts, language), start.family)


def _open_ctc(model: str | Path, options: FinetuneOptions, rows: Sequence[Utterance]) -> tuple[CTCObjective, Start]:
    texts = [row.text or "" for row in rows]
    settings = CTCSettings(
        augments=options.augments,
        min_duration=options.min_duration,
        max_duration=options.max_duration,
        seed=options.seed,
        language_model=options.language_model,
    )
    code = options.target_lang
    if code is not None:
        if options.method == "lora":
            raise OptionError(f"target_lang {code!r} trains adapters, and method 'lora' others; leave one of them out")
        if options.freeze is not None:
            raise OptionError(f"target_lang {code!r} freezes all but the adapters and the head; leave freeze out")
        start = read_mms(model, code, options.seed)
        # The vocabulary of another language is not this one's.
        own = getattr(start.tokenizer, "target_lang", code) == code
        labels = choose_labels(start, options.vocabulary if own else "new", options.language or code, texts)
        return MMSObjective(start, labels, settings, code), start
    start = read_start(model)
    freeze = options.resolved(start.family, 1).freeze or "none"
    if options.method == "lora" and freeze == "encoder":
        raise OptionError("freeze 'encoder' leaves nothing for LoRA to change in a CTC model; leave one of them out")
    language = options.language or _language_of(rows) or (start.languages[0] if len(start.languages) == 1 else None)
    labels = choose_labels(start, options.vocabulary, language, texts)
    # A language model made for one language writes its words for the sounds of another.
    stays = settings.language_model and (not start.languages or language is None or language in start.languages)
    return CTCObjective(start, labels, replace(settings, freeze=freeze, language_model=stays)), start


def _language_of(rows: Sequence[Utterance]) -> str | None:
    """The code of the one language of all rows, without a region, if they say it."""
    said = {row.language for row in rows}
    try:
        code = named_language(said.pop() or "") if len(said) == 1 else None
        return code.lower().replace("_", "-").split("-")[0] if code else None
    except OptionError:  # it is not said, or said in a way of the dataset's own
        return None


def _open_seq2seq(model: str | Path, options: FinetuneOptions) -> tuple[Objective, Base]:
    if options.target_lang is not None:
        raise OptionError("target_lang is for wav2vec2 models with language adapters; give language for a Whisper")
    if options.vocabulary == "new":
        raise OptionError("a new vocabulary was asked for; a Whisper keeps its own, which writes every language")
    if options.freeze == "feature-encoder":
        raise OptionError("freeze is 'feature-encoder'; expected 'encoder' or 'none' of a Whisper with its decoder")
    start = read_whisper(model)
    settings = Seq2SeqSettings(
        language=options.language,
        freeze_encoder=options.freeze == "encoder",
        label_smoothing=options.label_smoothing,
        augments=options.augments,
        min_duration=options.min_duration,
        max_duration=options.max_duration,
        drawing=Drawing() if options.timed is None else Drawing(timed=options.timed),
        disturbance=_disturbance(options),
    )
    return _detoured(WhisperObjective(start, settings), options, (), start.name), start


def _has_decoder(model: str | Path) -> bool:
    """Whether a model is a Whisper that writes by a decoder: without a tokenizer it cannot."""
    folder = locate(model)
    named = any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json"))
    if not (folder / "config.json").is_file() or not named:
        return False
    raw = read_json(folder, "config.json")
    names = raw.get("architectures") or ()
    return raw.get("model_type") == "whisper" and "WhisperForConditionalGeneration" in names


def _disturbance(options: FinetuneOptions) -> DisturbanceOptions | None:
    if not (options.noise or options.rir or options.speed):
        return None
    return DisturbanceOptions(
        noise=Path(options.noise) if options.noise else None,
        rir=Path(options.rir) if options.rir else None,
        speed=options.speed,
    )


def _named(identity: str, what: str) -> str:
    return hashlib.sha256(json.dumps([identity, what]).encode()).hexdigest()
