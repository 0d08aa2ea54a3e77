// Attacks on the dashboard beside those of dashboard_test.ts: a web server on another port of the same host, names and
// tokens close to the right ones, hostile text in every place where text is shown, impostors and servers that hang.
import assert from "node:assert/strict";
import { formatJson } from "../observe/log_format.ts";
import { Browser } from "./support/browser.ts";
import { World } from "./support/dashboard_world.ts";
import { testWith } from "./support/requires.ts";
import { until } from "./support/until.ts";

/** What another page tries, once it is loaded in a browser that is logged in. */
const evilPage = (url: string) =>
  `<!DOCTYPE html><title>evil</title><iframe src="${url}/"></iframe>
<form id=plain method=post enctype="text/plain" action="${url}/queue/act"><input name="action=remove&x" value="y"></form>
<form id=out method=post action="${url}/logout"></form>
<img src="${url}/logout"><script src="${url}/script.js"></script>
<script>
async function attack() {
  const tried = {};
  const note = async (name, work) => { try { tried[name] = await work(); } catch { tried[name] = "failed"; } };
  const body = new URLSearchParams({ action: "remove", scope: "all", domain: "late.example" });
  const same = { credentials: "include" };
  await note("read", async () => (await (await fetch("${url}/", same)).text()).length);
  await note("opaque", async () => (await fetch("${url}/queue/act", { ...same, method: "POST", mode: "no-cors", body })).type);
  await note("header", async () => (await fetch("${url}/queue/act", { ...same, method: "POST", headers: { "x-a": "b" }, body })).status);
  await note("delete", async () => (await fetch("${url}/queue/act", { ...same, method: "DELETE" })).status);
  await note("beacon", () => navigator.sendBeacon("${url}/queue/act", body));
  await note("socket", () => new Promise((resolve) => {
    const socket = new WebSocket("${url.replace("http", "ws")}/");
    socket.onopen = () => resolve("open");
    socket.onerror = () => resolve("failed");
  }));
  await note("frame", () => document.querySelector("iframe").contentDocument?.body.innerText ?? "closed");
  return tried;
}
</script>`;

testWith(
  ["chromium"],
  "a page on another port of the same host can neither read the dashboard nor act",
  async () => {
    await using world = await World.start(3);
    await using browser = await Browser.start();
    const evil = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      () => new Response(evilPage(world.url), { headers: { "content-type": "text/html" } }),
    );
    try {
      await browser.goto(`${world.url}/login`);
      await browser.submit(
        `document.querySelector("[name=token]").value = ${JSON.stringify(world.token)};
      document.querySelector("main button").click()`,
      );
      const origin = `http://127.0.0.1:${evil.addr.port}`;
      await browser.goto(origin);
      assert.deepEqual(await browser.evaluate("attack()"), {
        read: "failed",
        opaque: "failed",
        header: "failed",
        delete: "failed",
        beacon: true,
        socket: "failed",
        frame: "closed",
      });
      for (const form of ["plain", "out"]) {
        await browser.goto(origin);
        await browser.submit(`document.getElementById("${form}").submit()`);
        assert.match(await browser.evaluate("document.body.innerText"), /from another page/, form);
      }
      // The same host is the same site: the browser sent the cookie, and only the origin told them apart.
      await browser.goto(`${world.url}/`);
      assert.equal(await browser.evaluate("location.pathname"), "/", "the session goes on");
      for (const action of ["remove", "hold", "bounce", "retry", "release"]) {
        assert.deepEqual(world.logged(`operator.${action}`), []);
      }
      assert.ok(world.logged("dashboard.refused").every(({ reason }) => reason === "origin"));
      assert.ok(world.logged("dashboard.refused").length >= 4);
    } finally {
      await evil.shutdown();
    }
  },
);

/** A request, octet for octet; the answer's status line, or nothing. */
async function raw(world: World, head: string): Promise<string> {
  const { port } = new URL(world.url);
  using conn = await Deno.connect({ hostname: "127.0.0.1", port: Number(port) });
  await conn.write(new TextEncoder().encode(head));
  const buffer = new Uint8Array(64 * 1024);
  const length = await conn.read(buffer).catch(() => null);
  return length === null
    ? ""
    : new TextDecoder().decode(buffer.subarray(0, length)).split("\r\n", 1)[0] ?? "";
}

Deno.test("names and tokens that are close to the right ones open nothing", async () => {
  await using world = await World.start(1);
  const { port, host } = new URL(world.url);
  const bearer = `Authorization: Bearer ${world.token}\r\n`;
  const get = (hostLine: string, more = bearer, target = "/") =>
    raw(world, `GET ${target} HTTP/1.1\r\n${hostLine}${more}Connection: close\r\n\r\n`);
  assert.match(await get(`Host: ${host}\r\n`), / 200 /);
  assert.match(await get(`Host: LocalHost:${port}\r\n`), / 200 /);
  for (
    const name of [
      ...["127.0.0.1.evil.example", "localhost.evil.example", "evil.example", "evil-127.0.0.1", "localhost."],
      ...[
        "127.0.0.1@evil.example",
        "127.0.0.1,evil.example",
        "0.0.0.0",
        "127.1",
        "2130706433",
        "[::ffff:7f00:1]",
      ],
      ...["127.0.0.1 evil.example", "localhost%00.evil.example", "", "127.0.0.1:1:2", "mx.example.com"],
    ]
  ) {
    assert.doesNotMatch(await get(`Host: ${name}\r\n`), / (?:200|303) /, name);
  }
  assert.doesNotMatch(await get(""), / (?:200|303) /, "no Host");
  assert.doesNotMatch(await get(`Host: ${host}\r\nHost: evil.example\r\n`), / 200 /, "two of them");
  assert.doesNotMatch(await get(`Host: evil.example\r\nX-Forwarded-Host: ${host}\r\n`), / 200 /);
  const { token } = world;
  for (
    const wrong of [
      ...[token.slice(0, -1), `${token}x`, token.toLowerCase(), `${token},${token}`, `"${token}"`],
      ...["", "undefined", "null", "dashboard"],
    ]
  ) {
    const line = await get(`Host: ${host}\r\n`, `Authorization: Bearer ${wrong}\r\n`);
    assert.doesNotMatch(line, / 200 /, wrong.slice(0, 50));
  }
  for (
    const cookie of [
      ...[`mailapp_dashboard=${token}`, `mailapp_dashboard=${"A".repeat(43)}`, "mailapp_dashboard="],
      ...["mailapp_dashboard=__proto__", `Mailapp_Dashboard=${"A".repeat(43)}`],
    ]
  ) assert.match(await get(`Host: ${host}\r\n`, `Cookie: ${cookie}\r\n`), / 303 /, cookie);
  assert.match(await get(`Host: ${host}\r\n`, "", `/?token=${token}`), / 303 /);
  assert.ok(!(await Deno.readTextFile(world.logFile)).includes(token));
});

Deno.test("a session that was ended is of no use to whoever has its cookie", async () => {
  await using world = await World.start(1);
  const post = (path: string, fields: Record<string, string>, headers: Record<string, string> = {}) =>
    fetch(world.url + path, {
      method: "POST",
      body: new URLSearchParams(fields),
      headers: { origin: world.url, ...headers },
      redirect: "manual",
    });
  const login = await post("/login", { token: world.token });
  await login.body?.cancel();
  const cookie = (login.headers.get("set-cookie") ?? "").split(";", 1)[0] ?? "";
  const attributes = login.headers.get("set-cookie") ?? "";
  assert.match(attributes, /HttpOnly.*SameSite=Strict/);
  const page = await (await fetch(`${world.url}/`, { headers: { cookie } })).text();
  const [, form_token = ""] = /name="form_token"\s+value="([^"]+)"/.exec(page) ?? [];
  const out = await post("/logout", { form_token }, { cookie });
  await out.body?.cancel();
  assert.equal(out.status, 303);
  const after = await fetch(`${world.url}/`, { headers: { cookie }, redirect: "manual" });
  await after.body?.cancel();
  assert.equal(after.headers.get("location"), "/login");
  // The form's token of one session is none of another's.
  const again = await post("/login", { token: world.token });
  await again.body?.cancel();
  const other = (again.headers.get("set-cookie") ?? "").split(";", 1)[0] ?? "";
  const act = await post("/queue/act", { form_token, action: "hold", scope: "ids", id: world.ids[0] ?? "" }, {
    cookie: other,
  });
  await act.body?.cancel();
  assert.equal(act.status, 403);
  assert.deepEqual(world.logged("operator.hold"), []);
});

/** Text that does something where it is not treated as text. */
const NASTY = [
  "</title></style></textarea><svg onload=alert(1)>",
  "' onfocus=alert(1) autofocus x='",
  "javascript:alert(1)//",
  "{{7*7}}${7*7}<%= 7 %>&lt;b&gt;",
  "\u2028\u2029\u202e\u2066\u0000\u001b]0;owned\u0007\u009b2J",
  "\ud800 lone",
  "__proto__",
  "constructor",
];

Deno.test("lines of the log with anything in any field are shown as text, and break no page", async () => {
  await using world = await World.start(2);
  let id = 0;
  const lines = NASTY.flatMap((nasty) => {
    const odd: unknown[] = [nasty, [nasty, nasty], { [nasty]: nasty }, 7, null, true, [[[nasty]]]];
    return odd.flatMap((value) =>
      [
        ["message.accepted", "info"],
        ["message.refused", "info"],
        ["command.refused", "info"],
        ["connection.refused", "warn"],
        ["attempt.relayed", "info"],
        ["attempt.deferred", "info"],
        ["attempt.failed", "warn"],
        ["login.refused", "info"],
        ["server.ready", "info"],
        ["queue.damaged", "error"],
        ["message.delivered", "info"],
      ].map(([event, level]) => {
        const names = [
          "from",
          "to",
          "recipient",
          "reply",
          "command",
          "peer",
          "server",
          "reason",
          "error",
          "host",
        ];
        const fields = Object.fromEntries(names.map((name) => [name, value]));
        const ids = { id: `mq${id++}aaaaaaaaaaaaaaaa`, session: "ab12cd3", file: value, status: value };
        return JSON.stringify({
          time: new Date().toISOString(),
          level,
          event,
          ...fields,
          ...ids,
          why: value,
        });
      })
    );
  });
  const long = { event: "message.accepted", from: "x".repeat(200_000), to: ["y".repeat(200_000)] };
  lines.push(JSON.stringify({ time: new Date().toISOString(), level: "info", ...long }));
  lines.push('{"time":"2026-', "\xff\xfe\x00", "[]", '{"time":1e999,"event":"message.accepted"}');
  lines.push(formatJson({ time: 8.64e15, level: "error", event: "queue.damaged", fields: {} }));
  await Deno.writeTextFile(world.logFile, `${lines.join("\n")}\n`, { append: true });
  await until(async () => (await world.ask("/health")).text.includes("queue.damaged"), "the lines");
  const paths = ["/", "/refused", "/traffic", "/health", "/queue", "/trace?what=ab12cd3&span=all+of+the+log"];
  for (const nasty of NASTY) {
    const value = encodeURIComponent(nasty.toWellFormed());
    paths.push(
      `/trace?what=${value}`,
      `/queue?domain=${value}&sender=${value}&reason=${value}&order=${value}`,
    );
  }
  paths.push(
    "/queue?page=99999",
    "/queue?page=-1",
    "/trace?what=%ff%00",
    "/trace?what=a@b.example&span=__proto__",
  );
  for (const path of paths) {
    const { status, text } = await world.ask(path);
    assert.equal(status, 200, path);
    assert.doesNotMatch(text, /<svg onload|<b>&|href="javascript:|' onfocus=alert\(1\) autofocus x='"/, path);
    // deno-lint-ignore no-control-regex
    assert.doesNotMatch(text, /[\u0000\u0007\u001b\u0080-\u009f\u2028-\u202e\u2066-\u2069]/, path);
    assert.ok(text.length < 2_000_000, `${path} has ${text.length} characters`);
  }
});

/** Says the same for ever to everybody. */
function chatter(listener: Deno.Listener, said: string): Disposable {
  const conns = new Set<Deno.Conn>();
  const octets = new TextEncoder().encode(said);
  (async () => {
    for await (const conn of listener) {
      conns.add(conn);
      (async () => {
        for (;;) await conn.write(octets);
      })().catch(() => {});
    }
  })().catch(() => {});
  return {
    [Symbol.dispose]() {
      listener.close();
      for (const conn of conns) {
        try {
          conn.close();
        } catch {
          // It has gone.
        }
      }
    },
  };
}

async function memoryOf(pid: number): Promise<number> {
  const [, kib = "0"] = /^VmHWM:\s+(\d+) kB$/m.exec(await Deno.readTextFile(`/proc/${pid}/status`)) ?? [];
  return Number(kib) / 1024;
}

Deno.test("an impostor on the ports of a server that was killed fills no memory, and is told from a server", async () => {
  await using world = await World.start(2);
  const pid = world.dashboard?.pid ?? 0;
  await until(async () => (await world.ask("/queue")).text.includes("<b>2</b>"), "the queue");
  const before = await memoryOf(pid);
  world.serveOut?.signal("SIGKILL");
  await world.serveOut?.ended();
  const [smtp = 0, metrics = 0] = world.ports;
  await Deno.remove(world.socket).catch(() => {});
  using _smtp = chatter(
    Deno.listen({ hostname: "127.0.0.1", port: smtp }),
    "220-<script>alert(1)</script>".repeat(99),
  );
  using _metrics = chatter(
    Deno.listen({ hostname: "127.0.0.1", port: metrics }),
    `HTTP/1.1 200 OK\r\n\r\n${"mailapp_smtp_open_connections 1\n".repeat(1000)}`,
  );
  using _control = chatter(Deno.listen({ transport: "unix", path: world.socket }), "x".repeat(64 * 1024));
  await until(
    async () => /serve-out<[^]*?(?:down|DOWN)/.test((await world.ask("/health")).text),
    "that it is down",
  );
  for (const path of ["/", "/queue", "/health", `/trace?what=${world.ids[0]}`]) {
    const { status, text } = await world.ask(path);
    assert.equal(status, 200, path);
    assert.doesNotMatch(text, /<script>alert/, path);
  }
  const after = await memoryOf(pid);
  assert.ok(after - before < 400, `${before} MiB before, ${after} MiB after`);
});

Deno.test("a serve-out that hangs delays no page for ever, and is said to hang", async () => {
  await using world = await World.start(2);
  await until(async () => (await world.ask("/queue")).text.includes("<b>2</b>"), "the queue");
  world.serveOut?.signal("SIGSTOP");
  const hangs = await world.ask(`/queue/${world.ids[0]}`);
  assert.equal(hangs.status, 500);
  assert.match(hangs.text, /it has not answered for 10 s/);
  const traced = await world.ask(`/trace?what=${world.ids[0]}`);
  assert.equal(traced.status, 200);
  assert.match(traced.text, /The queue could not be read: it has not answered for 10 s/);
  await until(async () => (await world.ask("/queue")).text.includes("has not answered"), "what is wrong");
  const { text } = await world.ask("/queue");
  assert.match(text, /<b>2<\/b> messages/);
  world.serveOut?.signal("SIGCONT");
  await until(async () => (await world.ask(`/queue/${world.ids[0]}`)).status === 200, "serve-out to go on");
});
