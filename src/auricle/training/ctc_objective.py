"""CTC fine-tuning: one model, one vocabulary, and what the loop asks of them.

Dimension key: B batch, F steps of the features, D their width, T encoder frames, S labels, V vocabulary.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from auricle.audio.decode import load_audio
from auricle.checkpoints.language_model import copy_language_model
from auricle.checkpoints.tensors import write_checkpoint
from auricle.errors import AudioError, OptionError
from auricle.training.ctc_fronts import FREEZE, Front, open_front
from auricle.training.ctc_labels import Labels
from auricle.training.ctc_start import ARCHITECTURES, Start
from auricle.training.lora import tensors_to_save
from auricle.training.objective import Batch, Example, Rejected

if TYPE_CHECKING:
    from auricle.corpora import Utterance

PROCESSORS = {"parakeet_ctc": "ParakeetProcessor", "whisper_ctc": "WhisperProcessor"}
# Parts of the front end that "feature-encoder" freezes; positions of a Whisper encoder are never trained.
FRONT_ENDS = {
    "parakeet_ctc": ("encoder.subsampling",),
    "whisper_ctc": ("model.encoder.conv1", "model.encoder.conv2"),
}


@dataclass(frozen=True)
class CTCSettings:
    """What a CTC objective is told."""

    freeze: str = "feature-encoder"  # one of FREEZE
    augments: bool = True
    min_duration: float = 0.1  # seconds
    max_duration: float = 20.0
    seed: int = 1
    language_model: bool = True  # whether that of the start stays with the vocabulary that it was made for

    def __post_init__(self) -> None:
        if self.freeze not in FREEZE:
            raise OptionError(f"freeze is {self.freeze!r}; expected one of {', '.join(FREEZE)}")


class CTCObjective:
    """A model that learns to write characters frame by frame."""

    kind = "ctc"

    def __init__(self, start: Start, labels: Labels, settings: CTCSettings) -> None:
        """Make the model of `start` with a head for `labels`.

        A new head takes over the rows of characters that the checkpoint's own had; the others start small.

        Raises:
            CheckpointError: the weights do not fit config.json.
        """
        self.start, self.labels, self.settings = start, labels, settings
        tokenizer = labels.tokenizer
        generator = torch.Generator().manual_seed(settings.seed)
        head = new_head(start, tokenizer, generator) if labels.is_new else None
        size = tokenizer.vocab_size if head is not None else len(start.tensors[f"{start.head}.weight"])
        self.model: nn.Module = start.build(size, tokenizer.blank, head)
        if start.family in ("wav2vec2", "hubert", "wavlm"):
            _add_mask(self.model, start, generator)
        self._freeze()
        self.front: Front = open_front(
            start.family, self.model, start.features, start.raw, settings.freeze, settings.augments
        )
        described = [start.fingerprint(), labels.name, settings.freeze, settings.min_duration, settings.max_duration]
        self.identity = hashlib.sha256(json.dumps(described).encode()).hexdigest()
        self.set_training(False)

    def prepare(self, row: Utterance) -> Example | Rejected:
        """Read a recording and spell its text."""
        if row.text is None or not row.text.strip():
            return Rejected(row.id, "without text")
        spelled = self.labels.spelled(row.text)
        missing = self.labels.missing(spelled)
        if missing:
            return Rejected(row.id, "characters outside the vocabulary", f"{missing!r} in {spelled!r}")
        labels = self.labels.encode(spelled)
        if not labels:
            return Rejected(row.id, "nothing of the text can be written", row.text)
        try:
            waveform = load_audio(row.source(), self.start.features.sample_rate)
        except (AudioError, OSError) as error:
            return Rejected(row.id, "the recording cannot be read", str(error))
        duration = len(waveform) / self.start.features.sample_rate
        longest = min(self.settings.max_duration, self.front.longest_s)
        if duration > longest:
            return Rejected(row.id, f"longer than {longest:g} s", f"{duration:.2f} s")
        if duration < self.settings.min_duration:
            return Rejected(row.id, f"shorter than {self.settings.min_duration:g} s", f"{duration:.2f} s")
        features, n_frames = self.front.stored(waveform)
        if n_frames < frames_needed(labels):
            return Rejected(
                row.id, "more labels than frames", f"{frames_needed(labels)} needed, {n_frames} there: {spelled!r}"
            )
        said = " ".join(self.labels.tokenizer.decode(labels).split())
        return Example(row.id, features, tuple(labels), n_frames, said, duration, row.speaker, row.language)

    def collate(self, examples: Sequence[Example], generator: torch.Generator | None) -> Batch:
        """Pad; with a generator, augmented."""
        rows = [
            self.front.row(
                one.features, generator, -(-len(one.features) * frames_needed(one.labels) // max(1, one.n_frames))
            )
            for one in examples
        ]
        lengths = torch.tensor([len(row) for row in rows])
        label_lengths = torch.tensor([len(one.labels) for one in examples])
        labels = nn.utils.rnn.pad_sequence(
            [torch.tensor(one.labels) for one in examples], batch_first=True, padding_value=-100
        )
        return Batch(
            features=nn.utils.rnn.pad_sequence(rows, batch_first=True),
            lengths=lengths,
            labels=labels,
            label_lengths=label_lengths,
            n_units=int(label_lengths.sum()),
            texts=tuple(one.text for one in examples),
            extra=self.front.masks(lengths, generator) if generator is not None else {},
        )

    def loss(self, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """Negative log-likelihood per label; beside it the share of frames in which the blank is likeliest.

        Source: connectionist temporal classification, Graves et al. 2006, section 4.
        """
        logits, frames = self.front.logits(batch)
        blank = self.labels.tokenizer.blank
        log_probs = logits.float().log_softmax(-1)  # (B, T, V)
        total = F.ctc_loss(
            log_probs.transpose(0, 1),
            batch.labels.clamp(min=0),
            frames,
            batch.label_lengths,
            blank,
            reduction="sum",
            zero_infinity=True,
        )
        with torch.no_grad():
            own = torch.arange(logits.shape[1], device=logits.device) < frames[:, None]
            blanks = ((logits.argmax(-1) == blank) & own).sum() / own.sum().clamp(min=1)
        return total / batch.n_units, {"blank_share": float(blanks)}

    @torch.no_grad()
    def transcribe(self, batch: Batch) -> list[str]:
        """The likeliest label of each frame, collapsed."""
        logits, frames = self.front.logits(batch)
        blank, texts = self.labels.tokenizer.blank, []
        for row, n_frames in zip(logits.argmax(-1).cpu(), frames.tolist(), strict=True):
            ids = [id for id in torch.unique_consecutive(row[:n_frames]).tolist() if id != blank]
            texts.append(" ".join(self.labels.tokenizer.decode(ids).split()))
        return texts

    def set_training(self, training: bool) -> None:
        """Change the mode of what is trained.

        Batch norms keep the checkpoint's statistics: those of a small batch are worse, and would differ with the number
        of processes.
        """
        self.model.eval()
        if not training:
            return
        if self.settings.freeze == "encoder":
            self.model.training = True  # of the head: its dropout
            return
        self.model.train()
        for module in self.model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.eval()

    def save(self, folder: Path) -> None:
        """Write config.json, float32 weights, the files of tokenizer and features, and a language model that stays."""
        family, tokenizer = self.start.family, self.labels.tokenizer
        raw = {key: value for key, value in self.start.raw.items() if key not in ("torch_dtype", "dtype")}
        size = len(cast(Tensor, getattr(self.model, self.start.head).weight))
        raw |= {"architectures": [ARCHITECTURES[family]], "vocab_size": size, "pad_token_id": tokenizer.blank}
        if family == "whisper_ctc":
            raw |= {"model_type": "whisper", "decoder_layers": 0, "tie_word_embeddings": True}
            # Of a decoder that is not here; their ids lie beyond this vocabulary.
            for key in ("bos_token_id", "eos_token_id", "decoder_start_token_id"):
                raw[key] = tokenizer.blank
            raw |= {"suppress_tokens": None, "begin_suppress_tokens": None, "forced_decoder_ids": None}
        write_checkpoint(folder, raw, tensors_to_save(self.model), torch.float32)
        self.labels.save(folder)
        settings = {**self.start.feature_settings, "processor_class": PROCESSORS.get(family, "Wav2Vec2Processor")}
        settings.setdefault("feature_extractor_type", _extractor_of(family))
        _write(folder / "preprocessor_config.json", settings)
        if self.settings.language_model and not self.labels.is_new:
            copy_language_model(self.start.folder, folder)

    def _freeze(self) -> None:
        family, freeze = self.start.family, self.settings.freeze
        if freeze == "encoder":
            self.model.requires_grad_(False)
            getattr(self.model, self.start.head).requires_grad_(True)
        elif freeze == "feature-encoder":
            default = (f"{getattr(self.model, 'prefix', '')}.feature_extractor",)
            for name in FRONT_ENDS.get(family, default):
                self.model.get_submodule(name).requires_grad_(False)


def frames_needed(labels: Sequence[int]) -> int:
    """Frames that hold these labels: one each, and a blank between two alike."""
    return len(labels) + sum(a == b for a, b in itertools.pairwise(labels))


def new_head(start: Start, tokenizer: Any, generator: torch.Generator) -> dict[str, Tensor]:
    """A head's weight and bias: what the checkpoint's head knows of a character is taken over."""
    shape = (tokenizer.vocab_size, start.width)
    weight = torch.empty(shape).normal_(0.0, 0.02, generator=generator)
    bias = torch.zeros(tokenizer.vocab_size)
    old = start.tokenizer if start.has_head else None
    if old is not None:
        stored = start.tensors[f"{start.head}.weight"].float().flatten(1)  # Parakeet's is a convolution of one tap
        known = {old.piece(id).casefold(): id for id in range(min(old.vocab_size, len(stored))) if old.piece(id)}
        pairs = [(tokenizer.blank, old.blank)]
        for id in range(tokenizer.vocab_size):
            at = known.get(tokenizer.piece(id).casefold())
            if at is not None and id != tokenizer.blank:
                pairs.append((id, at))
        for id, at in pairs:
            weight[id] = stored[at]
            bias[id] = start.tensors[f"{start.head}.bias"][at].float()
    if start.family == "parakeet_ctc":
        return {"weight": weight[..., None], "bias": bias}
    return {"weight": weight, "bias": bias}


def _add_mask(model: Any, start: Start, generator: torch.Generator) -> None:
    """Give the model what stands for a hidden frame, which recognition has no use for, if frames are ever hidden."""
    if not start.raw.get("mask_time_prob", 0.05) and not start.raw.get("mask_feature_prob", 0.0):
        return
    stored = [value for name, value in start.tensors.items() if name.endswith("masked_spec_embed")]
    width = model.config.hidden_size
    drawn = torch.empty(width).uniform_(generator=generator)
    model.base.masked_spec_embed = nn.Parameter(stored[0].float().clone() if stored else drawn)


def _extractor_of(family: str) -> str:
    names = {"parakeet_ctc": "ParakeetFeatureExtractor", "whisper_ctc": "WhisperFeatureExtractor"}
    return names.get(family, "Wav2Vec2FeatureExtractor")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
