"""Time for tests."""

from dataclasses import dataclass


@dataclass(slots=True)
class Clock:
    """Time that passes when told; seconds since the epoch."""

    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now

    def later(self, seconds: float) -> float:
        """Let time pass."""
        self.now += seconds
        return self.now
