"""Accuracy, counted on the device."""

import pytest
import torch

from videonl.training import ClassificationMeter, mean_loss, negative_log


def fill(meter: ClassificationMeter, predicted: list[int], labels: list[int]) -> None:
    scores = torch.eye(meter.num_classes)[predicted]
    meter.update(scores, torch.tensor(labels), torch.arange(len(labels)).float())


def test_hand_counted_scores() -> None:
    meter = ClassificationMeter(3)
    fill(meter, [0, 0, 1], [0, 1, 1])
    fill(meter, [0, 2], [0, 0])
    scores = meter.scores()
    assert (scores.videos, scores.unread) == (5, 0)
    assert scores.top1 == pytest.approx(3 / 5)
    assert scores.per_class == [pytest.approx(2 / 3), pytest.approx(1 / 2), None]
    assert scores.macro == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores.majority == pytest.approx(3 / 5)
    assert scores.confusion == [[2, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert scores.loss == pytest.approx((0 + 1 + 2 + 0 + 1) / 5)


def test_the_mean_loss_so_far_is_that_of_all_batches() -> None:
    meter = ClassificationMeter(3)
    assert mean_loss(meter.sums) is None
    fill(meter, [0, 0, 1], [0, 1, 1])
    fill(meter, [0], [-1])  # without a label: not counted
    assert mean_loss(meter.sums) == pytest.approx((0 + 1 + 2) / 3)


def test_top5_of_few_classes_is_one_and_of_many_is_counted() -> None:
    few = ClassificationMeter(3)
    fill(few, [1], [0])
    assert (few.scores().top1, few.scores().top5) == (0.0, 1.0)
    many = ClassificationMeter(10)
    scores = torch.arange(10.0).flip(0).expand(2, 10)  # classes in descending order
    many.update(scores, torch.tensor([4, 5]), torch.zeros(2))
    assert (many.scores().top1, many.scores().top5) == (0.0, 0.5)


def test_unread_videos_count_as_wrong_in_every_figure() -> None:
    meter = ClassificationMeter(4)
    fill(meter, [0, 1, 1], [0, 1, 0])
    meter.miss(torch.tensor([1, 1, 2, -1]))  # the last has no label: nobody counts it
    scores = meter.scores()
    assert (scores.videos, scores.unread) == (6, 3)
    assert scores.top1 == pytest.approx(2 / 6)
    assert scores.top5 == pytest.approx(3 / 6)
    assert scores.per_class == [pytest.approx(1 / 2), pytest.approx(1 / 3), 0.0, None]
    assert scores.macro == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)
    assert scores.majority == pytest.approx(3 / 6)
    assert scores.unread_per_class == [0, 2, 1, 0]
    assert sum(map(sum, scores.confusion)) + sum(scores.unread_per_class) == scores.videos
    assert scores.loss == pytest.approx(1.0)  # of those that were read


def test_where_no_video_can_be_read_there_is_no_loss() -> None:
    meter = ClassificationMeter(2)
    meter.miss(torch.tensor([0, 1]))
    scores = meter.scores()
    assert (scores.loss, scores.top1, scores.macro, scores.majority) == (None, 0.0, 0.0, 0.5)
    assert "loss" not in scores.logged()


def test_unlabelled_videos_are_not_counted() -> None:
    meter = ClassificationMeter(2)
    fill(meter, [0, 1], [-1, 1])
    assert (meter.scores().videos, meter.scores().top1) == (1, 1.0)


def test_counts_stay_exact_for_half_precision_scores() -> None:
    meter = ClassificationMeter(2)
    for _ in range(300):
        meter.update(torch.eye(2).bfloat16()[[0]], torch.tensor([0]), torch.ones(1).bfloat16())
    assert (meter.scores().videos, meter.scores().loss) == (300, 1.0)
    assert meter.scores().confusion[0][0] == 300


def test_reset_and_empty() -> None:
    meter = ClassificationMeter(2)
    fill(meter, [0], [0])
    meter.reset()
    assert (meter.scores().videos, meter.scores().top1) == (0, 0.0)
    assert not isinstance(meter, torch.nn.Module)  # DDP would synchronise its buffers


def test_negative_log_is_finite_at_zero() -> None:
    values = negative_log(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), torch.tensor([1, 0]))
    assert torch.isfinite(values).all()
    assert values[1].item() == pytest.approx(0.6931, abs=1e-4)


def test_of_equal_scores_the_first_class_counts() -> None:
    for classes in (3, 7, 400):
        meter = ClassificationMeter(classes)
        meter.update(torch.zeros(4, classes), torch.tensor([0, 1, 2, 2]), torch.zeros(4))
        scores = meter.scores()
        assert [row[0] for row in scores.confusion][:3] == [1, 1, 2]
        assert (scores.top1, scores.top5) == (0.25, 1.0)
    late = ClassificationMeter(400)
    late.update(torch.zeros(2, 400), torch.tensor([4, 5]), torch.zeros(2))
    assert late.scores().top5 == 0.5
