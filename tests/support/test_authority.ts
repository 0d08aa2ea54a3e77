/**
 * The certificate authority of tests, which the self-test has, too.
 *
 * @module
 */
export * from "../../selftest/authority.ts";
