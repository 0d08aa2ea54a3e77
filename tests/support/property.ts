/**
 * fast-check with one seed for all properties, so that every run of the tests tries the same inputs. `MAILAPP_SEED=N`
 * chooses other ones; a property that fails shows its seed.
 *
 * @module
 */
import fc from "fast-check";

fc.configureGlobal({ seed: Number(Deno.env.get("MAILAPP_SEED") ?? 1) | 0 });

export { fc };
