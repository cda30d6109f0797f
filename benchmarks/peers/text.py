"""Who writes text: auricle, transformers, and llama.cpp through llama-cpp-python.

Writers return the seconds of one token of every row; readers those of a prompt and one token.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Measured, n_threads

N_WRITING_PROMPT = 32
VOCABULARY = 256  # of the prompts


def _prompts(batch: int, n: int, seed: int = 0) -> list[list[int]]:
    return [[random.Random(seed * 100 + row).randrange(VOCABULARY) for _ in range(n)] for row in range(batch)]


def _between(write: Callable[[int], None], n_tokens: tuple[int, int]) -> Callable[[], Measured]:
    """The seconds of a token: those of a long text less those of a short one, divided by the tokens between."""
    write(n_tokens[0])

    def run() -> Measured:
        seconds = []
        for n in n_tokens:
            started = time.perf_counter()
            write(n)
            seconds.append(time.perf_counter() - started)
        return Measured((seconds[1] - seconds[0]) / (n_tokens[1] - n_tokens[0]))

    return run


def _auricle(model: str) -> Callable[[list[list[int]], int], None]:
    import torch

    from auricle import pipeline
    from auricle.decoding.generate import GenerateOptions
    from auricle.pipelines.writer import Manner

    torch.set_num_threads(n_threads())
    writer = pipeline("text-generation", model, device="cpu").writer

    def write(prompts: list[list[int]], n: int) -> None:
        writer.forget()
        manner = Manner(GenerateOptions(eos=-1, max_new_tokens=n))
        writings = [writer.write(prompt, manner) for prompt in prompts]
        for writing in writings:
            assert writing.wait().n_new == n

    return write


def auricle(model: str, batch: int, n_tokens: tuple[int, int]) -> Callable[[], Measured]:
    """8-bit weights, through what serves every caller."""
    write, prompts = _auricle(model), _prompts(batch, N_WRITING_PROMPT)
    return _between(lambda n: write(prompts, n), n_tokens)


def auricle_reading(model: str, n_prompt: int) -> Callable[[], None]:
    """A prompt and a token."""
    write, prompts = _auricle(model), _prompts(1, n_prompt)
    return lambda: write(prompts, 1)


def _transformers(model: str, dtype: str) -> Callable[[list[list[int]], int], None]:
    import torch
    import transformers as library

    torch.set_num_threads(n_threads())
    network: Any = library.AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype)).eval()
    network.generation_config.eos_token_id = None

    def write(prompts: list[list[int]], n: int) -> None:
        given = torch.tensor(prompts)
        found = network.generate(given, attention_mask=torch.ones_like(given), max_new_tokens=n, do_sample=False)
        assert found.shape[1] == given.shape[1] + n

    return write


def transformers(model: str, batch: int, n_tokens: tuple[int, int], dtype: str) -> Callable[[], Measured]:
    """generate(), with the attention that it chooses itself."""
    write, prompts = _transformers(model, dtype), _prompts(batch, N_WRITING_PROMPT)
    return _between(lambda n: write(prompts, n), n_tokens)


def transformers_reading(model: str, n_prompt: int, dtype: str) -> Callable[[], None]:
    """A prompt and a token."""
    write, prompts = _transformers(model, dtype), _prompts(1, n_prompt)
    return lambda: write(prompts, 1)


def gguf_of(model: str) -> Path:
    """The checkpoint in llama.cpp's format, its matrices in Q8_0; made once."""
    import gguf
    import torch
    from safetensors.torch import load_file

    folder = Path(model)
    path = folder / "q8_0.gguf"
    if path.is_file():
        return path
    from text import QWEN

    writer = gguf.GGUFWriter(path.with_suffix(".partial"), "qwen2")
    writer.add_context_length(QWEN["max_position_embeddings"])
    writer.add_embedding_length(QWEN["hidden_size"])
    writer.add_block_count(QWEN["num_hidden_layers"])
    writer.add_feed_forward_length(QWEN["intermediate_size"])
    writer.add_head_count(QWEN["num_attention_heads"])
    writer.add_head_count_kv(QWEN["num_key_value_heads"])
    writer.add_rope_freq_base(QWEN["rope_theta"])
    writer.add_layer_norm_rms_eps(QWEN["rms_norm_eps"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{id}" for id in range(QWEN["vocab_size"])])
    writer.add_token_types([gguf.TokenType.NORMAL] * QWEN["vocab_size"])
    writer.add_token_merges(["t 1"])
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN2, QWEN["num_hidden_layers"])
    for name, tensor in load_file(folder / "model.safetensors").items():
        values = tensor.to(torch.float32).numpy()
        renamed = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert renamed is not None, name
        if values.ndim == 1:
            writer.add_tensor(renamed, values)
            continue
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(renamed, gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path.with_suffix(".partial").rename(path)


def _llama(model: str, n_rows: int, n_context: int) -> Callable[[list[list[int]], int], None]:
    """llama.cpp's own functions: one batch for the prompts, then one token of every row at a time, greedily."""
    import ctypes

    import llama_cpp
    import numpy as np

    llama_cpp.llama_backend_init()
    settings = llama_cpp.llama_model_default_params()
    settings.n_gpu_layers = 0
    network = llama_cpp.llama_model_load_from_file(str(gguf_of(model)).encode(), settings)
    sizes = llama_cpp.llama_context_default_params()
    sizes.n_ctx, sizes.n_batch, sizes.n_ubatch, sizes.n_seq_max = n_rows * n_context, 2048, 512, n_rows
    sizes.n_threads = sizes.n_threads_batch = n_threads()
    context = llama_cpp.llama_init_from_model(network, sizes)
    n_vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(network))
    batch = llama_cpp.llama_batch_init(n_rows * n_context, 0, 1)

    def decode(tokens: list[tuple[int, int, int, bool]]) -> None:
        batch.n_tokens = len(tokens)
        for at, (token, place, row, is_wanted) in enumerate(tokens):
            batch.token[at], batch.pos[at], batch.n_seq_id[at] = token, place, 1
            batch.seq_id[at][0], batch.logits[at] = row, is_wanted
        assert llama_cpp.llama_decode(context, batch) == 0

    def best(at: int) -> int:
        logits = llama_cpp.llama_get_logits_ith(context, at)
        return int(np.ctypeslib.as_array(ctypes.cast(logits, ctypes.POINTER(ctypes.c_float)), (n_vocabulary,)).argmax())

    def write(prompts: list[list[int]], n: int) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
        length = len(prompts[0])
        decode([(id, at, row, at == length - 1) for row, one in enumerate(prompts) for at, id in enumerate(one)])
        chosen = [best(row * length + length - 1) for row in range(len(prompts))]
        for step in range(n - 1):
            decode([(token, length + step, row, True) for row, token in enumerate(chosen)])
            chosen = [best(row) for row in range(len(prompts))]

    return write


def llama(model: str, batch: int, n_tokens: tuple[int, int]) -> Callable[[], Measured]:
    """llama.cpp with 8-bit weights in blocks of 32."""
    write, prompts = _llama(model, batch, 256), _prompts(batch, N_WRITING_PROMPT)
    return _between(lambda n: write(prompts, n), n_tokens)


def llama_reading(model: str, n_prompt: int) -> Callable[[], None]:
    """A prompt and a token."""
    write, prompts = _llama(model, 1, n_prompt + 16), _prompts(1, n_prompt)
    return lambda: write(prompts, 1)
