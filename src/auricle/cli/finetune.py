"""`auricle finetune`: recordings with their texts in, a model of one's own out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.border import INTERRUPTED, border, say, write_utf8
from auricle.errors import OptionError

if TYPE_CHECKING:
    from auricle.training.finetuning import Finetuned


def finetune(
    model: Annotated[str, typer.Argument(help="What to start from: bundled, a folder, or a Hub name.")],
    data: Annotated[
        list[str],
        typer.Option(metavar="DATA", help="Recordings with texts: a folder, a manifest, or a dataset's Hub name."),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the new model. A run that is there goes on.")],
    validation_data: Annotated[
        str | None, typer.Option(help="Other recordings to choose the best checkpoint by.")
    ] = None,
    validation_split: Annotated[str | None, typer.Option(help="The split to choose by. (default: dev, if any)")] = None,
    text_column: Annotated[str | None, typer.Option(help="The column of the text, if not found by itself.")] = None,
    audio_column: Annotated[
        str | None, typer.Option(help="The column of the recordings, if not found by itself.")
    ] = None,
    validation_share: Annotated[float, typer.Option(help="Held out where there is no such split, by speaker.")] = 0.05,
    method: Annotated[str | None, typer.Option(help="ctc, seq2seq or lora. (default: by the model)")] = None,
    target_lang: Annotated[
        str | None, typer.Option(help="Train only the adapters of this language (ISO 639-3), for MMS and XLS-R.")
    ] = None,
    freeze: Annotated[str | None, typer.Option(help="feature-encoder, encoder, none. (default: by model)")] = None,
    language: Annotated[str | None, typer.Option(help="Code of the language: rows, letters' case, model card.")] = None,
    new_vocabulary: Annotated[
        bool | None,
        typer.Option("--new-vocabulary/--keep-vocabulary", help="(default: kept where it can write the texts)"),
    ] = None,
    language_model: Annotated[
        bool,
        typer.Option(
            "--language-model/--no-language-model", help="Keep the model's own beside the weights, with its vocabulary."
        ),
    ] = True,
    epochs: Annotated[float | None, typer.Option(help="Passes over the data. (default: 15, of little more)")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights, instead of epochs.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time to train, instead of epochs.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="At its peak. (default: by what is frozen)")] = None,
    schedule: Annotated[str, typer.Option(help="How the rate falls: linear or cosine.")] = "linear",
    warmup_share: Annotated[float, typer.Option(help="Share of the run in which the rate rises.")] = 0.1,
    weight_decay: Annotated[float, typer.Option(help="Of matrices.")] = 0.01,
    clip: Annotated[float, typer.Option(help="Largest norm of a gradient.")] = 1.0,
    batch_seconds: Annotated[float, typer.Option(help="Seconds of sound in a batch, padding included.")] = 120.0,
    accumulate: Annotated[int, typer.Option(help="Batches in a step.")] = 1,
    bf16: Annotated[bool, typer.Option("--bf16", help="Compute in bfloat16 where that is safe.")] = False,
    averaging: Annotated[float, typer.Option(help="Decay of the weights' moving average, such as 0.999.")] = 0.0,
    patience: Annotated[int, typer.Option(help="Evaluations without a better one before it ends; 0: any number.")] = 8,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps. (default: a twentieth of the run)")] = None,
    metric: Annotated[str, typer.Option(help="wer or cer: what the best checkpoint has the lowest of.")] = "wer",
    min_duration: Annotated[float, typer.Option(help="Shorter recordings are left out, in seconds.")] = 0.1,
    max_duration: Annotated[float, typer.Option(help="Longer recordings are left out, in seconds.")] = 20.0,
    augment: Annotated[bool, typer.Option("--augment/--no-augment", help="Hide and stretch parts at random.")] = True,
    noise: Annotated[str | None, typer.Option(help="A folder of noises to mix into the training's sound.")] = None,
    rir: Annotated[str | None, typer.Option(help="A folder of room responses to place it in.")] = None,
    speed: Annotated[float, typer.Option(help="Play it up to this share slower or faster, such as 0.1.")] = 0.0,
    timed: Annotated[
        float | None, typer.Option(help="Of a Whisper: share of windows with timestamps. (default: 0.5)")
    ] = None,
    label_smoothing: Annotated[float, typer.Option(help="Of a Whisper, such as 0.1.")] = 0.0,
    lora_rank: Annotated[int, typer.Option(help="Width of what --method lora trains.")] = 16,
    lora_alpha: Annotated[float | None, typer.Option(help="Its scale times its rank. (default: twice it)")] = None,
    lora_dropout: Annotated[float, typer.Option(help="Of what it is given, in training.")] = 0.05,
    lora_targets: Annotated[
        str | None, typer.Option(help="A pattern of layers' names. (default: attention and feed-forward)")
    ] = None,
    adapter: Annotated[bool, typer.Option("--adapter", help="Write LoRA's part alone, as PEFT does.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Train although the data has faults.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn at random.")] = 1,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard's event files, too.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, mps.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Tell errors only.")] = False,
) -> None:
    """Train a model further on recordings and their texts; the same command goes on with a run that was stopped."""
    with border():
        write_utf8()
        # Named as the options are, so that one table makes both.
        given = dict(locals())
        for name in ("model", "data", "out", "validation_data", "new_vocabulary", "quiet", "augment", "patience"):
            given.pop(name)
        vocabulary = {None: "auto", True: "new", False: "keep"}[new_vocabulary]
        given |= {"vocabulary": vocabulary, "augments": augment, "patience": patience or None}
        done = _run(model, _only(data), out, validation_data, given, quiet)
        if not done.ended:
            say(f"auricle: stopped after step {done.steps}; the same command goes on from there")
            raise typer.Exit(INTERRUPTED)
        if not quiet:
            _tell(done)


def _only(data: list[str]) -> str:
    """Refuse several collections, of which all but the last would be passed over."""
    if len(data) > 1:
        raise OptionError(
            f"--data was given {len(data)} times ({', '.join(data)}); a run learns from one collection: give a folder "
            "or a manifest that has the rows of all"
        )
    return data[0]


def _run(
    model: str, data: str, out: Path, validation_data: str | None, given: dict[str, Any], quiet: bool
) -> Finetuned:
    from auricle.cli.finetune_progress import narrator
    from auricle.training.finetuning import finetune as train
    from auricle.training.options import FinetuneOptions

    with narrator(quiet) as told:
        return train(model, data, out, FinetuneOptions(**given), validation_data=validation_data, narrator=told)


def _tell(done: Finetuned) -> None:
    rate = "" if done.wer is None else f": {done.wer:.2%} of words wrong in validation"
    say(f"auricle: {done.ended} after step {done.steps}; the best checkpoint is in {done.folder}{rate}")
    say(f"auricle: curves and texts are in {done.folder / 'results.html'}")
    typer.echo(str(done.folder))
