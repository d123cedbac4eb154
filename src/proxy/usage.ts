import type { Costs } from '../core/group.ts';
import { JSON_BYTES_MAX, wholeNumber } from './costs.ts';
import { parseJson, valueAt } from './json-path.ts';
import type { CostRule, JsonPath } from './route.ts';

/** So much of the end of an SSE stream is looked through. */
const SSE_BYTES_MAX = 64 << 10;

/** Reads the real costs from a backend's response as it passes; bounded, whatever comes. */
export class UsageParser {
  readonly #rules: readonly CostRule[];
  readonly #kind: 'json' | 'sse' | 'none';
  #chunks: Uint8Array[] = [];
  #bytes = 0;
  #over = false;

  /** undefined: no rule settles. */
  static of(rules: readonly CostRule[], contentType: string | undefined, contentEncoding: string | undefined): UsageParser | undefined {
    const settling = rules.filter(({ settle }) => settle !== undefined);
    if (settling.length === 0) return undefined;
    const plain = contentEncoding === undefined || contentEncoding.trim().toLowerCase() === 'identity';
    const type = (contentType ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
    const json = type === 'application/json' || type.endsWith('+json');
    return new UsageParser(settling, !plain ? 'none' : json ? 'json' : type === 'text/event-stream' ? 'sse' : 'none');
  }

  private constructor(rules: readonly CostRule[], kind: 'json' | 'sse' | 'none') {
    this.#rules = rules;
    this.#kind = kind;
  }

  /** The next bytes of the answer; copied where kept. */
  take(chunk: Uint8Array): void {
    if (this.#kind === 'none' || this.#over) return;
    this.#chunks.push(Uint8Array.from(chunk));
    this.#bytes += chunk.byteLength;
    if (this.#kind === 'json') {
      if (this.#bytes <= JSON_BYTES_MAX) return;
      this.#over = true;
      this.#chunks = [];
    } else {
      for (let first = this.#chunks[0]; first !== undefined && this.#bytes - first.byteLength >= SSE_BYTES_MAX; first = this.#chunks[0]) {
        this.#bytes -= first.byteLength;
        this.#chunks.shift();
      }
    }
  }

  /** The real costs at the end of the answer; a unit that is not found stays as charged, and is passed to `missing`. undefined: none was found. */
  costs(missing: (unit: string) => void): Costs | undefined {
    const roots = this.#roots();
    let found: Record<string, number> | undefined;
    for (const { unit, settle } of this.#rules) {
      const real = settle === undefined ? undefined : firstNumber(roots, settle);
      if (real === undefined) missing(unit);
      else {
        found ??= Object.create(null) as Record<string, number>;
        found[unit] = real;
      }
    }
    return found;
  }

  /** Values to look into, the best first. */
  #roots(): readonly unknown[] {
    if (this.#kind === 'none' || this.#over) return [];
    const text = Buffer.concat(this.#chunks).toString('utf8');
    return this.#kind === 'json' ? [parseJson(text)] : lastEvents(text);
  }
}

/** Data of the events of an SSE stream, last first (WHATWG HTML 9.2.6); one cut at its beginning is no JSON, and passed over. */
function lastEvents(text: string): readonly unknown[] {
  const events = text.split(/\r\n\r\n|\n\n|\r\r/).reverse();
  return events.map((event) => {
    const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith('data:'));
    return parseJson(lines.map((line) => line.slice(line.startsWith('data: ') ? 6 : 5)).join('\n'));
  });
}

function firstNumber(roots: readonly unknown[], path: JsonPath): number | undefined {
  for (const root of roots) {
    const number = root === undefined ? undefined : wholeNumber(valueAt(root, path));
    if (number !== undefined) return number;
  }
  return undefined;
}
