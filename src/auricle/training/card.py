"""The model card and auricle.json, written from a run: what it started from, what it heard, how well it does."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

import auricle
from auricle.training.options import FinetuneOptions


@dataclass(frozen=True)
class Run:
    """What is known of a run when its card is written."""

    name: str  # of the folder
    base: str  # the model that it started from
    family: str
    kind: str
    options: FinetuneOptions  # resolved
    data: dict[str, Any]  # what was found and left out
    languages: tuple[str, ...]
    n_trained: int
    n_parameters: int
    n_processes: int = 1
    device: str = "cpu"
    extra: dict[str, Any] = field(default_factory=dict)  # lines of an objective of its own


def write_card(folder: Path, run: Run, log: list[dict[str, Any]]) -> None:
    """Write README.md and auricle.json; the figures are those of the checkpoint that is kept."""
    best = best_evaluation(log, run.options.metric)
    (folder / "README.md").write_text(card_text(run, log, best), encoding="utf-8")
    about = {"name": run.name, "summary": summary(run, best), "languages": list(run.languages), "base_model": run.base}
    path = folder / "auricle.json"
    path.write_text(json.dumps(about, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def best_evaluation(log: list[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    """The first of the evaluations with the lowest rates, which is the checkpoint that is kept."""
    other = "cer" if metric == "wer" else "wer"
    return min((row for row in log if "wer" in row), key=lambda row: (row[metric], row[other]), default=None)


def summary(run: Run, best: dict[str, Any] | None) -> str:
    """One line with the measured accuracy."""
    if best is None:
        return f"fine-tuned from {run.base}, without validation data"
    return (
        f"{best['wer']:.1%} word errors ({best['errors']} of {best['words']}) on validation rows of its training data, "
        f"fine-tuned from {run.base}"
    )


def card_text(run: Run, log: list[dict[str, Any]], best: dict[str, Any] | None) -> str:
    """README.md: a head that the Hub reads, and sections for people."""
    steps = [row for row in log if "loss" in row]
    parts = [
        _head(run, best),
        f"# {run.name}\n",
        f"`{run.base}` fine-tuned with auricle {auricle.__version__} "
        f"to recognise speech{' in ' + ', '.join(run.languages) if run.languages else ''}.\n",
        _accuracy(run, log, best),
        _use(run),
        _data(run),
        _training(run, steps),
    ]
    return "\n".join(part for part in parts if part)


def _head(run: Run, best: dict[str, Any] | None) -> str:
    lines = ["---"]
    if run.languages:
        lines += ["language:", *(f"- {code}" for code in run.languages)]
    lines += ["library_name: auricle", "pipeline_tag: automatic-speech-recognition"]
    lines += [f"base_model: {json.dumps(run.base, ensure_ascii=False)}"]
    licences = run.data.get("licences")
    if licences:
        lines += [f"# licences of the training data, as it states them: {', '.join(licences)}"]
    lines += ["tags:", "- automatic-speech-recognition", "- auricle"]
    if best is not None:
        lines += [
            "model-index:",
            f"- name: {json.dumps(run.name, ensure_ascii=False)}",
            "  results:",
            "  - task: {type: automatic-speech-recognition}",
            "    dataset: {type: validation, name: validation rows of the training data}",
            "    metrics:",
            f"    - {{type: wer, value: {100 * best['wer']:.2f}}}",
            f"    - {{type: cer, value: {100 * best['cer']:.2f}}}",
        ]
    return "\n".join([*lines, "---", ""])


def _accuracy(run: Run, log: list[dict[str, Any]], best: dict[str, Any] | None) -> str:
    if best is None:
        return "## Accuracy\n\nNot measured: the run had no validation data.\n"
    rows = [row for row in log if "wer" in row]
    as_what = "as they were learned" if run.kind == "ctc" else "in lower case and without punctuation"
    lines = [
        "## Accuracy\n",
        f"On validation rows that were not trained on ({run.data.get('validation')}): **{best['wer']:.2%}** of words "
        f"({best['errors']} of {best['words']}) and {best['cer']:.2%} of characters wrong, at step {best['step']}. "
        f"The checkpoint was chosen by this {run.options.metric.upper()}, so that on other recordings it is a little "
        f"worse. Texts are compared {as_what}.\n",
        "| step | WER | CER |",
        "|---|---|---|",
        *(f"| {row['step']} | {row['wer']:.2%} | {row['cer']:.2%} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def _use(run: Run) -> str:
    lines = [
        "## Use\n",
        "```bash",
        f"auricle transcribe recording.wav --model {run.name}",
        f"auricle serve --model {run.name}",
        "```\n",
        "```python",
        "from auricle import pipeline",
        "",
        f'pipeline("automatic-speech-recognition", model="{run.name}")("recording.wav")',
        "```\n",
    ]
    if run.family == "whisper_ctc":
        lines.append(
            "transformers has no Whisper with a CTC layer: it loads the encoder of this folder "
            "(`WhisperModel.from_pretrained`), and auricle loads all of it.\n"
        )
    elif run.options.adapter:
        lines.append(f"This folder is an adapter in PEFT's format alone: auricle and PEFT load it upon `{run.base}`.\n")
    else:
        auto = "AutoModelForCTC" if run.kind == "ctc" else "AutoModelForSpeechSeq2Seq"
        lines.append(f"transformers loads it as it is: `{auto}.from_pretrained`, `AutoProcessor.from_pretrained`.\n")
    return "\n".join(lines)


def _data(run: Run) -> str:
    said = run.data
    lines = [
        "## Data\n",
        f"- {said.get('source')} ({said.get('layout')}), split {said.get('split') or '-'}: {said.get('training_rows')} "
        f"rows, {said.get('training_hours', 0):.2f} h, {said.get('speakers') or 'unknown'} speakers",
        f"- validation: {said.get('validation_rows')} rows, {said.get('validation_hours', 0):.2f} h "
        f"({said.get('validation')})",
    ]
    for reason, n in {**said.get("left_out", {}), **said.get("rejected", {})}.items():
        lines.append(f"- left out: {n} rows, {reason}")
    return "\n".join([*lines, ""])


def _training(run: Run, steps: list[dict[str, Any]]) -> str:
    last = steps[-1] if steps else {}
    chosen = asdict(run.options)
    shown = (
        "freeze",
        "vocabulary",
        "learning_rate",
        "schedule",
        "warmup_share",
        "weight_decay",
        "clip",
        "batch_seconds",
        "accumulate",
        "bf16",
        "averaging",
        "augments",
        "seed",
    )
    lines = [
        "## Training\n",
        f"{last.get('step', 0)} steps ({last.get('audio_seconds', 0) / 3600:.2f} h heard, repeats included) in "
        f"{last.get('seconds', 0) / 60:.1f} minutes on {run.n_processes} x {run.device}, torch {torch.__version__}; "
        f"{run.n_trained:,} of {run.n_parameters:,} parameters trained; {last.get('skipped', 0)} steps left out, whose "
        "gradient was not finite.\n",
        *(f"- {name}: {chosen[name]}" for name in shown),
        *(f"- {name}: {value}" for name, value in run.extra.items()),
        "",
        "log.jsonl has every step, results.html draws them.",
        "",
    ]
    return "\n".join(lines)


def device_name(device: torch.device) -> str:
    """What a person calls the machine's processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "cpu":
        return cpu_name()
    return device.type


def cpu_name() -> str:
    """The processor's own name where the system tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
