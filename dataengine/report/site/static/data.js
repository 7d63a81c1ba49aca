"use strict";
// The rows of the gallery, column by column, as the files of data/ and rows/ hand them in.
const report = { ...JSON.parse(document.getElementById("begin").textContent), size: 0, columnsOf: {}, place: new Map(), details: {} };

// Text of strangers: what would turn it around or hide it is shown as an escape, like on the terminal.
const ACTED_UPON = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
function visible(text) {
  return String(text).replace(ACTED_UPON, (c) => {
    const code = c.charCodeAt(0);
    return code < 256 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

// An element with attributes and children; strings become text, never markup.
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(visible(child)))));
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

for (const { name, kind } of report.columns) {
  report.columnsOf[name] =
    kind === "number" ? new Float64Array(report.assets)
    : kind === "word" ? { words: [], index: new Map(), codes: new Int32Array(report.assets) }
    : [];
}
report.lower = [];

report.chunk = (_, columns) => {
  const first = report.size;
  const count = columns.uid.length;
  for (const { name, kind } of report.columns) {
    const given = columns[name];
    const mine = report.columnsOf[name];
    if (kind === "text") {
      for (const text of given) mine.push(text);
    } else if (kind === "number") {
      for (let i = 0; i < count; i++) mine[first + i] = given[i] === null ? NaN : given[i];
    } else {
      const codes = given.words.map((word) => {
        if (!mine.index.has(word)) mine.index.set(word, mine.words.push(word) - 1);
        return mine.index.get(word);
      });
      for (let i = 0; i < count; i++) mine.codes[first + i] = given.codes[i] < 0 ? -1 : codes[given.codes[i]];
    }
  }
  for (let i = 0; i < count; i++) {
    const at = first + i;
    report.place.set(columns.uid[i], at);
    report.lower.push([columns.title[i], columns.caption[i], columns.tags[i]].join("\n").toLowerCase());
  }
  report.size += count;
};
report.rows = (shard, details, cameras) => {
  report.details[shard] = details;
  for (const { sets } of Object.values(details)) for (const set of sets) set.cameras = cameras[set.cameras] ?? [];
};

function value(name, at) {
  const column = report.columnsOf[name];
  return column.codes ? column.words[column.codes[at]] ?? null : column[at];
}

// Pages from disk may not fetch, but they may bring scripts in.
function bring(address) {
  return new Promise((resolve, reject) => {
    const script = element("script", { src: address });
    script.onload = () => {
      script.remove();
      resolve();
    };
    script.onerror = () => reject(new Error(address + " cannot be read"));
    document.head.append(script);
  });
}

async function bringRows() {
  for (let n = 0; n < report.chunks; n++) await bring(`data/${n}.js`);
}
