// What each chart shows: names, units, and the series that are built from the records.
"use strict";

Gala.views = (page) => {
  const rank = (r) => page.series.ranks.indexOf(r), count = () => page.series.ranks.length;
  const values = (metric, r, how) => page.reading.shown[how](page.grid, r, metric);
  // What an agent says now: the number that the verdict and the graph have, too. A rate has none.
  const newest = (metric, how, ranks) => (how === "binned" ? ranks.map((r) => page.peers[r]?.values?.[metric]) : []);
  const lines = (metric, how = "binned") => page.chosen().map((r) => ({
    label: `agent ${r}`, agent: r, colour: Gala.colour(rank(r), count()), dash: Gala.dash(rank(r), count()),
    width: count() > 16 ? 0.8 : 1.3, values: values(metric, r, how), newest: newest(metric, how, [r])[0], gaps: page.absences.get(r),
  }));
  const columns = (ranks, metric, how) => Gala.columns(ranks, (r) => values(metric, r, how), newest(metric, how, ranks.filter((r) => page.present.has(r))));
  const all = (metric, how = "binned") => columns(page.chosen(), metric, how);
  const chart = (series, bands) => ({ xs: page.xs, breaks: page.breaks, marks: page.placed, series, bands });
  // The same number is known to all agents: the largest that any of them had on file.
  const shared = (metric) => columns(page.series.ranks, metric, "binned").high;
  return [
    {
      id: "divergence", title: "2 Distance to the mean", log: true, unit: "‖xᵢ − x̄‖₂",
      build: () => chart([
        ...lines("divergence/to_mean"),
        { label: "all ‖X − X̄‖", ...shared("divergence/total"), colour: Gala.ink("ink"), width: 2 },
        { label: "bound ε", ...shared("divergence/epsilon"), colour: Gala.ink("bound"), width: 2, dash: [8, 4] },
        { label: "expected", ...shared("divergence/expected"), colour: Gala.ink("expected"), width: 1.6, dash: [2, 3] },
      ]),
    },
    {
      id: "ratio", title: "2 Divergence / bound", log: true, hint: "1 is the edge of the ball: proven in lock-step, else that of a model; where no bound applies there is no line.",
      build: () => chart([
        { label: "divergence / bound", ...shared("divergence/epsilon_ratio"), colour: Gala.ink("accent"), width: 2 },
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
        return chart([...single, edge("highest", high.values), edge("lowest", low.values), { label: "mean", ...mean, colour: Gala.ink("ink"), width: 2.2 }],
          [{ series: [k + 1, k + 2], fill: `${paint}33` }]);
      },
    },
    {
      id: "losses", title: "4 Losses", log: false, unit: "mean of agents",
      build: () => chart([["policy", "losses/policy_loss", 0], ["value", "losses/value_loss", 1], ["entropy", "losses/entropy", 2]].map(
        ([label, metric, k]) => ({ label, ...all(metric).mean, colour: Gala.colour(k, 3), dash: Gala.dash(k, 3), width: 1.6 }))),
    },
    {
      id: "speed", title: "5 Steps per second", log: false, floor: 0, unit: "steps/s",
      build: () => chart([...lines("charts/SPS"), { label: "total", ...all("charts/SPS").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "split", title: "5 Time of an update", log: false, floor: 0, unit: "ms, mean of agents",
      build: () => {
        const names = Object.keys(Gala.PHASES), own = Object.fromEntries(names.map((name) => [name, all(name === "wait" ? "gossip/wait_ms" : `time/${name}_ms`).mean]));
        const rest = (part, wait) => (part === null || part === undefined ? part : Math.max(0, part - (wait ?? 0))); // gossip counts its waits
        own.gossip = { values: own.gossip.values.map((v, k) => rest(v, own.wait.values[k])), newest: rest(own.gossip.newest, own.wait.newest) };
        let below = page.xs.map(() => 0);
        const stacked = names.map((name) => {
          below = below.map((sum, k) => (own.collect.values[k] === null ? null : (sum ?? 0) + (own[name].values[k] ?? 0)));
          return { label: name, values: below, told: own[name].values, newest: own[name].newest, colour: Gala.PHASES[name], width: 1, fill: Gala.PHASES[name] };
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
        { label: "sent", ...all("gossip/messages_sent", "rate").sum, colour: Gala.ink("accent"), width: 1.8 },
        { label: "refused", ...all("gossip/messages_refused", "rate").sum, colour: Gala.ink("warn"), width: 1.8, dash: [5, 3] },
      ]),
    },
    {
      id: "bytes", title: "6 Bytes sent", log: false, floor: 0, unit: "per second",
      build: () => chart([...lines("gossip/bytes_sent", "rate"), { label: "total", ...all("gossip/bytes_sent", "rate").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
  ];
};
