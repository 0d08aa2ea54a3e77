/**
 * Names and passwords brought to one form before they are compared (PRECIS profiles of RFC 8265).
 *
 * @module
 */

/** Longer ones are refused; octets in UTF-8. */
const MAX_LOGIN = 320;
/** Longer passwords are refused; octets in UTF-8. */
const MAX_PASSWORD = 1024;

// RFC 8264 §9.11: printable ASCII; letters, digits and marks of all scripts (§9.1) besides.
const IDENTIFIER = /^[!-~\p{Ll}\p{Lu}\p{Lo}\p{Nd}\p{Lm}\p{Mn}\p{Mc}]+$/u;
// RFC 8264 §9.13: what the eye does not see, nor two programs take alike.
const IGNORABLE = /\p{Default_Ignorable_Code_Point}|\p{Noncharacter_Code_Point}/u;
// RFC 8264 §4.3.1 and §9: not in a password either. Spaces were brought to U+0020 before.
const NOT_FREEFORM = /[\p{Cc}\p{Cs}\p{Cn}\p{Co}\p{Zl}\p{Zp}]/u;
const WIDE = /[\uff01-\uffee\u3000]/gu;

const encoder = new TextEncoder();

/**
 * A login as it is compared: UsernameCaseMapped (RFC 8265 §3.3): fullwidth and halfwidth characters in their usual
 * width, lower case, composed (NFC). `undefined` for what is not a valid login.
 */
export function prepareLogin(text: string): string | undefined {
  if (text.length > MAX_LOGIN) return undefined;
  const login = text.replace(WIDE, (wide) => wide.normalize("NFKC")).toLowerCase().normalize("NFC");
  if (login === "" || encoder.encode(login).length > MAX_LOGIN) return undefined;
  return IDENTIFIER.test(login) && !IGNORABLE.test(login) ? login : undefined;
}

/**
 * A password as it is hashed: OpaqueString (RFC 8265 §4.2): other spaces as U+0020, composed (NFC), case kept.
 * `undefined` for what cannot be a password.
 */
export function preparePassword(text: string): string | undefined {
  if (text.length > MAX_PASSWORD) return undefined;
  const password = text.replace(/\p{Zs}/gu, " ").normalize("NFC");
  if (password === "" || encoder.encode(password).length > MAX_PASSWORD) return undefined;
  return NOT_FREEFORM.test(password) || IGNORABLE.test(password) ? undefined : password;
}
