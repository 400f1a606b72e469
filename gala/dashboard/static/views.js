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
  const columns = (ranks, metric, how, count = page.present) => Gala.columns(ranks, (r) => values(metric, r, how), newest(metric, how, ranks.filter((r) => count.has(r))));
  const all = (metric, how = "binned") => columns(page.chosen(), metric, how);
  // What is not known of anybody has no line and no key.
  const there = (s) => s.agent !== undefined || s.silent || s.values.some((v) => v !== null && v !== undefined);
  const chart = (series, bands) => ({ xs: page.xs, breaks: page.breaks, marks: page.placed, series: series.filter(there), bands });
  // The same number is known to all agents: the largest that any of them had on file.
  const shared = (metric) => columns(page.series.ranks, metric, "binned").high;
  // Each agent and, where they are parts of one thing, their mean with the band from lowest to highest.
  // A task is of some agents only, and often of one.
  const spread = (metric, task = false) => {
    const single = lines(metric).filter((s) => !task || s.values.some((v) => v !== null && v !== undefined)), k = single.length, { mean, low, high } = columns(page.chosen(), metric, "binned", page.counted);
    if (page.independent || (task && k === 1)) return chart(single);
    const edge = (label, values) => ({ label, values, colour: "transparent", width: 0, silent: true });
    return chart([...single, edge("highest", high.values), edge("lowest", low.values), { label: "mean", ...mean, colour: Gala.ink("ink"), width: 2.2 }],
      k > 1 ? [{ series: [k + 1, k + 2], fill: `${Gala.ink("soft")}33` }] : []);
  };
  const ofARun = (metric) => {
    const [, task] = /^charts\/task\/(\d+)\//.exec(metric) ?? [], loss = metric.slice(metric.indexOf("/") + 1);
    return {
      id: task ? `task-${task}` : `loss-${loss.replace(/[^\w-]+/g, "-")}`, needs: [metric], smooth: true,
      title: task ? `1 Return of task ${task}` : `6 ${loss.replaceAll("_", " ")}`, log: false,
      build: () => spread(metric, task !== undefined),
    };
  };
  const views = [
    {
      id: "return", needs: ["charts/episodic_return"], smooth: true, title: "1 Return of the last 100 episodes", log: false,
      build: () => spread("charts/episodic_return"),
    },
    {
      id: "divergence", needs: ["divergence/to_mean", "divergence/total"], title: "2 Distance to the mean", log: true, unit: "‖xᵢ − x̄‖₂",
      build: () => chart([
        ...lines("divergence/to_mean"),
        { label: "all ‖X − X̄‖", ...shared("divergence/total"), colour: Gala.ink("ink"), width: 2 },
        { label: "bound ε", ...shared("divergence/epsilon"), colour: Gala.ink("bound"), width: 2, dash: [8, 4] },
        { label: "expected", ...shared("divergence/expected"), colour: Gala.ink("expected"), width: 1.6, dash: [2, 3] },
      ]),
    },
    {
      id: "ratio", needs: ["divergence/epsilon_ratio", "divergence/expected_ratio"], title: "2 Divergence / bound", log: true, hint: "1 is the edge of the ball: certified from what happened, or that of a model; where no bound applies there is no line. Of the expectation 1 means unrelated updates, less that they agree.",
      build: () => chart([
        { label: "divergence / bound", ...shared("divergence/epsilon_ratio"), colour: Gala.ink("accent"), width: 2 },
        { label: "divergence / expected", ...shared("divergence/expected_ratio"), colour: Gala.ink("expected"), width: 1.6, dash: [2, 3] },
        { label: "edge", silent: true, values: page.xs.map(() => 1), colour: Gala.ink("bound"), width: 2, dash: [8, 4] },
      ]),
    },
    {
      id: "policies", needs: ["divergence/kl", "divergence/mix_kl"], smooth: true, title: "2 Policies apart", log: true, unit: "KL to neighbours, nats",
      build: () => chart([...lines("divergence/kl"), { label: "before and after a mix", ...all("divergence/mix_kl").mean, colour: Gala.ink("ink"), width: 2, dash: [2, 3] }]),
    },
    {
      id: "agreeing", needs: ["divergence/step_cosine", "divergence/mean_drift"], smooth: true, title: "3 Agreement of updates", log: false, unit: "mean of all pairs", hint: "cosine between updates: 0 for unrelated ones, 1 for equal ones; drift of the mean: error of the weights with which updates count in it, over the right ones.",
      build: () => chart([
        { label: "cosine", ...shared("divergence/step_cosine"), colour: Gala.ink("accent"), width: 2 },
        { label: "drift of the mean", ...shared("divergence/mean_drift"), colour: Gala.ink("bound"), width: 1.6, dash: [7, 3] },
      ]),
    },
    {
      id: "speed", needs: ["charts/SPS"], smooth: true, title: "4 Steps per second", log: false, floor: 0, unit: "steps/s",
      build: () => chart([...lines("charts/SPS"), { label: "total", ...all("charts/SPS").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "split", needs: ["time/collect_ms", "time/learn_ms"], title: "4 Time of an update", log: false, floor: 0, unit: "ms, mean of agents",
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
      id: "waiting", needs: ["actors/idle", "actors/learner_idle", "actors/queue_fill"], smooth: true, title: "4 Actors and learner", log: false, floor: 0, unit: "share, mean of agents", hint: "Who waits for whom, where others act: the learner for unrolls, actors for the learner; and how many of the slots are full.",
      build: () => chart([["learner waits", "actors/learner_idle", 0], ["actors wait", "actors/idle", 1], ["slots full", "actors/queue_fill", 2]].map(
        ([label, metric, k]) => ({ label, ...all(metric).mean, colour: Gala.colour(k, 3), dash: Gala.dash(k, 3), width: 1.6 }))),
    },
    {
      id: "cores", needs: ["system/cores"], smooth: true, title: "4 Cores in use", log: false, floor: 0, unit: "CPU seconds per second",
      build: () => chart([...lines("system/cores"), { label: "total", ...all("system/cores").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "memory", needs: ["system/memory_mb"], title: "4 Memory", log: false, floor: 0, unit: "MB, resident",
      build: () => chart([...lines("system/memory_mb"), { label: "total", ...all("system/memory_mb").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "gpu", needs: ["system/gpu_busy"], smooth: true, title: "4 GPU in use", log: false, floor: 0, unit: "share of time", hint: "Share of time in which any kernel ran on the agent's GPU, whoever started it: agents that share one have one number.",
      build: () => chart(lines("system/gpu_busy")),
    },
    {
      id: "gpu-memory", needs: ["system/gpu_memory_mb"], title: "4 GPU memory", log: false, floor: 0, unit: "MB, held by the process",
      build: () => chart(lines("system/gpu_memory_mb")),
    },
    {
      id: "staleness", needs: ["gossip/staleness_max"], title: "5 Staleness", log: false, floor: 0, unit: "updates without a mix",
      build: () => chart(lines("gossip/staleness_max")),
    },
    {
      id: "messages", needs: ["gossip/messages_sent"], title: "5 Messages", log: false, floor: 0, unit: "per second, all agents",
      build: () => chart([
        { label: "sent", ...all("gossip/messages_sent", "rate").sum, colour: Gala.ink("accent"), width: 1.8 },
        { label: "refused", ...all("gossip/messages_refused", "rate").sum, colour: Gala.ink("warn"), width: 1.8, dash: [5, 3] },
      ]),
    },
    {
      id: "bytes", needs: ["gossip/bytes_sent"], title: "5 Bytes sent", log: false, floor: 0, unit: "per second",
      build: () => chart([...lines("gossip/bytes_sent", "rate"), { label: "total", ...all("gossip/bytes_sent", "rate").sum, colour: Gala.ink("ink"), width: 2 }]),
    },
    {
      id: "lag", needs: ["policy/lag"], smooth: true, title: "6 Policy lag", log: false, floor: 0, unit: "changes of the parameters",
      build: () => chart([...lines("policy/lag"), { label: "largest", ...all("policy/lag_max").high, colour: Gala.ink("ink"), width: 1.6, dash: [5, 3] }]),
    },
  ];
  return { views, ofARun };
};
