"""Drawn pages and digits, where a test set is missing."""

from __future__ import annotations

from dae_tools.cards import drawings as drawn


def test_the_drawn_page_is_soiled_and_has_writing():
    soiled, clean = drawn.page()
    assert soiled.shape == clean.shape == (192, 192)
    assert (clean == 255).mean() > 0.6
    assert 0.03 < (clean < 100).mean() < 0.3
    paper = clean == 255
    assert soiled[paper].mean() < 240
    assert soiled[paper].std() > 15


def test_the_drawn_digits_differ():
    images = drawn.digits()
    assert images.shape == (10, 28, 28, 1)
    assert len({image.tobytes() for image in images}) == 10
