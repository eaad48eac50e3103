"""What a dashboard is made of: panels in rows, and the PromQL they share."""

from dataclasses import dataclass

ROUTER = "tinyroute_router_"
ANALYZER = "tinyroute_analyzer_"
CHAT = "gen_ai_client_operation_"


@dataclass(frozen=True)
class Panel:
    """One graph: PromQL by legend. `about` is what a reader should know of it."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def rate(metric: str, by: str = "") -> str:
    """Returns a counter's rate, summed."""
    return f"sum {f'by ({by}) ' if by else ''}(rate({metric}[$__rate_interval]))"


def share(metric: str, by: str) -> str:
    """Returns each label value's share of a counter."""
    return f"{rate(metric, by)} / ignoring ({by}) group_left () {rate(metric)}"


def percentile(quantile: float, metric: str, by: str = "", matching: str = "") -> str:
    """Returns a percentile of a histogram of seconds."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({quantile}, {rate(metric + '_bucket' + matching, labels)})"


def mean(metric: str, by: str = "") -> str:
    """Returns the mean of a histogram."""
    return f"{rate(metric + '_sum', by)} / {rate(metric + '_count', by)}"
