"""config.yaml of a diarization: which two networks it takes, and the numbers between them.

The format is that of pyannote/speaker-diarization-3.1 and of the folders that auricle writes. Networks are named by a
folder beside the file ("segmentation", "$model/segmentation") or by a name of the Hub.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from auricle.errors import ConfigError, nearest

CONFIG = "config.yaml"
PIPELINES = (
    "pyannote.audio.pipelines.SpeakerDiarization",
    "pyannote.audio.pipelines.speaker_diarization.SpeakerDiarization",
)
CLUSTERING = "AgglomerativeClustering"
METHOD = "centroid"
# Of the machine that it was tuned on; results do not depend on them.
HARMLESS = frozenset({"embedding_batch_size", "segmentation_batch_size", "der_variant"})
BESIDE = "$model/"
# Beside what the other program knows, and which it leaves alone.
OURS = "auricle"
LINKAGES = ("centroid", "ward")
OUR_KEYS = ("linkage", "vad", "vad_threshold", "speech_pad_s", "min_silence_s", "piece_s", "founding_s")


@dataclass(frozen=True)
class DiarizationConfig:
    """What config.yaml says; defaults as speaker-diarization-3.1, which knows nothing from `linkage` on."""

    segmentation: str  # a folder beside the file, or a name of the Hub
    embedding: str
    threshold: float = 0.7045654963945799  # distance of centroids of unit vectors, above which they are two speakers
    min_cluster_size: int = 12  # vectors; a smaller cluster goes to the nearest large one
    min_duration_off: float = 0.0  # seconds; a shorter pause inside a turn is filled
    segmentation_step: float = 0.1  # from one chunk to the next, as a part of a chunk
    embedding_exclude_overlap: bool = True  # a voice is heard where it is alone, if it is so for long enough
    linkage: str = "centroid"  # how clusters are found; "ward" where speech is cut to pieces
    vad: bool = False  # nobody talks where the voice detector hears nobody: for networks that never heard silence
    vad_threshold: float = 0.5  # probability of voice in 32 ms, from which on somebody is heard
    speech_pad_s: float = 0.1  # seconds that are kept before and after such voice
    min_silence_s: float = 0.3  # a shorter pause, once voice was widened, is none
    piece_s: float = 0.0  # speech between two pauses is heard as a voice of its own, cut to about so long; 0: it is not
    founding_s: float = 0.0  # speech that is alone for less does not say how many speakers there are

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            kinds: tuple[type, ...] = {"str": (str,), "bool": (bool,), "int": (int,)}.get(str(field.type), (int, float))
            if type(value) not in kinds:
                raise ConfigError(f"{field.name} is {value!r}; expected {' or '.join(kind.__name__ for kind in kinds)}")
        if not 0 <= self.threshold <= 2:
            raise ConfigError(f"clustering.threshold is {self.threshold}; expected a distance of unit vectors, 0 to 2")
        if not 0 < self.segmentation_step <= 1:
            raise ConfigError(f"segmentation_step is {self.segmentation_step}; expected a part of a chunk, up to 1")
        if self.min_cluster_size < 1 or self.min_duration_off < 0:
            raise ConfigError(
                f"clustering.min_cluster_size is {self.min_cluster_size} and segmentation.min_duration_off "
                f"{self.min_duration_off}; expected 1 or more, and 0 or more"
            )
        if self.linkage not in LINKAGES:
            raise ConfigError(f"linkage is {self.linkage!r}; expected one of {', '.join(LINKAGES)}")
        if not 0 < self.vad_threshold < 1 or self.speech_pad_s < 0 or self.min_silence_s < 0:
            raise ConfigError(
                f"vad_threshold is {self.vad_threshold}, speech_pad_s {self.speech_pad_s} and min_silence_s "
                f"{self.min_silence_s}; expected a probability between 0 and 1, and seconds"
            )
        if self.piece_s < 0 or self.founding_s < 0:
            raise ConfigError(f"piece_s is {self.piece_s} and founding_s {self.founding_s}; expected seconds")


def read_diarization(path: Path) -> DiarizationConfig:
    """Read a config.yaml.

    Raises:
        ConfigError: It cannot be read, is of another program, or asks for something that is not supported.
    """
    content = _object(_yaml(path), path, "the file")
    program = _object(content.get("pipeline"), path, "pipeline")
    if program.get("name") not in PIPELINES:
        raise ConfigError(f"{path}: pipeline.name is {program.get('name')!r}; supported is {PIPELINES[0]}.")
    named = _object(program.get("params"), path, "pipeline.params")
    numbers = _object(content.get("params"), path, "params")
    if named.get("clustering", CLUSTERING) != CLUSTERING or "plda" in named:
        raise ConfigError(
            f"{path}: clustering is {named.get('clustering')!r}; supported is {CLUSTERING}, as in "
            "pyannote/speaker-diarization-3.1. VBxClustering (speaker-diarization-community-1) is not supported."
        )
    clustering = _object(numbers.get("clustering"), path, "params.clustering")
    segmentation = _object(numbers.get("segmentation", {}), path, "params.segmentation")
    if clustering.get("method", METHOD) != METHOD:
        raise ConfigError(f"{path}: clustering.method is {clustering['method']!r}; supported is {METHOD!r}.")
    if "threshold" in segmentation:
        raise ConfigError(
            f"{path}: segmentation.threshold is for networks that answer for each speaker alone, as those of "
            "speaker-diarization 2.x. Supported are networks of sets of speakers; take speaker-diarization-3.1."
        )
    values: dict[str, Any] = {}
    _take(named, ("segmentation", "embedding", "segmentation_step", "embedding_exclude_overlap"), values, path)
    _take(clustering, ("threshold", "min_cluster_size"), values, path)
    _take(segmentation, ("min_duration_off",), values, path)
    _take(_object(content.get(OURS, {}), path, OURS), OUR_KEYS, values, path)
    # What the program does where the file says nothing.
    values = {"segmentation_step": 0.1, "embedding_exclude_overlap": False, **values}
    needed = ("segmentation", "embedding", "threshold", "min_cluster_size", "min_duration_off")
    absent = [name for name in needed if name not in values]
    if absent:
        raise ConfigError(f"{path} does not state {', '.join(absent)}.")
    try:
        return DiarizationConfig(**values)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def write_diarization(path: Path, config: DiarizationConfig) -> None:
    """Write a config.yaml that `read_diarization` and pyannote.audio read; the latter knows no voice detector."""
    import yaml

    content: dict[str, Any] = {
        "version": "3.1.0",
        "pipeline": {
            "name": PIPELINES[0],
            "params": {
                "clustering": CLUSTERING,
                "segmentation": config.segmentation,
                "segmentation_step": config.segmentation_step,
                "embedding": config.embedding,
                "embedding_exclude_overlap": config.embedding_exclude_overlap,
            },
        },
        "params": {
            "clustering": {
                "method": METHOD,
                "min_cluster_size": config.min_cluster_size,
                "threshold": config.threshold,
            },
            "segmentation": {"min_duration_off": config.min_duration_off},
        },
    }
    plain = DiarizationConfig(config.segmentation, config.embedding)
    changed = {name: getattr(config, name) for name in OUR_KEYS if getattr(config, name) != getattr(plain, name)}
    if changed:
        content[OURS] = changed
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def _yaml(path: Path) -> Any:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}. Give the folder of a diarization.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {str(error).splitlines()[0]}. Fetch it again.") from error


def _object(value: Any, path: Path, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: {name} is {value!r}; expected names with values, as in speaker-diarization-3.1.")
    return value


def _take(given: Mapping[str, Any], known: tuple[str, ...], values: dict[str, Any], path: Path) -> None:
    for name, value in given.items():
        if name in known:
            values[name] = value
        elif name not in HARMLESS and name not in ("clustering", "method"):
            raise ConfigError(f"{path}: unknown key {name!r}{nearest(str(name), known) or '.'}")
