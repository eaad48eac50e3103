"""The arithmetic of a HorizontalPodAutoscaler, as its documentation gives it, on the settings of a manifest."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TOLERANCE = 0.1
"""A ratio this near to 1 changes nothing."""

WAIT, CPU = "wait", "cpu"


@dataclass(frozen=True)
class Step:
    """By how much the count may rise within some seconds."""

    percent: bool
    value: int
    seconds: float

    def most(self, before: int) -> int:
        """Returns the highest count that is allowed after `before`."""
        return math.ceil(before * (1 + self.value / 100)) if self.percent else before + self.value


@dataclass(frozen=True)
class ScalerSettings:
    """A manifest's settings."""

    least: int
    most: int
    targets: Mapping[str, float]
    steps: tuple[Step, ...]
    calm_seconds: float

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> "ScalerSettings":
        """Reads a HorizontalPodAutoscaler; the wait in seconds, the CPU as a share."""
        spec = manifest["spec"]
        targets = {}
        for metric in spec["metrics"]:
            if metric["type"] == "Pods":
                targets[WAIT] = float(metric["pods"]["target"]["averageValue"].removesuffix("m")) / 1000
            else:
                targets[CPU] = metric["resource"]["target"]["averageUtilization"] / 100
        up = spec["behavior"]["scaleUp"]["policies"]
        return cls(
            least=spec["minReplicas"],
            most=spec["maxReplicas"],
            targets=targets,
            steps=tuple(Step(each["type"] == "Percent", each["value"], each["periodSeconds"]) for each in up),
            calm_seconds=spec["behavior"]["scaleDown"]["stabilizationWindowSeconds"],
        )


@dataclass
class Scaler:
    """Remembers what it has asked for."""

    settings: ScalerSettings
    _counts: list[tuple[float, int]] = field(default_factory=list)
    _wishes: list[tuple[float, int]] = field(default_factory=list)

    def next_count(self, now: float, count: int, values: Mapping[str, Sequence[float]]) -> int:
        """Returns the count to have from now on; `values` are those of the replicas that are ready, by metric."""
        wish = max(
            (self._wish(count, target, values[name]) for name, target in self.settings.targets.items()), default=count
        )
        self._wishes = [each for each in self._wishes if each[0] > now - self.settings.calm_seconds] + [(now, wish)]
        calm = max(each for _, each in self._wishes)  # nothing is taken away that was wanted lately
        wanted = min(wish, self._highest(now, count)) if wish > count else min(count, calm)
        chosen = max(self.settings.least, min(self.settings.most, wanted))
        self._counts.append((now, chosen))
        return chosen

    def _wish(self, count: int, target: float, values: Sequence[float]) -> int:
        """Replicas that are not ready yet count as idle when that means fewer new ones."""
        if not values:
            return count
        ratio = sum(values) / len(values) / target
        if abs(ratio - 1) <= TOLERANCE:
            return count
        if ratio < 1:
            return math.ceil(ratio * len(values))
        careful = sum(values) / count / target
        return count if careful <= 1 + TOLERANCE else math.ceil(careful * count)

    def _highest(self, now: float, count: int) -> int:
        def before(seconds: float) -> int:
            return min([each for at, each in self._counts if at > now - seconds] or [count])

        return max(step.most(before(step.seconds)) for step in self.settings.steps)
