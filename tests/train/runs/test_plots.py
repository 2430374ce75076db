"""Geometry of the plots; real runs test that they are drawn."""

import numpy as np
import pytest

from dae_train.runs.plots import convex_hull, to_plane


def test_hull_of_a_square_with_points_inside() -> None:
    corners = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], float)
    inside = np.random.default_rng(0).uniform(0.1, 3.9, (50, 2))
    hull = convex_hull(np.concatenate([inside, corners]))
    assert sorted(hull.tolist()) == [50, 51, 52, 53]


def test_hull_holds_all_points() -> None:
    points = np.random.default_rng(1).standard_normal((300, 2))
    hull = points[convex_hull(points)]
    ahead = np.roll(hull, -1, axis=0) - hull
    for point in points:
        away = point - hull
        assert np.all(ahead[:, 0] * away[:, 1] - ahead[:, 1] * away[:, 0] > -1e-12)


@pytest.mark.parametrize("points", [[[1.0, 2.0]], [[0.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]])
def test_hull_of_degenerate_points(points: list[list[float]]) -> None:
    hull = convex_hull(np.array(points))
    assert 1 <= len(hull) <= 2


def test_latent_is_projected_onto_its_principal_axes() -> None:
    rng = np.random.default_rng(0)
    points = rng.standard_normal((500, 6)) * [0.1, 5, 0.1, 2, 0.1, 0.1] + 7
    flat, _ = to_plane(points)
    assert flat.shape == (500, 2)
    np.testing.assert_allclose(flat.std(axis=0), [5, 2], rtol=0.1)
    assert to_plane(points[:, :1])[0].shape == (500, 2)
    np.testing.assert_array_equal(to_plane(points[:, :2])[0], points[:, :2])
