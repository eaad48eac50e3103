"""An event loop whose clock jumps to the next timer instead of waiting: timeouts of hours are tested in no time."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _JumpingSelector(selectors.DefaultSelector):  # type: ignore[misc,valid-type]  # the class depends on the platform
    """Never blocks: what the loop would have slept is added to the clock."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Returns what is ready at once."""
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        self.skipped += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and stands still while code runs. `loop.time` is its clock."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Returns virtual seconds."""
        return self._jumping.skipped


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Returns what the coroutine returns, run on a loop of its own, with debug mode off; no task may be left behind."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        result = runner.run(coroutine)
        left = asyncio.all_tasks(runner.get_loop())
        if left:
            raise AssertionError(f"tasks left behind: {left}")
        return result


def clock() -> float:
    """Returns the running loop's virtual seconds."""
    return asyncio.get_running_loop().time()
