import type { BlockList } from 'node:net';
import { isTrusted } from './client-address.ts';

/** Counts what each address has under way, so that one cannot take all there is. Nothing is remembered of who has nothing. */
export class ClientLimiter {
  readonly #max: number;
  readonly #counts = new Map<string, number>();

  constructor(max: number) {
    this.#max = max;
  }

  /** Addresses with something under way. */
  get size(): number {
    return this.#counts.size;
  }

  /** One more of this address; answers how it ends, to be called once. undefined: it has as many as it may. */
  enter(address: string): (() => void) | undefined {
    const one = siteOf(address);
    const count = this.#counts.get(one) ?? 0;
    if (count >= this.#max) return undefined;
    this.#counts.set(one, count + 1);
    return () => {
      const left = (this.#counts.get(one) ?? 1) - 1;
      if (left > 0) this.#counts.set(one, left);
      else this.#counts.delete(one);
    };
  }
}

/** Returns an address of IPv4 as it is, also where IPv6 maps it; of IPv6 its first 64 bits, all of which one host has (RFC 4291 2.5.1). */
export function siteOf(address: string): string {
  if (!address.includes(':') || address.includes('.')) return address;
  const [before = '', after] = address.toLowerCase().split('::');
  const groups = before === '' ? [] : before.split(':');
  const behind = after === undefined || after === '' ? 0 : after.split(':').length;
  const zeros = after === undefined ? 0 : Math.max(0, 8 - groups.length - behind);
  return [...groups, ...new Array<string>(zeros).fill('0'), ...(after ?? '').split(':')].slice(0, 4).join(':');
}

/** Whether any route trusts this peer: then it speaks for many. */
export function isTrustedProxy(lists: readonly BlockList[]): (address: string) => boolean {
  const filled = lists.filter(({ rules }) => rules.length > 0);
  return (address) => filled.some((list) => isTrusted(address, list));
}
