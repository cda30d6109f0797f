"""Weights: every file format of the Hub in, strict laying into a model, whole files out."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from auricle.checkpoints import tensors as module
from auricle.checkpoints.tensors import load_tensors, read_adapter, read_tensors, write_checkpoint
from auricle.errors import OptionError, TensorError


class Net(nn.Module):
    """A parameter of each kind: plain, tied, in a submodule, a stored buffer and one that is not stored."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.inner = nn.Linear(3, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))
        self.register_buffer("scratch", torch.zeros(2), persistent=False)


def state() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "embed.weight": torch.randn(5, 3, generator=generator),
        "inner.weight": torch.randn(3, 3, generator=generator),
        "inner.bias": torch.randn(3, generator=generator),
        "count": torch.tensor(7),
    }


def empty() -> Net:
    with torch.device("meta"):
        return Net()


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert sorted(found) == sorted(expected)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def write_shards(folder: Path, stem: str, ending: str, save: Any) -> None:
    names = sorted(state())
    parts = {f"{stem}-0000{i + 1}-of-00002.{ending}": names[i::2] for i in range(2)}
    for file, part in parts.items():
        save({name: state()[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / f"{stem}.{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def old_save(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("form", ["safetensors", "bin", "old bin", "sharded safetensors", "sharded bin"])
def test_every_format_gives_the_same_tensors(tmp_path: Path, form: str) -> None:
    if form == "safetensors":
        save_file(state(), tmp_path / "model.safetensors")
    elif form == "bin":
        torch.save(state(), tmp_path / "pytorch_model.bin")
    elif form == "old bin":
        old_save(state(), tmp_path / "pytorch_model.bin")
    elif form == "sharded safetensors":
        write_shards(tmp_path, "model", "safetensors", save_file)
    else:
        write_shards(tmp_path, "pytorch_model", "bin", torch.save)
    assert_same(read_tensors(tmp_path), state())


def test_safetensors_come_before_a_pickle(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    assert_same(read_tensors(tmp_path), state())


def test_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for save in (torch.save, old_save, lambda content, path: path.write_bytes(pickle.dumps(content))):
        save({"weight": Malicious()}, tmp_path / "pytorch_model.bin")
        with pytest.raises(TensorError, match=r"was refused: .* could run code"):
            read_tensors(tmp_path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", "git-LFS pointer"),
        (b"<html>Not found</html>", "damaged"),
        (b"\x00" * 100, "damaged"),
        (b"\xff" * 8 + b"{}", "damaged"),
    ],
)
def test_file_that_holds_no_weights_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TensorError, match=f"{name}.*({message}|was refused)"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin", "old"])
def test_truncated_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / ("pytorch_model.bin" if name == "old" else name)
    if name == "model.safetensors":
        save_file(state(), path)
    elif name == "old":
        old_save(state(), path)
    else:
        torch.save(state(), path)
    whole = path.read_bytes()
    for length in (len(whole) - 20, len(whole) // 2, 10):
        path.write_bytes(whole[:length])
        with pytest.raises(TensorError, match=path.name):
            read_tensors(tmp_path)


def test_a_refused_pickle_is_told_with_what_it_asks_for(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2).numpy()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(TensorError, match=r"could run code \(GLOBAL numpy\.\S+\)\. Use a checkpoint") as refused:
        read_tensors(tmp_path)
    assert "\x1b" not in str(refused.value)


def test_a_variant_of_the_weights_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "model.fp16.safetensors").write_bytes(b"x")
    with pytest.raises(TensorError, match=r"model\.fp16\.safetensors is a variant .* rename it to model\.safetensors"):
        read_tensors(tmp_path)


def test_absent_weights_name_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "tf_model.h5").write_bytes(b"x")
    with pytest.raises(TensorError, match=r"no readable weights: .*found tf_model\.h5"):
        read_tensors(tmp_path)


def test_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "pytorch_model.bin")
    with pytest.raises(TensorError, match="holds a list; expected a mapping"):
        read_tensors(tmp_path)
    torch.save({"state_dict": state(), "epoch": 3}, tmp_path / "pytorch_model.bin")
    with pytest.raises(TensorError, match=r"no tensors: state_dict, epoch\. This looks like a training state"):
        read_tensors(tmp_path)


def test_missing_shard_and_lost_tensor_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path, "model", "safetensors", save_file)
    second = tmp_path / "model-00002-of-00002.safetensors"
    second.rename(tmp_path / "elsewhere")
    with pytest.raises(TensorError, match="lacks 1 of 2 shards: model-00002-of-00002"):
        read_tensors(tmp_path)
    save_file({"inner.bias": torch.zeros(3)}, second)
    with pytest.raises(TensorError, match="no shard holds"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("shard", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_index_cannot_leave_its_folder(tmp_path: Path, shard: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": shard}}))
    with pytest.raises(TensorError, match="names shards outside its folder"):
        read_tensors(tmp_path)


def test_index_without_a_map_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"metadata": {}}')
    with pytest.raises(TensorError, match="has no 'weight_map'"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("meta", [True, False])
def test_tensors_land_in_the_model_and_tied_ones_stay_tied(meta: bool) -> None:
    model = empty() if meta else Net()
    load_tensors(model, state())
    assert_same({k: v for k, v in model.state_dict().items() if k != "head.weight"}, state())
    assert model.head.weight is model.embed.weight
    assert model.inner.weight.requires_grad
    assert isinstance(model.inner.weight, nn.Parameter)
    assert model.count.dtype == torch.int64


@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("wanted", [torch.float16, torch.bfloat16, torch.float32])
def test_floating_point_is_cast_and_integers_are_not(stored: torch.dtype, wanted: torch.dtype) -> None:
    model = empty()
    tensors = {name: tensor.to(stored) if name != "count" else tensor for name, tensor in state().items()}
    load_tensors(model, tensors, dtype=wanted)
    assert {parameter.dtype for parameter in model.parameters()} == {wanted}
    assert torch.equal(model.inner.bias, tensors["inner.bias"].to(wanted))
    assert model.count.dtype == torch.int64


def test_all_three_kinds_of_mismatch_are_listed_at_once() -> None:
    tensors = state()
    del tensors["inner.bias"]
    tensors["inner.weight"] = torch.zeros(4, 3)
    tensors["extra.weight"] = torch.zeros(1)
    with pytest.raises(TensorError) as caught:
        load_tensors(empty(), tensors, where="some/folder")
    message = str(caught.value)
    assert message.startswith("some/folder: ")
    assert "1 missing: inner.bias; 1 unexpected: extra.weight; 1 of another form" in message
    assert "inner.weight is (4, 3) where the model has (3, 3)" in message


@pytest.mark.parametrize("meta", [True, False])
def test_counter_of_training_batches_may_be_absent(meta: bool) -> None:
    with torch.device("meta" if meta else "cpu"):
        model = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3))
    stored = nn.Sequential(nn.BatchNorm1d(3), nn.BatchNorm1d(3)).state_dict()
    load_tensors(model, {name: tensor for name, tensor in stored.items() if name != "0.num_batches_tracked"})
    assert_same(model.state_dict(), stored)
    with pytest.raises(TensorError, match=r"1 missing: 1\.running_mean"):
        load_tensors(model, {name: tensor for name, tensor in stored.items() if name != "1.running_mean"})


def test_quantized_weights_are_refused_not_misread() -> None:
    tensors = {**state(), "inner.weight": torch.ones(3, 3, dtype=torch.int8)}
    with pytest.raises(TensorError, match=r"inner\.weight is \(3, 3\) torch\.int8 where the model has \(3, 3\)\."):
        load_tensors(empty(), tensors)


def test_link_to_a_deleted_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    torch.save(state(), tmp_path / "pytorch_model.bin")
    with pytest.raises(TensorError, match=r"model\.safetensors cannot be opened"):
        read_tensors(tmp_path)


def test_long_lists_are_cut_with_their_count() -> None:
    tensors = {**state(), **{f"x{i}": torch.zeros(1) for i in range(25)}}
    with pytest.raises(TensorError, match=r"25 unexpected: x0, .*x9 and 15 more\."):
        load_tensors(empty(), tensors)


def test_failed_load_leaves_the_model_as_it_was() -> None:
    model = Net()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TensorError):
        load_tensors(model, {"embed.weight": torch.zeros(5, 3)})
    assert_same(model.state_dict(), before)


def test_renames_apply_in_order_and_ignored_tensors_are_dropped() -> None:
    tensors = {f"net.{name}": tensor for name, tensor in state().items()}
    tensors["net.quantizer.codes"] = torch.zeros(9)
    tensors["net.INNER.bias"] = tensors.pop("net.inner.bias")
    model = empty()
    load_tensors(model, tensors, [(r"^net\.", ""), (r"^INNER\.", "inner.")], [r"^quantizer\."])
    assert torch.equal(model.inner.bias, state()["inner.bias"])


def test_unexpected_tensor_is_named_as_stored_and_as_read() -> None:
    with pytest.raises(TensorError, match=r"1 unexpected: net\.odd \(read as odd\)"):
        load_tensors(empty(), {**state(), "net.odd": torch.zeros(1)}, [(r"^net\.", "")])


def test_tied_tensors_may_be_stored_twice_if_equal() -> None:
    twice = {**state(), "head.weight": state()["embed.weight"]}
    model = empty()
    load_tensors(model, twice)
    assert model.head.weight is model.embed.weight
    with pytest.raises(TensorError, match=r"have different values\. If .*set tie_word_embeddings to false"):
        load_tensors(empty(), {**state(), "head.weight": torch.zeros(5, 3)})


def test_either_name_of_a_tied_tensor_is_enough() -> None:
    tensors = state()
    tensors["head.weight"] = tensors.pop("embed.weight")
    model = empty()
    load_tensors(model, tensors)
    assert torch.equal(model.embed.weight, state()["embed.weight"])


def test_reading_costs_no_copy_of_the_file(tmp_path: Path) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    tensors = read_tensors(tmp_path)
    model = empty()
    load_tensors(model, tensors)
    assert model.inner.weight.data_ptr() == tensors["inner.weight"].data_ptr()


def test_adapter_of_a_language_is_read_and_an_absent_one_named(tmp_path: Path) -> None:
    save_file({"lm_head.bias": torch.ones(2)}, tmp_path / "adapter.fra.safetensors")
    torch.save({"lm_head.bias": torch.zeros(2)}, tmp_path / "adapter.deu.bin")
    assert torch.equal(read_adapter(tmp_path, "fra")["lm_head.bias"], torch.ones(2))
    assert torch.equal(read_adapter(tmp_path, "deu")["lm_head.bias"], torch.zeros(2))
    with pytest.raises(OptionError, match=r"'frz' has no file .*did you mean 'fra'\? Adapters here: deu, fra"):
        read_adapter(tmp_path, "frz")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_written_checkpoint_reads_back(tmp_path: Path, dtype: torch.dtype) -> None:
    write_checkpoint(tmp_path / "new", {"model_type": "x"}, Net().state_dict(), dtype)
    stored = load_file(tmp_path / "new" / "model.safetensors")
    assert stored["embed.weight"].dtype == dtype
    assert stored["count"].dtype == torch.int64
    model = empty()
    load_tensors(model, read_tensors(tmp_path / "new"))
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config == {"model_type": "x", "dtype": str(dtype).removeprefix("torch.")}


def test_value_beyond_float16_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with pytest.raises(TensorError, match=r"big holds values up to 1e\+05, beyond torch\.float16"):
        write_checkpoint(tmp_path / "new", {}, {"big": torch.tensor([1e5])}, torch.float16)
    assert not (tmp_path / "new").exists()


def test_weights_may_be_read_by_whoever_may_read_the_config(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, state())
    modes = {name: (tmp_path / name).stat().st_mode for name in ("model.safetensors", "config.json")}
    assert modes["model.safetensors"] == modes["config.json"]


def test_interrupted_write_leaves_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(tmp_path, {}, state())
    still_open = read_tensors(tmp_path)

    def interrupted(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(tmp_path, {}, state())
    assert_same(read_tensors(tmp_path), state())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    assert_same(still_open, state())


def test_overwriting_does_not_change_a_model_that_maps_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {}, state())
    mapped = read_tensors(tmp_path)
    write_checkpoint(tmp_path, {}, {name: torch.zeros_like(tensor) for name, tensor in state().items()})
    assert_same(mapped, state())


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(TensorError, match="cannot be written"):
        write_checkpoint(tmp_path / "file", {}, state())
