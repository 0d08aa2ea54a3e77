import assert from "node:assert/strict";
import { dirname, join } from "@std/path";
import { createSelfSigned } from "../../tls/self_signed.ts";
import { FakeClock } from "../../tests/support/fake_clock.ts";
import { findCertificates } from "./found_certificates.ts";

const DAY = 86_400_000;
const NOW = Date.UTC(2026, 10, 24);

async function store(paths: { cert: string; key: string }, hostname: string, now = NOW): Promise<void> {
  const pair = await createSelfSigned({ hostname, now });
  for (const name of ["cert", "key"] as const) {
    await Deno.mkdir(dirname(paths[name]), { recursive: true });
    await Deno.writeTextFile(paths[name], pair[name]);
  }
}

Deno.test("findCertificates() finds what certbot and Caddy have for this name and is not over", async () => {
  const root = await Deno.makeTempDir({ prefix: "mailapp-test-" });
  try {
    const live = (name: string) => {
      const directory = join(root, "etc/letsencrypt/live", name);
      return { cert: join(directory, "fullchain.pem"), key: join(directory, "privkey.pem") };
    };
    const caddy = join(
      root,
      "var/lib/caddy/.local/share/caddy/certificates/acme-v02/mx.example.com/mx.example.com",
    );
    await store(live("mx.example.com"), "mx.example.com", NOW - DAY);
    await store({ cert: `${caddy}.crt`, key: `${caddy}.key` }, "mx.example.com");
    await store(live("www.example.com"), "www.example.com");
    await store(live("mx.example.com-0001"), "mx.example.com", NOW - 6 * 365 * DAY);
    await Deno.mkdir(join(root, "etc/letsencrypt/live/broken"));
    await Deno.writeTextFile(join(root, "etc/letsencrypt/live/README"), "certbot writes one");
    const found = await findCertificates("mx.example.com", { clock: new FakeClock(NOW), root });
    assert.deepEqual(found.map(({ keeper, cert }) => [keeper, cert]), [
      ["Caddy", `${caddy}.crt`],
      ["certbot", live("mx.example.com").cert],
    ]);
    assert.deepEqual(
      await findCertificates("other.example", { clock: new FakeClock(NOW), root }),
      [],
    );
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});
