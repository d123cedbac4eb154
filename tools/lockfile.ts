import { readFileSync, writeFileSync } from 'node:fs';

/*
 * `npm run lock`, after `npm install`: names the binaries of other platforms in package-lock.json.
 *
 * npm leaves an optional dependency out of the lockfile when the registry at hand does not have it, as mirrors often have
 * the packages of their own platform only, and then `npm ci` fails on every machine: "Missing: ...-darwin-arm64@". The
 * versions are known (their parents ask for exact ones), the platform is in the name; what is missing is the integrity,
 * which stays out and is filled by the first `npm install` against a full registry.
 */

interface Entry {
  version?: string;
  integrity?: string;
  cpu?: string[];
  dev?: boolean;
  optional?: boolean;
  os?: string[];
  libc?: string[];
  link?: boolean;
  optionalDependencies?: Record<string, string>;
}

const OS = /(android|darwin|freebsd|linux|macos|netbsd|openbsd|openharmony|sunos|win32|windows)/;
/** Names of systems that some packages have instead of npm's. */
const NPM_OS: Readonly<Record<string, string>> = { macos: 'darwin', windows: 'win32' };
const CPU: readonly (readonly [part: RegExp, cpu: string])[] = [
  [/aarch64|arm64/, 'arm64'],
  [/-arm/, 'arm'],
  [/x64|x86_64/, 'x64'],
  [/(ia32|loong64|mips64el|ppc64|riscv64|s390x|wasm32)/, ''],
];

/** Returns what the name of a platform's package says of the platform; undefined if it says nothing. A name without a processor (`-macos`, `-jar`) is for all of them. */
function platform(name: string): Pick<Entry, 'cpu' | 'os' | 'libc'> | undefined {
  const named = OS.exec(name)?.[1] ?? '';
  const os = NPM_OS[named] ?? named;
  const found = CPU.find(([part]) => part.test(name));
  if (found === undefined && os === '' && !name.endsWith('-jar')) return undefined;
  const cpu = found?.[1] === '' ? (found[0].exec(name)?.[1] ?? '') : found?.[1];
  const libc = /musl/.test(name) ? 'musl' : /gnu/.test(name) ? 'glibc' : undefined;
  return { ...(cpu === undefined ? {} : { cpu: [cpu] }), ...(libc === undefined ? {} : { libc: [libc] }), ...(os === '' ? {} : { os: [os] }) };
}

const file = 'package-lock.json';
const lock = JSON.parse(readFileSync(file, 'utf8')) as { packages: Record<string, Entry> };
const added: string[] = [];
for (const parent of Object.values(lock.packages)) {
  for (const [name, version] of Object.entries(parent.optionalDependencies ?? {})) {
    const path = `node_modules/${name}`;
    if (lock.packages[path]?.version !== undefined) continue;
    const where = platform(name);
    if (where === undefined || !/^\d+\.\d+\.\d+\S*$/.test(version))
      throw new Error(`${name}@${version}: its platform or exact version is not known; name it by hand.`);
    lock.packages[path] = {
      version,
      ...(where.cpu ? { cpu: where.cpu } : {}),
      ...(parent.dev === true ? { dev: true } : {}),
      ...(where.libc ? { libc: where.libc } : {}),
      optional: true,
      ...(where.os ? { os: where.os } : {}),
    };
    added.push(name);
  }
}
const [root, ...others] = Object.entries(lock.packages);
lock.packages = Object.fromEntries([...(root === undefined ? [] : [root]), ...others.sort(([a], [b]) => a.localeCompare(b, 'en'))]);
writeFileSync(file, `${JSON.stringify(lock, null, 2)}\n`);
process.stdout.write(`${added.length} binaries of other platforms were named in ${file}.\n`);
