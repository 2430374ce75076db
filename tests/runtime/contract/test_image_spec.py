"""The images that a model takes: sizes and shapes that fit it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dae_runtime import Denoiser
from dae_runtime.contract import ImageSpec


@given(st.integers(1, 64), st.integers(1, 600))
def test_a_free_size_near_a_side_is_the_largest_multiple_up_to_it(alignment, side):
    height, width = ImageSpec(1, alignment).size_near(side)
    assert height == width
    assert height % alignment == 0
    assert height <= max(side, alignment) < height + alignment


def test_a_fixed_size_is_the_only_one():
    images = ImageSpec(3, fixed_size=(28, 20))
    assert images.size_near(512) == (28, 20)
    assert images.shapes(((1, 512, 512),), (1, 256)) == ((1, 28, 20, 3), (256, 28, 20, 3))


def test_free_shapes_are_rounded_up_to_the_alignment():
    assert ImageSpec(3, 8).shapes(((2, 28, 32), (1, 1, 9)), (7,)) == ((2, 32, 32, 3), (1, 8, 16, 3))


@pytest.mark.parametrize(
    ("images", "tileable"),
    [(ImageSpec(1, 4, 8), True), (ImageSpec(1, 1, 0), True), (ImageSpec(1, 4), False), (ImageSpec(1, 1, 8, (28, 28)), False)],
)
def test_only_a_model_of_free_size_and_bounded_reach_can_be_tiled(images, tileable):
    assert images.tileable == tileable


def test_it_holds_the_fields_of_the_contract():
    contract = Denoiser("mnist-v2", "cpu").model
    assert contract.images == ImageSpec(contract.channels, contract.alignment_px, contract.halo_px, contract.fixed_size)
