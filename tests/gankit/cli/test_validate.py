"""`gankit validate`."""


def test_a_valid_recipe_prints_a_summary(gankit, toy):
    answer = gankit("validate", "toy.toml", "generator.width=7", "tricks.slow.use='./toy.py:Slow'")
    assert (answer.code, answer.err) == (0, "")
    # G: 6 x 7 + 7 and 7 x 64 + 64; D: 64 x 5 + 5 and 5 + 1.
    assert [" ".join(line.split()) for line in answer.out.splitlines()] == [
        "toy.toml: no mistakes",
        "images 1x8x8, 2 classes: a, b",
        "generator toy_g, 561 parameters",
        "discriminator toy_d, 331 parameters",
        "loss toy_loss",
        "tricks slow",
        "device cpu",
    ]
    assert not (toy / "runs").exists()


def test_all_mistakes_are_reported_together(gankit, toy):
    answer = gankit("validate", "toy.toml", "train.iteration=5", "train.batch_size=0", "data.use=blob")
    assert (answer.code, answer.out) == (2, "")
    lines = answer.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: toy.toml: ") for line in lines)


def test_a_plugin_warns_or_refuses(gankit, toy):
    answer = gankit("validate", "toy.toml", "tricks.p.use='./toy.py:Picky'")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "warning: tricks.p: a picky [plugin] never helps"
    refused = gankit("validate", "toy.toml", "tricks.p.use='./toy.py:Picky'", "train.batch_size=32")
    assert (refused.code, refused.err) == (2, "error: toy.toml: tricks.p: not more than 16 [images], please\n")
