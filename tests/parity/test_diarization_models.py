"""PyanNet and WeSpeaker against their papers' formulas written out in NumPy, and against pyannote.audio where it is.

Random weights, norms and biases too, at three depths each: front end, recurrent states, log-probabilities; energies,
stages, vectors.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from auricle.models.pyannet import LinearConfig, LSTMConfig, PyanNet, PyanNetConfig, SincNetConfig, powerset
from auricle.models.wespeaker import WeSpeakerConfig, WeSpeakerResNet

# float32 in another order, over norms that divide by deviations.
TOLERANCE = 2e-4
VARIANTS = {
    "tiny": PyanNet.tiny(),
    "one direction, no linear layers": PyanNet.tiny(
        lstm=LSTMConfig(hidden_size=5, num_layers=3, bidirectional=False), linear=LinearConfig(num_layers=0)
    ),
    "other sizes": PyanNet.tiny(
        sincnet=SincNetConfig(
            n_filters=6, kernel_size=31, stride=7, channels=(4, 5, 6), conv_kernel_size=3, pool_size=2
        ),
        max_speakers_per_chunk=4,
        max_speakers_per_frame=3,
    ),
}


def randomised(model: nn.Module, seed: int = 0) -> Any:
    """Draw every number of a model, norms and biases too."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif name.endswith("_hz_"):
            value.mul_(1 + 0.1 * noise)
        elif value.dim() > 1:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(value + 0.2 * noise)
    return model.eval()


def numbers(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: value.double().numpy() for name, value in model.state_dict().items()}


def instance_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * weight[:, None] + bias[:, None]


def leaky(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, 0.01 * x)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def convolved(x: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2], 1)[:, ::stride]
    return np.einsum("ctk,ock->ot", windows, weight)


def sinc_filters(low_hz: np.ndarray, band_hz: np.ndarray, config: SincNetConfig) -> np.ndarray:
    """Ideal band-pass filters in time, even and odd, windowed: each is an integral of cosines or sines of its band."""
    half = config.kernel_size // 2
    times = np.arange(-half, half + 1) / config.sample_rate
    window = np.hamming(config.kernel_size)
    window[half] = 1.0
    made = []
    for kind in ("even", "odd"):
        for low, band in zip(low_hz[:, 0], band_hz[:, 0], strict=True):
            start = config.min_low_hz + abs(low)
            end = min(start + config.min_band_hz + abs(band), config.sample_rate / 2)
            angles = 2 * np.pi * times
            with np.errstate(invalid="ignore"):
                if kind == "even":
                    shape = (np.sin(end * angles) - np.sin(start * angles)) / (angles / 2)
                    shape[half] = 2 * (end - start)
                else:
                    shape = (np.cos(start * angles) - np.cos(end * angles)) / (angles / 2)
                    shape[half] = 0.0
            made.append(shape * window / (2 * (end - start)))
    return np.array(made)[:, None]


def front_end(x: np.ndarray, config: SincNetConfig, w: dict[str, np.ndarray]) -> np.ndarray:
    y = instance_norm(x[None], w["sincnet.wav_norm1d.weight"], w["sincnet.wav_norm1d.bias"])
    filters = sinc_filters(w["sincnet.conv1d.0.low_hz_"], w["sincnet.conv1d.0.band_hz_"], config)
    y = np.abs(convolved(y, filters, config.stride))
    for place in range(len(config.channels) + 1):
        if place:
            y = convolved(y, w[f"sincnet.conv1d.{place}.weight"], 1) + w[f"sincnet.conv1d.{place}.bias"][:, None]
        n_frames = y.shape[1] // config.pool_size
        y = y[:, : n_frames * config.pool_size].reshape(len(y), n_frames, config.pool_size).max(2)
        y = leaky(instance_norm(y, w[f"sincnet.norm1d.{place}.weight"], w[f"sincnet.norm1d.{place}.bias"]))
    return y.T


def recurrent(x: np.ndarray, config: LSTMConfig, w: dict[str, np.ndarray]) -> np.ndarray:
    for layer in range(config.num_layers):
        directions = []
        for suffix in ("", "_reverse")[: 2 if config.bidirectional else 1]:
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            w_ih, w_hh, b_ih, b_hh = (w[f"lstm.{name}_l{layer}{suffix}"] for name in names)
            hidden, cell, outputs = np.zeros(config.hidden_size), np.zeros(config.hidden_size), []
            for frame in x[::-1] if suffix else x:
                i, f, g, o = np.split(w_ih @ frame + b_ih + w_hh @ hidden + b_hh, 4)
                cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
                hidden = sigmoid(o) * np.tanh(cell)
                outputs.append(hidden)
            directions.append(np.array(outputs[::-1] if suffix else outputs))
        x = np.concatenate(directions, 1)
    return x


def log_probs(x: np.ndarray, config: LinearConfig, w: dict[str, np.ndarray]) -> np.ndarray:
    for layer in range(config.num_layers):
        x = leaky(x @ w[f"linear.{layer}.weight"].T + w[f"linear.{layer}.bias"])
    x = x @ w["classifier.weight"].T + w["classifier.bias"]
    return x - np.log(np.exp(x).sum(1, keepdims=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_segmentation_is_that_of_the_formulas(variant: str) -> None:
    config = VARIANTS[variant]
    model = randomised(PyanNet(config))
    w = numbers(model)
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1)) * 0.1
    with torch.inference_mode():
        states = model.states(waveform)
        hidden, _ = model.lstm(states)
        found = model(waveform)
    heard = front_end(waveform[0].double().numpy(), config.sincnet, w)
    assert heard.shape[0] == config.n_frames(8000)
    assert np.allclose(states[0], heard, atol=TOLERANCE)
    after = recurrent(heard, config.lstm, w)
    assert np.allclose(hidden[0], after, atol=TOLERANCE)
    assert np.allclose(found[0], log_probs(after, config.linear, w), atol=TOLERANCE)


def test_published_sizes_have_589_frames_and_7_sets() -> None:
    config = PyanNetConfig()
    assert config.n_frames(config.chunk_samples) == 589
    assert config.frame_samples == (991, 270)
    assert PyanNet(config).classifier.out_features == 7
    assert round(sum(value.numel() for value in PyanNet(config).parameters()) / 1e6, 1) == 1.5  # million, its card says


def test_sets_go_from_none_to_pairs() -> None:
    members = [tuple(np.flatnonzero(row)) for row in powerset(3, 2).numpy()]
    assert members == [(), (0,), (1,), (2,), (0, 1), (0, 2), (1, 2)]


def energies(x: np.ndarray, config: WeSpeakerConfig) -> np.ndarray:
    """Kaldi's features, a frame at a time."""
    width, hop, n_fft = config.window_samples, config.hop_samples, 512

    def mel(hertz: float) -> float:
        return 1127.0 * np.log(1 + hertz / 700)

    edges = np.linspace(mel(20.0), mel(config.sample_rate / 2), config.num_mel_bins + 2)
    rows = []
    for start in range(0, len(x) - width + 1, hop):
        frame = x[start : start + width] * 32768.0
        frame = frame - frame.mean()
        frame = np.concatenate([[frame[0] * 0.03], frame[1:] - 0.97 * frame[:-1]])
        frame = frame * (0.54 - 0.46 * np.cos(2 * np.pi * np.arange(width) / (width - 1)))
        power = np.abs(np.fft.rfft(frame, n_fft)) ** 2
        row = []
        for left, centre, right in zip(edges, edges[1:], edges[2:], strict=False):
            total = 0.0
            for place in range(n_fft // 2):
                m = mel(place * config.sample_rate / n_fft)
                if left < m < right:
                    total += power[place] * (
                        (m - left) / (centre - left) if m <= centre else (right - m) / (right - centre)
                    )
            row.append(np.log(max(total, np.finfo(np.float32).eps)))
        rows.append(row)
    return np.array(rows)


def seen(x: np.ndarray, w: dict[str, np.ndarray], conv: str, norm: str, stride: int) -> np.ndarray:
    """A convolution of an image (C, Y, X) and its norm with the numbers of training."""
    weight = w[f"{conv}.weight"]
    pad = weight.shape[2] // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], (1, 2))[:, ::stride, ::stride]
    y = np.einsum("cyxij,ocij->oyx", windows, weight)
    scale = w[f"{norm}.weight"] / np.sqrt(w[f"{norm}.running_var"] + 1e-5)
    return (y - w[f"{norm}.running_mean"][:, None, None]) * scale[:, None, None] + w[f"{norm}.bias"][:, None, None]


def stages(x: np.ndarray, config: WeSpeakerConfig, w: dict[str, np.ndarray]) -> list[np.ndarray]:
    y = np.maximum(seen(x.T[None], w, "resnet.conv1", "resnet.bn1", 1), 0)
    found = []
    for stage, depth in enumerate(config.depths):
        for block in range(depth):
            name, stride = f"resnet.layer{stage + 1}.{block}", 2 if stage and not block else 1
            straight = y
            if f"{name}.shortcut.0.weight" in w:
                straight = seen(y, w, f"{name}.shortcut.0", f"{name}.shortcut.1", stride)
            y = np.maximum(seen(y, w, f"{name}.conv1", f"{name}.bn1", stride), 0)
            y = np.maximum(seen(y, w, f"{name}.conv2", f"{name}.bn2", 1) + straight, 0)
        found.append(y)
    return found


def test_vectors_are_those_of_the_formulas() -> None:
    config = WeSpeakerResNet.tiny()
    model = randomised(WeSpeakerResNet(config))
    w = numbers(model)
    waveform = torch.randn(1, 8000, generator=torch.Generator().manual_seed(1)) * 0.1
    weights = (torch.rand(1, 2, 29, generator=torch.Generator().manual_seed(2)) > 0.4).float()
    with torch.inference_mode():
        heard = model.energies(waveform)
        centred = heard - heard.mean(1, keepdim=True)
        x = model.resnet.bn1(model.resnet.conv1(centred.transpose(1, 2)[:, None])).relu()
        found = [x := stage(x) for stage in model.resnet.stages()]
        vectors = model.embed(model.frames(heard), weights)
    plain = energies(waveform[0].double().numpy(), config)
    assert np.allclose(heard[0], plain, atol=TOLERANCE)
    images = stages(plain - plain.mean(0), config, w)
    for ours, theirs in zip(found, images, strict=True):
        assert np.allclose(ours[0], theirs, atol=TOLERANCE)
    columns = images[-1].reshape(-1, images[-1].shape[2])
    for speaker in range(2):
        # The nearest weight of each column.
        at = np.floor(np.arange(columns.shape[1]) * 29 / columns.shape[1]).astype(int)
        mask = weights[0, speaker].numpy()[at] > 0
        pooled = np.concatenate([columns[:, mask].mean(1), columns[:, mask].std(1, ddof=1)])
        expected = w["resnet.seg_1.weight"] @ pooled + w["resnet.seg_1.bias"]
        assert np.allclose(vectors[0, speaker], expected, atol=TOLERANCE)


def test_of_no_weights_all_frames_count() -> None:
    model = randomised(WeSpeakerResNet(WeSpeakerResNet.tiny()))
    waveforms = torch.randn(2, 8000)
    assert torch.allclose(model(waveforms), model(waveforms, torch.ones(2, 29)), atol=1e-6)


def test_training_survives_channels_that_see_nothing() -> None:
    model = WeSpeakerResNet(WeSpeakerResNet.tiny()).train()
    model(torch.zeros(2, 8000)).square().sum().backward()
    assert all(value.grad is None or value.grad.isfinite().all() for value in model.parameters())


def oracle(name: str) -> Any:
    """A module of pyannote.audio, which pulls torchaudio and lightning and is therefore in no extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        pytest.skip(f"pyannote.audio is not installed here ({error})")


def test_front_end_is_that_of_pyannote() -> None:
    theirs = oracle("pyannote.audio.models.blocks.sincnet").SincNet(stride=10).eval()
    ours = randomised(PyanNet(PyanNetConfig())).sincnet
    tensors = {name.replace("conv1d.0.", "conv1d.0.filterbank."): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(tensors, strict=False)
    waveforms = torch.randn(2, 160000) * 0.1
    with torch.inference_mode():
        assert torch.allclose(ours(waveforms), theirs(waveforms[:, None]), atol=TOLERANCE)


def test_vectors_are_those_of_pyannote() -> None:
    theirs = oracle("pyannote.audio.models.embedding.wespeaker.resnet").ResNet34(80, 256, two_emb_layer=False).eval()
    ours = randomised(WeSpeakerResNet(WeSpeakerConfig()))
    theirs.load_state_dict(ours.resnet.state_dict())
    heard = ours.energies(torch.randn(1, 32000) * 0.1)
    weights = (torch.rand(1, 3, 117) > 0.5).float()
    with torch.inference_mode():
        with pytest.warns(UserWarning, match="Mismatch"):
            expected = theirs(heard - heard.mean(1, keepdim=True), weights=weights)[1]
        assert torch.allclose(ours.embed(ours.frames(heard), weights), expected, atol=TOLERANCE)
