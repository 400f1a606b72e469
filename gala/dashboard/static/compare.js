// Runs side by side: one line per run, each at its own values on the same axis.
"use strict";

Gala.Compare = class {
  constructor(page) {
    this.page = page;
    this.loaded = new Map(); // name -> {reading, events}
    const views = [
      ["compare-return", "Return, mean of agents", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/episodic_return")).mean, undefined, ""],
      ["compare-divergence", "Divergence ‖X − X̄‖", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "divergence/total")).high, true, ""],
      ["compare-speed", "Steps per second, total", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/SPS")).sum, false, "steps/s"],
    ];
    this.charts = views.map(([id, title, values, log, unit]) => new Gala.Chart({ id, title, log, unit, floor: id === "compare-speed" ? 0 : undefined, build: () => this.build(values) }, this.host()));
    this.charts.forEach((chart) => document.querySelector("#compare .grid").append(chart.card));
  }

  // What a chart asks of its page; runs have a range of their own, each from its own beginning.
  host() {
    const { page } = this;
    return {
      group: "runs", get state() { return { ...page.state, run: "runs" }; },
      window: () => page.state.runsWindow ?? [null, null], zoom: (from, to) => this.zoom(from, to), changed: () => page.changed(),
    };
  }

  get names() { return this.page.runs.map((run) => run.name); }

  // Those that were chosen; the newest, while nobody has chosen.
  get chosen() {
    const newest = [...this.page.runs].sort((a, b) => (b.started ?? 0) - (a.started ?? 0)).slice(0, 4).map((run) => run.name);
    return this.page.state.compare ?? new Set(newest);
  }

  zoom(from, to) {
    if (from !== null && !(to > from)) return;
    this.page.state.runsWindow = from === null ? null : [from, to];
    this.page.changed();
    this.renew();
  }

  toggle(name) {
    const chosen = new Set(this.chosen);
    if (!chosen.delete(name)) chosen.add(name);
    this.page.state.compare = chosen;
    this.page.changed();
    this.renew();
  }

  chips() {
    const { names, chosen } = this;
    document.getElementById("compare").hidden = names.length < 2;
    Gala.keyed(document.getElementById("runs"), names, (name) => Gala.element("button", { type: "button", class: "chip", onclick: () => this.toggle(name) }, Gala.swatch(), name),
      (chip, name, k) => {
        Gala.set(chip, { "aria-pressed": chosen.has(name) });
        Gala.paint(chip.firstChild, Gala.colour(k, names.length));
      });
  }

  // Read what is chosen again, finer where it is zoomed.
  async renew() {
    if (this.page.runs.length < 2) return;
    const asked = this.asked = {};
    let later = false;
    for (const name of this.chosen) {
      const info = this.page.runs.find((run) => run.name === name);
      if (!info) continue;
      const { state } = this.page, reading = new Gala.Reading(info, 200);
      let events;
      try {
        await reading.load();
        if (state.runsWindow) await reading.detail(...state.runsWindow.map((x) => reading.whole.timeAt(x, state.x)));
        events = await Gala.source.events(name, ["start", "dead", "alarm"]);
      } catch { continue; } // deleted meanwhile
      if (asked !== this.asked) return; // another part is wanted meanwhile
      this.loaded.set(name, { reading, events: events.all });
      later ||= events.share < 1;
      this.stale = true;
      this.page.redrawSoon();
    }
    if (later) setTimeout(() => { if (asked === this.asked) this.renew(); }, 1000); // events are still looked for
  }

  draw() {
    this.chips();
    if (this.page.runs.length < 2 || !this.loaded.size) return;
    const { x, runsWindow } = this.page.state;
    const key = JSON.stringify([x, runsWindow, Gala.dark(), [...this.chosen], this.names, [...this.page.hidden], this.charts.map((chart) => chart.log)]);
    if (!this.stale && key === this.key) return;
    Object.assign(this, { stale: false, key });
    this.charts.forEach((chart) => chart.draw());
  }

  build(values) {
    const { names } = this, { state, hidden } = this.page, chosen = this.chosen;
    const shown = names.filter((name) => chosen.has(name) && this.loaded.get(name)?.reading.whole.agents.size);
    const own = shown.map((name) => {
      const { reading: { whole, shown: series }, events } = this.loaded.get(name), grid = series.grid(), xs = whole.axis(grid.t, state.x);
      const told = events.filter((e) => !hidden.has(e.event));
      const colour = Gala.colour(names.indexOf(name), names.length);
      const marks = Gala.marks(told, whole, xs, state.x).map((mark) => ({ ...mark, colour, text: `${name}   ${mark.text}` }));
      return { name, colour, xs, marks, values: grid.t.length ? values(series, grid).values : [], breaks: state.x === "time" ? Gala.Series.breaks(grid.t) : [] };
    });
    const xs = [...new Set(own.flatMap((run) => run.xs))].sort((a, b) => a - b), place = new Map(xs.map((x, k) => [x, k]));
    return {
      xs, marks: own.flatMap((run) => run.marks).sort((a, b) => a.x - b.x),
      series: own.map((run) => {
        const row = new Array(xs.length).fill(null);
        run.xs.forEach((x, k) => { row[place.get(x)] = run.values[k]; });
        return { label: run.name, colour: run.colour, width: 1.8, values: row, sparse: true, gaps: run.breaks.map((pair) => pair.map((k) => place.get(run.xs[k]))) };
      }),
    };
  }
};
