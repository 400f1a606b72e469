// The records of one run, and what charts need of them: one common axis for agents that each have
// their own times.
"use strict";

Gala.BINS = 300;
Gala.OF_A_RUN = /^(losses|charts\/task)\//; // each algorithm names its own losses, each run has its own tasks
Gala.QUIET = /^(losses|policy)\//; // of which 0 all along is nothing to look at
Gala.KEEP = 1500; // records per agent before old ones are thinned
// Where many records are one point the largest is shown: a moment outside of the ball is not averaged away.
Gala.PEAKS = new Set(["divergence/total", "divergence/epsilon_ratio", "gossip/staleness_max"]);

Gala.Series = class {
  constructor(info) {
    this.info = info;
    this.metrics = info.metrics;
    this.agents = new Map(); // rank -> {t: [], step: [], update: [], METRIC: [], ...}
    this.share = 1;
    this.version = 0;
  }

  get ranks() {
    return [...this.agents.keys()].sort((a, b) => a - b);
  }

  load(history) {
    this.agents = new Map(Object.entries(history.agents).map(([rank, columns]) => [Number(rank), columns]));
    this.share = history.share;
    this.version++;
  }

  // Rows [rank, t, step, update, ...metrics, {loss or task: value}] of the stream; those already there are passed over.
  append(rows) {
    const names = ["t", "step", "update", ...this.metrics];
    for (const [rank, ...values] of rows) {
      const losses = values[names.length] ?? {};
      let columns = this.agents.get(rank);
      if (!columns) this.agents.set(rank, (columns = Object.fromEntries(names.map((n) => [n, []]))));
      const last = columns.t.length ? columns.t[columns.t.length - 1] : -Infinity;
      if (values[0] <= last) continue;
      names.forEach((name, k) => columns[name].push(values[k]));
      for (const name of new Set([...Object.keys(losses), ...Object.keys(columns).filter((n) => Gala.OF_A_RUN.test(n))]))
        (columns[name] ??= new Array(columns.t.length - 1).fill(null)).push(losses[name] ?? null);
      if (columns.t.length > Gala.KEEP) this.thin(columns);
    }
    this.version++;
  }

  // Of the older half every second record goes: old times are shown coarser, none is forgotten.
  thin(columns) {
    const half = columns.t.length >> 1;
    for (const name of Gala.PEAKS) // those that stay tell of those that go
      columns[name]?.forEach((v, k, all) => { if (k % 2 === 0 && k + 1 < half && all[k + 1] !== null && !(all[k + 1] < v)) all[k] = all[k + 1]; });
    for (const name of Object.keys(columns))
      columns[name] = columns[name].filter((_, k) => k >= half || k % 2 === 0);
    this.share = Math.min(this.share, 0.5);
  }

  // Metrics that anybody ever recorded, and that were ever more than 0 where 0 means nothing: others are not drawn.
  get known() {
    if (this.knownAt === this.version) return this.found;
    this.found ??= new Set();
    for (const columns of this.agents.values())
      for (const [name, values] of Object.entries(columns))
        if (!this.found.has(name) && values.some((v) => v !== null && v !== undefined && !(v === 0 && Gala.QUIET.test(name)))) this.found.add(name);
    this.knownAt = this.version;
    return this.found;
  }

  get start() {
    let first = Infinity;
    for (const columns of this.agents.values()) if (columns.t.length) first = Math.min(first, columns.t[0]);
    const begun = this.info.started;
    return typeof begun === "number" && begun <= first ? begun : first;
  }

  get end() {
    let last = -Infinity;
    for (const columns of this.agents.values()) if (columns.t.length) last = Math.max(last, columns.t[columns.t.length - 1]);
    return last;
  }

  // A grid of times with about as many records between any two: where nothing was recorded (a run
  // that rested) there is no room to waste.
  grid(since = -Infinity, until = Infinity) {
    const all = [];
    for (const { t } of this.agents.values()) for (const each of t) if (each >= since && each <= until) all.push(each);
    all.sort((a, b) => a - b);
    const longest = Math.max(0, ...[...this.agents.values()].map(({ t }) => t.length));
    const count = Math.min(Gala.BINS, Math.max(1, Math.min(longest, Math.floor(all.length / Math.max(this.agents.size, 1)))));
    if (!all.length) return { edges: [], t: [], place: new Map() };
    const edges = [];
    for (let k = 1; k <= count; k++) edges.push(all[Math.ceil((k * all.length) / count) - 1]);
    const t = new Array(count).fill(0), sizes = new Array(count).fill(0);
    let bin = 0;
    for (const each of all) {
      while (each > edges[bin]) bin++;
      t[bin] += each;
      sizes[bin]++;
    }
    for (let k = 0; k < count; k++) t[k] = sizes[k] ? t[k] / sizes[k] : edges[k];
    const place = new Map(); // rank -> bin of each record, or -1
    for (const [rank, columns] of this.agents) {
      let at = 0;
      place.set(rank, columns.t.map((each) => {
        if (each < since || each > until) return -1;
        while (each > edges[at]) at++;
        return at;
      }));
    }
    return { edges, t, place };
  }

  // Mean, or largest value, of a metric in each bin; null where an agent recorded nothing.
  binned(grid, rank, metric) {
    const count = grid.t.length, found = new Array(count).fill(null), sizes = new Array(count).fill(0), peak = Gala.PEAKS.has(metric);
    const place = grid.place.get(rank) || [], values = this.agents.get(rank)?.[metric] || [];
    for (let k = 0; k < place.length; k++) {
      const value = values[k], at = place[k];
      if (at < 0 || value === null || value === undefined) continue;
      found[at] = peak ? Math.max(found[at] ?? -Infinity, value) : (found[at] ?? 0) + value;
      sizes[at]++;
    }
    return peak ? found : found.map((sum, k) => (sizes[k] ? sum / sizes[k] : null));
  }

  // Growth per second of a counter; a counter that fell began anew with another incarnation.
  rate(grid, rank, metric) {
    const count = grid.t.length, grown = new Array(count).fill(0), spent = new Array(count).fill(0);
    const place = grid.place.get(rank) || [], columns = this.agents.get(rank);
    const values = columns?.[metric] || [];
    for (let k = 1; k < place.length; k++) {
      const [before, after] = [values[k - 1], values[k]];
      if (place[k] < 0 || before === null || after === null || before === undefined || after === undefined) continue;
      if (after < before) continue;
      grown[place[k]] += after - before;
      spent[place[k]] += columns.t[k] - columns.t[k - 1];
    }
    return grown.map((sum, k) => (spent[k] > 0 ? sum / spent[k] : null));
  }

  // Environment steps of all agents at each time.
  steps(times) {
    const total = new Array(times.length).fill(0);
    for (const { t, step } of this.agents.values()) {
      let k = 0, high = 0;
      for (let i = 0; i < times.length; i++) {
        while (k < t.length && t[k] <= times[i]) high = Math.max(high, step[k++] ?? 0);
        let here = high;
        if (k > 0 && k < t.length && step[k] > high) // between two records: on the line
          here = high + ((step[k] - high) * (times[i] - t[k - 1])) / (t[k] - t[k - 1]);
        total[i] += here;
      }
    }
    for (let i = 1; i < total.length; i++) total[i] = Math.max(total[i], total[i - 1]);
    return total;
  }

  // Times on the axis that the user chose: seconds since the start, steps or frames of all agents.
  axis(times, kind) {
    if (kind === "time") return times.map((each) => each - this.start);
    const factor = kind === "frames" ? this.info.frames_per_step || 1 : 1;
    return this.steps(times).map((each) => each * factor);
  }

  // The time at a place of an axis, for questions to the server.
  timeAt(x, kind) {
    if (kind === "time") return this.start + x;
    const grid = this.grid(), xs = this.axis(grid.t, kind);
    for (let k = 0; k < xs.length; k++)
      if (xs[k] >= x) {
        if (k === 0 || xs[k] === xs[k - 1]) return grid.t[k];
        return grid.t[k - 1] + ((grid.t[k] - grid.t[k - 1]) * (x - xs[k - 1])) / (xs[k] - xs[k - 1]);
      }
    return this.end;
  }

  // Where a run rested: pairs of neighbouring points between which nothing was recorded for unusually long.
  static breaks(times) {
    const gaps = times.slice(1).map((t, k) => t - times[k]), usual = [...gaps].sort((a, b) => a - b)[gaps.length >> 1] ?? 0;
    return gaps.flatMap((gap, k) => (gap > Math.max(120, 30 * usual) ? [[k, k + 1]] : []));
  }

  // Where one agent was away, as pairs of bins: before each of its incarnations, which began at `starts`,
  // and where it was silent for as long as the dead are, and for longer than it usually is.
  absences(grid, rank, starts = []) {
    const t = this.agents.get(rank)?.t ?? [], place = grid.place.get(rank) ?? [], found = [];
    for (let k = 1; k < t.length; k++) {
      if (place[k - 1] < 0 || place[k] < 0 || place[k] === place[k - 1]) continue;
      const pause = t[k] - t[k - 1], usual = Math.max(t[k - 1] - (t[k - 2] ?? t[k - 1]), (t[k + 1] ?? t[k]) - t[k]);
      const silent = usual > 0 && pause > Math.max(Gala.SILENT_S, 5 * usual);
      if (silent || starts.some((at) => at > t[k - 1] && at <= t[k])) found.push([place[k - 1], place[k]]);
    }
    return found;
  }

  // Pairs in order, and those that overlap as one.
  static united(pairs) {
    const found = [];
    for (const [a, b] of [...pairs].sort((one, two) => one[0] - two[0])) {
      const last = found[found.length - 1];
      if (last && a < last[1]) last[1] = Math.max(last[1], b);
      else found.push([a, b]);
    }
    return found;
  }
};

// An exponential moving average that begins unbiased, as TensorBoard's and W&B's; what is unknown stays so.
Gala.smoothed = (values, weight) => {
  let sum = 0, mass = 0;
  return values.map((v) => {
    if (v === null || v === undefined) return v;
    sum = weight * sum + (1 - weight) * v;
    mass = weight * mass + 1 - weight;
    return sum / mass;
  });
};

// Events at their places on an axis that shows `xs`; those before and after it stand at its ends.
Gala.marks = (events, series, xs, kind) => {
  if (!xs.length) return [];
  const sorted = [...events].sort((a, b) => a.t - b.t), at = series.axis(sorted.map((e) => e.t), kind);
  return sorted.map((e, k) => ({
    ...e, x: Math.min(Math.max(at[k], xs[0]), xs[xs.length - 1]),
    text: `${Gala.clock(e.t - series.start)}   agent ${e.rank}: ${e.event}: ${e.message}`,
  }));
};

// The values of several agents as one: `values` per bin, and of what they say now (`newest`). Who
// recorded nothing in a bin, which is short, counts with what it recorded a few before.
Gala.columns = (ranks, binned, newest = []) => {
  const known = (v) => v !== null && v !== undefined, now = newest.filter(known);
  const rows = ranks.map(binned).map((row) => row.map((v, k) => v ?? row[k - 1] ?? row[k - 2] ?? row[k - 3] ?? null));
  const each = (reduce) => ({
    values: (rows[0] ?? []).map((_, k) => {
      const found = rows.map((row) => row[k]).filter(known);
      return found.length ? reduce(found) : null;
    }),
    newest: now.length ? reduce(now) : undefined,
  });
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  return {
    mean: each((values) => sum(values) / values.length),
    sum: each(sum),
    low: each((values) => Math.min(...values)),
    high: each((values) => Math.max(...values)),
  };
};
