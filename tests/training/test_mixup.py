"""mixup: the images are combinations of two, and the loss is that of both labels."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ltqlib.config import LOSSES, from_profile
from ltqlib.data import Batches, LongTail
from ltqlib.training import mixup, train_network
from ltqlib.training.losses import make_loss
from ltqlib.training.mixup import MixedBatches, Pair

CPU = torch.device("cpu")
ALPHA, SEED = 0.7, 3


@pytest.fixture(scope="module")
def plain() -> Batches:
    """Images of one colour each, the number of the image: a mixed pixel tells its two sources."""
    colours = np.arange(100, dtype=np.uint8)
    images = np.broadcast_to(colours[:, None, None, None], (100, 32, 32, 3)).copy()
    return Batches(
        images, colours.astype(np.int64), batch_size=32, sampler="instance", augment="crop-flip",
        seed=SEED, device=CPU,
    )  # fmt: skip


@pytest.fixture(scope="module")
def mixed(plain: Batches) -> MixedBatches:
    return MixedBatches(plain, ALPHA, SEED)


def test_pixels_are_the_combination_that_the_labels_say(mixed: MixedBatches) -> None:
    for pixels, labels in mixed.epoch(0):
        expected = labels.share * labels.first + (1 - labels.share) * labels.second
        assert pixels.shape == (32, 3, 32, 32)
        torch.testing.assert_close(pixels, expected.view(-1, 1, 1, 1).expand_as(pixels))
        assert sorted(labels.first.tolist()) == sorted(labels.second.tolist())  # a permutation


def test_an_epoch_is_drawn_from_its_number_and_the_seed(
    plain: Batches, mixed: MixedBatches
) -> None:
    def drawn(batches: MixedBatches, epoch: int) -> list[float]:
        return [value for x, y in batches.epoch(epoch) for value in (y.share, float(x.sum()))]

    assert drawn(mixed, 1) == drawn(mixed, 1)
    assert drawn(mixed, 1) != drawn(mixed, 0)
    assert drawn(mixed, 1) != drawn(MixedBatches(plain, ALPHA, SEED + 1), 1)


def test_shares_follow_the_beta_distribution(mixed: MixedBatches) -> None:
    from scipy import stats

    shares = [labels.share for epoch in range(150) for _, labels in mixed.epoch(epoch)]
    assert stats.kstest(shares, stats.beta(ALPHA, ALPHA).cdf).pvalue > 0.001


def test_the_loss_is_the_cross_entropy_of_soft_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 4, generator=generator)
    first, second = torch.randint(0, 4, (2, 20), generator=generator)
    soft = 0.3 * F.one_hot(first, 4) + 0.7 * F.one_hot(second, 4)
    found = mixup.of_pairs(make_loss("ce", [9, 5, 3, 2], CPU))(logits, Pair(first, second, 0.3), 0)
    torch.testing.assert_close(found, F.cross_entropy(logits, soft))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_network_learns_from_mixed_images(loss: str, digits: LongTail) -> None:
    config = from_profile("smoke", width=1 / 32, epochs=4, mixup=1.0, loss=loss)
    network, payload = train_network(config, digits, CPU)
    losses = [row["loss"] for row in payload["history"]]
    assert losses[2] < losses[0]  # before LDAM re-weights
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


def test_mixup_is_part_of_the_digest_only_where_it_is_used() -> None:
    plain = from_profile("smoke")
    assert from_profile("smoke", mixup=0).digest() == plain.digest()
    assert from_profile("smoke", mixup=1.0).digest() != plain.digest()
