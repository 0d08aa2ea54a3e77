/**
 * fast-check with one seed for all properties; a property that fails shows it.
 *
 * @module
 */
import fc from "fast-check";
import { SEED } from "./chance.ts";

fc.configureGlobal({ seed: SEED });

export { fc };
