"""Web page with controls for a generator, built with the optional package gradio."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from PIL import Image

from gankit.data.user_images import source_images
from gankit.errors import InputError
from gankit.plugin.condition import ClassCondition, ImageCondition, TokenCondition, VectorCondition
from gankit.sampling.directions import Directions
from gankit.sampling.grid import draw_grid, grid_layout
from gankit.sampling.sampler import Sampler

Load = Callable[[tuple[str, ...]], Sampler]
"""Function that loads a generator with changed settings, such as `("generator.psi=0.7",)`."""

Part = Literal["seed", "count", "truncation", "settings", "condition", "numbers", "fixed", "source", "moves"]

MOST_SEED = 9999
"""Maximum seed on the page."""

MOST_TRUNCATION = 3.0
"""Maximum truncation threshold on the page. The absolute values of normal z are rarely larger."""

MOST_DIRECTIONS = 10
"""Maximum number of directions on the page."""

REACH = 3.0
"""Maximum move along a direction, in standard deviations."""

FROM_DATA = "as in the training data"


@dataclass
class Request:
    """Values of all controls of the page."""

    seed: float = 0
    count: float = 1
    truncation: float = 0.0
    """Truncation threshold of z, or 0 for no truncation."""

    settings: dict[str, float] = field(default_factory=dict)
    """Settings of plugins by key, such as `generator.psi`."""

    condition: dict[str, str] = field(default_factory=dict)
    """Class, text or word by name. An empty string means no choice."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    """Number of the condition by name, None for an empty field. It is used only if `fixed` contains the name."""

    fixed: list[str] = field(default_factory=list)
    source: str | None = None
    """Path of the source image, or None."""

    moves: dict[str, float] = field(default_factory=dict)
    """Standard deviations of the move along each direction, by the number of the direction."""


class Control(NamedTuple):
    """Control of the page, and the place of its value in a `Request`."""

    component: Any
    """Component of gradio, such as a slider."""

    part: Part
    key: str = ""
    """Key of the value if the part of the request is a dictionary."""


def request_of(controls: Sequence[Control], values: Sequence[Any]) -> Request:
    """Return the request that the values of the controls describe. The values are in the order of the controls."""
    request = Request()
    for control, value in zip(controls, values, strict=True):
        if control.key:
            getattr(request, control.part)[control.key] = value
        else:
            setattr(request, control.part, value)
    return request


def draw_request(load: Load, directions: Directions | None, request: Request) -> Image.Image:
    """Return the grid of images that `gankit sample` draws for the same options.

    Raises:
        InputError: the generator does not accept the condition or the source image.
    """
    unchanged = load(())
    settings = request.settings.items()
    changed = tuple(f"{key}={float(value)!r}" for key, value in settings if value != unchanged.settings[key].value)
    sampler = load(changed) if changed else unchanged
    moves = {int(number): amount for number, amount in request.moves.items() if amount}
    if directions is not None and moves:
        sampler = sampler.moved(directions, moves)
    condition: dict[str, str | float] = {name: value for name, value in request.condition.items() if value}
    condition |= {name: value for name, value in request.numbers.items() if name in request.fixed and value is not None}
    source = None
    if request.source is not None and sampler.condition is not None:
        source, _ = source_images(Path(request.source), sampler.condition.shape)
    # The field beside a slider accepts numbers between its steps.
    count, seed = round(request.count), round(request.seed)
    layout = grid_layout(sampler, count, condition, seed, source)
    z = sampler.latent(layout.total, layout.condition, seed, request.truncation or None)
    return draw_grid(sampler, z, layout)


def condition_controls(sampler: Sampler) -> Iterator[Control]:
    """Add the controls for the condition to the page, and yield them. Yield none for an unconditional generator."""
    import gradio

    def choice(name: str, label: str, unset: str, choices: Sequence[str]) -> Control:
        options = [(unset, ""), *((one, one) for one in choices)]
        return Control(gradio.Dropdown(options, value="", label=label), "condition", name)

    condition = sampler.condition
    if isinstance(condition, ClassCondition):
        yield choice("class", "Class", "all classes", condition.names)
    elif isinstance(condition, TokenCondition):
        some = f"up to {condition.length} known words, such as: {' '.join(condition.words[:8])}"
        yield Control(gradio.Textbox(label="Text", info=some, placeholder=FROM_DATA), "condition", "text")
    elif isinstance(condition, ImageCondition):
        image = gradio.Image(label="Source image", type="filepath", image_mode=None, height=200)
        yield Control(image, "source")
    elif isinstance(condition, VectorCondition):
        words: dict[str, list[str]] = {}
        numbers = []
        for position, name in enumerate(condition.names):
            group, equals, word = name.partition("=")
            if equals:
                words.setdefault(group, []).append(word)
            else:
                numbers.append((name, condition.ranges[position] if condition.ranges else None))
        for group, choices in words.items():
            yield choice(group, group, FROM_DATA, choices)
        if numbers:
            names = [name for name, _ in numbers]
            fixed = gradio.CheckboxGroup(names, label="Fixed numbers", info=f"the others vary {FROM_DATA}")
            yield Control(fixed, "fixed")
            for name, bounds in numbers:
                component = number_control(name, bounds)
                component.input(
                    lambda chosen, name=name: sorted({*chosen, name}),
                    fixed,
                    fixed,
                    queue=False,
                    show_progress="hidden",
                    api_visibility="private",
                )
                yield Control(component, "numbers", name)


def number_control(name: str, bounds: tuple[float, float] | None) -> Any:
    """Add a slider to the page, or a field if the range of the number is unknown. Return the component."""
    import gradio

    if bounds is None:
        return gradio.Number(0.0, label=name)
    low, high = bounds
    return gradio.Slider(low, high, value=(low + high) / 2, step=(high - low) / 100, label=name)


def controls_of(sampler: Sampler, directions: Directions | None, count: int) -> Iterator[Control]:
    """Add all controls to the page, and yield them.

    Args:
        sampler: sampler with the generator.
        directions: directions of the generator, or None.
        count: number of images before the user changes it.
    """
    import gradio

    yield Control(gradio.Slider(0, MOST_SEED, value=0, step=1, label="Seed"), "seed")
    yield Control(gradio.Slider(1, max(64, count), value=count, step=1, label="Images"), "count")
    yield from condition_controls(sampler)
    if sampler.truncates:
        info = "largest absolute value in z; 0 for no truncation"
        slider = gradio.Slider(0, MOST_TRUNCATION, value=0, step=0.05, label="Truncation of z", info=info)
        yield Control(slider, "truncation")
    for key, (value, low, high, info) in sampler.settings.items():
        bounds = min(low, value), max(high, value)
        slider = gradio.Slider(*bounds, value=value, step=(high - low) / 100, label=key, info=info)
        yield Control(slider, "settings", key)
    if directions is not None:
        gradio.Markdown(f"Directions in {directions.code}, in standard deviations")
        for number in range(min(MOST_DIRECTIONS, len(directions.vectors))):
            slider = gradio.Slider(-REACH, REACH, value=0, step=0.1, label=f"Direction {number}")
            yield Control(slider, "moves", str(number))


def demo_page(load: Load, directions: Directions | None, title: str, count: int) -> Any:
    """Return a page (`gradio.Blocks`) that draws images with a generator. The page is not served yet.

    Args:
        load: function that loads the generator. The page calls it for every image, so it must have a cache.
        directions: directions of the generator, or None.
        title: title of the page, in Markdown.
        count: number of images before the user changes it.
    """
    import gradio

    # Gradio keeps every image in a file. Delete files that are older than an hour.
    with gradio.Blocks(title="gankit", analytics_enabled=False, delete_cache=(600, 3600)) as page:
        gradio.Markdown(title)
        with gradio.Row():
            with gradio.Column(scale=3, min_width=320):
                # Leave out the button that publishes the image on a website.
                buttons = ["download", "fullscreen"]
                picture = gradio.Image(label="Images", type="pil", format="png", interactive=False, buttons=buttons)
            with gradio.Column(scale=1, min_width=280):
                controls = list(controls_of(load(()), directions, count))

        def draw(*values: Any) -> Image.Image:
            try:
                return draw_request(load, directions, request_of(controls, values))
            except InputError as error:
                raise gradio.Error(str(error), print_exception=False) from error

        components = [control.component for control in controls]
        # A text is drawn when it is complete, and other values at every change.
        events = [one.submit if isinstance(one, gradio.Textbox) else one.change for one in components]
        gradio.on(
            [page.load, *events],
            draw,
            components,
            picture,
            api_name="draw",
            trigger_mode="always_last",
            concurrency_limit=1,
            show_progress="minimal",
        )
    return page
