import { mkdirSync, writeFileSync } from 'node:fs';
import { configTable } from '../src/config/docs-table.ts';
import { configJsonSchema } from '../src/config/json-schema.ts';

// Writes what is published of the configuration's schema. test/config/published.test.ts checks that it was run.
mkdirSync('docs', { recursive: true });
writeFileSync('docs/sluice.schema.json', `${JSON.stringify(configJsonSchema(), undefined, 2)}\n`);
writeFileSync('docs/configuration.md', configTable());
