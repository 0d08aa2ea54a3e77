import assert from "node:assert/strict";
import { join } from "@std/path";
import { runMailapp } from "../../tests/support/mailapp.ts";
import { runInProcess } from "../../tests/support/in_process.ts";

interface Result {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** A directory with a configuration, and mailapp with it. */
class Place implements AsyncDisposable {
  readonly directory = Deno.makeTempDirSync();
  readonly config = join(this.directory, "config.toml");

  constructor() {
    this.configure("");
  }

  /** Writes the configuration: these lines are its `[dkim]`. */
  configure(dkim: string): void {
    Deno.writeTextFileSync(
      this.config,
      `hostname = "mx.example.com"\ndata_dir = ${
        JSON.stringify(join(this.directory, "data"))
      }\n[dkim]\n${dkim}\n`,
    );
  }

  mailapp(...args: string[]): Promise<Result> {
    return runInProcess([...args, "--config", this.config]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** What dkim new tells to put into the configuration. */
function dkimLines(out: string): string {
  return /\[dkim\]\n([^]*?)\n\n/.exec(out)?.[1] ?? assert.fail(out);
}

Deno.test("mailapp dkim new makes keys for the configuration that it prints, and show says the same records", async () => {
  await using place = new Place();
  const rsa = await place.mailapp("dkim", "new", "Example.com", "--selector", "old");
  assert.equal(rsa.code, 0, rsa.err);
  const file = join(place.directory, "data", "dkim", "example.com.old.pem");
  assert.equal(((await Deno.stat(file)).mode ?? 0) & 0o777, 0o600);
  assert.equal(dkimLines(rsa.out), `"example.com" = { selector = "old", key = ${JSON.stringify(file)} }`);
  place.configure(dkimLines(rsa.out));

  const ed = await place.mailapp("dkim", "new", "example.com", "--ed25519");
  assert.equal(ed.code, 0, ed.err);
  assert.match(
    dkimLines(ed.out),
    /^"example\.com" = \[\n {2}\{ selector = "old".*\n {2}\{ selector = "e\d{6}"/,
  );
  place.configure(dkimLines(ed.out));

  const shown = await place.mailapp("dkim", "show", "--json");
  const keys = JSON.parse(shown.out) as {
    algorithm: string;
    name: string;
    value: string;
    strings: string[];
  }[];
  assert.deepEqual(keys.map(({ algorithm }) => algorithm), ["rsa-sha256", "ed25519-sha256"]);
  for (const { name, value, strings } of keys) {
    assert.equal(strings.join(""), value);
    assert.ok(strings.every(({ length }) => length <= 255));
    assert.ok([rsa.out, ed.out].some((out) => out.includes(`${name}\n${value}\n`)), name);
  }
  assert.equal(keys[0]?.name, "old._domainkey.example.com");

  const text = await place.mailapp("dkim", "show", "example.com");
  assert.match(
    text.out,
    /^old\._domainkey\.example\.com\. IN TXT \(\n {2}"v=DKIM1; k=rsa; p=MII[^"]*"\n {2}"[^"]*" \)$/m,
  );
  const checked = await place.mailapp("check-config");
  assert.match(checked.out, /signs for example\.com with old, rsa-sha256/);
  assert.equal(checked.code, 0, checked.out);
});

Deno.test("mailapp dkim new overwrites no key, and takes no selector twice", async () => {
  await using place = new Place();
  const first = await place.mailapp("dkim", "new", "example.com");
  const file = JSON.parse(/key = (".*") \}/.exec(first.out)?.[1] ?? "") as string;
  const before = await Deno.readTextFile(file);
  const second = await place.mailapp("dkim", "new", "example.com");
  assert.equal(second.code, 64);
  assert.match(second.err, /already exists, and was not changed: choose another --selector/);
  assert.equal(await Deno.readTextFile(file), before);
  place.configure(`"example.com" = { selector = "mine", key = ${JSON.stringify(file)} }`);
  const third = await place.mailapp("dkim", "new", "example.com", "--selector", "mine");
  assert.equal(third.code, 64);
  assert.match(third.err, /has a key for example\.com with the selector mine already/);
});

Deno.test("mailapp dkim says what is not a domain, and where there is no key", async () => {
  await using place = new Place();
  assert.equal((await place.mailapp("dkim", "new", "../etc")).code, 64);
  assert.equal((await place.mailapp("dkim", "new", "a.example", "--selector", "a/b")).code, 64);
  const none = await place.mailapp("dkim", "show", "example.com");
  assert.equal(none.code, 69);
  assert.match(none.err, /no key for example\.com: make one with mailapp dkim new example\.com/);
});

Deno.test("a key that cannot be used is a configuration error, for serve-out and check-config", async () => {
  await using place = new Place();
  const file = join(place.directory, "bad.pem");
  await Deno.writeTextFile(file, "nothing");
  place.configure(
    `"a.example" = [{ selector = "a", key = "/nowhere" }, { selector = "b", key = ${JSON.stringify(file)} }]`,
  );
  const wrong = new RegExp(
    String.raw`dkim\."a\.example"\[0\]\.key = "/nowhere": cannot be read: .*\n` +
      String.raw`.*dkim\."a\.example"\[1\]\.key = ".*bad\.pem": is not a private key in PEM`,
  );
  const served = await runMailapp(["serve-out", "--config", place.config]);
  assert.equal(served.code, 78);
  assert.match(served.stderr, wrong);
  const checked = await place.mailapp("check-config");
  assert.equal(checked.code, 78);
  assert.match(checked.out, wrong);
});
