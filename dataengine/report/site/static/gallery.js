"use strict";
// The gallery: filter, search, sort, and only those cells in the page that can be seen.
const gallery = { query: new URLSearchParams(), shown: new Int32Array(0), columns: 1, cell: 160, line: 200 };
const $ = (id) => document.getElementById(id);

function choose(query) {
  const tests = [];
  for (const { name, kind } of report.columns) {
    const wanted = query.get(name);
    if (wanted === null) continue;
    const column = report.columnsOf[name];
    if (kind === "number") {
      const [low, high] = wanted.split("..").map((end) => (end === "" ? NaN : Number(end)));
      tests.push((i) => !Number.isNaN(column[i]) && !(column[i] < low) && !(column[i] >= high));
    } else if (kind === "word") {
      const code = column.index.get(wanted) ?? -2;
      tests.push((i) => column.codes[i] === code);
    } else {
      const part = wanted.toLowerCase();
      tests.push((i) => (column[i] ?? "").toLowerCase().includes(part));
    }
  }
  for (const word of (query.get("search") ?? "").toLowerCase().split(/\s+/).filter(Boolean)) {
    // Digits are common in uids: they count from their beginning on, and not for short words.
    const uid = word.length >= 6;
    tests.push((i) => report.lower[i].includes(word) || (uid && report.columnsOf.uid[i].startsWith(word)));
  }
  const found = new Int32Array(report.size);
  let count = 0;
  next: for (let i = 0; i < report.size; i++) {
    for (const test of tests) if (!test(i)) continue next;
    found[count++] = i;
  }
  return order(found.subarray(0, count), query.get("sort"), query.get("falling") === "1");
}

function order(found, name, falling) {
  if (!report.columnsOf[name]) return found;
  const column = report.columnsOf[name];
  const sign = falling ? -1 : 1;
  const read = (i) => value(name, i);
  if (column instanceof Float64Array) {
    // What has no value comes last, whichever way the rest goes.
    return found.sort((a, b) => {
      const [x, y] = [column[a], column[b]];
      if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y) || a - b;
      return sign * (x - y) || a - b;
    });
  }
  return found.sort((a, b) => {
    const [x, y] = [read(a), read(b)];
    if (x === null || y === null) return (x === null) - (y === null) || a - b;
    return x < y ? -sign : x > y ? sign : a - b;
  });
}

function showGallery(query) {
  gallery.query = query;
  gallery.shown = choose(query);
  fillForm();
  const many = (n) => n.toLocaleString("en");
  const part = report.size < report.assets ? `, ${many(report.size)} read so far` : "";
  $("count").textContent = `${many(gallery.shown.length)} of ${many(report.assets)} assets${part}`;
  layOut();
}

function layOut() {
  const width = $("grid").clientWidth;
  gallery.columns = Math.max(2, Math.floor(width / 168));
  gallery.cell = Math.floor(width / gallery.columns);
  gallery.line = gallery.cell + 44;
  $("grid").style.height = Math.ceil(gallery.shown.length / gallery.columns) * gallery.line + "px";
  gallery.drawn = "";
  draw();
}

function draw() {
  if ($("gallery").hidden) return;
  const top = -$("grid").getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / gallery.line) - 2) * gallery.columns;
  const last = Math.min(gallery.shown.length, (Math.ceil((top + innerHeight) / gallery.line) + 2) * gallery.columns);
  if (gallery.drawn === `${first}-${last}`) return;
  gallery.drawn = `${first}-${last}`;
  const focused = document.activeElement?.dataset?.at;
  const cells = [];
  for (let n = first; n < last; n++) cells.push(cell(n));
  $("grid").replaceChildren(...cells);
  if (focused !== undefined) $("grid").querySelector(`[data-at="${focused}"]`)?.focus({ preventScroll: true });
}

function cell(n) {
  const at = gallery.shown[n];
  const title = value("title", at) ?? value("uid", at);
  const status = value("error", at) ?? value("status", at);
  const sorted = gallery.query.get("sort");
  const under = sorted && report.columnsOf[sorted] ? `${sorted} ${shown(value(sorted, at))}` : value("caption", at) ?? value("uid", at).slice(0, 8);
  const thumb = element("span", { class: "thumb" }, status === "ok" ? "" : status);
  if (status === "ok" && report.pictures) {
    const [shard, row] = [value("shard", at), value("row", at)];
    const place = row % report.perSheet;
    const step = 100 / (report.across - 1);
    thumb.style.backgroundImage = `url("thumbs/${shard}-${Math.floor(row / report.perSheet)}.webp")`;
    thumb.style.backgroundSize = `${report.across * 100}%`;
    thumb.style.backgroundPosition = `${(place % report.across) * step}% ${Math.floor(place / report.across) * step}%`;
    thumb.setAttribute("role", "img");
    thumb.setAttribute("aria-label", `A view of ${visible(title)}`);
  }
  const made = element("a", { class: "cell", href: `#/asset/${value("uid", at)}`, "data-at": n, title: visible(title) },
    thumb, element("b", {}, element("bdi", {}, title)), element("i", {}, element("bdi", {}, under)));
  made.style.width = gallery.cell + "px";
  made.style.transform = `translate(${(n % gallery.columns) * gallery.cell}px, ${Math.floor(n / gallery.columns) * gallery.line}px)`;
  return made;
}

function shown(x) {
  return x === null || Number.isNaN(x) ? "unknown" : typeof x === "number" ? x.toLocaleString("en", { maximumSignificantDigits: 6 }) : x;
}

// --- the form, and the address that holds its state

function change(name, text) {
  const query = new URLSearchParams(gallery.query);
  if (text === null || text === "" || text === "..") query.delete(name);
  else query.set(name, text);
  history.replaceState(null, "", `#/gallery?${query}`);
  scrollTo(0, 0);
  showGallery(query);
}

function fillForm() {
  const query = gallery.query;
  if (document.activeElement !== $("search")) $("search").value = query.get("search") ?? "";
  $("sort").value = query.get("sort") ?? "";
  $("order").value = query.get("falling") ?? "";
  const names = report.columns.filter(({ name }) => query.has(name) || gallery.adding === name);
  const key = names.map(({ name }) => name + "=" + query.get(name)).join("&");
  if (gallery.filters === key || $("chosen").contains(document.activeElement) && document.activeElement.tagName === "INPUT") return;
  gallery.filters = key;
  $("chosen").replaceChildren(...names.map(filter));
}

function filter({ name, label, kind }) {
  const wanted = gallery.query.get(name) ?? "";
  const parts = [];
  if (kind === "word") {
    const words = [...new Set([...report.columnsOf[name].words, ...(wanted ? [wanted] : [])])].sort();
    const select = element("select", {}, element("option", { value: "" }, "any"));
    for (const word of words) {
      const option = element("option", {}, word);
      option.value = word;
      select.append(option);
    }
    select.value = wanted;
    select.onchange = () => change(name, select.value);
    parts.push(element("label", {}, label, select));
  } else if (kind === "number") {
    const ends = wanted.split("..");
    const inputs = [0, 1].map((end) => element("input", { type: "number", step: "any", value: ends[end] ?? "" }));
    inputs.forEach((input) => (input.oninput = () => change(name, inputs.map((i) => i.value).join(".."))));
    parts.push(element("label", {}, `${label} from`, inputs[0]), element("label", {}, "to below", inputs[1]));
  } else {
    const input = element("input", { type: "text" });
    input.value = wanted;
    input.oninput = () => change(name, input.value);
    parts.push(element("label", {}, label, input));
  }
  const drop = element("button", { type: "button", "aria-label": `Drop the filter ${label}` }, "×");
  drop.onclick = () => { gallery.adding = null; gallery.filters = null; change(name, null); $("add").focus(); };
  return element("div", { class: "filter" }, ...parts, drop);
}

function option(name, label) {
  return element("option", { value: name }, label);
}

function startGallery() {
  $("sort").append(option("", "the corpus's order"), ...report.columns.map((c) => option(c.name, c.label)));
  $("add").append(option("", "add a column"), ...report.columns.map((c) => option(c.name, c.label)));
  $("filters").onsubmit = (event) => event.preventDefault();
  $("search").oninput = () => change("search", $("search").value);
  $("sort").onchange = () => change("sort", $("sort").value);
  $("order").onchange = () => change("falling", $("order").value);
  $("add").onchange = () => { gallery.adding = $("add").value; $("add").value = ""; fillForm(); $("chosen").lastElementChild?.querySelector("select, input")?.focus(); };
  addEventListener("scroll", draw, { passive: true });
  addEventListener("resize", () => { if (!$("gallery").hidden) layOut(); });
  $("grid").addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: gallery.columns, ArrowUp: -gallery.columns }[event.key];
    const at = event.target.dataset.at;
    if (!step || at === undefined) return;
    event.preventDefault();
    const next = Math.min(gallery.shown.length - 1, Math.max(0, Number(at) + step));
    const y = $("grid").getBoundingClientRect().top + Math.floor(next / gallery.columns) * gallery.line;
    if (y < 60 || y + gallery.line > innerHeight) scrollBy(0, y - innerHeight / 2);
    draw();
    $("grid").querySelector(`[data-at="${next}"]`)?.focus({ preventScroll: true });
  });
}
