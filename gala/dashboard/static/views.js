// What each chart shows: names, units, and the series that are built from the records.
"use strict";

Gala.views = (page) => {
  const rank = (r) => page.series.ranks.indexOf(r), count = () => page.series.ranks.length;
  const lines = (metric, how = "binned") => page.chosen().map((r) => ({
    label: `agent ${r}`, agent: r, colour: Gala.colour(rank(r), count()), dash: Gala.dash(rank(r), count()),
    width: count() > 16 ? 0.8 : 1.3, values: page.series[how](page.grid, r, metric),
  }));
  const all = (metric, how = "binned") => Gala.columns(page.chosen(), (r) => page.series[how](page.grid, r, metric));
  const chart = (series, bands) => ({ xs: page.xs, grid: page.grid, breaks: page.state.x === "time" ? page.breaks : [], series, bands });
  // The same number is known to all agents: the largest that any of them had on file.
  const shared = (metric) => Gala.columns(page.series.ranks, (r) => page.series.binned(page.grid, r, metric)).high;
  const phases = [["collect", "#0072b2"], ["learn", "#009e73"], ["gossip", "#e69f00"], ["wait", "#d55e00"], ["log", "#cc79a7"], ["other", "#999999"]];
  return [
    {
      id: "divergence", title: "2 Distance to the mean", log: true, unit: "‖xᵢ − x̄‖₂",
      build: () => chart([
        ...lines("divergence/to_mean"),
        { label: "all ‖X − X̄‖", values: shared("divergence/total"), colour: Gala.ink("ink"), width: 2 },
        { label: "bound ε", values: shared("divergence/epsilon"), colour: Gala.ink("bound"), width: 2, dash: [8, 4] },
        { label: "expected", values: shared("divergence/expected"), colour: Gala.ink("expected"), width: 1.6, dash: [2, 3] },
      ]),
    },
    {
      id: "ratio", title: "2 Divergence / bound", log: true, hint: "1 is the edge of the ball: proven in lock-step, else that of a model; where no bound applies there is no line.",
      build: () => chart([
        { label: "divergence / bound", values: shared("divergence/epsilon_ratio"), colour: Gala.ink("accent"), width: 2 },
        { label: "edge", silent: true, values: page.xs.map(() => 1), colour: Gala.ink("bound"), width: 2, dash: [8, 4] },
      ]),
    },
    {
      id: "policies", title: "2 Policies apart", log: true, unit: "KL to neighbours, nats",
      build: () => chart(lines("divergence/kl")),
    },
    {
      id: "return", title: "4 Return of the last 100 episodes", log: false,
      build: () => {
        const { mean, low, high } = all("charts/episodic_return"), paint = Gala.ink("soft");
        const single = lines("charts/episodic_return");
        const edge = (label, values) => ({ label, values, colour: "transparent", width: 0, silent: true });
        const k = single.length;
        return chart([...single, edge("highest", high), edge("lowest", low), { label: "mean", values: mean, colour: Gala.ink("ink"), width: 2.2 }],
          [{ series: [k + 1, k + 2], fill: `${paint}33` }]);
      },
    },
    {
      id: "losses", title: "4 Losses", log: false, unit: "mean of agents",
      build: () => chart([["policy", "losses/policy_loss", 0], ["value", "losses/value_loss", 1], ["entropy", "losses/entropy", 2]].map(
        ([label, metric, k]) => ({ label, values: all(metric).mean, colour: Gala.colour(k, 3), dash: Gala.dash(k, 3), width: 1.6 }))),
    },
    {
      id: "speed", title: "5 Steps per second", log: false, floor: 0, unit: "steps/s",
      build: () => chart([...lines("charts/SPS"), { label: "total", values: all("charts/SPS").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "split", title: "5 Time of an update", log: false, floor: 0, unit: "ms, mean of agents",
      build: () => {
        const wait = all("gossip/wait_ms").mean, own = Object.fromEntries(phases.map(([name]) => [name, name === "wait" ? wait : all(`time/${name}_ms`).mean]));
        own.gossip = own.gossip.map((v, k) => (v === null ? null : Math.max(0, v - (wait[k] ?? 0))));
        let below = page.xs.map(() => 0);
        const stacked = phases.map(([name, colour]) => {
          below = below.map((sum, k) => (own.collect[k] === null ? null : (sum ?? 0) + (own[name][k] ?? 0)));
          return { label: name, values: below, told: own[name], colour, width: 1, fill: colour };
        });
        return chart(stacked.reverse());
      },
    },
    {
      id: "staleness", title: "6 Staleness", log: false, floor: 0, unit: "updates without a mix",
      build: () => chart(lines("gossip/staleness_max")),
    },
    {
      id: "messages", title: "6 Messages", log: false, floor: 0, unit: "per second, all agents",
      build: () => chart([
        { label: "sent", values: all("gossip/messages_sent", "rate").sum, colour: Gala.ink("accent"), width: 1.8 },
        { label: "refused", values: all("gossip/messages_refused", "rate").sum, colour: Gala.ink("warn"), width: 1.8, dash: [5, 3] },
      ]),
    },
    {
      id: "bytes", title: "6 Bytes sent", log: false, floor: 0, unit: "per second",
      build: () => chart([...lines("gossip/bytes_sent", "rate"), { label: "total", values: all("gossip/bytes_sent", "rate").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
  ];
};

// Runs side by side: one line per run, on the same axis.
Gala.Compare = class {
  constructor(page) {
    this.page = page;
    this.loaded = new Map(); // name -> Series
    const views = [
      ["compare-return", "Return, mean of agents", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/episodic_return")).mean, undefined, ""],
      ["compare-divergence", "Divergence ‖X − X̄‖", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "divergence/total")).high, true, ""],
      ["compare-speed", "Steps per second, total", (s, g) => Gala.columns(s.ranks, (r) => s.binned(g, r, "charts/SPS")).sum, false, "steps/s"],
    ];
    this.charts = views.map(([id, title, values, log, unit]) => new Gala.Chart({ id, title, log, unit, floor: id === "compare-speed" ? 0 : undefined, build: () => this.build(values) }, this.host()));
    this.charts.forEach((chart) => document.querySelector("#compare .grid").append(chart.card));
  }

  // What a chart asks of its page; runs keep their own range and have no marks.
  host() {
    const page = this.page;
    return { get state() { return { ...page.state, run: "runs" }; }, window: () => [null, null], marks: () => [], zoom: () => {}, changed: () => page.changed(), get series() { return page.series; } };
  }

  begin() {
    const { runs, state } = this.page;
    document.getElementById("compare").hidden = runs.length < 2;
    if (!state.compare.size) for (const { name } of [...runs].sort((a, b) => (b.started ?? 0) - (a.started ?? 0)).slice(0, 4)) state.compare.add(name);
    this.chips();
    this.refresh();
    if (!Gala.source.frozen) setInterval(() => { if (!document.hidden && !state.paused) this.refresh(); }, 10000);
  }

  chips() {
    const { runs, state } = this.page, names = runs.map((r) => r.name);
    document.getElementById("runs").replaceChildren(...names.map((name, k) => {
      const line = Gala.svg("svg", { viewBox: "0 0 22 8" }, Gala.svg("line", { x1: 0, y1: 4, x2: 22, y2: 4, stroke: Gala.colour(k, names.length), "stroke-width": 3 }));
      return Gala.element("button", { type: "button", class: "chip", "aria-pressed": String(state.compare.has(name)), onclick: () => {
        if (!state.compare.delete(name)) state.compare.add(name);
        this.chips();
        this.refresh();
        this.page.changed();
      } }, line, name);
    }));
  }

  async refresh() {
    if (this.page.runs.length < 2) return;
    for (const name of this.page.state.compare) {
      const info = this.page.runs.find((r) => r.name === name);
      if (!info) continue;
      const series = new Gala.Series(info);
      try {
        series.load(await Gala.source.history(name, { points: 200 }));
      } catch { continue; } // deleted meanwhile
      this.loaded.set(name, series);
    }
    this.stale = true;
    this.page.redrawSoon();
  }

  draw() {
    if (this.page.runs.length < 2 || !this.loaded.size) return;
    const key = JSON.stringify([this.page.state.x, Gala.dark(), [...this.page.state.compare], this.charts.map((c) => c.log)]);
    if (!this.stale && key === this.key) return;
    Object.assign(this, { stale: false, key });
    this.charts.forEach((chart) => chart.draw());
  }

  build(values) {
    const { runs, state } = this.page, names = runs.map((r) => r.name);
    const shown = names.filter((name) => state.compare.has(name) && this.loaded.get(name)?.agents.size);
    const own = shown.map((name) => {
      const series = this.loaded.get(name), grid = series.grid();
      return { xs: series.axis(grid.t, state.x), values: grid.t.length ? values(series, grid) : [] };
    });
    const longest = Math.max(1e-9, ...own.map(({ xs }) => xs[xs.length - 1] ?? 0)), bins = 250;
    const xs = Array.from({ length: bins }, (_, k) => ((k + 0.5) * longest) / bins);
    return {
      xs, grid: null,
      series: shown.map((name, k) => {
        const row = new Array(bins).fill(null), sizes = new Array(bins).fill(0);
        own[k].xs.forEach((x, i) => {
          const v = own[k].values[i], at = Math.min(bins - 1, Math.floor((x * bins) / longest));
          if (v === null) return;
          row[at] = (row[at] ?? 0) + v;
          sizes[at]++;
        });
        const at = names.indexOf(name);
        return { label: name, colour: Gala.colour(at, names.length), width: 1.8, values: row.map((v, i) => (v === null ? null : v / sizes[i])) };
      }),
    };
  }
};
