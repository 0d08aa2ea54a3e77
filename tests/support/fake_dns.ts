/**
 * The scripted DNS server, which the self-test has, too.
 *
 * @module
 */
export * from "../../selftest/dns_server.ts";
