"""From manifests to packs of encoded windows: which clips teach a Whisper decoder and which only score it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from auricle.errors import OptionError
from auricle.models.whisper import WhisperConfig
from auricle.training.whisper_clips import Clip, make_clips, read_clips, tested_forms, wanted_rows
from auricle.training.whisper_states import draw_plans, load_encoder, write_pack
from auricle.training.whisper_windows import Mixture, Part, Plan

CORPORA = (
    "librispeech_train_clean_100_4spk",
    "mini_librispeech_train_clean_5",
    "ljspeech_LJ001_LJ002",
    "kathleen_arctic",
)
# Her clips have given word times: what scores text and times is never trained on.
HELD_OUT_SPEAKER = "ls-5652"
SCORED_CORPUS = "librispeech_test_clean"
N_SCORED = 50
SPEEDS = (0.9, 1.0, 1.0, 1.1)

CONFIG = WhisperConfig(
    d_model=512,
    encoder_layers=6,
    encoder_attention_heads=8,
    encoder_ffn_dim=2048,
    decoder_layers=3,
    decoder_attention_heads=8,
    decoder_ffn_dim=2048,
    decoder_start_token_id=50258,
    bos_token_id=50257,
    eos_token_id=50257,
    pad_token_id=50257,
)


def prepare_clips(speech: Path, synthetic: Path | None, out: Path) -> None:
    """Write clips with word times: speech.jsonl, scored.jsonl and, where its corpus is given, synthetic.jsonl."""
    torch.set_num_threads(1)
    manifest = speech / "manifest.jsonl"
    if not (out / "speech.jsonl").exists():
        make_clips(wanted_rows(manifest, CORPORA, frozenset()), speech, out / "speech.jsonl")
    if not (out / "scored.jsonl").exists():
        rows = list(wanted_rows(manifest, [SCORED_CORPUS], frozenset(), "test"))
        chosen = sorted(np.random.default_rng(0).permutation(len(rows))[:N_SCORED].tolist())
        make_clips([rows[index] for index in chosen], speech, out / "scored.jsonl")
    if synthetic is not None and not (out / "synthetic.jsonl").exists():
        rows_read = wanted_rows(synthetic / "manifest.jsonl", ["synthetic"], tested_forms(manifest))
        make_clips(rows_read, synthetic, out / "synthetic.jsonl")


def scored_plans(clips: Sequence[Clip], seed: int = 0) -> list[Plan]:
    """Windows of one clip each, drawn from `clips`."""
    rng = np.random.default_rng(seed)
    chosen = [clips[index] for index in sorted(rng.permutation(len(clips))[:N_SCORED].tolist())]
    return [Plan((Part(clip, 0.0, clip.duration, 0.0),), (), clip.duration) for clip in chosen]


def prepare_pack(out: Path, name: str, speech: Path, encoder: Path, config: WhisperConfig = CONFIG) -> None:
    """Encode the pack called `name` of the clips in `out`; goes on where an earlier call was stopped.

    The name says what is in it: "held-out" and "held-out-test" single clips of the held-out speaker and of the
    scored corpus; "synthetic-N" and "speech-N" one pass over those clips, speech-0 as it is, later ones at changed
    speeds.
    """
    torch.set_num_threads(1)
    plans, mixture = _pack(out, name)
    write_pack(out / "packs" / name, plans, load_encoder(encoder, config), mixture, speech, zlib.crc32(name.encode()))


def _pack(out: Path, name: str) -> tuple[list[Plan], Mixture]:
    if name == "held-out-test":
        return scored_plans(read_clips(out / "scored.jsonl")), Mixture(disturbed=0.0)
    if name == "held-out":
        clips = [clip for clip in read_clips(out / "speech.jsonl") if clip.speaker == HELD_OUT_SPEAKER]
        return scored_plans(clips), Mixture(disturbed=0.0)
    kind, _, number = name.rpartition("-")
    if kind not in ("speech", "synthetic") or not number.isdigit():
        raise OptionError(f"pack {name!r}; expected held-out, held-out-test, speech-N or synthetic-N")
    mixture = Mixture(speeds=SPEEDS if kind == "speech" and int(number) else (1.0,))
    taught = [clip for clip in read_clips(out / f"{kind}.jsonl") if clip.speaker != HELD_OUT_SPEAKER]
    return draw_plans(taught, mixture, seed=int(number) + 1), mixture
