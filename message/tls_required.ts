/**
 * The field TLS-Required (RFC 8689 §5).
 *
 * @module
 */
import type { HeaderSection } from "./header_section.ts";

/** Whether a message says `TLS-Required: No`, once: better in the clear than not at all. */
export function saysTlsOptional(section: HeaderSection): boolean {
  const [field, ...others] = section.named("tls-required");
  return field !== undefined && others.length === 0 && /^[^:]*:\s*no\s*$/i.test(field.text);
}
