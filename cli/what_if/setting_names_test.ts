import assert from "node:assert/strict";
import { parseConfig } from "../../config/load.ts";
import { toml } from "../../tests/support/program.ts";
import { changedSettings, untried } from "./changed_settings.ts";
import { namesInFile } from "./setting_names.ts";

type Tables = Record<string, Record<string, unknown>>;

const BASE: Tables = {
  "": { hostname: "mx.example.com" },
  tls: { self_signed: true },
  "serve-in": { domains: ["example.com"] },
  mailboxes: { users: ["alice"] },
  "mailboxes.aliases": { postmaster: "alice" },
  "serve-submit": {},
  dashboard: {},
};

const parse = (tables: Tables) => parseConfig(toml(tables), { systemHostname: () => "mx.example.com" });

const CHANGES: readonly (readonly [table: string, key: string, value: unknown])[] = [
  ["", "hostname", "mail.example.com"],
  ["", "data_dir", "/srv/mailapp"],
  ["log", "level", "debug"],
  ["dns", "servers", ["127.0.0.1"]],
  ["serve-in", "listen", ["192.0.2.1"]],
  ["serve-in", "max_connections_per_ip", 7],
  ["serve-in", "idle_timeout", "10m"],
  ["serve-in.checks", "timeout", "5s"],
  ["serve-in.checks", "filter", "rspamd:http://127.0.0.1:11333"],
  ["serve-in.checks", "filter_failure", "defer"],
  ["mailboxes", "junk_folder", "Spam"],
  ["serve-out", "source_ipv4", "192.0.2.1"],
  ["serve-out", "retry", ["10m", "1h"]],
  ["serve-out", "mta_sts", false],
  ["serve-out.timeouts", "data_end", "20m"],
  ["serve-submit", "auth", "dovecot:/run/dovecot/auth-client"],
  ["serve-submit", "new_recipients_a_day", 7],
  ["metrics", "serve_in", "127.0.0.1:9465"],
  ["dashboard", "listen", "127.0.0.1:8026"],
  ["alerts", "webhook", "https://ntfy.example.com/topic"],
];

for (const [table, key, value] of CHANGES) {
  const name = table === "" ? key : `${table}.${key}`;
  Deno.test(`what-if calls a setting as the file does: ${name}`, () => {
    const [before, after] = [parse(BASE), parse({ ...BASE, [table]: { ...BASE[table], [key]: value } })];
    const changed = changedSettings(before, after);
    assert.ok(namesInFile(changed).includes(name), `${changed}: ${namesInFile(changed)}`);
    for (const other of untried(changed, { before, after })) assert.doesNotMatch(other, /[A-Z]/);
  });
}
