import { SluiceUnreachable } from '../client/client.ts';
import { systemClock } from '../client/clock.ts';
import { type Call, HttpTransport } from '../client/http.ts';
import { PAGE_MAX } from '../core/bounds.ts';
import type { Connection } from './acquire-permit.ts';

/** An object as plain HTTP has it: 64-bit numbers are text, durations have a unit. */
export type Shown = Readonly<Record<string, unknown>>;

/** Lists that come in pages. */
export type Listed = 'groups' | 'waiters' | 'leases';

/** What was listed, and whether there is more. */
export interface Listing {
  readonly items: readonly Shown[];
  readonly more: boolean;
}

const SILENCE_MS = 15_000;

/** Calls of operators, over plain HTTP. Each is sent once: throws SluiceRefused, or SluiceUnreachable when no answer came within 15 s. */
export class OperatorCalls {
  readonly #wire: HttpTransport;

  constructor({ address, token }: Connection) {
    this.#wire = new HttpTransport({ address: new URL(address).href, token, fetch: globalThis.fetch, timing: systemClock });
  }

  /** Sends a call, its path in parts that are yet to be encoded. `query`: fields that must not be lost on the way, as the body of a DELETE may be. */
  async call(method: Call['method'], parts: readonly string[], body?: object, query: Readonly<Record<string, string>> = {}): Promise<Shown> {
    const fields = new URLSearchParams(query).toString();
    const path = `/v1/${parts.map(encodeURIComponent).join('/')}${fields === '' ? '' : `?${fields}`}`;
    return this.#send({ method, path, body, silenceMs: SILENCE_MS });
  }

  /** Goes through pages of a list, as the server filters it, until it has `limit` items, or there are no more. */
  async list(what: Listed, group: string | undefined, limit: number, filter: Readonly<Record<string, string>> = {}): Promise<Listing> {
    const path = `/v1/groups${group === undefined ? '' : `/${encodeURIComponent(group)}/${what}`}`;
    const items: Shown[] = [];
    let token = '';
    do {
      const size = Math.min(PAGE_MAX, Math.max(1, limit - items.length));
      const query = new URLSearchParams({ page_size: String(size), ...(token !== '' && { page_token: token }), ...filter });
      const page = await this.#send({ method: 'GET', path: `${path}?${query}`, silenceMs: SILENCE_MS });
      if (Array.isArray(page[what])) items.push(...(page[what] as Shown[]));
      const next = String(page['nextPageToken'] ?? '');
      // A server that turns in a circle is not followed.
      token = next === token ? '' : next;
    } while (token !== '' && items.length < limit);
    return { items: items.slice(0, limit), more: token !== '' || items.length > limit };
  }

  async #send(call: Call): Promise<Shown> {
    const reply = await this.#wire.call(call);
    if (reply.kind === 'ok') return reply.body;
    if (reply.kind === 'refused') throw reply.refusal;
    throw new SluiceUnreachable('Sluice cannot be reached', { cause: reply.kind === 'cut' ? reply.cause : undefined });
  }
}
