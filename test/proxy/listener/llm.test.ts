import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createAuth } from '../../../src/api/auth.ts';
import type { Config } from '../../../src/config/load.ts';
import { loadConfig } from '../../../src/config/load.ts';
import { MILLISECOND, type Millis } from '../../../src/core/time.ts';
import { ProxyListener } from '../../../src/proxy/listener/listener.ts';
import { compileRoutes, openForwarding } from '../../../src/server/proxy.ts';
import { type Rig, rigged } from '../../admission/rig.ts';
import { settled } from '../../support/fakes/clock.ts';
import { Recorder } from '../../support/fakes/recorder.ts';
import { Market, most, type Place, RECIPE, RPM, RUN_MS, SHARES, TPM, total, WINDOW_MS, WINDOWS } from './llm-market.ts';
import { type ProxyRig, proxyRig } from './rig.ts';

/*
 * The recipe for a model's provider through a real listener: on a whole server in real time, where a moment is not known
 * exactly, and a busy machine may leave windows unused; and with a clock that stands until every byte has arrived.
 */

const KINDS = [
  ['plain JSON', false],
  ['events', true],
] as const;

function shared(market: () => Market): void {
  test('everybody is answered, once', () => {
    expect(new Set(market().all.map(({ status }) => status))).toEqual(new Set([200]));
  });

  test('debts are paid: what was used stays within the windows there were', () => {
    expect(total(market().within.map(({ used }) => used))).toBeLessThanOrEqual(TPM * WINDOWS);
  });
}

describe.each(KINDS)('on a whole server, the provider answers in %s', (_kind, streams) => {
  let rig: ProxyRig;
  let market: Market;
  beforeAll(async () => {
    rig = await proxyRig(RECIPE);
    const { port, backend } = rig;
    market = new Market({ port, backend, now: () => performance.now(), later: (ms, run) => void setTimeout(run, ms) }, streams);
    await market.run();
  });
  afterAll(() => rig.stop());
  shared(() => market);

  test('what was settled is what the provider told, to the token', async () => {
    const metrics = await (await fetch(`http://${rig.running.addresses['health']}/metrics`)).text();
    const metric = (name: string): number => Number(new RegExp(`^sluice_${name}_units_total\\{group="llm",unit="tokens"\\} (\\S+)$`, 'm').exec(metrics)?.[1]);
    expect(metric('refunded')).toBe(total(market.all.map(({ ask, used }) => Math.max(0, ask - used))));
    expect(metric('debited')).toBe(total(market.all.map(({ ask, used }) => Math.max(0, used - ask))));
    expect(metrics).not.toMatch(/^sluice_forward_costs_missing_total\{.*\} [1-9]/m);
    expect(rig.backend.seen).toHaveLength(market.all.length);
  });
});

/** The listener and the forwarder as they are, on sockets, over an admission whose clock moves when told. */
class StillPlace implements Place {
  readonly backend: Recorder;
  readonly #rig: Rig;
  readonly #proxy: ProxyListener;
  readonly #close: () => Promise<void>;
  port = 0;

  private constructor(deps: { backend: Recorder; rig: Rig; proxy: ProxyListener; close: () => Promise<void> }) {
    this.backend = deps.backend;
    this.#rig = deps.rig;
    this.#proxy = deps.proxy;
    this.#close = deps.close;
  }

  static async open(): Promise<StillPlace> {
    const backend = await Recorder.start();
    const config = read(`listen: { api: none, grpc: none, proxy: "127.0.0.1:0" }\nstore: memory\n${RECIPE.replace('BACKEND', backend.url)}`);
    const rig = await rigged(config.groups, { recording: false });
    const onError = (error: unknown): void => {
      throw error;
    };
    const forwarding = await openForwarding(config, false, {
      admission: rig.admission,
      clock: rig.clock,
      random: (bytes) => new Uint8Array(bytes).fill(1),
      events: () => {},
      onError,
    });
    if (forwarding === undefined) throw new Error('nothing is forwarded');
    const proxy = new ProxyListener({
      admission: rig.admission,
      refusalOf: () => undefined,
      random: () => 0,
      address: { host: '127.0.0.1', port: 0 },
      routes: compileRoutes(config),
      forwarding,
      auth: createAuth([]),
      refusesAmbiguous: true,
      headMsMax: 10_000 as Millis,
      unreadMsMax: 60_000 as Millis,
      unreadBytesMax: 4 << 20,
      perClientMax: 10_000,
      onClientLimit: () => {},
      onError,
    });
    const place = new StillPlace({ backend, rig, proxy, close: () => forwarding.close(0) });
    place.port = Number((await proxy.listen()).address.split(':').at(-1));
    return place;
  }

  now(): number {
    return this.#rig.clock.now() / MILLISECOND;
  }

  later(ms: number, run: () => void): void {
    const { clock } = this.#rig;
    clock.at((clock.now() + Math.round(ms * MILLISECOND)) as ReturnType<typeof clock.now>, run);
  }

  /** Moves the clock from one wake to the next, each time when all that is open either waits or is at the provider. */
  async drive(market: Market): Promise<void> {
    const { clock } = this.#rig;
    const running = market.run();
    const enough = market.began + RUN_MS;
    for (;;) {
      const over = this.now() >= enough;
      while (market.held + (await this.#rig.waiting('llm')) !== market.open || (!over && market.open === 0)) await settled();
      if (over && market.open === 0) break;
      if (clock.nextAt === undefined) throw new Error('nobody will ever wake');
      clock.advanceTo(clock.nextAt);
      // What was due may be on its way: a byte, a promise.
      for (let turns = 0; turns < 3; turns++) await settled();
    }
    await running;
  }

  async stop(): Promise<void> {
    await this.#proxy.drain(0 as Millis);
    await this.#close();
    await this.backend.stop();
  }
}

function read(text: string): Config {
  const loaded = loadConfig({ text, name: 'f.yaml', env: {}, flags: [] });
  if (loaded.kind === 'mistakes') throw new Error(JSON.stringify(loaded.mistakes));
  return loaded.config;
}

describe.each(KINDS)('with a clock that stands, the provider answers in %s', (_kind, streams) => {
  let place: StillPlace;
  let market: Market;
  beforeAll(async () => {
    place = await StillPlace.open();
    market = new Market(place, streams);
    await place.drive(market);
  });
  afterAll(() => place.stop());
  shared(() => market);

  test('no window of the provider is ever over: as charged, less refunds, with debts; and windows are used', () => {
    const { tokens, requests } = most(market.all);
    expect(tokens).toBeLessThanOrEqual(TPM);
    expect(requests).toBeLessThanOrEqual(RPM);
    expect(tokens).toBeGreaterThan(TPM * 0.9);
  });

  test('refunds are used: more was asked for than all windows hold', () => {
    expect(total(market.within.map(({ ask }) => ask))).toBeGreaterThan(TPM * WINDOWS);
  });

  test('teams share by weight, in tokens', () => {
    const first = market.within.filter(({ arrived }) => arrived > market.began + WINDOW_MS);
    const all = total(first.map(({ ask }) => ask));
    for (const [team, share] of SHARES) {
      const own = total(first.map((each) => (each.team === team ? each.ask : 0)));
      expect(Math.abs(own / all - share), team).toBeLessThan(0.04);
    }
  });
});
