import { afterEach, inject } from 'vitest';
import { running } from './nats-server.ts';

/** The nats-server of this run, found by test/nats-setup.ts. Throws the reason where there is none: a test never skips for that. */
export function natsBinary(): string {
  const found = inject('natsServer');
  if ('failure' in found) throw new Error(found.failure);
  return found.path;
}

/** Said at the head of a file of tests: a test that fails shows what the servers that run logged. */
export function showLogsOfFailures(): void {
  afterEach(({ task }) => {
    if (task.result?.state !== 'fail') return;
    for (const server of running) process.stdout.write(`-- ${task.name}: ${server.name}\n${server.log}\n`);
  });
}
