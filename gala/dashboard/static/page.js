// The page: its state lives in the address, its data in one Reading, its views are drawn from both.
"use strict";

Gala.RUNS_S = 10; // between two questions which runs there are

Gala.Page = class {
  constructor() {
    this.group = "gala"; // charts that move as one
    this.state = {};
    this.peers = {};
    this.now = Date.now() / 1000;
    this.stop = () => {};
    this.runs = [];
    this.$ = (id) => document.getElementById(id);
    this.graph = new Gala.Graph(document.querySelector("#peers .body"), this);
    this.maps = Gala.MAPS.map((spec) => new Gala.Heat(this.$(spec.id), this, spec));
    this.main = document.querySelector("main");
    this.plan = Gala.views(this);
    this.charts = [];
    for (const spec of this.plan.views) this.add(spec);
    this.compared = new Gala.Compare(this);
    this.table = new Gala.Table(this);
    this.alerts = new Gala.Alerts(this);
    this.control = new Gala.Control(this);
    this.textlog = new Gala.TextLog(this);
    this.videos = new Gala.Videos(this);
    this.verdict = new Gala.Verdict(this);
    Gala.Address.read(this);
    this.controls();
  }

  // The records of the run that is shown, all of them.
  get series() { return this.reading?.whole; }

  // Whether the agents are runs of their own, of which there is no mean.
  get independent() { return this.series?.info.coupling === "none"; }

  everyChart() { return [...this.charts, ...this.compared.charts, this.compared.seeds]; }

  // The learner's question comes first, then those of the ball and of agreement, beside their maps.
  add(spec) {
    const chart = new Gala.Chart(spec, this);
    this.charts.push(chart);
    this.main.insertBefore(chart.card, { 1: this.$("peers"), 2: this.$("heat"), 3: this.$("heat") }[spec.title[0]] ?? null);
    return chart;
  }

  // A card for each loss and task, once there is one; none for what nobody recorded.
  shape() {
    const { known } = this.series, drawn = new Set(this.charts.flatMap((chart) => chart.spec.needs));
    for (const name of [...known].filter((each) => Gala.OF_A_RUN.test(each) && !drawn.has(each)).sort((a, b) => a.localeCompare(b, "en", { numeric: true })))
      Gala.Address.axis(this.add(this.plan.ofARun(name)));
    for (const chart of this.charts) chart.card.hidden = !chart.spec.needs.some((name) => known.has(name));
    const nothing = !known.size;
    this.$("blank").hidden = !nothing;
    if (nothing) Gala.say(this.$("blank"), Gala.source.frozen ? "nothing was recorded" : "No agent has recorded anything yet. Charts come with the first records.");
  }

  async begin() {
    await this.renew();
    while (!this.runs.length) { // deleted since the server began: there may be others
      Gala.say(this.$("blank"), "there is no run here; it is looked for again and again");
      await new Promise((done) => { setTimeout(done, 1000 * Gala.RUNS_S); });
      await this.renew();
    }
    if (!this.runs.some((run) => run.name === this.state.run)) this.state.run = [...this.runs].sort((a, b) => (b.started ?? 0) - (a.started ?? 0))[0].name;
    const summary = Gala.source.summary();
    if (summary) {
      this.$("summary").replaceChildren(summary.content.cloneNode(true));
      this.$("summary").hidden = false;
    }
    await this.open(this.state.run);
    this.compared.renew();
    document.body.dataset.ready = "yes";
    if (Gala.source.frozen) return;
    setInterval(async () => {
      if (document.hidden || this.state.paused) return;
      try {
        await this.renew();
        await this.compared.renew();
      } catch { return; } // the server is gone, which the stream tells of
      this.redrawSoon();
    }, 1000 * Gala.RUNS_S);
  }

  // Which runs there are, and what is known of them by now.
  async renew() {
    this.runs = await Gala.source.runs();
    const shown = this.runs.find((run) => run.name === this.state.run);
    if (shown && this.series) Object.assign(this.series.info, shown);
    Gala.keyed(this.$("run"), this.runs.map((run) => run.name), (name) => Gala.element("option", { value: name }, name));
  }

  async open(name) {
    this.stop();
    this.state.run = this.$("run").value = name;
    const reading = new Gala.Reading(this.runs.find((run) => run.name === name), 600);
    await reading.load();
    if (name !== this.state.run) return; // another was chosen meanwhile
    this.reading = reading;
    Object.assign(this, { peers: {}, events: [], eventShare: 0, distances: null, agreement: null, problems: [], held: null, heard: new Set(), connected: true });
    await this.detail();
    this.stop = Gala.source.follow(name, (kind, content) => this.listen(kind, content));
    this.changed();
  }

  // What a zoom or a range shows is read again, finer.
  async detail() {
    await this.reading.detail(...this.bounds());
    this.redrawSoon();
  }

  // Times that are shown. A range ends with the newest record: a run that has ended is over.
  bounds() {
    const { from, to, x, range } = this.state;
    if (from !== null) return [this.series.timeAt(from, x), this.series.timeAt(to, x)];
    return range ? [this.series.end - Number(range), Infinity] : [-Infinity, Infinity];
  }

  // News wait while the page is paused, but for what it could not be drawn without.
  listen(kind, content) {
    const first = !this.heard.has(kind) || (kind === "events" && this.eventShare < 1);
    this.heard.add(kind);
    if (!this.state.paused || kind === "connection" || (first && kind !== "rows")) { this.hear(kind, content); return; }
    this.held ??= {};
    this.held[kind] = ["rows", "events"].includes(kind) ? [...(this.held[kind] ?? []), content] : [content];
  }

  hear(kind, content) {
    if (kind === "connection") {
      if (content && this.connected === false) this.reading.load().then(() => this.detail()); // what was missed
      this.connected = content;
    }
    else if (kind === "peers") Object.assign(this, { peers: content.peers, now: content.now });
    else if (kind === "rows") this.reading.append(content);
    else if (kind === "events") {
      this.eventShare = content.share;
      this.events = content.all ?? [...this.events, ...content.new];
      this.eventsVersion = (this.eventsVersion ?? 0) + 1;
    } else this[kind] = content;
    this.redrawSoon();
  }

  // Another run, all of it.
  show(name) {
    Object.assign(this.state, { from: null, to: null });
    this.state.agents.clear();
    this.open(name).then(() => this.compared.renew(), (error) => this.complain(error.message));
  }

  changed() {
    Gala.Address.write(this);
    this.redrawSoon();
  }

  // At most two drawings a second, and none while nobody looks.
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
    if (!this.reading) return; // nothing was answered yet
    const { shown } = this.reading, { x } = this.state, [since, until] = this.bounds();
    this.grid = shown.grid(since, until);
    this.xs = this.series.axis(this.grid.t, x);
    this.breaks = x === "time" ? Gala.Series.breaks(this.grid.t) : [];
    this.placed = Gala.marks(this.marks().filter((e) => e.t >= since && e.t <= until), this.series, this.xs, x);
    const starts = this.events.filter((e) => e.event === "start");
    this.absences = new Map(this.chosen().map((rank) => [rank, shown.absences(this.grid, rank, starts.filter((e) => e.rank === rank).map((e) => e.t))]));
    this.present = new Set(this.standing().map(([rank]) => rank));
    this.counted = new Set(Object.entries(this.peers).filter(([, peer]) => !peer.left_out).map(([rank]) => Number(rank)));
    this.shape();
    this.verdict.draw();
    this.alerts.draw();
    this.chips();
    this.graph.draw();
    for (const map of this.maps) map.draw();
    for (const chart of this.charts) if (!chart.card.hidden) chart.draw();
    this.log();
    this.textlog.draw();
    this.videos.draw();
    this.compared.draw();
    this.table.draw();
    Gala.retell();
    document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
    document.body.dataset.records = String([...this.series.agents.values()].reduce((n, c) => n + c.t.length, 0));
  }

  window() {
    return this.state.from === null ? [null, null] : [this.state.from, this.state.to];
  }

  // Ranks that are shown.
  chosen() {
    const { agents } = this.state;
    return this.series.ranks.filter((rank) => !agents.size || agents.has(rank));
  }

  // Agents that take part, [rank, peer]; all of them where none does any more.
  standing() {
    const all = Object.entries(this.peers).map(([rank, peer]) => [Number(rank), peer]);
    const found = all.filter(([, peer]) => peer.status !== "dead" && peer.status !== "absent");
    return found.length ? found : all;
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

  zoom(from, to) {
    if (from !== null && !(to > from)) return;
    Object.assign(this.state, { from, to });
    this.changed();
    clearTimeout(this.finer);
    this.finer = setTimeout(() => this.detail(), 150);
  }

  pause() {
    this.state.paused = !this.state.paused;
    if (!this.state.paused) {
      for (const [kind, contents] of Object.entries(this.held ?? {})) for (const content of contents) this.hear(kind, content);
      this.held = null;
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
      const [begin, end] = this.bounds();
      const place = (time) => (kind === x ? null : this.series.axis([time], kind)[0]);
      if (kind !== x) Object.assign(this.state, { from: place(begin), to: place(end) });
    }
    if (kind !== x) this.state.runsWindow = null; // runs share no moments
    this.state.x = kind;
    this.$("x").value = kind;
    this.changed();
    this.compared.renew();
  }

  logarithmic() {
    const charts = this.charts.filter((chart) => chart.spec.log);
    const to = !charts[0].log;
    charts.forEach((chart) => { chart.log = to; });
    this.changed();
  }

  theme() {
    document.documentElement.dataset.theme = Gala.dark() ? "light" : "dark";
    this.themed = document.documentElement.dataset.theme;
    this.everyChart().forEach((chart) => chart.rebuild());
    this.changed();
  }

  controls() {
    const on = (id, kind, act) => this.$(id).addEventListener(kind, act);
    on("run", "change", (event) => this.show(event.target.value));
    on("x", "change", (event) => this.axis(event.target.value));
    on("range", "change", (event) => {
      this.state.range = event.target.value;
      this.zoom(null, null);
    });
    on("reset", "click", () => {
      this.state.range = this.$("range").value = "";
      this.zoom(null, null);
      if (this.state.runsWindow) this.compared.zoom(null, null);
    });
    on("pause", "click", () => this.pause());
    on("dark", "click", () => this.theme());
    on("keys", "click", () => this.$("help").showModal());
    on("link", "click", async () => {
      this.state.compare = this.compared.chosen; // these, whatever begins later
      Gala.Address.write(this);
      try {
        await navigator.clipboard.writeText(location.href);
        this.$("link").textContent = "copied";
      } catch { // no clipboard on pages without a secure context
        this.$("link").textContent = "see address bar";
      }
      setTimeout(() => { this.$("link").textContent = "link"; }, 1500);
    });
    on("smooth", "input", (event) => {
      this.state.smooth = Number(event.target.value);
      this.changed();
    });
    this.$("smooth").value = this.state.smooth;
    this.$("x").value = this.state.x;
    this.$("range").value = this.state.range;
    addEventListener("hashchange", () => { if (location.hash.slice(1) !== this.written) location.reload(); });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
      const keys = { p: () => this.pause(), x: () => this.turn(), l: () => this.logarithmic(), r: () => this.$("reset").click(), d: () => this.theme(), "?": () => this.$("help").showModal(), Escape: () => { this.state.agents.clear(); this.changed(); } };
      const card = /^[1-8]$/.test(event.key) && [...document.querySelectorAll(".card")].find((each) => !each.hidden && each.textContent.startsWith(event.key));
      if (card) this.goto(card);
      else keys[event.key]?.();
    });
  }

  // Scroll to a view, and let the keys go on from there.
  goto(card) {
    card.scrollIntoView({ behavior: "smooth", block: "center" });
    card.querySelector("[tabindex]")?.focus({ preventScroll: true });
  }

  complain(text) {
    this.$("problems").hidden = false;
    Gala.keyed(this.$("problems"), [text], (each) => Gala.element("li", {}, each));
  }

  chips() {
    const ranks = this.series.ranks, { agents } = this.state, many = ranks.length > Gala.MANY;
    this.$("chips").classList.toggle("many", many);
    Gala.keyed(this.$("chips"), ranks, (rank) => Gala.element("button", { type: "button", class: "chip", "data-rank": rank, title: `agent ${rank}`, onclick: () => this.filter(rank) },
      Gala.swatch(), Gala.element("span", { class: "name" }), Gala.element("span", { class: "status" })), (chip, rank, k) => {
      const [line, name, word] = chip.children, status = this.peers[rank]?.status;
      Gala.set(chip, { "aria-pressed": !agents.size || agents.has(rank), "aria-label": `agent ${rank}` });
      Gala.paint(line, Gala.colour(k, ranks.length), Gala.dash(k, ranks.length));
      Gala.say(name, many ? String(rank) : `agent ${rank}`);
      Gala.say(word, !["dead", "joining", "stopped"].includes(status) ? "" : many ? { dead: "†", joining: "+", stopped: "■" }[status] : status);
    });
  }

  log() {
    const key = JSON.stringify([this.eventsVersion, [...this.state.agents], [...this.hidden], this.series.start]);
    if (key === this.logged) return;
    this.logged = key;
    const kinds = [...new Set(this.events.map((e) => e.event))].sort();
    Gala.keyed(this.$("kinds"), kinds, (kind) => Gala.element("button", {
      type: "button", class: "chip", "data-kind": kind,
      onclick: () => { if (!this.hidden.delete(kind)) this.hidden.add(kind); this.changed(); },
    }, `${Gala.MARKS[kind]?.[0] ?? "◦"} ${kind}`), (chip, kind) => Gala.set(chip, { "aria-pressed": !this.hidden.has(kind) }));
    this.$("looking").hidden = this.eventShare >= 1;
    Gala.say(this.$("looking"), `looking through the files: ${Math.round(100 * this.eventShare)} %`);
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
  page.begin().catch((error) => {
    page.complain(`the page cannot be shown: ${error.message}`);
    console.error(error);
  });
});
