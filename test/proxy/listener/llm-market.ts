import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Recorded, Recorder } from '../../support/fakes/recorder.ts';
import { seeded } from '../../support/seeded.ts';
import { ask as askOnce } from './rig.ts';

/* The recipe of examples/configs/llm-proxy.yaml at work: teams that always want more, and a provider that counts for itself. */

export const WINDOW_MS = 500;
export const TPM = 50_000;
export const RPM = 125;
const TEAMS = ['search', 'chat', 'batch'];
export const SHARES: ReadonlyMap<string, number> = new Map([
  ['search', 3 / 5],
  ['chat', 1 / 5],
  ['batch', 1 / 5],
]);
/** Requests each team has open at once: there is always somebody to wait. */
const OPEN = 60;
export const RUN_MS = 2_500;
/** Windows that can have opened in a run. */
export const WINDOWS = RUN_MS / WINDOW_MS + 1;

const EXAMPLE = readFileSync(fileURLToPath(new URL('../../../examples/configs/llm-proxy.yaml', import.meta.url)), 'utf8');

/** The example with windows of half a second, without its own listeners and store; `BACKEND` stands for the provider. */
export const RECIPE = EXAMPLE.replace(/^listen:.*$/m, '')
  .replace(/^store:.*$/m, '')
  .replace('http://127.0.0.1:9000', 'BACKEND')
  .replace('window: 200000/60s', `window: ${TPM}/${WINDOW_MS}ms`)
  .replace('window: 500/60s', `window: ${RPM}/${WINDOW_MS}ms`);

/** Where a market is held: a listener, the provider's socket, and a clock in milliseconds. */
export interface Place {
  readonly port: number;
  readonly backend: Recorder;
  now(): number;
  later(ms: number, run: () => void): void;
}

/** One request as its caller and the provider know it; milliseconds of the place's clock. */
export interface Known {
  readonly team: string;
  readonly ask: number;
  readonly used: number;
  /** The provider had it; where the clock stands meanwhile, it was admitted then. */
  arrived: number;
  /** The provider answered: it is settled then, where the clock stands meanwhile. */
  answered: number;
  status: number;
}

/** Teams and their provider. */
export class Market {
  readonly all: Known[] = [];
  readonly began: number;
  /** Requests whose callers have no answer yet, and those of them that the provider has. */
  open = 0;
  held = 0;
  readonly #place: Place;
  readonly #random = seeded(1);
  readonly #streams: boolean;

  constructor(place: Place, streams: boolean) {
    this.#place = place;
    this.#streams = streams;
    this.began = place.now();
    place.backend.respond = (request, socket) => this.#provide(request, (bytes) => void socket.write(bytes));
  }

  /** Resolves when the last is answered. */
  async run(): Promise<void> {
    await Promise.all(TEAMS.flatMap((team) => Array.from({ length: OPEN }, () => this.#want(team))));
  }

  /** Those that came within the run. */
  get within(): readonly Known[] {
    return this.all.filter(({ arrived }) => arrived < this.began + RUN_MS);
  }

  /** Asks, one after the other, for as long as the run lasts. */
  async #want(team: string): Promise<void> {
    while (this.#place.now() - this.began < RUN_MS) {
      const ask = this.#random() < 0.2 ? 50 + Math.floor(this.#random() * 150) : 500 + Math.floor(this.#random() * 1_000);
      // Most use a part of what they asked for, some more than that.
      const used = this.#random() < 0.1 ? ask * 2 : Math.floor(ask * (0.1 + 0.5 * this.#random()));
      const known: Known = { team, ask, used, arrived: 0, answered: 0, status: 0 };
      const index = this.all.push(known) - 1;
      const body = JSON.stringify({ model: 'm', max_tokens: ask, stream: this.#streams, messages: [{ role: 'user', content: `${index} ${used}` }] });
      const headers = { 'x-team': team, 'content-type': 'application/json' };
      this.open++;
      known.status = (await askOnce(this.#place.port, { method: 'POST', path: '/v1/chat/completions', headers, body })).status;
      this.open--;
    }
  }

  /** Answers after a while that grows with the tokens: JSON, or a stream whose events come in pieces and whose last tells the usage. */
  #provide({ body }: Recorded, write: (bytes: string) => void): void {
    const { messages } = JSON.parse(body.toString()) as { messages: readonly [{ content: string }] };
    const [index = 0, used = 0] = messages[0].content.split(' ').map(Number);
    const known = this.all[index] as Known;
    known.arrived = this.#place.now();
    this.held++;
    this.#place.later(10 + used * 0.1, () => {
      this.held--;
      known.answered = this.#place.now();
      this.#answer(used, write);
    });
  }

  #answer(used: number, write: (bytes: string) => void): void {
    const usage = `"usage":{"prompt_tokens":0,"total_tokens":${used}}`;
    if (!this.#streams) {
      const answer = `{"id":"x","choices":[{"message":{"content":"hi"}}],${usage}}`;
      return write(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${answer.length}\r\n\r\n${answer}`);
    }
    write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n');
    const events = ['{"choices":[{"delta":{"content":"h"}}]}', '{"choices":[{"delta":{"content":"i"}}],"usage":null}', `{"choices":[],${usage}}`, '[DONE]'];
    const text = events.map((event) => `data: ${event}\n\n`).join('');
    const cut = Math.floor(this.#random() * text.length);
    for (const piece of [text.slice(0, cut), text.slice(cut)]) if (piece !== '') write(`${piece.length.toString(16)}\r\n${piece}\r\n`);
    write('0\r\n\r\n');
  }
}

/** The most that counted in a window when one was admitted: what it and others asked for, less what was given back, and debts since they were known. */
export function most(all: readonly Known[]): { readonly tokens: number; readonly requests: number } {
  const peak = { tokens: 0, requests: 0 };
  for (const { arrived: now } of all) {
    const live = all.filter(({ arrived }) => arrived <= now && arrived > now - WINDOW_MS);
    // What was answered at this very moment may have been settled before or after: as is better for the proxy.
    const charges = live.map(({ ask, used, answered }) => (answered > now ? ask : Math.min(ask, used)));
    const debts = all.map(({ ask, used, answered }) => (answered < now && answered > now - WINDOW_MS ? Math.max(0, used - ask) : 0));
    peak.tokens = Math.max(peak.tokens, total(charges) + total(debts));
    peak.requests = Math.max(peak.requests, live.length);
  }
  return peak;
}

/** The sum. */
export function total(numbers: readonly number[]): number {
  return numbers.reduce((sum, each) => sum + each, 0);
}
