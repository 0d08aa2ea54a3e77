/**
 * What all hosts that share a queue have for a domain.
 *
 * @module
 */
import type { Config } from "../../config/config.ts";
import { CommandError } from "../../server/exit_codes.ts";
import { count, printable } from "../command_line/terminal.ts";

/** Messages of the whole queue for a domain, and those that hosts have. */
export interface EverywhereCounts {
  readonly messages: number;
  readonly hosts: readonly { readonly name: string; readonly messages: number }[];
}

/** That, or why it cannot be found out. */
export type Everywhere = EverywhereCounts | { readonly error: string };

/** What the whole queue has for a domain, where it is in a database. */
export async function askDatabase({ queue }: Config, domain: string): Promise<Everywhere | undefined> {
  if (queue.store !== "postgres") return undefined;
  const { sharedDomain } = await import("../../server/shared_queue_access.ts");
  try {
    return await sharedDomain(queue, domain);
  } catch (error) {
    if (error instanceof CommandError) return { error: error.message };
    throw error;
  }
}

/** As a line. */
export function describeEverywhere(domain: string, everywhere: Everywhere): string {
  if ("error" in everywhere) return `  the whole queue could not be read: ${printable(everywhere.error)}`;
  const { messages, hosts } = everywhere;
  const on = hosts.map(({ name, messages }) => `, ${messages} of them on ${printable(name)}`).join("");
  return `  all hosts: ${count(messages, "message")} for ${domain}${on}`;
}
