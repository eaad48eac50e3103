"""A running estimate of how long a forward pass takes on this machine."""

from __future__ import annotations

from dataclasses import dataclass

_FORGET = 0.98  # about the last fifty passes count
_ENOUGH = 5.0
_MOST_TIMES_LONGER = 4.0  # a process that was frozen for a while is no slower after it


@dataclass(slots=True)
class PassTime:
    """Seconds of a pass as a line over its padded tokens, fitted by exponentially forgetting least squares.

    Before the first measured pass it believes in `base_seconds` and `token_seconds`.
    """

    base_seconds: float = 0.006
    token_seconds: float = 0.00012
    spread: float = 0.1
    """How far passes run over their estimate, as a share: kept, so that an estimate can be pessimistic."""

    _weight: float = 0.0
    _mean_tokens: float = 0.0
    _mean_seconds: float = 0.0
    _variance: float = 0.0
    _covariance: float = 0.0

    def seconds(self, padded_tokens: int) -> float:
        """Returns the expected duration of a pass."""
        return self.base_seconds + self.token_seconds * padded_tokens

    @property
    def pessimism(self) -> float:
        """By how much an estimate has to be multiplied for most passes to stay under it."""
        return 1.0 + 2.0 * self.spread

    def tokens_within(self, seconds: float) -> int:
        """Returns how many padded tokens a pass of that length computes."""
        return max(0, int((seconds - self.base_seconds) / self.token_seconds))

    def backlog_seconds(self, tokens: int, tokens_a_batch: int) -> float:
        """Returns how long so many padded tokens take in full batches and one rest."""
        full, rest = divmod(tokens, tokens_a_batch)
        return full * self.seconds(tokens_a_batch) + (self.seconds(rest) if rest else 0.0)

    def observe(self, padded_tokens: int, seconds: float) -> None:
        """Learns from a pass that was made."""
        if self._weight:
            over = max(0.0, seconds / max(self.seconds(padded_tokens), 1e-6) - 1.0)
            self.spread += 0.05 * (min(over, 1.0) - self.spread)
        if self._weight > _ENOUGH:
            seconds = min(seconds, _MOST_TIMES_LONGER * self.seconds(padded_tokens))
        self._weight = self._weight * _FORGET + 1.0
        share = 1.0 / self._weight
        tokens_off = padded_tokens - self._mean_tokens
        seconds_off = seconds - self._mean_seconds
        self._mean_tokens += share * tokens_off
        self._mean_seconds += share * seconds_off
        self._variance = (1.0 - share) * (self._variance + share * tokens_off**2)
        self._covariance = (1.0 - share) * (self._covariance + share * tokens_off * seconds_off)
        self._fit()

    def _fit(self) -> None:
        """Draws the line; with passes of one length only, the known slope is scaled to meet them."""
        if self._variance > 1.0:
            slope = self._covariance / self._variance
        else:
            slope = self.token_seconds * self._mean_seconds / max(self.seconds(round(self._mean_tokens)), 1e-6)
        most = self._mean_seconds / max(self._mean_tokens, 1.0)
        self.token_seconds = min(max(slope, 0.05 * most), most)
        self.base_seconds = max(0.0, self._mean_seconds - self.token_seconds * self._mean_tokens)
