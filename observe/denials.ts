/**
 * Accesses that Deno denies to this thread, also where the error is caught and nothing else would tell of it.
 *
 * A server has only the permissions that it needs. Code that needs one more fails in the server alone, never in a test
 * with all permissions; and where a missing file is as good as none, or within a library, it fails in silence. So every
 * denial is logged, once. Deno makes an object of one class for each: its constructor tells of it.
 *
 * @module
 */
import type { Logger } from "../base/log.ts";

/** An access that was denied. */
export interface Denial {
  /** Such as `read access to "/etc/shells"`. */
  readonly access: string;
  /** The program's line that asked for it, such as `server/boot.ts:12`, where that can be told. */
  readonly at?: string;
}

/** Receives each denial; must not throw. */
export type DenialListener = (denial: Denial) => void;

/** Different accesses that are reported; a thread that is denied more is out of order anyhow. */
const MOST = 50;
/** UTF-16 units of an access that are kept: a path may be long, and a name may come from the network. */
const MAX_ACCESS = 300;
const ACCESS = /^Requires (\w+ access.*?)(?:, (?:run again|specify)\b|$)/s;
/** A frame of the stack in a module of the program, as against Deno's own. */
const FRAME = /\(?(file:\/\/[^\s()]+?):(\d+):\d+\)?(?=\n|$)/;
const ROOT = new URL("..", import.meta.url).href;

const seen = new Set<string>();
const waiting: Denial[] = [];
let listener: DenialListener | undefined;
let watching = false;

/** Begins to notice denials in this thread. They wait until {@linkcode onDenial} names who receives them. */
export function watchDenials(): void {
  if (watching) return;
  watching = true;
  const { NotCapable } = Deno.errors;
  const Base = Object.getPrototypeOf(NotCapable) as ErrorConstructor;
  Object.setPrototypeOf(
    NotCapable,
    class extends Base {
      constructor(message?: string, options?: ErrorOptions) {
        super(message, options);
        note(message ?? "", this.stack ?? "");
      }
    },
  );
}

/** Has each different denial told to this listener, in place of the one before. */
export function onDenial(tell: DenialListener): void {
  listener = tell;
  for (const denial of waiting.splice(0)) tell(denial);
}

/** Logs each different denial. */
export function logDenials(logger: Logger): void {
  onDenial(({ access, at }) => logger.warn("permission.denied", { access, ...(at !== undefined && { at }) }));
}

/** A denial in one line of text. */
export function denialText({ access, at }: Denial): string {
  return `permission denied: ${access}${at === undefined ? "" : ` (${at})`}`;
}

function note(message: string, stack: string): void {
  const access = (ACCESS.exec(message)?.[1] ?? message).slice(0, MAX_ACCESS);
  if (seen.has(access) || seen.size >= MOST) return;
  seen.add(access);
  const frame = FRAME.exec(stack.slice(stack.indexOf("\n")));
  const at = frame === null ? undefined : `${frame[1]?.replace(ROOT, "")}:${frame[2]}`;
  const denial: Denial = { access, ...(at !== undefined && { at }) };
  if (listener === undefined) waiting.push(denial);
  else listener(denial);
}
