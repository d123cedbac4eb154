import type { Engine, EngineHandler, EngineOptions } from './engine.ts';
import { nodeEngine } from './node/engine.ts';
import { loadUws, UWS_PACKAGE, type UwsModule } from './uws/binding.ts';
import { uwsEngine } from './uws/engine.ts';
import { probeUws } from './uws/probe.ts';

/** What the operator set: `auto` takes uWebSockets.js where it is installed and runs. */
export type EnginePreference = 'auto' | 'node' | 'uws';

/** Makes a listener that does not listen yet. */
export type EngineFactory = (options: EngineOptions, handler: EngineHandler) => Engine;

/** Which engine, and a sentence for the log that says why. */
export interface EngineChoice {
  readonly name: Engine['name'];
  readonly why: string;
  readonly make: EngineFactory;
}

/** How the peer is had; tests have their own ways. */
export interface UwsSource {
  load(): Promise<UwsModule>;
  /** What is wrong with it, if anything. */
  probe(uws: UwsModule): Promise<string | undefined>;
}

const INSTALLED: UwsSource = { load: loadUws, probe: probeUws };

/**
 * Chooses the engine of a listener. `clientCa`: callers show certificates, which uWebSockets.js does not hand over.
 * `auto` takes uWebSockets.js only where the installed release passes the probe. Rejects only where `uws` is set by
 * name and is not available; the error states what to do.
 */
export async function selectEngine(preference: EnginePreference, needs: { readonly clientCa: boolean }, source: UwsSource = INSTALLED): Promise<EngineChoice> {
  if (preference === 'node') return node('the configuration names it');
  if (needs.clientCa) {
    if (preference === 'uws') throw new Error('engine: uws cannot check client certificates (clientCa); use engine: node.');
    return node('clientCa is set, and uWebSockets.js does not say who called');
  }
  let uws: UwsModule;
  try {
    uws = await source.load();
  } catch (cause) {
    const reason = reasonOf(cause);
    if (preference === 'auto') return node(reason);
    throw new Error(`engine: uws is not to be had: ${reason}. Install it (npm run uws), or use engine: auto.`, { cause });
  }
  const fault = await source.probe(uws);
  if (preference === 'auto' && fault !== undefined) return node(`the installed release of ${UWS_PACKAGE} ${fault}`);
  const named = fault === undefined ? 'the configuration names it' : `the configuration names it, though the installed release ${fault}`;
  return {
    name: 'uws',
    why: preference === 'uws' ? named : `${UWS_PACKAGE} is installed and passes its probe`,
    make: (options, handler) => uwsEngine(uws, options, handler),
  };
}

function node(why: string): EngineChoice {
  return { name: 'node', why, make: nodeEngine };
}

function reasonOf(cause: unknown): string {
  if ((cause as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND') return `${UWS_PACKAGE} is not installed`;
  const lines = String((cause as Error).message ?? cause).split('\n');
  return `${UWS_PACKAGE} does not run here (${(lines.find((line) => /GLIBC|dlopen|\.so/.test(line)) ?? lines[0] ?? '').trim()})`;
}
