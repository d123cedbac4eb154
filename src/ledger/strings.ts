/** The names of a batch as they are written: each once; a reference is its index plus 1, 0 is `undefined`. */
export class StringTable {
  readonly strings: string[] = [];
  readonly #refs = new Map<string, number>();

  ref(value: string | undefined): number {
    if (value === undefined) return 0;
    let ref = this.#refs.get(value);
    if (ref === undefined) {
      this.strings.push(value);
      ref = this.strings.length;
      this.#refs.set(value, ref);
    }
    return ref;
  }
}

/** A batch refers to a name it does not have, or says something this version cannot read. */
export class UnreadableBatch extends Error {
  override readonly name = 'UnreadableBatch';
}

/** The names of a batch as they are read. */
export class StringReader {
  readonly #strings: readonly string[];

  constructor(strings: readonly string[]) {
    this.#strings = strings;
  }

  /** Throws {@link UnreadableBatch} for 0 as for a reference past the end. */
  name(ref: number): string {
    const value = this.#strings[ref - 1];
    if (value === undefined) throw new UnreadableBatch(`The ledger refers to name ${ref}, which its batch does not have.`);
    return value;
  }

  optional(ref: number): string | undefined {
    return ref === 0 ? undefined : this.name(ref);
  }
}
