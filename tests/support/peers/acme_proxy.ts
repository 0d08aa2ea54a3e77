/**
 * Stands between a client and Pebble, and answers some requests itself, as an authority in trouble does. A program of
 * its own, so that it can run on another host; {@linkcode startAcmeProxy} starts it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { request as httpsRequest } from "node:https";
import { fileURLToPath } from "node:url";
import { makeFolder } from "./folder.ts";
import { writeHttpsFiles } from "./https_files.ts";
import { type RunningProgram, startUntil } from "./process.ts";

/** What is done to requests of one kind, in place of handing them on. */
export interface AcmeFault {
  /** Method and first part of the path, such as `POST order-plz`. */
  readonly step: string;
  /**
   * The answer: a problem document; a page of something else; none, with the connection broken off; or none at all.
   */
  readonly answer:
    | {
      readonly status: number;
      readonly type: string;
      readonly detail: string;
      readonly retryAfter?: string;
    }
    | "garbage"
    | "drop"
    | "silence";
}

/** A running proxy. */
export interface AcmeProxy extends AsyncDisposable {
  /** The URL of the authority's directory, by way of the proxy. */
  readonly directory: string;
  /** What its HTTPS is trusted by, a PEM file. */
  readonly caFile: string;
  /** Its lines are the requests, such as `POST order-plz`. */
  readonly program: RunningProgram;
  /** From now on these faults and no others. */
  set(...faults: readonly AcmeFault[]): Promise<void>;
}

const PORT = 14_443;

/** Starts it in front of Pebble on the same host. */
export async function startAcmeProxy(
  { through }: { readonly through: readonly string[] },
): Promise<AcmeProxy> {
  await using stack = new AsyncDisposableStack();
  const folder = stack.use(await makeFolder("acme-proxy"));
  const { cert, key, caFile } = await writeHttpsFiles(folder, "the proxy's HTTPS");
  const faults = await folder.write("faults.json", "[]");
  const [command = "", ...args] = [...through, Deno.execPath(), "run", "-A", "--quiet", "--frozen"];
  const program = await startUntil(command, {
    args: [...args, fileURLToPath(import.meta.url), cert, key, faults],
    ready: ({ line }) => line(/^ready$/),
  });
  stack.defer(() => program.stop());
  const all = stack.move();
  return {
    directory: `https://localhost:${PORT}/dir`,
    caFile,
    program,
    async set(...list) {
      await Deno.writeTextFile(`${faults}.new`, JSON.stringify(list));
      await Deno.rename(`${faults}.new`, faults);
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

function serve([cert = "", key = "", faults = ""]: readonly string[]): void {
  Deno.serve({
    hostname: "127.0.0.1",
    port: PORT,
    cert: Deno.readTextFileSync(cert),
    key: Deno.readTextFileSync(key),
    onListen: () => console.log("ready"),
  }, async (request) => {
    const { pathname, search } = new URL(request.url);
    const step = `${request.method} ${pathname.split("/")[1]}`;
    console.log(step);
    const list = JSON.parse(Deno.readTextFileSync(faults)) as AcmeFault[];
    const fault = list.find((fault) => fault.step === step);
    if (fault === undefined) return await handOn(request, `${pathname}${search}`);
    const { answer } = fault;
    if (answer === "garbage") {
      return new Response("<html>busy</html>", { headers: { "content-type": "text/html" } });
    }
    if (answer === "silence") return await new Promise<Response>(() => {});
    if (answer === "drop") {
      return new Response(new ReadableStream({ start: (controller) => controller.error(new Error("drop")) }));
    }
    const { status, type, detail, retryAfter } = answer;
    return new Response(JSON.stringify({ type: `urn:ietf:params:acme:error:${type}`, detail, status }), {
      status,
      headers: {
        "content-type": "application/problem+json",
        ...(retryAfter !== undefined && { "retry-after": retryAfter }),
      },
    });
  });
}

/** Pebble names its resources by the Host of the request, which must stay. */
async function handOn(request: Request, path: string): Promise<Response> {
  const body = Buffer.from(await request.arrayBuffer());
  const headers = Object.fromEntries(request.headers);
  return await new Promise((resolve, reject) => {
    const outgoing = httpsRequest({
      host: "127.0.0.1",
      port: 14_000,
      method: request.method,
      path,
      headers: { ...headers, host: `localhost:${PORT}`, "accept-encoding": "identity" },
      rejectUnauthorized: false,
    }, (incoming) => {
      const parts: Uint8Array[] = [];
      incoming.on("data", (part: Uint8Array) => parts.push(part)).on("end", () => {
        const fields = new Headers();
        for (const [name, value] of Object.entries(incoming.headers)) {
          if (["content-length", "transfer-encoding", "connection"].includes(name)) continue;
          for (const one of [value ?? []].flat()) fields.append(name, one);
        }
        const status = incoming.statusCode ?? 502;
        const bodyless = status === 204 || status === 304 || request.method === "HEAD";
        resolve(new Response(bodyless ? null : Buffer.concat(parts), { status, headers: fields }));
      });
    });
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

if (import.meta.main) serve(Deno.args);
