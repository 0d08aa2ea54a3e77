// init and install as root on a bare Debian: the account, the owners, and what a second time changes.
import assert from "node:assert/strict";
import { builtMailapp } from "../support/built.ts";
import { debianRoot, ROOT_PROGRAMS } from "../support/debian_root.ts";
import { makeFolder } from "../support/peers/folder.ts";
import { run } from "../support/peers/process.ts";
import { testWith } from "../support/requires.ts";

testWith(ROOT_PROGRAMS, "init and install make a service of the built file on a bare Debian", async () => {
  await using folder = await makeFolder("install");
  const script = `
    at="${folder.path}"; mkdir "$at/layer" "$at/root"
    mount -t tmpfs none "$at/layer"; mkdir "$at/layer/upper" "$at/layer/work"
    mount -t overlay -o "lowerdir=${await debianRoot()},upperdir=$at/layer/upper,workdir=$at/layer/work" none "$at/root"
    mount -t proc proc "$at/root/proc"; mount --bind /dev "$at/root/dev"
    cp "${await builtMailapp()}" "$at/root/root/mailapp"
    in_root() { chroot "$at/root" env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "$@"; }
    in_root /root/mailapp init --hostname mx.example.com --domain example.com --mailbox alice --yes
    in_root sh -c 'echo "[log]\nfile = \\"/var/log/mailapp/mail.log\\"" >>/etc/mailapp/config.toml'
    in_root /root/mailapp install
    echo "# ours" >>"$at/root/etc/systemd/system/mailapp-out.service"
    echo ── again
    in_root mailapp install
    echo ── named
    in_root cp /etc/mailapp/config.toml "/etc/mailapp/second one.toml"
    in_root mailapp install --config "/etc/mailapp/second one.toml"
    echo ── state
    in_root find /var/lib/mailapp /var/mail /var/log/mailapp /usr/local/bin -printf '%M %u:%g %p\\n'
    in_root setpriv --reuid=mailapp --regid=mailapp --clear-groups test -r /var/lib/mailapp/tls/selfsigned.key`;
  const { code, stdout, stderr } = await run("unshare", { args: ["-m", "-n", "sh", "-euc", script] });
  assert.equal(code, 0, stdout + stderr);
  const [first = "", again = "", named = "", state = ""] = stdout.split(/^── .*\n/m);
  assert.match(first, /^account mailapp: made by useradd$/m);
  assert.match(first, /mailapp-in\.service: written/);
  assert.match(again, /mailapp-in\.service: unchanged/);
  assert.match(again, /mailapp-out\.service: kept, because it was changed; .*\.new/);
  assert.match(named, /needs: mailapp check-config --config '\/etc\/mailapp\/second one\.toml'$/m);
  const lines = state.split("\n");
  for (
    const line of [
      "drwxr-x--x mailapp:mailapp /var/lib/mailapp",
      "drwx-ws-wt mailapp:mailapp /var/lib/mailapp/maildrop",
      "drwx------ mailapp:mailapp /var/lib/mailapp/accounts",
      "drwx------ mailapp:mailapp /var/lib/mailapp/dkim",
      "drwx------ mailapp:mailapp /var/lib/mailapp/incoming",
      "drwx------ mailapp:mailapp /var/lib/mailapp/spool",
      "-rw------- mailapp:mailapp /var/lib/mailapp/tls/selfsigned.key",
      "drwxrwsr-x root:mail /var/mail",
      "drwxrws--- mailapp:mailapp /var/mail/example.com",
      "drwxr-s--- mailapp:mailapp /var/log/mailapp",
      "-rwxr-xr-x root:root /usr/local/bin/mailapp",
    ]
  ) assert.ok(lines.includes(line), `${line}\n${state}`);
});
