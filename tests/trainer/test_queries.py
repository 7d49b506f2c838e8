"""RF-DETR, D-FINE and RT-DETRv2 as detectors: toy-sized networks learn, are loaded, resumed and exported through the one contract."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from activelearning.errors import UserError
from activelearning.settings import Prediction
from tests.trainer import scenes
from trainer import checkpoint, detectors, export, learning, ranks, training
from trainer.detectors import EMBEDDING, Blueprint, Targets, pad_targets
from trainer.monte_carlo import draw_masks
from trainer.predictor import INPUT, open_session
from trainer.recipe import Plan
from trainer.training import Example
from trainer.weights import Weights, warm_start, weights_of

pytest.importorskip("transformers", reason="the families with object queries need the extra 'transformers'")
from tests.trainer import query_models
from tests.trainer.query_models import FAMILIES
from trainer.detectors import queries, queries_network

ALL = [name for name in detectors.FAMILIES if name.partition("-")[0] in ("rfdetr", "dfine", "rtdetrv2")]
# as their makers tell them, in millions
PARAMETERS = {"rfdetr-nano": 30.5, "rfdetr-small": 32.1, "rfdetr-medium": 33.7, "rfdetr-large": 33.9} | {
    "rfdetr-seg-nano": 33.6,
    "rfdetr-seg-small": 33.7,
    "rfdetr-seg-medium": 35.7,
    "rfdetr-seg-large": 36.2,
    "dfine-nano": 4,
    "dfine-small": 10,
    "dfine-medium": 19,
    "dfine-large": 31,
    "dfine-xlarge": 62,
    "rtdetrv2-r18": 20,
    "rtdetrv2-r34": 31,
    "rtdetrv2-r50": 42,
    "rtdetrv2-r101": 76,
}
FEW = Prediction(min_confidence=0.0005)
each_family = pytest.mark.parametrize("name", FAMILIES)


def images(size: tuple[int, int]) -> Tensor:
    """Two of noise, of that size (W, H)."""
    return torch.from_numpy(np.random.default_rng(0).uniform(0, 255, (2, 3, size[1], size[0])).astype(np.float32))


def batch(examples: tuple[Example, ...], name: str) -> tuple[Tensor, Targets]:
    """Examples as training stacks them, nothing changed at random."""
    pixels = torch.from_numpy(np.stack([one.pixels for one in examples]).transpose(0, 3, 1, 2).astype(np.float32))
    targets = pad_targets([one.boxes for one in examples], [one.labels for one in examples])
    if "-seg-" not in name:
        return pixels, targets
    masks = torch.zeros(*targets.valid.shape, scenes.SIZE[1], scenes.SIZE[0], dtype=torch.bool)
    for row, one in enumerate(examples):
        for at, (xmin, ymin, xmax, ymax) in enumerate(one.boxes.astype(int)):
            masks[row, at, ymin:ymax, xmin:xmax] = True
    return pixels, replace(targets, masks=masks)


def same(first: nn.Module, second: nn.Module) -> bool:
    others = second.state_dict()
    return all(torch.equal(value, others[name]) for name, value in first.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_each_size_has_as_many_parameters_as_its_makers_say(name: str) -> None:
    with torch.device("meta"):
        model = detectors.family(name).build(Blueprint(80))
    count = sum(weight.numel() for weight in model.parameters()) / 1e6
    assert count == pytest.approx(PARAMETERS[name], rel=0.06)
    published = detectors.family(name).published
    assert published and published.licence == "Apache-2.0"


@each_family
def test_a_toy_sized_network_is_small_and_has_the_channels_of_the_family(name: str) -> None:
    model = query_models.build(name)
    assert 0.5e6 < sum(weight.numel() for weight in model.parameters()) < 3.5e6
    family = detectors.family(name)
    masks = [torch.from_numpy(mask) for mask in draw_masks(family.masks, 3, family.dropout).values()]
    with torch.inference_mode():
        outputs = dict(zip(family.outputs, model.eval()(images(scenes.SIZE), *masks), strict=True))
    assert outputs["logits"].shape == (2, 30, 2) and outputs["boxes"].shape == outputs["log_stds"].shape == (2, 30, 4)
    assert outputs["sampled_logits"].shape == (2, 3, 30, 2) and outputs["sampled_boxes"].shape == (2, 3, 30, 4)
    assert outputs["features"].shape == (2, 30, family.masks["class_masks"]) and outputs[EMBEDDING].ndim == 2


@each_family
@pytest.mark.parametrize("size", [(128, 96), (96, 64), (256, 320), (32, 32)])
def test_any_size_in_steps_of_32_is_seen(name: str, size: tuple[int, int]) -> None:
    model = query_models.build(name).eval()
    with torch.inference_mode():
        logits, boxes, log_stds = model(images(size))
    assert logits.shape == (2, 30, 2) and boxes.shape == (2, 30, 4)
    assert all(one.isfinite().all() for one in (logits, boxes, log_stds))


@pytest.mark.parametrize(
    ("cells", "size", "wanted"),
    [
        (queries.Cells(32, (16,), 300), (320, 256), (320, 256)),
        # 12 · 20 cells are too few: by √(300 / 240) larger, in whole steps
        (queries.Cells(32, (16,), 300), (192, 320), (224, 384)),
        (queries.Cells(24, (12,), 100), (256, 320), (264, 336)),
        (queries.Cells(32, (8, 16, 32), 300), (128, 96), (160, 128)),
        (queries.Cells(32, (16, 32), 300), (320, 192), (320, 192)),
    ],
)
def test_an_input_is_enlarged_until_it_has_a_cell_for_each_query(
    cells: queries.Cells, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert cells.size(*size) == wanted


@each_family
def test_training_lowers_the_loss(name: str) -> None:
    assert cost(query_models.trained(name), name) < 0.95 * cost(query_models.build(name), name)


def cost(trained: Any, name: str) -> float:
    """Of four of the scenes, as in training; some losses look at random pixels, here always at the same."""
    torch.manual_seed(0)
    model = copy.deepcopy(trained).train()
    with torch.no_grad():
        return sum(value.item() for value in model.losses(*batch(query_models.examples(name)[:4], name)).values())


@each_family
def test_the_terms_add_up_to_what_the_library_minimises(name: str) -> None:
    model = query_models.build(name).eval()
    # the library's own loss knows of groups of queries even where there are none
    model.network.config.group_detr = 1
    pixels, targets = batch(query_models.examples(name, 3), name)
    with torch.no_grad():
        torch.manual_seed(0)
        own = {term: value.item() for term, value in model.losses(pixels, targets).items()}
        torch.manual_seed(0)
        prepared = model._pixels(pixels)
        theirs = model.network(prepared, labels=queries.labels_of(targets, scenes.SIZE)).loss.item()
    assert sum(own.values()) - own["scales"] == pytest.approx(theirs, rel=1e-5)


def test_labels_are_shares_of_the_image_without_padding() -> None:
    targets = pad_targets([np.array([[10, 20, 30, 60]], np.float32), np.zeros((0, 4), np.float32)], [np.array([1]), np.zeros(0, np.int64)])
    first, second = queries.labels_of(targets, (100, 200))
    assert first["boxes"].tolist() == [pytest.approx([0.2, 0.2, 0.2, 0.2])] and first["class_labels"].tolist() == [1]
    assert second["boxes"].shape == (0, 4) and second["class_labels"].shape == (0,)


@each_family
def test_images_without_objects_train(name: str) -> None:
    empty = scenes.scene(0, objects=0)
    pixels, targets = batch((empty, empty), name)
    losses = query_models.build(name).train().losses(pixels, targets)
    assert losses["classes"] > 0 and losses["boxes"] == losses["overlap"] == losses["scales"] == 0
    torch.stack([*losses.values()]).sum().backward()
    assert all(value.ndim == 0 for value in losses.values())


@each_family
def test_an_answer_that_is_no_number_is_told_to_whoever_trains(name: str) -> None:
    model = query_models.build(name)
    nn.init.constant_(model.get_parameter(f"{model.class_layers[0]}.{'' if 'rfdetr' in name else '0.'}bias"), float("nan"))
    state = learning.start(model, Plan(1, 1e-3), ranks.alone(), None)
    assert not learning.step(state, batch(query_models.examples(name, 2), name), 1e-3, 0, 1, 2).taken


@each_family
def test_only_the_scales_learn_from_how_far_off_boxes_are(name: str) -> None:
    model = query_models.build(name).train()
    loss = model.losses(*batch(query_models.examples(name, 2), name))["scales"]
    loss.backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is not None] == ["log_scales.weight", "log_scales.bias"]


@each_family
def test_one_sample_with_masks_of_ones_is_the_plain_model(name: str) -> None:
    model, family = query_models.trained(name), detectors.family(name)
    ones = [torch.ones(1, count) for count in family.masks.values()]
    with torch.inference_mode():
        logits, boxes, _, sampled_logits, sampled_boxes, *_ = model(images(scenes.SIZE), *ones)
    assert torch.allclose(sampled_logits[:, 0], logits, atol=1e-4) and torch.allclose(sampled_boxes[:, 0], boxes, atol=1e-5)


@each_family
def test_samples_are_runs_whose_last_layers_miss_channels(name: str) -> None:
    model, family = copy.deepcopy(query_models.trained(name)), detectors.family(name)
    masks = [torch.from_numpy(mask) for mask in draw_masks(family.masks, 2, 0.5).values()]
    with torch.inference_mode():
        _, _, _, sampled_logits, sampled_boxes, *_ = model(images(scenes.SIZE), *masks)
        # a channel that is not there is a column of zeros
        for layer, mask in zip(_last_layers(model), masks, strict=True):
            layer.weight.mul_(mask[1])
        logits, boxes, _ = model(images(scenes.SIZE))
    assert torch.allclose(sampled_logits[:, 1], logits, atol=1e-3) and torch.allclose(sampled_boxes[:, 1], boxes, atol=1e-4)
    assert sampled_logits.std(1).max() > 0 and sampled_boxes.std(1).max() > 0


def _last_layers(model: Any) -> tuple[nn.Linear, nn.Linear]:
    found = tuple(layer for layer in model.modules() if layer._forward_pre_hooks)
    assert len(found) == 2
    return found  # type: ignore[return-value]


@each_family
def test_a_run_resumes_into_the_very_same_weights(name: str) -> None:
    saved: list[bytes] = []
    config = replace(query_models.CONFIG, batch_size=2, checkpoint_every=2)

    def train(**options: Any) -> nn.Module:
        return training.train(query_models.build(name), query_models.examples(name, 4), config, Plan(3, 1e-3), **options)

    whole = train(on_checkpoint=lambda one: saved.append(one.to_bytes()))
    assert same(train(checkpoint=checkpoint.read(saved[0])), whole)


@each_family
def test_a_network_is_built_again_from_its_architecture_for_any_number_of_classes(name: str) -> None:
    model = query_models.build(name)
    again = detectors.build(name, 2, seed=9, architecture=model.architecture)
    again.load_state_dict(model.state_dict())
    assert same(model, again) and again.architecture == model.architecture
    kept = Weights.from_bytes(weights_of(model, name, scenes.CLASSES).to_bytes())
    other = detectors.build(name, 3, seed=9, architecture=kept.architecture)
    fresh = copy.deepcopy(other)
    warm_start(other, kept, name, ("square", "bar", "ring"))
    ours = model.state_dict()
    for key, value in other.state_dict().items():
        own = key.startswith((*(f"{layer}." for layer in model.class_layers), *model.own_state))
        assert torch.equal(value, fresh.state_dict()[key] if own else ours[key]), key


@each_family
def test_the_backbones_layers_are_named_from_the_image_up(name: str) -> None:
    model = query_models.build(name)
    names = [key for key, weight in model.named_parameters() if weight.requires_grad]
    owners = [[key for key in names if key.startswith(layer)] for layer in model.backbone_layers]
    assert all(owners) and sum(map(len, owners)) == len({key for owned in owners for key in owned})
    inside = [key for key in names if ".backbone." in key and ".projector." not in key]
    assert sorted(inside) == sorted(key for owned in owners for key in owned)
    scaled = learning.start(model, Plan(1, 1e-3, recipe=replace(detectors.family(name).recipe, backbone_rate=0.5)), ranks.alone(), None)
    assert {1.0, 0.5} <= set(scaled.scales)


# --- published weights


def saved(name: str, folder: Path, classes: int = 3) -> nn.Module:
    """A network saved as its library saves it."""
    model = query_models.build(name, classes, seed=5)
    model.network.save_pretrained(folder)
    return model


@pytest.fixture
def quiet_saving() -> Any:
    with queries_network.quiet():
        yield


@each_family
@pytest.mark.parametrize("classes", [2, 3])
def test_published_weights_are_taken_but_for_the_classes(name: str, classes: int, tmp_path: Path, quiet_saving: None) -> None:
    published = saved(name, tmp_path)
    model = detectors.build(name, classes, seed=0, pretrained=tmp_path)
    fresh = [f"{layer}." for layer in model.class_layers]
    theirs, ours = published.state_dict(), model.state_dict()
    assert set(theirs) == set(ours)
    for key in theirs:
        if key.startswith("network.") and not key.startswith(tuple(fresh)):
            assert torch.equal(ours[key], theirs[key]), key
    # as many classes as there were, and still they are others
    layer = f"{model.class_layers[-1]}." + ("0.weight" if "rfdetr" in name else "weight")
    assert ours[layer].shape != theirs[layer].shape or not torch.equal(ours[layer], theirs[layer])
    assert same(model, detectors.build(name, classes, seed=0, pretrained=tmp_path))
    again = detectors.build(name, classes, seed=1, architecture=model.architecture)
    again.load_state_dict(ours)
    assert same(again, model)


def test_what_a_folder_says_of_pixels_is_kept(tmp_path: Path, quiet_saving: None) -> None:
    saved("dfine-nano", tmp_path)
    said = {
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.4, 0.3],
        "image_std": [0.2, 0.2, 0.1],
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    model = detectors.build("dfine-nano", 2, seed=0, pretrained=tmp_path)
    assert model.mean.flatten().tolist() == pytest.approx([127.5, 102, 76.5])
    assert model.std.flatten().tolist() == pytest.approx([51, 51, 25.5])
    assert {"mean", "std"} <= set(model.state_dict())


def _without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _without_a_layer(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    del state["model.enc_output.0.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _without_numbers(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    state["model.enc_output.0.weight"][0] = float("nan")
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def _changed(**settings: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))

    return change


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "holds no config.json"),
        (lambda folder: (folder / "config.json").write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / "config.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"no tensors"), "cannot be read"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"do_normalize": true}'), "how pixels are to be normalised"),
        (lambda folder: (folder / "preprocessor_config.json").write_text('{"rescale_factor": 0}'), "how pixels are to be normalised"),
        (_without_weights, "holds no model.safetensors"),
        (_without_a_layer, "1 are missing, such as model.enc_output.0.weight"),
        (_without_numbers, "are no numbers"),
        (_changed(model_type="rt_detr_v2"), "are of 'rt_detr_v2', and D-FINE needs 'd_fine'"),
        (_changed(encoder_ffn_dim=64), "are not those of D-FINE"),
        (_changed(decoder_layers="many"), "cannot be read"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_nothing_takes_their_place(
    spoil: Callable[[Path], None], said: str, tmp_path: Path, quiet_saving: None
) -> None:
    saved("dfine-nano", tmp_path)
    spoil(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        detectors.build("dfine-nano", 2, seed=0, pretrained=tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("published", "wanted", "said"),
    [
        ("rfdetr-small", "rfdetr-seg-small", "not those of RF-DETR with masks"),
        ("rtdetrv2-r18", "rfdetr-small", "are of 'rt_detr_v2', and RF-DETR needs 'rf_detr'"),
        ("dfine-nano", "dfine-small", "another size: 128 channels a query, not 256"),
    ],
)
def test_weights_of_another_family_or_size_are_refused(published: str, wanted: str, said: str, tmp_path: Path, quiet_saving: None) -> None:
    saved(published, tmp_path)
    with pytest.raises(UserError, match=said):
        detectors.build(wanted, 2, seed=0, pretrained=tmp_path)


def test_weights_for_masks_do_for_boxes_too(tmp_path: Path, quiet_saving: None) -> None:
    drawing = saved("rfdetr-seg-small", tmp_path).network.model.state_dict()
    model = detectors.build("rfdetr-small", 2, seed=0, pretrained=tmp_path)
    fresh = tuple(f"{layer}." for layer in model.class_layers)
    taken = {key: value for key, value in model.state_dict().items() if key.startswith("network.") and not key.startswith(fresh)}
    assert taken and all(torch.equal(value, drawing[key.removeprefix("network.")]) for key, value in taken.items())


def test_the_library_is_quiet_only_meanwhile() -> None:
    logging = queries_network.library.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    with queries_network.quiet():
        assert logging.get_verbosity() == logging.ERROR and not logging.is_progress_bar_enabled()
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


# --- export


@each_family
def test_the_exported_model_finds_what_the_trained_one_finds(name: str) -> None:
    pixels = [one.pixels for one in query_models.examples(name)[:5]]
    parity = export.check_parity(query_models.trained(name), query_models.onnx(name), name, pixels, FEW)
    assert parity.detections >= 2 * 8 * 3 and parity.missing == 0
    assert parity.score_difference < 1e-4 and parity.box_difference < 0.01 and 0 < parity.spread_difference < 0.01
    assert (0 < parity.mask_difference < 1e-4) == ("-seg-" in name)


@each_family
@pytest.mark.parametrize(("images_at_once", "samples"), [(1, 1), (7, 2)])
def test_the_graph_takes_batches_and_samples_other_than_the_example(name: str, images_at_once: int, samples: int) -> None:
    session, family = open_session(query_models.onnx(name)), detectors.family(name)
    assert [one.name for one in session.get_inputs()] == [INPUT, *family.masks]
    assert tuple(one.name for one in session.get_outputs()) == family.outputs
    masks = draw_masks(family.masks, samples, family.dropout)
    outputs = session.run(None, {INPUT: np.zeros((images_at_once, 3, scenes.SIZE[1], scenes.SIZE[0]), np.float32)} | masks)
    assert all(len(output) == images_at_once for output in outputs) and outputs[3].shape[1] == outputs[4].shape[1] == samples
