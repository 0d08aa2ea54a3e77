import assert from "node:assert/strict";
import { HeaderSection } from "../message/header_section.ts";
import { bytesOf, textOf } from "../tests/support/bytes.ts";
import { FakeClock, settle } from "../tests/support/fake_clock.ts";
import {
  type Filter,
  type FilteredMessage,
  type FilterOpinion,
  FilterRun,
  foldedValue,
  isFieldName,
} from "./filter.ts";

const OPINION: FilterOpinion = { action: "accept", fields: [], edits: [], about: "fine" };
const MESSAGE: FilteredMessage = {
  hostname: "mx.example.com",
  id: "1",
  client: { address: "192.0.2.1", port: 1 },
  helo: "x",
  from: "",
  to: [],
};

/** A filter that fails at one step. */
class Failing implements Filter {
  readonly name = "test";
  readonly seen: string[] = [];
  open_ = 0;

  constructor(readonly at?: "open" | "header" | "body" | "finish") {}

  #step(name: string): Promise<void> {
    this.seen.push(name);
    return name.split(" ")[0] === this.at ? Promise.reject(new Error(`no ${name}`)) : Promise.resolve();
  }

  async open() {
    await this.#step("open");
    this.open_++;
    return {
      header: () => this.#step("header"),
      body: (chunk: Uint8Array) => this.#step(`body ${textOf(chunk)}`),
      finish: () => this.#step("finish").then(() => OPINION),
      [Symbol.dispose]: () => void this.open_--,
    };
  }
}

Deno.test("FilterRun shows a filter all of a message, in order", async () => {
  const filter = new Failing();
  const ended: (string | undefined)[] = [];
  using run = new FilterRun(filter, {
    message: Promise.resolve(MESSAGE),
    clock: new FakeClock(),
    ended: (failure) => ended.push(failure),
  });
  run.header(new HeaderSection());
  void run.body(bytesOf("a"));
  await run.body(bytesOf("b"));
  assert.deepEqual(await run.finish(), { opinion: OPINION });
  assert.deepEqual(filter.seen, ["open", "header", "body a", "body b", "finish"]);
  assert.deepEqual(ended, [undefined]);
});

Deno.test("FilterRun shows a filter nothing more that failed, and says so once", async () => {
  for (const at of ["open", "header", "body", "finish"] as const) {
    const filter = new Failing(at);
    const ended: (string | undefined)[] = [];
    using run = new FilterRun(filter, {
      message: Promise.resolve(MESSAGE),
      clock: new FakeClock(),
      ended: (failure) => ended.push(failure),
    });
    run.header(new HeaderSection());
    await run.body(bytesOf("a"));
    await run.body(bytesOf("b"));
    assert.deepEqual(await run.finish(), { failure: at === "body" ? "no body a" : `no ${at}` });
    assert.equal(filter.seen.at(-1)?.split(" ")[0], at);
    assert.equal(ended.length, 1);
    assert.equal(filter.open_, 0);
  }
});

Deno.test("FilterRun closes a filter with a message that comes to nothing, and takes that for no failure", async () => {
  const filter = new Failing();
  const message = Promise.withResolvers<FilteredMessage>();
  const ended: unknown[] = [];
  const run = new FilterRun(filter, {
    message: message.promise,
    clock: new FakeClock(),
    ended: (failure) => ended.push(failure),
  });
  run[Symbol.dispose]();
  message.resolve(MESSAGE);
  await run.finish();
  assert.equal(filter.open_, 0);
  assert.deepEqual(ended, []);
});

/** A filter that takes this many milliseconds for each step, or never answers. */
class Slow extends Failing {
  constructor(readonly clock: FakeClock, readonly milliseconds: Readonly<Record<string, number>>) {
    super();
  }

  override async open() {
    await this.#wait("open");
    const session = await super.open();
    return {
      ...session,
      header: () => this.#wait("header").then(session.header),
      body: (chunk: Uint8Array) => this.#wait("body").then(() => session.body(chunk)),
      finish: () => this.#wait("finish").then(session.finish),
    };
  }

  #wait(step: string): Promise<void> {
    const milliseconds = this.milliseconds[step] ?? 0;
    if (milliseconds === Infinity) return new Promise(() => {});
    return new Promise((resolve) => void this.clock.after(milliseconds, resolve));
  }
}

Deno.test("FilterRun gives up on a filter that takes too long for a message, whatever its steps take", async () => {
  for (
    const [steps, expected] of [
      [{ open: Infinity }, { failure: "more than 120 s" }],
      [{ header: Infinity }, { failure: "more than 120 s" }],
      [{ finish: Infinity }, { failure: "more than 120 s" }],
      // No step by itself is too long.
      [{ body: 29_000 }, { failure: "more than 120 s" }],
      [{ open: 29_000, header: 29_000, body: 1000, finish: 29_000 }, { opinion: OPINION }],
    ] as const
  ) {
    const clock = new FakeClock();
    const filter = new Slow(clock, steps);
    const ended: unknown[] = [];
    const done = (async () => {
      using run = new FilterRun(filter, {
        message: Promise.resolve(MESSAGE),
        clock,
        ended: (failure) => ended.push(failure),
      });
      run.header(new HeaderSection());
      for (let part = 0; part < 10; part++) {
        await run.body(bytesOf("x"));
        // The client is slow, too, which counts for nothing.
        await new Promise<void>((resolve) => void clock.after(60_000, resolve));
      }
      return await run.finish();
    })();
    let over = false;
    void done.finally(() => over = true);
    // Timers fire one by one, in their order; what they wake is done before the next one.
    for (let minute = 0; minute < 60 && !over; minute++) {
      await clock.advance(60_000);
      await settle();
    }
    assert.deepEqual(await done, expected, JSON.stringify(steps));
    assert.equal(ended.length, 1);
    assert.equal(filter.open_, 0);
  }
});

Deno.test("foldedValue() makes a value of any text", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["a", "a"],
    ["  a \r\n b", "a \r\n b"],
    ["a\nb\n\n \n\tc", "a\r\n\tb\r\n\tc"],
    ["a\rSubject: forged", "a\r\n\tSubject: forged"],
    ["a\0\x1b[2Jb", "a??[2Jb"],
    ["", ""],
    ["\n\n", ""],
  ];
  for (const [text, value] of cases) assert.equal(foldedValue(text), value, JSON.stringify(text));
});

Deno.test("isFieldName() takes names of fields alone", () => {
  assert.ok(isFieldName("X-Spam"));
  for (const name of ["", "a b", "a:", "a\n", "é", "x".repeat(201)]) assert.ok(!isFieldName(name), name);
});
