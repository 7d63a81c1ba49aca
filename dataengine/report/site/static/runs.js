"use strict";
// The page of runs: curves in one plot, sheets by step, settings. Live, it looks for new figures every five seconds.
const runs = { data: null, figure: null, step: null, hidden: new Set(), sheetOf: {}, metric: null, timer: null, shown: {} };
report.runs = (data) => { runs.data = data; };

async function showRuns() {
  await bringRuns();
  if (report.live && !runs.timer) runs.timer = setInterval(() => { if (!$("runs").hidden) bringRuns().catch(stopRuns); }, 5000);
}

function stopRuns(error) {
  clearInterval(runs.timer);
  say(error);
}

async function bringRuns() {
  await bring("data/runs.js" + (report.live ? `?${Date.now()}` : ""));
  const { error, lines, figures, evaluations: found } = runs.data;
  part("error", error, () => (error ? [element("p", { class: "note bad", role: "alert" }, element("bdi", {}, error))] : []));
  if (error) return;
  const drawn = lines.filter((line) => line.sheets.length);
  part("curves", [figures, lines.map((line) => [nameOf(line), line.per])], () => (figures.length ? [curves()] : []));
  part("sheets", drawn.map(nameOf), () => (drawn.length ? [element("h2", {}, "Sheets"),
    element("p", { class: "faint" }, "Pairs of rows: what is true, and what the averaged weights drew."),
    element("div", { class: "sheets" }, ...drawn.map((line) => element("figure", { id: partId(`sheet ${nameOf(line)}`) })))] : []));
  for (const line of drawn) part(`sheet ${nameOf(line)}`, line.sheets, () => sheetsOf(line));
  part("evaluations", found, () => (found.length ? evaluations(runs.data, runs) : []));
  part("settings", lines.map((line) => [nameOf(line), line.settings]), settingsOf);
  drawCurves();
}

const partId = (name) => `runs-${encodeURIComponent(name)}`; // ids have no spaces

// A part of the page is made anew when what it shows has changed: else what is open, focused or loaded stays so.
function part(name, data, make) {
  const id = partId(name);
  if (!document.getElementById(id)) $("runs").append(element("div", { id }));
  const box = document.getElementById(id);
  const text = JSON.stringify(data) ?? "";
  if (runs.shown[name] === text && box.childNodes.length) return;
  runs.shown[name] = text;
  const focused = document.activeElement?.dataset?.key;
  box.replaceChildren(...make());
  if (focused && document.activeElement === document.body) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

const nameOf = (line) => `${line.run} · ${line.stage}`;
const withFigure = () => runs.data.lines.map((line, n) => ({ ...line, n })).filter((line) => line.values[runs.figure]);

function curves() {
  const { figures, lines } = runs.data;
  if (!figures.some(([name]) => name === runs.figure)) runs.figure = figures[0][0];
  const select = element("select", { id: "figure", "data-key": "figure" }, ...figures.map(([name, label]) => element("option", { value: name }, label)));
  select.value = runs.figure;
  select.onchange = () => { runs.figure = select.value; drawCurves(); };
  const slider = element("input", { type: "range", id: "step", "data-key": "step", "aria-label": "Step" });
  slider.oninput = () => { runs.step = Number(slider.value); drawCurves(); };
  const averaged = lines.some((line) => line.per > 1)
    ? "Points of long trainings are means: " + lines.filter((line) => line.per > 1).map((line) => `${nameOf(line)}, of ${line.per} measurements`).join("; ") + "."
    : "";
  return element("div", {},
    element("h2", {}, "Curves"),
    element("label", { class: "alone" }, "Figure", select),
    element("div", { id: "plot" }),
    element("label", { class: "along" }, element("span", { id: "at" }), slider),
    element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Figures of the runs" }, element("table", { id: "legend" })),
    element("p", { class: "faint" }, averaged));
}

function drawCurves() {
  if (!$("plot")) return;
  const lines = withFigure();
  const seen = lines.filter((line) => !runs.hidden.has(nameOf(line)));
  const steps = lines.flatMap((line) => line.steps);
  const [first, last] = [least(steps), most(steps)];
  const step = Math.max(first, Math.min(last, runs.step ?? last));
  const slider = $("step");
  [slider.min, slider.max, slider.value] = [first, last, step];
  slider.setAttribute("aria-valuetext", `step ${step}`);
  $("at").textContent = `Step ${number(step)}`;
  const [, label] = runs.data.figures.find(([name]) => name === runs.figure);
  const curvesOf = seen.map(measured);
  const picture = plotted(curvesOf, { width: Math.max(280, $("plot").clientWidth), label: visible(`${label} by step, of ${seen.map(nameOf).join(", ")}; the table below has the figures`), step });
  const point = (event) => {
    if (event.pointerType === "touch" && !event.isPrimary) return;
    runs.step = Math.round(Math.max(first, Math.min(last, $("plot").firstChild.stepAt(event.clientX - $("plot").getBoundingClientRect().left))));
    drawCurves();
  };
  $("plot").onpointermove = $("plot").onpointerdown = seen.length ? point : null;
  $("plot").replaceChildren(picture);
  legend(lines, step);
}

// A line with the values of the figure that is shown. What is measured now and then has no gaps between.
function measured(line) {
  const values = line.values[runs.figure];
  const known = [...values.keys()].filter((i) => values[i] !== null);
  if (!known.length || 2 * known.length > values.length) return { ...line, values };
  return { ...line, steps: known.map((i) => line.steps[i]), values: known.map((i) => values[i]) };
}

function legend(lines, step) {
  const focused = document.activeElement?.dataset?.key;
  const heads = ["run", "stage", "at the step", "last", "least", "steps", "epoch"];
  const head = element("tr", {}, ...heads.map((word, i) => element("th", i > 1 ? { class: "n", scope: "col" } : { scope: "col" }, word)));
  const rows = lines.map((line) => {
    const values = line.values[runs.figure];
    const known = values.filter((value) => value !== null);
    const box = element("input", { type: "checkbox", "data-key": `show ${nameOf(line)}`, "aria-label": visible(`Show ${nameOf(line)}`) });
    box.checked = !runs.hidden.has(nameOf(line));
    box.onchange = () => {
      if (box.checked) runs.hidden.delete(nameOf(line));
      else runs.hidden.add(nameOf(line));
      drawCurves();
    };
    const done = number(line.steps.at(-1)) + (line.wanted ? ` / ${number(line.wanted)}` : "");
    const gap = (line.steps.at(-1) - line.steps[0]) / Math.max(1, line.steps.length - 1);
    const there = step >= line.steps[0] - gap && step <= line.steps.at(-1) + gap;
    const curve = measured(line);
    const cells = [there ? curve.values[nearest(curve.steps, step)] : null, known.at(-1), known.length ? least(known) : null].map(number);
    return element("tr", {},
      element("td", {}, element("label", { class: "shown" }, box, swatch(line.n), element("bdi", {}, line.run))),
      element("td", {}, line.stage),
      ...[...cells, done, number(line.epoch)].map((text) => element("td", { class: "n" }, text)));
  });
  $("legend").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
  if (focused) $("legend").querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function sheetsOf(line) {
  const key = nameOf(line);
  const last = line.sheets.length - 1;
  const slider = element("input", { type: "range", min: 0, max: last, "aria-label": visible(`Sheet of ${key}`), "data-key": `sheet ${key}` });
  const words = element("output", { class: "faint" });
  const picture = element("img", { class: "sheet", loading: "lazy" });
  const link = element("a", { target: "_blank", rel: "noreferrer" }, picture);
  const turn = (n) => {
    const [step, address] = line.sheets[n];
    runs.sheetOf[key] = n === last ? undefined : step; // at the newest it follows what comes
    slider.value = n;
    slider.setAttribute("aria-valuetext", `step ${step}`);
    words.textContent = `step ${number(step)}, sheet ${n + 1} of ${last + 1}`;
    picture.src = link.href = address;
    picture.alt = visible(`What ${key} drew at step ${step}, below what is true`);
  };
  slider.oninput = () => turn(Number(slider.value));
  const before = line.sheets.findIndex(([step]) => step === runs.sheetOf[key]);
  turn(before < 0 ? last : before);
  return [element("figcaption", {}, element("bdi", {}, key)), slider, element("br"), words, element("br"), link];
}

function settingsOf() {
  const lines = runs.data.lines.filter((line) => line.settings.length);
  if (!lines.length) return [];
  const names = [...new Set(lines.flatMap((line) => line.settings.map(([name]) => name)))];
  const tables = lines.map((line) => new Map(line.settings));
  const differing = names.filter((name) => !["run", "stage"].includes(name) && new Set(tables.map((table) => table.get(name))).size > 1);
  const parts = [element("h2", {}, "Settings")];
  if (lines.length > 1 && differing.length) {
    const head = element("tr", {}, ...["differing", ...lines.map(nameOf)].map((word) => element("th", { scope: "col" }, element("bdi", {}, word))));
    const rows = differing.map((name) => element("tr", {}, element("th", { scope: "row" }, name), ...tables.map((table) => element("td", {}, element("bdi", {}, table.get(name) ?? "–")))));
    parts.push(element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": "Settings that differ" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))));
  }
  for (const line of lines) parts.push(element("details", {}, element("summary", {}, element("bdi", {}, nameOf(line))), facts(line.settings)));
  return parts;
}

addEventListener("resize", () => { if ($("runs") && !$("runs").hidden && runs.data?.lines) drawCurves(); });
