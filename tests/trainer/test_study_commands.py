"""The commands that look into a model, on a store with a trained one, as a person types them."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from activelearning import commits, drafts_record, labelled, layout, outlook_shown, overview, project_file, state, table
from activelearning.settings import Policy, Prediction, Settings
from activelearning.state import PREDICT, Job
from activelearning.store import Store, open_store
from tests.clock import Clock
from tests.trainer import loops, scenes
from trainer import calibrating, calibration, validation_files
from trainer.cli import main
from trainer.weights import weights_of

SETTINGS = replace(
    loops.SETTINGS, policy=Policy(quiet_seconds=1.0, report=True), prediction=Prediction(min_confidence=0.02, max_detections=20)
)
TEST, TAGGED, POOL = range(40, 56), range(4), range(60, 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first turn is done, with a model that was trained before."""
    folder = tmp_path_factory.mktemp("study") / "store"
    clock = Clock()
    store = open_store(str(folder), clock)
    _make(store, SETTINGS)
    world = loops.World(store, clock)
    loops.hand_in(store, "b1", TAGGED)
    world.settle()
    assert commits.latest(store.labels), world.told
    return folder


def _make(store: Store, settings: Settings) -> None:
    store.labels.create(layout.PROJECT, project_file.render_project(settings).encode())
    for seed in (*TEST, *TAGGED, *POOL):
        store.images.create(loops.name(seed), loops.png(seed))
    labelled.join_test(store.labels, [loops.truth(seed, loops.name(seed)) for seed in TEST])
    weights = weights_of(scenes.trained(), "compact", scenes.CLASSES)
    store.labels.create(layout.model("main/1", "weights.pt"), weights.to_bytes())


def _said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, object]:
    assert main([*map(str, words), "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def test_a_turn_leaves_a_calibration_and_a_report(folder: Path) -> None:
    store = open_store(str(folder))
    found = calibrating.read(store.labels, "main/1")
    assert found and found.sample.images == len(TEST)
    page = store.labels.read(layout.model("main/1", "report.html")).content.decode()
    assert "main/1" in page and "square" in page
    assert any(info.name.endswith("reliability.png") for info in store.labels.list("models/main/1/report/"))


def test_a_turn_leaves_an_outlook_that_page_and_status_show(folder: Path) -> None:
    store = open_store(str(folder))
    found = outlook_shown.read(store.labels, "main/1")
    assert found and [(one.run, one.labelled_images, one.test_images) for one in found.measured] == [("main/1", len(TAGGED), len(TEST))]
    assert found.measured[0].resampled and 0 < found.measured[0].standard_error < 0.2
    assert "When to stop" in store.labels.read(layout.model("main/1", "report.html")).content.decode()
    assert overview.overview(store, 0.0).outlook == found


def test_the_pool_is_told_the_calibrated_probability(folder: Path) -> None:
    store = open_store(str(folder))
    images = table.read_labels(store.labels.read("totag/main/1.csv").content.decode(), "totag").images
    measures = [dict(box.measures) for labels in images for box in labels.boxes]
    assert measures and all(0 <= one["probability"] <= 1 and one["total"] > 0 and one["calibrated_px"] > 0 for one in measures)


def test_calibrate_shows_and_keeps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _said(capsys, "calibrate", folder, "--detection", "ts_all", "--dry-run")
    assert shown["options"]["detection"] == "ts_all" and shown["before"]["detection"]["d_ece"] >= 0
    store = open_store(str(folder))
    before = calibrating.read(store.labels, "main/1")
    assert before and before.options.detection != "ts_all"
    _said(capsys, "calibrate", folder, "--detection", "ts_all")
    after = calibrating.read(store.labels, "main/1")
    assert after and after.options.detection == "ts_all"
    assert main(["calibrate", str(folder)]) == 0
    assert "d_ece" in capsys.readouterr().out


def test_with_another_calibration_the_drafts_are_learned_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blobs = open_store(str(folder)).labels
    learned = drafts_record.read(blobs, "main/1")
    assert learned
    drafts_record.replace(blobs, replace(learned, other=0.123, objects=99.0, missed_factor=1.5, missed_experience=(10.0, 0.0)))
    _said(capsys, "calibrate", folder, "--detection", "platt_all")
    after = drafts_record.read(blobs, "main/1")
    assert after and (after.other, after.objects) != (0.123, 99.0)
    assert after.missed_experience == (10.0, 0.0), "what people did is still known"


def test_a_calibration_is_not_changed_under_a_prediction(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(folder))
    before = state.load(store.labels)
    state.update(store.labels, lambda now: now.with_job(Job("predict-1", PREDICT, "main/1", now.sequence)))
    assert main(["calibrate", str(folder)]) == 1 and "predict-1 is queued" in capsys.readouterr().err
    assert main(["calibrate", str(folder), "--dry-run"]) == 0
    state.update(store.labels, lambda now: replace(now, jobs=before.jobs))


def test_an_unknown_method_or_store_is_one_sentence(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(folder), "--box", "magic"]) == 1
    assert "magic" in (said := capsys.readouterr().err) and "iso_percoo" in said and "Traceback" not in said
    assert main(["threshold", str(tmp_path / "none")]) == 1
    assert "no project" in capsys.readouterr().err
    assert main(["report", str(folder), "--model", "main/9"]) == 1
    assert "main/9" in capsys.readouterr().err


def test_a_damaged_calibration_says_which_file_and_what_to_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(str(folder))
    name = layout.model("main/1", "calibration.json")
    content = store.labels.read(name)
    calibrating.replace_file(store.labels, name, b'{"half": ')
    assert main(["validate", str(folder), "--to", str(folder.parent / "damaged")]) == 1
    assert name in capsys.readouterr().err
    calibrating.replace_file(store.labels, name, content.content)


def test_threshold_keeps_its_budget_and_is_reused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("threshold", folder, "--keep-correct", "0.8", "--uncertainties", "unconfidence,total", "--confidence", "0.5")
    first = _said(capsys, *words)
    at_half = first["effects"][0]
    assert at_half["correct_kept"] >= 0.8 * (at_half["correct_kept"] + at_half["correct_removed"])
    assert {row["uncertainty"] for row in first["separations"]} == {"unconfidence", "total", "mix"}
    assert first["nearest_vertex"]["correct_kept"] > 0
    kept = open_store(str(folder)).labels.read(layout.model("main/1", "thresholds.json")).etag
    assert _said(capsys, *words) == first
    assert open_store(str(folder)).labels.read(layout.model("main/1", "thresholds.json")).etag == kept
    _said(capsys, "threshold", folder, "--remove-false", "0.5")
    assert open_store(str(folder)).labels.read(layout.model("main/1", "thresholds.json")).etag != kept


def test_threshold_names_the_uncertainties_there_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["threshold", str(folder), "--uncertainties", "gut-feeling"]) == 1
    assert "gut-feeling" in (said := capsys.readouterr().err) and "mutual_information" in said


def test_validate_writes_every_detection_beside_the_truth(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _said(capsys, "validate", folder, "--to", tmp_path)
    rows = list(csv.DictReader((tmp_path / "validation.csv").read_text("utf-8").splitlines()))
    assert len(rows) == shown["rows"] and {row["image_name"] for row in rows} <= {loops.name(seed) for seed in TEST}
    objects = sum(len(loops.truth(seed, "x").boxes) for seed in TEST)
    assert sum(row["kind"] in ("matched", "missed") for row in rows) == objects == shown["summary"]["objects"]
    _said(capsys, "validate", folder, "--to", tmp_path, "--parquet")
    assert len(validation_files.read(tmp_path / "validation.parquet")) == len(rows)


def test_full_dropout_changes_the_spread_and_nothing_else(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _said(capsys, "validate", folder, "--to", tmp_path / "heads")
    _said(capsys, "validate", folder, "--to", tmp_path / "full", "--full-dropout", "0.05")
    heads, full = (validation_files.read(tmp_path / name / "validation.csv") for name in ("heads", "full"))
    assert heads["iou"] == pytest.approx(full["iou"], abs=1e-3, nan_ok=True)
    assert heads["aleatoric"] == pytest.approx(full["aleatoric"], rel=1e-3, nan_ok=True)
    found = heads["kind"] != "missed"
    assert (full["epistemic"][found] > 0).all() and not (heads["epistemic"] == full["epistemic"])[found].any()
    assert main(["validate", str(folder), "--to", str(tmp_path), "--full-dropout", "2"]) == 1
    assert "between 0 and 1" in capsys.readouterr().err


def test_corrupt_compares_with_the_images_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _said(capsys, "corrupt", folder, "--corruptions", "gaussian_noise,horizontal_flip", "--severities", "5", "--images", "3")
    assert [row["corruption"] for row in shown["rows"]] == ["none", "gaussian_noise", "horizontal_flip"]
    assert main(["corrupt", str(folder), "--severities", "9"]) == 1
    assert main(["corrupt", str(folder), "--severities", "strong"]) == 1
    assert "strong" in capsys.readouterr().err


def test_report_goes_where_it_is_told(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = _said(capsys, "report", folder, "--to", tmp_path)
    assert Path(str(shown["page"])).read_text("utf-8").startswith("<!")
    assert {path.name for path in tmp_path.glob("*.png")} == set(shown["plots"])
    assert _said(capsys, "report", folder)["page"] == "models/main/1/report.html"


def test_the_kept_calibration_is_what_is_applied(folder: Path) -> None:
    store = open_store(str(folder))
    content = store.labels.read(layout.model("main/1", "calibration.json")).content.decode()
    assert calibration.to_json(calibration.from_json(content, "x")) == content
