import assert from "node:assert/strict";
import { nearest } from "./nearest.ts";

const KEYS = ["listen", "port", "tls_port", "max_message_size", "max_recipients"];

Deno.test("nearest() finds the word that was meant", () => {
  assert.equal(nearest("lsiten", KEYS), "listen");
  assert.equal(nearest("tls-port", KEYS), "tls_port");
  assert.equal(nearest("max_mesage_sise", KEYS), "max_message_size");
  assert.equal(nearest("PORT", KEYS), "port");
});

Deno.test("nearest() finds nothing for a word that is far from all", () => {
  assert.equal(nearest("banner", KEYS), undefined);
  assert.equal(nearest("x", []), undefined);
  assert.equal(nearest("z".repeat(1e6), KEYS), undefined);
});
