"""Training by somebody else's program: the contract kept, and broken."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper

from activelearning import commits, layout, state
from activelearning.errors import UserError
from activelearning.jobs import LeaseLost
from activelearning.state import FAILED, Job
from activelearning.store import open_store
from tests.clock import Clock
from tests.trainer import custom_program, loops, scenes
from tests.trainer.loops import World, hand_in, trained_on
from trainer import custom, custom_output, fitting, full_network, performance, start, study
from trainer.means import Means
from trainer.weights import Weights, weights_of
from trainer.work import Work

NAMES = ("logits", "distances", "log_stds")
PROGRAM = (sys.executable, custom_program.__file__)


@pytest.fixture
def world() -> World:
    clock = Clock()
    store = open_store("memory:", clock)
    loops.make(store, clock)
    return World(store, clock)


def _settle(world: World, *program: str) -> None:
    world.means = Means(1, program)
    world.settle()


def _work(world: World, program: tuple[str, ...], tell=lambda line: None) -> Work:
    return Work(world.store, loops.SETTINGS, Job("job-1", state.TRAIN, "main/1", 0), tell, world.clock, Means(1, program))


def _run(world: World, program: tuple[str, ...], tell=lambda line: None) -> custom_output.Output:
    images = [loops.truth(seed, loops.name(seed)) for seed in range(3)]
    return custom.train(_work(world, program, tell), images, scenes.SIZE, 1, None)


def test_a_turn_with_a_model_of_another_program_and_what_needs_its_weights(world):
    hand_in(world.store, "b1", range(4))
    _settle(world, *PROGRAM, "--without-weights")
    assert any("3 images, 9 boxes, last model: False" in line for line in world.told)
    commit = commits.latest(world.store.labels)
    assert commit.model == "main/1" and len(loops.listed(world.store, commit.totag)) == 8
    card = performance.read_card(world.store.labels, "main/1")
    assert card["training"]["program"] == [*PROGRAM, "--without-weights"] and card["metrics"]
    assert len(fitting.trained_on(world.store.labels, "main/1")) == 3
    assert trained_on(world.store, "main/1") == [layout.batch_reviewed("b1")]
    told = []
    _, warm = start.start(replace(_work(world, (), told.append), job=Job("job-2", state.TRAIN, "main/2", 1)), commit, lambda run: True)
    assert not warm and any("the last model has no weights" in line for line in told)
    of_program = study.Study(_work(world, ()), "main/1", b"", "compact", (), commit)
    with pytest.raises(UserError, match=r"main/1 has no weights\.pt, as the program that trained it left none"):
        full_network.held_out(of_program, 0.05)


def test_a_function_trains_and_the_weights_that_it_leaves_are_kept(world, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    told = []
    made = _run(world, (sys.executable, "-m", "trainer.call_function", "tests.trainer.custom_program:train"), told.append)
    assert any("3 images, 9 boxes" in line for line in told)
    assert made.input_size == scenes.SIZE and made.weights.classes == scenes.CLASSES


def _python(tmp_path: Path, text: str) -> tuple[str, ...]:
    program = tmp_path / "program.py"
    program.write_text(text, "utf-8")
    return (sys.executable, str(program))


def test_the_folder_holds_what_the_contract_says(world, tmp_path):
    found = tmp_path / "found.json"
    program = f"""
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
facts = json.loads((folder / "project.json").read_text())
names = {{name: [one["file_name"] for one in json.loads((folder / name).read_text())["images"]] for name in ("train.json", "watched.json")}}
told = [facts[key] for key in ("run", "seed", "input_size")] + [facts["training"]["batch_size"]]
pathlib.Path({str(found)!r}).write_text(json.dumps([files, *told, names]))
"""
    images = [loops.truth(seed, loops.name(seed)) for seed in range(12)]
    settings = replace(loops.SETTINGS, training=replace(loops.SETTINGS.training, validation_share=0.25))
    work = replace(_work(world, _python(tmp_path, program)), settings=settings)
    with pytest.raises(UserError, match=r"left no model\.json"):
        custom.train(work, images, scenes.SIZE, 7, None)
    files, run, seed, size, batch_size, names = json.loads(found.read_text())
    assert files == sorted(["project.json", "train.json", "watched.json", *(f"images/{one.image}" for one in images)])
    assert (run, seed, size, batch_size) == ("main/1", 7, [*scenes.SIZE], 4)
    assert len(names["watched.json"]) == 3 and {*names["train.json"]} | {*names["watched.json"]} == {one.image for one in images}
    assert not {*names["train.json"]} & {*names["watched.json"]}


def test_a_program_that_fails_fails_the_job_with_its_last_line(world, tmp_path):
    hand_in(world.store, "b1", range(4))
    _settle(world, *_python(tmp_path, "print('epoch 1', flush=True)\nraise SystemExit('out of disk')"))
    [job] = [job for job in state.load(world.store.labels).jobs.values() if job.kind == state.TRAIN]
    assert job.status == FAILED
    assert job.reason == "the training command ended with exit code 1; the last it printed is: out of disk"
    with pytest.raises(UserError, match=r"cannot be run .*: no-such-program"):
        _run(world, ("no-such-program",))


def test_a_program_ends_with_the_lease_and_so_does_what_it_started(world, tmp_path):
    alive = tmp_path / "alive"
    child = f"import pathlib, time\nwhile True: pathlib.Path({str(alive)!r}).write_text(str(time.time())); time.sleep(0.02)"
    program = (
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\nprint('begun', flush=True)\ntime.sleep(60)"
    )

    def tell(line: str) -> None:
        if alive.exists():
            raise LeaseLost("it is with another")

    with pytest.raises(LeaseLost):
        _run(world, _python(tmp_path, program), tell)
    last = alive.read_text()
    time.sleep(0.3)
    assert alive.read_text() == last


@pytest.fixture
def output(tmp_path) -> Path:
    """What a program left, all of it right."""
    (tmp_path / "model.onnx").write_bytes(scenes.onnx())
    (tmp_path / "model.json").write_text('{"family": "compact"}')
    (tmp_path / "weights.pt").write_bytes(weights_of(scenes.trained(), "compact", scenes.CLASSES).to_bytes())
    (tmp_path / "sample.png").write_bytes(loops.png(0))
    return tmp_path


def test_what_fits_is_taken(output):
    made = custom_output.read(output, loops.SETTINGS, output / "sample.png")
    assert (made.onnx, made.input_size) == (scenes.onnx(), scenes.SIZE) and isinstance(made.weights, Weights)
    (output / "weights.pt").unlink()
    assert custom_output.read(output, loops.SETTINGS, output / "sample.png").weights is None


def _archive(**changes: object) -> bytes:
    return replace(weights_of(scenes.trained(), "compact", scenes.CLASSES), **changes).to_bytes()


@pytest.mark.parametrize(
    ("file", "content", "sentence"),
    [
        ("model.json", b"compact", "model.json of the training program is not JSON"),
        ("model.json", b"[]", "names the family None, and detector.family of project.toml is 'compact'"),
        ("model.json", b'{"family": "rfdetr-nano"}', "they must be the same"),
        ("model.onnx", b"", "cannot be opened"),
        ("model.onnx", b"not a model", "cannot be opened"),
        ("weights.pt", b"PK", "is no file as trainer.weights makes it"),
        ("weights.pt", lambda: _archive(classes=("bar", "square")), "is of family 'compact' and the classes bar, square"),
        ("weights.pt", lambda: _archive(state={"a": torch.zeros(1)}), "does not fit the network of family 'compact'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(output, file, content, sentence):
    (output / file).write_bytes(content() if callable(content) else content)
    with pytest.raises(UserError, match=sentence):
        custom_output.read(output, loops.SETTINGS, output / "sample.png")


def _onnx(points: int, classes: int, names: tuple[str, ...], shape: tuple[int, int]) -> bytes:
    """A model whose outputs have the compact detector's meaning, if `points` and `classes` fit: the same everywhere in all images."""
    nodes, found = [helper.make_node("Shape", ["images"], ["batch"], start=0, end=1)], []
    for name, last, value in zip(names, (classes, 4, 4), (9.0, 20.0, 0.0), strict=True):
        rest = helper.make_tensor(f"{name}-rest", TensorProto.INT64, [2], [points, last])
        nodes += [
            helper.make_node("Constant", [], [rest.name], value=rest),
            helper.make_node("Concat", ["batch", rest.name], [f"{name}-shape"], axis=0),
            helper.make_node("ConstantOfShape", [f"{name}-shape"], [name], value=helper.make_tensor("v", TensorProto.FLOAT, [1], [value])),
        ]
        found.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", points, last]))
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, *shape])
    graph = helper.make_graph(nodes, "other", [images], found)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


@pytest.mark.parametrize(
    ("points", "classes", "names", "shape", "sentence"),
    [
        (252, 3, NAMES, (96, 128), "tells 3 classes apart, but the project has 2"),
        (7, 2, NAMES, (96, 128), "cannot be run as family 'compact'"),
        (252, 2, ("scores", *NAMES[1:]), (96, 128), "has the outputs scores, distances, log_stds, but those of family"),
        (252, 2, NAMES, (90, 128), "must have an input 'images'"),
    ],
)
def test_a_model_of_other_shapes_is_one_sentence(output, points, classes, names, shape, sentence):
    (output / "model.onnx").write_bytes(_onnx(points, classes, names, shape))
    with pytest.raises(UserError, match=sentence):
        custom_output.read(output, loops.SETTINGS, output / "sample.png")


def test_another_programs_model_needs_no_masks_nor_features(output):
    (output / "model.onnx").write_bytes(_onnx(252, 2, NAMES, (96, 128)))
    assert custom_output.read(output, loops.SETTINGS, output / "sample.png").input_size == (128, 96)
