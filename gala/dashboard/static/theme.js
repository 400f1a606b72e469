// Colours and formats: safe for colour-blind eyes, on light and on dark paper.
"use strict";
const Gala = {};

// Okabe and Ito's eight, dark enough for white paper; beyond eight a ramp (cividis) and no meaning
// in a single colour: the readout and the highlighted line tell who is who.
Gala.OKABE = {
  light: ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#3a9bdc", "#555555", "#7b3fa0"],
  dark: ["#56b4e9", "#ff8c42", "#2fd6a3", "#e69fcb", "#f0c419", "#8ab4ff", "#b8c0c8", "#c79bf2"],
};
Gala.DASHES = [[], [7, 3], [2, 2], [9, 3, 2, 3], [12, 3], [4, 2], [1, 3], [7, 2, 1, 2, 1, 2]];
Gala.CIVIDIS = [[0, 32, 76], [0, 49, 111], [61, 77, 107], [87, 93, 109], [112, 113, 115],
  [138, 134, 120], [166, 157, 117], [196, 182, 108], [229, 207, 92], [255, 233, 69]];
Gala.OUTSIDE = "#d55e00"; // on no place of the ramp
// Parts of an update, in the colours that the figures of a report give them.
Gala.PHASES = { collect: "#0072b2", learn: "#d55e00", gossip: "#009e73", wait: "#cc79a7", log: "#e69f00", other: "#56b4e9" };

Gala.dark = () => document.documentElement.dataset.theme === "dark";
Gala.ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

Gala.ramp = (share) => {
  const place = Math.min(Math.max(share, 0), 1) * (Gala.CIVIDIS.length - 1);
  const k = Math.min(Math.floor(place), Gala.CIVIDIS.length - 2), part = place - k;
  const mix = Gala.CIVIDIS[k].map((c, i) => Math.round(c + part * (Gala.CIVIDIS[k + 1][i] - c)));
  return `rgb(${mix.join(",")})`;
};
Gala.faint = (colour) => (colour.startsWith("rgb") ? colour.replace(/rgb\((.*)\)/, "rgba($1,.25)") : `${colour}40`);
// Ink that can be read on a colour of the ramp.
Gala.inkOn = (share) => (share > 0.55 ? "#111" : "#fff");

Gala.colour = (index, count) => {
  const palette = Gala.OKABE[Gala.dark() ? "dark" : "light"];
  if (count <= palette.length) return palette[index];
  const share = index / (count - 1);
  return Gala.ramp(Gala.dark() ? 0.25 + 0.75 * share : 0.8 * share);
};
Gala.dash = (index, count) => (count <= 8 ? Gala.DASHES[index] : []);

Gala.number = (value, digits = 3) => {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  for (const [unit, factor] of [["G", 1e9], ["M", 1e6], ["k", 1e3]])
    if (size >= factor * 10 || (factor > 1e3 && size >= factor)) return `${+(value / factor).toPrecision(digits)} ${unit}`;
  if (size < 1e-3) return value.toExponential(1).replace("e-", "e−");
  return String(+value.toPrecision(size >= 1000 ? 4 : digits)).replace("-", "−");
};
Gala.clock = (seconds) => {
  const s = Math.abs(Math.round(seconds)), pad = (n) => String(n).padStart(2, "0");
  const [h, m] = [Math.floor(s / 3600), Math.floor((s % 3600) / 60)];
  return (seconds < 0 ? "−" : "") + (h ? `${h}:${pad(m)}` : m) + `:${pad(s % 60)}`;
};
Gala.element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined) made.setAttribute(name, value);
  made.append(...children);
  return made;
};
Gala.svg = (tag, attributes = {}, ...children) => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes))
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  made.append(...children);
  return made;
};
// Sets what differs; an attribute without a value goes.
Gala.set = (node, attributes) => {
  for (const [name, value] of Object.entries(attributes))
    if (value === null || value === undefined) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  return node;
};
Gala.say = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// One child per key. Those that stay are updated and never replaced: focus, pointer and a click
// that has begun stay with them, however often the page is drawn.
Gala.keyed = (place, keys, make, update = () => {}) => {
  const before = place.keyed ?? new Map(), after = new Map();
  keys.forEach((key, k) => {
    const node = before.get(key) ?? make(key, k);
    update(node, key, k);
    after.set(key, node);
  });
  for (const [key, node] of before) if (!after.has(key)) node.remove();
  [...after.values()].forEach((node, k) => { if (place.children[k] !== node) place.insertBefore(node, place.children[k] ?? null); });
  place.keyed = after;
};

// A line as a chart draws it, for chips and readouts.
Gala.swatch = () => Gala.svg("svg", { viewBox: "0 0 22 8", class: "swatch", "aria-hidden": "true" }, Gala.svg("line", { x1: 0, y1: 4, x2: 22, y2: 4 }));
Gala.paint = (swatch, colour, dash = [], width = 3) => Gala.set(swatch.firstChild, { stroke: colour, "stroke-width": width, "stroke-dasharray": dash.length ? dash.join(" ") : null });

// One tip for the whole page; text only, whatever names or messages a run folder holds. `tell`
// returns the text; it is asked again at each drawing, for as long as the tip is shown.
Gala.tip = (tell, event) => {
  const tip = document.getElementById("tip");
  Gala.telling = tell ? { tell, owner: event.target } : null;
  tip.hidden = !tell;
  if (!tell) return;
  tip.textContent = tell();
  const box = event.target.getBoundingClientRect();
  const [x, y] = event.clientX ? [event.clientX, event.clientY] : [event.x ?? box.right, event.y ?? box.top];
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 12, innerHeight - tip.offsetHeight - 8))}px`;
};
Gala.retell = () => {
  if (!Gala.telling) return;
  if (Gala.telling.owner.isConnected) Gala.say(document.getElementById("tip"), Gala.telling.tell());
  else Gala.tip(null);
};
