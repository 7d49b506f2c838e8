"""Training in several processes: gloo on the CPU, as NCCL does it on GPUs."""

from dataclasses import replace

import pytest
import torch

from activelearning.errors import UserError
from activelearning.jobs import Stopped
from tests.trainer import scenes
from tests.trainer.plain_detector import DyingDetector, PlainDetector, plain
from trainer import checkpoint, means, parallel, ranks, training
from trainer.means import Means
from trainer.recipe import Plan, Recipe

CONFIG = replace(scenes.CONFIG, batch_size=5, micro_batch=2, checkpoint_every=2)
PLAN = Plan(8, 1e-2, validation_share=0.3, recipe=Recipe(backbone_rate=0.1))
EXAMPLES = (*scenes.scenes(11), scenes.scene(12, objects=0))


def _alike(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    return all(torch.allclose(one, second.state_dict()[name], atol=1e-5) for name, one in first.state_dict().items())


@pytest.fixture(scope="module")
def alone() -> tuple[PlainDetector, torch.nn.Module]:
    """A model that one process trained, and its average."""
    model = plain()
    return model, training.train(model, EXAMPLES, CONFIG, PLAN)


def test_two_processes_make_the_weights_of_one_and_one_goes_on_from_their_checkpoint(alone):
    model, saved, progress = plain(), [], []
    average = parallel.train(model, EXAMPLES, CONFIG, PLAN, 2, on_checkpoint=saved.append, on_progress=progress.append)
    assert _alike(model, alone[0]) and _alike(average, alone[1]) and not average.training
    assert [one.iteration for one in progress] == list(range(1, progress[-1].iterations + 1))
    assert {*progress[0].losses} == {"boxes", "small"}
    assert [one.iteration for one in saved] == [2, 4, 6]
    resumed = plain()
    assert _alike(training.train(resumed, EXAMPLES, CONFIG, PLAN, checkpoint=checkpoint.read(saved[1].to_bytes())), alone[1])


def test_two_processes_stop_with_a_checkpoint_to_go_on_from(alone):
    saved = []

    def stop(progress: training.Progress) -> None:
        if progress.iteration == 3:
            raise Stopped("told to stop")

    with pytest.raises(Stopped):
        parallel.train(plain(), EXAMPLES, CONFIG, PLAN, 2, on_checkpoint=saved.append, on_progress=stop)
    assert [one.iteration for one in saved] == [2, 3]
    assert _alike(training.train(plain(), EXAMPLES, CONFIG, PLAN, checkpoint=saved[-1]), alone[1])


def test_a_process_that_dies_ends_the_run_with_a_sentence():
    with pytest.raises(parallel.RankDied, match="training process 2 of 2 ended with exit code 7"):
        parallel.train(plain(DyingDetector), EXAMPLES, replace(CONFIG, micro_batch=0), PLAN, 2)


def test_what_is_wrong_with_a_run_is_said_as_one_process_says_it():
    with pytest.raises(UserError, match="not one image of 128×96 fits"):
        parallel.train(plain(room=0), EXAMPLES, CONFIG, Plan(2, 1e-2, 0.0), 2)
    with pytest.raises(UserError, match="no labelled image"):
        parallel.train(plain(), (), CONFIG, PLAN, 2)
    with pytest.raises(UserError, match="batch_size is 1, but there must be an image for each of 2"):
        parallel.train(plain(), EXAMPLES, replace(CONFIG, batch_size=1), PLAN, 2)


def test_parts_of_a_batch_follow_one_another():
    device = torch.device("cpu")
    assert [ranks.Ranks(rank, 3, device).part(8) for rank in range(3)] == [slice(0, 3), slice(3, 6), slice(6, 8)]
    assert ranks.Ranks(0, 1, device).part(8) == slice(0, 8)


def test_flags_come_before_the_environment():
    assert means.means(None, "", "", {}) == Means(1, ())
    assert means.means(0, "", "", {"TRAINER_COMMAND": "python train.py 'a b'"}) == Means(0, ("python", "train.py", "a b"))
    assert means.means(2, "other", "", {"TRAINER_COMMAND": "python train.py"}) == Means(2, ("other",))
    assert means.means(None, "", "my.module:train", {}).program[1:] == ("-m", "trainer.call_function", "my.module:train")


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4"}


def test_under_torchrun_the_first_process_trains_on_as_many_devices_and_the_others_are_not_needed():
    assert means.means(None, "", "", TORCHRUN).devices == 4
    assert not means.is_helper(TORCHRUN) and not means.is_helper({"RANK": "1"})
    assert means.is_helper(TORCHRUN | {"RANK": "1"})
    with pytest.raises(UserError, match="several machines"):
        means.means(None, "", "", TORCHRUN | {"WORLD_SIZE": "8"})


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((-1, "", ""), "--devices is -1"),
        ((1, "python train.py", "a:b"), "leave one out"),
        ((1, "python 'train.py", ""), "cannot be read"),
        ((1, "", "train"), "must read module:function"),
        ((1, "", "a b:train"), "must read module:function"),
    ],
)
def test_flags_that_make_no_sense_are_refused(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        means.means(*arguments, {})
