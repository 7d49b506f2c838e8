"""A pool predicted by a cluster of two nodes, on this machine, is the one that a single trainer predicts, byte for byte."""

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from activelearning import layout
from activelearning.errors import UserError
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer.loops import SETTINGS
from tests.trainer.test_shards import make
from trainer import pinned_pool, ray_prediction, shards
from trainer.means import Means
from trainer.work import Work


@contextmanager
def cluster_of_two_nodes() -> Iterator[str]:
    """Its address."""
    # no usage reports, no dashboard, one thread a process
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    os.environ.update(quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cluster_utils = importlib.import_module("ray.cluster_utils")
        node = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80 * 2**20, "include_dashboard": False}
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=node)
        try:
            cluster.add_node(**node)
            yield cluster.address
        finally:
            cluster.shutdown()
            for name in quiet:
                os.environ.pop(name, None)


def predicted(url: str, address: str) -> tuple[dict[str, bytes], list[str]]:
    """The shards of a fresh project in a directory, with all that lies beside them, and what was told."""
    store, told = open_store(url), list[str]()
    job = make(store, Clock()())
    pool = pinned_pool.pinned(store.labels, job.id)
    assert pool is not None
    shards.predict(Work(store, SETTINGS, job, told.append, Clock(), Means(ray=address)), pool)
    return {info.name: store.labels.read(info.name).content for info in store.labels.list(layout.predictions_of(job.id))}, told


def test_a_cluster_of_two_nodes_makes_the_shards_of_one_trainer(tmp_path: Path) -> None:
    alone, _ = predicted(str(tmp_path / "alone"), "")
    with cluster_of_two_nodes() as address:
        together, told = predicted(str(tmp_path / "together"), address)
    assert together == alone and sum(name.endswith(".csv") for name in alone) == 12
    assert told[0].startswith("predicting on the Ray cluster with onnxruntime on") and told[-1].startswith("12 of 12 shards made by")


def test_a_store_in_memory_is_not_for_a_cluster() -> None:
    with pytest.raises(UserError, match="a store that other machines can open"):
        _asked(open_store("memory:"))


def test_without_ray_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # as python tells of a package that is not there
    monkeypatch.setitem(sys.modules, "ray.data", None)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"--ray needs ray.*: pip install 'activelearning\[ray\]'"):
        _asked(open_store(str(tmp_path)))


def _asked(store: Store) -> None:
    job = make(store, Clock()())
    pool = pinned_pool.pinned(store.labels, job.id)
    assert pool is not None
    ray_prediction.predict(Work(store, SETTINGS, job, lambda line: None, Clock(), Means(ray="auto")), pool, [0])
