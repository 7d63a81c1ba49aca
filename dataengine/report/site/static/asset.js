"use strict";
// The page of one asset: its views to turn, its cameras, its row, its licence and credit.
async function showAsset(uid) {
  const page = $("asset");
  const at = report.place.get(uid);
  if (at === undefined) {
    const reading = report.size < report.assets;
    page.replaceChildren(element("p", { class: "note" }, reading ? "Reading …" : `There is no asset ${uid} here.`));
    return;
  }
  const shard = value("shard", at);
  if (!report.details[shard]) await bring(`rows/${shard}.js`);
  if (location.hash !== `#/asset/${uid}`) return;
  const about = report.details[shard][uid];
  const title = value("title", at) ?? uid;
  const parts = [element("h2", {}, element("bdi", {}, title)), neighbours(at)];
  const caption = value("caption", at);
  parts.push(element("p", caption ? {} : { class: "faint" }, element("bdi", {}, caption ?? "no caption")));
  for (const set of about.sets) parts.push(...viewSet(uid, shard, set, about.sets.length > 1, title));
  parts.push(element("h2", {}, "Licence and credit"), licence(about), element("h2", {}, "Row"), facts(about.facts));
  page.replaceChildren(...parts);
}

function neighbours(at) {
  const n = gallery.shown.indexOf(at);
  const bar = element("p", {}, element("a", { href: `#/gallery?${gallery.query}` }, "Back to the gallery"));
  for (const [word, other] of [["Previous", gallery.shown[n - 1]], ["Next", gallery.shown[n + 1]]]) {
    if (n >= 0 && other !== undefined) bar.append(" · ", element("a", { href: `#/asset/${value("uid", other)}` }, word));
  }
  return bar;
}

function viewSet(uid, shard, set, named, title) {
  const parts = named ? [element("h2", {}, `Views: ${set.name}`)] : [];
  if (set.error) {
    parts.push(element("p", { class: "bad" }, element("bdi", {}, `${set.error}: ${set.message}`)));
    if (set.log) parts.push(element("p", { class: "faint" }, "The last that Blender said:"), element("pre", { tabindex: "0" }, element("bdi", {}, set.log)));
  } else if (set.status !== "ok") {
    parts.push(element("p", { class: "note" }, "Not rendered yet."));
  } else if (set.channels) {
    parts.push(turntable(uid, shard, set, title));
  } else {
    parts.push(element("p", { class: "faint" }, `${set.views} views; this report was written without pictures.`));
  }
  if (set.facts.length) parts.push(facts(set.facts));
  return parts;
}

function turntable(uid, shard, set, title) {
  const across = Math.ceil(Math.sqrt(set.views));
  const down = Math.ceil(set.views / across);
  const percent = (n, of) => (of > 1 ? (100 * n) / (of - 1) : 0) + "%";
  const shown = set.channels.map((channel) => ({ label: () => channel, address: `views/${shard}/${uid}/${set.name}.${channel}.webp` }));
  for (const { name, channel, psnr } of set.tokens) {
    const of = channel === "colour" ? "" : ` (${channel})`;
    const label = (view) => `decoded: ${name}${of}` + (psnr[view] === null ? "" : `, ${psnr[view].toFixed(1)} dB`);
    shown.push({ label, address: `tokens/${shard}/${uid}/${name}.webp` });
  }
  const dials = shown.map(({ address }) => {
    const dial = element("div", { class: "dial", role: "img" });
    dial.style.backgroundImage = `url("${address}")`;
    dial.style.backgroundSize = `${across * 100}% ${down * 100}%`;
    return dial;
  });
  const captions = shown.map(() => element("figcaption"));
  const slider = element("input", { type: "range", min: 0, max: set.views - 1, value: 0, "aria-label": `View of ${set.name}` });
  const words = element("output", { class: "faint" });
  const cameras = cameraView(set, (to) => turn(to));
  let view = 0;
  const turn = (to) => {
    view = ((to % set.views) + set.views) % set.views;
    slider.value = view;
    const [azimuth, elevation] = set.angles[view] ?? [];
    const where = `view ${view + 1} of ${set.views}` + (azimuth === undefined ? "" : `, azimuth ${azimuth}°, elevation ${elevation}°`);
    words.textContent = where;
    slider.setAttribute("aria-valuetext", where);
    dials.forEach((dial, i) => {
      dial.style.backgroundPosition = `${percent(view % across, across)} ${percent(Math.floor(view / across), down)}`;
      dial.dataset.view = view;
      captions[i].textContent = visible(shown[i].label(view));
      dial.setAttribute("aria-label", `${visible(title)}, ${captions[i].textContent}, ${where}`);
    });
    cameras.show(view);
  };
  slider.oninput = () => turn(Number(slider.value));
  for (const dial of dials) {
    let from = null;
    dial.onpointerdown = (event) => { from = { x: event.clientX, view }; dial.setPointerCapture(event.pointerId); };
    dial.onpointermove = (event) => {
      if (from) turn(from.view - Math.round(((event.clientX - from.x) / dial.clientWidth) * Math.min(set.views, 16)));
    };
    dial.onpointerup = dial.onpointercancel = () => { from = null; };
  }
  const figures = dials.map((dial, i) => element("figure", {}, dial, captions[i]));
  const missing = set.no_tokens.map((name) => element("p", { class: "faint" }, `No tokens ${name} of these views: not made yet, failed, or made from older views.`));
  const control = element("p", {}, slider, element("br"), words);
  turn(0);
  return element("div", {}, element("div", { class: "turn" }, ...figures), control, ...missing, cameras.figure);
}

function facts(rows) {
  const list = element("dl", { class: "facts" });
  for (const [label, text] of rows) list.append(element("dt", {}, label), element("dd", {}, element("bdi", {}, text)));
  return list;
}

function licence(about) {
  const name = about.licence ?? "unknown: ask the author before you use or publish it";
  const words = element("p", {}, about.licence_url
    ? element("a", { href: about.licence_url, rel: "noreferrer" }, name)
    : element("bdi", {}, name));
  if (about.non_commercial) words.append(" ", element("strong", { class: "bad" }, "no commercial use"));
  if (about.credit) words.append(element("br"), element("bdi", {}, about.credit));
  if (about.page_url) words.append(element("br"), element("a", { href: about.page_url, rel: "noreferrer" }, about.page_url));
  return words;
}
