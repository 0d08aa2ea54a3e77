/**
 * nginx as an HTTPS server of a few small files.
 *
 * @module
 */
import { makeFolder } from "./folder.ts";
import { run, type RunningProgram, startUntil, until } from "./process.ts";

/** A site, by TLS server name. */
export interface Site {
  /** PEM files. */
  readonly cert: string;
  readonly key: string;
  /** What a GET of any path gives; absent with `redirect`. */
  readonly text?: string;
  /** Where a GET leads instead. */
  readonly redirect?: string;
  /** Octets a second. */
  readonly rate?: number;
  /** The media type; `text/plain` if absent. */
  readonly type?: string;
}

/** A running nginx. */
export interface Nginx extends AsyncDisposable {
  readonly program: RunningProgram;
  /** Serves these sites from now on. */
  reload(sites: Readonly<Record<string, Site>>): Promise<void>;
}

/** Starts it on an address, port 443. */
export async function startNginx(
  sites: Readonly<Record<string, Site>>,
  { address, through = [] }: { readonly address: string; readonly through?: readonly string[] },
): Promise<Nginx> {
  const folder = await makeFolder("nginx");
  let generation = 0;
  const configure = async (sites: Readonly<Record<string, Site>>) => {
    const mark = `generation ${generation++}`;
    const servers: string[] = [];
    for (const [index, [name, site]] of Object.entries(sites).entries()) {
      const root = await folder.mkdir(`site${index}`);
      await Deno.mkdir(`${root}/.well-known`, { recursive: true });
      await folder.write(`site${index}/.well-known/mta-sts.txt`, site.text ?? "");
      servers.push(`server {
        listen ${address}:443 ssl; server_name ${name};
        ssl_certificate ${site.cert}; ssl_certificate_key ${site.key};
        root ${root}; types { } default_type "${site.type ?? "text/plain"}";
        ${site.rate === undefined ? "" : `limit_rate ${site.rate};`}
        ${site.redirect === undefined ? "" : `return 301 ${site.redirect};`}
      }`);
    }
    await folder.write(
      "nginx.conf",
      `daemon off; master_process on; worker_processes 1; user root; pid ${folder.at("pid")};
       error_log stderr notice;
       events { worker_connections 64; }
       http { access_log off; add_header X-Mark "${mark}" always;
         client_body_temp_path ${folder.at("t1")}; proxy_temp_path ${folder.at("t2")};
         fastcgi_temp_path ${folder.at("t3")}; uwsgi_temp_path ${folder.at("t4")};
         scgi_temp_path ${folder.at("t5")};
         ${servers.join("\n")}
       }`,
    );
    return mark;
  };
  await configure(sites);
  const [command = "", ...args] = [...through, "nginx", "-c", folder.at("nginx.conf"), "-e", "stderr"];
  const program = await startUntil(command, {
    args,
    ready: async ({ line }) => void await line(/start worker process \d/),
  });
  return {
    program,
    async reload(sites) {
      const mark = await configure(sites);
      const [name = ""] = Object.keys(sites);
      Deno.kill(Number(await Deno.readTextFile(folder.at("pid"))), "SIGHUP");
      await until(async () => {
        const [curl = "", ...rest] = [...through, "curl"];
        const { stdout } = await run(curl, {
          args: [...rest, "-sik", "--resolve", `${name}:443:${address}`, `https://${name}/`],
        });
        return stdout.includes(mark);
      }, { what: "the new configuration of nginx" });
    },
    async [Symbol.asyncDispose]() {
      await program.stop();
      await folder[Symbol.asyncDispose]();
    },
  };
}
