import type { TestProject } from 'vitest/node';
import { findNatsServer, type NatsBinary } from './fakes/nats-binary.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** What the run found, or why it found nothing. */
    natsServer: NatsBinary | { readonly failure: string };
  }
}

/** Finds the run's nats-server once, before any test, and says which. Without one only the tests that need it fail. */
export async function setup(project: TestProject): Promise<void> {
  try {
    const found = await findNatsServer('newest');
    process.stdout.write(`nats-server ${found.version}: ${found.why}\n`);
    project.provide('natsServer', found);
  } catch (cause) {
    const failure = (cause as Error).message;
    process.stdout.write(`No nats-server, the tests that need one will fail: ${failure}\n`);
    project.provide('natsServer', { failure });
  }
}
