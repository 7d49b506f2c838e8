"""`trainer similarity` as a person types it, on drawn images."""

import io
import json
import math
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from activelearning import commits, labelled, layout, onboarding, table
from activelearning.commits import Commit
from activelearning.labels import Box, ImageLabels
from activelearning.settings import Settings
from activelearning.store import Store, open_store
from trainer import image_sets
from trainer.cli import main

_PLAIN, _OTHER = (200, 60, 60), (60, 60, 200)


def _image(random: np.random.Generator, colour: tuple[int, int, int], confidence: float | None) -> tuple[bytes, tuple[Box, ...]]:
    """Four objects of a colour on grey, a stray box on nothing where a model looked."""
    pixels = random.integers(110, 130, (96, 128, 3), dtype=np.uint8)
    boxes = []
    for column in range(4):
        width, height = random.integers(14, 26, 2)
        left, top = 32 * column + 2, int(random.integers(2, 60))
        shade = np.clip(np.array(colour) + random.normal(0, 12, 3), 0, 255)
        pixels[top : top + height, left : left + width] = np.clip(shade + random.normal(0, 8, (height, width, 3)), 0, 255)
        boxes.append(
            Box(
                "bird",
                left / 128,
                top / 96,
                (left + width) / 128,
                (top + height) / 96,
                confidence,
                "human" if confidence is None else "model",
            )
        )
    if confidence is not None:
        boxes.append(Box("bird", 0.0, 0.0, 1.0, 1.0, 0.1, "model"))
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue(), tuple(boxes)


def _labels(store: Store, name: str, random: np.random.Generator, colour: tuple[int, int, int], confidence: float | None) -> ImageLabels:
    content, boxes = _image(random, colour, confidence)
    store.images.create(name, content)
    return ImageLabels(name, 128, 96, boxes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool of which the first eight images to review are blue, the others red; a test split of red ones, labelled images of both."""
    folder = tmp_path_factory.mktemp("similarity") / "store"
    store, random = open_store(str(folder)), np.random.default_rng(4)
    onboarding.create_project(store, onboarding.make_settings(("bird", "fish"), []))
    pool = [_labels(store, f"pool/{k:02}.png", random, _OTHER if k < 8 else _PLAIN, 0.9) for k in range(40)]
    test = [_labels(store, f"test/{k:02}.png", random, _OTHER if k % 5 == 0 else _PLAIN, None) for k in range(10)]
    tagged = [*test, *(_labels(store, f"tagged/{k:02}.png", random, _OTHER, None) for k in range(12))]
    store.labels.create(layout.totag("main/1"), table.table_bytes(pool))
    labelled.join_test(store.labels, test)
    labelled.write(store.labels, "main/1", tagged, [])
    commit = Commit(1, "j", "main/1", "main/1", layout.totag("main/1"), layout.tagged("main/1"), 0.0, 40, 0, 0.0)
    assert commits.publish(store.labels, commit, 0)
    return folder


def _found(capsys: pytest.CaptureFixture[str], folder: Path, *words: str) -> dict[str, object]:
    assert main(["similarity", str(folder), *words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_test_split_like_the_pool_is_told_from_a_selection_that_is_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    like = _found(capsys, folder, "--of", "test", "--to", "pool")
    assert like["sentence"].startswith("test stands for pool as well as a random draw would: similarity 0.")
    unlike = _found(capsys, folder, "--of", "totag:8", "--to", "pool")
    assert unlike["sentence"].startswith("totag:8 is less like pool than a random draw would be")
    assert unlike["sentence"].endswith("most apart is the colour of bird")
    assert unlike["similarity"]["value"] < unlike["draw_low"] <= unlike["draw_high"] <= 1
    assert (unlike["of_images"], unlike["to_images"], len(unlike["draws"])) == (8, 32, 20)


def test_weak_boxes_of_the_model_are_no_objects(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bird, fish = _found(capsys, folder, "--of", "totag:8", "--to", "pool")["similarity"]["classes"]
    assert (bird["objects_of"], bird["objects_to"]) == (4 * 8, 4 * 32)
    assert fish["similarity"] is None and fish["weight"] == 0


def test_no_image_is_on_both_sides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = _found(capsys, folder, "--of", "test", "--to", "tagged")
    # the ten of the test split are labelled too; half of the other twelve are drawn against
    assert (found["of_images"], found["to_images"]) == (6, 12)
    assert main(["similarity", str(folder), "--of", "tagged", "--to", "tagged"]) == 1
    assert "tagged has 22 images, and tagged 0 others: too few to compare" in capsys.readouterr().err


def test_the_cap_draws_the_same_images_for_the_same_seed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--of", "test", "--to", "pool", "--images", "16")
    first = _found(capsys, folder, *words)
    assert (first["of_images"], first["to_images"]) == (8, 16)
    assert _found(capsys, folder, *words) == first
    assert _found(capsys, folder, *words, "--seed", "1") != first


def _with_table(images: int) -> tuple[Store, Settings]:
    store = open_store("memory:")
    boxes = tuple(Box("bird", 0.1, 0.1, 0.2, 0.2, 0.9, "model") for _ in range(4))
    rows = table.table_bytes(ImageLabels(f"{k:05}.png", 128, 96, boxes) for k in range(images))
    store.labels.create(layout.totag("main/1"), rows)
    assert commits.publish(store.labels, Commit(1, "j", "main/1", "main/1", layout.totag("main/1"), "", 0.0, images, 0, 0.0), 0)
    return store, Settings(("bird",))


def test_the_head_of_a_table_is_read_no_further_than_it_is_asked_for() -> None:
    store, settings = _with_table(8000)
    tracemalloc.start()
    names = [labels.image for labels in image_sets.first(store, settings, "totag:3")]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert names == ["00000.png", "00001.png", "00002.png"]
    assert held < 2_000_000


def test_no_more_images_are_held_than_are_drawn() -> None:
    store, settings = _with_table(8000)
    tracemalloc.start()
    sets = image_sets.first(store, settings, "totag:20"), image_sets.second(store, settings, "pool")
    of, to = image_sets.chosen(*sets, 50, 0, ("totag:20", "pool"))
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(of), len(to)) == (20, 50) and {one.image for one in of}.isdisjoint(one.image for one in to)
    # all of the pool takes some 40 MB, and a read of the table at most a megabyte or two
    assert held < 10_000_000


def test_every_image_is_as_likely_to_be_drawn_as_any_other() -> None:
    of, to = ([ImageLabels(f"{kind}{k}.png", 1, 1, ()) for k in range(20)] for kind in "ab")
    drawn = [image_sets.chosen(iter(of), iter(to), 5, seed, ("a", "b")) for seed in range(2000)]
    times = Counter(one.image for _, others in drawn for one in others)
    # each of 20 is one of 5 in a quarter of 2000 draws, give or take four deviations
    assert len(times) == 20 and all(abs(count - 500) < 4 * math.sqrt(2000 * 0.25 * 0.75) for count in times.values())
    assert all(
        [one.image for one in others] == sorted((one.image for one in others), key=lambda name: int(name[1:-4])) for _, others in drawn
    )


def test_a_person_reads_a_table_and_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["similarity", str(folder), "--of", "totag:8", "--to", "pool"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8 images of totag:8 beside 32 of pool"
    assert lines[2].split()[:4] == ["bird", "32", "/", "128"] and "too few objects" in lines[3]
    assert lines[-2] == "objects of images that nobody has reviewed are the model's boxes, from drafts.min_confidence on"


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, random = open_store(str(tmp_path / "s")), np.random.default_rng(0)
    onboarding.create_project(store, onboarding.make_settings(("bird",), []))
    pool = [_labels(store, f"{k:02}.png", random, _PLAIN, 0.9) for k in range(12)]
    store.images.create("bad.png", b"no image")
    gone = [ImageLabels(name, 128, 96, pool[0].boxes) for name in ("bad.png", "gone.png")]
    store.labels.create(layout.totag("main/1"), table.table_bytes([*pool, *gone]))
    labelled.join_test(store.labels, [_labels(store, f"t{k}.png", random, _PLAIN, None) for k in range(4)])
    assert commits.publish(store.labels, Commit(1, "j", "main/1", "main/1", layout.totag("main/1"), "", 0.0, 14, 0, 0.0), 0)
    assert main(["similarity", str(tmp_path / "s"), "--of", "test", "--to", "pool", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["to_images"] == 12
    assert "bad.png: the file is no image" in said.err and "gone.png: it is gone from the store" in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--of", "pool", "--to", "pool"), "there is no set 'pool' here; choose from: tagged, test, totag:100"),
        (("--of", "totag:0", "--to", "pool"), "there is no set 'totag:0' here"),
        (("--of", "test", "--to", "test"), "there is no set 'test' here; choose from: pool, tagged"),
        (("--of", "totag:1", "--to", "pool"), "totag:1 has 1 images, and pool 39 others: too few to compare"),
        (("--of", "test", "--to", "pool", "--images", "3"), "--images must be at least 4"),
        (("--of", "test", "--to", "pool", "--seed", "-1"), "--seed not below 0"),
    ],
)
def test_a_question_without_an_answer_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert main(["similarity", str(folder), *words]) == 1
    assert said in capsys.readouterr().err


def test_a_project_without_a_run_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onboarding.create_project(open_store(str(tmp_path / "s")), onboarding.make_settings(("bird",), []))
    assert main(["similarity", str(tmp_path / "s"), "--of", "test", "--to", "pool"]) == 1
    assert "there is no image in test yet" in capsys.readouterr().err
