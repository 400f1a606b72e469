// The page: its state lives in the address, its data in one Series, its views are drawn from both.
"use strict";

Gala.Page = class {
  constructor() {
    this.state = { run: "", x: "time", range: "", from: null, to: null, agents: new Set(), log: null, paused: false, compare: new Set(), kinds: null };
    this.readAddress();
    this.peers = {};
    this.now = Date.now() / 1000;
    this.events = [];
    this.eventShare = 0;
    this.distances = null;
    this.problems = [];
    this.held = []; // rows that came while the page was paused
    this.stop = () => {};
    this.runs = [];
    this.$ = (id) => document.getElementById(id);
    this.graph = new Gala.Graph(document.querySelector("#peers .body"), this);
    this.heat = new Gala.Heat(this.$("heat"), this);
    this.charts = Gala.views(this).map((spec) => new Gala.Chart(spec, this));
    const main = document.querySelector("main");
    this.charts.forEach((chart) => main.insertBefore(chart.card, chart.spec.id === "divergence" ? this.$("heat") : null));
    this.compared = new Gala.Compare(this);
    this.controls();
  }

  async begin() {
    this.runs = await Gala.source.runs();
    const names = this.runs.map((info) => info.name);
    const select = this.$("run");
    select.replaceChildren(...names.map((name) => Gala.element("option", { value: name }, name)));
    if (!names.includes(this.state.run)) this.state.run = this.newest();
    select.value = this.state.run;
    const summary = Gala.source.summary();
    if (summary) {
      this.$("summary").replaceChildren(summary.content.cloneNode(true));
      this.$("summary").hidden = false;
    }
    await this.open(this.state.run);
    this.compared.begin();
    document.body.dataset.ready = "yes";
  }

  newest() {
    return [...this.runs].sort((a, b) => (b.started ?? 0) - (a.started ?? 0))[0].name;
  }

  async open(name) {
    this.stop();
    this.state.run = name;
    this.series = new Gala.Series(this.runs.find((info) => info.name === name));
    this.charts.forEach((chart) => { chart.page = this; });
    Object.assign(this, { peers: {}, events: [], eventShare: 0, distances: null, problems: [], held: [], connected: true });
    await this.load();
    this.stop = Gala.source.follow(name, (kind, content) => this.hear(kind, content));
    this.changed();
  }

  async load() {
    const [since, until] = this.bounds();
    const name = this.state.run;
    const history = await Gala.source.history(name, { points: 600, since, until });
    if (name === this.state.run) this.series.load(history);
  }

  // Times that the server is asked for: a zoom or a range is read again, finer.
  bounds() {
    const { from, to, x, range } = this.state;
    if (from !== null && this.series.agents.size) return [this.series.timeAt(from, x), this.series.timeAt(to, x)];
    if (range) return [(this.serverNow ?? Date.now() / 1000) - Number(range), Infinity];
    return [-Infinity, Infinity];
  }

  hear(kind, content) {
    if (kind === "connection") {
      if (content && this.connected === false) this.load().then(() => this.redrawSoon()); // what was missed
      this.connected = content;
    }
    else if (kind === "peers") { this.peers = content.peers; this.serverNow = content.now; if (!this.state.paused) this.now = content.now; }
    else if (kind === "rows") {
      if (this.state.paused || this.state.from !== null) this.held.push(...content);
      else this.series.append(content);
    } else if (kind === "events") {
      this.eventShare = content.share;
      this.events = content.all ?? [...this.events, ...content.new];
      this.eventsVersion = (this.eventsVersion ?? 0) + 1;
    } else this[kind] = content;
    this.redrawSoon();
  }

  changed() {
    this.writeAddress();
    this.redrawSoon();
  }

  // At most two drawings a second, none while nobody looks, none of anything while paused.
  redrawSoon() {
    if (this.due) return;
    const wait = Math.max(0, 400 - (performance.now() - (this.drawn ?? -Infinity)));
    this.due = setTimeout(() => requestAnimationFrame(() => {
      this.due = null;
      this.drawn = performance.now();
      this.draw();
    }), wait);
  }

  draw() {
    this.header();
    this.compared.draw();
    if (this.state.paused && this.frozenView && this.frozenView === this.viewKey()) return;
    this.frozenView = this.viewKey();
    const [since, until] = this.state.from === null ? this.bounds() : [-Infinity, Infinity];
    this.grid = this.series.grid(since, until);
    this.xs = this.series.axis(this.grid.t, this.state.x);
    this.breaks = Gala.Series.breaks(this.grid.t);
    this.chips();
    this.graph.draw();
    this.heat.draw();
    for (const chart of this.charts) chart.draw();
    this.log();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
    document.body.dataset.records = String([...this.series.agents.values()].reduce((n, c) => n + c.t.length, 0));
  }

  viewKey() {
    const { run, x, range, from, to, agents } = this.state;
    const logs = this.charts.map((chart) => chart.log);
    return JSON.stringify([run, x, range, from, to, [...agents], logs, Gala.dark(), this.hidden, this.series.share]);
  }

  window() {
    return this.state.from === null ? [null, null] : [this.state.from, this.state.to];
  }

  // Ranks that are shown.
  chosen() {
    const { agents } = this.state;
    return this.series.ranks.filter((rank) => !agents.size || agents.has(rank));
  }

  marks() {
    const { agents } = this.state;
    return this.events.filter((e) => e.event in Gala.MARKS && !this.hidden.has(e.event) && (!agents.size || agents.has(e.rank)));
  }

  filter(rank) {
    const { agents } = this.state;
    if (agents.has(rank)) agents.delete(rank);
    else agents.add(rank);
    if (agents.size === this.series.ranks.length) agents.clear();
    this.changed();
  }

  async zoom(from, to) {
    if (from !== null && !(to > from)) return;
    Object.assign(this.state, { from, to });
    this.changed();
    if (Gala.source.frozen) return;
    clearTimeout(this.finer);
    const again = async () => {
      if (from === null) this.held = [];
      await this.load();
      this.changed();
    };
    if (from === null) await again();
    else if (this.series.share < 1) this.finer = setTimeout(again, 150); // there is more than is shown
  }

  pause() {
    this.state.paused = !this.state.paused;
    if (!this.state.paused && this.state.from === null) {
      this.series.append(this.held);
      this.held = [];
    }
    this.changed();
  }

  turn() {
    const kinds = ["time", "steps", "frames"];
    this.axis(kinds[(kinds.indexOf(this.state.x) + 1) % kinds.length]);
  }

  axis(kind) {
    const { from, to, x } = this.state;
    if (from !== null) { // the same moments on the other axis
      const place = (value) => this.series.axis([this.series.timeAt(value, x)], kind)[0];
      Object.assign(this.state, { from: place(from), to: place(to) });
    }
    this.state.x = kind;
    this.$("x").value = kind;
    this.changed();
  }

  logarithmic() {
    const charts = this.charts.filter((chart) => chart.spec.log !== undefined);
    const to = !charts[0].log;
    charts.forEach((chart) => { chart.log = to; });
    this.changed();
  }

  theme() {
    document.documentElement.dataset.theme = Gala.dark() ? "light" : "dark";
    this.themed = document.documentElement.dataset.theme;
    this.charts.forEach((chart) => chart.rebuild());
    this.compared.charts.forEach((chart) => chart.rebuild());
    this.changed();
  }

  controls() {
    const on = (id, kind, act) => this.$(id).addEventListener(kind, act);
    on("run", "change", (event) => {
      Object.assign(this.state, { from: null, to: null });
      this.state.agents.clear();
      this.open(event.target.value);
    });
    on("x", "change", (event) => this.axis(event.target.value));
    on("range", "change", async (event) => {
      Object.assign(this.state, { range: event.target.value, from: null, to: null });
      await this.load();
      this.changed();
    });
    on("reset", "click", () => { this.state.range = this.$("range").value = ""; this.zoom(null, null); });
    on("pause", "click", () => this.pause());
    on("dark", "click", () => this.theme());
    on("keys", "click", () => this.$("help").showModal());
    on("link", "click", async () => {
      this.writeAddress();
      try {
        await navigator.clipboard.writeText(location.href);
        this.$("link").textContent = "copied";
      } catch { // no clipboard on pages without a secure context
        this.$("link").textContent = "see address bar";
      }
      setTimeout(() => { this.$("link").textContent = "link"; }, 1500);
    });
    this.$("x").value = this.state.x;
    this.$("range").value = this.state.range;
    addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.written) location.reload(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const views = ["peers", "divergence", "heat", "return", "speed", "staleness", "eventlog", "compare"];
      const keys = { p: () => this.pause(), x: () => this.turn(), l: () => this.logarithmic(), r: () => this.$("reset").click(), d: () => this.theme(), "?": () => this.$("help").showModal(), Escape: () => { this.state.agents.clear(); this.changed(); } };
      if (views[event.key - 1]) this.$(views[event.key - 1]).scrollIntoView({ behavior: "smooth", block: "center" });
      else keys[event.key]?.();
    });
    this.hidden = new Set((this.state.kinds ?? "").split(",").filter(Boolean));
  }

  readAddress() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (asked.has(name) && Number.isFinite(Number(asked.get(name))) ? Number(asked.get(name)) : null);
    Object.assign(this.state, {
      run: asked.get("run") ?? "", x: ["time", "steps", "frames"].includes(asked.get("x")) ? asked.get("x") : "time",
      range: asked.get("range") ?? "", from: number("from"), to: number("to"), paused: asked.get("paused") === "1",
      agents: new Set((asked.get("agents") ?? "").split(",").filter(Boolean).map(Number)),
      compare: new Set((asked.get("compare") ?? "").split("|").filter(Boolean)), kinds: asked.get("hide"),
      linear: (asked.get("linear") ?? "").split(",").filter(Boolean), logs: (asked.get("log") ?? "").split(",").filter(Boolean),
    });
    if (this.state.from === null || this.state.to === null) Object.assign(this.state, { from: null, to: null });
    this.themed = asked.get("theme");
    document.documentElement.dataset.theme = this.themed ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  }

  writeAddress() {
    const { run, x, range, from, to, agents, paused, compare } = this.state, said = new URLSearchParams();
    const say = (name, value) => { if (value !== null && value !== "" && value !== undefined) said.set(name, value); };
    say("run", run);
    if (x !== "time") say("x", x);
    say("range", range);
    say("from", from === null ? null : +from.toPrecision(9));
    say("to", to === null ? null : +to.toPrecision(9));
    say("agents", [...agents].join(","));
    say("compare", [...compare].join("|"));
    say("hide", [...this.hidden].join(","));
    say("theme", this.themed);
    say("linear", this.charts.filter((c) => c.spec.log && !c.log).map((c) => c.spec.id).join(","));
    say("log", this.charts.filter((c) => !c.spec.log && c.log).map((c) => c.spec.id).join(","));
    if (paused) say("paused", "1");
    this.written = said.toString();
    history.replaceState(null, "", `#${this.written}`);
  }

  // One look: are they learning, is anybody slow, dead or drifting, is the ball intact?
  header() {
    const { info } = this.series, all = Object.values(this.peers);
    const with_ = (status) => Object.entries(this.peers).filter(([, p]) => p.status === status).map(([rank]) => rank);
    const facts = [info.env_id, info.agents ? `${info.agents} agents` : null, info.coupling === "gossip" ? info.topology : info.coupling, info.seed !== null ? `seed ${info.seed}` : null];
    this.$("facts").textContent = facts.filter(Boolean).join(" · ");
    const ended = all.length && all.every((p) => p.status === "done" || p.status === "stopped");
    const dead = with_("dead");
    const state = this.$("state");
    state.textContent = Gala.source.frozen ? "frozen" : !this.connected ? "server gone: trying again" : this.state.paused ? "paused" : !all.length ? "waiting for agents" : ended ? "ended" : dead.length === all.length && all.length ? "silent" : "live";
    state.className = !this.connected || state.textContent === "silent" ? "bad" : state.textContent === "live" ? "good" : "";
    this.$("pause").setAttribute("aria-pressed", String(this.state.paused));
    this.$("pause").textContent = this.state.paused ? "follow" : "pause";
    const values = (name) => all.map((p) => p.values?.[name]).filter((v) => v !== null && v !== undefined);
    const mean = (v) => (v.length ? v.reduce((a, b) => a + b, 0) / v.length : null);
    const steps = all.reduce((sum, p) => sum + (p.step ?? 0), 0), ratio = values("divergence/epsilon_ratio");
    const speeds = all.map((p) => p.values?.["charts/SPS"]).filter((v) => v > 0), slowest = Math.min(...speeds), middle = [...speeds].sort((a, b) => a - b)[speeds.length >> 1];
    const part = (text, kind) => Gala.element("span", kind ? { class: kind } : {}, text);
    const parts = [];
    if (info.total_steps) parts.push(part(`${Gala.number(steps, 4)} of ${Gala.number(info.total_steps, 4)} steps`));
    parts.push(part(`return ${Gala.number(mean(values("charts/episodic_return")))}`));
    if (!ended) parts.push(part(`${Gala.number(values("charts/SPS").reduce((a, b) => a + b, 0), 4)} steps/s`));
    if (ratio.length) {
      const worst = Math.max(...ratio);
      const bound = values("divergence/proven").includes(0) ? "model bound" : "bound";
      parts.push(part(worst <= 1 ? `ball intact: ${Gala.number(worst, 2)} of the ${bound}` : `outside the ball: ${Gala.number(worst, 2)} times the ${bound}`, worst <= 1 ? "good" : "bad"));
    } else if (all.length > 1) parts.push(part("no bound applies"));
    const newest = Math.max(...all.map((p) => p.t ?? 0));
    if (state.textContent === "silent") parts.push(part(`nothing heard for ${Gala.clock(this.now - newest)}`, "bad"));
    else if (dead.length) parts.push(part(`dead: ${dead.slice(0, 8).join(", ")}${dead.length > 8 ? ` and ${dead.length - 8} more` : ""}`, "bad"));
    if (!dead.length && !ended && speeds.length > 2 && slowest < middle / 2) parts.push(part(`agent ${Object.entries(this.peers).find(([, p]) => p.values?.["charts/SPS"] === slowest)?.[0]} is slow: ${Gala.number(slowest)} of ${Gala.number(middle)} steps/s`, "bad"));
    if (this.series.share < 0.999) parts.push(part(`every ${Math.max(2, Math.round(1 / this.series.share))}th record is shown: zoom to see all`));
    const dot = () => document.createTextNode(" · ");
    this.$("verdict").replaceChildren(...parts.flatMap((each, k) => (k ? [dot(), each] : [each])));
    const problems = this.$("problems");
    problems.hidden = !this.problems.length;
    problems.replaceChildren(...this.problems.map((text) => Gala.element("li", {}, text)));
    document.title = `${info.name} – gala`;
  }

  chips() {
    const ranks = this.series.ranks, { agents } = this.state;
    this.$("chips").replaceChildren(...ranks.map((rank, k) => {
      const status = this.peers[rank]?.status, loud = ["dead", "joining", "stopped"].includes(status);
      const line = Gala.svg("svg", { viewBox: "0 0 22 8" }, Gala.svg("line", { x1: 0, y1: 4, x2: 22, y2: 4, stroke: Gala.colour(k, ranks.length), "stroke-width": 3, "stroke-dasharray": Gala.dash(k, ranks.length).join(" ") }));
      return Gala.element("button", { type: "button", class: "chip", "data-rank": rank, "aria-pressed": String(!agents.size || agents.has(rank)), onclick: () => this.filter(rank) },
        line, `agent ${rank}`, ...(loud ? [Gala.element("span", { class: "status" }, status)] : []));
    }));
  }

  log() {
    const key = JSON.stringify([this.eventsVersion, [...this.state.agents], [...this.hidden], this.series.version ? this.series.start : 0]);
    if (key === this.logged) return;
    this.logged = key;
    const kinds = [...new Set(this.events.map((e) => e.event))].sort();
    this.$("kinds").replaceChildren(...kinds.map((kind) => Gala.element("button", {
      type: "button", class: "chip", "aria-pressed": String(!this.hidden.has(kind)), "data-kind": kind,
      onclick: () => { if (!this.hidden.delete(kind)) this.hidden.add(kind); this.changed(); },
    }, `${Gala.MARKS[kind]?.[0] ?? "◦"} ${kind}`)), ...(this.eventShare < 1 ? [Gala.element("span", { class: "hint" }, `looking through the files: ${Math.round(100 * this.eventShare)} %`)] : []));
    const { agents } = this.state;
    const shown = this.events.filter((e) => !this.hidden.has(e.event) && (!agents.size || agents.has(e.rank))).slice(-500).reverse();
    const rows = shown.map((e) => {
      const row = Gala.element("tr", Gala.MARKS[e.event]?.[1] === "warn" ? { class: "loud" } : {});
      const when = Gala.element("td", { title: new Date(e.t * 1000).toLocaleString() }, Gala.clock(e.t - this.series.start));
      row.append(when, Gala.element("td", {}, String(e.rank)), Gala.element("td", {}, e.event), Gala.element("td", {}, String(e.message ?? "")));
      return row;
    });
    document.querySelector("#eventlog tbody").replaceChildren(...rows);
  }
};

addEventListener("DOMContentLoaded", () => {
  const page = new Gala.Page();
  Gala.page = page;
  for (const chart of page.charts) {
    if (page.state.linear.includes(chart.spec.id)) chart.log = false;
    if (page.state.logs.includes(chart.spec.id)) chart.log = true;
  }
  page.begin().catch((error) => {
    const problems = document.getElementById("problems");
    problems.hidden = false;
    problems.replaceChildren(Gala.element("li", {}, `the page cannot be shown: ${error.message}`));
    console.error(error);
  });
});
