/**
 * Leaves a message for serve-out while it is not running.
 *
 * @module
 */
import { DropError, dropMessage } from "../../relay/maildrop/drop.ts";
import { maildropDirectory } from "../../relay/maildrop/directory.ts";
import { DroppedHeadError } from "../../relay/maildrop/dropped_head.ts";
import { CommandError, EXIT, type ExitCode } from "../../server/exit_codes.ts";
import { runSystemCommand } from "../command_line/system_commands.ts";
import type { Message } from "./message.ts";
import type { Server } from "./server.ts";

/**
 * Leaves the message in the maildrop.
 * @param options `reason`: why serve-out cannot take it now
 * @throws {CommandError} when it cannot be left there
 */
export async function leave(
  message: Message,
  { server, reason }: { readonly server: Server; readonly reason: string },
): Promise<ExitCode> {
  const { sender, recipients, notify, dsn, bytes } = message;
  try {
    const head = { sender, recipients, ...(notify && { notify }), ...(dsn && { dsn }) };
    await dropMessage(head, bytes, {
      directory: maildropDirectory(server.dataDir),
      minFreeSpace: server.minFreeSpace,
      syncDirectory,
    });
    return EXIT.ok;
  } catch (error) {
    if (!(error instanceof DropError)) throw error;
    if (error.cause instanceof DroppedHeadError) {
      throw new CommandError(`sendmail: ${error.message}`, EXIT.data, { cause: error });
    }
    throw new CommandError(
      `sendmail: ${reason}; and the message cannot be kept for it: ${error.message}`,
      EXIT.tryAgain,
      { cause: error },
    );
  }
}

/** Syncs the directory's file system by way of the file, as the directory may not be opened. */
async function syncDirectory(directory: string, file: string): Promise<void> {
  try {
    using opened = await Deno.open(directory);
    await opened.sync();
    return;
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
  }
  const { code, stderr } = await runSystemCommand("sync", { args: ["-f", file] });
  if (code === 0) return;
  // serve-out runs again, and has taken it.
  if (!await Deno.lstat(file).then(() => true, () => false)) return;
  throw new Error(code === undefined ? "this file system cannot sync" : stderr);
}
