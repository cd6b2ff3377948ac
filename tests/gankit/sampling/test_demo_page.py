"""The page of `gankit demo`: its controls, and the images behind them, with the real library."""

import pytest
import torch
from PIL import Image

from gankit.images.grid import to_image
from gankit.sampling.demo_page import FROM_DATA, Control, Request, demo_page, draw_request, request_of
from gankit.sampling.directions import Directions
from gankit.sampling.generator_file import save_generator
from gankit.sampling.grid import draw_grid, grid_layout
from gankit.sampling.sampler import Sampler
from gankit.testing import tiny_run, train_iterations
from gankit.testing.harness import tiny_registry


class Page:
    """Page of a tiny run, whose function behind the controls is called with values by label."""

    def __init__(self, folder, directions=None, **data):
        self.run = train_iterations(tiny_run({}, {"data": data}), 1)
        save_generator(self.run, folder / "generator.safetensors")
        self.registry = tiny_registry({})
        self.file = folder / "generator.safetensors"
        self.sampler = self.load(())
        page = demo_page(self.load, directions, "a title", 4)
        (function,) = (one for one in page.fns.values() if one.api_name == "draw")
        self.call, self.components = function.fn, function.inputs
        self.labels = [one.label for one in self.components]

    def load(self, changed):
        return Sampler.load(self.file, "cpu", registry=self.registry, overrides=changed)

    def draw(self, **values):
        assert values.keys() <= set(self.labels)
        return self.call(*(values.get(one.label, one.value) for one in self.components))

    def expected(self, count, seed=0, requested=None, sources=None, truncation=None, moves=None):
        layout = grid_layout(self.sampler, count, requested or {}, seed, sources)
        z = self.sampler.latent(layout.total, layout.condition, seed, truncation)
        return draw_grid(self.sampler.moved(*moves) if moves else self.sampler, z, layout)


@pytest.fixture
def page_of(tmp_path):
    pytest.importorskip("gradio")
    return lambda *directions, **data: Page(tmp_path, *directions, **data)


def same(image, other):
    return image.size == other.size and image.tobytes() == other.tobytes()


def test_classes_seed_count_and_truncation_are_those_of_the_sampler(page_of):
    page = page_of(classes=2)
    assert page.labels == ["Seed", "Images", "Class", "Truncation of z"]
    choices = [choice for choice, _ in page.components[2].choices]
    assert choices == ["all classes", "a", "b"]
    assert same(page.draw(), page.expected(4))
    options = {"Seed": 3, "Images": 9, "Class": "b", "Truncation of z": 0.5}
    drawn = page.draw(**options)
    assert same(drawn, page.expected(9, 3, {"class": "b"}, truncation=0.5))
    # One image alone has the pixels that `Sampler.sample` returns.
    images, _ = page.sampler.sample(1, "b", 3)
    single = page.draw(Seed=3, Images=1, Class="b")
    corners = to_image(images[0]).convert("RGB")
    factor = single.width // (corners.width + 2)
    middle = [(x * factor + factor + factor // 2, factor + factor // 2) for x in range(corners.width)]
    assert [single.convert("RGB").getpixel(at) for at in middle] == [corners.getpixel((x, 0)) for x in range(8)]
    for label, value in {"Seed": 4, "Images": 8, "Class": "a", "Truncation of z": 0}.items():
        assert not same(page.draw(**options | {label: value}), drawn), label


def test_an_unconditional_generator_has_no_controls_for_a_condition(page_of):
    page = page_of()
    assert page.labels == ["Seed", "Images", "Truncation of z"]
    assert same(page.draw(Seed=1), page.expected(4, 1))


def test_numbers_count_only_if_they_are_fixed(page_of):
    page = page_of(condition="vector")
    assert page.labels[2:] == ["Fixed numbers", "brightness", "hue", "Truncation of z"]
    assert same(page.draw(hue=0.5), page.expected(4))
    drawn = page.draw(**{"Fixed numbers": ["hue"], "hue": 0.5, "brightness": 1})
    assert same(drawn, page.expected(4, requested={"hue": 0.5}))
    assert not same(drawn, page.expected(4))


def test_a_text_is_drawn_and_an_unknown_word_is_a_message(page_of):
    import gradio

    page = page_of(condition="tokens")
    assert page.components[2].placeholder == FROM_DATA
    assert same(page.draw(Text="bright image"), page.expected(4, requested={"text": "bright image"}))
    assert same(page.draw(Text=""), page.expected(4))
    with pytest.raises(gradio.Error, match="the word 'purple' is unknown"):
        page.draw(Text="purple")


def test_a_source_image_is_a_condition(page_of, tmp_path):
    import gradio

    page = page_of(condition="image")
    source = page.run.dataset.read().condition[:1]
    to_image(source[0]).save(tmp_path / "source.png")
    drawn = page.draw(**{"Source image": str(tmp_path / "source.png"), "Images": 2})
    assert same(drawn, page.expected(2, sources=source))
    Image.new("RGB", (8, 8)).save(tmp_path / "source.png")
    assert not same(page.draw(**{"Source image": str(tmp_path / "source.png"), "Images": 2}), drawn)
    with pytest.raises(gradio.Error, match="source images"):
        page.draw()


def test_moves_along_directions_are_those_of_the_sampler(page_of):
    size = page_of().sampler.spec.latent_size
    vectors = torch.eye(max(size, 12), size)
    directions = Directions(vectors, torch.linspace(0.5, 2, len(vectors)), torch.zeros(size), "z", "pca")
    page = page_of(directions)
    assert page.labels[3:] == [f"Direction {number}" for number in range(10)]
    assert same(page.draw(), page.expected(4))
    drawn = page.draw(**{"Direction 0": -1.5, "Direction 2": 3})
    assert same(drawn, page.expected(4, moves=(directions, {0: -1.5, 2: 3.0})))
    assert not same(drawn, page.expected(4))


def test_numbers_between_the_steps_are_rounded_and_empty_fields_are_not_set(tmp_path):
    run = train_iterations(tiny_run({}, {"data": {"condition": "vector"}}), 1)
    save_generator(run, tmp_path / "generator.safetensors")
    sampler = Sampler.load(tmp_path / "generator.safetensors", "cpu", registry=tiny_registry({}))
    whole = draw_request(lambda changed: sampler, None, Request(seed=3, count=4))
    odd = Request(seed=3.2, count=3.8, fixed=["hue"], numbers={"hue": None})
    assert same(draw_request(lambda changed: sampler, None, odd), whole)


def test_a_request_has_the_value_of_each_control():
    controls = [Control(None, "seed"), Control(None, "numbers", "age"), Control(None, "numbers", "size")]
    request = request_of(controls, [5, 30, 2])
    assert (request.seed, request.numbers, request.condition) == (5, {"age": 30, "size": 2}, {})
