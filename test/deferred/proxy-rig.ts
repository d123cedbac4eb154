import { createAuth } from '../../src/api/auth.ts';
import { formatError } from '../../src/config/errors.ts';
import { loadConfig } from '../../src/config/load.ts';
import { createCallbackTransport } from '../../src/deferred/callback-transport.ts';
import type { RequestView } from '../../src/deferred/deferred.ts';
import type { DeferredRoute } from '../../src/deferred/deferred-route.ts';
import type { DeferredEvent } from '../../src/deferred/request-lifecycle.ts';
import { createDeferred, type DeferredService } from '../../src/deferred/service.ts';
import { MemoryDisk, MemoryStore } from '../../src/deferred/stores/memory.ts';
import type { Forwarding } from '../../src/proxy/forwarding.ts';
import { createForwarding } from '../../src/proxy/forwarding-service.ts';
import { ProxyListener } from '../../src/proxy/listener/listener.ts';
import { createUndiciForwarder } from '../../src/proxy/upstream/undici.ts';
import { type CompiledRoutes, compileAllRoutes } from '../../src/server/deferred-routes.ts';
import { compileBackends } from '../../src/server/proxy.ts';
import { Rig } from '../admission/rig.ts';
import { type Answered, type Asked, ask } from '../proxy/listener/rig.ts';
import { FakeClock, settled } from '../support/fakes/clock.ts';
import { Recorder, type Respond } from '../support/fakes/recorder.ts';
import { Wire } from '../support/fakes/wire.ts';

/** What a test chooses. */
export interface DeferredProxyOptions {
  readonly respond?: Respond;
  readonly env?: Readonly<Record<string, string>>;
  readonly disk?: MemoryDisk;
  readonly bytesMax?: number;
}

/**
 * The real listener, forwarding over undici, and deferred requests over a store in memory, on a clock that moves when it is
 * told to; the backend is a socket on loopback. `text` is a configuration with `BACKEND` for its URL.
 */
export class DeferredProxyRig {
  readonly backend: Recorder;
  readonly admission: Rig;
  readonly routes: CompiledRoutes;
  readonly disk: MemoryDisk;
  readonly store: MemoryStore;
  readonly events: DeferredEvent[] = [];
  readonly faults: unknown[] = [];
  readonly deferred: ReadonlyMap<string, DeferredRoute>;
  service!: DeferredService;
  /** Holds asks to credentials; as it is, none is. */
  scope: NonNullable<ConstructorParameters<typeof ProxyListener>[0]['storing']>['scope'] = (ask) => ask;
  forwarding!: Forwarding;
  port = 0;
  #proxy!: ProxyListener;
  readonly #wires: Wire[] = [];

  private constructor(backend: Recorder, admission: Rig, routes: CompiledRoutes, options: DeferredProxyOptions) {
    this.backend = backend;
    this.admission = admission;
    this.routes = routes;
    this.deferred = routes.deferred;
    this.disk = options.disk ?? new MemoryDisk();
    this.store = new MemoryStore({ disk: this.disk, bytesMax: options.bytesMax ?? 1 << 30 });
  }

  static async start(text: string, options: DeferredProxyOptions = {}): Promise<DeferredProxyRig> {
    const backend = await Recorder.start(options.respond);
    const loaded = loadConfig({ text: `listen: { proxy: 8000 }\n${text.replaceAll('BACKEND', backend.url)}`, name: 'f.yaml', env: {}, flags: [] });
    if (loaded.kind === 'mistakes') throw new Error(loaded.mistakes.map(formatError).join('\n'));
    const { config } = loaded;
    const routes = await compileAllRoutes(config, { env: options.env ?? {}, readFile: () => Promise.reject(new Error('no file')) });
    const admission = new Rig(config.groups, { recording: false, clock: new FakeClock() });
    await admission.admission.start();
    const rig = new DeferredProxyRig(backend, admission, routes, options);
    const { admission: localAdmission, clock } = admission;
    const onError = (error: unknown): void => void rig.faults.push(error);
    rig.forwarding = await createForwarding({
      ...{ admission: localAdmission, clock, onError, events: () => {}, forwarder: createUndiciForwarder, backends: await compileBackends(config) },
      ...{ hold: { memoryBytesMax: 64 << 20, diskBytesMax: 0, folder: '' }, random: (bytes) => new Uint8Array(bytes).fill(7) },
    });
    rig.service = await createDeferred({
      ...{ store: rig.store, line: localAdmission, admission: localAdmission, forwarding: rig.forwarding, clock, onError },
      ...{ routes: () => routes.deferred, settings: (name) => config.groups.find(({ spec }) => spec.name === name) },
      ...{ events: (event) => rig.events.push(event), defer: (run) => void setImmediate(run), random: () => 1, callbacks: createCallbackTransport() },
      bounds: {
        inFlightMax: config.deferred.inFlight,
        inFlightBytesMax: config.deferred.inFlightBytes,
        downAfter: config.deferred.down.after,
        probeMs: config.deferred.down.probe / 1000,
      },
    });
    rig.#proxy = new ProxyListener({
      ...{ admission: localAdmission, refusalOf: () => undefined, random: () => 0, address: { host: '127.0.0.1', port: 0 }, routes: routes.proxy },
      ...{ forwarding: rig.forwarding, auth: createAuth([]), refusesAmbiguous: true, headMsMax: 10_000, unreadMsMax: 60_000, perClientMax: 1_000 },
      ...{
        unreadBytesMax: 4 << 20,
        onClientLimit: () => {},
        onError,
        storing: { requests: rig.service, nowMs: () => rig.nowMs, costMissing: () => {}, scope: (ask) => rig.scope(ask) },
      },
    });
    rig.port = Number((await rig.#proxy.listen()).address.split(':').at(-1));
    return rig;
  }

  get nowMs(): number {
    const { clock } = this.admission;
    return clock.epoch(clock.now());
  }

  ask(parts: Asked): Promise<Answered> {
    return ask(this.port, parts);
  }

  async wire(): Promise<Wire> {
    const wire = await Wire.open(this.port);
    this.#wires.push(wire);
    return wire;
  }

  /** Virtual time passes; what it wakes, and what is on its way over real sockets, settles. */
  async pass(seconds: number): Promise<void> {
    await this.admission.pass(seconds);
    await settled();
  }

  /** Resolves when the backend has seen so many whole requests. */
  async seen(count: number): Promise<Recorder['seen']> {
    await until(() => this.backend.seen.filter(({ whole }) => whole).length >= count);
    return this.backend.seen;
  }

  /** The request, when it has ended. */
  async ended(id: string): Promise<RequestView> {
    const view = async (): Promise<RequestView> => {
      const found = await this.service.get({ caller: '', all: true, groups: undefined, key: undefined }, id, 0);
      if ('reason' in found) throw new Error(found.reason);
      return found;
    };
    await until(async () => !['pending', 'sending'].includes((await view()).state));
    return view();
  }

  async stop(): Promise<void> {
    for (const wire of this.#wires) wire.destroy();
    await this.#proxy.drain(0);
    await this.service.drain(0);
    await this.forwarding.close(0);
    await this.backend.stop();
  }
}

/** Looks in each turn of the event loop, as sockets have no bell; fails after 60 s. */
export async function until(done: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await done())) {
    if (performance.now() > end) throw new Error('it did not come about within 60 s');
    await new Promise((resolve) => void setImmediate(resolve));
  }
}
