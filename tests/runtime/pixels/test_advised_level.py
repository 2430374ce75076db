"""The advised noise level: what was measured where it is noise, a harmless one where it is texture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import random_pixels
from dae_runtime.pixels.advice import (
    COLOR,
    GRAY,
    MOST_ADDED,
    MOST_ADDED_SHARE,
    NEAR,
    Advice,
    Noise,
    advised,
    noise_of,
    shared_level,
)
from dae_runtime.pixels.level import measure_level
from dae_tools.camera_noise import add_correlated, add_mosaic, add_white, blur

levels = st.floats(0, 1)
unevennesses = st.floats(0, 3)
kinds = st.sampled_from([GRAY, COLOR])


def slopes(height: int = 240, width: int = 320) -> np.ndarray:
    """A smooth picture in color, (height, width, 3) float32, from 0.3 to 0.7."""
    y, x = np.mgrid[:height, :width]
    gray = 0.5 + 0.1 * np.sin(x / 50) + 0.1 * np.cos(y / 40)
    return np.repeat(gray[..., None], 3, axis=2).astype(np.float32)


def foliage() -> np.ndarray:
    """Texture everywhere, fine in some parts and coarse in others: (240, 320, 3) float32."""
    image = slopes()
    rng = np.random.default_rng(0)
    for top in range(0, 240, 40):
        for left in range(0, 320, 40):
            grain = blur(rng.standard_normal((40, 40, 1), dtype=np.float32), rng.uniform(0, 2.5))
            image[top : top + 40, left : left + 40] += 0.05 * grain / grain.std()
    return np.clip(image, 0, 1)


@pytest.mark.parametrize("add", [add_white, add_correlated, add_mosaic])
@pytest.mark.parametrize("level", [5, 12, 25])
def test_noise_is_told_as_measured_and_a_little_more(add, level):
    noisy = add(np.random.default_rng(0), slopes(), level / 255)
    measured, told = 255 * measure_level(noisy), 255 * noise_of(noisy).advised
    assert 0.6 * level < measured < 1.5 * level
    more = measured + min(MOST_ADDED_SHARE * measured, MOST_ADDED)
    if abs(np.log(more / COLOR.usual)) >= NEAR:
        assert level > COLOR.usual
        assert told == pytest.approx(more)
    else:
        assert abs(np.log(told / COLOR.usual)) < 0.9 * abs(np.log(more / COLOR.usual))
        assert (told > COLOR.usual) == (more > COLOR.usual)


@pytest.mark.parametrize("channels", [1, 3])
def test_texture_of_many_kinds_is_told_a_harmless_level(channels):
    image, harmless = foliage()[..., :channels], (GRAY if channels == 1 else COLOR).harmless
    assert 255 * measure_level(image) > 1.4 * harmless
    assert 255 * noise_of(image).advised == pytest.approx(harmless)


def test_noise_on_texture_is_told_when_it_is_stronger_than_the_texture():
    noisy = add_white(np.random.default_rng(1), foliage(), 20 / 255)
    assert noise_of(noisy).advised >= measure_level(noisy) > 15 / 255


@pytest.mark.parametrize("value", [0, 90, 255])
def test_a_flat_image_is_told_nothing(value):
    assert noise_of(np.full((100, 100, 3), value, np.uint8)).advised == 0


def test_a_drawing_is_told_a_harmless_level():
    page = np.full((200, 300), 255, np.uint8)
    page[20:180:12, 20:280] = 0
    page[40:160, 60:70] = 128
    assert 255 * noise_of(page[..., None]).advised <= GRAY.harmless


@pytest.mark.parametrize("shape", [(9, 80, 3), (20, 63, 3), (63, 200, 1)])
def test_small_images_are_told_what_is_measured(shape):
    image = random_pixels(shape)
    assert noise_of(image).advised == measure_level(image)
    assert (noise_of(image).advised > 0) == (min(shape[:2]) >= 10)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_image_reads_the_same_every_time_and_is_not_changed(dtype):
    image = random_pixels((120, 150, 3), dtype)
    image.flags.writeable = False
    assert noise_of(image).advised == noise_of(image.copy()).advised


@given(levels, unevennesses, kinds)
def test_what_is_told_lies_between_the_harmless_and_the_usual_or_the_measured_level_and_a_little_more(level, unevenness, kind):
    told = 255 * advised(level, unevenness, kind)
    assert min(255 * level, kind.harmless) - 1e-6 <= told <= min(255, max(255 * level + MOST_ADDED, kind.usual)) + 1e-6


@given(levels, unevennesses, unevennesses, kinds)
def test_less_is_told_the_more_the_blocks_differ(level, one, other, kind):
    even, uneven = sorted((one, other))
    assert advised(level, uneven, kind) <= advised(level, even, kind) + 1e-9


@given(levels, levels, unevennesses, kinds)
def test_more_is_told_the_more_is_measured(one, other, unevenness, kind):
    weak, strong = sorted((one, other))
    assert advised(weak, unevenness, kind) <= advised(strong, unevenness, kind) + 1e-9


@pytest.mark.parametrize("kind", [GRAY, COLOR])
def test_ends_and_middle(kind: Advice):
    level, usual = 9 / 255, (kind.usual - MOST_ADDED) / 255
    limit = kind.uneven + 0.04 * 4  # strong noise may be less even
    assert 255 * advised(level, kind.even, kind) == pytest.approx(10)
    assert 255 * advised(level, limit, kind) == pytest.approx(kind.harmless)
    assert 255 * advised(level, limit - (kind.uneven - kind.even) / 2, kind) == pytest.approx((10 * kind.harmless) ** 0.5)
    assert advised(0, 0.3, kind) == 0
    assert advised(level, None, kind) == level
    assert kind.usual - 0.1 < 255 * advised(usual, kind.even, kind) <= kind.usual + 1e-9
    assert 255 * advised(1 / 255, kind.even, kind) == pytest.approx(1.2)


def test_images_with_the_same_noise_share_what_the_evenest_tell() -> None:
    even, uneven = Noise(3 / 255, COLOR.even, False), Noise(3 / 255, 2 * COLOR.uneven, False)
    assert even.advised > uneven.advised
    assert shared_level([uneven]) == uneven.advised
    assert shared_level([even, even, uneven, uneven, uneven]) == pytest.approx(even.advised)
    assert shared_level([even] + 20 * [uneven]) == uneven.advised  # one image is not the noise of all
    assert (
        shared_level([Noise(level / 255, COLOR.even, False) for level in (1, 9, 10)])
        == Noise(9 / 255, COLOR.even, False).advised
    )
    assert shared_level([Noise(3 / 255, None, True)]) == 3 / 255
    assert shared_level([Noise(3 / 255, GRAY.even, True)] * 2) == Noise(3 / 255, GRAY.even, True).advised


def test_noisy_shots_are_told_more_together_and_clean_ones_no_more() -> None:
    rng = np.random.default_rng(3)
    noisy = [noise_of(add_correlated(rng, scene, 4 / 255)) for scene in (slopes(), foliage(), foliage())]
    clean = [noise_of(scene) for scene in (foliage(), foliage(), foliage())]
    assert shared_level(noisy) > np.median([noise.advised for noise in noisy])
    assert 255 * shared_level(clean) <= COLOR.harmless
