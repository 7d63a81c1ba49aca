"use strict";
// The cameras of a view set in 3D: frusta about the object's bounding sphere, turned by dragging or with the arrow keys.
// World: right-handed, z up. Seen in parallel projection from azimuth `turned.about`, elevation `turned.above` (degrees).
const CAMERA_SIDE = 320;

function cameraView(set, choose) {
  const cameras = set.cameras.map(frustum(0.16 * Math.max(set.radius, ...set.cameras.flatMap((c) => [c[3], c[7], c[11]].map(Math.abs)))));
  const points = cameras.flatMap((camera) => [...camera.front, ...camera.back, camera.up]);
  const heights = [set.radius, -set.radius, ...points.map((p) => p[2])];
  const middle = (Math.max(...heights) + Math.min(...heights)) / 2; // cameras are often all above the ground
  const reach = Math.max(...points.map((p) => Math.hypot(p[0], p[1], p[2] - middle)), set.radius + Math.abs(middle));
  const ground = Math.max(set.radius, ...points.map((p) => Math.hypot(p[0], p[1])));
  const scale = (0.48 * CAMERA_SIDE) / reach;
  const turned = { about: 35, above: 25 };
  const picture = svg("svg", { viewBox: `0 0 ${CAMERA_SIDE} ${CAMERA_SIDE}`, "aria-hidden": "true" });
  const words = element("p", { class: "faint" });
  const box = element("div", { class: "space", tabindex: "0", role: "application", "aria-roledescription": "3D view" }, picture);
  let now = 0;

  const draw = () => {
    const at = projection(turned, scale, middle);
    const ring = Array.from({ length: 73 }, (_, i) => at([ground * Math.cos((i * Math.PI) / 36), ground * Math.sin((i * Math.PI) / 36), 0]));
    const parts = [svg("polygon", { class: "ground", points: ring.map(place).join(" ") })];
    const near = (i) => at(cameras[i].eye)[2];
    const [x, y, origin] = at([0, 0, 0]);
    const order = cameras.map((_, i) => i).sort((a, b) => near(a) - near(b));
    const behind = order.filter((i) => near(i) < origin);
    parts.push(...behind.map((i) => drawnCamera(cameras[i], i, i === now, at)));
    parts.push(svg("circle", { class: "object", cx: x, cy: y, r: scale * set.radius }));
    for (const [i, name] of ["x", "y", "z"].entries()) parts.push(...axis(i, name, 1.5 * set.radius, at));
    parts.push(...order.slice(behind.length).map((i) => drawnCamera(cameras[i], i, i === now, at)));
    picture.replaceChildren(...parts);
    const where = `seen from azimuth ${Math.round(turned.about)}°, elevation ${Math.round(turned.above)}°`;
    box.setAttribute("aria-label", `${cameras.length} cameras of ${set.name}, view ${now + 1} marked, ${where}. Arrow keys turn it.`);
    words.textContent = `${where[0].toUpperCase()}${where.slice(1)}`;
  };
  const turn = (about, above) => {
    turned.about = ((about % 360) + 360) % 360;
    turned.above = Math.max(-90, Math.min(90, above));
    draw();
  };
  box.onkeydown = (event) => {
    const step = { ArrowLeft: [-10, 0], ArrowRight: [10, 0], ArrowUp: [0, 10], ArrowDown: [0, -10] }[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    turn(turned.about + step[0], turned.above + step[1]);
  };
  let from = null;
  box.onpointerdown = (event) => {
    from = { x: event.clientX, y: event.clientY, ...turned, camera: event.target.closest?.("[data-view]")?.dataset.view };
    box.setPointerCapture(event.pointerId);
  };
  box.onpointermove = (event) => {
    if (!from) return;
    const [right, down] = [event.clientX - from.x, event.clientY - from.y];
    if (Math.hypot(right, down) > 4) from.camera = undefined; // a drag, no choice
    turn(from.about - (180 * right) / box.clientWidth, from.above + (180 * down) / box.clientWidth);
  };
  box.onpointerup = () => {
    if (from?.camera !== undefined) choose(Number(from.camera));
    from = null;
  };
  box.onpointercancel = () => { from = null; };
  const legend = element("figcaption", {}, "Cameras: the first is dashed and numbered 1, the present view is filled. Drag, or turn with the arrow keys; choose a camera to see its view.");
  const figure = element("figure", { class: "cameras" }, box, element("div", {}, legend, words));
  return { figure, show: (view) => { now = view; draw(); } };
}

// A camera's pyramid, or box where rays are parallel, `depth` deep: its eye, and its edges as pairs of world points.
function frustum(depth) {
  return (numbers) => {
    const [left, right, top, bottom, parallel] = numbers.slice(12);
    const world = ([x, y, z]) => [0, 4, 8].map((i) => numbers[i] * x + numbers[i + 1] * y + numbers[i + 2] * z + numbers[i + 3]);
    const eye = world([0, 0, 0]);
    const across = Math.max(right - left, bottom - top) / 2;
    const k = parallel ? 0.5 : Math.min(depth, depth / across); // a wide angle is drawn no wider than it is deep
    const corners = [[left, top], [right, top], [right, bottom], [left, bottom]];
    const front = corners.map(([x, y]) => world([k * x, k * y, parallel ? depth : k]));
    const back = parallel ? corners.map(([x, y]) => world([k * x, k * y, 0])) : [eye, eye, eye, eye];
    const up = world([(k * (left + right)) / 2, k * (top - 0.35 * (bottom - top)), parallel ? depth : k]);
    return { eye, front, back, up };
  };
}

// World → [x, y, nearness] in the picture, whose middle is at a height above the ground.
function projection({ about, above }, scale, middle) {
  const [a, b] = [(about * Math.PI) / 180, (above * Math.PI) / 180];
  const right = [-Math.sin(a), Math.cos(a), 0];
  const up = [-Math.cos(a) * Math.sin(b), -Math.sin(a) * Math.sin(b), Math.cos(b)];
  const nearer = [Math.cos(a) * Math.cos(b), Math.sin(a) * Math.cos(b), Math.sin(b)];
  const dot = (p, q) => p[0] * q[0] + p[1] * q[1] + (p[2] - middle) * q[2];
  return (p) => [CAMERA_SIDE / 2 + scale * dot(p, right), CAMERA_SIDE / 2 - scale * dot(p, up), dot(p, nearer)];
}

function place([x, y]) {
  return `${x.toFixed(1)},${y.toFixed(1)}`;
}

function drawnCamera(camera, view, now, at) {
  const path = (points) => points.map((p, i) => `${i ? "L" : "M"}${place(at(p))}`).join("");
  const sides = camera.front.map((point, i) => path([camera.back[i], point])).join("");
  const closed = (points) => `${path(points)}Z`;
  const kind = `camera${view === 0 ? " first" : ""}${now ? " now" : ""}`;
  const top = path([camera.front[0], camera.up, camera.front[1]]);
  const shape = svg("path", { d: closed(camera.front) + closed(camera.back) + sides + top });
  const [x0, y0] = at([0, 1, 2].map((i) => (camera.eye[i] + (camera.front[0][i] + camera.front[2][i]) / 2) / 2));
  const parts = [svg("circle", { class: "hit", cx: x0, cy: y0, r: 13 }), shape]; // wide enough for a finger
  if (view === 0) {
    const [x, y] = at(camera.up);
    const number = svg("text", { x: x + 5, y: y - 4 });
    number.textContent = "1";
    parts.push(number);
  }
  return svg("g", { class: kind, "data-view": view }, ...parts);
}

function axis(i, name, length, at) {
  const end = [0, 0, 0];
  end[i] = length;
  const beyond = end.map((x) => 1.13 * x);
  const [[x0, y0], [x1, y1], [x, y]] = [at([0, 0, 0]), at(end), at(beyond)];
  const word = svg("text", { class: "axis", x, y: y + 4, "text-anchor": "middle" });
  word.textContent = name;
  return [svg("line", { class: "axis", x1: x0, y1: y0, x2: x1, y2: y1 }), word];
}
