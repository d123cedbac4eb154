import { afterEach, inject } from 'vitest';
import { running } from './nats-server.ts';

/** The nats-server of this run, found by test/support/nats-setup.ts. Throws the reason where there is none: a test never skips for that. */
export function natsBinary(): string {
  const found = inject('natsServer');
  if ('failure' in found) throw new Error(found.failure);
  return found.path;
}

/**
 * What a suite about the server itself runs against, for `describe.each`: the run's server, and the least version that Sluice
 * works with. That one is left out where it is not to be had, which the run's head says. Without any, one row that fails.
 */
export function natsVersions(): readonly { readonly version: string; readonly binary: () => string }[] {
  const [newest, least] = [inject('natsServer'), inject('natsLeast')];
  const rows = [newest, least].flatMap((found) => ('failure' in found ? [] : [{ version: found.version, binary: () => found.path }]));
  const different = rows.filter(({ version }, index) => rows.findIndex((row) => row.version === version) === index);
  return 'failure' in newest ? [{ version: 'of the run', binary: natsBinary }, ...different] : different;
}

/** Said at the head of a file of tests: a test that fails shows what the servers that run logged. */
export function showLogsOfFailures(): void {
  afterEach(({ task }) => {
    if (task.result?.state !== 'fail') return;
    for (const server of running) process.stdout.write(`-- ${task.name}: ${server.name}\n${server.log}\n`);
  });
}
