// docs/metrics.md lists each metric that the program declares, and what contrib/ asks Prometheus for is among them.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { allMetrics } from "../base/counters.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
// Suffixes of what a histogram is made of.
const SAMPLE = /_(?:bucket|sum|count)$/;

// Everything that declares metrics.
await Promise.all(
  ["serve_in_server.ts", "serve_out_server.ts", "serve_submit_server.ts"].map((path) =>
    import(`${ROOT}/server/${path}`)
  ),
);
await import("../observe/metrics_server.ts");
await import("../mta_sts/policies.ts");
await import("../mta_sts/policy_server.ts");
const declared = new Map(allMetrics().map((metric) => [metric.name, metric]));

Deno.test("docs/metrics.md lists every metric with its kind and labels, and no other", async () => {
  const page = await Deno.readTextFile(`${ROOT}/docs/metrics.md`);
  const listed = new Map(
    Array.from(
      page.matchAll(/^\| `(\w+)` +\| (\w+) +\| ([^|]*)\|/gm),
      ([, name = "", kind, labels = ""]) => [name, `${kind} ${(labels.match(/\w+/g) ?? []).join()}`],
    ),
  );
  const wanted = new Map(
    Array.from(declared.values(), ({ name, kind, labels }) => [name, `${kind} ${labels.join()}`]),
  );
  assert.deepEqual(Object.fromEntries([...listed].sort()), Object.fromEntries([...wanted].sort()));
});

Deno.test("metrics are named after the conventions of Prometheus", () => {
  for (const { name, kind, help } of declared.values()) {
    assert.match(name, /^(?:mailapp|process)_[a-z_]+$/, name);
    assert.equal(name.endsWith("_total"), kind === "counter", name);
    if (kind === "histogram") assert.match(name, /_(?:seconds|bytes)$/, name);
    assert.match(help, /^[A-Z].*[^.]$/s, `${name}: ${help}`);
  }
});

Deno.test("the rules and the dashboard in contrib/ ask for metrics that there are, by labels that they have", async () => {
  const asked = new Set<string>();
  for (const file of ["alerts.yml", "alerts_test.yml", "grafana.json"]) {
    const text = (await Deno.readTextFile(`${ROOT}/contrib/${file}`)).replaceAll('\\"', '"');
    for (const [, name = "", braces] of text.matchAll(/\b((?:mailapp|process)_\w+)(?:\{([^}]*)\})?/g)) {
      if (name === "mailapp_alerts") continue;
      asked.add(name);
      const metric = declared.get(name) ?? declared.get(name.replace(SAMPLE, "")) ??
        assert.fail(`${file}: ${name}`);
      for (const [, label = ""] of (braces ?? "").matchAll(/(\w+) *(?:=|!)/g)) {
        const all = ["job", "instance", "le", ...metric.labels];
        assert.ok(all.includes(label), `${file}: ${name} has no label ${label}`);
      }
    }
  }
  assert.ok(asked.size > 20, `only ${asked.size} were found`);
});

/** Metrics that say nothing as a graph. */
const NOT_SHOWN = [
  "process_start_time_seconds",
  "mailapp_mta_sts_first_expiry_timestamp_seconds",
  "mailapp_log_lost_lines_total",
  "mailapp_metrics_scrapes_total",
];

Deno.test("the dashboard in contrib/ shows every metric, each panel in a place of its own", async () => {
  interface Panel {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly h: number; readonly w: number; readonly x: number; readonly y: number };
    readonly targets?: readonly { readonly expr: string }[];
  }
  const text = await Deno.readTextFile(`${ROOT}/contrib/grafana.json`);
  const missing = [...declared.keys()].filter((name) => !new RegExp(`\\b${name}(?:_bucket)?\\b`).test(text));
  assert.deepEqual(missing.sort(), NOT_SHOWN.toSorted());
  const { panels } = JSON.parse(text) as { panels: Panel[] };
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  const cells = new Set<string>();
  for (const { title, gridPos: { h, w, x, y } } of panels) {
    for (let cell = 0; cell < h * w; cell++) {
      const place = `${x + cell % w} ${y + Math.floor(cell / w)}`;
      assert.ok(!cells.has(place) && x + w <= 24, `${title} is in the way of another panel`);
      cells.add(place);
    }
  }
});
