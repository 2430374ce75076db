"""The processes and devices that share the batches of a training: Keras on JAX, data parallel.

Every process computes its rows of each batch; JAX adds the gradients up, so that all hold the same weights. Settings, figures
and weights travel as text and arrays through the coordinator that JAX starts in process 0.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ConfigError
from ..settings.processes import Processes
from . import connection
from .device import backend

_LOG = logging.getLogger("dae_train")

_WAIT_MS = 1000  # then Python may act on a signal
_NOT_YET = "DEADLINE_EXCEEDED"


class Group:
    """A process and the others, if any, that train with it. Each calls the same methods in the same order."""

    def __init__(self, processes: Processes, client: Any = None) -> None:
        """Take the place that `processes` says; `client` is JAX's connection to the coordinator, None for one process."""
        self.processes, self._client = processes, client
        self.distribution: Any = None
        """Of Keras; None on one device. Set by `distribute`."""

    @property
    def leads(self) -> bool:
        """Whether this is process 0, which alone writes and judges."""
        return self.processes.index == 0

    @property
    def words(self) -> str:
        """What to add to the name of the device; empty for one process on one device."""
        count, devices = self.processes.count, 1 if self.distribution is None else self.distribution.num_model_replicas
        if count > 1:
            return f", process {self.processes.index} of {count}, {devices} devices in all"
        return f", {devices} devices" if devices > 1 else ""

    def distribute(self, batch_size: int) -> None:
        """Split batches over the devices of all processes; the framework must have been started.

        Raises:
            ConfigError: The batch size is not a multiple of their number.
        """
        if backend() != "jax":
            return
        import jax
        import keras

        count = self.processes.count
        devices = jax.devices() if count > 1 else jax.local_devices()
        each = Counter(device.process_index for device in devices)
        if len(set(each.values())) > 1:
            raise ConfigError(
                f"the processes have different numbers of devices: {', '.join(f'{n} has {each[n]}' for n in sorted(each))}. "
                "Give all the same, with CUDA_VISIBLE_DEVICES or --device cpu."
            )
        check_split(batch_size, len(devices), count)
        if batch_size % len(devices):
            _LOG.warning("a batch of %d images is not a multiple of %d devices: training on one", batch_size, len(devices))
        elif len(devices) > 1:
            if count > 1:
                connection.meet()
            names = [f"{device.platform}:{device.id}" for device in devices]
            self.distribution = keras.distribution.DataParallel(devices=names, auto_shard_dataset=False)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Put the variables that Keras creates on all devices: every process must create the same."""
        return contextlib.nullcontext() if self.distribution is None else self.distribution.scope()

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Leave `scope` for a while: what Keras creates and computes is that of this process alone."""
        if self.distribution is None:
            yield
            return
        import keras

        around = keras.distribution.distribution()
        keras.distribution.set_distribution(None)
        try:
            yield
        finally:
            keras.distribution.set_distribution(around)

    def share(self, make: Callable[[], Any]) -> Any:
        """Return what `make` returns in process 0, where alone it is called: anything that JSON keeps."""
        if self._client is None:
            return make()
        key = connection.next_key()
        if self.leads:
            value = make()
            self._client.key_value_set(key, json.dumps(value, default=lambda number: number.item()))
            return value
        return json.loads(self._wait(self._client.blocking_key_value_get, key))

    def share_arrays(self, make: Callable[[], list[npt.NDArray[Any]]]) -> list[npt.NDArray[Any]]:
        """Return the arrays that `make` returns in process 0, where alone it is called."""
        if self._client is None:
            return make()
        key = connection.next_key()
        if self.leads:
            arrays, packed = make(), io.BytesIO()
            np.savez(packed, *arrays, allow_pickle=False)
            self._client.key_value_set_bytes(key, packed.getvalue())
            return arrays
        packed = io.BytesIO(self._wait(self._client.blocking_key_value_get_bytes, key))
        with np.load(packed, allow_pickle=False) as loaded:
            return [loaded[f"arr_{number}"] for number in range(len(loaded.files))]

    def check_start(self, resumes: bool) -> None:
        """Check that all processes begin the same.

        Raises:
            ConfigError: They differ in how many they expect, or in whether they continue a run.
        """
        own = {"count": self.processes.count, "resumes": resumes}
        expected = self.share(lambda: own)
        if expected["count"] != own["count"]:
            raise ConfigError(
                f"{own['count']} processes are expected here, {expected['count']} by process 0. Give all the same number."
            )
        if expected != own:
            this, other = ("continues a run", "starts one") if resumes else ("starts a run", "continues one")
            raise ConfigError(
                f"process {self.processes.index} {this}, and process 0 {other}. Give --resume to all or to none."
            )

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Check that all processes train the same.

        Args:
            facts: What must be equal, in text, numbers and nested tables.

        Raises:
            ConfigError: They differ, in every process; the text names the first that does and what differs.
        """
        if self._client is None:
            return
        key, (count, index) = connection.next_key(), (self.processes.count, self.processes.index)
        self._client.key_value_set(f"{key}/{index}", json.dumps(facts))

        def compare() -> str:
            given = [json.loads(self._wait(self._client.blocking_key_value_get, f"{key}/{i}")) for i in range(count)]
            return next((found for i in range(1, count) if (found := _difference(given[0], given[i], i))), "")

        if difference := self.share(compare):
            raise ConfigError(difference)

    @staticmethod
    def _wait(get: Callable[[str, int], Any], key: str) -> Any:
        """Wait for a value as long as it takes: where a process ends, this one is ended."""
        while True:
            try:
                return get(key, _WAIT_MS)
            except Exception as error:
                if _NOT_YET not in str(error):
                    raise
            connection.check_others()


def _difference(expected: Mapping[str, Any], received: Mapping[str, Any], index: int) -> str:
    """Return in words how process `index` differs from process 0; empty if it does not."""
    first, other = dict(_flat(expected)), dict(_flat(received))
    names = [name for name in {**first, **other} if not _same(first.get(name), other.get(name))]
    if not names:
        return ""
    pairs = ", ".join(f"{name} is {other.get(name)}, not {first.get(name)}" for name in names)
    return (
        f"process {index} does not train what process 0 trains: {pairs}. "
        "Start all with the same settings, images and versions; only the number of the process differs."
    )


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def check_backend(processes: Processes) -> None:
    """Check that the backend can train in so many processes.

    Raises:
        ConfigError: It cannot.
    """
    if processes.count > 1 and backend() != "jax":
        raise ConfigError(
            f"--processes {processes.count} needs KERAS_BACKEND=jax: with {backend()} a training runs on one machine only, in "
            "one process."
        )


def check_split(batch_size: int, devices: int, processes: int) -> None:
    """Check that batches can be split equally over all devices of several processes.

    Raises:
        ConfigError: They cannot.
    """
    if processes > 1 and batch_size % devices:
        raise ConfigError(
            f"a batch of {batch_size} images cannot be split equally over {devices} devices of {processes} processes. "
            f"Choose a --batch-size that is a multiple of {devices}, or another number of processes."
        )


@contextlib.contextmanager
def joined(processes: Processes | None) -> Iterator[Group]:
    """Connect this process with the others; None: it trains alone.

    A process that ends early ends the others, each with `connection.EXIT_LOST`.

    Raises:
        ConfigError: The backend is not JAX or is already in use, or the coordinator cannot listen.
    """
    processes = processes or Processes()
    if processes.count == 1:
        yield Group(processes)
        return
    check_backend(processes)
    client = connection.connect(processes)
    with connection.watched():
        yield Group(processes, client)
