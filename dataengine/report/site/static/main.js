"use strict";
// Which page is shown: #/ the overview, #/gallery?…, #/runs, #/asset/UID.
const scrolled = {};
let before = "";

async function show() {
  const address = location.hash;
  const [path, query] = address.slice(1).split("?");
  const page = path.startsWith("/asset/") ? "asset" : ["/gallery", "/runs"].includes(path) && $(path.slice(1)) ? path.slice(1) : "overview";
  if (address === "#main") return;
  scrolled[before] = scrollY;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== page;
  for (const link of document.querySelectorAll("nav a")) {
    const mine = link.getAttribute("href") === (page === "overview" ? "#/" : `#/${page}`);
    if (mine) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (page === "gallery") showGallery(new URLSearchParams(query ?? ""));
  if (page === "runs") await showRuns();
  if (page === "asset") await showAsset(path.slice("/asset/".length));
  if (address !== location.hash) return; // somebody was faster
  if (before !== address) scrollTo(0, page === "asset" ? 0 : scrolled[address] ?? 0);
  before = address;
  document.body.dataset.page = address;
  draw();
}

function say(error) {
  const words = element("p", { class: "note bad", role: "alert" }, error.message);
  $("main").prepend(words);
}

startGallery();
addEventListener("hashchange", () => show().catch(say));
show().catch(say);
// The overview is painted before the rows are read.
requestAnimationFrame(() => setTimeout(() => bringRows().then(show).then(() => { document.body.dataset.ready = "yes"; }).catch(say)));
