"""The place of a process among those that train one network together."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import check_setting

MOST_PROCESSES = 2**16


@dataclass(frozen=True)
class Processes:
    """The place of a process among those that train one network together; see docs/training-processes.md."""

    count: int = 1
    """How many there are; more than one need Keras on JAX."""
    index: int = 0
    """The number of this one, from 0. Process 0 alone writes."""
    coordinator: str | None = None
    """`HOST:PORT` of process 0, with a free port of its machine. None for one process only."""

    def __post_init__(self) -> None:
        count, index, coordinator = "--processes (count)", "--process-id (index)", "--coordinator (coordinator)"
        for name, value in ((count, self.count), (index, self.index)):
            check_setting(type(value) is int, name, "a whole number", value)
        check_setting(1 <= self.count <= MOST_PROCESSES, count, f"from 1 to {MOST_PROCESSES}", self.count)
        check_setting(0 <= self.index < self.count, index, f"from 0 to {self.count - 1}, below --processes", self.index)
        given = self.count == 1 if self.coordinator is None else _is_address(self.coordinator)
        check_setting(given, coordinator, "HOST:PORT of process 0, with a port from 1 to 65535", self.coordinator)


def _is_address(text: object) -> bool:
    host, _, port = str(text).rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 1 <= int(port[:6]) <= 65535
