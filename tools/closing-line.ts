import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Ends a run with `N passed, N failed` alone on a line, for readers that are programs. What failed without being a test
 * (a file that does not load, an error outside every test) counts as one failure each.
 */
export class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    let passed = 0;
    let failed = errors.length;
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const { result } of tally(module)) {
        if (result === 'passed') passed += 1;
        else if (result === 'failed') failed += 1;
      }
    }
    // At the very end of the process, so that no other reporter writes below it.
    process.once('exit', () => process.stdout.write(`${passed} passed, ${failed} failed\n`));
  }
}

function* tally(module: TestModule): Iterable<{ result: string }> {
  for (const test of module.children.allTests()) yield { result: test.result().state };
}
