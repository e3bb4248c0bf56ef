"""What each augmentation does to rows, alone and as a part of training."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage, stats
from sklearn.datasets import load_digits, load_iris
from torch.nn import functional

from sklearn_dl import DLClassifier, DLRegressor
from sklearn_dl.augmentation import AUGMENTATIONS, Draws, augmentation_of
from sklearn_dl.losses import classifier_loss
from sklearn_dl.nn import Batch
from sklearn_dl.training.augmenting import rejoined, terms_of
from sklearn_dl.training.batches import Step

IMAGE = (2, 6, 4)
IMAGES = [name for name, rule in AUGMENTATIONS.items() if rule.inputs == "images"]
TABLES = [name for name, rule in AUGMENTATIONS.items() if rule.inputs != "images"]


def rows_of(n_models=2, n=50, n_features=48, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n_models, n, n_features, generator=g, dtype=torch.float64)


def applied(name, x, strength, numbers=None, n_rows=None, image=IMAGE):
    """A rule with given numbers, or with drawn ones."""
    rule = AUGMENTATIONS[name]
    image = None if name in TABLES else image
    if numbers is None:
        numbers = x.new_zeros(*x.shape[:2], rule.n_numbers(x.shape[2], image))
        for i, drawn in enumerate(numbers):
            n = x.shape[1] if n_rows is None else n_rows[i]
            rule.draw(drawn[:n], strength, torch.Generator().manual_seed(7 + i))
    else:
        numbers = x.new_tensor(numbers).expand(*x.shape[:2], -1)
    lengths = None if n_rows is None else x.new_tensor(n_rows).view(-1, 1, 1)
    strengths = x.new_full((x.shape[0], 1, 1), strength)
    return rule.apply(x, Draws(numbers, strengths, lengths, image))


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("rotate", [0.5]),
        ("crop", [0.5] * 2),
        ("affine", [0.5] * 4),
        ("colour", [0.5] * 4),
        ("flip", [0.5]),
        ("erase", [0.0, 0.5, 0.5, 0.5]),
    ],
)
def test_the_middle_of_what_can_be_drawn_changes_nothing(name, numbers):
    x = rows_of()
    torch.testing.assert_close(applied(name, x, 0.3, numbers), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("right", "down"), [(1, 0), (-2, 0), (0, 2), (3, -1)])
def test_crop_shifts_by_whole_cells_and_repeats_the_edge(right, down):
    x = rows_of()
    numbers = [0.5 + right / 4 / 2, 0.5 + down / 6 / 2]  # strength 1: a share of each side
    expected = ndimage.shift(
        x.view(2, 50, *IMAGE).numpy(), (0, 0, 0, down, right), order=0, mode="nearest"
    )
    assert_allclose(applied("crop", x, 1.0, numbers).view(2, 50, *IMAGE), expected, atol=1e-12)


def test_rotate_turns_about_the_centre():
    x = rows_of()
    images = x.view(2, 50, *IMAGE)
    half = applied("rotate", x, 1.0, [1.0]).view(images.shape)
    torch.testing.assert_close(half, images.flip(-1, -2), rtol=1e-9, atol=1e-9)
    square = rows_of(1, 20, 25)
    quarter = applied("rotate", square, 0.5, [1.0], image=(1, 5, 5)).view(20, 5, 5)
    torch.testing.assert_close(quarter, torch.rot90(square.view(20, 5, 5), -1, (1, 2)))


@pytest.mark.parametrize("shape", [(9, 9), (12, 8)])
def test_affine_is_that_of_scipy_inside_the_image(shape):
    height, width = shape
    x = rows_of(1, 5, height * width)
    numbers = torch.tensor([0.7, 0.9, 0.6, 0.3], dtype=torch.float64)
    angle, zoom, right, down = (
        (2 * numbers - 1) * 0.1 * torch.tensor([np.pi, 1, width, height], dtype=torch.float64)
    )
    cos, sin = float(angle.cos() / (1 + zoom)), float(angle.sin() / (1 + zoom))
    matrix = np.array([[cos, -sin], [sin, cos]])  # (row, column) of the output to the input
    centre = (np.array(shape) - 1) / 2
    offset = centre - matrix @ centre - [float(down), float(right)]
    seen = applied("affine", x, 0.1, numbers.tolist(), image=(1, *shape)).view(5, *shape)
    for image, found in zip(x.view(5, *shape).numpy(), seen.numpy(), strict=True):
        expected = ndimage.affine_transform(image, matrix, offset, order=1, mode="nearest")
        assert_allclose(found, expected, atol=1e-9)


def test_flip_mirrors_every_second_image():
    x = rows_of(1, 4000)
    images, seen = x.view(-1, *IMAGE), applied("flip", x, 0.1).view(-1, *IMAGE)
    mirrored = (seen == images.flip(-1)).all((1, 2, 3))
    assert ((seen == images).all((1, 2, 3)) | mirrored).all()
    assert stats.binomtest(int(mirrored.sum()), 4000, 0.5).pvalue > 1e-3


def test_colour_is_a_gain_and_an_offset_a_channel():
    x = rows_of()
    seen = applied("color", x, 0.2, [1.0, 0.0, 0.75, 0.5]).view(2, 50, 2, -1)
    channels = x.view(2, 50, 2, -1)
    torch.testing.assert_close(seen[..., 0, :], 1.2 * channels[..., 0, :] + 0.1)
    torch.testing.assert_close(seen[..., 1, :], 0.8 * channels[..., 1, :])


def test_erase_empties_one_rectangle_of_at_most_the_area():
    shape = (2, 20, 24)
    x = 1 + rows_of(1, 300, 2 * 20 * 24).abs()
    seen = applied("erase", x, 0.25, image=shape).view(300, *shape)
    empty = seen == 0
    assert (empty[:, 0] == empty[:, 1]).all()
    for mask in empty[:, 0]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum()
        for side in (rows, columns):  # without a gap
            assert (side.int().diff() != 0).sum() <= 2
    area = empty[:, 0].double().mean((1, 2))
    assert area.max() < 0.3
    assert 0.1 < area.mean() < 0.15  # uniform from 0 to a quarter
    kept = ~empty
    torch.testing.assert_close(seen[kept], x.view(300, *shape)[kept])


# --- tables ---------------------------------------------------------------------------------------


def test_noise_has_the_asked_deviation():
    x = rows_of(1, 2000)
    added = applied("noise", x, 0.2) - x
    assert stats.kstest(added.flatten().numpy() / 0.2, "norm").pvalue > 1e-3


@pytest.mark.parametrize("strength", [0.1, 0.6, 1.0])
def test_dropout_empties_values_with_the_asked_probability(strength):
    x = rows_of(1, 2000)
    seen = applied("dropout", x, strength)
    gone = seen == 0
    assert (seen[~gone] == x[~gone]).all()
    assert abs(float(gone.double().mean()) - strength) < 0.01


@pytest.mark.parametrize("strength", [0.1, 1.0])
def test_swap_takes_values_of_the_same_column_from_any_row(strength):
    x = torch.arange(20_000, dtype=torch.float64).view(1, 1000, 20)
    seen = applied("swap", x, strength)
    assert (seen % 20 == torch.arange(20)).all()
    moved = seen != x
    assert abs(float(moved.double().mean()) - strength * 0.999) < 0.02
    source = (seen[moved] // 20).numpy()
    assert stats.kstest(source / 1000, "uniform").pvalue > 1e-3


def test_mixup_is_a_mixture_by_a_beta_share():
    x = rows_of(500, 20, 3)
    seen, mixed = applied("mixup", x, 0.4)
    share = mixed.share[0].unsqueeze(1)
    torch.testing.assert_close(seen[0], share * x[0] + (1 - share) * x[0][mixed.partner[0]])
    assert (mixed.share == mixed.share[:, :1]).all()
    assert stats.kstest(mixed.share[:, 0].numpy(), stats.beta(0.4, 0.4).cdf).pvalue > 1e-3
    assert_array_equal(np.sort(mixed.partner[0]), np.arange(20))


def test_padding_rows_are_mixed_with_nothing_and_given_to_nobody():
    x = rows_of(2, 30)
    x[1, 20:] = torch.nan
    for name in ("swap", "mixup"):
        seen = applied(name, x, 0.5, n_rows=[30, 20])
        seen, mixed = seen if isinstance(seen, tuple) else (seen, None)
        assert torch.isfinite(seen[1, :20]).all()
        if mixed is not None:
            assert (mixed.partner[1, :20] < 20).all()
            assert (mixed.share[1, 20:] == 1).all()


def test_the_loss_of_a_mixture_is_that_of_mixed_targets():
    x, outputs = rows_of(1, 40, 5), rows_of(1, 40, 3, seed=1)
    target = torch.randint(3, (1, 40), generator=torch.Generator().manual_seed(2))
    share = torch.full((1, 40), 1 / 40, dtype=torch.float64)
    step = Step(1, x, target, share, Batch())
    _, mixed = applied("mixup", x, 1.0)
    terms = terms_of(step, mixed)
    loss = classifier_loss("cross_entropy", multilabel=False)
    losses = [loss(outputs, one, 0.0) for one, _ in terms]
    hard = functional.one_hot(target, 3).double()
    weight = mixed.share.unsqueeze(-1)
    soft = weight * hard + (1 - weight) * hard[0][mixed.partner[0]]
    expected = -(soft * torch.log_softmax(outputs, -1)).sum(-1)
    torch.testing.assert_close(rejoined(losses, terms, step, mixed), expected)


def test_each_half_of_a_mixture_keeps_its_weight():
    x = rows_of(1, 40, 5)
    share = torch.rand(1, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    step = Step(1, x, torch.zeros(1, 40, dtype=torch.int64), share, Batch(share))
    _, mixed = applied("mixup", x, 1.0)
    (_, first), (_, second) = terms_of(step, mixed)
    torch.testing.assert_close(first, share * mixed.share)
    torch.testing.assert_close(second, share[0][mixed.partner] * (1 - mixed.share))


# --- in training ----------------------------------------------------------------------------------

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0, "n_members": 1}
IRIS = load_iris(return_X_y=True)
DIGITS = load_digits().images[:150], load_digits().target[:150]


def data_of(name):
    if name in IMAGES:
        return {"module": "cnn", "channels": (3,)}, *DIGITS
    return {}, *IRIS


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_strength_zero_is_none_and_more_is_something(name):
    params, X, y = data_of(name)

    def weights(**settings):
        net = DLClassifier(**SMALL | params, **settings).fit(X, y)
        return np.concatenate([v.ravel() for v in net._state.values()])

    none = weights()
    assert_array_equal(weights(augmentation=name, augmentation_strength=0), none)
    some = weights(augmentation=name, augmentation_strength=0.2)
    assert np.abs(some - none).max() > 1e-4
    assert_array_equal(weights(augmentation=name, augmentation_strength=0.2), some)


@pytest.mark.parametrize("name", ["mixup", "noise"])
def test_a_regression_learns_from_augmented_rows(name):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (300, 2))
    net = DLRegressor(augmentation=name, max_epochs=60, learning_rate=0.01, random_state=0)
    assert net.fit(X, X[:, 0] - X[:, 1]).score(X, X[:, 0] - X[:, 1]) > 0.9


@pytest.mark.parametrize("shape", [(1, 8, 8), None])
def test_a_function_of_three_sees_strength_and_images(shape):
    seen = []

    def keep(rows, generator, strength):
        seen.append((tuple(rows.shape), strength))
        return rows

    X = DIGITS[0].reshape(150, -1)
    DLClassifier(
        module="mlp", input_shape=shape, augmentation=keep, augmentation_strength=0.7,
        batch_size=150, **SMALL,
    ).fit(X, DIGITS[1])  # fmt: skip
    assert seen == [((150, *(shape or (64,))), 0.7)] * 3


def test_a_function_must_keep_the_shape_of_images():
    net = DLClassifier(module="cnn", augmentation=lambda x: x[:, :, 1:], **SMALL)
    with pytest.raises(ValueError, match=r"\(32, 1, 8, 8\); got \(32, 1, 7, 8\)"):
        net.fit(*DIGITS)


def test_a_kornia_module_is_an_augmentation():
    kornia = pytest.importorskip("kornia.augmentation")
    turn = kornia.RandomAffine(degrees=15, translate=(0.1, 0.1), p=1.0)
    before = torch.get_rng_state()
    nets = [
        DLClassifier(module="cnn", augmentation=turn, channels=(3,), **SMALL).fit(*DIGITS)
        for _ in range(2)
    ]
    assert_array_equal(torch.get_rng_state(), before)
    assert_array_equal(nets[0].predict_proba(DIGITS[0]), nets[1].predict_proba(DIGITS[0]))
    plain = DLClassifier(module="cnn", channels=(3,), **SMALL).fit(*DIGITS)
    assert np.abs(plain.predict_proba(DIGITS[0]) - nets[0].predict_proba(DIGITS[0])).max() > 1e-4


def test_what_is_resolved():
    assert augmentation_of(None) is None
    assert augmentation_of("noise", 0.0) is None
    assert augmentation_of("color", 0.2, IMAGE).rule.apply is AUGMENTATIONS["colour"].apply
