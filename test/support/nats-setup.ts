import type { TestProject } from 'vitest/node';
import { findNatsServer, type NatsBinary, type Wanted } from './fakes/nats-binary.ts';

type Found = NatsBinary | { readonly failure: string };

declare module 'vitest' {
  interface ProvidedContext {
    /** What the run found, or why it found nothing. */
    natsServer: Found;
    /** The same for the least version that Sluice works with. */
    natsLeast: Found;
  }
}

/** Finds the run's servers once, before any test, and says which. Without one only the tests that need it fail. */
export async function setup(project: TestProject): Promise<void> {
  const [newest, least] = await Promise.all([find('newest'), find('least')]);
  say('nats-server', newest, 'none, and the tests that need one will fail');
  say('The least nats-server', least, 'not tried');
  project.provide('natsServer', newest);
  project.provide('natsLeast', least);
}

async function find(wanted: Wanted): Promise<Found> {
  return findNatsServer(wanted).catch((cause: Error) => ({ failure: cause.message }));
}

function say(what: string, found: Found, otherwise: string): void {
  process.stdout.write('failure' in found ? `${what}: ${otherwise}. ${found.failure}\n` : `${what}: ${found.version}, ${found.why}\n`);
}
