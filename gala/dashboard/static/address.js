// The view as the address of the page: what a link restores.
"use strict";

Gala.Address = {
  read(page) {
    const asked = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (asked.has(name) && Number.isFinite(Number(asked.get(name))) ? Number(asked.get(name)) : null);
    const list = (name, separator) => (asked.get(name) ?? "").split(separator).filter(Boolean);
    const window = (from, to) => (number(from) === null || number(to) === null ? null : [number(from), number(to)]);
    const [from, to] = window("from", "to") ?? [null, null];
    Object.assign(page.state, {
      from, to, run: asked.get("run") ?? "", x: ["time", "steps", "frames"].includes(asked.get("x")) ? asked.get("x") : "time",
      range: Number(asked.get("range")) > 0 ? asked.get("range") : "", smooth: Math.min(Math.max(number("smooth") ?? 0, 0), 0.99), paused: asked.get("paused") === "1", agents: new Set(list("agents", ",").map(Number)),
      compare: asked.has("compare") ? new Set(list("compare", "|")) : null, runsWindow: window("runs-from", "runs-to"),
      grouped: asked.get("groups") === "1", sort: asked.get("sort") ?? "", filter: asked.get("filter") ?? "",
    });
    page.hidden = new Set(list("hide", ","));
    this.logs = new Map([...list("linear", ",").map((id) => [id, false]), ...list("log", ",").map((id) => [id, true])]);
    page.everyChart().forEach((chart) => this.axis(chart));
    page.themed = asked.get("theme");
    document.documentElement.dataset.theme = page.themed ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  },

  // The axis that a link wants of a chart, which may come later than the link is read.
  axis(chart) { chart.log = this.logs.get(chart.spec.id) ?? chart.log; },

  write(page) {
    const { run, x, range, smooth, from, to, agents, paused, compare, runsWindow } = page.state, said = new URLSearchParams();
    const say = (name, value) => { if (value !== null && value !== "" && value !== undefined) said.set(name, value); };
    const digits = (value) => (value === null || value === undefined ? null : +value.toPrecision(9));
    say("run", run);
    if (x !== "time") say("x", x);
    say("range", range);
    if (smooth) say("smooth", smooth);
    say("from", digits(from));
    say("to", digits(to));
    say("agents", [...agents].join(","));
    if (compare) said.set("compare", [...compare].join("|"));
    say("runs-from", digits(runsWindow?.[0]));
    say("runs-to", digits(runsWindow?.[1]));
    if (page.state.grouped) say("groups", "1");
    say("sort", page.state.sort);
    say("filter", page.state.filter);
    say("hide", [...page.hidden].join(","));
    say("theme", page.themed);
    const other = (log) => page.everyChart().filter((chart) => Boolean(chart.spec.log) === log && chart.log !== log).map((chart) => chart.spec.id).join(",");
    say("linear", other(true));
    say("log", other(false));
    if (paused) say("paused", "1");
    page.written = said.toString();
    history.replaceState(null, "", `#${page.written}`);
  },
};
