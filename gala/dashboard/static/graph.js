// The agents as the topology's graph: who hears whom, who is near the mean, who is silent.
"use strict";

Gala.FRESH_S = 2;   // a message so young is as good as new
Gala.SILENT_S = 15; // a heartbeat so old: the agent counts as dead
Gala.STATES = ["joining", "active", "suspect", "down", "left"];

Gala.Graph = class {
  constructor(place, page) {
    this.page = page;
    this.svg = Gala.svg("svg", { role: "group", "aria-label": "agents and who hears whom", viewBox: "0 0 400 300" });
    place.append(this.svg);
  }

  draw() {
    const { series, peers, now, state } = this.page;
    const count = Math.max(series.info.agents || 0, ...Object.keys(peers).map((r) => Number(r) + 1), 0);
    const [cx, cy] = [200, 144], far = count > 1 ? 108 : 0;
    const radius = count > 40 ? 5.5 : count > 20 ? 8 : count > 10 ? 12 : 17;
    const at = (rank) => [cx + far * 1.35 * Math.sin((2 * Math.PI * rank) / count), cy - far * Math.cos((2 * Math.PI * rank) / count)];
    this.svg.replaceChildren(this.arrowheads(radius));
    const both = new Set(series.info.edges.map(([a, b]) => `${a},${b}`));
    const many = series.info.edges.length > 200;
    const chosen = (rank) => !state.agents.size || state.agents.has(rank);
    for (const [source, target] of series.info.edges) {
      if (source === target || source >= count || target >= count) continue;
      const [age, code] = peers[target]?.hears?.[source] ?? [null, null];
      this.svg.append(this.edge(source, target, at, radius, age, Gala.STATES[code], both.has(`${target},${source}`), many, chosen(source) || chosen(target)));
    }
    for (let rank = 0; rank < count; rank++) this.svg.append(this.node(rank, at(rank), radius, peers[rank], now, chosen(rank)));
    if (!count) this.svg.append(Gala.svg("text", { x: 200, y: 150, "text-anchor": "middle", fill: Gala.ink("soft") }, "no agents yet"));
    this.legend();
  }

  arrowheads(radius) {
    const heads = ["fresh", "old", "down", "left"].map((kind) => Gala.svg("marker",
      { id: `head-${kind}`, viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: radius > 10 ? 6 : 4, markerHeight: radius > 10 ? 6 : 4, orient: "auto-start-reverse", markerUnits: "userSpaceOnUse" },
      Gala.svg("path", { d: "M0 0L8 4L0 8z", fill: this.tone(kind) })));
    return Gala.svg("defs", {}, ...heads);
  }

  tone(kind) { return Gala.ink({ fresh: "accent", old: "expected", down: "warn", left: "soft" }[kind]); }

  edge(source, target, at, radius, age, state, bent, many, chosen) {
    const [x1, y1] = at(source), [x2, y2] = at(target);
    const length = Math.hypot(x2 - x1, y2 - y1) || 1, [dx, dy] = [(x2 - x1) / length, (y2 - y1) / length];
    const bow = bent ? Math.min(14, length * 0.08) : 0, gap = radius + 5;
    const [sx, sy, tx, ty] = [x1 + dx * gap - dy * bow * 0.4, y1 + dy * gap + dx * bow * 0.4, x2 - dx * gap - dy * bow * 0.4, y2 - dy * gap + dx * bow * 0.4];
    const [mx, my] = [(sx + tx) / 2 - dy * bow, (sy + ty) / 2 + dx * bow];
    const kind = state === "down" || state === "left" ? state : age === null || age > Gala.FRESH_S ? "old" : "fresh";
    const path = Gala.svg("path", {
      d: `M${sx.toFixed(1)} ${sy.toFixed(1)}Q${mx.toFixed(1)} ${my.toFixed(1)} ${tx.toFixed(1)} ${ty.toFixed(1)}`,
      class: `edge ${chosen ? "" : "out"}`, stroke: this.tone(kind), "stroke-width": many ? 0.5 : 1.6, "data-edge": `${source}-${target}`, "data-kind": kind,
      "stroke-dasharray": kind === "fresh" ? "none" : kind === "old" ? "5 3" : "1.5 3",
    });
    if (!many) path.setAttribute("marker-end", `url(#head-${kind})`);
    const text = `${target} hears ${source}\n${state ?? "state unknown"}\nnewest message ${age === null ? "none" : `${Gala.number(age)} s old`}`;
    path.addEventListener("pointermove", (event) => Gala.tip(text, event));
    path.addEventListener("pointerleave", () => Gala.tip(null));
    return path;
  }

  node(rank, [x, y], radius, peer, now, chosen) {
    const values = peer?.values || {}, status = peer?.status ?? "absent";
    const epsilon = values["divergence/epsilon"], distance = values["divergence/to_mean"];
    const ratio = epsilon && distance !== null && distance !== undefined ? distance / epsilon : null;
    const gone = status === "dead" || status === "absent";
    const ended = status === "done" || status === "stopped";
    const age = peer?.t ? Math.max(now - peer.t, 0) : Infinity;
    const share = ratio === null ? null : (Math.log10(Math.max(ratio, 1e-3)) + 3) / 3;
    const fill = gone ? "none" : ratio === null ? Gala.ink("rule") : ratio > 1 ? "#d55e00" : Gala.ramp(share);
    const group = Gala.svg("g", {
      class: `node ${status} ${chosen ? "" : "out"}`, tabindex: 0, role: "button", "data-rank": rank, "data-status": status,
      "aria-label": `agent ${rank}: ${status}`, "aria-pressed": String(this.page.state.agents.has(rank)),
    });
    const ring = radius + 4, round = 2 * Math.PI * ring, left = gone ? 0 : ended ? 1 : Math.max(0, 1 - age / Gala.SILENT_S);
    group.append(
      Gala.svg("circle", { class: "halo", cx: x, cy: y, r: ring, fill: "none", stroke: Gala.ink("rule"), "stroke-width": 2.5, ...(gone ? { "stroke-dasharray": "3 3", stroke: Gala.ink("warn") } : {}) }),
      Gala.svg("circle", { cx: x, cy: y, r: ring, fill: "none", stroke: ended ? Gala.ink("soft") : left > 0.6 ? Gala.ink("good") : Gala.ink("warn"), "stroke-width": 2.5, "stroke-dasharray": `${(left * round).toFixed(1)} ${round.toFixed(1)}`, transform: `rotate(-90 ${x} ${y})` }),
      Gala.svg("circle", { class: "fill", cx: x, cy: y, r: radius, fill, stroke: gone ? Gala.ink("warn") : "none" }),
    );
    const ink = gone || ratio === null ? Gala.ink("ink") : ratio > 1 ? "#fff" : Gala.inkOn(share);
    if (radius > 7) group.append(Gala.svg("text", { x, y, fill: ink }, String(rank)));
    const badge = { dead: "† dead", absent: "absent", joining: "+ joining", stopped: "stopped" }[status] ?? (ratio !== null && ratio > 1 ? "! left the ball" : null);
    if (badge) group.append(Gala.svg("text", { x, y: y + radius + 13, fill: Gala.ink(status === "joining" || status === "stopped" ? "soft" : "warn"), "font-weight": 600 }, radius > 10 ? badge : badge[0]));
    const text = this.text(rank, peer, status, age, ratio);
    group.addEventListener("pointermove", (event) => Gala.tip(text, event));
    group.addEventListener("pointerleave", () => Gala.tip(null));
    group.addEventListener("focus", (event) => Gala.tip(text, event));
    group.addEventListener("blur", () => Gala.tip(null));
    group.addEventListener("click", () => this.page.filter(rank));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.page.filter(rank); }
    });
    return group;
  }

  text(rank, peer, status, age, ratio) {
    if (!peer) return `agent ${rank}: nothing on file`;
    const v = peer.values || {}, n = Gala.number;
    const hears = Object.entries(peer.hears || {}).map(([j, [s, code]]) => `  ${j}: ${Gala.STATES[code] ?? "?"}, ${s === null ? "nothing yet" : `${n(s)} s old`}`);
    return [
      `agent ${rank}: ${status}${peer.incarnation ? `, life ${peer.incarnation + 1}` : ""}`,
      `newest record ${Number.isFinite(age) ? `${Gala.clock(age)} ago` : "none"}`,
      `update ${n(peer.update, 5)}, step ${n(peer.step, 5)}, ${n(v["charts/SPS"])} steps/s`,
      `return ${n(v["charts/episodic_return"])}`,
      `distance to the mean ${n(v["divergence/to_mean"])}${ratio === null ? " (no bound applies)" : ` = ${n(ratio, 2)} of the bound`}`,
      `staleness ${n(v["gossip/staleness_max"])} updates, ${n(v["gossip/messages_refused"])} refused`,
      ...(hears.length ? [`hears`, ...hears.slice(0, 12), ...(hears.length > 12 ? [`  and ${hears.length - 12} more`] : [])] : []),
    ].join("\n");
  }

  legend() {
    const y = 289, swatches = [];
    for (let k = 0; k < 30; k++) swatches.push(Gala.svg("rect", { x: 130 + k * 4, y: y - 7, width: 4.3, height: 8, fill: Gala.ramp(k / 29) }));
    const label = (x, text, anchor = "middle") => Gala.svg("text", { x, y, fill: Gala.ink("soft"), "font-size": 10, "text-anchor": anchor }, text);
    this.svg.append(...swatches, label(126, "of the bound: 0.001", "end"), label(254, "1", "start"),
      Gala.svg("rect", { x: 276, y: y - 7, width: 8, height: 8, fill: "#d55e00" }), label(288, "outside", "start"),
      Gala.svg("rect", { x: 332, y: y - 7, width: 8, height: 8, fill: Gala.ink("rule") }), label(344, "no bound", "start"));
  }
};
