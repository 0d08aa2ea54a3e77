import assert from "node:assert/strict";
import { formatDate } from "./date.ts";

Deno.test("formatDate() writes RFC 5322 dates in UTC", () => {
  assert.equal(formatDate(Date.UTC(2026, 10, 24, 6, 7, 8)), "Tue, 24 Nov 2026 06:07:08 +0000");
  assert.equal(formatDate(0), "Thu, 1 Jan 1970 00:00:00 +0000");
  assert.equal(formatDate(Date.UTC(2024, 1, 29, 23, 59, 59, 999)), "Thu, 29 Feb 2024 23:59:59 +0000");
});
