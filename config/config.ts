/**
 * The configuration: plain, validated, frozen data. Sizes are octets, durations milliseconds, domains lower case with
 * IDN as A-labels, paths absolute.
 *
 * @module
 */
import type { AddressFamily } from "../net/address_family.ts";
import type { TlsPolicy } from "../net/tls_policy.ts";

/** Everything the configuration file says, defaults filled in. */
export interface Config {
  /** The file it was read from; absent when there is none and the defaults stand. */
  readonly file?: string;
  /** The name in banner, EHLO, Received and Message-ID; has at least two labels. */
  readonly hostname: string;
  /** The directory of spool, state and keys. */
  readonly dataDir: string;
  /** Where events go. */
  readonly log: LogConfig;
  /** The certificate of both servers. */
  readonly tls: TlsConfig;
  /** DNS servers. */
  readonly dns: DnsConfig;
  /** The Internet-facing server. */
  readonly serveIn: ServeInConfig;
  /** The local mailboxes of serve-in. */
  readonly mailboxes: MailboxesConfig;
  /** The loopback server. */
  readonly serveOut: ServeOutConfig;
  /** The server for mail programs with a password; absent: not configured. */
  readonly serveSubmit?: ServeSubmitConfig;
  /** The server of the MTA-STS policy; absent: not configured. */
  readonly servePolicy?: ServePolicyConfig;
  /** The MTA-STS policy of the domains of `serveIn`; absent: they promise nothing. */
  readonly mtaSts?: MtaStsConfig;
  /** Where serve-out keeps its queue. */
  readonly queue: QueueConfig;
  /** Where alerts go. */
  readonly alerts: AlertsConfig;
  /** Where each server shows its metrics. */
  readonly metrics: MetricsConfig;
  /** The page in the browser. */
  readonly dashboard: DashboardConfig;
  /** The signing keys of each domain, one to four; each signs every message. */
  readonly dkim: Readonly<Record<string, readonly DkimConfig[]>>;
  /** Warnings, for the log and for check-config. */
  readonly warnings: readonly string[];
}

/** `[log]`. */
export interface LogConfig {
  /** The lowest level that is written. */
  readonly level: "error" | "warn" | "info" | "debug" | "trace";
  /** `auto`: text on a terminal, else one JSON object a line. */
  readonly format: "auto" | "text" | "json";
  /** Absent: standard error. */
  readonly file?: string;
}

/** `[tls]`. */
export interface TlsConfig {
  /** PEM files; absent: none configured. */
  readonly certificate?: { readonly certFile: string; readonly keyFile: string };
  /** Make a certificate and keep it in the data directory. Never together with `certificate`. */
  readonly selfSigned: boolean;
  /** `[tls.acme]`; `certificate` names the files that it is kept in, below the data directory. */
  readonly acme?: AcmeConfig;
}

/** `[tls.acme]`. */
export interface AcmeConfig {
  /** The URL of the authority's directory. */
  readonly directory: string;
  /** Whom the authority may write to. */
  readonly email?: string;
  /** How the names are proven. */
  readonly challenge: "http-01" | "tls-alpn-01" | "dns-01";
  /** Names beside the hostname. */
  readonly names: readonly string[];
  /** PEM certificates to trust for the authority's HTTPS; absent: the system's. */
  readonly caFile?: string;
  /** Binds the account to one at the authority (RFC 8555 §7.3.4); the file has the key in base64url. */
  readonly externalAccount?: { readonly id: string; readonly keyFile: string };
  /** Where dns-01 puts its records; the file has the key of TSIG in base64. */
  readonly dns?: {
    readonly address: string;
    readonly port: number;
    readonly zone: string;
    readonly keyName: string;
    readonly keyFile: string;
  };
}

/** `[dns]`. */
export interface DnsConfig {
  /** Empty: those of /etc/resolv.conf. */
  readonly servers: readonly { readonly address: string; readonly port: number }[];
  /** Whether these servers validate, so that their AD bit counts. */
  readonly dnssec: boolean;
}

/**
 * Where a server listens: `auto` for the addresses of the interface with the default route, `any` for every address,
 * the name of an interface, or a list of IP addresses.
 */
export type ListenConfig = string | readonly string[];

/** `[serve-in]`. */
export interface ServeInConfig {
  /** Where it listens. */
  readonly listen: ListenConfig;
  /** 0–65535; 0 takes any free port. */
  readonly port: number;
  /** The port of implicit TLS, 0–65535; `false`: off. */
  readonly tlsPort: number | false;
  /** The domains that are local; empty when serve-in is not configured. */
  readonly domains: readonly string[];
  /** The largest message, at least 1. */
  readonly maxMessageSize: number;
  /** Recipients of one transaction, 1–100 000. */
  readonly maxRecipients: number;
  /** At a time, 1–100 000. */
  readonly maxConnections: number;
  /** Per IPv4 address or IPv6 /64; at most `maxConnections`. */
  readonly maxConnectionsPerIp: number;
  /** How long a client may be silent, from a second to a day. */
  readonly idleTimeoutMs: number;
  /** With less free space mail is deferred. */
  readonly minFreeSpace: number;
  /** Threads that hold dialogues, 1–32; `auto`: by the cores of the machine. */
  readonly threads: number | "auto";
  /** What is asked about each message. */
  readonly checks: ChecksConfig;
}

/** `[serve-in.checks]`. */
export interface ChecksConfig {
  /** Whether SPF is evaluated. */
  readonly spf: boolean;
  /** Whether DKIM signatures are verified. */
  readonly dkim: boolean;
  /** Whether ARC chains are verified. */
  readonly arc: boolean;
  /** Whether DMARC is evaluated, and whether what it asks for is done. */
  readonly dmarc: "off" | "mark" | "enforce";
  /** Domains whose ARC seals outweigh a DMARC failure. */
  readonly trustedSealers: readonly string[];
  /** The time for all DNS queries about one message, from a second to 5 minutes. */
  readonly timeoutMs: number;
  /** Lists of addresses in DNS, by zone; no zone twice. */
  readonly dnsLists: readonly { readonly zone: string; readonly action: "refuse" | "junk" | "allow" }[];
  /** Which unknown senders are asked to come again. */
  readonly greylist: "off" | "suspicious" | "all";
  /** External filters, asked in this order. */
  readonly filters: readonly FilterConfig[];
  /** What happens to mail while a filter does not answer. */
  readonly filterFailure: "accept" | "defer";
}

/** A filter of `[serve-in.checks]`. */
export type FilterConfig =
  /** By HTTP or TCP; the host is a name or an IP address. */
  | { readonly kind: "rspamd" | "milter"; readonly host: string; readonly port: number }
  /** A Unix socket. */
  | { readonly kind: "milter"; readonly path: string };

/** `[mailboxes]`: local users. */
export interface MailboxesConfig {
  /** The Maildir of a user; `{domain}` and `{user}` stand for the two. */
  readonly path: string;
  /** Local-parts and whole addresses; `system`: the login names of people. */
  readonly users: readonly string[] | "system";
  /** One character; empty: no subaddresses. */
  readonly subaddressSeparator: string;
  /** From a local-part, a whole address or `*` to the local mailboxes that it means. */
  readonly aliases: Readonly<Record<string, readonly string[]>>;
  /** The Maildir++ folder for junk, without the dot before it; absent: none. */
  readonly junkFolder?: string;
}

/** One target that stands instead of MX. */
export interface RouteConfig {
  /** A host name or an IP address. */
  readonly host: string;
  /** 1–65535. */
  readonly port: number;
  /** How far TLS must go; never `prefer` with a login. */
  readonly tls: TlsPolicy;
  /** With it the relay authenticates; the password is the first line of the file. */
  readonly login?: { readonly user: string; readonly passwordFile: string };
}

/** `[serve-out]`. */
export interface ServeOutConfig {
  /** Loopback addresses; at least one. */
  readonly listen: readonly string[];
  /** 0–65535; 0 takes any free port. */
  readonly port: number;
  /** Completes bare names. */
  readonly qualifyDomain: string;
  /** The largest message, at least 1. */
  readonly maxMessageSize: number;
  /** Recipients of one transaction, 1–100 000. */
  readonly maxRecipients: number;
  /** At a time, 1–100 000. */
  readonly maxConnections: number;
  /** How long a client may be silent, from a second to a day. */
  readonly idleTimeoutMs: number;
  /** With less free space mail is deferred. */
  readonly minFreeSpace: number;
  /** Threads that hold dialogues, 1–32; `auto`: by the cores of the machine. Only 1 of them without a spool. */
  readonly threads: number | "auto";
  /** Which address family is tried, or tried first. */
  readonly family: AddressFamily;
  /** Sends from this address; absent: the system chooses. */
  readonly sourceIpv4?: string;
  /** Sends from this address; absent: the system chooses. */
  readonly sourceIpv6?: string;
  /** The port of target servers, 1–65535. */
  readonly smtpPort: number;
  /** Whether MX may lead to loopback and private addresses. */
  readonly allowPrivateTargets: boolean;
  /** The waits between attempts; at least one, the last one repeats. */
  readonly retryMs: readonly number[];
  /** Then delivery is given up, from a second to 100 days. */
  readonly expireAfterMs: number;
  /** No notice when it is not less than `expireAfterMs`. */
  readonly delayNoticeAfterMs: number;
  /** What failed and has no sender to be told is dropped when it is so old, from a second to 1000 days. */
  readonly keepUndeliverableMs: number;
  /** Messages of that kind, 1–10 000; the oldest ones beyond are dropped. */
  readonly maxUndeliverable: number;
  /** Connections to one target at a time, 1–1000. */
  readonly maxConnectionsPerHost: number;
  /** The client's patience (RFC 5321 §4.5.3.2), each from a second to a day. */
  readonly timeouts: {
    readonly connectMs: number;
    readonly commandMs: number;
    readonly dataMs: number;
    readonly dataEndMs: number;
  };
  /** By domain; `*` is for everything else. */
  readonly routes: Readonly<Record<string, RouteConfig>>;
  /** Whether the MTA-STS policies of receiving domains are obeyed. */
  readonly mtaSts: boolean;
  /** Whether Received names the account whose program called sendmail. */
  readonly showAccount: boolean;
  /** Whether receiving domains that ask for it get reports about TLS. */
  readonly tlsReports: boolean;
  /** By domain; goes before what the domain itself asks for. */
  readonly tlsPolicy: Readonly<Record<string, TlsPolicy>>;
}

/** `[serve-policy]`. */
export interface ServePolicyConfig {
  /** Where it listens. */
  readonly listen: ListenConfig;
  /** The port of HTTPS, 0–65535; 0 takes any free port. Senders come to 443 only. */
  readonly port: number;
}

/** `[mta_sts]`: what the domains of `serveIn` promise to senders (RFC 8461). */
export interface MtaStsConfig {
  /** What senders do with a host that does not match or does not verify. */
  readonly mode: "enforce" | "testing" | "none";
  /** How long senders keep it, in milliseconds; a day to a year. */
  readonly maxAgeMs: number;
  /** The MX hosts, some with `*.` in place of their first label; absent: `hostname`. */
  readonly mx?: readonly string[];
}
/** `[queue]`. */
export type QueueConfig =
  /** In the data directory, for this host alone. */
  | { readonly store: "spool" }
  /** In a database, for several hosts. */
  | {
    readonly store: "postgres";
    /** A file with the address, which holds a password. */
    readonly urlFile: string;
    /** A PEM file of the certificates to trust; absent: those of public authorities. */
    readonly caFile?: string;
    /** Whether mail is accepted that only the primary has. */
    readonly durability: "standby" | "primary";
    /** How long a host owns its entries without renewing that, from 5 seconds to an hour. */
    readonly leaseMs: number;
  };

/** `[serve-submit]`. */
export interface ServeSubmitConfig {
  /** Where it listens. */
  readonly listen: ListenConfig;
  /** The port of STARTTLS, 0–65535; 0 takes any free port; `false`: off. */
  readonly port: number | false;
  /** The port of implicit TLS, as `port`. One of the two is on. */
  readonly tlsPort: number | false;
  /** The file of accounts; absent: the one in the data directory. */
  readonly accountsFile?: string;
  /** The socket of Dovecot that checks passwords in place of accounts of ours. */
  readonly dovecotSocket?: string;
  /** The largest message, at least 1. */
  readonly maxMessageSize: number;
  /** Recipients of one transaction, 1–100 000. */
  readonly maxRecipients: number;
  /** At a time, 1–100 000. */
  readonly maxConnections: number;
  /** Per IPv4 address or IPv6 /64; at most `maxConnections`. */
  readonly maxConnectionsPerIp: number;
  /** How long a client may be silent, from a second to a day. */
  readonly idleTimeoutMs: number;
  /** What each login may send. */
  readonly sending: SendingLimits;
  /** Whether Received tells the client's address and the name that it gave. */
  readonly showClientAddress: boolean;
  /** By login, or its local-part: further addresses, or `*@domain`, or local-parts in the login's own domain. */
  readonly sendAs: Readonly<Record<string, readonly string[]>>;
}

/** The limits of a login; `Infinity`: none. */
export interface SendingLimits {
  readonly messagesAnHour: number;
  readonly messagesADay: number;
  readonly recipientsAnHour: number;
  readonly recipientsADay: number;
  /** Recipients that the login has not sent to before. */
  readonly newRecipientsADay: number;
}

/** `[alerts]`: ways past our own queue; there may be none. */
export interface AlertsConfig {
  /** A web address that is told. */
  readonly webhook?: {
    /** HTTPS, or HTTP on loopback; may hold a secret. */
    readonly url: string;
    /** In which form. */
    readonly template: "json" | "ntfy" | "slack" | "matrix";
    /** Its first line is the bearer's token. */
    readonly tokenFile?: string;
    /** Its first line signs what is sent as JSON. */
    readonly secretFile?: string;
  };
  /** A mail server elsewhere, by TLS from the first octet. */
  readonly mail?: {
    /** A name or an IP address. */
    readonly host: string;
    /** 1–65535. */
    readonly port: number;
    /** The login there. */
    readonly user: string;
    /** Its first line is the password. */
    readonly passwordFile: string;
    /** The sender. */
    readonly from: string;
    /** Who is told. */
    readonly to: string;
  };
}

/** `[metrics]`. */
export interface MetricsConfig {
  /** Where serve-in shows its metrics; absent: nowhere. Loopback, unless there is a token. */
  readonly serveIn?: EndpointConfig;
  /** Likewise of serve-out. */
  readonly serveOut?: EndpointConfig;
  /** Likewise of serve-submit. */
  readonly serveSubmit?: EndpointConfig;
  /** Likewise of serve-policy. */
  readonly servePolicy?: EndpointConfig;
  /** A file whose first line is the token that every request must have. */
  readonly tokenFile?: string;
}

/** `[dashboard]`. */
export interface DashboardConfig {
  /** Whether the table is there: then `install` writes a unit. */
  readonly installed: boolean;
  /** Where it listens. */
  readonly listen: EndpointConfig;
  /** A file with the tokens, one a line; absent: one is made in the data directory. */
  readonly tokenFile?: string;
  /** Names by which a proxy is asked for the page, in lower case. */
  readonly hosts: readonly string[];
  /** The address of ours that others send DMARC and TLS reports to; absent: no mail is read. */
  readonly reports?: string;
}

/** An address and port to listen on. */
export interface EndpointConfig {
  /** An IP address. */
  readonly address: string;
  /** 0–65535; 0 takes any free port. */
  readonly port: number;
}

/** One key of `[dkim]`. */
export interface DkimConfig {
  /** The name below `_domainkey` of the domain; no two keys of a domain have the same. */
  readonly selector: string;
  /** A PEM file. */
  readonly keyFile: string;
}
