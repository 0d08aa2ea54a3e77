// docs/guide/containers.md without Docker: images by the Dockerfiles on a bare Debian, and containers of them made of
// namespaces. What is typed there comes out of the page.
import assert from "node:assert/strict";
import { parse, parseAllDocuments } from "yaml";
import { builtMailapp } from "../support/built.ts";
import { type Container, ContainerHost, type Image } from "../support/containers.ts";
import { ROOT_PROGRAMS } from "../support/debian_root.ts";
import { dockerRun, shellWords } from "../support/docker_words.ts";
import { Guide } from "../support/guide.ts";
import { PYTHON, run, runOk, until } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

const ROOT = new URL("../../", import.meta.url);

/** A service of compose.yaml. */
interface ComposeService {
  readonly image: string;
  readonly command?: readonly string[];
  readonly volumes: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly read_only: boolean;
  readonly tmpfs?: readonly string[];
  readonly cap_drop: readonly string[];
  readonly cap_add?: readonly string[];
}

async function hostWithImage(): Promise<{ host: ContainerHost; image: Image }> {
  const host = await ContainerHost.create();
  try {
    return { host, image: await host.build(ROOT, { files: { "dist/mailapp": await builtMailapp() } }) };
  } catch (error) {
    await host[Symbol.asyncDispose]();
    throw error;
  }
}

/** Waits until it serves. */
async function served({ program }: Container): Promise<void> {
  await program.line(/"event":"server\.ready"/, { within: 60_000 });
}

async function ok(container: Container, command: readonly string[], stdin = ""): Promise<string> {
  const { code, stdout, stderr } = await container.exec(command, { stdin });
  assert.equal(code, 0, `${command.join(" ")}\n${stdout}${stderr}\n${container.program.lines.join("\n")}`);
  return stdout;
}

/** Waits for a message in a mailbox of a volume. */
async function stored(
  host: ContainerHost,
  { volume, subject }: { volume: string; subject: string },
): Promise<void> {
  const path = await host.volume(volume);
  await until(async () => {
    const { stdout } = await run("grep", { args: ["-rlx", `Subject: ${subject}`, path] });
    return stdout.trim() !== "";
  }, { what: `${subject} in ${path}` });
}

async function stop(...containers: readonly Container[]): Promise<void> {
  for (const { program } of containers) {
    await program.stop();
    assert.equal((await program.status).code, 0, program.lines.join("\n"));
  }
}

testWith(
  [...ROOT_PROGRAMS, "setpriv", "nsenter", PYTHON],
  "containers.md, followed to its end in namespaces",
  async (t) => {
    const guide = await Guide.read("containers");
    assert.match(guide.take("deno task build\n"), /^docker build -t mailapp \.$/m);
    const { host, image } = await hostWithImage();
    await using _host = host;
    const step = async (name: string, run: () => Promise<void>) => assert.ok(await t.step(name, run), name);
    const send = ["mailapp", "sendmail", "-f", "alice@example.com", "alice@example.com"];

    await step("the image: a fixed uid, and nothing in it that only root can read", async () => {
      assert.equal(await host.accountOf(image), "2525:2525");
      const closed = await runOk("find", {
        args: [
          image.layer,
          "-uid",
          "0",
          "-not",
          "-perm",
          "-0004",
          "-not",
          "-type",
          "l",
          "-path",
          `${image.layer}/*mailapp*`,
        ],
      });
      assert.equal(closed, "");
    });

    await step("two variables", async () => {
      const [running = "", ...typed] = guide.take("docker run -d --name mx ").replaceAll("\\\n", "").trim()
        .split("\n");
      const { options, flags } = dockerRun(running, { image, host });
      for (const flag of ["--read-only", "--tmpfs", "--cap-drop", "--security-opt", "-p"]) {
        assert.ok(flags.has(flag), flag);
      }
      assert.deepEqual(Object.keys(options.env ?? {}), ["MAILAPP_HOSTNAME", "MAILAPP_MAILBOXES"]);
      const server = await host.start(options);
      await served(server);
      for (const line of typed) {
        const [docker, exec, name, ...command] = shellWords(line);
        assert.deepEqual([docker, exec, name], ["docker", "exec", "mx"]);
        const said = await ok(server, command);
        if (command.includes("dns")) {
          assert.match(said, /v=DKIM1/);
        }
      }
      await ok(server, image.healthcheck);
      const made = await ok(server, ["cat", "/etc/mailapp/config.toml"]);
      assert.match(made, /^users = \["alice", "bob"\]/m);
      const [, selector = ""] = /selector = "(\w+)"/.exec(made) ?? [];
      await stop(server);

      // Other variables: it is made anew, with the same key; nothing is where somebody has edited it.
      const data = await host.volume("mx_data");
      await runOk("sh", {
        args: ["-euc", 'cd "$1/dkim"; mv "example.com.$2.pem" example.com.s202401.pem', "sh", data, selector],
      });
      const env = { ...options.env, MAILAPP_MAILBOXES: "alice,bob,carol" };
      const config = { ...options, env, command: ["config", "get", "mailboxes.users"] };
      const again = await host.run(config);
      assert.match(again.stdout, /carol/, again.stderr);
      assert.match((await host.run({ ...config, command: ["config", "get", "dkim"] })).stdout, /s202401/);
      const file = `${await host.volume("mx_config")}/config.toml`;
      await Deno.writeTextFile(file, "# ours\n", { append: true });
      const edited = await host.run({ ...config, env: { ...env, MAILAPP_MAILBOXES: "dave" } });
      assert.match(edited.stdout, /carol/);
      assert.match(edited.stderr, /the environment has changed, and so has .*config\.toml, which is used/);
      const half = await host.run({ image, env: { MAILAPP_HOSTNAME: "mx.example.com" } });
      assert.equal(half.code, 78);
      assert.match(half.stderr, /MAILAPP_HOSTNAME needs MAILAPP_MAILBOXES/);
    });

    await step("one file", async () => {
      const settings = guide.take("hostname = ");
      await Deno.writeTextFile(host.folder.at("config.toml"), settings);
      const running = guide.take("docker run -d --name mx2 ").replaceAll("\\\n", "").trim();
      const { options } = dockerRun(running, { image, host });
      assert.equal(options.env, undefined);
      const server = await host.start(options);
      await served(server);
      await ok(server, image.healthcheck);
      assert.equal(await ok(server, ["cat", "/etc/mailapp/config.toml"]), settings);
      await stop(server);

      await Deno.writeTextFile(
        host.folder.at("config.toml"),
        settings.replace(/^\[serve-in\]$/m, "$&\nthreads = 3"),
      );
      const threaded = await host.start(options);
      await served(threaded);
      assert.match(threaded.program.lines.join("\n"), /"event":"server\.ready".*"threads":3/);
      await ok(threaded, image.healthcheck);
      await stop(threaded);
    });

    await step("init into a directory and a volume", async () => {
      const [making = "", running = ""] = guide.take("install -d -o 2525 ").replaceAll("\\\n", "").trim()
        .split("\n");
      await runOk("sh", { args: ["-euc", making], cwd: host.folder.path });
      const { options, flags } = dockerRun(running, { image, host });
      assert.ok(flags.has("--rm"));
      const { code, stderr } = await host.run(options);
      assert.equal(code, 0, stderr);
      assert.match(
        await Deno.readTextFile(host.folder.at("etc/config.toml")),
        /^hostname = "mx\.example\.com"/m,
      );
      assert.notEqual(await runOk("find", { args: [await host.volume("mx3_data"), "-name", "*.pem"] }), "");
    });

    await step("compose.yaml: all servers, and Dovecot", async () => {
      const context = new URL("contrib/container/", ROOT);
      const typed = guide.take("cd contrib/container\n").trim().split("\n");
      assert.deepEqual(typed.slice(0, 4).map((line) => line.split(" ").slice(0, 3).join(" ")), [
        "cd contrib/container",
        'export MAILAPP_HOSTNAME=mx.example.com MAILAPP_MAILBOXES="alice',
        "docker compose build",
        "docker compose up",
      ]);
      const variables = Object.fromEntries(
        shellWords(typed[1] ?? "").slice(1).map((word) => word.split("=") as [string, string]),
      );
      const compose = parse(await Deno.readTextFile(new URL("compose.yaml", context)), { merge: true });
      const images: Record<string, Image> = {
        "mailapp": image,
        "mailapp-dovecot": await host.build(new URL("dovecot/", context)),
      };
      const running = new Map<string, Container>();
      for (const [name, service] of Object.entries<ComposeService>(compose.services)) {
        const {
          image: from,
          command = [],
          volumes,
          environment = {},
          tmpfs = ["/tmp"],
          cap_drop,
          cap_add = [],
        } = service;
        assert.deepEqual(cap_drop, ["ALL"], name);
        assert.equal(service.read_only, true, name);
        // All of them begin at once, with the same empty volumes.
        const container = await host.start({
          image: images[from] ?? image,
          command,
          env: Object.fromEntries(
            Object.entries<string>(environment).map((
              [key, value],
            ) => [
              key,
              value.replace(/^\$\{(\w+):\?.*\}$/, (_, variable: string) => variables[variable] ?? ""),
            ]),
          ),
          volumes: volumes.map((volume) => `mailapp_${volume}`),
          tmpfs,
          capabilities: cap_add,
          network: "compose",
        });
        running.set(name, container);
      }
      const container = (name = "") => {
        const found = running.get(name);
        assert.ok(found !== undefined, name);
        return found;
      };
      for (const name of ["serve-in", "serve-out", "serve-submit"]) await served(container(name));
      for (
        const [name, { healthcheck }] of Object.entries<{ healthcheck: { test: string[] } }>(compose.services)
      ) {
        const [cmd, ...test] = healthcheck.test;
        assert.equal(cmd, "CMD");
        await until(async () => (await container(name).exec(test)).code === 0, {
          what: `the health of ${name}`,
        });
      }
      let password = "";
      let users = "";
      for (const line of typed.slice(4)) {
        const [docker, compose, verb, name, ...command] = shellWords(line.replace(/ >users$/, ""));
        assert.deepEqual([docker, compose], ["docker", "compose"]);
        if (verb === "cp") {
          assert.equal(line, "docker compose cp users dovecot:/srv/dovecot/users");
          const file = `${await host.volume("mailapp_dovecot")}/users`;
          await Deno.writeTextFile(file, users, { mode: 0o644 });
          continue;
        }
        assert.equal(verb, "exec");
        if (command.includes("doctor")) {
          const { stdout } = await container(name).exec([...command, "--all"]);
          for (const id of ["storage", "rights", "maildrop"]) {
            assert.match(stdout, new RegExp(`^ok: ${id} `, "m"), stdout);
          }
        } else if (command.includes("test")) {
          assert.match(await ok(container(name), [...command, password]), /auth succeeded/);
        } else if (command.includes("export")) {
          users = await ok(container(name), command);
        } else password = /^password: (\S+)$/m.exec(await ok(container(name), command))?.[1] ?? "";
      }
      await ok(container("serve-out"), send, "Subject: in a container\n\nHello.\n");
      await stored(host, { volume: "mailapp_mail", subject: "in a container" });
      const reader = `
import imaplib, ssl
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
imap = imaplib.IMAP4_SSL("127.0.0.1", 993, ssl_context=context)
imap.login("alice@example.com", "${password}")
imap.select()
print(imap.uid("SEARCH", "SUBJECT", "container")[1][0].decode())`;
      const { stdout: found, stderr } = await run("nsenter", {
        args: [`--target=${container("dovecot").program.pid}`, "--net", PYTHON, "-c", reader],
      });
      assert.match(found, /^\d/, stderr + container("dovecot").program.lines.join("\n"));
      await stop(...["serve-in", "serve-out", "serve-submit"].map(container));
    });

    await step("kubernetes.yaml: a pod whose volumes belong to root and the group of the pod", async () => {
      const text = await Deno.readTextFile(new URL("contrib/container/kubernetes.yaml", ROOT));
      const [map, service, set] = parseAllDocuments(text).map((document) => document.toJS());
      assert.deepEqual([map.kind, service.kind, set.kind], ["ConfigMap", "Service", "StatefulSet"]);
      assert.equal(set.spec.replicas, 1);
      assert.equal(service.spec.externalTrafficPolicy, "Local");
      const { securityContext, containers } = set.spec.template.spec;
      assert.deepEqual(
        [securityContext.runAsUser, securityContext.runAsGroup, securityContext.fsGroup].join(":"),
        "2525:2525:2525",
      );
      const volumes: Record<string, string> = {};
      for (const { metadata: { name } } of set.spec.volumeClaimTemplates) {
        volumes[name] = `pod_${name}`;
        const path = await host.volume(`pod_${name}`);
        // As the kubelet leaves a new volume.
        await Deno.chown(path, 0, 2525);
        await Deno.chmod(path, 0o2775);
      }
      await host.folder.mkdir("configmap");
      await host.folder.write("configmap/config.toml", map.data["config.toml"]);
      volumes["config"] = host.folder.at("configmap");
      const pods: Container[] = [];
      for (const { args, volumeMounts, securityContext, livenessProbe } of containers) {
        assert.ok(securityContext.readOnlyRootFilesystem && !securityContext.allowPrivilegeEscalation);
        const mounts: { name: string; mountPath: string; readOnly?: boolean }[] = volumeMounts;
        const container = await host.start({
          image,
          command: args,
          volumes: mounts.filter(({ name }) => name !== "tmp").map(({ name, mountPath, readOnly }) =>
            `${volumes[name]}:${mountPath}${readOnly ? ":ro" : ""}`
          ),
          network: "pod",
        });
        pods.push(container);
        await served(container);
        await ok(container, livenessProbe.exec.command);
      }
      const [serveIn, serveOut] = pods;
      assert.ok(serveIn !== undefined && serveOut !== undefined);
      await ok(serveOut, send, "Subject: in a pod\n\nHello.\n");
      await stored(host, { volume: "pod_mail", subject: "in a pod" });
      assert.match(await ok(serveOut, ["mailapp", "dkim", "new", "example.com"]), /\[dkim\]/);
      // Its own network, and the same volumes: a second replica.
      const { code, stderr, stdout } = await host.run({
        image,
        command: ["serve-out"],
        volumes: [`${volumes["config"]}:/etc/mailapp:ro`, "pod_data:/var/lib/mailapp", "pod_mail:/var/mail"],
      });
      assert.notEqual(code, 0);
      assert.match(stderr + stdout, /only one serve-out can run on it/);
      await stop(serveIn, serveOut);
    });
    guide.end();
  },
);
