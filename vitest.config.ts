import { defineConfig } from 'vitest/config';
import { ClosingLine } from './tools/closing-line.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/support/nats-setup.ts'],
    setupFiles: ['test/support/seed.ts'],
    // A test that passes at the second try is a failed test.
    retry: 0,
    pool: 'forks',
    // Two at most: property tests and real-time tests share small machines badly.
    maxWorkers: 2,
    // They end what hangs, and judge no speed: a busy machine takes ten times as long as a quiet one.
    testTimeout: 120_000,
    hookTimeout: 120_000,
    teardownTimeout: 30_000,
    expect: { poll: { interval: 10, timeout: 30_000 } },
    reporters: ['default', new ClosingLine()],
  },
});
