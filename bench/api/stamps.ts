import { readFileSync, writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Microseconds of CLOCK_MONOTONIC, which all processes of one machine share. */
export function stamp(): number {
  return Number(process.hrtime.bigint()) / 1_000;
}

/** What a caller saw, kept in memory until its end: when it asked, and when it was answered. */
export class Stamps {
  readonly #file: string;
  readonly #pairs: number[] = [];
  readonly #refused: string[] = [];
  readonly #delay = monitorEventLoopDelay({ resolution: 1 });

  constructor(file: string) {
    this.#file = file;
    this.#delay.enable();
  }

  add(asked: number, answered: number): void {
    this.#pairs.push(asked, answered);
  }

  refused(why: string): void {
    this.#refused.push(why);
  }

  /** Its own event loop counts as the server's lateness: it is told how late that was. */
  write(): void {
    const ms = (ns: number): string => (ns / 1e6).toFixed(1);
    process.stderr.write(
      `  holder's own event loop, ms: p99 ${ms(this.#delay.percentile(99))}, p99.9 ${ms(this.#delay.percentile(99.9))}, most ${ms(this.#delay.max)}\n`,
    );
    if (this.#refused.length > 0) process.stderr.write(`${this.#refused.length} were refused, the first: ${this.#refused[0]}\n`);
    writeFileSync(this.#file, Float64Array.from(this.#pairs));
  }
}

/** What `Stamps` wrote. */
export function readStamps(file: string): readonly { readonly asked: number; readonly answered: number }[] {
  const bytes = readFileSync(file);
  const all = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 8);
  return Array.from({ length: all.length / 2 }, (_, at) => ({ asked: all[2 * at] ?? 0, answered: all[2 * at + 1] ?? 0 }));
}
