"""A trained Llama of 260 thousand parameters tells its story token for token as transformers has it."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from auricle import pipeline
from auricle.checkpoints.tensors import write_checkpoint

FILES = Path(__file__).parents[3] / "shared" / "weights" / "stories260K-llama"
ENGINES = ("reference", "cpu")


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a legacy .bin of llama2.c (MIT): seven sizes, then float32 weights one kind after the other."""
    data = path.read_bytes()
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    sizes = dict(zip((*names, "vocab_size", "max_position_embeddings"), struct.unpack("7i", data[:28]), strict=True))
    D, F, L, H, G, V = list(sizes.values())[:6]
    assert V > 0, "the output layer is the embedding"
    numbers = torch.from_numpy(np.frombuffer(data, np.float32, offset=28).copy())
    place = 0

    def take(*shape: int) -> Tensor:
        nonlocal place
        n = int(np.prod(shape))
        place += n
        return numbers[place - n : place].view(*shape)

    def halves(weight: Tensor, n_heads: int) -> Tensor:
        # llama2.c turns neighbouring numbers of a head, the Hub's checkpoints its two halves.
        return weight.view(n_heads, -1, 2, D).transpose(1, 2).reshape(weight.shape)

    width = D // H
    tensors = {"model.embed_tokens.weight": take(V, D)}
    kinds = {
        "input_layernorm": (D,),
        "self_attn.q_proj": (D, D),
        "self_attn.k_proj": (G * width, D),
        "self_attn.v_proj": (G * width, D),
        "self_attn.o_proj": (D, D),
        "post_attention_layernorm": (D,),
        "mlp.gate_proj": (F, D),
        "mlp.down_proj": (D, F),
        "mlp.up_proj": (F, D),
    }
    for kind, shape in kinds.items():
        for layer, weight in enumerate(take(L, *shape)):
            n_heads = {"q": H, "k": G}.get(kind.removeprefix("self_attn.")[0] if "attn." in kind else "")
            tensors[f"model.layers.{layer}.{kind}.weight"] = halves(weight, n_heads) if n_heads else weight.clone()
    tensors["model.norm.weight"] = take(D)
    return {**sizes, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True}, tensors


def read_tokenizer(path: Path, vocab_size: int) -> Any:
    """Read a tokenizer.bin of llama2.c: for each token a score, a length and its bytes; a SentencePiece BPE."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    data, place, pieces = path.read_bytes(), 4, []
    for _ in range(vocab_size):
        _, length = struct.unpack_from("fi", data, place)
        pieces.append(data[place + 8 : place + 8 + length].decode().replace(" ", "▁"))
        place += 8 + length
    pieces[:3] = ["<unk>", "<s>", "</s>"]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    merges = [
        (piece[:cut], piece[cut:])
        for piece in pieces[259:]
        for cut in range(1, len(piece))
        if piece[:cut] in vocabulary and piece[cut:] in vocabulary
    ]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in pieces[:3]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not FILES.is_dir():
        pytest.skip("the trained Llama is not beside the repository (shared/weights/stories260K-llama)")
    folder = tmp_path_factory.mktemp("stories")
    config, tensors = read_weights(FILES / "stories260K.bin")
    tokens = {"bos_token_id": 1, "eos_token_id": 2}
    write_checkpoint(
        folder, {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **config, **tokens}, tensors
    )
    read_tokenizer(FILES / "tok512.bin", config["vocab_size"]).save(str(folder / "tokenizer.json"))
    settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def told_by_transformers(folder: Path, prompt: str, n_tokens: int) -> tuple[list[int], str]:
    import transformers

    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
    found = model.generate(**ids, max_new_tokens=n_tokens, do_sample=False, pad_token_id=0)[0]
    return found.tolist(), tokenizer.decode(found, skip_special_tokens=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("prompt", ["Once upon a time", "Lily and Tom saw a big red", ""])
def test_the_story_is_that_of_transformers(checkpoint: Path, engine: str, prompt: str) -> None:
    write = pipeline("text-generation", checkpoint, device="cpu", engine=engine, dtype="float32")
    ids, text = told_by_transformers(checkpoint, prompt, 200)
    (found,) = write(prompt, max_new_tokens=200, do_sample=False, return_tensors=True)
    assert found["generated_token_ids"] == ids
    told = "".join(write.stream(prompt, max_new_tokens=200, do_sample=False))
    assert (prompt + told).strip() == text.strip()
