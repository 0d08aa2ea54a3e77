/**
 * The log of commands that work on the queue itself.
 *
 * @module
 */
import type { Config } from "../config/config.ts";
import { type Log, startLog } from "../observe/logger.ts";
import type { Io } from "./io.ts";
import { openLog } from "./log_parts.ts";

/** The log of serve-out; if that is standard error, only warnings and errors are shown to the user. */
export function openServersLog(config: Config, io: Io): Log {
  if (config.log.file) return openLog(config, { ...io, server: "mailapp queue" });
  const decoder = new TextDecoder();
  return startLog({
    level: "warn",
    format: "text",
    file: "",
    isTerminal: io.isTerminal,
    standardError: {
      write: (data) => {
        io.err(decoder.decode(data));
        return Promise.resolve(data.length);
      },
      close: () => {},
    },
  });
}
