"""Run a function for the next items while the caller works on the current one."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


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
        begun = ((item, self._pool.submit(self._function, item)) for item in items)
        for item, future in _late(begun, self._workers):
            yield item, future.result


def behind(calls: Iterable[Callable[[], T]], count: int = 1) -> Iterator[T]:
    """What the calls return, each made when ``count`` more are there: a GPU has work meanwhile."""
    for call in _late(calls, count):
        yield call()


def _late(items: Iterable[T], count: int) -> Iterator[T]:
    """The items, each when ``count`` more of them are there."""
    waiting: deque[T] = deque()
    for item in items:
        waiting.append(item)
        if len(waiting) > count:
            yield waiting.popleft()
    while waiting:
        yield waiting.popleft()
