import assert from "node:assert/strict";
import { createSelfSigned } from "../../tls/self_signed.ts";
import { runMailapp, Workspace } from "../../tests/support/mailapp.ts";

Deno.test("certificate show without [tls.acme] shows the certificate of [tls], or what to set", async () => {
  await using workspace = await Workspace.create();
  const config = workspace.file("config.toml");
  const show = async (tls: string, ...more: string[]) => {
    const head = `hostname = "mx.example.com"\ndata_dir = ${JSON.stringify(workspace.file("data"))}\n`;
    await Deno.writeTextFile(config, head + tls);
    return await runMailapp(["certificate", "show", "--config", config, ...more]);
  };
  const none = await show("");
  assert.deepEqual(none, {
    code: 65,
    stdout: "There is no certificate: set [tls] cert and key, self_signed = true, or [tls.acme].\n",
    stderr: "",
  });
  assert.deepEqual(JSON.parse((await show("", "--json")).stdout), {
    names: [],
    missing_names: [],
    rollover_begun: false,
  });

  const [cert, key] = [workspace.file("cert.pem"), workspace.file("key.pem")];
  const pair = await createSelfSigned({ hostname: "mx.example.com", now: Date.now() });
  await Deno.writeTextFile(cert, pair.cert);
  await Deno.writeTextFile(key, pair.key, { mode: 0o600 });
  const shown = await show(`[tls]\ncert = ${JSON.stringify(cert)}\nkey = ${JSON.stringify(key)}\n`);
  assert.equal(shown.code, 0, shown.stderr);
  assert.match(shown.stdout, /^names {4}mx\.example\.com\nissuer {3}.*\nuntil {4}\d{4}-/);
  assert.match(shown.stdout, /^renewal {2}not by mailapp: there is no \[tls\.acme\]$/m);
});
