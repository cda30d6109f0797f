"""A tiny Whisper checkpoint with windows of 2 s, and spoken clips for it, in the true formats."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from whisper_toy import CONFIG, write_tokenizer

from auricle.audio.decode import load_audio
from auricle.checkpoints.tensors import write_checkpoint
from auricle.corpora.utterance import Utterance
from auricle.models.whisper import Whisper

SAMPLES = Path(__file__).parents[3] / "samples"
SMALL = replace(CONFIG, max_source_positions=100, max_target_positions=120, decoder_layers=2)
WORDS = ("and so", "my fellow", "ask not", "what your", "country", "can do", "for you", "ask what")


def write_whisper_folder(folder: Path, *, seconds: int = 2, width: int = 32) -> Path:
    """A random model of windows of 2 s."""
    write_tokenizer(folder)
    config = replace(
        SMALL, max_source_positions=50 * seconds, d_model=width, encoder_ffn_dim=2 * width, decoder_ffn_dim=2 * width
    )
    torch.manual_seed(5)
    model = Whisper(config)
    # As trained ones: embeddings of order one would make the first logits so, times the width.
    model.model.decoder.embed_tokens.weight.data.mul_(0.05)
    model.model.decoder.embed_positions.weight.data.mul_(0.05)
    tensors = {name: value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    raw = {"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper", **asdict(config)}
    raw |= {"forced_decoder_ids": [[1, config.decoder_start_token_id + 1]]}
    write_checkpoint(folder, raw, tensors)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings |= {"chunk_length": seconds, "hop_length": 160, "n_fft": 400}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder


def clips(n: int = 8, language: str | None = "en") -> list[Utterance]:
    """Stretches of about a second of a speech, each with its own text; times of words are made up, and exact."""
    rate = 16000
    speech = load_audio(SAMPLES / "jfk.flac", rate)
    found = []
    for place in range(n):
        seconds = 0.7 + 0.1 * (place % 4)
        first = round((0.3 + 1.2 * place) * rate)
        samples = speech[first : first + round(seconds * rate)]
        text = WORDS[place % len(WORDS)]
        first_s, last_s = 0.06 + 0.04 * (place % 5), seconds - 0.1
        times = [[first_s, 0.4], [0.4, last_s]] if " " in text else [[first_s, last_s]]
        audio = {"array": samples, "sampling_rate": rate}
        found.append(Utterance(f"clip{place}", audio, text, language=language, extra={"word_times": times}))
    return found
