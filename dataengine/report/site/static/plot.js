"use strict";
// A plot of several curves: SVG in the page's own pixels, so that its words keep their size on a phone.
const DASHES = ["", "7 3", "2 3", "9 3 2 3"];
const INK = (n) => ({ "data-line": n % 6, "stroke-dasharray": DASHES[n % 4] }); // 12 that differ, in more than colour

// lines: [{ n, steps, values, name }], values with null for gaps; step: where the cursor stands.
function plotted(lines, { width, label, step }) {
  const height = width < 500 ? 240 : 320;
  const [left, right, top, bottom] = [58, 20, 10, 30];
  const finite = lines.flatMap(({ values }) => values.filter((y) => y !== null));
  const all = lines.flatMap(({ steps }) => steps);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": label });
  if (!finite.length) return picture;
  const [x0, x1] = spread(least(all), most(all));
  const ticks = niceTicks(...spread(least(finite), most(finite)), 5);
  const [y0, y1] = [ticks[0], ticks.at(-1)];
  const x = (at) => left + ((at - x0) / (x1 - x0)) * (width - left - right);
  const y = (at) => height - bottom - ((at - y0) / (y1 - y0)) * (height - top - bottom);
  const word = (text, attributes) => {
    const made = svg("text", attributes);
    made.textContent = text;
    return made;
  };
  for (const tick of ticks) {
    picture.append(svg("line", { class: "rule", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    picture.append(word(number(tick), { x: left - 8, y: y(tick) + 4, "text-anchor": "end" }));
  }
  for (const tick of niceTicks(x0, x1, width < 500 ? 3 : 7).filter((t) => t >= x0 && t <= x1)) {
    picture.append(word(number(tick), { x: x(tick), y: height - 10, "text-anchor": "middle" }));
  }
  picture.append(word("step", { x: left - 8, y: height - 10, "text-anchor": "end" }));
  picture.append(svg("line", { class: "cursor", x1: x(step), x2: x(step), y1: top, y2: height - bottom }));
  for (const { n, steps, values } of lines) {
    let [path, pen] = ["", "M"];
    steps.forEach((at, i) => {
      if (values[i] === null) pen = "M";
      else [path, pen] = [`${path}${pen}${x(at).toFixed(1)},${y(values[i]).toFixed(1)}`, "L"];
    });
    picture.append(svg("path", { class: "curve", d: path, ...INK(n) }));
    const i = nearest(steps, step);
    if (values[i] !== null) picture.append(svg("circle", { class: "at", cx: x(steps[i]), cy: y(values[i]), r: 4, "data-line": n % 6 }));
  }
  picture.stepAt = (pixel) => x0 + ((pixel - left) / (width - left - right)) * (x1 - x0);
  return picture;
}

function swatch(n) {
  return svg("svg", { class: "swatch", width: 30, height: 10, "aria-hidden": "true" }, svg("path", { class: "curve", d: "M0,5L30,5", ...INK(n) }));
}

const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);

// The place of the number that is nearest, in a rising list.
function nearest(steps, wanted) {
  let [low, high] = [0, steps.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < wanted) low = middle + 1;
    else high = middle;
  }
  return low > 0 && wanted - steps[low - 1] <= steps[low] - wanted ? low - 1 : low;
}

// Two ends that differ.
function spread(low, high) {
  return low < high ? [low, high] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
}

// About `count` round numbers that enclose what lies between low and high.
function niceTicks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((k) => k * power >= rough * 0.999);
  const ticks = [];
  for (let k = Math.floor(low / step + 1e-9); ; k++) {
    ticks.push(Number((k * step).toPrecision(12)));
    if (k * step >= high - 1e-9 * step) return ticks;
  }
}

function number(x) {
  if (x === null || x === undefined) return "–";
  if (x !== 0 && (Math.abs(x) < 1e-3 || Math.abs(x) >= 1e7)) return x.toExponential(2).replace(/\.?0+e/, "e");
  return x.toLocaleString("en", { maximumSignificantDigits: 5 });
}
