import assert from "node:assert/strict";
import { join } from "@std/path";
import type { LogLevel } from "../base/log.ts";
import { type LogOptions, startLog } from "./logger.ts";

function memory() {
  const decoder = new TextDecoder();
  const stderr = {
    text: "",
    write(data: Uint8Array): Promise<number> {
      stderr.text += decoder.decode(data);
      return Promise.resolve(data.length);
    },
    close() {},
  };
  return stderr;
}

async function written(
  options: Partial<LogOptions>,
  write: (logger: ReturnType<typeof startLog>["logger"]) => void,
) {
  const standardError = memory();
  {
    await using log = startLog({
      level: "info",
      format: "auto",
      file: "",
      isTerminal: false,
      standardError,
      ...options,
    });
    write(log.logger);
  }
  return standardError.text;
}

Deno.test("startLog() writes JSON where no terminal is, text on one", async () => {
  const say = (logger: Parameters<Parameters<typeof written>[1]>[0]) =>
    logger.info("server.ready", { port: 25 });
  assert.match(
    await written({}, say),
    /^\{"time":"[^"]+Z","level":"info","event":"server\.ready","port":25\}\n$/,
  );
  assert.match(await written({ isTerminal: true }, say), /Z INFO {2}server\.ready port=25\n$/);
  assert.match(await written({ isTerminal: true, format: "json" }, say), /^\{/);
  assert.match(await written({ format: "text" }, say), / INFO /);
});

Deno.test("startLog() writes the levels asked for and no others, and enabled() agrees", async () => {
  const levels: LogLevel[] = ["error", "warn", "info", "debug", "trace"];
  for (const [index, level] of levels.entries()) {
    const enabled: LogLevel[] = [];
    const text = await written({ level }, (logger) => {
      for (const each of levels) {
        logger[each]("some.event");
        if (logger.enabled(each)) enabled.push(each);
      }
    });
    const lines = text.trim().split("\n").map((line) => JSON.parse(line).level);
    assert.deepEqual(lines, levels.slice(0, index + 1));
    assert.deepEqual(enabled, lines);
  }
});

Deno.test("with() adds fields, which an event may replace", async () => {
  const text = await written({}, (logger) => {
    const session = logger.with({ server: "in" }).with({ session: "x7", peer: "192.0.2.1" });
    session.info("message.accepted", { peer: "192.0.2.2" });
    logger.info("plain");
  });
  const [first, second] = text.trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual([first.server, first.session, first.peer], ["in", "x7", "192.0.2.2"]);
  assert.deepEqual(Object.keys(second), ["time", "level", "event"]);
});

Deno.test("startLog() writes its own fields into every line", async () => {
  const text = await written({ context: { server: "serve-out" } }, (logger) => {
    logger.info("one");
    logger.with({ session: "x" }).warn("two", { server: "other" });
  });
  assert.deepEqual(text.trim().split("\n").map((line) => JSON.parse(line).server), ["serve-out", "other"]);
});

Deno.test("an event name with braces is not a template", async () => {
  const text = await written({}, (logger) => logger.info("odd.{peer}", { peer: "x" }));
  assert.equal(JSON.parse(text).event, "odd.{peer}");
});

Deno.test("reopen() goes on in a new file after a rotation", async () => {
  const directory = await Deno.makeTempDir();
  const file = join(directory, "mailapp.log");
  {
    await using log = startLog({ level: "info", format: "auto", file, isTerminal: true });
    log.logger.info("before");
    await log.flush();
    await Deno.rename(file, `${file}.1`);
    log.logger.info("between");
    await log.reopen();
    log.logger.info("after");
  }
  const events = async (path: string) =>
    (await Deno.readTextFile(path)).trim().split("\n").map((line) => JSON.parse(line).event);
  assert.deepEqual(await events(`${file}.1`), ["before", "between"]);
  assert.deepEqual(await events(file), ["after"]);
  assert.equal(((await Deno.stat(file)).mode ?? 0) & 0o007, 0);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("reopen() that fails is told on standard error, and the old file goes on", async () => {
  const directory = await Deno.makeTempDir();
  const inner = join(directory, "log");
  await Deno.mkdir(inner);
  const standardError = memory();
  {
    await using log = startLog({
      level: "info",
      format: "auto",
      file: join(inner, "mailapp.log"),
      isTerminal: false,
      standardError,
    });
    await Deno.rename(inner, join(directory, "moved"));
    await assert.rejects(log.reopen(), Deno.errors.NotFound);
    log.logger.info("after");
  }
  assert.equal(JSON.parse(standardError.text).event, "log.failed");
  assert.match(await Deno.readTextFile(join(directory, "moved/mailapp.log")), /"after"/);
  await Deno.remove(directory, { recursive: true });
});

Deno.test("the level can be changed, for loggers that are in use too", async () => {
  const standardError = memory();
  {
    await using log = startLog({
      level: "info",
      format: "json",
      file: "",
      isTerminal: false,
      standardError,
    });
    const logger = log.logger.with({ session: "x" });
    logger.debug("before");
    log.level = "debug";
    assert.ok(logger.enabled("debug"));
    logger.debug("between");
    log.level = "error";
    logger.warn("after");
  }
  assert.match(standardError.text, /^\{[^\n]*"event":"between"[^\n]*\n$/);
});

Deno.test("startLog() does not start with a file that cannot be opened", async () => {
  const directory = await Deno.makeTempDir();
  assert.throws(
    () =>
      startLog({ level: "info", format: "auto", file: join(directory, "no/such.log"), isTerminal: false }),
    /no\/such\.log/,
  );
  await Deno.remove(directory);
});

Deno.test("startLog() begins lines for the journal with their priority, and those of a file not", async () => {
  let written = "";
  const standardError = {
    write: (data: Uint8Array) => {
      written += new TextDecoder().decode(data);
      return data.length;
    },
    close() {},
  };
  const common = {
    level: "debug",
    format: "json",
    isTerminal: false,
    toJournal: true,
    standardError,
  } as const;
  {
    await using log = startLog({ ...common, file: "" });
    for (const level of ["error", "warn", "info", "debug"] as const) log.logger[level]("x.y");
  }
  assert.deepEqual(written.trimEnd().split("\n").map((line) => line.slice(0, 4)), [
    "<3>{",
    "<4>{",
    "<6>{",
    "<7>{",
  ]);
  const file = await Deno.makeTempFile();
  {
    await using log = startLog({ ...common, file });
    log.logger.error("x.y");
  }
  assert.match(await Deno.readTextFile(file), /^\{/);
  await Deno.remove(file);
  written = "";
  {
    await using log = startLog({ ...common, file: "/dev/full" });
    log.logger.info("x.y");
  }
  assert.match(written, /^<3>\{.*"event":"log\.failed"/);
});
