"""Whisper checkpoints with tokens of their own behind the timestamps: the text that transformers' decode gives.

Where transformers is not followed, on purpose: its rules and its pipeline take such a token for a timestamp later than
all others, so that it is not written and nothing but the end may follow it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from auricle import pipeline
from auricle.decoding import filters
from auricle.text import SubwordTokenizer
from auricle.text.tokenizer import BYTES

transformers = pytest.importorskip("transformers")
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor  # noqa: E402

pytestmark = pytest.mark.usefixtures("every_engine")

SPECIAL = (
    "<|endoftext|> <|startoftranscript|> <|en|> <|de|> <|translate|> <|transcribe|> <|startoflm|> <|startofprev|> "
    "<|nospeech|> <|notimestamps|>"
).split()
EOS, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, _, PREVIOUS, _, NO_TIMESTAMPS = range(256, 266)
STAMP = 266
LAUGH, CITY, NOISE = range(STAMP + 1501, STAMP + 1504)
VOCABULARY = NOISE + 1
GENERATION: dict[str, Any] = {
    "eos_token_id": EOS,
    "pad_token_id": EOS,
    "bos_token_id": EOS,
    "decoder_start_token_id": START,
    "prev_sot_token_id": PREVIOUS,
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN},
    "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
    "is_multilingual": True,
    "max_initial_timestamp_index": 50,
    "begin_suppress_tokens": [220, EOS],
    "alignment_heads": [[0, 1], [1, 0]],
    "max_length": 48,
}
# All that is no printable text: what is left are single bytes, and the added tokens.
UNPRINTABLE = [*range(94, 256), *range(START, NO_TIMESTAMPS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Whisper with a token per byte, resized for two words and a mark that is not written."""
    made = tmp_path_factory.mktemp("added")
    backend = Tokenizer(models.BPE(vocab={letter: id for id, letter in enumerate(BYTES)}, merges=[]))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL])
    backend.add_tokens([AddedToken(f"<|{n * 0.02:.2f}|>", normalized=False) for n in range(1501)])
    sizes = {
        "vocab_size": STAMP + 1501,
        "d_model": 32,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 64,
        "max_target_positions": 48,
        **{name: GENERATION[name] for name in ("eos_token_id", "bos_token_id", "pad_token_id")},
        "decoder_start_token_id": START,
    }
    torch.manual_seed(0)
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**sizes, suppress_tokens=None, begin_suppress_tokens=None)
    )
    # As fine-tuning scripts do it: tokens first, then as many embeddings as there are.
    backend.add_tokens([AddedToken("<laugh>", normalized=False), AddedToken("New York", normalized=False)])
    backend.add_special_tokens([AddedToken("<noise>", special=True, normalized=False)])
    theirs.resize_token_embeddings(VOCABULARY)
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "layer_norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.35)
        theirs.model.decoder.embed_tokens.weight[LAUGH:] *= 2  # so that they are said
    theirs.generation_config = transformers.GenerationConfig(**GENERATION)
    theirs.save_pretrained(made)
    names = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "<|endoftext|>")
    transformers.WhisperTokenizerFast(tokenizer_object=backend, **names).save_pretrained(made)
    backend.save(str(made / "tokenizer.json"))
    transformers.WhisperFeatureExtractor().save_pretrained(made)
    (made / "generation_config.json").write_text(json.dumps(GENERATION), encoding="utf-8")
    return made


def sound(seconds: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal(round(seconds * 16_000)).astype(np.float32) * 0.1


def test_added_tokens_are_written_as_transformers_writes_them(folder: Path) -> None:
    theirs = transformers.WhisperTokenizerFast.from_pretrained(folder)
    ours = SubwordTokenizer.from_folder(folder)
    ids = [START, ENGLISH, TRANSCRIBE, STAMP, 40, LAUGH, 41, CITY, NOISE, LAUGH, STAMP + 1500, EOS]
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
    assert "<laugh>" in ours.decode(ids)
    assert ours.decode_with_timestamps(ids).count("<|") == 2


@pytest.mark.parametrize("n_beams", [1, 3])
def test_a_window_with_added_tokens_has_the_text_that_transformers_generates(folder: Path, n_beams: int) -> None:
    listen = pipeline("automatic-speech-recognition", model=str(folder))
    model = transformers.WhisperForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = transformers.WhisperTokenizerFast.from_pretrained(folder)
    extract = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    banned = [*UNPRINTABLE, *range(STAMP, LAUGH)]
    texts = []
    for seed in range(3):
        values = extract(sound(4.0, seed), sampling_rate=16_000, return_tensors="pt").input_features
        found = model.generate(
            values, language="en", task="transcribe", suppress_tokens=banned, num_beams=n_beams, max_new_tokens=20
        )
        result = listen(
            sound(4.0, seed),
            language="en",
            without_timestamps=True,
            temperature=0.0,
            num_beams=n_beams,
            renormalize=False,
            early_stopping=False,
            suppress_tokens=banned,
            max_new_tokens=20,
            vad=False,
            compression_ratio_threshold=None,
            logprob_threshold=None,
            no_speech_threshold=None,
        )
        texts.append(result["text"])
        assert result["text"] == tokenizer.decode(found[0], skip_special_tokens=True)
    assert any("<laugh>" in text or "New York" in text for text in texts)


@pytest.mark.parametrize("times", [True, "word"])
def test_long_recordings_with_added_tokens_keep_them_as_text_between_true_times(folder: Path, times: Any) -> None:
    listen = pipeline("automatic-speech-recognition", model=str(folder))
    options = {"language": "en", "temperature": 0.0, "vad": False, "suppress_tokens": UNPRINTABLE}
    off = dict.fromkeys(("compression_ratio_threshold", "logprob_threshold", "no_speech_threshold"))
    plain = listen(sound(65.0, 7), **options, **off)
    timed = listen(sound(65.0, 7), return_timestamps=times, **options, **off)
    assert timed["text"] == plain["text"]
    assert "<laugh>" in plain["text"] or "New York" in plain["text"]
    assert "".join(chunk["text"] for chunk in timed["chunks"]) == plain["text"]
    starts = [chunk["timestamp"][0] for chunk in timed["chunks"]]
    assert starts == sorted(starts)
    assert all(start <= end <= 65.0 for start, end in (chunk["timestamp"] for chunk in timed["chunks"]))


@pytest.mark.parametrize("n_generated", [0, 1, 2, 5])
def test_rules_are_those_of_transformers_as_long_as_no_added_token_is_likely(n_generated: int) -> None:
    config = transformers.GenerationConfig(**GENERATION)
    reference = WhisperTimeStampLogitsProcessor(config, begin_index=3)
    rule = filters.timestamp_rules(STAMP, NO_TIMESTAMPS, EOS, 3, 50)
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        text = torch.randint(0, EOS, (8, 3 + n_generated), generator=generator)
        stamps = torch.randint(STAMP, LAUGH, text.shape, generator=generator)
        where = torch.rand(text.shape, generator=generator) < 0.5
        where[:, :3] = False
        logits = torch.randn(8, VOCABULARY, generator=generator) * 3
        logits[:, LAUGH:] = -40.0
        tokens = torch.where(where, stamps, text)
        ours, theirs = rule(tokens, logits), reference(tokens, logits)
        torch.testing.assert_close(ours[:, :LAUGH], theirs[:, :LAUGH], rtol=0, atol=0)
