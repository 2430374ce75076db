"""The study of latent vectors: what its numbers mean, and real runs on a few digits."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest

from dae_train.data.synthetic import FONTS, render_text

EXAMPLE = [sys.executable, "examples/latent_size.py"]


def digits(count, seed):
    """Return uint8 (count, 28, 28) digits on black and their labels: every class as often."""
    rng = np.random.default_rng(seed)
    images, labels = np.zeros((count, 28, 28), np.uint8), np.arange(count) % 10
    for image, label in zip(images, labels, strict=True):
        glyph = render_text(str(label), 18, str(rng.choice(FONTS)))[:20, :16]
        row, column = rng.integers(2, 6, 2)
        image[row : row + glyph.shape[0], column : column + glyph.shape[1]] = glyph * 255
    return images, labels


@pytest.fixture(scope="module")
def study(load_example):
    return load_example("latent_size")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    (x_train, y_train), (x_test, y_test) = digits(300, 0), digits(60, 1)
    path = tmp_path_factory.mktemp("data") / "mnist.npz"
    np.savez(path, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return path


def run(data, folder, *flags, **environment):
    flags = ["--epochs", "1", "--train=--steps-per-epoch 3 --batch-size 16", *flags]
    command = [*EXAMPLE, data, *flags, "--runs", folder / "runs", "-o", folder / "page.md"]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    result = run(data, folder, "--z-dims", "2", "5")
    assert result.returncode == 0, result.stderr
    return folder


@pytest.mark.parametrize("offset", [0, 1e4])
def test_overlap_of_clusters_and_of_one_cloud(study, offset):
    rng = np.random.default_rng(0)
    known_labels, labels = np.arange(3000) % 10, np.arange(1000) % 10
    centers = 20 * rng.standard_normal((10, 8)) + offset
    cloud, known_cloud = (rng.standard_normal((len(codes), 8)) for codes in (labels, known_labels))
    apart = study.wrong_votes(cloud + centers[labels], labels, known_cloud + centers[known_labels], known_labels)
    mixed = study.wrong_votes(cloud + offset, labels, known_cloud + offset, known_labels)
    same = study.wrong_votes(np.full((1000, 8), offset), labels, np.full((3000, 8), offset), known_labels)
    assert apart.mean() < 0.01
    assert mixed.mean() == pytest.approx(0.9, abs=0.03)
    assert same.mean() == pytest.approx(0.9, abs=0.03)
    half = np.where(labels < 5, apart, mixed)
    np.testing.assert_allclose(study.by_class(half, labels)[:5], 0, atol=0.02)


def test_a_tie_goes_to_the_nearer_neighbors(study):
    known = np.concatenate([np.linspace(2, 3, 5), np.linspace(-1.9, -1, 5), [50]])[:, None]
    codes = np.array([0] * 5 + [1] * 5 + [0])
    assert study.wrong_votes(np.zeros((1, 1)), np.array([1]), known, codes).tolist() == [False]
    assert study.wrong_votes(np.zeros((1, 1)), np.array([0]), -known, codes).tolist() == [True]


def test_error_of_mean_images(study):
    images = np.stack([np.full((2, 2, 1), value) for value in (0.0, 0.2, 0.6, 1.0)])
    labels = np.array([3, 3, 7, 7])
    np.testing.assert_allclose(study.mean_image_mse(images, labels, images, labels), [0.01, 0.01, 0.04, 0.04])
    blind = study.mean_image_mse(images, 0 * labels, images, 0 * labels)
    np.testing.assert_allclose(blind, (np.array([0, 0.2, 0.6, 1]) - 0.45) ** 2)


def test_ratio_within_classes_is_blind_to_differences_between_them(study):
    labels, wrong = np.repeat([0, 1, 2], 4), np.array([0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0], bool)
    level = np.array([1.0, 50.0, 7.0])[labels]
    assert study.wrong_to_right(wrong, level, labels) == pytest.approx(1)
    assert study.wrong_to_right(wrong, np.where(wrong, 3, 1) * level, labels) == pytest.approx(3)


def test_rank_correlation(study):
    values = np.array([0.1, 0.4, 0.2, 0.9])
    assert study.rank_correlation(values, np.exp(9 * values)) == pytest.approx(1)
    assert study.rank_correlation(values, -values) == pytest.approx(-1)
    # scipy.stats.spearmanr([1, 1, 2, 3], [1, 2, 2, 0])
    assert study.rank_correlation(np.array([1, 1, 2, 3]), np.array([1, 2, 2, 0])) == pytest.approx(-0.5)


def test_page_has_a_row_for_each_length(finished):
    lines = (finished / "page.md").read_text("utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    table, classes = rows[2:4], rows[6:]
    assert [row[0] for row in table] == ["2", "5"]
    assert [row[0] for row in classes] == [str(digit) for digit in range(10)]
    for number, row in enumerate(table):
        result = tomllib.loads((finished / "runs" / f"z-{row[0]}" / "result.toml").read_text("utf-8"))["test"]
        assert float(row[2]) == pytest.approx(result["mse"], abs=1e-4)
        cells = [line[2 + number].split(", ") for line in classes]
        # Every class is as large: measured here by class, or by the run itself on all images, the noise is the same.
        assert np.mean([float(mse) for _, mse, _ in cells]) == pytest.approx(result["mse"], abs=1e-4)
        assert np.mean([float(overlap[:-1]) for overlap, _, _ in cells]) == pytest.approx(float(row[5][:-1]), abs=0.1)
    assert (finished / "images" / "page.png").read_bytes()[:4] == b"\x89PNG"
    assert (finished / "images" / "page.png").stat().st_size < 300_000


def test_finished_runs_are_kept_and_interrupted_ones_go_on(data, finished):
    before = (finished / "runs" / "z-2" / "model.keras").stat().st_mtime_ns
    (finished / "runs" / "z-5" / "result.toml").unlink()
    result = run(data, finished, "--z-dims", "2", "5")
    assert result.returncode == 0, result.stderr
    assert "continuing after epoch 1" in result.stderr
    assert (finished / "runs" / "z-2" / "model.keras").stat().st_mtime_ns == before
    assert (finished / "runs" / "z-5" / "result.toml").is_file()


def test_data_without_labels_are_refused_before_anything_is_trained(tmp_path):
    np.savez(tmp_path / "plain.npz", x_train=digits(20, 0)[0], x_test=digits(20, 0)[0])
    result = run(tmp_path / "plain.npz", tmp_path)
    assert result.returncode == 1
    assert "expected labeled training and test images of 28 x 28" in result.stderr
    assert not (tmp_path / "runs").exists()
