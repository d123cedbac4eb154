import { randomFillSync } from 'node:crypto';

/** Asking the kernel costs more than a microsecond, however few the bytes: they are had by the page. */
const PAGE_BYTES = 4096;

/** Unguessable bytes, each given once; more than a page at a time is had for itself. */
export function createRandom(fill: (page: Uint8Array) => void = (page) => void randomFillSync(page)): (bytes: number) => Uint8Array {
  let page = new Uint8Array(0);
  return (bytes) => {
    if (bytes > PAGE_BYTES) {
      const own = new Uint8Array(bytes);
      fill(own);
      return own;
    }
    if (page.byteLength < bytes) {
      page = new Uint8Array(PAGE_BYTES);
      fill(page);
    }
    const taken = page.subarray(0, bytes);
    page = page.subarray(bytes);
    return taken;
  };
}
