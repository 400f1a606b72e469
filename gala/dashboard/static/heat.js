// Maps of all pairs of agents, from the newest sketches: how far apart they are, and how much their
// updates agree.
"use strict";

Gala.MAPS = [
  {
    id: "heat", kind: "distances", label: "distances between agents",
    scale: (values) => {
      const known = values.filter((v) => v > 0), [low, high] = [Math.min(...known), Math.max(...known)];
      return { low, high, shade: (v) => (v > 0 ? (high > low ? Math.log(v / low) / Math.log(high / low) : 0.5) : 0) };
    },
    tell: (v) => `${Gala.number(v, 4)} apart`,
    hint: ({ error }, when) => `‖xᵢ − xⱼ‖ of parameters${when}, from sketches: ± ${Gala.number(100 * error, 2)} %`,
  },
  {
    id: "agreement", kind: "agreement", label: "cosines between updates of agents",
    scale: () => ({ low: -1, high: 1, shade: (v) => (v + 1) / 2 }),
    tell: (v) => `cosine ${Gala.number(v, 3)}`,
    hint: ({ error, mean }, when) => `cosines between the newest updates${when}, mean ${Gala.number(mean, 2)}; 0: unrelated, 1: equal; from sketches: ± ${Gala.number(error, 1)}`,
  },
];

Gala.Heat = class {
  constructor(card, page, spec) {
    this.page = page;
    this.spec = spec;
    this.card = card;
    this.hint = card.querySelector(".hint");
    this.canvas = Gala.element("canvas", { role: "img", tabindex: 0, "aria-label": `${spec.label}; arrow keys go from pair to pair` });
    this.at = null; // row and column that the keyboard is at
    card.querySelector(".body").append(this.canvas);
    const tools = Gala.element("span", { class: "tools" });
    tools.append(
      Gala.element("button", { type: "button", "data-tool": "csv", title: "values as a table", onclick: () => this.saveTable() }, "csv"),
      Gala.element("button", { type: "button", "data-tool": "png", title: "as a picture", onclick: () => this.canvas.toBlob((blob) => Gala.save(blob, `${page.state.run.replaceAll("/", "-")}-${spec.kind}.png`)) }, "png"));
    card.querySelector("h2").append(tools);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => Gala.tip(null));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.canvas.addEventListener("blur", () => { this.at = null; Gala.tip(null); this.draw(); });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  draw() {
    const found = this.page[this.spec.kind] || {}, { ranks = [], matrix = [], t } = found;
    // they have sketched nothing, or there is but one; while nobody knows the place is kept
    this.card.hidden = this.page[this.spec.kind] ? ranks.length < 2 : !(this.page.series?.info.agents > 1);
    if (this.card.hidden || ranks.length < 2) return;
    const ratio = devicePixelRatio || 1, [w, h] = [this.canvas.clientWidth, this.canvas.clientHeight];
    if (!w) return;
    this.canvas.width = w * ratio;
    this.canvas.height = h * ratio;
    const ctx = this.canvas.getContext("2d");
    ctx.scale(ratio, ratio);
    ctx.fillStyle = Gala.ink("card");
    ctx.fillRect(0, 0, w, h);
    ctx.font = "11px system-ui, sans-serif";
    ctx.fillStyle = Gala.ink("soft");
    ctx.textBaseline = "middle";
    const { low, high, shade } = this.spec.scale(matrix.flat());
    const size = Math.min(h - 24, w - 110) / ranks.length, left = 26, top = 18;
    this.cell = { size, left, top };
    const every = { row: Math.ceil(13 / size), column: Math.ceil(20 / size) };
    ranks.forEach((rank, i) => {
      ctx.fillStyle = Gala.ink("soft");
      ctx.textAlign = "right";
      if (i % every.row === 0) ctx.fillText(rank, left - 5, top + (i + 0.5) * size);
      ctx.textAlign = "center";
      if (i % every.column === 0) ctx.fillText(rank, left + (i + 0.5) * size, top - 8);
      ranks.forEach((_, j) => {
        const v = matrix[i][j];
        ctx.fillStyle = i === j ? Gala.ink("grid") : Gala.ramp(shade(v));
        ctx.fillRect(left + j * size, top + i * size, size + 0.5, size + 0.5);
        if (size > 38 && i !== j) {
          ctx.fillStyle = Gala.inkOn(shade(v));
          ctx.fillText(Gala.number(v), left + (j + 0.5) * size, top + (i + 0.5) * size);
        }
      });
    });
    if (this.at) {
      ctx.strokeStyle = Gala.ink("accent");
      ctx.lineWidth = 2;
      ctx.strokeRect(left + this.at[1] * size, top + this.at[0] * size, size, size);
    }
    const x = left + size * ranks.length + 14, tall = size * ranks.length;
    for (let k = 0; k < 60; k++) {
      ctx.fillStyle = Gala.ramp(1 - k / 59);
      ctx.fillRect(x, top + (k * tall) / 60, 10, tall / 60 + 0.5);
    }
    ctx.fillStyle = Gala.ink("soft");
    ctx.textAlign = "left";
    ctx.fillText(Gala.number(high), x + 15, top + 5);
    ctx.fillText(Gala.number(low), x + 15, top + tall - 5);
    const start = this.page.series.start, when = Number.isFinite(start) ? ` at ${Gala.clock(t - start)}` : "";
    this.hint.textContent = this.spec.hint(found, when);
  }

  point(event) {
    const { ranks = [] } = this.page[this.spec.kind] || {};
    if (!this.cell || ranks.length < 2) return;
    const box = this.canvas.getBoundingClientRect(), { size, left, top } = this.cell;
    const [j, i] = [Math.floor((event.clientX - box.left - left) / size), Math.floor((event.clientY - box.top - top) / size)];
    const inside = i >= 0 && j >= 0 && i < ranks.length && j < ranks.length;
    Gala.tip(inside ? () => this.tell(i, j) : null, event);
  }

  key(event) {
    const { ranks = [] } = this.page[this.spec.kind] || {}, step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || ranks.length < 2 || !this.cell) return;
    event.preventDefault();
    const inside = (v) => Math.min(Math.max(v, 0), ranks.length - 1);
    this.at = this.at ? [inside(this.at[0] + step[0]), inside(this.at[1] + step[1])] : [0, 0];
    this.draw();
    const box = this.canvas.getBoundingClientRect(), { size, left, top } = this.cell, [i, j] = this.at;
    Gala.tip(() => this.tell(i, j), { target: this.canvas, x: box.left + left + (j + 1) * size, y: box.top + top + (i + 1) * size });
    Gala.set(this.canvas, { "aria-label": this.tell(i, j) });
  }

  tell(i, j) {
    const { ranks = [], matrix = [] } = this.page[this.spec.kind] || {};
    return i < ranks.length && j < ranks.length ? `agents ${ranks[i]} and ${ranks[j]}\n${this.spec.tell(matrix[i][j])}` : "no longer known";
  }

  saveTable() {
    const { ranks = [], matrix = [] } = this.page[this.spec.kind] || {};
    const lines = [["agent", ...ranks], ...ranks.map((rank, i) => [rank, ...matrix[i]])];
    Gala.save(new Blob([lines.map((line) => line.join(",")).join("\n") + "\n"], { type: "text/csv" }), `${this.page.state.run.replaceAll("/", "-")}-${this.spec.kind}.csv`);
  }
};
