"""Tokens per second of a Qwen2.5-0.5B shape at batch 1 and 8: auricle, transformers, llama.cpp, greedily.

    python benchmarks/text.py [--repeats 5] [--only auricle,llama] [--short]

Weights are drawn at random: a text's tokens say nothing, and take as long as any others. Writing a token is the
difference between a long text and a short one, divided by the tokens between them; reading is a prompt of 256 tokens,
with one token written. llama.cpp takes part where llama-cpp-python and gguf are installed: they are built from source,
and are no part of the extra `bench`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from measure import (
    Contestant,
    arguments_of,
    begin,
    chosen,
    has_bfloat16,
    interleaved,
    median,
    ratios,
    summary,
    write,
)

BATCHES = (1, 8)
N_TOKENS = (16, 80)
N_PROMPT = 256
CAVEAT = "random weights in the shape of Qwen2.5-0.5B; threads, processor and load before: see machine"
QWEN: dict[str, Any] = {
    "vocab_size": 151936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}


def checkpoint(cache: Path) -> Path:
    """A folder with random bfloat16 weights and a vocabulary of bytes, made once."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    from auricle.checkpoints.tensors import write_checkpoint
    from auricle.models.llama import Qwen2, Qwen2Config

    folder = cache / "qwen2.5-0.5b-random"
    if (folder / "tokenizer_config.json").is_file():
        return folder
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    tensors = Qwen2(Qwen2Config(**QWEN)).state_dict()
    torch.set_default_dtype(torch.float32)
    del tensors["lm_head.weight"]  # tied
    raw = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", **QWEN, "bos_token_id": None}
    write_checkpoint(folder, raw, tensors, torch.bfloat16)
    vocabulary = {letter: id for id, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))
    return folder


def contestants(folder: Path, batch: int, n_tokens: tuple[int, int]) -> list[Contestant]:
    """Each library, at a batch."""
    given: dict[str, Any] = {"model": str(folder), "batch": batch, "n_tokens": n_tokens}
    reading: dict[str, Any] = {"model": str(folder), "n_prompt": N_PROMPT}
    found = []
    dtypes = ["float32", "bfloat16"] if has_bfloat16() else ["float32"]
    if batch == 1:
        found += [Contestant("auricle, reading", "peers.text:auricle_reading", reading)]
        found += [
            Contestant(f"transformers {one}, reading", "peers.text:transformers_reading", {**reading, "dtype": one})
            for one in dtypes
        ]
        found += [Contestant("llama.cpp Q8_0, reading", "peers.text:llama_reading", reading)]
    return [
        Contestant("auricle", "peers.text:auricle", given),
        *(Contestant(f"transformers {one}", "peers.text:transformers", {**given, "dtype": one}) for one in dtypes),
        Contestant("llama.cpp Q8_0", "peers.text:llama", given),
        *found,
    ]


def main() -> None:
    """Measure, print, and write the result file."""
    arguments = arguments_of(__doc__, "text", repeats=5).parse_args()
    begin(arguments)
    repeats, n_tokens = (2, (4, 12)) if arguments.short else (arguments.repeats, N_TOKENS)
    folder = checkpoint(arguments.cache)
    rows: dict[str, Any] = {}
    for batch in BATCHES:
        workers = interleaved(chosen(contestants(folder, batch, n_tokens), arguments), repeats)
        writers = {name: worker for name, worker in workers.items() if "reading" not in name}
        readers = {name: worker for name, worker in workers.items() if "reading" in name}
        for name, worker in writers.items():
            rows[f"{name}, batch {batch}"] = {"tokens_per_s": round(batch / median(worker), 1), **summary(worker, 5)}
        for name, worker in readers.items():
            rows[name] = {"tokens_per_s": round(N_PROMPT / median(worker), 1), **summary(worker, 4)}
        rows[f"times as long as auricle, batch {batch}"] = ratios(writers, "auricle")
        if readers:
            rows["times as long as auricle, reading"] = ratios(readers, "auricle, reading")
    write(
        arguments.out,
        f"writing greedily from {n_tokens[0]} to {n_tokens[1]} tokens after a prompt of 32, and reading {N_PROMPT}",
        {"shape": QWEN, "n_tokens": n_tokens, "batches": BATCHES},
        {"caveat": CAVEAT, "contestants": rows},
    )


if __name__ == "__main__":
    main()
