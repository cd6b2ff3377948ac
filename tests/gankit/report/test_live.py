"""Script of the page of `gankit watch`, in a browser."""

import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from gankit.images.io import save_png
from gankit.report.page import page
from gankit.report.run_record import read_run
from gankit.storage.run_dir import RunDir

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium")


@pytest.fixture
def update(tmp_path):
    """Function that shows a page, runs a script, updates the page, and returns the content of the page as text."""

    def call(before, after, script):
        # Answer the requests of the page without a server. The policy of the page would block this script.
        answers = json.dumps({"status": {"version": "b", "activity": "ok"}, "./": after}).replace("</", "<\\/")
        stub = f"""<script>
            const answers = {answers};
            window.fetch = async (path) => {{
              await new Promise((resolve) => setTimeout(resolve, 100));
              return {{ ok: true, json: async () => answers[path], text: async () => answers[path] }};
            }};
            document.addEventListener("DOMContentLoaded", () => {{ {script} }});
            setTimeout(() => {{
              document.body.dataset.focused = document.activeElement.textContent;
            }}, 1000);
            </script>"""
        text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', lambda _: stub, before)
        file = tmp_path / "page.html"
        file.write_text(text, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'browser'}"]
        command = [BROWSER, *options, "--virtual-time-budget=1500", "--dump-dom", file.as_uri()]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    return call


def test_an_update_keeps_equal_images_and_the_focus(tmp_path, update):
    path = tmp_path / "run"
    path.mkdir()
    (path / "recipe.toml").write_text('name = "toy"\n[train]\niterations = 100\n')
    directory = RunDir(path)
    for iteration in (10, 20):
        save_png(Image.new("RGB", (4, 4)), directory.grid(iteration))
    before = page([read_run(path)], "a")
    save_png(Image.new("RGB", (4, 4)), directory.grid(30))
    directory.log({"iteration": 30, "warning": "D's loss is near 0"})
    # The warnings are a new element that can be expanded, in front of the others.
    script = """
        [...document.querySelectorAll("summary")].at(-1).focus();
        // Browsers send no `pointerup` after some drags, for example of a scrollbar.
        for (const [name, buttons] of [["pointerdown", 1], ["pointermove", 0]])
          window.dispatchEvent(new PointerEvent(name, { buttons }));"""
    shown = update(before, page([read_run(path)], "b"), script)
    assert "D's loss is near 0" in shown
    assert re.findall(
        r'<figure data-iteration="(\d+)"[^>]*><img [^>]*alt="Samples of toy at iteration (\d+)"', shown
    ) == [
        ("10", "10"),
        ("20", "20"),
        ("30", "30"),
    ]
    assert 'data-focused="toy"' in shown
