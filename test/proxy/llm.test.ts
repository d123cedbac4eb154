import { beforeAll, describe, expect, test } from 'vitest';
import { SECOND } from '../../src/core/time.ts';
import type { CostRule } from '../../src/proxy/route.ts';
import { rolling, START } from '../core/specs.ts';
import type { PlayedAttempt } from '../support/fakes/forwarder.ts';
import { seeded } from '../support/seeded.ts';
import { type ForwardRig, forwardRigged, groupOf, quiet, routeOf } from './forward-rig.ts';

/*
 * The recipe of examples/configs/llm-proxy.yaml: tokens and requests per window, shared by teams by weight; charged as asked,
 * settled as answered. The provider counts for itself; the clock is virtual, the numbers come from a seed.
 */

const TPM = 10_000;
const RPM = 25;
const WINDOW = SECOND;
const WEIGHTS = new Map([['search', 3]]);
const TEAMS = ['search', 'chat', 'batch'];
/** Requests each team has open at once: there is always somebody to wait. */
const OPEN = 12;
const RUN = 30;

/** What the provider saw and said, in the order in which it happened. */
interface Seen {
  readonly what: 'asked' | 'used';
  readonly at: number;
  readonly team: string;
  readonly id: number;
  readonly tokens: number;
}

/** Teams that always want more, and a provider that counts. */
class Market {
  readonly seen: Seen[] = [];
  readonly ends: string[] = [];
  readonly #all: ForwardRig;
  readonly #costs: readonly CostRule[];
  readonly #random: () => number;
  #ids = 0;
  #over = false;

  constructor(all: ForwardRig, costs: readonly CostRule[], seed: number) {
    this.#all = all;
    this.#costs = costs;
    this.#random = seeded(seed);
    all.played.script = (attempt) => void this.#provide(attempt);
  }

  static async run(seed: number, settles: boolean): Promise<Market> {
    const limits = [rolling(TPM, WINDOW, { name: 'tpm', unit: 'tokens' }), rolling(RPM, WINDOW, { name: 'rpm' })];
    const all = await forwardRigged({ settings: [groupOf(limits, {}, { fairness: { by: 'key', weights: WEIGHTS } })] });
    const settle = settles ? ['usage', 'total_tokens'] : undefined;
    const tokens: CostRule = { unit: 'tokens', ask: { from: 'json', path: ['max_tokens'] }, fallback: 2_000, settle };
    const market = new Market(all, [tokens], seed);
    for (const team of TEAMS) for (let open = 0; open < OPEN; open++) market.#want(team);
    await quiet();
    await all.pass(RUN);
    market.#over = true;
    await all.pass(60);
    expect(all.faults).toEqual([]);
    expect(all.clean).toBe(true);
    return market;
  }

  #now(): number {
    return this.#all.rig.clock.now() - START;
  }

  /** One more request of this team; when it ends, the next. */
  #want(team: string): void {
    if (this.#over) return;
    const draw = this.#random();
    const ask = draw < 0.2 ? 50 + Math.floor(this.#random() * 150) : 500 + Math.floor(this.#random() * 1_000);
    // Most use a part of what they asked for, some more than that.
    const used = this.#random() < 0.1 ? ask * 2 : Math.floor(ask * (0.1 + 0.5 * this.#random()));
    const body = JSON.stringify({ max_tokens: ask, messages: [] });
    const target = `/v1/chat?used=${used}&stream=${this.#random() < 0.5}`;
    const caller = this.#all.send({ method: 'POST', target, headers: ['Host', 'shop', 'X-Tenant', team], body }, routeOf({ costs: this.#costs }));
    const told = (): void => {
      this.ends.push(caller.refused ?? String(caller.head?.status));
      this.#want(team);
    };
    for (const last of ['onEnd', 'onNone', 'onBroken'] as const) {
      const tell = caller[last].bind(caller) as (what: never) => void;
      caller[last] = (what: never) => {
        tell(what);
        told();
      };
    }
  }

  /** Answers after a while that grows with the tokens: JSON, or a stream whose last event tells the usage. */
  async #provide(attempt: PlayedAttempt): Promise<void> {
    const id = ++this.#ids;
    const at = this.#now();
    const team = attempt.header('x-tenant') ?? '';
    const index = this.seen.length;
    const { searchParams } = new URL(attempt.request.target, 'http://shop');
    const used = Number(searchParams.get('used'));
    const asked: Seen = { what: 'asked', at, team, id, tokens: 0 };
    this.seen.push(asked);
    this.#all.rig.clock.at((START + at + 20_000 + used * 200) as typeof START, () => {
      const { clock } = this.#all.rig;
      this.seen.push({ what: 'used', at: clock.now() - START, team, id, tokens: used });
      const usage = `"usage":{"total_tokens":${used}}`;
      if (searchParams.get('stream') === 'true') {
        attempt.head(200, ['Content-Type', 'text/event-stream']);
        for (const event of ['{"choices":[{"delta":{}}]}', `{"choices":[],${usage}}`, '[DONE]']) attempt.data(`data: ${event}\n\n`);
        attempt.end();
      } else attempt.answer(200, ['Content-Type', 'application/json'], `{"id":"x",${usage}}`);
    });
    const { max_tokens: tokens } = JSON.parse(await attempt.body()) as { max_tokens: number };
    this.seen[index] = { ...asked, tokens };
  }
}

/** The most that counted in a window when a request came: what it and others asked for, less what was given back, and debts since they were known. */
function most(seen: readonly Seen[], settles: boolean): { readonly tokens: number; readonly requests: number } {
  const charges: { at: number; id: number; tokens: number }[] = [];
  const debts: { at: number; tokens: number }[] = [];
  const peak = { tokens: 0, requests: 0 };
  for (const { what, at, id, tokens } of seen) {
    if (what === 'asked') {
      charges.push({ at, id, tokens });
      const live = charges.filter((charge) => charge.at > at - WINDOW);
      // A debt of this very moment may have come after who was admitted, and before it was sent.
      const owed = debts.filter((debt) => debt.at > at - WINDOW && debt.at < at);
      const counted = [...live, ...owed].reduce((total, each) => total + each.tokens, 0);
      peak.tokens = Math.max(peak.tokens, counted);
      peak.requests = Math.max(peak.requests, live.length);
      continue;
    }
    const charge = charges.find((each) => each.id === id);
    if (charge === undefined || !settles) continue;
    if (tokens > charge.tokens) debts.push({ at, tokens: tokens - charge.tokens });
    else charge.tokens = tokens;
  }
  return peak;
}

const sum = (seen: readonly Seen[], what: Seen['what'], team?: string): number =>
  seen.filter((each) => each.what === what && each.at <= RUN * SECOND && (team ?? each.team) === each.team).reduce((total, { tokens }) => total + tokens, 0);
const count = (seen: readonly Seen[]): number => seen.filter(({ what, at }) => what === 'used' && at <= RUN * SECOND).length;

describe.each([1, 2, 3])('tokens and requests of a provider, shared (seed %i)', (seed) => {
  let settled: Market;
  let unsettled: Market;
  beforeAll(async () => {
    settled = await Market.run(seed, true);
    unsettled = await Market.run(seed, false);
  });

  test('everybody is answered', () => {
    for (const market of [settled, unsettled]) expect(new Set(market.ends)).toEqual(new Set(['200']));
  });

  test('no window is over when somebody passes: as charged, less refunds, with debts', () => {
    for (const [market, settles] of [
      [settled, true],
      [unsettled, false],
    ] as const) {
      const { tokens, requests } = most(market.seen, settles);
      expect(tokens).toBeLessThanOrEqual(TPM);
      expect(requests).toBeLessThanOrEqual(RPM);
      // And it is used: a window is full but for what the next one would need.
      expect(tokens).toBeGreaterThan(TPM * 0.85);
    }
  });

  test('debts are paid: what was really used stays within the windows there were', () => {
    expect(sum(settled.seen, 'used')).toBeLessThanOrEqual(TPM * (RUN + 1));
  });

  test('refunds are used: more pass than where the ask stands', () => {
    expect(count(settled.seen) / count(unsettled.seen)).toBeGreaterThan(1.3);
    expect(sum(settled.seen, 'used')).toBeGreaterThan(1.3 * sum(unsettled.seen, 'used'));
  });

  test('teams share by weight: 3 to 1 to 1 in tokens', () => {
    for (const { seen } of [settled, unsettled]) {
      const all = sum(seen, 'asked');
      for (const team of TEAMS) expect(Math.abs(sum(seen, 'asked', team) / all - (WEIGHTS.get(team) ?? 1) / 5)).toBeLessThan(0.03);
    }
  });
});
