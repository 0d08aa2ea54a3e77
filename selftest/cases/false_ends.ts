/**
 * Sequences for smuggling a second message after the first one.
 *
 * @module
 */

/** The 14 sequences that some servers take for the end of the mail data and others do not (RFC 5321 §4.1.1.4). */
export const FALSE_ENDS: readonly string[] = [
  "\n.\n",
  "\n.\r",
  "\r.\n",
  "\r.\r",
  "\n.\r\n",
  "\r.\r\n",
  "\r\n.\n",
  "\r\n.\r",
  "\r\n\0.\r\n",
  "\r\n.\r\r\n",
  "\r\r\n.\r\r\n",
  "\r\0\n.\r\n",
  "\r\n.\0\r\n",
  "\r\n.\r\0\n",
];
