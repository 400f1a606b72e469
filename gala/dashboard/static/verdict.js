// One look: are they learning, is anybody slow, dead or drifting, is the ball intact?
"use strict";

Gala.Verdict = class {
  constructor(page) {
    this.page = page;
    this.$ = (id) => document.getElementById(id);
  }

  draw() {
    const { page } = this, { info } = page.series, state = this.state();
    const facts = [info.env_id, info.agents ? `${info.agents} agents` : null, info.coupling === "gossip" ? info.topology : ["distil", "repel"].includes(info.coupling) ? `${info.coupling} over ${info.topology}` : info.coupling, info.seed !== null ? `seed ${info.seed}` : null];
    Gala.say(this.$("facts"), facts.filter(Boolean).join(" · "));
    Gala.say(this.$("state"), state);
    Gala.set(this.$("state"), { class: state === "silent" || state.startsWith("server gone") ? "bad" : state === "live" ? "good" : "" });
    Gala.set(this.$("pause"), { "aria-pressed": page.state.paused });
    Gala.say(this.$("pause"), page.state.paused ? "follow" : "pause");
    const parts = this.parts(state), text = JSON.stringify(parts);
    if (text !== this.said) { // so that it can be read aloud, and marked with the pointer
      this.said = text;
      this.$("verdict").replaceChildren(...parts.flatMap(([part, kind], k) => [k ? " · " : "", Gala.element("span", kind ? { class: kind } : {}, part)]));
    }
    this.$("problems").hidden = !page.problems.length;
    Gala.keyed(this.$("problems"), [...new Set(page.problems)], (each) => Gala.element("li", {}, each));
    page.control.draw(state === "live" || state === "paused");
  }

  state() {
    const { page } = this, all = Object.values(page.peers), dead = all.filter((p) => p.status === "dead");
    if (Gala.source.frozen) return "frozen";
    if (!page.connected) return "server gone: trying again";
    if (page.state.paused) return "paused";
    if (!all.length) return "waiting for agents";
    return this.ended() ? "ended" : dead.length === all.length ? "silent" : "live";
  }

  ended() {
    const all = Object.values(this.page.peers);
    return all.length > 0 && all.every((p) => p.status === "done" || p.status === "stopped");
  }

  // [text, kind] of each part.
  parts(state) {
    const { page } = this, { info, start } = page.series, all = Object.entries(page.peers), standing = page.standing(), n = Gala.number;
    const known = (metric) => standing.map(([rank, p]) => [p.values?.[metric], rank]).filter(([v]) => v !== null && v !== undefined);
    const numbers = (metric) => known(metric).map(([v]) => v), sum = (values) => values.reduce((a, b) => a + b, 0);
    const returns = known("charts/episodic_return").filter(([, rank]) => page.counted.has(rank)).map(([v]) => v), ratios = numbers("divergence/epsilon_ratio");
    const dead = all.filter(([, p]) => p.status === "dead").map(([rank]) => rank), parts = [];
    const steps = sum(all.map(([, p]) => p.step ?? 0));
    if (info.total_steps) parts.push([`${n(steps, 4)} of ${n(info.total_steps, 4)} steps`]);
    if (page.independent && returns.length > 1) parts.push([`returns ${n(Math.min(...returns))} to ${n(Math.max(...returns))}: independent agents, no mean`]);
    else parts.push([`return ${n(returns.length ? sum(returns) / returns.length : null)}`]);
    const behind = standing.filter(([, p]) => p.left_out).map(([rank, p]) => `agent ${rank} (${p.left_out})`);
    if (behind.length) parts.push([`mean without ${behind.slice(0, 3).join(", ")}${behind.length > 3 ? ` and ${behind.length - 3} more` : ""}`]);
    if (this.ended() && Number.isFinite(page.series.end)) parts.push([`ended after ${Gala.clock(page.series.end - start)}`]);
    if (!this.ended()) parts.push([`${n(sum(numbers("charts/SPS")), 4)} steps/s`]);
    if (ratios.length) {
      const worst = Math.max(...ratios), bound = numbers("divergence/proven").includes(0) ? "model bound" : "bound";
      parts.push(worst <= 1 ? [`ball intact: ${n(worst)} of the ${bound}`, "good"] : [`outside the ball: ${n(worst)} times the ${bound}`, "bad"]);
    } else if (all.length > 1 && !Gala.COUPLED[info.coupling]) parts.push(["no bound applies"]);
    const cosine = Math.max(...numbers("divergence/step_cosine"));
    if (Number.isFinite(cosine)) parts.push([`updates agree: ${n(cosine, 2)}`]);
    const alarms = page.events.filter((e) => e.event === "alarm"), each = new Map();
    for (const { rank } of alarms) each.set(rank, (each.get(rank) ?? 0) + 1); // all agents tell of the same
    const times = Math.max(0, ...each.values());
    if (times) parts.push([`${times === 1 ? "1 alarm," : `${times} alarms, the last`} at ${Gala.clock(Math.max(...alarms.map((e) => e.t)) - start)}`, "bad"]);
    if (all.length && dead.length === all.length) parts.push([`no record for ${Gala.clock(page.now - Math.max(...all.map(([, p]) => p.t ?? 0)))}`, "bad"]);
    else if (dead.length) parts.push([`dead: ${dead.slice(0, 8).join(", ")}${dead.length > 8 ? ` and ${dead.length - 8} more` : ""}`, "bad"]);
    const speeds = known("charts/SPS").filter(([v]) => v > 0).sort(([a], [b]) => a - b), middle = speeds[speeds.length >> 1]?.[0];
    if (!dead.length && !this.ended() && speeds.length > 2 && speeds[0][0] < middle / 2) parts.push([`agent ${speeds[0][1]} is slow: ${n(speeds[0][0])} of ${n(middle)} steps/s`, "bad"]);
    const { share } = page.reading.shown;
    if (share < 0.999) parts.push([`every ${Math.max(2, Math.round(1 / share))}th record is shown${Gala.source.frozen ? "" : ": zoom to see all"}`]);
    return parts;
  }
};
