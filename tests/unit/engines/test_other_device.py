"""Models and pipelines on a device that is not the CPU: nothing is mixed, and results are those of the CPU."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from other_device import DEVICE, elsewhere

from auricle import pipeline
from auricle.audio.features import Features
from auricle.audio.whisper_mel import WhisperFeatures
from auricle.engines import make_engine
from auricle.engines.diarization import make_networks
from auricle.models.moonshine import Moonshine
from auricle.models.parakeet import ParakeetCTC
from auricle.models.pyannet import PyanNet
from auricle.models.wav2vec2 import Wav2Vec2CTC
from auricle.models.wespeaker import WeSpeakerResNet
from auricle.models.whisper import Whisper
from auricle.speech.whisper import WhisperOptions, WhisperRecognizer

SAMPLES = Path(__file__).parents[3] / "samples"
ENGINES = ("reference", "cuda")
RATE = 16_000
EOS, START, ENGLISH, GERMAN, TRANSLATE, TRANSCRIBE, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(90, 99)
GENERATION = {
    "eos_token_id": EOS,
    "decoder_start_token_id": START,
    "prev_sot_token_id": PREVIOUS,
    "no_timestamps_token_id": NO_TIMESTAMPS,
    "lang_to_id": {"<|en|>": ENGLISH, "<|de|>": GERMAN},
    "task_to_id": {"translate": TRANSLATE, "transcribe": TRANSCRIBE},
    "is_multilingual": True,
    "begin_suppress_tokens": [0, EOS],
    "suppress_tokens": [],
    "alignment_heads": [[0, 1], [1, 0], [1, 3]],
}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with elsewhere(monkeypatch) as name:
        yield name


def test_the_device_refuses_what_a_gpu_refuses(there: str) -> None:
    x, y = torch.ones(2, 3, device=there), torch.ones(2, 3)
    assert x.device == DEVICE
    assert (x + y.to(there)).cpu().tolist() == [[2.0] * 3] * 2
    assert (x * 2).device == (x * torch.tensor(2.0)).device == DEVICE
    x[:, 1:] += 1
    assert x.tolist() == [[1.0, 2.0, 2.0]] * 2
    with pytest.raises(RuntimeError, match="of the CPU"):
        x + y
    with pytest.raises(TypeError):
        x.numpy()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("family", "shape"), [(Wav2Vec2CTC, (2, 4000)), (ParakeetCTC, (2, 200, 80))])
def test_ctc(there: str, family: Any, shape: tuple[int, ...], engine: str) -> None:
    torch.manual_seed(0)
    features = Features(torch.randn(*shape), torch.tensor([shape[1], shape[1] // 2]))
    made = family.tiny()
    model = made if isinstance(made, torch.nn.Module) else family(made)
    here, lengths = make_engine(model, name="reference").ctc(features)
    found, frames = make_engine(model, name=engine, device=there).ctc(features)
    assert found.device.type == "cpu"
    assert frames.tolist() == lengths.tolist()
    torch.testing.assert_close(found, here)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("family", [Whisper, Moonshine])
def test_decoders(there: str, family: Any, engine: str) -> None:
    torch.manual_seed(0)
    if family is Whisper:
        model: Any = Whisper(Whisper.tiny(max_source_positions=50))
        features = Features(torch.randn(3, 80, 100), torch.tensor([100, 60, 80]))
    else:
        model, features = Moonshine(Moonshine.tiny()), Features(torch.randn(3, 9000), torch.tensor([9000, 5000, 7000]))
    prompt, token = torch.randint(0, 90, (3, 4)), torch.randint(0, 90, (3, 1))
    found = []
    for made in (make_engine(copy.deepcopy(model), name="reference"), make_engine(model, name=engine, device=there)):
        states, lengths = made.encode(features)
        step = made.decoder(states, lengths)
        logits = [step.advance(prompt, 4), step.advance(token)]
        step.reorder(torch.tensor([0, 0, 2]))
        found.append([*logits, step.advance(token), step.hidden])
    for ours, theirs in zip(found[1], found[0], strict=True):
        assert ours.device == DEVICE
        torch.testing.assert_close(ours.cpu(), theirs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": False},
        {"do_sample": True, "temperature": 0.9, "top_p": 0.9, "min_p": 0.01, "seed": 3},
        {"do_sample": False, "num_beams": 3},
        {"do_sample": False, "penalty_alpha": 0.6, "top_k": 4},
        {"do_sample": False, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2},
        {"do_sample": False, "logprobs": 2, "prompt_logprobs": True},
    ],
)
def test_writing(there: str, text_checkpoint: Path, options: dict[str, Any], engine: str) -> None:
    texts = ["the quick brown", "fox"]
    given: dict[str, Any] = {"model": str(text_checkpoint), "dtype": "float32"}
    expected: Any = pipeline("text-generation", engine="reference", device="cpu", **given)
    write: Any = pipeline("text-generation", engine=engine, device=there, **given)
    assert str(write.device).startswith(there)
    found, wanted = (one(texts, max_new_tokens=8, **options) for one in (write, expected))
    assert [one[0]["generated_text"] for one in found] == [one[0]["generated_text"] for one in wanted]
    pieces = ["".join(one.stream("the lazy", max_new_tokens=5, **options)) for one in (write, expected)]
    assert pieces[0] == pieces[1]


@pytest.mark.parametrize("kind", ["vit", "vilt", "blip"])
def test_seeing(there: str, image_checkpoints: dict[str, Path], picture: Path, kind: str) -> None:
    task = "image-classification" if kind == "vit" else "visual-question-answering"
    asked = ({"image": str(picture), "question": "how many cats?"},) if kind != "vit" else (str(picture),)
    model = str(image_checkpoints[kind])
    expected: Any = pipeline(task, model=model, engine="reference", device="cpu")(*asked)
    found: Any = pipeline(task, model=model, device=there)(*asked)
    said = [[one.get("label", one.get("answer")) for one in answers] for answers in (found, expected)]
    assert said[0] == said[1]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [{"lm": False}, {"return_timestamps": "word", "hotwords": ["country"]}])
def test_hearing_with_the_bundled_model(there: str, options: dict[str, Any], engine: str) -> None:
    expected: Any = pipeline("automatic-speech-recognition", model="bundled", engine="reference", device="cpu")
    hear: Any = pipeline("automatic-speech-recognition", model="bundled", engine=engine, device=there, dtype="float32")
    recording = str(SAMPLES / "jfk.flac")
    assert hear(recording, **options)["text"] == expected(recording, **options)["text"]


class Letters:
    """One printable character per text token."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) - 32 for letter in text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(chr(id + 32) for id in ids if id < EOS)

    def special(self, token: str) -> int:
        raise AssertionError(f"the generation config has everything, {token} is not looked up")

    def has_special(self, token: str) -> bool:
        return False


class Noise:
    """40 s of noise, with quiet stretches."""

    n_samples = 40 * RATE

    def blocks(self) -> Iterator[np.ndarray]:
        loudness = np.repeat(np.random.default_rng(1).random(40), RATE)
        yield np.random.default_rng(0).normal(0, 0.1, self.n_samples) * loudness


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    "changes",
    [
        {"return_timestamps": "word", "language": None},
        {"n_beams": 2, "hotwords": ("Ohm",), "initial_prompt": "Hi"},
        {"schedule": "batched", "temperature": (0.0, 0.6), "best_of": 2, "logprob_threshold": -0.1},
        {"penalty_alpha": 0.5, "top_k": 3},
    ],
)
def test_whisper(there: str, changes: dict[str, Any], engine: str) -> None:
    config = Whisper.tiny(vocab_size=NO_TIMESTAMPS + 1 + 1501, max_source_positions=1500, max_target_positions=64)
    torch.manual_seed(0)
    model = Whisper(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "norm" not in name and "encoder.embed_positions" not in name:
                weight.normal_(std=0.3)
        model.model.decoder.embed_tokens.weight[NO_TIMESTAMPS:] *= 0.4  # more text than timestamps
    given = {"language": "en", "temperature": 0.0, "max_new_tokens": 10, "vad": False, **changes}
    found = []
    for made in (make_engine(copy.deepcopy(model), name="reference"), make_engine(model, name=engine, device=there)):
        features: Any = WhisperFeatures(config.num_mel_bins)
        recognizer = WhisperRecognizer(made, features, Letters(), config, GENERATION)
        (transcript,) = recognizer.transcribe([Noise()], WhisperOptions(**given))
        words = [(one.text, one.start, one.end) for one in transcript.words]
        found.append((transcript.text, [(one.start, one.end) for one in transcript.segments], words))
    assert found[0][0]
    assert found[0] == found[1]


def test_who_speaks_when(there: str) -> None:
    torch.manual_seed(0)
    segmentation, embedding = PyanNet(PyanNet.tiny()), WeSpeakerResNet(WeSpeakerResNet.tiny())
    plain = make_networks(copy.deepcopy(segmentation), copy.deepcopy(embedding), "reference")
    placed = make_networks(segmentation.to(there), embedding.to(there))
    stretch = torch.randn(48000)
    found, expected = placed.segment(stretch, [0, 3200]), plain.segment(stretch, [0, 3200])
    torch.testing.assert_close(found, expected)
    weights = (torch.rand(2, 3, found.shape[1]) > 0.5).float()
    torch.testing.assert_close(placed.embed(stretch, [0, 3200], weights), plain.embed(stretch, [0, 3200], weights))
    torch.testing.assert_close(placed.voice(stretch, weights[0, 0]), plain.voice(stretch, weights[0, 0]))
