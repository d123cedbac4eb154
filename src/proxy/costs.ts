import { UNITS_MAX } from '../core/bounds.ts';
import { type Costs, ONE_REQUEST } from '../core/group.ts';
import type { CostRule, JsonPath } from './route.ts';

/** This much of a body is read for a cost, and of a JSON answer to settle it. */
export const JSON_BYTES_MAX = 1 << 20;
/** So much of the end of an SSE stream is looked through. */
const SSE_BYTES_MAX = 64 << 10;

/** `usage.total_tokens`, `choices[0].n`, `$.a["b.c"]`, `list[-1]` as steps; undefined: not such a path. */
export function parseJsonPath(text: string): JsonPath | undefined {
  const steps: (string | number)[] = [];
  const step = /\.?([A-Za-z_$][\w$-]*)|\[(-?\d{1,9})\]|\[("(?:[^"\\]|\\.)*")\]/y;
  let at = text.startsWith('$.') || text.startsWith('$[') ? 1 : 0;
  if (text.length > 512 || text.endsWith('.')) return undefined;
  while (at < text.length) {
    step.lastIndex = at;
    const found = step.exec(text);
    if (found === null || (at === 0 && found[0].startsWith('.')) || (at > 0 && found[1] !== undefined && !found[0].startsWith('.'))) return undefined;
    const [, name, index, key] = found;
    const read = index !== undefined ? Number(index) : key !== undefined ? (parse(key) as string | undefined) : name;
    if (read === undefined) return undefined;
    steps.push(read);
    at = step.lastIndex;
  }
  return steps.length === 0 ? undefined : steps;
}

/** The value at the end of a path; undefined: there is none. Only own members: `__proto__` is a name like others. */
export function valueAt(root: unknown, path: JsonPath): unknown {
  let at = root;
  for (const step of path) {
    if (typeof step === 'number') at = Array.isArray(at) ? at.at(step) : undefined;
    else at = typeof at === 'object' && at !== null && !Array.isArray(at) && Object.hasOwn(at, step) ? (at as Record<string, unknown>)[step] : undefined;
  }
  return at;
}

/** A JSON body as a value; undefined: too large, or no JSON. */
export function parseJsonBody(bytes: Uint8Array): unknown {
  return bytes.byteLength > JSON_BYTES_MAX ? undefined : parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
}

/** Whether a rule wants to see the body. */
export function readsBody(rules: readonly CostRule[]): boolean {
  return rules.some(({ ask }) => ask?.from === 'json');
}

/** Whether a rule wants to see the answer. */
export function readsAnswer(rules: readonly CostRule[]): boolean {
  return rules.some(({ settle }) => settle !== undefined);
}

/** What a request costs. `read` finds a rule's text or number; `missing` receives units that fell back although their rule has a source. */
export function computeCosts(rules: readonly CostRule[], read: (rule: CostRule) => unknown, missing: (unit: string) => void): Costs {
  if (rules.length === 0) return ONE_REQUEST;
  const costs = Object.create(null) as Record<string, number>;
  for (const rule of rules) {
    const asked = rule.ask === undefined ? undefined : wholeNumber(read(rule));
    if (asked === undefined && rule.ask !== undefined) missing(rule.unit);
    costs[rule.unit] = asked ?? rule.fallback;
  }
  return costs;
}

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
    return this.#kind === 'json' ? [parse(text)] : lastEvents(text);
  }
}

/** Data of the events of an SSE stream, last first (WHATWG HTML 9.2.6); one cut at its beginning is no JSON, and passed over. */
function lastEvents(text: string): readonly unknown[] {
  const events = text.split(/\r\n\r\n|\n\n|\r\r/).reverse();
  return events.map((event) => {
    const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith('data:'));
    return parse(lines.map((line) => line.slice(line.startsWith('data: ') ? 6 : 5)).join('\n'));
  });
}

function firstNumber(roots: readonly unknown[], path: JsonPath): number | undefined {
  for (const root of roots) {
    const number = root === undefined ? undefined : wholeNumber(valueAt(root, path));
    if (number !== undefined) return number;
  }
  return undefined;
}

/** A whole number from 0, also as text of digits. */
function wholeNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= UNITS_MAX ? number : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
