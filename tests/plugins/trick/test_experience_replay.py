"""Trick: experience replay."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gankit import ClassCondition, Spec, Step
from gankit.testing import check_resume
from gankit_plugins.trick.experience_replay import ExperienceReplay, ReplayBuffer

CPU = torch.device("cpu")


def numbered(first, count, channels=1):
    """Return images with the values first, first + 1, ..., each constant over its pixels."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    return numbers.reshape(-1, 1, 1, 1).expand(count, channels, 2, 2).contiguous()


def numbers(images):
    return images[:, 0, 0, 0].tolist()


def started(classes=0, channels=1, **settings):
    plugin = ExperienceReplay(ExperienceReplay.Config(**settings))
    spec = Spec(shape=(channels, 2, 2), condition=ClassCondition.of(tuple("0123456789"[:classes])))
    plugin.adjust_spec(spec)
    plugin.on_start(SimpleNamespace(spec=spec, device=CPU, ranks=SimpleNamespace(size=1)))
    return plugin


def new_step(fake, labels=None, simulated=False):
    classes = 0 if labels is None else int(labels.max()) + 1
    run = SimpleNamespace(spec=Spec(condition=ClassCondition.of(tuple(map(str, range(classes))))))
    return Step(run, "discriminator", fake.clone(), labels, torch.zeros(len(fake), 1), fake, simulated=simulated)


def test_nothing_is_replaced_before_anything_is_stored():
    plugin, fake = started(), numbered(1, 6)
    step = new_step(fake)
    plugin.before_d_step(step)
    assert torch.equal(step.fake, numbered(1, 6))


def test_share_of_the_fakes_is_replaced_at_random_places():
    torch.manual_seed(0)
    plugin = started(share=0.25, capacity=100, channels=3)
    places = []
    for t in range(60):
        step = new_step(numbered(8 * t + 1, 8, channels=3))
        plugin.before_d_step(step)
        fakes = numbers(step.fake)
        past = [i for i in range(8) if fakes[i] != 8 * t + 1 + i]
        assert len(past) == (2 if t else 0)
        assert all(fakes[i] <= 8 * t for i in past)
        assert torch.equal(step.fake.amin(dim=(1, 2, 3)), step.fake.amax(dim=(1, 2, 3)))
        places += past
    assert set(places) == set(range(8))


def test_as_many_new_images_are_stored_first_in_free_slots():
    torch.manual_seed(0)
    plugin = started(share=0.5, capacity=10)
    stored = set()
    for t in range(3):
        step = new_step(numbered(8 * t + 1, 8))
        plugin.before_d_step(step)
        now = set(numbers(plugin.buffer.images)) - {0.0}
        assert stored <= now or t == 2
        new = now - stored
        assert len(new) == 4
        assert all(n > 8 * t for n in new)
        # With half replaced, the new images among the inputs of D are stored.
        assert new == {n for n in numbers(step.fake) if n > 8 * t} or t == 0
        stored = now
        assert plugin.buffer.filled.tolist() == [min(4 * (t + 1), 10)]
    # The third step fills two free slots and overwrites two others.
    assert len(stored) == 10


def test_full_buffer_is_overwritten_uniformly():
    torch.manual_seed(0)
    buffer = ReplayBuffer(1, 5, (1, 2, 2), CPU)
    buffer.store(numbered(1, 5), torch.zeros(5, dtype=torch.int64))
    assert numbers(buffer.images) == [1, 2, 3, 4, 5]
    hits = torch.zeros(5)
    for _ in range(2000):
        before = buffer.images.clone()
        buffer.store(numbered(100, 1) + torch.rand(1), torch.zeros(1, dtype=torch.int64))
        changed = (buffer.images != before).any(dim=(1, 2, 3))
        assert changed.sum() == 1
        hits += changed
    assert ((hits / 2000 - 0.2).abs() < 5 * (0.2 * 0.8 / 2000) ** 0.5).all()


def test_every_stored_image_is_sampled_equally_often():
    torch.manual_seed(0)
    buffer = ReplayBuffer(1, 8, (1, 2, 2), CPU)
    buffer.store(numbered(1, 5), torch.zeros(5, dtype=torch.int64))
    images, known = buffer.sample(torch.zeros(4000, dtype=torch.int64))
    assert known.all()
    counts = torch.bincount(images[:, 0, 0, 0].long(), minlength=6)
    assert counts[0] == 0
    assert ((counts[1:] / 4000 - 0.2).abs() < 5 * (0.2 * 0.8 / 4000) ** 0.5).all()


class Naive:
    """Buffer as one Python list per class: free slots are filled first, then different slots are overwritten."""

    def __init__(self, classes, slots):
        self.shelves, self.slots = [[] for _ in range(classes)], slots

    def check(self, buffer, images, classes):
        """Check the possible contents of the buffer after images were stored."""
        new = [[n for n, k in zip(numbers(images), classes.tolist(), strict=True) if k == shelf]
               for shelf in range(len(self.shelves))]  # fmt: skip
        for k, shelf in enumerate(self.shelves):
            after = numbers(buffer.images[k * self.slots : (k + 1) * self.slots])
            stored = new[k][: self.slots]
            size = min(len(shelf) + len(new[k]), self.slots)
            assert buffer.filled[k] == size
            assert after[size:] == [0.0] * (self.slots - size)
            free = self.slots - len(shelf)
            assert after[len(shelf) : len(shelf) + len(stored[:free])] == stored[:free]
            assert sorted(n for n in after[:size] if n not in shelf) == sorted(stored)
            self.shelves[k] = after[:size]


@settings(deadline=None, max_examples=60)
@given(st.data(), st.integers(1, 4), st.integers(1, 5), st.integers(0, 2**31))
def test_shelves_against_a_naive_loop(data, classes, slots, seed):
    torch.manual_seed(seed)
    buffer, naive, first = ReplayBuffer(classes, slots, (1, 2, 2), CPU), Naive(classes, slots), 1
    for _ in range(4):
        labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=7))
        images, of = numbered(first, len(labels)), torch.tensor(labels)
        buffer.store(images, of)
        naive.check(buffer, images, of)
        first += len(labels)


def test_fake_is_replaced_by_one_of_its_class():
    torch.manual_seed(0)
    plugin = started(classes=3, share=0.5, capacity=30)
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    of = {}
    for t in range(30):
        fake = numbered(8 * t + 1, 8)
        of |= dict(zip(numbers(fake), labels.tolist(), strict=True))
        step = new_step(fake, labels)
        plugin.before_d_step(step)
        assert [of[n] for n in numbers(step.fake)] == labels.tolist()
        assert torch.equal(step.labels, labels)
    assert plugin.buffer.filled.tolist() == [10, 10, 10]
    for k in range(3):
        assert {of[n] for n in numbers(plugin.buffer.images[10 * k : 10 * k + 10])} == {k}


def test_class_without_stored_images_keeps_its_fakes():
    torch.manual_seed(0)
    plugin = started(classes=2, share=1.0, capacity=8)
    plugin.before_d_step(new_step(numbered(1, 3), torch.tensor([0, 0, 0])))
    step = new_step(numbered(10, 4), torch.tensor([0, 1, 0, 1]))
    plugin.before_d_step(step)
    fakes = numbers(step.fake)
    assert fakes[1] == 11
    assert fakes[3] == 13
    assert {fakes[0], fakes[2]} <= {1, 2, 3}


def test_small_share_is_one_image():
    assert started(share=0.01).count(8) == 1
    assert started(share=0.5).count(9) == 4


def test_only_the_steps_fakes_change_and_not_in_place():
    plugin = started(share=1.0, capacity=8)
    plugin.before_d_step(new_step(numbered(1, 4)))
    fake = numbered(5, 4).requires_grad_()
    step = new_step(fake)
    before = {name: getattr(step, name) for name in ("real", "labels", "z", "real_target", "fake_target")}
    plugin.before_d_step(step)
    assert step.fake is not fake
    assert not step.fake.requires_grad
    assert torch.equal(fake.detach(), numbered(5, 4))
    assert all(getattr(step, name) is value for name, value in before.items())


def test_simulated_step_changes_nothing():
    plugin = started(share=1.0, capacity=8)
    plugin.before_d_step(new_step(numbered(1, 4)))
    images, filled, randomness = plugin.buffer.rows.clone(), plugin.buffer.filled.clone(), torch.get_rng_state()
    fake = numbered(5, 4)
    step = new_step(fake, simulated=True)
    plugin.before_d_step(step)
    assert step.fake is fake
    assert torch.equal(plugin.buffer.rows, images)
    assert torch.equal(plugin.buffer.filled, filled)
    assert torch.equal(torch.get_rng_state(), randomness)


def recipe(batch_size, accumulate=1):
    return SimpleNamespace(train=SimpleNamespace(batch_size=batch_size, accumulate=accumulate))


def test_buffer_of_one_step_causes_a_warning():
    plugin = ExperienceReplay(ExperienceReplay.Config(capacity=32))
    (warnings,) = plugin.check_recipe(recipe(64))
    assert "32 new images fill the whole buffer of 32" in warnings
    assert list(plugin.check_recipe(recipe(64, accumulate=2))) == []


def test_capacity_below_the_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="capacity = 9 is below the number of classes; set 10 or more"):
        ExperienceReplay(ExperienceReplay.Config(capacity=9)).adjust_spec(
            Spec(condition=ClassCondition.of(tuple("0123456789"[:10])))
        )


@pytest.mark.parametrize("classes", [0, 2])
def test_resume_with_gradient_accumulation_and_bf16_is_exact(classes):
    """The buffer changes twice in each D step, once for each part of the batch."""
    train = {"accumulate": 2, "precision": "bf16", "discriminator_steps": 2}
    check_resume({ExperienceReplay: {"capacity": 16}}, {"train": train, "data": {"classes": classes}})
