// How serve-out ends: what it still takes, what it waits for, and what a second signal changes.
import assert from "node:assert/strict";
import { Dialogue } from "../support/dialogue.ts";
import { RunningMailapp, signalUntilEnded, THREADS, Workspace } from "../support/mailapp.ts";
import { freePort } from "../support/peers/ports.ts";
import { until } from "../support/peers/process.ts";

/** A host that takes its time at the final dot, or before it. */
class SlowHost implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly port = this.#listener.addr.port;
  /** Subjects of what came whole, answered or not. */
  readonly came: string[] = [];
  /** Subjects of what was answered. */
  readonly taken: string[] = [];
  /** Where it waits. */
  slowAt: "dot" | "MAIL" | undefined = "dot";
  #resume = Promise.withResolvers<void>();
  readonly #accepting = this.#accept();
  readonly #conns = new Set<Deno.Conn>();

  resume(): void {
    this.slowAt = undefined;
    this.#resume.resolve();
  }

  async #accept(): Promise<void> {
    for await (const conn of this.#listener) {
      this.#conns.add(conn);
      // The stream closes the connection as it ends.
      this.#serve(conn).catch(() => {}).finally(() => this.#conns.delete(conn));
    }
  }

  async #serve(conn: Deno.Conn): Promise<void> {
    const say = (line: string) => conn.write(new TextEncoder().encode(`${line}\r\n`));
    await say("220 slow.test");
    let subject: string | undefined;
    let text = "";
    for await (const chunk of conn.readable.pipeThrough(new TextDecoderStream())) {
      const lines = (text + chunk).split("\r\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        if (subject !== undefined) {
          if (line !== ".") {
            if (line.startsWith("Subject: ")) subject = line.slice("Subject: ".length);
            continue;
          }
          this.came.push(subject);
          if (this.slowAt === "dot") await this.#resume.promise;
          await say("250 2.0.0 taken");
          this.taken.push(subject);
          subject = undefined;
          continue;
        }
        if (line.startsWith("MAIL") && this.slowAt === "MAIL") await this.#resume.promise;
        if (line === "DATA") subject = "";
        await say(line === "DATA" ? "354 go on" : line === "QUIT" ? "221 bye" : "250 ok");
        if (line === "QUIT") return;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.resume();
    this.#listener.close();
    await this.#accepting.catch(() => {});
    await until(() => this.#conns.size === 0, { what: "the connections to end" });
  }
}

class World implements AsyncDisposable {
  readonly port = freePort();

  private constructor(readonly workspace: Workspace, readonly host: SlowHost) {}

  static async create(): Promise<World> {
    return new World(await Workspace.create(), new SlowHost());
  }

  async start(): Promise<RunningMailapp> {
    const config = await this.workspace.configure({
      "serve-out": { listen: ["127.0.0.1"], port: this.port, min_free_space: 0, retry: ["1s"] },
      "serve-out.routes": { "*": `127.0.0.1:${this.host.port}` },
    });
    const server = new RunningMailapp(["serve-out", "--config", config]);
    await server.event("server.ready");
    return server;
  }

  async submit(subject: string): Promise<string> {
    using dialogue = await Dialogue.connect(this.port);
    await dialogue.hear();
    await dialogue.say("EHLO client.test");
    await dialogue.say("MAIL FROM:<a@client.test>");
    await dialogue.say("RCPT TO:<b@far.test>");
    await dialogue.say("DATA");
    return await dialogue.say(`Subject: ${subject}\r\n\r\nHello\r\n.`);
  }

  async came(subject: string): Promise<void> {
    await until(() => this.host.came.includes(subject), { what: `the dot of ${subject}` });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]();
    await this.workspace[Symbol.asyncDispose]();
  }
}

Deno.test("serve-out takes mail while it ends, and SIGTERM twice within a moment counts once", async () => {
  await using world = await World.create();
  const { host } = world;
  {
    await using server = await world.start();
    assert.match(await world.submit("slow"), /^250 /);
    await world.came("slow");
    server.signal("SIGTERM");
    server.signal("SIGTERM");
    await server.event("server.stopping");
    let reply = await world.submit("late");
    // Threads learn of the end a moment later; a client that connects before is told 421.
    for (let tries = 1; tries < THREADS && !reply.startsWith("250 "); tries++) {
      reply = await world.submit("late");
    }
    assert.match(reply, /^250 /);
    host.resume();
    assert.equal(await server.ended(), 0);
  }
  await using server = await world.start();
  await until(() => host.taken.length === 2, { what: "both messages" });
  assert.equal(await server.stop(), 0);
  assert.deepEqual(host.came, ["slow", "late"]);
});

Deno.test("serve-out at a later second signal ends without what has not come to its dot, which leaves later", async () => {
  await using world = await World.create();
  const { host } = world;
  host.slowAt = "MAIL";
  {
    await using server = await world.start();
    assert.match(await world.submit("early"), /^250 /);
    await server.event("message.accepted");
    await signalUntilEnded(server);
  }
  host.resume();
  await using server = await world.start();
  await until(() => host.taken.length === 1, { what: "the message" });
  assert.equal(await server.stop(), 0);
  assert.deepEqual(host.came, ["early"]);
});

Deno.test("serve-out at a later second signal writes down the reply to a final dot that comes within seconds", async () => {
  await using world = await World.create();
  const { host } = world;
  {
    await using server = await world.start();
    assert.match(await world.submit("once"), /^250 /);
    await world.came("once");
    server.signal("SIGTERM");
    await server.event("server.stopping");
    setTimeout(() => host.resume(), 2500);
    const ended = server.ended();
    // A second one that does not repeat the first.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    server.signal("SIGTERM");
    assert.equal(await ended, 0);
  }
  await using server = await world.start();
  await server.event("queue.scanned", { where: { entries: 0 } });
  assert.equal(await server.stop(), 0);
  assert.deepEqual(host.came, ["once"]);
});
