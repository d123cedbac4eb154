import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** The store's file is not what LMDB wrote: mapped, it could end the process with a signal. */
export class DamagedStore extends Error {
  override readonly name = 'DamagedStore';
}

/** How much of a file was looked at. */
export interface Verified {
  /** Pages of its trees that were read. */
  readonly pages: number;
  /** False if the time ended first. */
  readonly whole: boolean;
}

/*
 * The format of LMDB's data file as the pinned lmdb writes it (mdb.c: MDB_page_header, MDB_meta, MDB_db, MDB_node), on a
 * little-endian machine. `test/storage/verify.test.ts` fails if a newer lmdb writes another.
 */
const PAGE_HEADER = 24;
const META_MAGIC = 0xbeefc0de;
const META_VERSION = 2;
const META_BYTES = 160;
const METAS = 2;
const NODE_HEADER = 8;
const DB_BYTES = 48;
const OVERFLOW_BYTES = 24;
const NO_PAGE = 0xffff_ffff_ffff_ffffn;
const PAGE = { branch: 0x01, leaf: 0x02, fixed: 0x20 };
const NODE = { overflow: 0x01, tree: 0x02 };

/** Pages read between two turns of the event loop. */
const SLICE = 128;

interface Meta {
  readonly pageSize: number;
  readonly transaction: bigint;
  /** Root of the free list and of the main tree. */
  readonly roots: readonly bigint[];
}

/**
 * Walks every tree of an LMDB data file without mapping it: each page it refers to is inside the file, is the page it says it
 * is, and refers to nothing outside itself. LMDB trusts all of that, and a file that was cut short or overwritten ends the
 * process by SIGSEGV or SIGBUS. Contents are not read: records have checksums of their own.
 *
 * Throws {@link DamagedStore} naming the page, or what the file system throws. A file that is not there or empty is sound: a
 * store that was never written. Stops after `withinMs`, with the rest unread. The file must not be written meanwhile.
 */
export async function verifyStore(path: string, withinMs: number): Promise<Verified> {
  let file: number;
  try {
    file = openSync(path, 'r');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { pages: 0, whole: true };
    throw cause;
  }
  try {
    const { size } = fstatSync(file);
    return size === 0 ? { pages: 0, whole: true } : await new Walk(file, size).run(performance.now() + withinMs);
  } finally {
    closeSync(file);
  }
}

class Walk {
  readonly #file: number;
  readonly #size: number;
  readonly #meta: Meta;
  readonly #pages: bigint;
  readonly #seen: Uint8Array;
  readonly #waiting: bigint[] = [];

  constructor(file: number, size: number) {
    this.#file = file;
    this.#size = size;
    const first = this.#readMeta(0, 0);
    const second = this.#readMeta(1, first.pageSize);
    if (second.pageSize !== first.pageSize) throw new DamagedStore('its two meta pages differ in the size of a page');
    this.#meta = second.transaction > first.transaction ? second : first;
    this.#pages = BigInt(Math.floor(size / first.pageSize));
    this.#seen = new Uint8Array(Math.ceil(Number(this.#pages) / 8));
  }

  async run(until: number): Promise<Verified> {
    for (const root of this.#meta.roots) this.#refer(root, 'the meta page');
    let pages = 0;
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      this.#check(Number(next));
      pages++;
      if (pages % SLICE !== 0) continue;
      if (performance.now() > until) return { pages, whole: false };
      await new Promise((resolve) => setImmediate(resolve));
    }
    return { pages, whole: true };
  }

  #readMeta(index: number, offset: number): Meta {
    const bytes = this.#read(offset, PAGE_HEADER + META_BYTES, `meta page ${index}`);
    if (bytes.getUint32(PAGE_HEADER, true) !== META_MAGIC) throw new DamagedStore(`meta page ${index} does not begin as LMDB's do`);
    const version = bytes.getUint32(PAGE_HEADER + 4, true) & 0xffff;
    if (version !== META_VERSION) throw new DamagedStore(`it has the format ${version}, and this version of Sluice reads ${META_VERSION}`);
    const pageSize = bytes.getUint32(PAGE_HEADER + 24, true);
    if (pageSize < 512 || pageSize > 65_536 || (pageSize & (pageSize - 1)) !== 0)
      throw new DamagedStore(`meta page ${index} says that a page has ${pageSize} bytes`);
    return {
      pageSize,
      roots: [bytes.getBigUint64(PAGE_HEADER + 24 + 40, true), bytes.getBigUint64(PAGE_HEADER + 24 + DB_BYTES + 40, true)],
      transaction: bytes.getBigUint64(PAGE_HEADER + 24 + 2 * DB_BYTES + 8, true),
    };
  }

  /** A page that has to be there, once. */
  #refer(page: bigint, from: string): void {
    if (page === NO_PAGE) return;
    this.#inside(page, 1n, from);
    const at = Number(page);
    const bit = 1 << (at & 7);
    if (((this.#seen[at >> 3] as number) & bit) !== 0) throw new DamagedStore(`${from} refers to page ${page}, which belongs elsewhere`);
    this.#seen[at >> 3] = (this.#seen[at >> 3] as number) | bit;
    this.#waiting.push(page);
  }

  #inside(page: bigint, count: bigint, from: string): void {
    if (page >= METAS && page + count <= this.#pages) return;
    throw new DamagedStore(`${from} refers to page ${page + count - 1n}, and the file ends after page ${this.#pages - 1n}`);
  }

  #check(page: number): void {
    const { pageSize } = this.#meta;
    const name = `page ${page}`;
    const bytes = this.#read(page * pageSize, pageSize, name);
    const flags = bytes.getUint16(18, true);
    const lower = bytes.getUint16(20, true);
    const upper = bytes.getUint16(22, true);
    const isBranch = (flags & PAGE.branch) !== 0;
    if (bytes.getBigUint64(0, true) !== BigInt(page)) throw new DamagedStore(`${name} says that it is page ${bytes.getBigUint64(0, true)}`);
    if (isBranch === ((flags & PAGE.leaf) !== 0)) throw new DamagedStore(`${name} is neither a branch nor a leaf`);
    if (lower > upper || upper > pageSize - PAGE_HEADER || lower % 2 !== 0) throw new DamagedStore(`${name} has its free space outside itself`);
    if ((flags & PAGE.fixed) !== 0) return;
    for (let at = PAGE_HEADER; at < PAGE_HEADER + lower; at += 2) this.#checkNode(bytes, bytes.getUint16(at, true) + PAGE_HEADER, isBranch, name);
  }

  #checkNode(bytes: DataView, at: number, isBranch: boolean, name: string): void {
    const outside = (): never => {
      throw new DamagedStore(`${name} has an entry outside itself`);
    };
    if (at < PAGE_HEADER || at + NODE_HEADER > bytes.byteLength) outside();
    const low = bytes.getUint16(at, true) | (bytes.getUint16(at + 2, true) << 16);
    const flags = bytes.getUint16(at + 4, true);
    const data = at + NODE_HEADER + bytes.getUint16(at + 6, true);
    if (data > bytes.byteLength) outside();
    if (isBranch) return this.#refer(BigInt(low >>> 0) | (BigInt(flags) << 32n), name);
    const length = (flags & NODE.overflow) !== 0 ? OVERFLOW_BYTES : low >>> 0;
    if (data + length > bytes.byteLength) outside();
    if ((flags & NODE.overflow) !== 0) this.#inside(bytes.getBigUint64(data, true), bytes.getBigUint64(data + 16, true), name);
    else if ((flags & NODE.tree) !== 0) {
      if (length < DB_BYTES) outside();
      this.#refer(bytes.getBigUint64(data + 40, true), name);
    }
  }

  #read(offset: number, length: number, name: string): DataView {
    const bytes = new Uint8Array(length);
    const read = offset + length > this.#size ? 0 : readSync(this.#file, bytes, 0, length, offset);
    if (read < length) throw new DamagedStore(`it ends before ${name}: it has ${this.#size} bytes`);
    return new DataView(bytes.buffer);
  }
}
