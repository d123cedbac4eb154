import { describe, expect, it } from 'vitest';
import { auditSyncs, parseTrace } from './sync-audit.ts';

const FILE = 'deferred/data.mdb';
const OPENED = [
  '7 openat(AT_FDCWD, "/s/deferred/data.mdb", O_RDWR|O_CREAT|O_CLOEXEC, 0664) = 20',
  '7 openat(AT_FDCWD, "/s/deferred/data.mdb", O_RDWR|O_DSYNC|O_CLOEXEC) = 21',
];
const PAGE = '9 pwrite64(20, "\\1\\0 mark-1 \\377", 4096, 8192) = 4096';
const SYNC = '9 fdatasync(20)                   = 0';
const META = '9 pwrite64(21, "\\2\\0", 152, 4096) = 152';
const ANSWER = '7 write(31, "HTTP/1.1 202 Accepted\\r\\n\\r\\n{\\"id\\":\\"1-aa\\"}", 60) = 60';

function audited(...lines: readonly string[]): readonly string[] {
  return auditSyncs(parseTrace([...OPENED, ...lines].join('\n')), [{ id: '1-aa', marks: ['mark-1'] }], FILE).wrong;
}

describe('the audit of synchronous writes', () => {
  it('passes an answer after pages, flush and the meta page', () => {
    expect(audited(PAGE, SYNC, META, ANSWER)).toEqual([]);
  });

  it('reads calls that another thread interrupts, by when they were over', () => {
    const unfinished = '9 pwrite64(21, "\\2\\0", 152, 4096 <unfinished ...>';
    const resumed = '9 <... pwrite64 resumed>) = 152';
    expect(audited(PAGE, SYNC, unfinished, '8 close(33) = 0', resumed, ANSWER)).toEqual([]);
    expect(audited(PAGE, SYNC, unfinished, ANSWER, resumed)).toEqual(['1-aa was answered before the meta page that covers mark-1 was written']);
  });

  it('takes a number for the store only as long as it was not closed', () => {
    const socket = ['8 close(20) = 0', ANSWER.replace('(31', '(20')];
    expect(audited(PAGE, SYNC, META, ...socket)).toEqual([]);
    expect(audited('8 close(20) = 0', PAGE, SYNC, META, ANSWER)).toEqual(['1-aa was answered before mark-1 was written']);
  });

  it.each([
    ['an answer before its pages', [ANSWER, PAGE, SYNC, META], 'answered before mark-1 was written'],
    ['an answer before the flush', [PAGE, ANSWER, SYNC, META], 'answered before mark-1 was flushed'],
    ['an answer between the flush and the meta page', [PAGE, SYNC, ANSWER, META], 'answered before the meta page'],
    ['a flush before the pages', [SYNC, PAGE, META, ANSWER], 'answered before mark-1 was flushed'],
    ['a flush that failed', [PAGE, '9 fdatasync(20) = -1 EIO (Input/output error)', META, ANSWER], 'answered before mark-1 was flushed'],
    [
      'a meta page that was not written',
      [PAGE, SYNC, '9 pwrite64(21, "\\2\\0", 152, 4096) = -1 ENOSPC (No space left on device)', ANSWER],
      'answered before the meta page',
    ],
    ['pages of another file', [PAGE.replace('(20', '(22'), SYNC, META, ANSWER], 'answered before mark-1 was written'],
    ['an answer that is not in the trace', [PAGE, SYNC, META], 'its answer is not in the trace'],
  ])('finds %s', (_what, lines, complaint) => {
    expect(audited(...lines).join('\n')).toContain(complaint);
  });

  it('says so where the store was never opened for synchronous writes', () => {
    expect(auditSyncs(parseTrace(OPENED[0] as string), [], FILE).wrong.join('\n')).toContain('never opened with O_DSYNC');
  });
});
