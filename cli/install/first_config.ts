/**
 * The text of a first configuration: what differs from the defaults, and hints at further settings.
 *
 * @module
 */

/** The answers. */
export interface FirstAnswers {
  readonly hostname: string;
  readonly dataDir: string;
  /** At least one. */
  readonly domains: readonly string[];
  /** Local-parts and addresses, or `system`. */
  readonly users: readonly string[] | "system";
  /** The recipient of mail to postmaster, root and abuse. */
  readonly postmaster: string;
  /** Absent, without `acme`: self-signed. */
  readonly certificate?: { readonly cert: string; readonly key: string };
  /** From an authority, which may write to this address. */
  readonly acme?: { readonly email: string };
  /** Whether senders are promised TLS with a certificate that verifies. */
  readonly mtaSts?: true;
  /** Where serve-in listens: one word of `listen`, or addresses; absent: the default. */
  readonly listen?: readonly string[];
  /** The port of serve-in; absent: the default. */
  readonly port?: number;
  /** Whether people send mail from phones and computers. */
  readonly submission: boolean;
  /** The template of the Maildirs. */
  readonly mailPath: string;
  /** By domain. */
  readonly dkim: Readonly<Record<string, { readonly selector: string; readonly key: string }>>;
}

/** The defaults of the configuration, which need not be written. */
export const DEFAULT_PATHS = { dataDir: "/var/lib/mailapp", mailPath: "/var/mail/{domain}/{user}" } as const;

/** The roles whose mail people read: postmaster by RFC 5321, root by convention, abuse by RFC 2142. */
const ROLES = ["postmaster", "root", "abuse"] as const;

/** The file. */
export function firstConfig(answers: FirstAnswers): string {
  const { hostname, dataDir, domains, users, postmaster, certificate, acme, mtaSts } = answers;
  const { submission, mailPath, dkim } = answers;
  const { listen, port } = answers;
  const [first = ""] = listen ?? [];
  const isWord = listen?.length === 1 && !/[.:]/.test(first);
  const optional = (line: string, isDefault: boolean) => isDefault ? [] : [line];
  const roles = ROLES.filter((role) => users === "system" || !users.includes(role));
  return [
    "# The configuration of mailapp, made by mailapp init. It has only what differs from the defaults; config.example.toml of",
    "# the project has every key. Check a change with mailapp check-config.",
    "",
    `hostname = ${text(hostname)} # banner, EHLO, Received; what reverse DNS says`,
    ...optional(`data_dir = ${text(dataDir)} # queue, state, keys`, dataDir === DEFAULT_PATHS.dataDir),
    "",
    ...(acme === undefined ? ["[tls]"] : []),
    ...(acme !== undefined
      ? [
        "[tls.acme] # mailapp certificate obtain gets a certificate from Let's Encrypt; until then a self-signed one serves",
        `email = ${text(acme.email)} # whom it may write to`,
      ]
      : certificate === undefined
      ? [
        "self_signed = true # better than none; few senders verify it. Replace it once you have one:",
        `# cert = ${text(`/etc/letsencrypt/live/${hostname}/fullchain.pem`)}`,
        `# key = ${text(`/etc/letsencrypt/live/${hostname}/privkey.pem`)}`,
      ]
      : [`cert = ${text(certificate.cert)}`, `key = ${text(certificate.key)}`]),
    "",
    "[serve-in]",
    `domains = ${list(domains)} # mail for these is accepted, for others refused`,
    ...(listen === undefined
      ? [
        '# listen = "auto" # the addresses of the interface with the default route; or ["192.0.2.1", "2001:db8::1"]',
      ]
      : [`listen = ${isWord ? text(first) : list(listen)}`]),
    ...(port === undefined ? [] : [`port = ${port}`]),
    ...(submission ? ["tls_port = false # mail programs need port 465, and mail servers never use it"] : []),
    "",
    ...(submission
      ? [
        "[serve-submit] # mail programs log in on port 465, or 587 with STARTTLS: mailapp account add LOGIN",
        "",
      ]
      : []),
    ...(mtaSts
      ? [
        "[serve-policy] # has the MTA-STS policy at https://mta-sts.DOMAIN/",
        "",
        "[mta_sts]",
        'mode = "testing" # others report what is wrong with TLS to here; after some weeks: "enforce"',
        "",
      ]
      : []),
    "[mailboxes]",
    ...optional(`path = ${text(mailPath)} # the Maildirs`, mailPath === DEFAULT_PATHS.mailPath),
    `users = ${users === "system" ? text(users) : list(users)} # in every domain; or whole addresses`,
    "",
    "[mailboxes.aliases]",
    ...roles.map((role) => `${role} = ${text(postmaster)}`),
    `# "*" = ${text(postmaster)} # everything else; without it unknown recipients are refused`,
    "",
    "[serve-out.routes] # instead of MX, if the provider blocks outgoing port 25:",
    '# "*" = { host = "smtp.provider.net", port = 587, user = "u", password_file = "/etc/mailapp/relay.pass" }',
    "",
    "[dkim]",
    ...Object.entries(dkim).map(([domain, { selector, key }]) =>
      `${text(domain)} = { selector = ${text(selector)}, key = ${text(key)} }`
    ),
    "",
  ].join("\n");
}

// JSON strings are valid in TOML.
function text(value: string): string {
  return JSON.stringify(value);
}

function list(values: readonly string[]): string {
  return `[${values.map(text).join(", ")}]`;
}
