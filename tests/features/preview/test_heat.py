import numpy as np
import torch

from d2seg.features.preview.heat import (
    STOPS,
    activation_strength,
    css_colors,
    heat_map,
    value_range,
)


def test_the_ends_and_the_middle_of_the_range() -> None:
    values = torch.tensor([[-5.0, 1.0, 2.0, 3.0, 9.0]])
    assert heat_map(values, 1.0, 3.0)[0].tolist() == [
        list(STOPS[index]) for index in (0, 0, 2, 4, 4)
    ]


def test_brightness_rises_with_the_value() -> None:
    picture = heat_map(torch.linspace(0, 1, 256)[None], 0, 1)[0].astype(float)
    brightness = picture @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) >= -0.3).all()
    assert brightness[-1] - brightness[0] > 200


def test_equal_values_are_dark() -> None:
    picture = heat_map(torch.full((2, 3), 4.0), 4.0, 4.0)
    assert picture.shape == (2, 3, 3)
    assert (picture == STOPS[0]).all()


def test_the_range_leaves_out_a_percent_at_either_end_of_all_maps() -> None:
    first, second = torch.arange(0, 51.0).reshape(3, 17), torch.arange(51.0, 101)
    assert value_range([first, second]) == (1.0, 99.0)


def test_strength_is_the_length_of_each_cell() -> None:
    features = torch.zeros(4, 2, 3, dtype=torch.float16)
    features[1, 0, 2], features[3, 0, 2] = 300.0, -400.0
    assert activation_strength(features).tolist() == [[0, 0, 500], [0, 0, 0]]


def test_colors_in_css() -> None:
    assert css_colors().startswith("rgb(20, 16, 64), rgb(112, 30, 122)")
