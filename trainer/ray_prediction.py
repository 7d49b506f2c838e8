"""One prediction divided over a Ray cluster: its actors make shards of the pool, as trainers that help through the queue do.

Rule: an actor is told where the store is and which job and shards are asked for, and nothing else; a shard is created once and follows
from the pinned pool alone, so who made it, how often it was tried and which machine was lost on the way cannot be seen in the result.
Every machine must be able to open the store by its address (a directory must be shared), and finds the keys to it in its own environment.
"""

import importlib
import logging
import os
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from activelearning.commandline import plural
from activelearning.errors import UserError
from activelearning.store import open_store
from trainer import pinned_pool
from trainer.pinned_pool import PinnedPool
from trainer.work import Work

_SHARD, _ENGINE = "shard", "engine"


def predict(work: Work, pool: PinnedPool, missing: Sequence[int]) -> None:
    """Have these shards made by the cluster at `work.means.ray`. The job hears of every shard, and may raise to stop.

    Raises `UserError` where Ray is not installed, no cluster answers, or no other machine could open the store.
    """
    if work.store.url.startswith("memory:"):
        raise UserError("--ray needs a store that other machines can open, such as a shared directory, not one in memory")
    with _cluster(work.means.ray) as ray:
        data = _divided(ray, work, pool, missing)
        engines = set[str]()
        for made, row in enumerate(data.iter_rows(), 1):
            if row[_ENGINE] not in engines:
                engines.add(row[_ENGINE])
                work.tell(f"predicting on the Ray cluster with {row[_ENGINE]}")
            work.progressed()
            work.tell(f"{made:,} of {plural(len(missing), 'shard')} made by the Ray cluster at {work.means.ray}")


def _divided(ray: Any, work: Work, pool: PinnedPool, missing: Sequence[int]) -> Any:
    """The lazy data set whose rows are made shards: a block a shard, an actor a GPU, or a CPU where there is none."""
    resources = ray.cluster_resources()
    unit = "GPU" if resources.get("GPU") else "CPU"
    actors = max(1, min(int(resources.get(unit, 1)), len(missing)))
    shards = ray.data.from_items([{_SHARD: number} for number in missing], override_num_blocks=len(missing))
    return shards.map_batches(
        _Maker,
        fn_constructor_args=(work.store.url, work.job.id, unit == "GPU"),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        **{"num_gpus" if unit == "GPU" else "num_cpus": 1},
    )


class _Maker:
    """An actor: the job's pool and model, loaded once, and the shards that it is asked for."""

    def __init__(self, url: str, job: str, on_gpu: bool) -> None:
        from trainer import shards

        store = open_store(url)
        pool = pinned_pool.pinned(store.labels, job)
        if pool is None:
            raise UserError(f"{url} does not hold the pool of {job}: every machine of the cluster must see the same store")
        # beside a GPU threads decode; without one, each of the actors has a core
        self._job, self._store, self._make = shards.load(store, job, pool, threads=0 if on_gpu else 1), store, shards.make

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        for number in batch[_SHARD].tolist():
            self._make(self._store, self._job, number, lambda: None)
        predictor = self._job.predictor
        return {_SHARD: batch[_SHARD], _ENGINE: np.array([str(predictor.engine) if predictor else "no model"] * len(batch[_SHARD]))}


@contextmanager
def _cluster(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at an address; a connection that there was before is used, and left as it is."""
    # It would report the use of itself, and draw bars over our own progress.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with warnings.catch_warnings():
        # of its own internals and of libraries that it brings
        warnings.simplefilter("ignore")
        ray = _installed()
        ours = not ray.is_initialized()
        try:
            if ours:
                _connect(ray, address)
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            ray.data.DataContext.get_current().enable_progress_bars = False
            yield ray
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"the Ray cluster at {address} does not answer, or failed: {str(error).splitlines()[0]}") from error
        finally:
            if ours:
                ray.shutdown()


def _connect(ray: Any, address: str) -> None:
    """Connect, and keep our own way to be told to stop: Ray would end the process at once."""
    told_to_stop = signal.getsignal(signal.SIGTERM)
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, told_to_stop)


def _installed() -> Any:
    try:
        importlib.import_module("ray.data")
        return importlib.import_module("ray")
    except ModuleNotFoundError as error:
        raise UserError(f"--ray needs {error.name}: pip install 'activelearning[ray]'") from error
