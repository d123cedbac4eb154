import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const VERSION = '1.9.4';
/** Long enough to compile it on a small machine. */
const BUILD_MS_MAX = 240_000;

/** A program that takes what documents give to grpcurl. */
export interface Grpcurl {
  readonly path: string;
  readonly real: boolean;
  /** Where it is from, for the head of the run. */
  readonly why: string;
}

/** Finds grpcurl on the PATH, or built earlier, or builds it by Go; else writes a aggregate lease for it, which makes the same call by grpc-js, to `folder`. */
export async function findGrpcurl(folder: string): Promise<Grpcurl> {
  const onPath = (process.env['PATH'] ?? '').split(delimiter).find((each) => each !== '' && existsSync(join(each, 'grpcurl')));
  if (onPath !== undefined) return { path: join(onPath, 'grpcurl'), real: true, why: 'on the PATH' };
  const kept = join(process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache'), 'sluice-tests', 'grpcurl', VERSION, 'grpcurl');
  if (existsSync(kept)) return { path: kept, real: true, why: `built earlier from v${VERSION}` };
  try {
    await build(kept);
    return { path: kept, real: true, why: `built by Go from v${VERSION}` };
  } catch (cause) {
    const path = join(folder, 'grpcurl');
    const program = fileURLToPath(new URL('grpcurl-process.ts', import.meta.url));
    writeFileSync(path, `#!/bin/sh\nexec '${process.execPath}' '${program}' "$@"\n`, { mode: 0o755 });
    return { path, real: false, why: `a stand-in over grpc-js. Go could not build it: ${(cause as Error).message.slice(0, 500)}` };
  }
}

async function build(kept: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-grpcurl-'));
  try {
    const path = [process.env['PATH'], '/usr/local/go/bin'].join(delimiter);
    const env = { ...process.env, PATH: path, GOBIN: folder, CGO_ENABLED: '0' };
    await promisify(execFile)('go', ['install', `github.com/fullstorydev/grpcurl/cmd/grpcurl@v${VERSION}`], { env, timeout: BUILD_MS_MAX });
    mkdirSync(join(kept, '..'), { recursive: true });
    // Beside its place first: runs at the same time see all of it or nothing.
    const beside = `${kept}.${process.pid}`;
    await promisify(execFile)('cp', [join(folder, 'grpcurl'), beside]);
    renameSync(beside, kept);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
