// Rewrites the list of events in docs/logs.md from observe/events.ts: `deno task logs-page`.
import { fileURLToPath } from "node:url";
import { eventsPage } from "../observe/events.ts";

const PAGE = fileURLToPath(new URL("../docs/logs.md", import.meta.url));
const HEADING = "\n## Events\n";

const text = await Deno.readTextFile(PAGE);
const end = text.indexOf(HEADING) + HEADING.length;
await Deno.writeTextFile(PAGE, `${text.slice(0, end)}\n${eventsPage()}\n`);
const { success } = await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", PAGE] }).output();
if (!success) throw new Error("deno fmt has failed");
