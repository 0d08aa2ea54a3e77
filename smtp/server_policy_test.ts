import assert from "node:assert/strict";
import { finalDeliveryPolicy } from "./server_policy.ts";

Deno.test("finalDeliveryPolicy() takes out Return-Path and what claims to be our authentication", () => {
  const { unwantedField } = finalDeliveryPolicy({ hostname: "Mx.Example.com" });
  const unwanted = (name: string, value: string, whole = true) =>
    unwantedField?.({ name, whole, value: () => value });
  assert.ok(unwanted("authentication-results", " MX.Example.COM. 1;\tspf=pass"));
  assert.ok(!unwanted("authentication-results", " mx.example.net; spf=pass"));
  assert.ok(unwanted("authentication-results", `(${"x".repeat(2000)}`, false));
  assert.ok(unwanted("return-path", "<x@y>"));
  assert.ok(!unwanted("delivered-to", "x@y"));
});
