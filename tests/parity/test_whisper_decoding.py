"""Search, filters and long recordings with a tiny random Whisper: the same ids as transformers'.

Where transformers is not followed, on purpose: its beams are compared with `renormalize=False` and, for
`early_stopping`, each of its three values; its long form starts a lone segment at the window's start and may end it
at its opening timestamp, where ours has the times it states.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle.audio.features import Features
from auricle.audio.waveform import WaveformFeatures
from auricle.decoding import filters
from auricle.decoding.alignment import token_onsets
from auricle.decoding.generate import GenerateOptions, generate
from auricle.engines import make_engine
from auricle.models.moonshine import Moonshine, MoonshineConfig
from auricle.models.whisper import Whisper, WhisperConfig
from auricle.speech.languages import LANGUAGES, language_code
from auricle.speech.seq2seq import Seq2SeqOptions, Seq2SeqRecognizer
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

transformers = pytest.importorskip("transformers")
from transformers import LogitsProcessorList  # noqa: E402
from transformers.generation.logits_process import (  # noqa: E402
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

pytestmark = pytest.mark.usefixtures("every_engine")

# A vocabulary of 90 text tokens, then what Whisper's has, then 1501 timestamps.
EOS, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE = 90, 91, 92, 93, 94, 95
START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = 96, 97, 98, 99
TIMESTAMP = 100
VOCABULARY = TIMESTAMP + 1501

# Sums of up to 40 float32 log-probabilities, in another order of operations.
SCORE_TOLERANCE = 1e-4


def generation_config(**changes: Any) -> dict[str, Any]:
    return {
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
        "begin_suppress_tokens": [3, EOS],
        # The blank and all special tokens: segments without text count as said in transformers' prompts only.
        "suppress_tokens": [0, 7, 8, *range(START, NO_TIMESTAMPS)],
        "alignment_heads": [[0, 1], [1, 0], [1, 3]],
        "max_length": 64,
        **changes,
    }


@pytest.fixture(scope="module")
def models() -> tuple[Any, Whisper]:
    """The same random weights in both libraries, sharp enough that ids vary and some rows end early."""
    sizes = {
        "vocab_size": VOCABULARY,
        "num_mel_bins": 80,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 64,
        "max_source_positions": 1500,
        "max_target_positions": 64,
        "decoder_start_token_id": START,
        "bos_token_id": EOS,
        "eos_token_id": EOS,
        "pad_token_id": EOS,
    }
    torch.manual_seed(0)
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(**sizes, suppress_tokens=None, begin_suppress_tokens=None)
    ).eval()
    with torch.no_grad():
        for name, weight in theirs.named_parameters():
            if "layer_norm" not in name and "encoder.embed_positions" not in name:
                weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))) * 0.35)
    theirs.generation_config = transformers.GenerationConfig(**generation_config())
    ours = Whisper(WhisperConfig(**sizes))
    ours.load_state_dict(theirs.state_dict(), strict=False)
    return theirs, ours


def mel(n_rows: int, seed: int = 0) -> Tensor:
    return torch.randn(n_rows, 80, 3000, generator=torch.Generator().manual_seed(seed)) * 0.5


def search(ours: Whisper, values: Tensor, prompt: Sequence[int], options: GenerateOptions, **more: Any) -> list[Any]:
    engine = make_engine(copy.deepcopy(ours))
    states, lengths = engine.encode(Features(values, torch.full((len(values),), 3000)))
    return generate(
        engine.decoder(states, lengths), torch.tensor([prompt] * len(values)), options, rules(len(prompt)), **more
    )


def rules(n_prompt: int) -> list[filters.Filter]:
    config = generation_config()
    return [
        filters.suppress(config["begin_suppress_tokens"], n_prompt),
        filters.suppress([*config["suppress_tokens"], NO_TIMESTAMPS]),
        filters.timestamp_rules(TIMESTAMP, NO_TIMESTAMPS, EOS, n_prompt, 50),
    ]


PROMPT = (START, ENGLISH, TRANSCRIBE)


def expected(theirs: Any, values: Tensor, **options: Any) -> list[tuple[int, ...]]:
    """What transformers' own search comes to, prompt and padding cut off."""
    found = theirs.generate(
        values,
        language="en",
        task="transcribe",
        return_timestamps=True,
        attention_mask=torch.ones(len(values), 3000, dtype=torch.long),
        force_unique_generate_call=True,
        **options,
    )
    rows = []
    for row in found.tolist():
        kept = row[len(PROMPT) :]
        rows.append(tuple(kept[: kept.index(EOS)] if EOS in kept else kept))
    return rows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"num_beams": 4, "early_stopping": True},
        {"num_beams": 4, "early_stopping": "never", "length_penalty": 0.5},
        {"num_beams": 2, "length_penalty": -1.0},
        {"num_beams": 3, "renormalize_logits": True},
        {"max_new_tokens": 9},
        {"num_beams": 3, "max_new_tokens": 9},
        {"repetition_penalty": 1.8},
        {"num_beams": 3, "repetition_penalty": 1.8},
        {"no_repeat_ngram_size": 2},
        {"num_beams": 3, "no_repeat_ngram_size": 2},
    ],
    ids=lambda options: "-".join(f"{name}={value}" for name, value in options.items()) or "greedy",
)
def test_search_finds_the_ids_that_transformers_finds(models: tuple[Any, Whisper], options: dict[str, Any]) -> None:
    theirs, ours = models
    values = mel(4)
    names = {"num_beams": "n_beams", "renormalize_logits": "renormalize"}
    found = search(
        ours, values, PROMPT, GenerateOptions(eos=EOS, **{names.get(key, key): options[key] for key in options})
    )
    assert [one.tokens for one in found] == expected(theirs, values, **options)


@pytest.mark.parametrize("length_penalty", [1.0, 0.3])
def test_beam_scores_are_those_of_transformers(models: tuple[Any, Whisper], length_penalty: float) -> None:
    theirs, ours = models
    values = mel(3, seed=2)
    found = search(ours, values, PROMPT, GenerateOptions(eos=EOS, n_beams=3, length_penalty=length_penalty))
    config = transformers.GenerationConfig(**generation_config(length_penalty=length_penalty, num_beams=3))
    config.update(return_dict_in_generate=True, output_scores=True, suppress_tokens=None, begin_suppress_tokens=None)
    settings = generation_config()
    processors = LogitsProcessorList(
        [
            SuppressTokensAtBeginLogitsProcessor(settings["begin_suppress_tokens"], len(PROMPT)),
            SuppressTokensLogitsProcessor(settings["suppress_tokens"]),
            WhisperTimeStampLogitsProcessor(config, begin_index=len(PROMPT)),
        ]
    )
    result = transformers.GenerationMixin.generate(
        theirs,
        values,
        generation_config=config,
        logits_processor=processors,
        decoder_input_ids=torch.tensor([PROMPT] * 3),
    )
    scores = [one.score for one in found]
    assert scores == pytest.approx(result.sequences_scores.tolist(), abs=SCORE_TOLERANCE)


def random_histories(n_rows: int, length: int, seed: int) -> Tensor:
    """Tokens as a decoder might have chosen them: text, and timestamps at every place."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(0, 90, (n_rows, length), generator=generator)
    stamps = torch.randint(TIMESTAMP, VOCABULARY, (n_rows, length), generator=generator)
    where = torch.rand(n_rows, length, generator=generator) < 0.5
    where[:, :3] = False
    return torch.where(where, stamps, tokens)


@pytest.mark.parametrize("n_generated", [0, 1, 2, 3, 8])
@pytest.mark.parametrize("latest", [50, 0, None])
def test_timestamp_rules_equal_transformers_processor(n_generated: int, latest: int | None) -> None:
    config = transformers.GenerationConfig(**generation_config(max_initial_timestamp_index=latest))
    reference = WhisperTimeStampLogitsProcessor(config, begin_index=3)
    rule = filters.timestamp_rules(TIMESTAMP, NO_TIMESTAMPS, EOS, 3, latest)
    for seed in range(20):
        tokens = random_histories(16, 3 + n_generated, seed)
        logits = torch.randn(16, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * 3
        torch.testing.assert_close(rule(tokens, logits), reference(tokens, logits), rtol=0, atol=0)


def test_the_other_filters_equal_transformers_processors() -> None:
    config = generation_config()
    pairs = [
        (filters.suppress([3, 9, 1000]), SuppressTokensLogitsProcessor([3, 9, 1000])),
        (
            filters.suppress(config["begin_suppress_tokens"], 6),
            SuppressTokensAtBeginLogitsProcessor(config["begin_suppress_tokens"], 6),
        ),
        (filters.repetition_penalty(1.7), RepetitionPenaltyLogitsProcessor(1.7)),
        *[(filters.no_repeat_ngram(size), NoRepeatNGramLogitsProcessor(size)) for size in (1, 2, 3)],
    ]
    for ours, reference in pairs:
        for seed, length in ((0, 6), (1, 7), (2, 40)):
            tokens = random_histories(5, length, seed) % 9  # few symbols, so that n-grams repeat
            logits = torch.randn(5, VOCABULARY, generator=torch.Generator().manual_seed(seed))
            torch.testing.assert_close(ours(tokens, logits), reference(tokens, logits), rtol=0, atol=0)


class Letters:
    """A tokenizer of one printable character per text token."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 32 for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id + 32) for id in ids if id < EOS)

    def special(self, token: str) -> int:
        raise AssertionError(f"generation_config.json has everything, {token} is not looked up")

    def has_special(self, token: str) -> bool:
        return False


class SlicedFeatures:
    """Windows cut from the features of the whole recording; a sample's value is its own position."""

    sample_rate = 16_000
    window_samples = 480_000

    def __init__(self, values: Tensor) -> None:
        self.values = values  # (R, M, F)
        self.starts: list[int] = []

    def __call__(self, waveforms: Sequence[np.ndarray]) -> Features:
        windows = []
        for waveform in waveforms:
            row, position = divmod(int(waveform[0]), 2_000_000)
            self.starts.append(position)
            first, n_frames = position // 160, len(waveform) // 160
            window = self.values[row, :, first : first + n_frames]
            windows.append(torch.nn.functional.pad(window, (0, 3000 - n_frames)))
        return Features(torch.stack(windows), torch.tensor([len(one) // 160 for one in waveforms]))


class Positions:
    """A recording whose samples are their own positions, and the recording's number."""

    def __init__(self, row: int, n_samples: int) -> None:
        self.row, self.n_samples = row, n_samples

    def blocks(self) -> Iterator[np.ndarray]:
        # float32 counts exactly to 16.7 million.
        for begin in range(0, self.n_samples, 50_000):
            end = min(begin + 50_000, self.n_samples)
            yield np.arange(begin, end, dtype=np.float32) + self.row * 2_000_000


N_FRAMES = 7000  # 70 s


@pytest.mark.parametrize("conditioned", [False, True])
def test_long_form_follows_transformers_through_70_seconds(models: tuple[Any, Whisper], conditioned: bool) -> None:
    theirs, ours = models
    values = torch.randn(2, 80, N_FRAMES, generator=torch.Generator().manual_seed(4)) * 0.5
    options = WhisperOptions(
        language="en",
        temperature=0.0,
        compression_ratio_threshold=None,
        logprob_threshold=None,
        no_speech_threshold=None,
        condition_on_previous_text=conditioned,
        vad=False,
        suppress_tokens=tuple(generation_config()["suppress_tokens"]),
    )
    config = ours.config
    for row in range(2):
        reference = theirs.generate(
            values[row : row + 1],
            attention_mask=torch.ones(1, N_FRAMES, dtype=torch.long),
            language="en",
            task="transcribe",
            return_timestamps=True,
            return_segments=True,
            temperature=0.0,
            condition_on_prev_tokens=conditioned,
        )["segments"][0]
        recognizer = WhisperRecognizer(
            make_engine(copy.deepcopy(ours)), SlicedFeatures(values), Letters(), config, generation_config()
        )
        [found] = recognizer.transcribe([Positions(row, N_FRAMES * 160)], options)
        wanted = [Letters().decode(segment["tokens"].tolist()) for segment in reference]
        assert [segment.text for segment in found.segments] == wanted
        # Theirs may lie behind the recording's end, ours are held to it.
        limit = N_FRAMES / 100
        for segment, other in zip(found.segments, reference, strict=True):
            assert segment.start == pytest.approx(min(float(other["start"]), limit))
            assert segment.end == pytest.approx(min(float(other["end"]), limit))


def test_token_onsets_equal_transformers_alignment() -> None:
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping, _median_filter

    generator = torch.Generator().manual_seed(9)
    weights = (torch.randn(1, 6, 25, 300, generator=generator, dtype=torch.float64) * 3).softmax(-1)
    normal = (weights - weights.mean(-2, keepdim=True)) / weights.std(-2, keepdim=True, unbiased=False)
    matrix = _median_filter(normal, 7).mean(1)[0]
    tokens, frames = _dynamic_time_warping(-matrix.numpy())
    onsets = frames[np.pad(np.diff(tokens), (1, 0), constant_values=1).astype(bool)]
    assert token_onsets(weights[0].numpy()).tolist() == onsets.tolist()


def test_languages_and_aliases_are_those_of_transformers() -> None:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES as THEIRS
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    assert list(LANGUAGES.items()) == list(THEIRS.items())
    assert all(language_code(name, LANGUAGES) == code for name, code in TO_LANGUAGE_CODE.items())


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}], ids=["greedy", "beams"])
def test_moonshine_writes_the_ids_that_transformers_does(options: dict[str, Any]) -> None:
    torch.manual_seed(1)
    sizes = {
        "vocab_size": 120,
        "hidden_size": 32,
        "intermediate_size": 48,
        "encoder_num_hidden_layers": 2,
        "decoder_num_hidden_layers": 2,
        "encoder_num_attention_heads": 4,
        "decoder_num_attention_heads": 4,
        "max_position_embeddings": 194,
    }
    theirs = transformers.MoonshineForConditionalGeneration(transformers.MoonshineConfig(**sizes)).eval()
    with torch.no_grad():
        for weight in theirs.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3)
    ours = Moonshine(MoonshineConfig(**sizes))
    ours.load_state_dict(theirs.state_dict(), strict=False)
    samples = np.random.default_rng(0).normal(size=48_000).astype(np.float32) * 0.1
    features = WaveformFeatures.from_config({"do_normalize": False})
    recognizer = Seq2SeqRecognizer(make_engine(copy.deepcopy(ours)), features, Letters(), ours.config, {})
    found = recognizer.transcribe(
        [Waveform(samples)],
        Seq2SeqOptions(vad=False, n_beams=options.get("num_beams", 1), compression_ratio_threshold=None),
    )[0]
    # 3 s of sound may have 20 tokens at 6.5 a second.
    reference = theirs.generate(torch.from_numpy(samples)[None], max_new_tokens=20, **options)[0].tolist()[1:]
    wanted = reference[: reference.index(2)] if 2 in reference else reference
    assert len(wanted) > 3
    assert list(found.segments[0].tokens) == wanted


class Waveform:
    """A recording of one block."""

    def __init__(self, samples: np.ndarray) -> None:
        self.samples = samples

    def blocks(self) -> Iterator[np.ndarray]:
        yield self.samples


@pytest.mark.parametrize("n_beams", [1, 2])
def test_a_real_decoder_comes_to_the_same_text_in_a_batch_and_whatever_times_are_asked_for(
    models: tuple[Any, Whisper], n_beams: int
) -> None:
    _, ours = models
    values = torch.randn(3, 80, N_FRAMES, generator=torch.Generator().manual_seed(8)) * 0.5
    sounds = [Positions(0, N_FRAMES * 160), Positions(1, 12 * 16_000), Positions(2, 31 * 16_000)]
    recognizer = WhisperRecognizer(
        make_engine(copy.deepcopy(ours)), SlicedFeatures(values), Letters(), ours.config, generation_config()
    )
    # A random decoder is never sure, so that every window goes through every temperature.
    options = WhisperOptions(temperature=(0.0, 0.6), best_of=2, n_beams=n_beams, max_new_tokens=20, vad=False)
    together = recognizer.transcribe(sounds, options)
    for times in ("segment", "word"):
        alone = [recognizer.transcribe([one], replace(options, return_timestamps=times))[0] for one in sounds]
        assert [one.text for one in alone] == [one.text for one in together]
        assert [one.language for one in alone] == [one.language for one in together]
    assert all(one.text for one in together)
    for transcript in alone:
        times = [(word.start, word.end) for word in transcript.words]
        assert times
        assert all(0.0 <= start <= end <= transcript.duration for start, end in times)
        assert all(before[1] <= after[0] for before, after in pairwise(times))
