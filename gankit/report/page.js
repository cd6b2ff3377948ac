"use strict";
// Without this script the page has the same content: all grids in a row, and the newest values in the legends.

function format(value) {
  if (value === null) return "not a number";
  return value === undefined ? "-" : String(Number(value.toPrecision(4)));
}

// Return the value of a line at an iteration or at the last point before it, undefined beyond the end of the line.
function valueAt(line, iteration) {
  let value;
  if (iteration > line.x[line.x.length - 1]) return value;
  for (let i = 0; i < line.x.length && line.x[i] <= iteration; i++) value = line.y[i];
  return value;
}

// Add the event listeners of all charts and sample grids.
function activate() {
  for (const figure of document.querySelectorAll("figure[data-lines]")) {
    const lines = JSON.parse(figure.dataset.lines);
    const svg = figure.querySelector("svg"), cursor = svg.querySelector(".cursor");
    const heading = figure.querySelector("[data-when]"), cells = figure.querySelectorAll("[data-line]");
    const before = [heading.textContent, ...Array.from(cells, (cell) => cell.textContent)];
    const stops = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
    const { left, right, first, last } = svg.dataset;
    let stop = stops.length - 1;

    function show(index) {
      stop = Math.max(0, Math.min(stops.length - 1, index));
      const at = Number(left) + (stops[stop] - first) / (last - first) * (right - left);
      cursor.setAttribute("x1", at);
      cursor.setAttribute("x2", at);
      cursor.removeAttribute("hidden");
      heading.textContent = "at iteration " + stops[stop];
      cells.forEach((cell, i) => { cell.textContent = format(valueAt(lines[i], stops[stop])); });
    }
    function leave() {
      cursor.setAttribute("hidden", "");
      [heading, ...cells].forEach((element, i) => { element.textContent = before[i]; });
    }
    svg.tabIndex = 0;
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
      const iteration = Number(first) + (x - left) / (right - left) * (last - first);
      let nearest = 0;
      stops.forEach((s, i) => { if (Math.abs(s - iteration) < Math.abs(stops[nearest] - iteration)) nearest = i; });
      show(nearest);
    });
    svg.addEventListener("pointerleave", leave);
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const to = { ArrowLeft: stop - 1, ArrowRight: stop + 1, Home: 0, End: stops.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(to);
    });
  }

  for (const section of document.querySelectorAll("[data-iterations]")) {
    const iterations = JSON.parse(section.dataset.iterations), box = section.querySelector(".slider");
    const slider = box.querySelector("input"), output = box.querySelector("output");
    function move() {
      const iteration = iterations[slider.value];
      output.textContent = "iteration " + iteration;
      slider.setAttribute("aria-valuetext", output.textContent);
      for (const strip of section.querySelectorAll(".strip")) {
        const figures = [...strip.querySelectorAll("figure")];
        const shown = figures.filter((f) => Number(f.dataset.iteration) <= iteration).pop();
        for (const figure of figures) {
          figure.hidden = figure !== shown;
          if (figure.hidden) for (const sound of figure.querySelectorAll("audio")) sound.pause();
        }
      }
    }
    box.hidden = iterations.length < 2;
    slider.addEventListener("input", move);
    move();
  }
}
activate();

window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
