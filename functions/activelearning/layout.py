"""The one place that knows what lies where: names of containers, blobs and queues.

Rule: no other module builds a blob name. Names from outside are checked here, so that none climbs out of its container.
"""

import re

from activelearning.errors import BlobNameError

IMAGES = "images"
LABELS = "labels"

PROJECT = "project.toml"
STATE = "state.json"
TEST = "test.csv"
PERFORMANCE = "performance.csv"
LATEST = "models/latest.json"
BATCHES = "batches/"
"""Below it lies everything that was handed out and came back."""

REVIEWED_QUEUE = "reviewed-uploads"
NEW_IMAGES_QUEUE = "new-images"
JOBS_QUEUE = "train-jobs"
SHARDS_QUEUE = "predict-shards"
QUEUES = (REVIEWED_QUEUE, NEW_IMAGES_QUEUE, JOBS_QUEUE, SHARDS_QUEUE)
MAX_DEQUEUE_COUNT = 5
"""After so many failed deliveries a message moves to its poison queue, as the Functions host does it (`host.json`)."""

ORIGINAL_SUFFIXES = (".json", ".xml", ".zip", ".csv")
"""What the files end in that annotators' tools write."""
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp"})

_REVIEWED = re.compile(r"batches/([^/]+)/reviewed(?:-(\d+))?\.csv")
_HANDED_OUT = re.compile(r"batches/([^/]+)/totag\.csv")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def poison_queue(queue: str) -> str:
    """Where a queue's undeliverable messages end up."""
    return f"{queue}-poison"


def run_name(flow: str, iteration: int) -> str:
    """`main/3`: the third turn of the flow `main`."""
    return f"{flow}/{iteration}"


def iteration_of(run: str) -> int:
    """The number of a run: 3 of `main/3`; 0 of a text that is no run."""
    number = run.rpartition("/")[2]
    return int(number) if number.isdecimal() else 0


def totag(run: str, job: str = "") -> str:
    """The ordered pool. A prediction-only job rewrites it under a name of its own, with the same iteration's model."""
    return f"totag/{run}-{job[-8:]}.csv" if job else f"totag/{run}.csv"


def review(run: str) -> str:
    """The labelled images after a run, those first whose labels its model doubts most."""
    return f"review/{run}.csv"


def suspicions(review: str) -> str:
    """What is suspected of the labels in such a list."""
    return f"{review.removesuffix('.csv')}-suspicions.csv"


def is_review(name: str) -> bool:
    """Whether a table that images were claimed from is such a list."""
    return name.startswith("review/")


def tagged(run: str) -> str:
    """The labelled set a run trained on."""
    return f"tagged/{run}.csv"


def division(run: str, job: str = "") -> str:
    """What names a division of the pool into accepted images and others: its run, or a run and what asked for it anew."""
    return f"{run}-{job[-8:]}" if job else run


def autolabelled(division: str) -> str:
    """The images whose boxes the machine accepted by itself."""
    return f"autolabelled/{division}.csv"


def autolabel_record(division: str) -> str:
    """What was promised of them, and why."""
    return f"autolabelled/{division}.json"


def uploads(run: str) -> str:
    """The names of all reviewed uploads that are in a run's labelled set, this run's and its parents'."""
    return f"tagged/{run}.uploads.json"


def model(run: str, file: str) -> str:
    """A file of a run's model: `model.onnx`, `model.json`, `checkpoint.pt`, …"""
    return f"models/{run}/{file}"


def engine(run: str) -> str:
    """Which of a run's exported models predicts: as it was trained, or in smaller numbers, and what those cost."""
    return f"models/{run}/engine.json"


def model_in(run: str, numbers: str) -> str:
    """A run's exported model that computes with these numbers: `model.onnx`, `model-int8.onnx`, `model-float16.onnx`."""
    return model(run, "model.onnx" if numbers == "float32" else f"model-{numbers}.onnx")


def threshold_meaning(run: str) -> str:
    """What recall each confidence of a run's model stands for, and what thresholds that people set mean with it."""
    return f"models/{run}/thresholds.json"


def drafts(run: str) -> str:
    """What was learned of a run's drafts: from which threshold on they pay, and what to expect of them."""
    return f"models/{run}/drafts.json"


def trained_images(run: str) -> str:
    """The names of the images a run's model was trained on, one a line."""
    return f"models/{run}/trained.txt"


def outlook(run: str) -> str:
    """What more labelled images would bring, as it looked after a run."""
    return f"models/{run}/outlook.json"


def prediction_pool(job: str) -> str:
    """The images a job predicts and what with, pinned when it begins, so that every trainer at it makes the same shards."""
    return f"predictions/{job}/pool.txt"


def predictions_of(job: str) -> str:
    """What everything of a job's prediction starts with."""
    return f"predictions/{job}/"


def prediction_shard(job: str, shard: int) -> str:
    """A finished part of a prediction."""
    return f"predictions/{job}/{shard:06d}.csv"


def shard_features(job: str, shard: int) -> str:
    """How the images of a shard and their objects look; there before the shard is."""
    return f"predictions/{job}/{shard:06d}.npz"


def labelled_features(job: str) -> str:
    """How the labelled images look to the model that a job predicts with."""
    return f"predictions/{job}/labelled.npz"


def unreadable(job: str, shard: int) -> str:
    """The images of a shard that could not be read, with the reason; only there if there are any."""
    return f"predictions/{job}/{shard:06d}-unreadable.json"


def batch_folder(batch: str) -> str:
    """What every blob of a batch starts with."""
    return f"{BATCHES}{batch}/"


def batch_totag(batch: str) -> str:
    """What a tagger was handed."""
    return f"batches/{check_id(batch)}/totag.csv"


def batch_handout(batch: str) -> str:
    """Who was handed a batch when, with which model's drafts, and how long that was expected to take."""
    return f"batches/{check_id(batch)}/handout.json"


def batch_reviewed(batch: str, version: int = 1) -> str:
    """What came back, normalised. A second review is a new blob."""
    return f"batches/{check_id(batch)}/reviewed.csv" if version == 1 else f"batches/{check_id(batch)}/reviewed-{version}.csv"


def batch_original(batch: str, suffix: str, version: int = 1) -> str:
    """The annotation file as it was uploaded."""
    return f"batches/{check_id(batch)}/original{suffix}" if version == 1 else f"batches/{check_id(batch)}/original-{version}{suffix}"


def batch_of_reviewed(name: str) -> str | None:
    """The batch whose reviewed upload this blob is, or None for any other blob."""
    match = _REVIEWED.fullmatch(name)
    return match[1] if match else None


def batch_of_totag(name: str) -> str | None:
    """The batch whose drafts this blob holds, or None for any other blob."""
    match = _HANDED_OUT.fullmatch(name)
    return match[1] if match else None


def version_of_reviewed(name: str) -> int:
    """Which review of its batch a reviewed upload is, from 1; 0 for any other blob."""
    match = _REVIEWED.fullmatch(name)
    return int(match[2] or 1) if match else 0


def failures(queue: str) -> str:
    """Why messages of a queue could not be handled."""
    return f"failures/{queue}.json"


def journal(stamp: str, unique: str) -> str:
    """One line of the audit trail; `stamp` is a UTC time `2026-11-20T13:26:01.123456Z`, so names sort by time."""
    return f"journal/{stamp[:10]}/{stamp[11:].replace(':', '')}-{unique}.json"


def journal_of(day: str = "") -> str:
    """What the journal's entries of a day (`2026-11-20`), or all of them, start with."""
    return f"journal/{day}"


def check_id(value: str) -> str:
    """Return an id that is safe as one part of a blob name, or raise `BlobNameError`."""
    if not _SAFE_ID.fullmatch(value):
        raise BlobNameError(f"'{value}' is not a valid id: use letters, digits, '.', '_' and '-'")
    return value


def check_blob_name(name: str) -> str:
    """Return a blob name that stays inside its container and fits one CSV line, or raise `BlobNameError`."""
    fault = _fault(name)
    if fault:
        raise BlobNameError(f"{name!r} cannot be a blob name: {fault}; rename the file")
    return name


def _fault(name: str) -> str:
    if not name or len(name) > 1024:
        return "it is empty or longer than 1,024 characters"
    if _CONTROL.search(name):
        return "it holds a line break or another control character"
    if "\\" in name:
        return "it holds a backslash"
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a part of its path is empty, '.' or '..'"
    return ""


def is_image(name: str) -> bool:
    """Whether a blob is an image by its suffix."""
    return "." in name and name[name.rindex(".") :].lower() in IMAGE_SUFFIXES


def split_image(image: str) -> tuple[str, str]:
    """Folder (empty at the top) and file name of an image's blob name."""
    folder, _, filename = image.rpartition("/")
    return folder, filename


def join_image(folder: str, filename: str) -> str:
    """The inverse of `split_image`."""
    return f"{folder}/{filename}" if folder else filename
