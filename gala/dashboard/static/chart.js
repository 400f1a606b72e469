// One chart: uPlot with our axes, marks of events, a readout, export, and one zoom for all charts.
"use strict";

Gala.MARKS = { // kinds of events that are drawn, with a glyph for eyes that cannot tell the colours
  start: ["▷", "soft"], join: ["+", "good"], alive: ["↑", "good"], left: ["←", "soft"], dead: ["†", "warn"],
  suspect: ["?", "warn"], alarm: ["!", "warn"], error: ["×", "warn"], refused: ["⊘", "warn"], bound: ["β", "expected"],
  checkpoint: ["·", "soft"], stop: ["■", "soft"], done: ["■", "soft"],
};

Gala.Chart = class {
  // spec: {id, title, unit, log, floor, hint, build(context) -> {xs, series: [...], marks: [...],
  // breaks, bands}}; each of its series: {label, values, newest, told, colour, dash, width, fill,
  // agent, gaps, sparse}; breaks and gaps: pairs of places that no line joins
  constructor(spec, page) {
    this.spec = spec;
    this.page = page;
    this.plot = null;
    this.shape = "";
    this.log = Boolean(spec.log);
    this.readout = Gala.element("div", { class: "readout" });
    this.body = Gala.element("div", { class: "plot", tabindex: 0, role: "slider", "aria-label": spec.title, "aria-valuenow": 0 });
    const tools = Gala.element("span", { class: "tools" });
    const tool = (name, title, act) => tools.append(Gala.element("button", { type: "button", title, onclick: act, "data-tool": name }, name));
    tool("log", "logarithmic or linear axis", () => { this.log = !this.log; page.changed(); });
    tool("csv", "values of this chart as a table", () => this.saveTable());
    tool("png", "this chart as a picture", () => this.savePicture());
    this.card = Gala.element("section", { class: "card chart", id: spec.id },
      Gala.element("h2", {}, spec.title, ...(spec.unit ? [Gala.element("span", { class: "unit" }, spec.unit)] : []), tools), this.readout, this.body);
    this.hint = Gala.element("p", { class: "hint" }, spec.hint ?? "");
    if (spec.hint) this.card.append(this.hint);
    new ResizeObserver(() => this.resize()).observe(this.body);
    this.body.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("blur", () => this.point(null));
  }

  get width() { return Math.max(this.body.clientWidth, 120); }
  get height() { return Math.max(this.body.clientHeight, 120); }

  resize() {
    if (this.plot && (this.plot.width !== this.width || this.plot.height !== this.height)) this.plot.setSize({ width: this.width, height: this.height });
  }

  rebuild() {
    this.plot?.destroy();
    this.plot = null;
  }

  draw() {
    const built = this.built = this.smooth(this.spec.build());
    const positive = (v) => (v !== null && v > 0 ? v : null);
    const data = [built.xs, ...built.series.map(({ values }) => (this.log ? values.map(positive) : values))];
    const shape = JSON.stringify([this.log, this.page.state.x, ...built.series.map((s) => [s.label, s.colour, s.width, s.fill])]);
    if (built.hint) Gala.say(this.hint, built.hint);
    if (!this.plot || shape !== this.shape) {
      this.rebuild();
      this.shape = shape;
      this.plot = new uPlot(this.options(built), data, this.body);
    } else this.plot.setData(data, false);
    this.frame();
    this.tell();
  }

  // Lines as the slider wants them; what was recorded stays behind them, faintly, and in what is told.
  smooth(built) {
    const weight = this.spec.smooth ? this.page.state.smooth ?? 0 : 0, told = (s) => s.told ?? s.values;
    if (!weight) return built;
    const series = built.series.map((s) => ({ ...s, told: told(s), values: Gala.smoothed(s.values, weight) }));
    const loud = built.series.filter((s) => !s.silent), raw = loud.length > 9 ? loud.filter((s) => s.agent === undefined) : loud;
    return { ...built, series: [...series, ...raw.map((s) => ({ ...s, label: `${s.label} as recorded`, colour: Gala.faint(s.colour), width: 1, dash: [], fill: undefined, silent: true, behind: true }))] };
  }

  // Arrows go along the values, + and - zoom around where they are, the page keys move the zoom.
  key(event) {
    if (!this.plot || event.ctrlKey || event.metaKey || event.altKey) return;
    const { xs } = this.built, { min, max } = this.plot.scales.x, last = xs.length - 1, step = event.shiftKey ? 10 : 1;
    const at = this.plot.cursor.idx ?? (event.key === "ArrowRight" || event.key === "Home" ? -1 : last + 1);
    const zoom = (factor) => {
      const x = xs[this.plot.cursor.idx] ?? (min + max) / 2, [from, to] = [x - (x - min) * factor, x + (max - x) * factor];
      if (from <= xs[0] && to >= xs[last] && factor > 1) this.page.zoom(null, null);
      else this.page.zoom(from, to);
    };
    const move = (share) => { if (this.page.window()[0] !== null) this.page.zoom(min + share * (max - min), max + share * (max - min)); };
    const keys = {
      ArrowLeft: () => this.point(at - step), ArrowRight: () => this.point(at + step), Home: () => this.point(0), End: () => this.point(last),
      "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), PageUp: () => move(-0.5), PageDown: () => move(0.5),
    };
    if (!keys[event.key] || last < 0) return;
    event.preventDefault();
    keys[event.key]();
  }

  // Put the cursor at a value, as the pointer would; null takes it away.
  point(index) {
    if (!this.plot) return;
    const { xs } = this.built, { min, max } = this.plot.scales.x, away = { left: -10, top: -10 };
    if (index === null) { this.plot.setCursor(away, true, true); return; }
    let k = Math.min(Math.max(index, 0), xs.length - 1); // but no further than what is in view
    while (k > 0 && xs[k] > max) k--;
    while (k < xs.length - 1 && xs[k] < min) k++;
    this.plot.setCursor({ left: this.plot.valToPos(xs[k], "x"), top: this.plot.over.clientHeight / 2 }, true, true);
    Gala.set(this.body, { "aria-valuenow": k, "aria-valuemax": xs.length - 1, "aria-valuetext": this.readout.textContent });
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
    const span = max - min > 1e-9 * Math.abs(max) ? max - min : 0; // of equal values only rounding is left
    const room = (span || Math.abs(max) || 1) * 0.06;
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
        sync: { key: this.page.group, setSeries: false },
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
        points: { show: true, filter: (plot, k) => this.dots(plot, k) },
        // a moment without a record is spanned, the rest of a run or an agent that was away is not
        spanGaps: false, gaps: (plot, k) => Gala.Series.united([...(this.built.breaks ?? []), ...(this.built.series[k - 1].gaps ?? [])])
          .map((pair) => pair.map((i) => plot.valToPos(this.built.xs[i], "x", true))),
      }))],
      bands: built.bands,
      hooks: {
        draw: [(plot) => this.mark(plot)],
        setCursor: [() => { if (this.plot) this.tell(); }],
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

  // Points of a series that no line would show: those of a few values, or of a moment's run.
  dots(plot, k) {
    const { values } = this.built.series[k - 1] ?? { values: [] }, xs = this.built.xs;
    const first = values.findIndex((v) => v !== null), last = values.findLastIndex((v) => v !== null);
    if (first < 0 || this.built.series[k - 1].silent) return [];
    const wide = Math.abs(plot.valToPos(xs[last], "x", true) - plot.valToPos(xs[first], "x", true)) / (devicePixelRatio || 1);
    return wide < 8 ? [last] : values.filter((v) => v !== null).length < 3 ? [first, last] : [];
  }

  // Events stand where they happened, on whatever axis; the newest of many at one place is drawn.
  mark(plot) {
    this.marks = [];
    const { ctx, bbox } = plot, ratio = devicePixelRatio || 1;
    const low = plot.scales.x.min, high = plot.scales.x.max;
    const inside = (this.built.marks ?? []).filter(({ x }) => x >= low && x <= high);
    const dense = inside.filter(({ event }) => event !== "checkpoint").length > 60; // short ticks: values first
    let before = -Infinity;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "center";
    for (const mark of inside) {
      const x = plot.valToPos(mark.x, "x", true);
      if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
      this.marks.push([(x - bbox.left) / ratio, mark]);
      const [glyph, ink] = Gala.MARKS[mark.event] || ["◦", "soft"];
      ctx.strokeStyle = ctx.fillStyle = mark.colour ?? Gala.ink(ink);
      const small = mark.event === "checkpoint";
      ctx.globalAlpha = small ? 0.5 : 0.75;
      ctx.lineWidth = ratio;
      ctx.setLineDash(small ? [] : [2 * ratio, 3 * ratio]);
      ctx.beginPath();
      ctx.moveTo(x, small ? bbox.top + bbox.height - 6 * ratio : bbox.top);
      ctx.lineTo(x, dense && !small ? bbox.top + 8 * ratio : bbox.top + bbox.height);
      ctx.stroke();
      if (!small && x - before > 9 * ratio) {
        ctx.globalAlpha = 1;
        const half = ctx.measureText(glyph).width / 2 + ratio; // and never across an axis
        ctx.fillText(glyph, Math.min(Math.max(x, bbox.left + half), bbox.left + bbox.width - half), bbox.top + 4 * ratio);
        before = x;
      }
    }
    ctx.restore();
  }

  // Under the title, which is the key of its colours, too: what the pointer is at, else the newest values.
  tell() {
    const { xs, series } = this.built, { cursor } = this.plot ?? { cursor: {} };
    const pointed = cursor.idx !== null && cursor.idx !== undefined && cursor.left >= 0, at = pointed ? cursor.idx : xs.length - 1;
    const mark = pointed ? (this.marks || []).find(([x]) => Math.abs(x - cursor.left) < 5)?.[1] : null;
    const newest = !pointed && this.page.window()[0] === null;
    const value = (s) => {
      if (newest && s.newest !== undefined) return s.newest;
      const values = s.told ?? s.values;
      let k = at; // an agent may have recorded nothing in this very bin
      while (k > 0 && (s.sparse || at - k < 5) && (values[k] === null || values[k] === undefined)) k--;
      return values[k];
    };
    const shown = series.filter((s) => !s.silent), own = shown.filter((s) => s.agent !== undefined), many = shown.length > 9;
    const near = this.near ? series[this.near - 1] : null;
    const listed = mark || at < 0 ? [] : [...shown.filter((s) => s.agent === undefined), ...(many ? own.filter((s) => s === near) : own)];
    const kind = this.page.state.x;
    const where = mark ? mark.text : at < 0 || !series.length ? "nothing recorded" : newest ? "newest" : kind === "time" ? Gala.clock(xs[at]) : `${Gala.number(xs[at], 4)} ${kind}`;
    const others = many && !mark && at >= 0 ? own.map(value).filter((v) => v !== null && v !== undefined) : [];
    const spread = others.length ? [`agents ${Gala.number(Math.min(...others))} to ${Gala.number(Math.max(...others))}`] : [];
    const items = new Map([["where", where], ...listed.map((s) => [`of ${s.label}`, s]), ...spread.map((text) => ["spread", text])]);
    Gala.keyed(this.readout, [...items.keys()], (key) => Gala.element("span", { class: key === "where" ? "where" : "item" }, ...(typeof items.get(key) === "string" ? [""] : [Gala.swatch()]), ""), (item, key) => {
      const s = items.get(key);
      if (typeof s === "string") { Gala.say(item, s); return; }
      Gala.paint(item.firstChild, s.colour, s.dash, s.fill ? 8 : 2 + (s.width ?? 1.3) / 2);
      const text = `${s.label} ${Gala.number(value(s))}`;
      if (item.lastChild.nodeValue !== text) item.lastChild.nodeValue = text;
    });
  }

  saveTable() {
    const { xs } = this.built, series = this.built.series.filter((s) => !s.behind), cell = (v) => (v === null || v === undefined ? "" : String(v));
    const name = { time: "seconds", steps: "steps", frames: "frames" }[this.page.state.x];
    const quote = (v) => (/[",\n]/.test(v) ? `"${v.replaceAll('"', '""')}"` : v);
    const lines = [[name, ...series.map((s) => quote(s.label))], ...xs.map((x, k) => [x, ...series.map((s) => cell((s.told ?? s.values)[k]))])];
    Gala.save(new Blob([lines.map((line) => line.join(",")).join("\n") + "\n"], { type: "text/csv" }), this.name("csv"));
  }

  savePicture() {
    const from = this.plot.ctx.canvas, ratio = devicePixelRatio || 1, head = 26 * ratio, line = 16 * ratio;
    const small = `${11 * ratio}px system-ui, sans-serif`;
    const canvas = Gala.element("canvas", { width: from.width, height: 1 }), ctx = canvas.getContext("2d");
    ctx.font = small;
    const key = []; // [series, x, row], in as many rows as it takes
    let x = 8 * ratio, row = 0;
    for (const s of this.built.series.filter((each) => !each.silent)) {
      const wide = 44 * ratio + ctx.measureText(s.label).width;
      if (x + wide > canvas.width && x > 8 * ratio) [x, row] = [8 * ratio, row + 1];
      key.push([s, x, row]);
      x += wide;
    }
    canvas.height = head + from.height + (row + 1) * line + 4 * ratio; // forgets the font
    ctx.fillStyle = Gala.ink("card");
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.fillStyle = Gala.ink("ink");
    ctx.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const unit = this.spec.unit ? ` [${this.spec.unit}]` : "";
    ctx.fillText(`${this.spec.title}${unit} – ${this.page.state.run}`, 8 * ratio, 17 * ratio);
    ctx.drawImage(from, 0, head);
    ctx.font = small;
    for (const [s, left, at] of key) {
      const y = head + from.height + at * line + 8 * ratio;
      ctx.strokeStyle = s.colour;
      ctx.lineWidth = ratio * (s.fill ? 8 : Math.max(1.5, s.width ?? 1.3));
      ctx.setLineDash((s.dash ?? []).map((v) => v * ratio));
      ctx.beginPath();
      ctx.moveTo(left, y);
      ctx.lineTo(left + 24 * ratio, y);
      ctx.stroke();
      ctx.fillStyle = Gala.ink("ink");
      ctx.fillText(s.label, left + 28 * ratio, y + 4 * ratio);
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
