import assert from "node:assert/strict";
import { nearest } from "./nearest.ts";

const KEYS = ["listen", "port", "tls_port", "max_message_size", "max_recipients"];

Deno.test("nearest() finds the word that was meant", () => {
  assert.equal(nearest("lsiten", KEYS), "listen");
  assert.equal(nearest("tls-port", KEYS), "tls_port");
  assert.equal(nearest("max_mesage_sise", KEYS), "max_message_size");
  assert.equal(nearest("PORT", KEYS), "port");
});

Deno.test("nearest() finds the only word that a part is of", () => {
  const more = [...KEYS, "idle_timeout", "aliases", "max_connections", "max_connections_per_ip"];
  assert.equal(nearest("timeout", more), "idle_timeout");
  assert.equal(nearest("max_size", more), "max_message_size");
  assert.equal(nearest("alias", more), "aliases");
  assert.equal(nearest("connections", more), undefined, "two are as good");
  assert.equal(nearest("_", more), undefined);
});

Deno.test("nearest() finds nothing for a word that is far from all", () => {
  assert.equal(nearest("banner", KEYS), undefined);
  assert.equal(nearest("x", []), undefined);
  assert.equal(nearest("z".repeat(1e6), KEYS), undefined);
});
