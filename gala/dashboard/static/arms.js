// Runs that differ in their seed alone are one arm: what they have in common is a mean and its interval.
"use strict";

// Names of the runs of each arm, in the order of the runs.
Gala.arms = (runs) => {
  const found = new Map();
  for (const { arm, name } of runs) found.set(arm, [...(found.get(arm) ?? []), name]);
  return found;
};

// Each arm in words: what the names of its runs begin with, or one of them where that is not enough.
Gala.armLabels = (arms) => {
  const stem = (names) => {
    let k = 0;
    while (k < names[0].length && names.every((name) => name[k] === names[0][k])) k++;
    return names[0].slice(0, k).replace(/[-_./=]*(seeds?|s)?[-_./=]*\d*$/, "");
  };
  const stems = new Map([...arms].map(([arm, names]) => [arm, names.length > 1 ? stem(names) : names[0]])), all = [...stems.values()];
  return new Map([...arms].map(([arm, names]) => {
    const own = stems.get(arm), clear = own && all.filter((each) => each === own).length === 1;
    return [arm, names.length === 1 ? names[0] : `${clear ? own : names[0]}, ${names.length} seeds`];
  }));
};

// Student's t for 95 %, by degrees of freedom from 1; beyond ten within 1 %.
Gala.T95 = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

// Mean, and its 95 % interval: of two runs, whose interval says nothing, the two values.
Gala.interval = (values) => {
  const n = values.length, mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 3) return { mean, low: Math.min(...values), high: Math.max(...values) };
  const deviation = Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (n - 1));
  const half = ((Gala.T95[n - 2] ?? 1.96 + 2.5 / (n - 1)) * deviation) / Math.sqrt(n);
  return { mean, low: mean - half, high: mean + half };
};

// The value of a curve at a place between its first and its last; null elsewhere.
Gala.at = (xs, values, x) => {
  let low = 0, high = xs.length - 1;
  if (high < 0 || x < xs[0] || x > xs[high]) return null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  const span = xs[high] - xs[low];
  return span > 0 ? values[low] + ((values[high] - values[low]) * (x - xs[low])) / span : values[high];
};

// The same of what differs by factors: the geometric mean.
Gala.factors = (values) => {
  if (!values.every((v) => v > 0)) return Gala.interval(values);
  const { mean, low, high } = Gala.interval(values.map(Math.log));
  return { mean: Math.exp(mean), low: Math.exp(low), high: Math.exp(high) };
};

// Several curves {xs, values} as one on `grid`, where all of them are known.
Gala.together = (curves, grid, reduce = Gala.interval) => {
  const known = curves.map(({ xs, values }) => {
    const kept = xs.map((x, k) => [x, values[k]]).filter(([, v]) => v !== null && v !== undefined);
    return { xs: kept.map(([x]) => x), values: kept.map(([, v]) => v) };
  }).filter(({ xs }) => xs.length);
  const rows = grid.map((x) => {
    const found = known.map((curve) => Gala.at(curve.xs, curve.values, x));
    return found.length && found.every((v) => v !== null) ? reduce(found) : { mean: null, low: null, high: null };
  });
  return { count: known.length, mean: rows.map((r) => r.mean), low: rows.map((r) => r.low), high: rows.map((r) => r.high) };
};
