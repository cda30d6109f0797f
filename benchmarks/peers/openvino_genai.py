"""OpenVINO GenAI, and the making of the graphs that it reads: an encoder, a decoder with its state, a tokenizer.

Source: optimum-intel, optimum/exporters/openvino/stateful.py (fuse_cache_reorder, make_stateful,
insert_state_for_nodes), whose present version takes no present transformers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from measure import n_threads

RATE = 16000
N_FRAMES = 1500


def convert(model: str, kind: str) -> Path:
    """The checkpoint as a folder of graphs, beside the checkpoint; `kind` is f32 or int8 (weights alone)."""
    source = Path(model)
    folder = source.with_name(f"{source.name}-openvino-{kind}")
    if not (folder / "openvino_decoder_model.xml").is_file():
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        _convert(source, unfinished, kind)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder


def _convert(source: Path, folder: Path, kind: str) -> None:
    import openvino
    import openvino_tokenizers
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    network = transformers.WhisperForConditionalGeneration.from_pretrained(source, attn_implementation="sdpa").eval()
    with torch.no_grad():
        graphs = {"encoder": _encoder_graph(network), "decoder": _decoder_graph(network)}
    for name, graph in graphs.items():
        if kind == "int8":
            import nncf

            graph = nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_ASYM)
        openvino.save_model(graph, folder / f"openvino_{name}_model.xml", compress_to_fp16=False)
    tokenizer = transformers.AutoTokenizer.from_pretrained(source)
    pair = openvino_tokenizers.convert_tokenizer(tokenizer, with_detokenizer=True, skip_special_tokens=True)
    for name, graph in zip(("tokenizer", "detokenizer"), pair, strict=True):
        openvino.save_model(graph, folder / f"openvino_{name}.xml")
    for name in ("config", "generation_config", "preprocessor_config", "tokenizer_config", "tokenizer"):
        shutil.copyfile(source / f"{name}.json", folder / f"{name}.json")
    # This library takes no checkpoint without these entries, which those of OpenAI have.
    path = folder / "generation_config.json"
    generation = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({"suppress_tokens": [], **generation}, indent=2) + "\n", encoding="utf-8")


def _encoder_graph(network: Any) -> Any:
    import openvino
    import torch

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = network.model.encoder

        def forward(self, input_features: torch.Tensor) -> torch.Tensor:
            return self.encoder(input_features, return_dict=False)[0]

    n_mels = network.config.num_mel_bins
    graph = openvino.convert_model(
        Encoder(), example_input=torch.zeros(1, n_mels, 2 * N_FRAMES), input=[("input_features", [-1, n_mels, 3000])]
    )
    graph.outputs[0].get_tensor().set_names({"last_hidden_state"})
    return graph


def _decoder_graph(network: Any) -> Any:
    """Tokens and the encoder's states in, logits out; what it remembers is inside."""
    import openvino
    import torch

    config = network.config
    n_layers, n_heads, width = config.decoder_layers, config.decoder_attention_heads, config.d_model
    decoder = _decoder(network)
    past = [torch.zeros(2, n_heads, 3, width // n_heads) for _ in range(2 * n_layers)]
    example = (torch.ones(2, 2, dtype=torch.long), torch.zeros(2, N_FRAMES, width), *past)
    graph = openvino.convert_model(torch.jit.trace(decoder, example, check_trace=False), example_input=example)
    names = ["input_ids", "encoder_hidden_states"]
    shapes = [openvino.PartialShape([-1, -1]), openvino.PartialShape([-1, -1, width])]
    kept = [f"{kind}.{layer}.{part}" for kind in ("past",) for layer in range(n_layers) for part in ("key", "value")]
    shapes += [openvino.PartialShape([-1, n_heads, -1, width // n_heads])] * len(kept)
    for one, name, shape in zip(graph.inputs, names + kept, shapes, strict=True):
        one.get_tensor().set_names({name})
        one.get_node().set_partial_shape(shape)
        one.get_node().set_friendly_name(name)
    present = [name.replace("past", "present") for name in kept]
    for one, name in zip(graph.outputs, ["logits", *present], strict=True):
        one.get_tensor().set_names({name})
    graph.validate_nodes_and_infer_types()
    _keep_state(graph, kept, present)
    return graph


def _decoder(network: Any) -> Any:
    """The decoder with the keys and values of earlier tokens as plain tensors, which can be traced."""
    import torch
    import torch.nn.functional as F

    n_heads = network.config.decoder_attention_heads

    def split(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (n_heads, -1)).transpose(1, 2)

    class Decoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder, self.proj_out = network.model.decoder, network.proj_out

        def forward(self, ids: torch.Tensor, states: torch.Tensor, *past: torch.Tensor) -> tuple[torch.Tensor, ...]:
            n_new, n_past = ids.shape[1], past[0].shape[2]
            places = torch.arange(n_past, n_past + n_new)
            x = self.decoder.embed_tokens(ids) + self.decoder.embed_positions.weight[places]
            seen = torch.arange(n_past + n_new)[None, :] <= places[:, None]
            mask = torch.zeros(seen.shape).masked_fill(~seen, -1e9)[None, None]
            present: list[torch.Tensor] = []
            for number, layer in enumerate(self.decoder.layers):
                attention, y = layer.self_attn, layer.self_attn_layer_norm(x)
                keys = torch.cat([past[2 * number], split(attention.k_proj(y))], 2)
                values = torch.cat([past[2 * number + 1], split(attention.v_proj(y))], 2)
                present += [keys, values]
                y = F.scaled_dot_product_attention(split(attention.q_proj(y)), keys, values, mask)
                x = x + attention.out_proj(y.transpose(1, 2).flatten(2))
                attention, y = layer.encoder_attn, layer.encoder_attn_layer_norm(x)
                keys, values = split(attention.k_proj(states)), split(attention.v_proj(states))
                y = F.scaled_dot_product_attention(split(attention.q_proj(y)), keys, values)
                x = x + attention.out_proj(y.transpose(1, 2).flatten(2))
                x = x + layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x))))
            return self.proj_out(self.decoder.layer_norm(x)), *present

    return Decoder().eval()


def _keep_state(graph: Any, kept: list[str], present: list[str]) -> None:
    """Hide keys and values inside the graph; rows are reordered by an input `beam_idx`, as GenAI asks for."""
    from openvino import PartialShape, Type, opset13
    from openvino._offline_transformations import apply_make_stateful_transformation

    rows = opset13.parameter(name="beam_idx", dtype=Type.i32, shape=PartialShape([-1]))
    rows.output(0).get_tensor().add_names({"beam_idx"})
    graph.add_parameters([rows])
    for name in kept:
        port = graph.input(name)
        consumers = port.get_target_inputs()
        gathered = opset13.gather(port, rows, opset13.constant(0))
        for consumer in consumers:
            consumer.replace_source_output(gathered.output(0))
    graph.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(graph, dict(zip(kept, present, strict=True)))
    n_rows = opset13.gather(
        opset13.shape_of(graph.input("input_ids"), output_type="i64"), opset13.constant([0]), opset13.constant(0)
    )
    for node in graph.get_ops():
        if node.get_type_name() != "ReadValue":
            continue
        sizes: list[Any] = [
            opset13.constant(np.array([size.min_length], np.int64)) for size in node.get_output_partial_shape(0)
        ]
        sizes[0] = n_rows
        empty = opset13.broadcast(
            opset13.constant(0.0, dtype=node.get_output_element_type(0)), opset13.concat(sizes, axis=0)
        )
        node.set_arguments([empty])
    graph.validate_nodes_and_infer_types()
    _keep_what_states_give(graph)


def _keep_what_states_give(graph: Any) -> None:
    """Compute once for each window what depends on the encoder's states alone: the keys and values of attention."""
    from openvino import opset13

    def dependent(sources: set[Any]) -> set[Any]:
        found = set(sources)
        for node in graph.get_ordered_ops():
            if {value.get_node() for value in node.input_values()} & found:
                found.add(node)
        return found

    source = graph.input("encoder_hidden_states").get_node()
    others = {node for node in graph.get_ops() if node.get_type_name() in ("ReadValue", "ShapeOf", "Parameter")}
    other_nodes = dependent(others - {source})
    for node in dependent({source}) - other_nodes:
        for output in node.outputs():
            consumers = output.get_target_inputs()
            if not {one.get_node() for one in consumers} & other_nodes:
                continue
            name = output.get_any_name() if output.get_names() else f"{node.get_friendly_name()}.{output.get_index()}"
            output.get_tensor().set_names({name})
            held = opset13.read_value(output, name)
            for one in consumers:
                one.replace_source_output(held.output(0))
            graph.add_sinks([opset13.assign(held, name)])


def transcriber(model: str, recording: str, kind: str) -> Callable[[], str]:
    """One window after the other, greedily."""
    import openvino_genai

    pipe = openvino_genai.WhisperPipeline(str(convert(model, kind)), "CPU", INFERENCE_NUM_THREADS=n_threads())
    samples = np.load(recording)

    def transcribe(heard: np.ndarray = samples) -> str:
        return str(pipe.generate(heard, language="<|en|>", task="transcribe", return_timestamps=True).texts[0])

    transcribe(samples[: 30 * RATE])
    return transcribe


def encoder(model: str, recording: str, kind: str) -> Callable[[], None]:
    """The encoder's states of a window of 30 s, from its features."""
    import openvino
    from transformers import WhisperFeatureExtractor

    graph = openvino.Core().compile_model(
        convert(model, kind) / "openvino_encoder_model.xml", "CPU",
        {"INFERENCE_NUM_THREADS": n_threads(), "PERFORMANCE_HINT": "LATENCY"},
    )  # fmt: skip
    extract = WhisperFeatureExtractor.from_pretrained(model)
    mel = extract(np.load(recording)[: 30 * RATE], sampling_rate=RATE, return_tensors="np").input_features

    def encode() -> None:
        graph(mel)

    return encode
