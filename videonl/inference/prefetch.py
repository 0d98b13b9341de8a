"""Run a function for the next items while the caller works on the current one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class Ahead:
    """Runs a function for the next items in threads, a bounded number of them ahead."""

    def __init__(self, function: Callable[[Any], Any], workers: int) -> None:
        self._function = function
        self._workers = workers
        self._pool = ThreadPoolExecutor(max(workers, 1), thread_name_prefix="decode")

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def map(self, items: Iterable[Any]) -> Iterator[tuple[Any, Callable[[], Any]]]:
        """Each item with a call that returns, or raises, the result of the function."""
        if self._workers == 0:
            for item in items:
                yield item, lambda item=item: self._function(item)  # type: ignore[misc]
            return
        waiting: deque[tuple[Any, Future[Any]]] = deque()
        for item in items:
            waiting.append((item, self._pool.submit(self._function, item)))
            if len(waiting) > self._workers:
                yield _ready(waiting.popleft())
        while waiting:
            yield _ready(waiting.popleft())


def _ready(pair: tuple[Any, Future[Any]]) -> tuple[Any, Callable[[], Any]]:
    return pair[0], pair[1].result
