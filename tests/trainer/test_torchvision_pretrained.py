import json
import pickle
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from activelearning.errors import UserError
from tests.trainer import scenes, torchvision_models  # noqa: F401
from trainer import detectors, weights
from trainer.detectors import Blueprint

from trainer.detectors import torchvision_backbones as backbones  # isort: skip
from torchvision.models import detection, get_weight  # isort: skip
from safetensors.torch import save_file  # isort: skip

NAMES = [
    f"{kind}-{backbone}" for kind in ("fasterrcnn", "maskrcnn", "retinanet", "fcos") for backbone in ("resnet50", "regnet", "convnext")
]
PUBLISHED = {
    "fasterrcnn-resnet50": (detection.fasterrcnn_resnet50_fpn_v2, 90),
    "maskrcnn-resnet50": (detection.maskrcnn_resnet50_fpn_v2, 90),
    "retinanet-resnet50": (detection.retinanet_resnet50_fpn_v2, 91),
    "fcos-resnet50": (detection.fcos_resnet50_fpn, 91),
}


def _tiny(name: str, classes: int = 2, seed: int = 0, pretrained: Path | None = None) -> nn.Module:
    return detectors.build(name, classes, seed, tiny=True, pretrained=pretrained)


def _plain(model: nn.Module) -> dict[str, torch.Tensor]:
    """The state as torchvision has it, without what is ours."""
    state = {name.removeprefix("network."): value for name, value in model.state_dict().items()}
    return {name: value.clone() for name, value in state.items() if "log_s" not in name}


def _of_classes(model: nn.Module, name: str) -> bool:
    return f"network.{name}".startswith(tuple(f"{layer}." for layer in model.class_layers))


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_weights_that_torchvision_publishes_fit_by_name_and_shape(name):
    published, classes = PUBLISHED[name]
    # without memory for the weights, of which there are tens of millions
    with torch.device("meta"):
        theirs = published(weights=None, weights_backbone=None, num_classes=91).state_dict()
        ours = detectors.family(name).build(Blueprint(classes)).state_dict()
    assert {key: value.shape for key, value in theirs.items()}.items() <= {
        key.removeprefix("network."): value.shape for key, value in ours.items()
    }.items()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_said_to_be_published_is_known_to_torchvision(name):
    published = detectors.family(name).published
    place, _, weights_name = published.hub.partition(":")
    assert place == "torchvision"
    assert get_weight(weights_name).url.startswith("https://download.pytorch.org/")
    assert published.licence == "BSD-3-Clause"


@pytest.mark.parametrize("name", ["maskrcnn-resnet50", "retinanet-regnet", "fcos-convnext"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_detector_of_other_classes_is_taken_over_but_for_its_class_layers(name, suffix, tmp_path):
    before = _plain(_tiny(name, classes=5, seed=1))
    file = tmp_path / f"detector{suffix}"
    torch.save(before, file) if suffix == ".pth" else save_file(before, file)
    model, fresh = _tiny(name, pretrained=file), _plain(_tiny(name))
    for key, value in _plain(model).items():
        expected = fresh if _of_classes(model, key) else before
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("backbone", ["resnet50", "regnet", "convnext"])
def test_a_classifier_is_taken_over_as_the_backbone(backbone, tmp_path):
    torch.manual_seed(1)
    classifier = backbones.classifier(backbone, tiny=True, frozen=False)
    torch.save(classifier.state_dict(), tmp_path / "classifier.pth")
    # a folder with one such file is as good as the file
    model, fresh = _tiny(f"fcos-{backbone}", pretrained=tmp_path), _tiny(f"fcos-{backbone}")
    body = backbones.BACKBONES[backbone].trunk(classifier).state_dict()
    own = model.network.backbone.body.state_dict()
    assert all(torch.equal(value, body[key]) for key, value in own.items())
    assert torch.equal(model.network.head.classification_head.cls_logits.weight, fresh.network.head.classification_head.cls_logits.weight)


def test_pretrained_statistics_stay_and_fresh_ones_learn(tmp_path):
    torch.save(_plain(_tiny("fasterrcnn-resnet50")), tmp_path / "weights.pth")
    for pretrained, learns in ((tmp_path, False), (None, True)):
        model = _tiny("fasterrcnn-resnet50", pretrained=pretrained).train()
        before = model.network.backbone.body.bn1.running_mean.clone()
        model.network.backbone(torch.rand(2, 3, 64, 64))
        assert torch.equal(model.network.backbone.body.bn1.running_mean, before) != learns
        assert ("network.backbone.body.bn1." in model.backbone_layers) == learns


def test_what_does_not_fit_is_said_and_nothing_stays_random_in_silence(tmp_path):
    state = _plain(_tiny("fasterrcnn-regnet"))
    missing = {key: value for key, value in state.items() if "rpn.head.conv" not in key}
    shape = state | {"rpn.head.cls_logits.bias": torch.zeros(7)}
    faults = {
        "it lacks rpn.head.conv": missing,
        r"this network has no roi_heads.spare": state | {"roi_heads.spare": torch.zeros(1)},
        "size mismatch for rpn.head.cls_logits.bias": shape,
        "holds no weights by name": {"epoch": 3},
        r"it lacks stem.0.weight, .* and \d+ more": {"fc.weight": torch.zeros(1, 1)},
    }
    for number, (reason, saved) in enumerate(faults.items()):
        file = tmp_path / f"{number}.pth"
        torch.save(saved, file)
        with pytest.raises(UserError, match=reason):
            _tiny("fasterrcnn-regnet", pretrained=file)


class _Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the file was executed",))


def test_a_foreign_file_is_not_executed_and_a_damaged_one_is_no_traceback(tmp_path):
    torch.save({"stem.0.weight": _Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    for name in ("cut.pth", "cut.safetensors", "empty.pth", "none.txt"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 no archive" if "cut" in name else b"")
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError, match=f"{file.name} is (damaged|no file of weights)"):
            _tiny("fcos-regnet", pretrained=file)
    with pytest.raises(UserError, match=r"one file of weights .* but there are 5"):
        _tiny("fcos-regnet", pretrained=tmp_path)
    with pytest.raises(UserError, match=r"one file of weights .* but there are 0"):
        _tiny("fcos-regnet", pretrained=tmp_path / "not there")


@pytest.mark.parametrize("name", ["maskrcnn-resnet50", "retinanet-convnext", "fcos-regnet"])
def test_a_model_is_built_once_more_by_its_architecture(name, tmp_path):
    torch.save(_plain(_tiny(name)), tmp_path / "weights.pth")
    for pretrained in (None, tmp_path):
        model = _tiny(name, pretrained=pretrained)
        kept = weights.Weights.from_bytes(weights.weights_of(model, name, scenes.CLASSES).to_bytes())
        again = detectors.build(name, 2, 3, architecture=kept.architecture)
        again.load_state_dict(kept.state)
        assert again.architecture == model.architecture
        assert json.loads(model.architecture) == {"tiny": True, "frozen": pretrained is not None}


@pytest.mark.parametrize("said", ["{", '"tiny"', '{"tiny": 1}', '{"large": true}', "[true]"])
def test_an_architecture_that_cannot_be_read_is_refused(said):
    with pytest.raises(UserError, match="cannot be read; train from scratch"):
        detectors.build("fcos-regnet", 2, 0, architecture=said)


@pytest.mark.parametrize("name", NAMES)
def test_the_layers_of_the_backbone_are_named_from_the_image_up(name):
    model = _tiny(name)
    named = [key for key, _ in model.named_parameters()]
    of_layers = [next((at for at, layer in enumerate(model.backbone_layers) if key.startswith(layer)), None) for key in named]
    found = [at for at in of_layers if at is not None]
    assert found == sorted(found)
    assert set(found) == set(range(len(model.backbone_layers)))
    assert all(("backbone.body" in key) == (at is not None) for key, at in zip(named, of_layers, strict=True))


def test_without_torchvision_it_is_said_what_to_install(monkeypatch):
    _forget(monkeypatch)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    for name in ("fasterrcnn-resnet50", "fcos-regnet"):
        with pytest.raises(UserError, match=r"needs torchvision: pip install 'activelearning\[torchvision\]'"):
            detectors.family(name)


def test_a_torchvision_of_another_torch_is_told(monkeypatch, tmp_path):
    _forget(monkeypatch)
    (tmp_path / "torchvision").mkdir()
    # the very words with which it fails where its operators cannot be loaded
    (tmp_path / "torchvision" / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="built for another torch"):
        detectors.family("retinanet-regnet")


def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """As before torchvision, and what is built on it, were imported."""
    ours = tuple(f"trainer.detectors.{name}" for name in ("torchvision", "rcnn", "dense"))
    for name in list(sys.modules):
        if name.partition(".")[0] == "torchvision" or name.startswith(ours):
            monkeypatch.delitem(sys.modules, name)
