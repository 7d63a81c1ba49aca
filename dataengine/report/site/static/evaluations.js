"use strict";
// Evaluations of several runs side by side: every figure in a table, and one at a time with its intervals.
const LOWER = new Set(["feature", "lpips"]);
const METHOD = { mean: "training mean", reference: "first view, copied", model: "model", round_trip: "tokenizer's round trip" };

function evaluations(data, state) {
  const parts = [element("h2", {}, "Evaluations"), element("p", { class: "faint" }, "Means over objects, ± half the width of the 95 % interval. The training mean and the copied view need no model; the round trip is what the tokens allow. What was measured on other objects stands apart: compare within a table only.")];
  const kind = ({ task, objects }) => `${task} ${objects}`;
  for (const one of new Set(data.evaluations.map(kind))) {
    const own = data.evaluations.filter((evaluation) => kind(evaluation) === one);
    const { task, rows } = own[0];
    const from = task === "i2mv" ? "From the first view (i2mv)" : task === "t2mv" ? "From the caption (t2mv)" : task;
    parts.push(element("h3", {}, `${from}, ${number(rows[0].objects)} objects`), ...comparison(own, data, state, one));
    for (const evaluation of own.filter(({ sheet }) => sheet)) {
      const name = evaluated(evaluation, own);
      const picture = element("img", { class: "sheet", loading: "lazy", src: evaluation.sheet, alt: visible(`True and drawn views, ${name}`) });
      parts.push(element("details", {}, element("summary", {}, "Views drawn by ", element("bdi", {}, name)), picture));
    }
  }
  return parts;
}

const evaluated = (evaluation, all) => {
  const alike = all.filter(({ run, stage }) => run === evaluation.run && stage === evaluation.stage).length > 1;
  return `${evaluation.run} · ${evaluation.stage}` + (alike ? ` (${evaluation.file})` : "");
};

function comparison(own, data, state, key) {
  const rows = data.methods.flatMap((method) => {
    const found = own.flatMap((evaluation) => {
      const row = evaluation.rows.find((other) => other.method === method);
      return row ? [{ ...row, name: evaluated(evaluation, own) }] : [];
    });
    const figures = ({ name, ...row }) => JSON.stringify(row);
    const alike = found.length > 1 && method !== "model" && found.every((row) => figures(row) === figures(found[0]));
    return alike ? [{ ...found[0], name: `all ${found.length}` }] : found;
  });
  const metrics = data.metrics.filter((metric) => rows.some((row) => row[metric] !== null));
  if (!metrics.length) return [];
  const select = element("select", { "data-key": `metric ${key}` }, ...metrics.map((metric) => element("option", { value: metric }, metric + (LOWER.has(metric) ? " (lower is better)" : ""))));
  select.value = metrics.includes(state.metric) ? state.metric : metrics[0];
  const body = element("tbody");
  const fill = () => {
    state.metric = select.value;
    body.replaceChildren(...intervals(rows.filter((row) => row[select.value] !== null), select.value));
  };
  select.onchange = fill;
  fill();
  const heads = ["method", "run", "mean", "interval"].map((word, i) => element("th", { scope: "col", ...(i === 2 ? { class: "n" } : {}) }, word));
  const full = ["method", "run", "objects", ...metrics].map((word, i) => element("th", { scope: "col", ...(i > 1 ? { class: "n" } : {}) }, word));
  const all = rows.map((row) => element("tr", {}, element("td", {}, METHOD[row.method]), element("td", {}, element("bdi", {}, row.name)),
    ...[number(row.objects), ...metrics.map((metric) => withHalf(row, metric))].map((text) => element("td", { class: "n" }, text))));
  const wide = (label, table) => element("div", { class: "wide", tabindex: "0", role: "region", "aria-label": `${label}, ${own[0].task}` }, table);
  return [
    element("label", { class: "alone" }, "Metric", select),
    wide("Intervals", element("table", { class: "intervals" }, element("thead", {}, element("tr", {}, ...heads)), body)),
    element("details", {}, element("summary", {}, "All metrics"), wide("All metrics", element("table", {}, element("thead", {}, element("tr", {}, ...full)), element("tbody", {}, ...all)))),
  ];
}

function withHalf(row, metric) {
  const half = row.half_widths[metric];
  return number(row[metric]) + (row[metric] === null || half === null ? "" : ` ± ${half >= 1e-3 && half < 100 ? half.toPrecision(2) : number(half)}`);
}

function intervals(rows, metric) {
  const ends = rows.flatMap((row) => [-1, 1].map((sign) => row[metric] + sign * (row.half_widths[metric] ?? 0)));
  const [low, high] = spread(least(ends), most(ends));
  const x = (value) => 3 + (94 * (value - low)) / (high - low);
  return rows.map((row) => {
    const half = row.half_widths[metric] ?? 0;
    const picture = svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("line", { class: "rule", x1: 0, x2: 100, y1: 6, y2: 6 }),
      svg("line", { class: `interval ${row.method}`, x1: x(row[metric] - half), x2: x(row[metric] + half), y1: 6, y2: 6 }),
      svg("line", { class: `middle ${row.method}`, x1: x(row[metric]), x2: x(row[metric]), y1: 0, y2: 12 }));
    return element("tr", {}, element("td", {}, METHOD[row.method]), element("td", {}, element("bdi", {}, row.name)),
      element("td", { class: "n" }, withHalf(row, metric)), element("td", { class: "drawn" }, picture));
  });
}
