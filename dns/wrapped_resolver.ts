/**
 * What resolvers have in common that ask another one.
 *
 * @module
 */
import type { Answer, MxRecord, QueryOptions, Resolver, TlsaRecord } from "./resolver.ts";
import type { Query } from "./wire_answer.ts";

/** Asks another resolver; what is done around a question stands once, in {@linkcode WrappedResolver.around}. */
export abstract class WrappedResolver implements Resolver {
  /** The resolver that is asked. */
  protected readonly inner: Resolver;

  /** Sends no queries by itself. */
  constructor(inner: Resolver) {
    this.inner = inner;
  }

  /** Answers a question; `ask` asks it of {@linkcode WrappedResolver.inner}. */
  protected abstract around<T>(query: Query, ask: () => Promise<Answer<T>>): Promise<Answer<T>>;

  mx(name: string, options?: QueryOptions): Promise<Answer<MxRecord>> {
    return this.around({ type: "MX", name }, () => this.inner.mx(name, options));
  }

  a(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.around({ type: "A", name }, () => this.inner.a(name, options));
  }

  aaaa(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.around({ type: "AAAA", name }, () => this.inner.aaaa(name, options));
  }

  txt(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.around({ type: "TXT", name }, () => this.inner.txt(name, options));
  }

  ptr(address: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.around({ type: "PTR", name: address }, () => this.inner.ptr(address, options));
  }

  cname(name: string, options?: QueryOptions): Promise<Answer<string>> {
    return this.around({ type: "CNAME", name }, () => this.inner.cname(name, options));
  }

  tlsa(name: string, options?: QueryOptions): Promise<Answer<TlsaRecord>> {
    return this.around({ type: "TLSA", name }, () => this.inner.tlsa(name, options));
  }
}
