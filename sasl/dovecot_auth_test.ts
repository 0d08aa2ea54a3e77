import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { join } from "@std/path";
import { fc } from "../tests/support/property.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import { DovecotAuth } from "./dovecot_auth.ts";
import { parseReply, plainRequest } from "./dovecot_protocol.ts";
import { until } from "../tests/support/until.ts";

const HANDSHAKE =
  "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tLOGIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\tx\nDONE\n";
const ORIGIN = { address: "192.0.2.1", session: "s1" };

/** A Dovecot by script: says `handshake`, and to each request what `answer` makes of it. */
class FakeDovecot implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync();
  readonly path = join(this.directory, "auth-client");
  readonly requests: string[] = [];
  readonly clock = new FakeClock();
  readonly auth = new DovecotAuth({ path: this.path, clock: this.clock });
  connections = 0;
  handshake = HANDSHAKE;
  answer: (id: string, request: string) => string | undefined = (id) => `OK\t${id}\tuser=alice@example.com\n`;
  #listener: Deno.Listener | undefined;
  readonly #conns = new Set<Deno.Conn>();
  #serving: Promise<unknown> = Promise.resolve();

  listen(): this {
    const listener = Deno.listen({ transport: "unix", path: this.path });
    this.#listener = listener;
    this.#serving = (async () => {
      const talks: Promise<void>[] = [];
      for await (const conn of listener) {
        this.connections++;
        talks.push(this.#talk(conn).catch(() => {}));
      }
      await Promise.all(talks);
    })().catch(() => {});
    return this;
  }

  async #talk(conn: Deno.Conn): Promise<void> {
    this.#conns.add(conn);
    await conn.write(Buffer.from(this.handshake));
    const decoder = new TextDecoder();
    let rest = "";
    const buffer = new Uint8Array(4096);
    for (let length = await conn.read(buffer); length !== null; length = await conn.read(buffer)) {
      const lines = (rest + decoder.decode(buffer.subarray(0, length))).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (!line.startsWith("AUTH\t")) continue;
        this.requests.push(line);
        const answer = this.answer(line.split("\t")[1] ?? "", line);
        if (answer !== undefined) await conn.write(Buffer.from(answer));
      }
    }
  }

  hangUp(): void {
    for (const conn of this.#conns) {
      try {
        conn.close();
      } catch {
        // It has gone already.
      }
    }
    this.#conns.clear();
  }

  check(login = "alice@example.com", password = "secret") {
    return this.auth.credentialsFor(ORIGIN).check(login, password);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.auth[Symbol.dispose]();
    this.hangUp();
    this.#listener?.close();
    await this.#serving;
    await Deno.remove(this.directory, { recursive: true });
  }
}

Deno.test("DovecotAuth asks over one connection, and says where the client is", async () => {
  await using dovecot = new FakeDovecot().listen();
  assert.deepEqual(await dovecot.check(), { kind: "right", login: "alice@example.com" });
  await Promise.all(Array.from({ length: 20 }, () => dovecot.check()));
  assert.equal(dovecot.connections, 1);
  assert.equal(
    dovecot.requests[0],
    `AUTH\t1\tPLAIN\tservice=smtp\tsecured\trip=192.0.2.1\tsession=s1\tresp=${
      Buffer.from("\0alice@example.com\0secret").toString("base64")
    }`,
  );
});

Deno.test("DovecotAuth takes each answer for what it is", async () => {
  await using dovecot = new FakeDovecot().listen();
  const verdict = async (answer: string) => {
    dovecot.answer = (id) => answer.replace("ID", id);
    const found = await dovecot.check("alice");
    return found.kind === "right" ? `right ${found.login}` : `${found.kind} ${found.why}`;
  };
  assert.equal(await verdict("OK\tID\tuser=Alice@Example.com\textra=1\n"), "right alice@example.com");
  assert.equal(await verdict("OK\tID\n"), "right alice");
  assert.equal(await verdict("OK\tID\tuser=a b\n"), "unavailable Dovecot names a login that cannot be one");
  assert.equal(await verdict("FAIL\tID\tuser=alice\n"), "wrong wrong password or unknown login");
  assert.equal(await verdict("FAIL\tID\tuser=alice\tuser_disabled\n"), "wrong the account is disabled");
  assert.equal(await verdict("FAIL\tID\tuser=alice\tpass_expired\n"), "wrong the password has expired");
  assert.equal(await verdict("FAIL\tID\ttemp\treason=no\x01tsql\n"), "unavailable no\tsql");
  assert.match(await verdict("CONT\tID\t\n"), /^unavailable /);
  assert.equal(dovecot.connections, 1);
});

Deno.test("DovecotAuth connects anew when the connection has ended, and tells who waited", async () => {
  await using dovecot = new FakeDovecot().listen();
  assert.equal((await dovecot.check()).kind, "right");
  dovecot.answer = () => void dovecot.hangUp();
  assert.equal((await dovecot.check()).kind, "unavailable");
  dovecot.answer = (id) => `OK\t${id}\n`;
  assert.deepEqual(
    (await Promise.all(Array.from({ length: 10 }, () => dovecot.check()))).map(({ kind }) => kind),
    Array(10).fill("right"),
  );
  assert.equal(dovecot.connections, 2);
});

Deno.test("DovecotAuth says that it cannot tell while there is no Dovecot, and asks it once there is", async () => {
  await using dovecot = new FakeDovecot();
  const verdict = await dovecot.check();
  assert.equal(verdict.kind, "unavailable");
  assert.ok(verdict.kind === "unavailable" && verdict.why.includes(dovecot.path));
  dovecot.listen();
  assert.equal((await dovecot.check()).kind, "right");
});

Deno.test("DovecotAuth does not wait for ever, neither for the handshake nor for an answer", async () => {
  await using dovecot = new FakeDovecot().listen();
  const late = async (ms: number) => {
    let kind = "";
    dovecot.check().then((verdict) => kind = verdict.kind);
    for (let n = 0; kind === "" && n < 100; n++) await dovecot.clock.advance(n < 10 ? 0 : ms / 10);
    return kind;
  };
  dovecot.handshake = "VERSION\t1\t2\n";
  assert.equal(await late(30_000), "unavailable");
  dovecot.handshake = HANDSHAKE;
  dovecot.answer = () => undefined;
  assert.equal(await late(30_000), "unavailable");
  dovecot.answer = (id) => `OK\t${id}\n`;
  assert.equal((await dovecot.check()).kind, "right");
});

Deno.test("DovecotAuth refuses another version, a Dovecot without PLAIN, and lines without end", async () => {
  for (
    const handshake of [
      "VERSION\t2\t0\nMECH\tPLAIN\nDONE\n",
      "VERSION\t1\t1\nMECH\tCRAM-MD5\nDONE\n",
      "x".repeat(40_000),
    ]
  ) {
    await using dovecot = new FakeDovecot();
    dovecot.handshake = handshake;
    dovecot.listen();
    assert.equal((await dovecot.check()).kind, "unavailable", handshake.slice(0, 40));
  }
});

Deno.test("DovecotAuth bounds how many wait, and ends them when it is disposed", async () => {
  await using dovecot = new FakeDovecot().listen();
  dovecot.answer = () => undefined;
  const all = Array.from({ length: 110 }, () => dovecot.check());
  await until(() => dovecot.requests.length >= 100, "100 requests", settle);
  dovecot.auth[Symbol.dispose]();
  assert.ok((await Promise.all(all)).every(({ kind }) => kind === "unavailable"));
  assert.equal(dovecot.requests.length, 100);
});

Deno.test("a login, password or address cannot end the line of a request, nor make another parameter", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (text, password) => {
    const line = plainRequest(7, { login: text, password, address: text, session: text });
    assert.equal(line.indexOf("\n"), line.length - 1);
    assert.equal(line.split("\t").length, 8);
  }));
});

Deno.test("parseReply() takes any line, and only replies for replies", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
    assert.equal(parseReply(`X${text}`), undefined);
    parseReply(`OK\t${text}`);
  }));
  assert.equal(parseReply("OK\tx"), undefined);
  assert.equal(parseReply("OK"), undefined);
  assert.equal(parseReply("OK\t5\tuser=a\x01tb\x011")?.fields.get("user"), "a\tb\x01");
});
