"""Slider of `gankit demo` for the truncation psi of a generator with a mapping network."""

import pytest

from gankit.sampling.demo_page import Request, controls_of, draw_request
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import draw_grid, grid_layout
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from tests.plugins.command.test_stylegrid import CHANGES


@pytest.fixture
def load(tmp_path):
    run = train_iterations(tiny_run({}, CHANGES | {"tricks": {"truncation": {"threshold": 1.5}}}), 2)
    save_generator(run, tmp_path / "generator.safetensors")
    return lambda changed: Sampler.load(tmp_path / "generator.safetensors", "cpu", overrides=changed)


def test_psi_and_the_threshold_are_those_of_sample(load):
    assert {key: tuple(one)[:3] for key, one in load(()).settings.items()} == {
        "generator.psi": (1.0, 0.0, 1.0),
        "tricks.truncation.threshold": (1.5, 0.1, 3.0),
    }
    assert load(("generator.psi=0.7",)).settings["generator.psi"].value == 0.7
    pictures = []
    for overrides in ((), ("generator.psi=0.25",), ("generator.psi=0.25", "tricks.truncation.threshold=0.5")):
        sampler = load(overrides)
        layout = grid_layout(sampler, 4)
        expected = draw_grid(sampler, sampler.latent(layout.total, layout.condition, 0), layout)
        settings = {key: one.value for key, one in sampler.settings.items()}
        pictures.append(draw_request(load, None, Request(count=4, settings=settings)).tobytes())
        assert pictures[-1] == expected.tobytes()
    assert len(set(pictures)) == 3


def test_the_page_has_a_slider_for_each_setting(load):
    gradio = pytest.importorskip("gradio")
    with gradio.Blocks():
        components = [control.component for control in controls_of(load(()), None, 4)]
    assert [(one.label, one.value) for one in components[-2:]] == [
        ("generator.psi", 1.0),
        ("tricks.truncation.threshold", 1.5),
    ]
    assert "truncation of w" in components[-2].info
