"""What every pipeline does with one input, many, lazy ones and bad ones; and the registry of tasks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from auricle.errors import AudioFormatError, OptionError, TaskError
from auricle.pipelines import TASKS, KeyDataset, Pipeline, pipeline, register_task, supported_tasks
from auricle.pipelines.base import Many, arrangement
from auricle.pipelines.inputs import extra_keys, recording_of


class Doubling(Pipeline):
    """Doubles numbers; refuses "bad" when it prepares and 13 when it computes."""

    task = "doubling"
    parameters = ("add",)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.batches: list[list[Any]] = []

    def preprocess(self, item: Any, request: Any) -> Any:
        if item == "bad":
            raise AudioFormatError("bad is no number; give a number")
        return item

    def forward(self, batch: list[Any], request: Any) -> list[Any]:
        self.batches.append(batch)
        return [AudioFormatError("13 is unlucky") if one == 13 else 2 * one for one in batch]

    def postprocess(self, item: Any, output: Any, request: Any) -> Any:
        return {"number": output + request.get("add", 0)}


@pytest.fixture
def tasks() -> Iterator[None]:
    before = dict(TASKS)
    yield
    TASKS.clear()
    TASKS.update(before)


def numbers(results: Any) -> list[int]:
    return [result["number"] for result in results]


class Rows:
    """A dataset that has a length and rows by number, and nothing else."""

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows
        self.taken: list[int] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        if index >= len(self.rows):
            raise KeyError(index)
        self.taken.append(index)
        return self.rows[index]


def test_one_input_gives_one_result() -> None:
    assert Doubling()(4) == {"number": 8}


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_list_and_tuple_give_a_list_in_order(kind: type, batch_size: int) -> None:
    results = Doubling()(kind([3, 1, 2]), batch_size=batch_size)
    assert isinstance(results, list)
    assert numbers(results) == [6, 2, 4]


def test_empty_list_gives_empty_list() -> None:
    assert Doubling()([]) == []


def test_batches_have_the_size_that_was_asked_for() -> None:
    pipe = Doubling(batch_size=2)
    pipe([1, 2, 3])
    assert pipe.batches == [[1, 2], [3]]


class BySize(Doubling):
    """Numbers are as long as they are large."""

    def length(self, prepared: Any) -> float:
        return float(prepared)


def test_items_of_a_list_are_computed_with_those_of_like_length_and_come_back_in_order() -> None:
    pipe = BySize(batch_size=2)
    results = pipe([9, 1, 8, "bad", 2, 13], on_error="return")
    assert pipe.batches == [[1, 2], [8, 9], [13]]
    assert [one.get("number", one.get("error_type")) for one in results] == [
        18, 2, 16, "AudioFormatError", 4, "AudioFormatError"]  # fmt: skip
    lazy = BySize(batch_size=2)
    assert numbers(lazy(iter([9, 1, 8, 2]))) == [18, 2, 16, 4]
    assert lazy.batches == [[9, 1], [8, 2]]


def test_generator_is_read_only_as_far_as_results_are_taken() -> None:
    read: list[int] = []

    def source() -> Iterator[int]:
        for number in range(6):
            read.append(number)
            yield number

    results = Doubling()(source(), batch_size=2)
    assert read == []
    assert next(results) == {"number": 0}
    assert read == [0, 1]
    assert numbers(results) == [2, 4, 6, 8, 10]


def test_dataset_with_rows_by_number_is_read_lazily() -> None:
    dataset = Rows([5, 6, 7])
    results = Doubling()(dataset)
    assert dataset.taken == []
    assert numbers(results) == [10, 12, 14]


def test_key_dataset_is_a_view_of_one_column() -> None:
    view = KeyDataset(Rows([{"n": 1, "other": 9}, {"n": 2, "other": 9}]), "n")
    assert len(view) == 2
    assert view[1] == 2
    assert numbers(Doubling()(view)) == [2, 4]


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_bad_item_gives_error_item_and_the_rest_stays(batch_size: int) -> None:
    results = Doubling()([1, "bad", 13, 4], batch_size=batch_size, on_error="return")
    assert results == [
        {"number": 2},
        {"error": "bad is no number; give a number", "error_type": "AudioFormatError"},
        {"error": "13 is unlucky", "error_type": "AudioFormatError"},
        {"number": 8},
    ]


@pytest.mark.parametrize("bad", ["bad", 13])
def test_bad_item_raises_by_default_after_the_results_before_it(bad: object) -> None:
    results = Doubling()(iter([1, bad]))
    assert next(results) == {"number": 2}
    with pytest.raises(AudioFormatError):
        next(results)


def test_prepared_items_are_closed_when_another_item_fails() -> None:
    closed: list[str] = []

    class Opened:
        def close(self) -> None:
            closed.append("closed")

    class Opening(Doubling):
        def preprocess(self, item: Any, request: Any) -> Any:
            super().preprocess(item, request)
            return Opened()

    with pytest.raises(AudioFormatError):
        Opening(batch_size=2)([1, "bad"])
    assert closed == ["closed"]


def test_call_parameters_given_to_the_constructor_are_defaults() -> None:
    pipe = Doubling(add=100)
    assert pipe(1) == {"number": 102}
    assert pipe(1, add=0) == {"number": 2}


def test_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(OptionError, match=r"unknown parameter 'ad' .*did you mean 'add'"):
        Doubling()(1, ad=1)
    with pytest.raises(OptionError, match=r"unknown parameter 'frobnicate'.* it takes add"):
        Doubling(frobnicate=1)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "2"])
def test_batch_size_must_be_a_positive_whole_number(value: object) -> None:
    with pytest.raises(OptionError, match="batch_size"):
        Doubling()(1, batch_size=value)  # type: ignore[arg-type]


def test_on_error_has_two_values() -> None:
    with pytest.raises(OptionError, match="on_error is 'ignore'"):
        Doubling(on_error="ignore")


def test_parameters_of_a_lazy_call_are_refused_before_the_first_item() -> None:
    with pytest.raises(OptionError):
        Doubling()(iter([1]), wrong=1)


# How inputs arrive


@pytest.mark.parametrize(
    "one",
    ["a.wav", b"RIFF", bytearray(b"RIFF"), memoryview(b"RIFF"), Path("a.wav"), {"array": 1}, np.zeros(3),
     torch.zeros(3), 5],
)  # fmt: skip
def test_what_can_be_iterated_over_may_still_be_one_recording(one: object) -> None:
    assert arrangement(one) is Many.ONE


def test_file_object_is_one_recording(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"RIFF")
    with path.open("rb") as file:
        assert arrangement(file) is Many.ONE


def test_iterators_and_datasets_are_lazy() -> None:
    assert arrangement(iter([])) is Many.LAZY
    assert arrangement(Rows([])) is Many.LAZY
    assert arrangement([]) is Many.LIST


def test_recording_of_a_row_is_its_audio_without_the_callers_keys() -> None:
    row = {"audio": {"path": "a.wav", "bytes": b"RIFF", "speaker": 3}, "text": "reference"}
    assert recording_of(row) == {"path": "a.wav", "bytes": b"RIFF"}
    assert row["audio"]["speaker"] == 3  # type: ignore[index]
    assert extra_keys(row) == {"text": ["reference"]}


def test_dictionary_without_any_audio_key_is_left_for_the_audio_reader_to_refuse() -> None:
    assert recording_of({"sound": 1}) == {"sound": 1}


def test_stride_in_a_dictionary_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'stride'"):
        recording_of({"array": np.zeros(3), "sampling_rate": 16000, "stride": (1, 1)})


def test_audio_decoder_is_one_recording() -> None:
    class Decoder:
        def get_all_samples(self) -> object:
            raise AssertionError("not asked for")

        def __getitem__(self, key: str) -> object:
            raise AssertionError("not asked for")

        def __len__(self) -> int:
            raise AssertionError("not asked for")

    assert arrangement(Decoder()) is Many.ONE


# pipeline() and the registry


@pytest.mark.usefixtures("tasks")
def test_registered_task_is_made_by_pipeline() -> None:
    register_task("doubling", Doubling)
    assert "doubling" in supported_tasks()
    assert pipeline("doubling", batch_size=3, add=1)([1, 2]) == [{"number": 3}, {"number": 5}]


@pytest.mark.usefixtures("tasks")
def test_task_without_a_model_refuses_one() -> None:
    register_task("doubling", Doubling)
    with pytest.raises(TaskError, match="takes no model"):
        pipeline("doubling", model="some/model")


@pytest.mark.usefixtures("tasks")
def test_registered_class_loads_its_default_model_with_the_settings() -> None:
    class Loading(Doubling):
        @classmethod
        def load(cls, model: Any, settings: Any, **parameters: Any) -> Any:
            made = cls(**parameters)
            made.loaded = (model, settings.device, settings.dtype, settings.revision)  # type: ignore[attr-defined]
            return made

    register_task("loading", Loading)
    made: Any = pipeline("loading", "me/mine", device="cpu", torch_dtype=torch.bfloat16, revision="v1")
    assert made.loaded == ("me/mine", "cpu", torch.bfloat16, "v1")


@pytest.mark.parametrize(("name", "made"), [("", Doubling), (3, Doubling), ("x", dict), ("x", "m:C")])
@pytest.mark.usefixtures("tasks")
def test_registry_refuses_what_is_no_task(name: Any, made: Any) -> None:
    with pytest.raises(TaskError):
        register_task(name, made)


def test_unknown_task_gets_the_nearest_name() -> None:
    with pytest.raises(TaskError, match="did you mean 'automatic-speech-recognition'"):
        pipeline("automatic-speech-recogniton")
    with pytest.raises(KeyError):
        pipeline("nonsense")


def test_neither_task_nor_model_is_refused() -> None:
    with pytest.raises(OptionError, match="neither a task nor a model"):
        pipeline()


@pytest.mark.parametrize(
    ("name", "value"),
    [("trust_remote_code", True), ("use_fast", False), ("num_workers", 2), ("tokenizer", "x"),
     ("decoder", object()), ("feature_extractor", "x"), ("config", {}), ("model_kwargs", {"a": 1}),
     ("pipeline_class", Doubling), ("processor", "x")],
)  # fmt: skip
def test_constructor_parameters_without_meaning_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(OptionError, match=rf"^{name}="):
        pipeline("automatic-speech-recognition", **{name: value})  # type: ignore[arg-type]


@pytest.mark.usefixtures("tasks")
def test_constructor_parameters_that_ask_for_what_is_done_anyway_pass() -> None:
    register_task("doubling", Doubling)
    made = pipeline("doubling", trust_remote_code=False, use_fast=True, num_workers=0, tokenizer=None)
    assert made(2) == {"number": 4}


@pytest.mark.parametrize(
    "settings",
    [
        {"device": "cpu", "device_map": "cuda"},
        {"device": "warp"},
        {"device_map": {"encoder": 0, "decoder": 1}},
        {"dtype": "float32", "torch_dtype": "float16"},
    ],
)
def test_conflicting_and_unknown_places_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        pipeline("automatic-speech-recognition", "anything", **settings)


@pytest.mark.parametrize(
    "settings", [{}, {"device": -1}, {"device_map": "auto"}, {"device_map": {"": "cpu"}}, {"device": "cpu"}]
)
@pytest.mark.usefixtures("tasks")
def test_every_way_to_say_cpu_is_taken(settings: dict[str, Any]) -> None:
    if torch.accelerator.is_available() and settings in ({}, {"device_map": "auto"}):
        pytest.skip("this machine has an accelerator, which is what these two ask for")
    seen = []

    class Placed(Doubling):
        @classmethod
        def load(cls, model: Any, settings: Any, **parameters: Any) -> Any:
            seen.append(settings.device)
            return cls(**parameters)

    register_task("placed", Placed)
    pipeline("placed", **settings)
    assert seen == ["cpu"]
