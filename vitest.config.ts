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
    testTimeout: 20_000,
    hookTimeout: 30_000,
    teardownTimeout: 10_000,
    reporters: ['default', new ClosingLine()],
  },
});
