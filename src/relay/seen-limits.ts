import type { LimitView } from '../core/gate/snapshot.ts';

/** Groups and keys whose limits are remembered at most. */
const MAX = 10_000;

/** Limits as last seen with an answer of another replica, for RateLimit fields. */
export class LimitCache {
  readonly #seen = new Map<string, readonly LimitView[]>();

  of(group: string, key: string): readonly LimitView[] {
    return this.#seen.get(`${group}\u0000${key}`) ?? [];
  }

  set(group: string, key: string, limits: readonly LimitView[]): void {
    const name = `${group}\u0000${key}`;
    this.#seen.delete(name);
    this.#seen.set(name, limits);
    if (this.#seen.size > MAX) this.#seen.delete(this.#seen.keys().next().value as string);
  }
}
