"""What config.json says of the labels that a classifier chooses among."""

from __future__ import annotations

from dataclasses import dataclass

from auricle.errors import ConfigError

# A file that names no labels has two of them.
UNNAMED = 2


@dataclass(frozen=True)
class LabelsConfig:
    """The labels of a classifier, by their number."""

    id2label: dict[str, str] | None = None
    num_labels: int | None = None
    problem_type: str | None = None  # "regression", "single_label_classification", "multi_label_classification"

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels in the order of the logits.

        Raises:
            ConfigError: numbers are left out.
        """
        if self.id2label is None:
            return tuple(f"LABEL_{number}" for number in range(self.num_labels or UNNAMED))
        if sorted(self.id2label) != sorted(map(str, range(len(self.id2label)))):
            raise ConfigError(f"id2label names {len(self.id2label)} labels, and not by the numbers from 0 up")
        return tuple(str(self.id2label[str(number)]) for number in range(len(self.id2label)))
