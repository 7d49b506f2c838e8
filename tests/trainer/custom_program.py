"""A training program as a user may write one: it reads the contract's folder, trains a compact detector a little, and leaves a model.

python custom_program.py [--without-weights] FOLDER
"""

import json
import sys
from pathlib import Path

import numpy as np

from activelearning.formats import coco
from activelearning.settings import Training
from trainer import detectors, training
from trainer.export import export
from trainer.ground_truth import example, ground_truth
from trainer.letterbox import read_image
from trainer.recipe import Plan
from trainer.weights import weights_of


def train(folder: Path) -> None:
    """The whole program; as a function it can be named by `--train-callable` too."""
    project = json.loads((folder / "project.json").read_text("utf-8"))
    size, classes = tuple(project["input_size"]), project["classes"]
    labelled = coco.read(folder / "train.json").images
    images = [read_image(folder / "images" / one.image, size) for one in labelled]
    examples = [example(image, ground_truth(one, classes, image.size)) for image, one in zip(images, labelled, strict=True)]
    print(f"{len(examples)} images, {sum(len(one.boxes) for one in examples)} boxes, last model: {(folder / 'last').exists()}", flush=True)
    model = detectors.build("compact", len(classes), project["seed"])
    model = training.train(model, examples, Training(batch_size=2, threads=1), Plan(2, 1e-3))
    output = folder / "output"
    (output / "model.onnx").write_bytes(export(model, "compact", size))
    (output / "model.json").write_text(json.dumps({"family": "compact"}), "utf-8")
    if "--without-weights" not in sys.argv:
        (output / "weights.pt").write_bytes(weights_of(model, "compact", classes).to_bytes())
    assert np.isfinite(examples[0].boxes).all()


if __name__ == "__main__":
    train(Path(sys.argv[-1]))
