// The agents as the topology's graph: who receives from whom, who is near the mean, who is silent.
"use strict";

Gala.FRESH_S = 5;   // a message so young is as good as new: agents tell of it once a second
Gala.SILENT_S = 15; // a heartbeat so old: the agent counts as dead
Gala.MANY = 20;    // so many agents want a larger drawing
Gala.COUPLED = { // without a topology
  none: "no arrows: the agents are independent, each learns alone", allreduce: "no arrows: all average their gradients at each update",
  shared: "no arrows: all share one set of parameters",
};
Gala.STATES = ["joining", "active", "suspect", "down", "left"];

Gala.Graph = class {
  constructor(place, page) {
    this.page = page;
    this.card = place.parentElement;
    this.edges = Gala.svg("g");
    this.nodes = Gala.svg("g");
    this.none = Gala.svg("text", { class: "none", "text-anchor": "middle" }, "no agents yet");
    this.heads = ["fresh", "old", "down", "left"].map((kind) => Gala.svg("marker",
      { id: `head-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" },
      Gala.svg("path", { d: "M0 0L8 4L0 8z", class: "head", "data-kind": kind })));
    this.hint = this.card.querySelector(".hint");
    this.svg = Gala.svg("svg", { role: "group", "aria-label": "agents and the edges of the topology" }, Gala.svg("defs", {}, ...this.heads), this.edges, this.nodes, this.none);
    place.append(this.svg);
    this.legend = this.key();
    place.after(this.legend);
    this.listen();
    new ResizeObserver(() => { if (page.series) this.draw(); }).observe(this.svg);
  }

  // Of the whole drawing, as nodes and edges come and go.
  listen() {
    const of = (event) => event.target.closest("[data-rank], [data-edge]");
    const show = (event) => { const node = of(event); Gala.tip(node ? () => this.tell(node.dataset) : null, event); };
    const filter = (event) => { const rank = of(event)?.dataset.rank; if (rank !== undefined) this.page.filter(Number(rank)); };
    for (const kind of ["pointermove", "focusin"]) this.svg.addEventListener(kind, show);
    for (const kind of ["pointerleave", "focusout"]) this.svg.addEventListener(kind, () => Gala.tip(null));
    this.svg.addEventListener("click", filter);
    this.svg.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); filter(event); } });
  }

  draw() {
    const { series, peers } = this.page;
    const count = Math.max(series.info.agents || 0, ...Object.keys(peers).map((r) => Number(r) + 1), 0);
    this.card.classList.toggle("many", count > Gala.MANY);
    const [width, height] = [this.svg.clientWidth || 400, this.svg.clientHeight || 300];
    Gala.set(this.svg, { viewBox: `0 0 ${width} ${height}` });
    this.layout = Gala.Graph.layout(count, width, height);
    for (const head of this.heads) Gala.set(head, { markerWidth: this.layout.outer > 13 ? 6 : 4, markerHeight: this.layout.outer > 13 ? 6 : 4 });
    this.judge();
    const { coupling } = series.info;
    this.legend.hidden = !this.bounded;
    Gala.say(this.hint, [
      this.bounded ? "fill: distance to the mean over the agent's share of the bound, ε/√n; " : "", "ring: age of the newest record; ",
      Gala.COUPLED[coupling] ?? "arrow: from an in-neighbour, and how old its newest message is", ". Click an agent to see it alone."].join(""));
    const edges = new Set(series.info.edges.filter(([a, b]) => a !== b && a < count && b < count).map(([a, b]) => `${a}-${b}`));
    this.width = edges.size > 200 ? 0.7 : 1.6;
    Gala.keyed(this.edges, [...edges], (key) => Gala.svg("path", { "data-edge": key }),
      (path, key) => this.edge(path, ...key.split("-").map(Number), edges));
    Gala.keyed(this.nodes, Array.from({ length: count }, (_, rank) => rank), (rank) => this.make(rank), (group, rank) => this.node(group, rank));
    Gala.set(this.none, { x: width / 2, y: height / 2, display: count ? "none" : null });
  }

  // Evenly around an ellipse, and so small that neighbours leave room for the arrows between them.
  static layout(count, width, height) {
    if (count < 2) return { places: [[width / 2, height / 2]], outer: 22 };
    let outer = 22, places = [];
    for (let round = 0; round < 3; round++) {
      const room = outer + 16, b = height / 2 - room, a = Math.min(width / 2 - room, count > Gala.MANY ? Infinity : 1.4 * b);
      const fine = Array.from({ length: 1441 }, (_, k) => [width / 2 + a * Math.sin((Math.PI * k) / 720), height / 2 - b * Math.cos((Math.PI * k) / 720)]);
      const along = [0];
      for (let k = 1; k < fine.length; k++) along.push(along[k - 1] + Math.hypot(fine[k][0] - fine[k - 1][0], fine[k][1] - fine[k - 1][1]));
      let at = 0;
      places = Array.from({ length: count }, (_, rank) => {
        while (along[at] < (rank * along[1440]) / count) at++;
        return fine[at];
      });
      const apart = Math.min(...places.map(([x, y], k) => Math.hypot(x - places[(k + 1) % count][0], y - places[(k + 1) % count][1])));
      outer = Math.min(22, 0.34 * apart);
      this.apart = apart;
    }
    return { places, outer, apart: this.apart };
  }

  // The bound is on all agents together, ‖X − X̄‖ ≤ ε, and each has a share of it, ε/√n. Whether
  // the ball was left all agents decide; whose doing it is, those beyond their share.
  judge() {
    const standing = this.page.standing(), known = (v) => v !== null && v !== undefined;
    const far = standing.filter(([, p]) => known(p.values?.["divergence/to_mean"]));
    const ratio = Math.max(0, ...standing.map(([, p]) => p.values?.["divergence/epsilon_ratio"] ?? 0));
    this.left = ratio > 1;
    this.bounded = standing.some(([, p]) => p.values?.["divergence/epsilon"]);
    this.among = Math.max(1, far.length);
    this.farthest = far.reduce((best, [rank, p]) => (best === null || p.values["divergence/to_mean"] > best[1] ? [rank, p.values["divergence/to_mean"]] : best), null)?.[0];
  }

  // Of an agent's share of the bound; null where no bound applies.
  share(values) {
    const epsilon = values?.["divergence/epsilon"], distance = values?.["divergence/to_mean"];
    return epsilon && distance !== null && distance !== undefined ? (distance * Math.sqrt(this.among)) / epsilon : null;
  }

  chosen(rank) {
    const { agents } = this.page.state;
    return !agents.size || agents.has(rank);
  }

  // How old the newest message of `source` at `target` is, and what is known of it there.
  message(source, target) {
    const { peers, now } = this.page, peer = peers[target];
    const [told, code] = peer?.hears?.[source] ?? [null, null];
    const since = ["done", "stopped"].includes(peer?.status) ? 0 : Math.max(0, now - (peer?.t || now));
    return [told === null ? null : told + since, Gala.STATES[code]];
  }

  edge(path, source, target, edges) {
    const { places, outer } = this.layout, [age, state] = this.message(source, target);
    const [[x1, y1], [x2, y2]] = [places[source], places[target]];
    const length = Math.hypot(x2 - x1, y2 - y1) || 1, [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
    const bow = edges.has(`${target}-${source}`) ? Math.min(14, Math.max(4, length * 0.08)) : 0, gap = outer + 1;
    const [sx, sy, tx, ty] = [x1 + dx * gap - dy * bow * 0.4, y1 + dy * gap + dx * bow * 0.4, x2 - dx * gap - dy * bow * 0.4, y2 - dy * gap + dx * bow * 0.4];
    const [mx, my] = [(sx + tx) / 2 - dy * bow, (sy + ty) / 2 + dx * bow];
    const kind = state === "down" || state === "left" ? state : age === null || age > Gala.FRESH_S ? "old" : "fresh";
    Gala.set(path, {
      d: `M${sx.toFixed(1)} ${sy.toFixed(1)}Q${mx.toFixed(1)} ${my.toFixed(1)} ${tx.toFixed(1)} ${ty.toFixed(1)}`,
      class: this.chosen(source) || this.chosen(target) ? "edge" : "edge out", "data-kind": kind, "stroke-width": this.width,
      "marker-end": edges.size > 1000 ? null : `url(#head-${kind})`,
    });
  }

  make(rank) {
    return Gala.svg("g", { tabindex: 0, role: "button", "data-rank": rank },
      Gala.svg("circle", { class: "halo" }), Gala.svg("circle", { class: "ring" }), Gala.svg("circle", { class: "fill" }),
      Gala.svg("text", { class: "rank" }, String(rank)), Gala.svg("text", { class: "badge" }));
  }

  node(group, rank) {
    const { peers, state } = this.page, peer = peers[rank], status = peer?.status ?? "absent";
    const { places, outer, apart } = this.layout, [x, y] = places[rank], [cx, cy] = [this.svg.clientWidth / 2, this.svg.clientHeight / 2];
    const gone = status === "dead" || status === "absent", ended = status === "done" || status === "stopped";
    const ratio = this.share(peer?.values), share = ratio === null ? null : Math.min(1, (Math.log10(Math.max(ratio, 1e-3)) + 3) / 3);
    const out = !gone && this.left && ratio !== null && (ratio > 1 || rank === this.farthest);
    Gala.set(group, {
      class: `node ${status}${this.chosen(rank) ? "" : " out"}`, "data-status": status, "data-outside": out ? "yes" : null,
      "aria-label": `agent ${rank}: ${status}`, "aria-pressed": state.agents.has(rank),
    });
    const [halo, ring, fill, name, badge] = group.children, radius = 0.93 * outer, round = 2 * Math.PI * radius;
    const left = gone ? 0 : ended ? 1 : Math.max(0, 1 - this.age(peer) / Gala.SILENT_S), thick = 0.115 * outer;
    Gala.set(halo, { cx: x, cy: y, r: radius, "stroke-width": thick });
    Gala.set(ring, { cx: x, cy: y, r: radius, "stroke-width": thick, "data-age": ended ? "ended" : left > 0.6 ? "young" : "old", "stroke-dasharray": `${(left * round).toFixed(1)} ${round.toFixed(1)}`, transform: `rotate(-90 ${x} ${y})` });
    Gala.set(fill, { cx: x, cy: y, r: 0.77 * outer, fill: gone ? "none" : ratio === null ? Gala.ink("rule") : out ? Gala.OUTSIDE : Gala.ramp(share) });
    // small discs have their number, and their badge, on the outer side
    const within = outer >= 9, length = Math.hypot(x - cx, y - cy) || 1, beside = (by) => [x + ((x - cx) / length) * (outer + by), y + ((y - cy) / length) * (outer + by)];
    const every = Math.ceil(24 / (apart ?? 24)), [nx, ny] = within ? [x, y] : beside(8);
    const text = { dead: "† dead", absent: "absent", joining: "+ joining", stopped: "stopped" }[status] ?? (out ? "! left the ball" : "");
    const far = outer > 13, [bx, by] = far ? [x, y + outer + 9] : beside(within ? 7 : -2 * outer - 7);
    Gala.set(name, { x: nx, y: ny, fill: !within || gone || ratio === null ? Gala.ink("ink") : out ? "#111" : Gala.inkOn(share), "font-size": within ? Math.min(11, outer) : 9, display: within || rank % every === 0 ? null : "none" });
    Gala.set(badge, { x: bx, y: by, class: `badge ${status === "joining" || status === "stopped" ? "soft" : "warn"}` });
    Gala.say(badge, far ? text : text[0] ?? "");
  }

  age(peer) { return peer?.t ? Math.max(this.page.now - peer.t, 0) : Infinity; }

  // All that is known of an agent or an edge, as of now.
  tell({ rank, edge }) {
    if (rank !== undefined) return this.text(Number(rank));
    const [source, target] = edge.split("-").map(Number), [age, state] = this.message(source, target);
    return `${source} -> ${target}\n${state ?? "state unknown"}\nnewest message ${age === null ? "none" : `${Gala.number(age)} s old`}`;
  }

  text(rank) {
    const peer = this.page.peers[rank];
    if (!peer) return `agent ${rank}: nothing on file`;
    const v = peer.values || {}, n = Gala.number, age = this.age(peer), ratio = this.share(v);
    const hears = Object.entries(peer.hears || {}).map(([j, [s, code]]) => `  ${j}: ${Gala.STATES[code] ?? "?"}, ${s === null ? "nothing yet" : `${n(s)} s old`}`);
    return [
      `agent ${rank}: ${peer.status}${peer.incarnation ? `, incarnation ${peer.incarnation}` : ""}`,
      `newest record ${Number.isFinite(age) ? `${Gala.clock(age)} ago` : "none"}`,
      `update ${n(peer.update, 5)}, step ${n(peer.step, 5)}, ${n(v["charts/SPS"])} steps/s`,
      `return ${n(v["charts/episodic_return"])}`,
      `distance to the mean ${n(v["divergence/to_mean"])}${ratio === null ? " (no bound applies)" : ` = ${n(ratio, 2)} of its share of the bound`}`,
      `staleness ${n(v["gossip/staleness_max"])} updates, ${n(v["gossip/messages_refused"])} refused`,
      ...(hears.length ? [`in-neighbours`, ...hears.slice(0, 12), ...(hears.length > 12 ? [`  and ${hears.length - 12} more`] : [])] : []),
    ].join("\n");
  }

  key() {
    const ramp = Gala.element("span", { class: "ramp" }), steps = Array.from({ length: 10 }, (_, k) => Gala.ramp(k / 9));
    ramp.style.background = `linear-gradient(to right, ${steps.join(",")})`;
    const box = (colour) => { const made = Gala.element("span", { class: "box" }); made.style.background = colour; return made; };
    const entry = (...parts) => Gala.element("span", {}, ...parts);
    return Gala.element("p", { class: "legend hint" }, entry("of its share of the bound: 0.001 ", ramp, " 1"), entry(box(Gala.OUTSIDE), " left the ball"), entry(box("var(--rule)"), " no bound"));
  }
};
