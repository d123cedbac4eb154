import { Writable } from 'node:stream';
import { ACQUIRE_EXIT } from './acquire-permit.ts';
import { type CliContext, type Command, EXIT, writeLine } from './command.ts';

const HELP = `Usage: sluice completion bash|zsh
  prints a script that lets the shell complete commands and flags; calls no server
Exit codes: 0; 64 called wrongly.
Example: eval "$(sluice completion bash)"     # in ~/.bashrc; in ~/.zshrc after compinit: eval "$(sluice completion zsh)"`;

/** Commands by name, each loaded when it is wanted. */
type Commands = Readonly<Record<string, () => Promise<Command>>>;

/** Returns `sluice completion bash|zsh`: a script for the shell, of the commands and of the flags that their `--help` names. */
export function completionOf(commands: Commands): Command {
  return {
    name: 'completion',
    usage: 'bash|zsh',
    summary: 'prints a script that lets the shell complete commands and flags',
    async run(args, world) {
      if (args.includes('--help') || args.includes('-h')) {
        writeLine(world.stdout, HELP);
        return EXIT.ok;
      }
      const [shell, ...more] = args;
      const script = shell === 'bash' ? bash : shell === 'zsh' ? zsh : undefined;
      if (script === undefined || more.length > 0) {
        writeLine(world.stderr, 'sluice completion: name one shell, bash or zsh\nUsage: sluice completion bash|zsh');
        return ACQUIRE_EXIT.usage;
      }
      writeLine(world.stdout, script(await choicesOf(commands, world)));
      return EXIT.ok;
    },
  };
}

/** What may follow each command, and each command below one, by its words; '' is `sluice` itself. */
type Choices = ReadonlyMap<string, readonly string[]>;

async function choicesOf(commands: Commands, world: CliContext): Promise<Choices> {
  const choices = new Map<string, readonly string[]>([['', [...Object.keys(commands), 'help']]]);
  for (const [name, load] of Object.entries(commands)) {
    const command = await load();
    // A command of its own below it is named first in its usage: `list|show`, or `new NAME`.
    const below = (/^[a-z|]+(?= |$)/.exec(command.usage)?.[0] ?? '').split('|').filter((each) => each !== '');
    choices.set(name, [...below, ...(await flagsOf(command, [], world))]);
    for (const each of below) choices.set(`${name} ${each}`, await flagsOf(command, [each], world));
  }
  choices.set('help', Object.keys(commands));
  return choices;
}

/** Flags that the help of a command names. */
async function flagsOf(command: Command, words: readonly string[], world: CliContext): Promise<readonly string[]> {
  let text = '';
  const stdout = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  await command.run([...words, '--help'], { ...world, stdout, stderr: stdout });
  const flags = text.match(/(?<![\w-])--[a-z][a-z-]*(?![\w.-])/g) ?? [];
  return [...new Set([...flags, '--help'])].sort();
}

const quoted = (words: readonly string[]): string => `'${words.join(' ')}'`;

/** Arms of `case`, those of two words first: the first that fits is taken. */
function arms(choices: Choices, of: (words: readonly string[]) => string): string {
  const named = [...choices].filter(([words]) => words !== '').sort(([a], [b]) => Number(b.includes(' ')) - Number(a.includes(' ')));
  return named.map(([words, all]) => `    ${words.replace(' ', '\\ ')}|${words.replace(' ', '\\ ')}\\ *) ${of(all)} ;;`).join('\n');
}

function bash(choices: Choices): string {
  return `# Completion of sluice for bash: eval "$(sluice completion bash)"
_sluice() {
  local choices= words="\${COMP_WORDS[1]-}"
  if [ "$COMP_CWORD" -gt 2 ]; then words="$words \${COMP_WORDS[2]-}"; fi
  if [ "$COMP_CWORD" -eq 1 ]; then choices=${quoted(choices.get('') ?? [])}; else case "$words" in
${arms(choices, (all) => `choices=${quoted(all)}`)}
  esac; fi
  COMPREPLY=( $(compgen -W "$choices" -- "\${COMP_WORDS[COMP_CWORD]}") )
}
complete -o default -F _sluice sluice`;
}

function zsh(choices: Choices): string {
  const list = (all: readonly string[]): string => `choices=(${all.join(' ')})`;
  return `#compdef sluice
# Completion of sluice for zsh, after compinit: eval "$(sluice completion zsh)"
_sluice() {
  local -a choices
  local typed="$words[2]"
  if (( CURRENT > 3 )); then typed="$typed $words[3]"; fi
  if (( CURRENT == 2 )); then ${list(choices.get('') ?? [])}; else case "$typed" in
${arms(choices, list)}
  esac; fi
  compadd -a choices || _files
}
compdef _sluice sluice`;
}
