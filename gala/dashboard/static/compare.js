// Runs side by side, each at its own values on the same axis: one line a run, or one an arm of seeds.
"use strict";

Gala.SEEDS = 16; // of one arm that are read, newest first

Gala.Compare = class {
  constructor(page) {
    this.page = page;
    this.loaded = new Map(); // name -> {reading, events}
    const returns = (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/episodic_return")).mean;
    const views = [
      ["compare-return", "Return, mean of agents", returns, undefined, ""],
      ["compare-divergence", "Divergence ‖X − X̄‖", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "divergence/total")).high, true, ""],
      ["compare-speed", "Steps per second, total", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/SPS")).sum, false, "steps/s"],
    ];
    this.charts = views.map(([id, title, values, log, unit]) => new Gala.Chart({ id, title, log, unit, smooth: id !== "compare-divergence", floor: id === "compare-speed" ? 0 : undefined, build: () => this.build(values, log ? Gala.factors : Gala.interval) }, this.host()));
    this.charts.forEach((chart) => document.querySelector("#compare .grid").append(chart.card));
    this.seeds = new Gala.Chart({ id: "seeds", title: "1 Return over seeds", log: false, smooth: true, hint: " ", build: () => this.buildSeeds(returns) }, this.host());
    page.main.prepend(this.seeds.card);
    document.getElementById("grouped").addEventListener("click", () => {
      page.state.grouped = !page.state.grouped;
      page.changed();
    });
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

  // The run that is shown and the others of its arm; nobody where there are none.
  get siblings() {
    const { runs, state } = this.page, own = runs.find((run) => run.name === state.run);
    const found = runs.filter((run) => own && run.arm === own.arm).sort((a, b) => (b.started ?? 0) - (a.started ?? 0)).slice(0, Gala.SEEDS);
    return found.length > 1 ? found.map((run) => run.name) : [];
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

  // Read what is wanted again, finer where it is zoomed.
  async renew() {
    if (this.page.runs.length < 2) return;
    const asked = this.asked = {};
    let later = false;
    for (const name of new Set([...this.siblings, ...this.chosen])) {
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
    const many = this.page.runs.length > 1, { x, runsWindow, grouped, smooth } = this.page.state;
    document.querySelector("#compare .grid").hidden = document.getElementById("grouped").hidden = !many;
    Gala.set(document.getElementById("grouped"), { "aria-pressed": Boolean(grouped) });
    this.seeds.card.hidden = this.siblings.length < 2; // its place is kept while they are read
    if (!many || !this.loaded.size) return;
    const key = JSON.stringify([x, runsWindow, Gala.dark(), [...this.chosen], this.names, this.siblings, grouped, smooth, [...this.page.hidden], [...this.charts, this.seeds].map((chart) => chart.log)]);
    if (!this.stale && key === this.key) return;
    Object.assign(this, { stale: false, key });
    this.charts.forEach((chart) => chart.draw());
    if (this.siblings.filter((name) => this.known(name)).length > 1) this.seeds.draw();
  }

  known(name) { return this.loaded.get(name)?.reading.whole.agents.size; }

  // The curve of a run: {name, xs, values, marks, breaks}.
  curve(name, values) {
    const { state, hidden } = this.page, { reading: { whole, shown: series }, events } = this.loaded.get(name);
    const grid = series.grid(), xs = whole.axis(grid.t, state.x);
    const marks = Gala.marks(events.filter((e) => !hidden.has(e.event)), whole, xs, state.x);
    return { name, xs, marks, values: grid.t.length ? values(series, grid).values : [], breaks: state.x === "time" ? Gala.Series.breaks(grid.t) : [] };
  }

  build(values, reduce) {
    const { names, chosen } = this, shown = names.filter((name) => chosen.has(name) && this.known(name));
    const curves = shown.map((name) => this.curve(name, values));
    return this.page.state.grouped ? this.buildArms(curves, reduce) : this.buildRuns(curves);
  }

  buildRuns(curves) {
    const { names } = this, own = curves.map((curve) => ({ ...curve, colour: Gala.colour(names.indexOf(curve.name), names.length) }));
    const xs = [...new Set(own.flatMap((run) => run.xs))].sort((a, b) => a - b), place = new Map(xs.map((x, k) => [x, k]));
    const marks = own.flatMap((run) => run.marks.map((mark) => ({ ...mark, colour: run.colour, text: `${run.name}   ${mark.text}` })));
    return {
      xs, marks: marks.sort((a, b) => a.x - b.x),
      series: own.map((run) => {
        const row = new Array(xs.length).fill(null);
        run.xs.forEach((x, k) => { row[place.get(x)] = run.values[k]; });
        return { label: run.name, colour: run.colour, width: 1.8, values: row, sparse: true, gaps: run.breaks.map((pair) => pair.map((k) => place.get(run.xs[k]))) };
      }),
    };
  }

  // One line an arm, with the band of its interval.
  buildArms(curves, reduce, paint = null) {
    const arms = Gala.arms(this.page.runs.filter((run) => curves.some((curve) => curve.name === run.name)));
    const every = [...Gala.arms(this.page.runs).keys()], labels = Gala.armLabels(arms);
    const end = Math.max(0, ...curves.flatMap(({ xs }) => xs.slice(-1))), grid = Array.from({ length: 201 }, (_, k) => (k * end) / 200);
    const series = [], bands = [];
    for (const [arm, names] of arms) {
      const colour = paint ?? Gala.colour(every.indexOf(arm), every.length), { mean, low, high } = Gala.together(curves.filter((curve) => names.includes(curve.name)), grid, reduce);
      const edge = (label, values) => ({ label, values, colour: "transparent", width: 0, silent: true });
      series.push({ label: labels.get(arm), colour, width: 2.2, values: mean, sparse: true });
      if (names.length < 2) continue;
      bands.push({ series: [series.length + 1, series.length + 2], fill: Gala.faint(colour) });
      series.push(edge(`${labels.get(arm)}, highest`, high), edge(`${labels.get(arm)}, lowest`, low));
    }
    return { xs: grid, marks: [], series, bands };
  }

  buildSeeds(values) {
    const names = this.siblings.filter((name) => this.known(name)), built = this.buildArms(names.map((name) => this.curve(name, values)), Gala.interval, Gala.ink("accent"));
    const what = names.length > 2 ? "its 95 % interval (Student's t)" : "the two of them";
    return { ...built, hint: `mean of ${names.length} runs that differ in their seed alone, where all of them are known, and ${what}` };
  }
};
