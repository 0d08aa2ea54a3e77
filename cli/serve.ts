/**
 * `mailapp serve-in` and `mailapp serve-out` on the command line.
 *
 * @module
 */
import type { Command } from "commander";
import { seedInBackground } from "../tls/seed.ts";
import { configOption, examples, type Registrar } from "./command_line/subcommand.ts";

/** Registers the subcommand. */
export function registerServeIn(program: Command, { io, action }: Registrar): void {
  program.command("serve-in")
    .description("take mail from the Internet into Maildirs, until SIGTERM")
    .addOption(configOption())
    .addHelpText("after", examples("mailapp serve-in --config /etc/mailapp/config.toml"))
    .action(action(async (options: { config?: string }) => {
      seedInBackground();
      const { serveIn } = await import("./serve_in.ts");
      return await serveIn(options, io);
    }));
}

/** Registers the subcommand. */
export function registerServeOut(program: Command, { io, action }: Registrar): void {
  program.command("serve-out")
    .description("take mail of local programs on loopback and send it on, until SIGTERM")
    .addOption(configOption())
    .addHelpText(
      "after",
      examples("mailapp serve-out", "mailapp serve-out --config /etc/mailapp/config.toml"),
    )
    .action(action(async (options: { config?: string }) => {
      seedInBackground();
      const { serveOut } = await import("./serve_out.ts");
      return await serveOut(options, io);
    }));
}
