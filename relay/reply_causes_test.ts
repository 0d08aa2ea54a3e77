import assert from "node:assert/strict";
import { explainReply } from "./reply_causes.ts";

Deno.test("explainReply() knows the codes that receivers demand things with", () => {
  const wanted: readonly (readonly [string, RegExp])[] = [
    ["4.7.23", /in DNS that leads back/],
    ["5.7.25", /in DNS that leads back/],
    ["4.7.27", /SPF/],
    ["5.7.27", /SPF/],
    ["4.7.29", /encrypted/],
    ["4.7.30", /DKIM/],
    ["4.7.31", /DMARC/],
    ["4.7.32", /neither the one that SPF allowed/],
    ["5.7.26", /neither SPF nor DKIM/],
    ["4.7.28", /more mail/],
    ["5.1.1", /no mailbox/],
    ["5.1.2", /does not exist/],
    ["5.1.10", /takes no mail/],
    ["5.2.2", /full/],
    ["5.3.4", /larger/],
    ["5.6.3", /8-bit/],
    ["5.6.7", /beyond ASCII/],
    ["5.6.9", /beyond ASCII/],
    ["5.4.6", /mail loop/],
  ];
  for (const [status, meaning] of wanted) {
    assert.match(explainReply({ status })?.meaning ?? "", meaning, status);
  }
});

Deno.test("explainReply() goes by the code in the reply first, then by the status, then by the subject", () => {
  assert.match(explainReply({ status: "5.0.0", reply: "550-5.7.26 Unauthenticated" })?.meaning ?? "", /SPF/);
  assert.match(explainReply({ status: "5.2.2", reply: "552 5.9.9 x" })?.meaning ?? "", /full/);
  assert.match(explainReply({ status: "5.1.77" })?.meaning ?? "", /address/);
  assert.match(explainReply({ status: "5.0.0", reply: "550 5.6.55 x" })?.meaning ?? "", /form/);
  assert.equal(explainReply({ status: "5.0.0", reply: "550 no" }), undefined);
  // An IP address is not a status code.
  assert.equal(explainReply({ status: "5.0.0", reply: "550 [192.0.5.1.1] 5.1.1.1 no" }), undefined);
});

Deno.test("explainReply() blames no receiver for what is a matter of our own", () => {
  for (
    const [status, meaning] of [
      ["4.3.0", /that you send through/],
      ["4.3.2", /on the same machine/],
      ["4.3.5", /not set up/],
      ["4.4.4", /does not send to/],
      ["4.7.4", /only over TLS/],
      ["4.7.5", /only over TLS/],
      ["4.7.8", /login/],
    ] as const
  ) {
    assert.match(explainReply({ status })?.meaning ?? "", meaning, status);
    assert.doesNotMatch(
      explainReply({ status, reply: `451 ${status} later` })?.meaning ?? "",
      meaning,
      status,
    );
  }
});

Deno.test("explainReply() speaks of port 25 only where it may be the cause", () => {
  const hint = (outcome: { status: string; error: string }) => explainReply(outcome)?.operator ?? "";
  assert.match(hint({ status: "4.4.1", error: "no connection in time" }), /port 25/);
  assert.doesNotMatch(
    hint({ status: "4.3.2", error: "serve-in does not answer: connection refused" }),
    /port 25/,
  );
  assert.match(
    hint({ status: "4.3.2", error: "serve-in does not answer: connection refused" }),
    /serve-in runs/,
  );
  const source = "no interface of this machine has the source address that is configured";
  assert.doesNotMatch(hint({ status: "4.3.5", error: source }), /port 25/);
  assert.match(hint({ status: "4.3.5", error: source }), /source addresses/);
  const route = "the route's host does not answer: connection refused";
  assert.doesNotMatch(hint({ status: "4.4.1", error: route }), /port 25/);
  assert.match(hint({ status: "4.4.1", error: route }), /serve-out\.routes/);
});
