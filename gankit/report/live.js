
// Update the page when the files of the run have changed. `gankit watch` appends this part to the script of the page.
const LEAST_WAIT = 2000;  // time between two requests, in milliseconds

const line = document.querySelector("#live");
let version = document.body.dataset.version, pressed = false;
// Browsers send no `pointerup` after some drags, for example of a scrollbar. The next `pointermove` shows the release.
for (const name of ["pointerdown", "pointerup", "pointercancel", "pointermove"]) {
  window.addEventListener(name, (event) => { pressed = event.buttons !== 0; });
}

// An update would end the drag of the slider, remove the selection of text, or stop a sound.
function isBusy() {
  const playing = Array.from(document.querySelectorAll("audio")).some((sound) => !sound.paused);
  return document.hidden || pressed || playing || !document.getSelection().isCollapsed;
}

async function request(path) {
  const response = await fetch(path, { cache: "no-store" });
  if (!response.ok) throw new Error(response.statusText);
  return response;
}

// Return the index of the slider for the iteration that is selected now, or the last index if that is the newest one.
function sliderIndex(before, after) {
  const slider = before.querySelector("input"), iterations = JSON.parse(after.dataset.iterations);
  if (slider.value === slider.max) return iterations.length - 1;
  const selected = JSON.parse(before.dataset.iterations)[slider.value];
  return Math.max(0, iterations.filter((iteration) => iteration <= selected).length - 1);
}

// Return a text by which an element is found again after an update.
function nameOf(element) {
  const summary = element.closest("details")?.querySelector("summary");
  return element.tagName + (element.getAttribute("aria-label") ?? summary?.textContent ?? "");
}

// Replace the content of the page. Keep expanded details, the slider, the focus and all scroll positions.
function replaceContent(after) {
  const before = document.querySelector("main"), page = [window.scrollX, window.scrollY];
  const summary = (details) => details.querySelector("summary").textContent;
  const open = new Map(Array.from(before.querySelectorAll("details"), (details) => [summary(details), details.open]));
  for (const details of after.querySelectorAll("details")) details.open = open.get(summary(details)) ?? details.open;
  // Move images that are already decoded, so that they do not flicker. Two images may have the same pixels. Sounds keep
  // their position.
  const images = new Map(Array.from(before.querySelectorAll("img, audio"), (image) => [image.outerHTML, image]));
  const grids = [before, after].map((main) => main.querySelector("[data-iterations]"));
  if (grids[0] && grids[1]) grids[1].querySelector("input").setAttribute("value", sliderIndex(...grids));
  for (const image of after.querySelectorAll("img, audio")) image.replaceWith(images.get(image.outerHTML) ?? image);
  // New tables and warnings may precede an element, so its position in the page does not identify it.
  const elements = (main, selector) => new Map(Array.from(main.querySelectorAll(selector), (e) => [nameOf(e), e]));
  const scrolled = Array.from(elements(before, ".scroll, pre"), ([name, box]) => [name, box.scrollLeft, box.scrollTop]);
  const focused = before.contains(document.activeElement) ? nameOf(document.activeElement) : "";
  before.replaceWith(after);
  activate();
  const boxes = elements(after, ".scroll, pre");
  for (const [name, left, top] of scrolled) boxes.get(name)?.scrollTo(left, top);
  elements(after, "[tabindex], input, summary").get(focused)?.focus({ preventScroll: true });
  window.scrollTo(...page);
}

async function update() {
  const began = performance.now();
  try {
    const status = await (await request("status")).json();
    line.textContent = status.activity;
    if (status.version !== version && isBusy()) {
      line.textContent += " (new results appear when no text is selected and no sound plays)";
    } else if (status.version !== version) {
      const next = new DOMParser().parseFromString(await (await request("./")).text(), "text/html");
      replaceContent(document.adoptNode(next.querySelector("main")));
      version = next.body.dataset.version;
    }
  } catch (error) {
    line.textContent = "No connection to gankit watch. The page is not updated.";
  }
  // Writing the page of a long run takes time. Use at most a tenth of a processor, which the training may need.
  setTimeout(update, Math.max(LEAST_WAIT, 10 * (performance.now() - began)));
}
update();
