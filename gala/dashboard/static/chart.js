// One chart: uPlot with our axes, marks of events, a readout, export, and one zoom for all charts.
"use strict";

Gala.MARKS = { // kinds of events that are drawn, with a glyph for eyes that cannot tell the colours
  start: ["▷", "soft"], join: ["+", "good"], alive: ["↑", "good"], left: ["←", "soft"], dead: ["†", "warn"],
  suspect: ["?", "warn"], alarm: ["!", "warn"], error: ["×", "warn"], refused: ["⊘", "warn"], bound: ["β", "expected"],
  checkpoint: ["·", "soft"], stop: ["■", "soft"], done: ["■", "soft"],
};

Gala.Chart = class {
  // spec: {id, title, unit, log, floor, hint, build(context) -> {xs, grid, series: [...]}}; each of
  // its series: {label, values, colour, dash, width, fill, agent}
  constructor(spec, page) {
    this.spec = spec;
    this.page = page;
    this.plot = null;
    this.shape = "";
    this.log = Boolean(spec.log);
    this.readout = Gala.element("p", { class: "readout" });
    this.body = Gala.element("div", { class: "plot" });
    const tools = Gala.element("span", { class: "tools" });
    const tool = (name, title, act) => tools.append(Gala.element("button", { type: "button", title, onclick: act, "data-tool": name }, name));
    tool("log", "logarithmic or linear axis", () => { this.log = !this.log; page.changed(); });
    tool("csv", "values of this chart as a table", () => this.saveTable());
    tool("png", "this chart as a picture", () => this.savePicture());
    this.card = Gala.element("section", { class: "card chart", id: spec.id },
      Gala.element("h2", {}, spec.title, ...(spec.unit ? [Gala.element("span", { class: "unit" }, spec.unit)] : []), tools), this.readout, this.body);
    if (spec.hint) this.card.append(Gala.element("p", { class: "hint" }, spec.hint));
    new ResizeObserver(() => this.resize()).observe(this.body);
  }

  get width() { return Math.max(this.body.clientWidth, 120); }
  get height() { return innerWidth < 520 ? 190 : 230; }

  resize() {
    if (this.plot && this.plot.width !== this.width) this.plot.setSize({ width: this.width, height: this.height });
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
  }

  draw() {
    const built = this.spec.build();
    this.built = built;
    const positive = (v) => (v !== null && v > 0 ? v : null);
    const data = [built.xs, ...built.series.map(({ values }) => (this.log ? values.map(positive) : values))];
    const shape = JSON.stringify([this.log, this.page.state.x, ...built.series.map((s) => [s.label, s.colour, s.width, s.fill])]);
    this.card.classList.toggle("empty", !built.series.some(({ values }) => values.some((v) => v !== null)));
    if (!this.plot || shape !== this.shape) {
      this.rebuild();
      this.shape = shape;
      this.plot = new uPlot(this.options(built), data, this.body);
    } else this.plot.setData(data, false);
    this.frame();
    this.tell(null);
  }

  // The range that all charts show, and this chart's own values.
  frame() {
    const [from, to] = this.page.window(), xs = this.built.xs;
    const low = from ?? xs[0], high = to ?? xs[xs.length - 1];
    this.plot.batch(() => {
      this.plot.setScale("x", Number.isFinite(low) && high > low ? { min: low, max: high } : { min: (low || 0) - 1, max: (low || 0) + 1 });
      // only what is in view decides the range
      let min = Infinity, max = -Infinity;
      for (const { values } of this.built.series)
        for (let k = 0; k < xs.length; k++)
          if (values[k] !== null && xs[k] >= low && xs[k] <= high && (!this.log || values[k] > 0)) {
            min = Math.min(min, values[k]);
            max = Math.max(max, values[k]);
          }
      this.plot.setScale("y", this.range(min, max));
    });
  }

  range(min, max) {
    if (!Number.isFinite(min)) return this.log ? { min: 0.1, max: 1 } : { min: 0, max: 1 };
    if (this.log) return { min: 10 ** Math.floor(Math.log10(min)), max: 10 ** Math.ceil(Math.log10(max * 1.0001)) };
    if (this.spec.floor !== undefined) min = Math.min(min, this.spec.floor);
    const room = (max - min || Math.abs(max) || 1) * 0.06;
    return { min: min === this.spec.floor ? min : min - room, max: max + room };
  }

  options(built) {
    const axis = { stroke: Gala.ink("soft"), grid: { stroke: Gala.ink("grid"), width: 1 }, ticks: { stroke: Gala.ink("grid"), width: 1, size: 4 }, font: "11px system-ui, sans-serif" };
    const time = this.page.state.x === "time";
    const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400];
    return {
      width: this.width,
      height: this.height,
      padding: [8, 22, 0, 0],
      legend: { show: false },
      cursor: {
        sync: { key: "gala", setSeries: false },
        drag: { x: true, y: false, setScale: false },
        focus: { prox: 24 },
        points: { size: 5 },
        bind: { dblclick: () => () => { this.page.zoom(null, null); return null; } },
      },
      focus: { alpha: 0.25 },
      scales: { x: { time: false, auto: false }, y: { auto: false, distr: this.log ? 3 : 1 } },
      axes: [
        { ...axis, size: 30, space: 70, ...(time ? { incrs: steps } : {}), values: (_, at) => at.map((v) => (time ? Gala.clock(v) : Gala.number(v))) },
        { ...axis, size: 54, values: (_, at) => at.map((v) => (v === null ? null : Gala.number(v))),
          ...(this.log ? { filter: (_, splits) => splits.map((v) => (Math.abs(Math.log10(v) % 1) < 1e-9 || 1 - Math.abs(Math.log10(v) % 1) < 1e-9 ? v : null)) } : {}) },
      ],
      series: [{}, ...built.series.map((s) => ({
        label: s.label, stroke: s.colour, width: s.width ?? 1.3, dash: s.dash, fill: s.fill,
        points: { show: built.xs.length < 3 },
        // what one agent did not record is spanned, the rest of a run that paused is not
        spanGaps: false, gaps: (plot) => (this.built.breaks ?? []).map((k) => [k, k + 1].map((i) => plot.valToPos(this.built.xs[i], "x", true))),
      }))],
      bands: built.bands,
      hooks: {
        draw: [(plot) => this.mark(plot)],
        setCursor: [(plot) => this.tell(plot.cursor.idx, plot)],
        setSeries: [(_, index) => { this.near = index; }],
        setSelect: [(plot) => {
          if (plot.select.width < 4) return;
          const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((v) => plot.posToVal(v, "x"));
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          this.page.zoom(from, to);
        }],
      },
    };
  }

  // Events stand where they happened, on whatever axis; the newest of many at one place is drawn.
  mark(plot) {
    const { grid } = this.built, shown = this.page.marks();
    this.marks = [];
    if (!grid || !grid.t.length) return;
    const { ctx, bbox } = plot, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    let before = -Infinity;
    const low = plot.scales.x.min, high = plot.scales.x.max;
    const inside = shown.map((event) => [event, Gala.Series.place(event.t, grid, this.built.xs)]).filter(([, at]) => at >= low && at <= high);
    const crowded = inside.filter(([event]) => event.event !== "checkpoint").length > 60; // short ticks: values first
    for (const [event, at] of inside) {
      const x = plot.valToPos(at, "x", true);
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
      this.marks.push([x / ratio - plot.bbox.left / ratio, event]);
      const [glyph, ink] = Gala.MARKS[event.event] || ["◦", "soft"];
      ctx.strokeStyle = ctx.fillStyle = Gala.ink(ink);
      const small = event.event === "checkpoint";
      ctx.globalAlpha = small ? 0.5 : 0.75;
      ctx.lineWidth = ratio;
      ctx.setLineDash(small ? [] : [2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, small ? bbox.top + bbox.height - 6 * ratio : bbox.top);
      ctx.lineTo(x, crowded && !small ? bbox.top + 8 * ratio : bbox.top + bbox.height);
      ctx.stroke();
      if (!small && x - before > 9 * ratio) {
        ctx.globalAlpha = 1;
        ctx.fillText(glyph, x, bbox.top + 4 * ratio);
        before = x;
      }
    }
    ctx.restore();
  }

  // Under the title: what the pointer is at, else the newest values.
  tell(index, plot) {
    const { xs, series } = this.built;
    const at = index ?? xs.length - 1;
    if (at < 0 || !series.length) { this.readout.textContent = "nothing recorded"; return; }
    const kind = this.page.state.x;
    const where = kind === "time" ? Gala.clock(xs[at]) : `${Gala.number(xs[at], 4)} ${kind}`;
    const shown = series.filter((s) => !s.silent);
    const near = this.near ? series[this.near - 1] : null;
    const listed = shown.length <= 9 ? shown : [...(near ? [near] : []), ...shown.filter((s) => s.agent === undefined)];
    const value = (s) => {
      let k = at; // an agent may have recorded nothing in this very bin
      while (k > 0 && at - k < 5 && s.values[k] === null) k--;
      return `${s.label} ${Gala.number((s.told ?? s.values)[k])}`;
    };
    const others = shown.length <= 9 ? [] : shown.filter((s) => s.agent !== undefined).map((s) => s.values[at]).filter((v) => v !== null);
    const spread = others.length ? [`agents ${Gala.number(Math.min(...others))} to ${Gala.number(Math.max(...others))}`] : [];
    let text = [where, ...listed.map(value), ...spread].join("   ");
    if (plot && index !== null && index !== undefined) {
      const mark = (this.marks || []).find(([x]) => Math.abs(x - plot.cursor.left) < 5);
      if (mark) text = `${Gala.clock(mark[1].t - this.page.series.start)}   agent ${mark[1].rank}: ${mark[1].event}: ${mark[1].message}`;
    }
    this.readout.textContent = text;
    this.readout.title = text;
  }

  saveTable() {
    const { xs, series } = this.built, cell = (v) => (v === null || v === undefined ? "" : String(v));
    const name = { time: "seconds", steps: "steps", frames: "frames" }[this.page.state.x];
    const quote = (v) => (/[",\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
    const lines = [[name, ...series.map((s) => quote(s.label))], ...xs.map((x, k) => [x, ...series.map((s) => cell((s.told ?? s.values)[k]))])];
    Gala.save(new Blob([lines.map((line) => line.join(",")).join("\n") + "\n"], { type: "text/csv" }), this.name("csv"));
  }

  savePicture() {
    const from = this.plot.ctx.canvas, ratio = devicePixelRatio || 1, head = 26 * ratio, foot = 20 * ratio;
    const canvas = Gala.element("canvas", { width: from.width, height: from.height + head + foot });
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = Gala.ink("card");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.fillStyle = Gala.ink("ink");
    ctx.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const unit = this.spec.unit ? ` [${this.spec.unit}]` : "";
    ctx.fillText(`${this.spec.title}${unit} – ${this.page.state.run}`, 8 * ratio, 17 * ratio);
    ctx.drawImage(from, 0, head);
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    let x = 8 * ratio;
    for (const s of this.built.series.filter((each) => !each.silent)) {
      if (x > canvas.width - 60 * ratio) break;
      ctx.fillStyle = s.colour;
      ctx.fillRect(x, head + from.height + 6 * ratio, 14 * ratio, 3 * ratio);
      ctx.fillStyle = Gala.ink("ink");
      ctx.fillText(s.label, x + 18 * ratio, head + from.height + 11 * ratio);
      x += (30 * ratio) + ctx.measureText(s.label).width;
    }
    canvas.toBlob((blob) => Gala.save(blob, this.name("png")), "image/png");
  }

  name(suffix) { return `${this.page.state.run.replaceAll("/", "-")}-${this.spec.id}.${suffix}`; }
};

Gala.save = (blob, name) => {
  const link = Gala.element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
