"""Whole pipelines against transformers': the same folders in, the same dictionaries out.

Where transformers is not followed, on purpose: booleans as `return_timestamps` of CTC models; the caller's
dictionaries (theirs are emptied); a space at the end of a CTC text, which they strip from the text and keep among
the characters; Whisper's fallback, which is on here and switched off for these tests.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from auricle import pipeline
from auricle.errors import OptionError

transformers = pytest.importorskip("transformers")

RATE = 16000
# Frame numbers times 320 / 16000: the same product in another order of operations.
SECONDS_TOLERANCE = 1e-9
# Whisper's decoding as transformers has it without options: one temperature, no judgement of the text.
PLAIN = {
    "num_beams": 1,
    "max_new_tokens": 24,
    "temperature": 0.0,
    "compression_ratio_threshold": None,
    "logprob_threshold": None,
    "no_speech_threshold": None,
}
# transformers has None as its default and refuses it as a value.
SET = {name: value for name, value in PLAIN.items() if value is not None}


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades, so that a random model has something to tell apart."""
    generator = np.random.default_rng(seed)
    n_samples = round(seconds * RATE)
    swell = np.sin(np.arange(n_samples) * 2 * np.pi / (0.7 * RATE)) ** 2
    return (generator.standard_normal(n_samples) * swell * 0.3).astype(np.float32)


@pytest.fixture(scope="module")
def ctc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random wav2vec2 of the layer-norm form that writes words and no special tokens."""
    folder = tmp_path_factory.mktemp("ctc")
    pieces = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ETAOINSHRDLU'"]
    (folder / "vocab.json").write_text(json.dumps({piece: id for id, piece in enumerate(pieces)}))
    torch.manual_seed(3)
    config = transformers.Wav2Vec2Config(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        conv_dim=(16,) * 7, num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, pad_token_id=0,
        do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True,
    )  # fmt: skip
    model = transformers.Wav2Vec2ForCTC(config).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(30)
        model.lm_head.bias[1:4] = -1e4
        model.lm_head.bias[0] = 1.0
        model.lm_head.bias[4] = 2.0
    model.save_pretrained(folder)
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whisper_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random multilingual Whisper over single bytes."""
    folder = tmp_path_factory.mktemp("whisper")
    alphabet = {letter: id for id, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>",
             "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]  # fmt: skip
    backend.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    times = [f"<|{number * 0.02:.2f}|>" for number in range(1501)]
    backend.add_tokens([AddedToken(time, special=False, normalized=False) for time in times])
    backend.save(str(folder / "tokenizer.json"))
    ids = {name: backend.token_to_id(name) for name in names}
    end = names[0]
    settings = {"tokenizer_class": "WhisperTokenizer", "bos_token": end, "eos_token": end, "pad_token": end,
                "unk_token": end, "additional_special_tokens": names[1:], "add_prefix_space": False,
                "clean_up_tokenization_spaces": False}  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    _save_whisper(folder, ids, len(alphabet) + len(names) + len(times))
    return folder


def _save_whisper(folder: Path, ids: dict[str, int], n_tokens: int) -> None:
    # A seed whose last timestamp is the window's end: of a rest behind it, theirs writes more and ours nothing.
    torch.manual_seed(10)
    end, start = ids["<|endoftext|>"], ids["<|startoftranscript|>"]
    config = transformers.WhisperConfig(
        vocab_size=n_tokens, d_model=32, encoder_layers=2, encoder_attention_heads=2, decoder_layers=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=1500,
        max_target_positions=64, num_mel_bins=80, pad_token_id=end, bos_token_id=end, eos_token_id=end,
        decoder_start_token_id=start,
    )  # fmt: skip
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight.mul_(4)
    model.generation_config = transformers.GenerationConfig(
        max_length=64, bos_token_id=end, eos_token_id=end, pad_token_id=end, decoder_start_token_id=start,
        no_timestamps_token_id=ids["<|notimestamps|>"], prev_sot_token_id=ids["<|startofprev|>"],
        is_multilingual=True, max_initial_timestamp_index=50, lang_to_id={"<|en|>": ids["<|en|>"],
        "<|de|>": ids["<|de|>"]}, task_to_id={"transcribe": ids["<|transcribe|>"],
        "translate": ids["<|translate|>"]}, begin_suppress_tokens=[end],
        # Bytes above ASCII, most of which are no characters by themselves, and every special token.
        suppress_tokens=[*range(94, 256), *range(start, ids["<|notimestamps|>"] + 1)],
    )  # fmt: skip
    model.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)


def theirs(folder: Path) -> Any:
    return transformers.pipeline("automatic-speech-recognition", model=str(folder), device="cpu")


def assert_same(ours: dict[str, Any], reference: dict[str, Any]) -> None:
    assert ours["text"] == reference["text"]
    assert ours.keys() == reference.keys()
    expected = list(reference.get("chunks", []))
    if expected and expected[-1]["text"] == " ":
        del expected[-1]
    for one, other in zip(ours.get("chunks", []), expected, strict=True):
        assert one["text"] == other["text"]
        assert isinstance(one["timestamp"], tuple)
        assert one["timestamp"] == pytest.approx(other["timestamp"], abs=SECONDS_TOLERANCE)
        assert one.get("language") == other.get("language")


def test_ctc_text_words_and_characters_are_those_of_transformers(ctc_folder: Path) -> None:
    ours, reference = pipeline(model=ctc_folder, vad=False), theirs(ctc_folder)
    for seconds in (0.7, 2.0, 5.3):
        samples = noise(seconds)
        text = ours(samples)
        assert_same(text, reference(samples.copy()))
        assert text["text"].count(" ") >= 1, "the model is to write several words"
        for unit in ("word", "char"):
            assert_same(ours(samples, return_timestamps=unit), reference(samples.copy(), return_timestamps=unit))
            assert ours(samples, return_timestamps=unit)["text"] == text["text"]


def test_ctc_dictionary_inputs_and_their_extra_keys_are_those_of_transformers(ctc_folder: Path) -> None:
    given = {"raw": noise(1.5), "sampling_rate": RATE, "speaker": "s1"}
    assert pipeline(model=ctc_folder, vad=False)(given) == theirs(ctc_folder)(dict(given))


@pytest.mark.parametrize("batch_size", [1, 3])
def test_ctc_lists_and_generators_are_those_of_transformers(ctc_folder: Path, batch_size: int) -> None:
    recordings = [noise(seconds, seed) for seed, seconds in enumerate((1.0, 2.5, 0.6, 1.7))]
    reference = theirs(ctc_folder)([one.copy() for one in recordings])
    ours = pipeline(model=ctc_folder, batch_size=batch_size, vad=False)
    assert ours(recordings) == reference
    assert list(ours(iter(recordings))) == reference


def test_whisper_text_is_that_of_transformers(whisper_folder: Path) -> None:
    ours, reference = pipeline(model=whisper_folder), theirs(whisper_folder)
    # Timestamps, too, which a random model writes wherever it may.
    suppressed = [*range(94, 256), *range(257, 256 + 10 + 1501)]
    options = {"language": "en", "suppress_tokens": suppressed}
    for seconds in (1.0, 4.0):
        samples = noise(seconds)
        found = ours(samples, without_timestamps=True, **options, **PLAIN)
        assert found["text"].strip(), "the model is to write something"
        assert_same(found, reference(samples.copy(), generate_kwargs={**options, **SET}))


@pytest.mark.parametrize("own", [{"repetition_penalty": 9.0}, {"no_repeat_ngram_size": 2}])
def test_a_checkpoint_s_own_search_is_that_of_transformers(
    whisper_folder: Path, tmp_path: Path, own: dict[str, float]
) -> None:
    folder = shutil.copytree(whisper_folder, tmp_path / "whisper")
    path = folder / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **own}))
    samples = noise(4.0)
    options = {
        "language": "en",
        "task": "transcribe",
        "suppress_tokens": [*range(94, 256), *range(257, 256 + 10 + 1501)],
    }
    found = pipeline(model=folder)(samples, without_timestamps=True, **options, **PLAIN)
    assert_same(found, theirs(folder)(samples.copy(), generate_kwargs={**options, **SET}))
    (off,) = ({"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}[name] for name in own)
    said = dict.fromkeys(own, off)
    without = pipeline(model=whisper_folder)(samples, without_timestamps=True, **options, **PLAIN)
    assert pipeline(model=folder)(samples, without_timestamps=True, **said, **options, **PLAIN) == without != found


def test_a_prompt_as_tokens_is_that_of_transformers(whisper_folder: Path) -> None:
    ids = transformers.AutoTokenizer.from_pretrained(whisper_folder).get_prompt_ids(
        "tea and toast", return_tensors="pt"
    )
    samples = noise(4.0)
    options = {"language": "en", "suppress_tokens": [*range(94, 256), *range(257, 256 + 10 + 1501)]}
    ours = pipeline(model=whisper_folder)
    found = ours(samples, without_timestamps=True, prompt_ids=ids, **options, **PLAIN)
    assert found == ours(samples, without_timestamps=True, initial_prompt="tea and toast", **options, **PLAIN)
    assert found != ours(samples, without_timestamps=True, **options, **PLAIN)
    reference = theirs(whisper_folder)(samples.copy(), generate_kwargs={**options, **SET, "prompt_ids": ids})
    # The prompt stands in theirs, as in their documentation.
    assert reference["text"].strip().endswith(found["text"].strip())
    with pytest.raises(OptionError, match=r"prompt_ids has 300, which is no text of this checkpoint"):
        ours(samples, prompt_ids=[5, 300], **PLAIN)


def test_whisper_segments_and_languages_are_those_of_transformers(whisper_folder: Path) -> None:
    samples = noise(30.0)
    times = {"return_timestamps": True, "return_language": True}
    found = pipeline(model=whisper_folder)(samples, language="en", **times, **PLAIN)
    expected = theirs(whisper_folder)(samples.copy(), generate_kwargs={"language": "en", **SET}, **times)
    assert len(found["chunks"]) > 2
    assert_same(found, expected)


def test_whisper_text_does_not_depend_on_the_times_asked_for(whisper_folder: Path) -> None:
    listen = pipeline(model=whisper_folder, max_new_tokens=12)
    samples = noise(35.0)
    text = listen(samples)["text"]
    for times in (True, "segment", "word"):
        found = listen(samples, return_timestamps=times)
        assert found["text"] == text
        assert "".join(chunk["text"] for chunk in found["chunks"]) == text
