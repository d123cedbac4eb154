import { UNITS_MAX } from '../core/bounds.ts';
import { type Costs, ONE_REQUEST } from '../core/group.ts';
import { parseJson } from './json-path.ts';
import type { CostRule } from './route.ts';

/** This much of a body is read for a cost, and of a JSON answer to settle it. */
export const JSON_BYTES_MAX = 1 << 20;

/** A JSON body as a value; undefined: too large, or no JSON. */
export function parseJsonBody(bytes: Uint8Array): unknown {
  return bytes.byteLength > JSON_BYTES_MAX ? undefined : parseJson(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
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

/** A whole number from 0, also as text of digits. */
export function wholeNumber(value: unknown): number | undefined {
  const number = typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value;
  return typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= UNITS_MAX ? number : undefined;
}
