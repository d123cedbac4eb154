import { readFileSync, writeFileSync } from 'node:fs';

/** Microseconds of CLOCK_MONOTONIC, which all processes of one machine share. */
export function stamp(): number {
  return Number(process.hrtime.bigint()) / 1_000;
}

/** What a caller saw, kept in memory until its end: when it asked, and when it was answered. */
export class Stamps {
  readonly #file: string;
  readonly #pairs: number[] = [];
  readonly #refused: string[] = [];

  constructor(file: string) {
    this.#file = file;
  }

  add(asked: number, answered: number): void {
    this.#pairs.push(asked, answered);
  }

  refused(why: string): void {
    this.#refused.push(why);
  }

  write(): void {
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
