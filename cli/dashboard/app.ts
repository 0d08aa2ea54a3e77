/**
 * The web application: who may ask, and which page answers.
 *
 * @module
 */
import { type Context, Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import type { Logger } from "../../base/log.ts";
import { errorText } from "../../base/error_text.ts";
import type { FoundLog } from "../trace/log_sources.ts";
import { SCRIPT, STYLE } from "./assets.ts";
import type { Guard, Visitor } from "./guard.ts";
import { document, type Html, html, type Page, text } from "./html.ts";
import type { LogView } from "./log_view.ts";
import type { MachineState } from "./machine.ts";
import { health, overview, refused, type Seen, traffic } from "./pages.ts";
import { confirmPage, messagePage, queuePage, readQueueQuery, readWanted } from "./queue_pages.ts";
import { BusyError, type QueueView } from "./queue_view.ts";
import type { ReceivedReports } from "./reports.ts";
import { reportsPage } from "./reports_page.ts";
import { tracePage } from "./trace_page.ts";

/** What the pages show, and who may see them. */
export interface DashboardParts {
  readonly hostname: string;
  readonly guard: Guard;
  readonly log: LogView;
  readonly queue: QueueView;
  readonly machine: { look(): Promise<MachineState> };
  readonly reports: Pick<ReceivedReports, "isConfigured" | "look">;
  /** The log as it is now, to search in. */
  readonly findLog: () => Promise<FoundLog>;
  /** Parts of the log that cannot be read. */
  readonly logProblems: readonly string[];
  /** Takes `dashboard.*`. */
  readonly logger: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** What the server knows of a request beside its fields. */
export interface Bindings {
  /** The client's address: of the browser, or of a proxy. */
  readonly peer: string;
}

type Env = { Bindings: Bindings };
type Asked = Context<Env>;

/** Octets of a form. */
const MAX_FORM = 64 * 1024;
/** How long an action may take before the page says that it goes on, in milliseconds. */
const PATIENCE = 5_000;
/** Searches at a time: each reads the log. */
const MAX_SEARCHES = 2;

// No page holds anything of others; styles and the script are files of our own.
const POLICY = [
  "default-src 'none'",
  "style-src 'self'",
  "script-src 'self'",
  "connect-src 'self'",
  "img-src data:",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

const HEADERS: Readonly<Record<string, string>> = {
  "Content-Security-Policy": POLICY,
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
  // With no-referrer browsers would send forms with "Origin: null".
  "Referrer-Policy": "same-origin",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Permissions-Policy": "camera=(), geolocation=(), microphone=(), usb=()",
  "Cache-Control": "no-store",
};

/** The application. */
export function dashboardApp(parts: DashboardParts): Hono<Env> {
  const { guard, logger } = parts;
  const app = new Hono<Env>();

  app.use(async (asked, next) => {
    const host = asked.req.header("host");
    const peer = peerOf(asked);
    if (!guard.allowsHost(host)) {
      logger.warn("dashboard.refused", { peer, reason: "host", host: host?.slice(0, 255) });
      return plain(asked, 421, "Use the loopback address, or a name from [dashboard] hosts.");
    }
    if (asked.req.method === "POST" && !guard.isOwnForm(fieldsOf(asked))) {
      const origin = asked.req.header("origin")?.slice(0, 255);
      logger.warn("dashboard.refused", { peer, reason: "origin", host, origin });
      return plain(asked, 403, "This form comes from another page.");
    }
    if (!["GET", "HEAD", "POST"].includes(asked.req.method)) return plain(asked, 405, "Only GET and POST.");
    await next();
    for (const [name, value] of Object.entries(HEADERS)) asked.res.headers.set(name, value);
    return;
  });

  app.get("/style.css", (asked) => asked.body(STYLE, 200, { "Content-Type": "text/css; charset=utf-8" }));
  app.get(
    "/script.js",
    (asked) => asked.body(SCRIPT, 200, { "Content-Type": "text/javascript; charset=utf-8" }),
  );
  app.get("/login", (asked) => show(asked, parts, loginPage("")));
  app.post("/login", (asked) => logIn(asked, parts));

  app.use(async (asked, next) => {
    if (visitorOf(asked, guard) !== undefined) return await next();
    return asked.req.method === "GET"
      ? asked.redirect("/login", 303)
      : plain(asked, 401, "Log in first, then try again.");
  });

  app.post("/logout", async (asked) => {
    await readForm(asked, guard);
    asked.header("Set-Cookie", guard.logOut(fieldsOf(asked)));
    return asked.redirect("/login", 303);
  });
  addPages(app, parts);
  app.notFound((asked) => {
    const body = html`<p>There is no such page. <a href="/">Overview</a></p>`;
    return show(asked, parts, { title: "Not found", at: "", body }, 404);
  });
  app.onError((error, asked) => {
    const status = error instanceof HTTPException ? error.status : error instanceof BusyError ? 409 : 500;
    if (status === 500) logger.error("dashboard.failed", { error: errorText(error) });
    const body = html`
      <p class="notice">${text(errorText(error))}</p>
      <p><a href="/">Overview</a></p>
    `;
    return show(asked, parts, { title: "That failed", at: "", body }, status);
  });
  return app;
}

function addPages(app: Hono<Env>, parts: DashboardParts): void {
  const { guard, queue, logger } = parts;
  const seen = async (): Promise<Seen> => {
    const [machine, state] = await Promise.all([parts.machine.look(), queue.look()]);
    return { log: parts.log, machine, queue: state, logProblems: parts.logProblems, now: parts.now() };
  };
  const page = (at: string, title: string, body: (seen: Seen) => Html) =>
    app.get(at, async (asked) => show(asked, parts, { title, at, body: body(await seen()), live: true }));
  page("/", "Overview", overview);
  page("/refused", "Refused", refused);
  page("/traffic", "Traffic", traffic);
  page("/health", "Health", health);

  app.get("/reports", async (asked) => {
    const state = parts.reports.isConfigured ? await parts.reports.look() : undefined;
    return show(asked, parts, { title: "Reports", at: "/reports", body: reportsPage(state) });
  });

  let searches = 0;
  app.get("/trace", async (asked) => {
    if (searches >= MAX_SEARCHES) {
      throw new HTTPException(503, { message: "Too many searches at once; try again." });
    }
    searches++;
    try {
      const body = await tracePage(new URL(asked.req.url).searchParams, {
        findLog: parts.findLog,
        queued: async (ids) => {
          const found = await Promise.all(ids.map((id) => queue.message(id)));
          return found.filter((view) => view !== undefined);
        },
        now: parts.now(),
      });
      return await show(asked, parts, { title: "Find a message", at: "/trace", body });
    } finally {
      searches--;
    }
  });

  app.get("/queue", async (asked) => {
    const state = await queue.look();
    const visitor = expectVisitor(asked, guard);
    const query = readQueueQuery(new URL(asked.req.url).searchParams);
    const body = queuePage({ state, jobs: queue.jobs, asked: query, visitor, now: parts.now() });
    return show(asked, parts, { title: "Queue", at: "/queue", body, live: true });
  });
  app.get("/queue/:id{[A-Za-z0-9]{1,40}}", async (asked) => {
    const id = asked.req.param("id");
    const view = await queue.message(id);
    if (view === undefined) {
      const body = html`
        <p>Message ${id} is not in the queue.</p>
        <p><a href="/trace?what=${id}">Trace it in the log</a></p>
      `;
      return show(asked, parts, { title: "Not in the queue", at: "/queue", body }, 404);
    }
    const body = messagePage(view, expectVisitor(asked, guard));
    return show(asked, parts, { title: `Message ${id}`, at: "/queue", body });
  });
  app.post("/queue/confirm", async (asked) => {
    const wanted = readWanted(await readForm(asked, guard));
    if (typeof wanted === "string") throw new HTTPException(400, { message: wanted });
    const body = confirmPage(wanted, expectVisitor(asked, guard));
    return show(asked, parts, { title: "Do it?", at: "/queue", body });
  });
  app.post("/queue/act", async (asked) => {
    const wanted = readWanted(await readForm(asked, guard));
    if (typeof wanted === "string") throw new HTTPException(400, { message: wanted });
    const { action, filter, what } = wanted;
    const { who } = expectVisitor(asked, guard);
    logger.info("dashboard.action", { who, peer: peerOf(asked), action, what });
    await queue.act(action, filter, {
      by: `dashboard, ${who} from ${peerOf(asked)}`,
      what,
      patience: PATIENCE,
    });
    return asked.redirect("/queue", 303);
  });
}

async function logIn(asked: Asked, parts: DashboardParts): Promise<Response> {
  const { guard, logger } = parts;
  const form = await readBody(asked);
  const peer = peerOf(asked);
  const result = guard.logIn((form.get("token") ?? "").trim(), fieldsOf(asked));
  if (typeof result === "string") {
    logger.warn("dashboard.login_refused", { peer, reason: result === "later" ? "too many" : "wrong token" });
    const problem = result === "later"
      ? "Too many wrong tokens. Try again in a minute."
      : "This is not a token of this server.";
    return show(asked, parts, loginPage(problem), result === "later" ? 429 : 403);
  }
  logger.info("dashboard.login", { peer, who: result.who });
  for (const cookie of result.cookies) asked.header("Set-Cookie", cookie, { append: true });
  return asked.redirect("/", 303);
}

function loginPage(problem: string): Page {
  return {
    title: "Log in",
    at: "/login",
    body: html`${problem === "" ? "" : html`<p class="notice" role="alert">${problem}</p>`}
<form class="row" method="post" action="/login">
<label>Token <input class="wide" type="password" name="token" required autocomplete="off"></label>
<button>Log in</button></form>
<p>Without <code>[dashboard] token_file</code> it is in the file that <code>mailapp dashboard</code> names when it starts.</p>`,
  };
}

async function show(
  asked: Asked,
  { guard, hostname }: Pick<DashboardParts, "guard" | "hostname">,
  page: Page,
  status: ContentfulStatusCode = 200,
): Promise<Response> {
  const visitor = guard.visitor(fieldsOf(asked));
  return asked.html(await document(page, { visitor, hostname }), status);
}

/** The form of someone who is logged in, from a page of theirs. @throws {HTTPException} */
async function readForm(asked: Asked, guard: Guard): Promise<URLSearchParams> {
  const form = await readBody(asked);
  const visitor = expectVisitor(asked, guard);
  if (!guard.isFormOf(visitor, form.get("form_token"))) {
    throw new HTTPException(403, { message: "This page has expired. Reload it." });
  }
  return form;
}

/** @throws {HTTPException} */
async function readBody(asked: Asked): Promise<URLSearchParams> {
  const type = asked.req.header("content-type")?.split(";", 1)[0]?.trim().toLowerCase();
  if (type !== "application/x-www-form-urlencoded") {
    throw new HTTPException(415, { message: "Only forms of these pages are accepted." });
  }
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of asked.req.raw.body ?? []) {
    length += chunk.length;
    if (length > MAX_FORM) throw new HTTPException(413, { message: "The form is too large." });
    chunks.push(chunk);
  }
  return new URLSearchParams(await new Blob(chunks as BlobPart[]).text());
}

function visitorOf(asked: Asked, guard: Guard): Visitor | undefined {
  return guard.visitor(fieldsOf(asked));
}

/** @throws {HTTPException} */
function expectVisitor(asked: Asked, guard: Guard): Visitor {
  const visitor = visitorOf(asked, guard);
  if (visitor === undefined) throw new HTTPException(401, { message: "Log in first." });
  return visitor;
}

function fieldsOf(asked: Asked) {
  return { header: (name: string) => asked.req.header(name), peer: peerOf(asked) };
}

function peerOf(asked: Asked): string {
  return asked.env.peer;
}

function plain(asked: Asked, status: 401 | 403 | 405 | 421, words: string): Response {
  return asked.text(`${words}\n`, status, { ...HEADERS });
}
