/** Values that many requests share, by their text, counted: one is forgotten with its last use. Index 0 is never given out. */
export class Interned<T> {
  readonly #indexes = new Map<string, number>();
  readonly #texts: (string | undefined)[] = [undefined];
  readonly #uses: number[] = [0];
  readonly #values: (T | undefined)[] = [undefined];
  readonly #freed: number[] = [];

  /** Returns the index of a text, with one use more; `make` makes its value at the first. */
  intern(text: string, make: () => T): number {
    let index = this.#indexes.get(text);
    if (index === undefined) {
      index = this.#freed.pop() ?? this.#texts.length;
      this.#texts[index] = text;
      this.#uses[index] = 0;
      this.#values[index] = make();
      this.#indexes.set(text, index);
    }
    this.#uses[index] = (this.#uses[index] as number) + 1;
    return index;
  }

  /** One use more of a text that is in use. */
  again(index: number): number {
    this.#uses[index] = (this.#uses[index] as number) + 1;
    return index;
  }

  /** Whether it is in use. */
  has(index: number): boolean {
    return (this.#uses[index] ?? 0) > 0;
  }

  /** One use less. */
  release(index: number): void {
    const uses = (this.#uses[index] as number) - 1;
    this.#uses[index] = uses;
    if (uses > 0) return;
    this.#indexes.delete(this.#texts[index] as string);
    this.#texts[index] = undefined;
    this.#values[index] = undefined;
    this.#freed.push(index);
  }

  value(index: number): T {
    return this.#values[index] as T;
  }

  /** The values in use, in no order. */
  *values(): IterableIterator<T> {
    for (const index of this.#indexes.values()) yield this.#values[index] as T;
  }
}
