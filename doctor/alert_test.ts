import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { type Alert, postAlert, type Webhook } from "./alert.ts";

const ALERT: Alert = {
  hostname: "mx.example.com",
  server: "serve-out",
  at: Date.UTC(2026, 10, 24, 3, 20, 11, 123),
  firing: [{ kind: "reply", about: "listed", what: "mx.test said: <no> & ü", next: "Ask them." }],
  resolved: [{ kind: "disk", about: "/x" }],
};

interface Taken {
  readonly method: string;
  readonly path: string;
  readonly headers: Headers;
  readonly body: string;
}

/** What a real server gets of it, which answers with this. */
async function posted(
  webhook: Omit<Webhook, "url">,
  answer: () => Response | Promise<Response> = () => new Response("ok"),
): Promise<Taken[]> {
  const taken: Taken[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
    const { pathname: path } = new URL(request.url);
    taken.push({ method: request.method, path, headers: request.headers, body: await request.text() });
    return answer();
  });
  try {
    await postAlert(ALERT, { ...webhook, url: `http://127.0.0.1:${server.addr.port}/secret-path` });
    return taken;
  } finally {
    await server.shutdown();
  }
}

Deno.test("postAlert() posts JSON, signed with the secret", async () => {
  const [taken, ...more] = await posted({ template: "json", secret: "0123456789abcdef", token: "t0k3n" });
  assert.ok(taken !== undefined && more.length === 0);
  const { method, path, headers, body } = taken;
  assert.deepEqual([method, path], ["POST", "/secret-path"]);
  assert.equal(headers.get("authorization"), "Bearer t0k3n");
  const hmac = createHmac("sha256", "0123456789abcdef").update(body).digest("hex");
  assert.equal(headers.get("x-mailapp-signature"), `sha256=${hmac}`);
  assert.deepEqual(JSON.parse(body), {
    hostname: "mx.example.com",
    server: "serve-out",
    at: "2026-11-24T03:20:11.123Z",
    title: "mx.example.com: serve-out needs attention (reply)",
    text: "mx.test said: <no> & ü. Ask them.\nresolved: disk, /x",
    firing: ALERT.firing,
    resolved: ALERT.resolved,
  });
});

Deno.test("postAlert() posts to ntfy text with a title in ASCII and a priority", async () => {
  const [taken] = await posted({ template: "ntfy" });
  assert.equal(taken?.body, "mx.test said: <no> & ü. Ask them.\nresolved: disk, /x");
  assert.equal(taken?.headers.get("priority"), "high");
  const [, title = ""] = /^=\?UTF-8\?B\?(.*)\?=$/.exec(taken?.headers.get("title") ?? "") ?? [];
  assert.equal(atob(title), "mx.example.com: serve-out needs attention (reply)");
});

Deno.test("postAlert() posts to Slack with what its markup takes escaped", async () => {
  const [taken] = await posted({ template: "slack" });
  assert.deepEqual(JSON.parse(taken?.body ?? ""), {
    text: "*mx.example.com: serve-out needs attention (reply)*\n" +
      "mx.test said: &lt;no&gt; &amp; ü. Ask them.\nresolved: disk, /x",
  });
});

Deno.test("postAlert() puts a message into a room of Matrix, each under its own id", async () => {
  const [one] = await posted({ template: "matrix", token: "t" });
  const [other] = await posted({ template: "matrix", token: "t" });
  assert.equal(one?.method, "PUT");
  assert.match(one?.path ?? "", /^\/secret-path\/[0-9a-f-]{36}$/);
  assert.notEqual(one?.path, other?.path);
  assert.equal(JSON.parse(one?.body ?? "").msgtype, "m.text");
});

Deno.test("postAlert() rejects what is not taken, follows no redirect, and shows no address", async () => {
  const template = "json" as const;
  await assert.rejects(posted({ template }, () => new Response("no", { status: 403 })), /answers 403$/);
  for (
    const answer of [() => Response.redirect("http://127.0.0.1:1/"), () => Promise.reject(new Error("x"))]
  ) {
    await assert.rejects(posted({ template }, answer as () => Response), (error: Error) => {
      assert.doesNotMatch(error.message, /secret-path/);
      return true;
    });
  }
  await assert.rejects(
    postAlert(ALERT, { template, url: "http://127.0.0.1:1/secret-path" }),
    (error: Error) => {
      assert.match(error.message, /cannot be reached/);
      assert.doesNotMatch(error.message, /secret-path/);
      return true;
    },
  );
});
