import type { Reporter, SerializedError, TestModule, Vitest } from 'vitest/node';

/**
 * Ends a run with `N passed, N failed` alone on a line, for readers that are programs. What failed without being a test
 * (a file that does not load, an error outside every test) counts as one failure each. Above it stands what was left out: every
 * skipped test, with the reason that it gave, unless only tests of a certain name were asked for (`-t`).
 */
export class ClosingLine implements Reporter {
  #asked = false;

  onInit(vitest: Pick<Vitest, 'config'>): void {
    this.#asked = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly SerializedError[]): void {
    // At the very end of the process, so that no other reporter writes below it.
    process.once('exit', () => process.stdout.write(`${this.linesOf(modules, errors).join('\n')}\n`));
  }

  /** Returns the lines at the end of a run. */
  linesOf(modules: readonly TestModule[], errors: readonly SerializedError[]): readonly string[] {
    let passed = 0;
    let failed = errors.length;
    const left: string[] = [];
    for (const module of modules) {
      failed += module.errors().length;
      for (const suite of module.children.allSuites()) failed += suite.errors().length;
      for (const { result, name, note } of tally(module)) {
        if (result === 'passed') passed += 1;
        else if (result === 'failed') failed += 1;
        else if (!this.#asked) left.push(`left out: ${name}${note === undefined ? '' : ` (${note})`}`);
      }
    }
    return [...left, `${passed} passed, ${failed} failed`];
  }
}

function* tally(module: TestModule): Iterable<{ result: string; name: string; note: string | undefined }> {
  for (const test of module.children.allTests()) {
    const result = test.result();
    yield { result: result.state, name: test.fullName, note: result.state === 'skipped' ? result.note : undefined };
  }
}
