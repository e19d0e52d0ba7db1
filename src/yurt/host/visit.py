"""Work in a thread of its own: for what changes a thread's namespaces for good, so that no pool may have it back."""

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_own_thread(name: str, work: Callable[[], T]) -> T:
    """Call `work` in a new thread that ends with it; return what it returns, raise what it raises. Blocks."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=body, name=name)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]
