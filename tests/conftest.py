"""What tests of every folder share."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import pytest

from auricle import engines


@pytest.fixture(params=sorted(engines.ENGINES))
def every_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test on every engine: "auto" means each of them in turn.

    The GPU engine computes on the CPU here, in the shapes that a model's own decoder has; its tests for GPUs and for
    fixed shapes are in tests/unit/engines.
    """
    monkeypatch.setattr(engines, "BEST", {"cpu": request.param})
    return str(request.param)


@pytest.fixture
def slow_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that take as long for a token as large ones do, so that something may happen while they write."""
    from auricle.pipelines.writer import Writer

    advance = Writer.advance

    def slowly(writer: Any, asking: Any) -> None:
        time.sleep(0.02)
        advance(writer, asking)

    monkeypatch.setattr(Writer, "advance", slowly)


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def byte_level() -> Any:
    """A tokenizer of the `tokenizers` library over bytes, as GPT-2, Llama 3 and Qwen have them, of some 300 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special)
    tokenizer.train_from_iterator(
        ["the quick brown fox jumps over the lazy dog, and there is more to tell"] * 3, trainer
    )
    return tokenizer


@pytest.fixture(scope="session")
def text_checkpoint(tmp_path_factory: pytest.TempPathFactory, byte_level: Any) -> Path:
    """A tiny random Llama that chats in ChatML, as the Hub has such checkpoints."""
    import torch

    from auricle.checkpoints.tensors import write_checkpoint
    from auricle.models.llama import Llama

    folder = tmp_path_factory.mktemp("writer")
    config: Any = Llama.tiny(vocab_size=byte_level.get_vocab_size(), max_position_embeddings=512)
    torch.manual_seed(0)
    model = Llama(config)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    stated = {name: value for name, value in vars(config).items() if value is not None}
    raw = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **stated, "eos_token_id": 2}
    write_checkpoint(folder, raw, model.state_dict())
    byte_level.save(str(folder / "tokenizer.json"))
    settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "chat_template": CHATML}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] what is in the image ? how many cats".split()


@pytest.fixture(scope="session")
def image_checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny random models that see, by their kinds: one gives labels, one chooses answers, one writes them."""
    import string

    import torch

    from auricle.checkpoints.tensors import write_checkpoint
    from auricle.models.blip import Blip
    from auricle.models.vilt import Vilt
    from auricle.models.vit import ViT

    letters = [*string.ascii_lowercase, *(f"##{letter}" for letter in string.ascii_lowercase)]
    named = {"id2label": {str(number): f"label {number}" for number in range(7)}}
    kinds: Any = {
        "vit": (ViT, {"architectures": ["ViTForImageClassification"], **named}),
        "vilt": (Vilt, {"architectures": ["ViltForQuestionAnswering"], **named}),
        "blip": (Blip, {"architectures": ["BlipForQuestionAnswering"]}),
    }
    found = {}
    for kind, (model_class, raw) in kinds.items():
        folder = found[kind] = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        model = model_class(model_class.tiny())
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        config = dataclasses.asdict(model.config) if dataclasses.is_dataclass(model.config) else vars(model.config)
        stated = {name: value for name, value in config.items() if value is not None}
        write_checkpoint(folder, {**stated, **raw, "model_type": kind}, model.state_dict())
        settings = {"size": 32} if kind != "vilt" else {"size": 32, "size_divisor": 8}
        (folder / "preprocessor_config.json").write_text(json.dumps(settings))
        if kind != "vit":
            (folder / "vocab.txt").write_text("\n".join([*WORDS, *letters]))
    return found


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture of noise, as PNG."""
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = tmp_path_factory.mktemp("picture") / "noise.png"
    Image.fromarray(pixels).save(path)
    return path
