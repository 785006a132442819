// The README's tables are what the registries say, and what it names is there. UPDATE_README=1 rewrites the tables.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseConfig } from '../src/config.ts';
import { detectors } from '../src/detect/registry.ts';
import { suggesters } from '../src/forecast/registry.ts';
import { changeFeeds } from '../src/io/replicas/changes/registry.ts';
import { connectors } from '../src/io/replicas/registry.ts';
import { targetKinds } from '../src/io/targets/registry.ts';
import { strategies } from '../src/propose/registry.ts';
import { root } from './source-tree.ts';

const file = join(root, 'README.md');
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`).join('\n');

const tables: Readonly<Record<string, string>> = {
  detectors: table(
    ['finding', 'grade', 'in words', 'needs'],
    detectors.map((detector) => [`\`${detector.id}\``, detector.grades.join(', '), detector.sentence, detector.needs]),
  ),
  strategies: table(
    ['strategy', 'in words'],
    strategies.map((strategy) => [`\`${strategy.id}\``, strategy.sentence]),
  ),
  changes: table(
    ['store', 'feed', 'needs', 'after a restart', 'in words'],
    changeFeeds.map((feed) => [feed.title, `\`${feed.id}\``, feed.needs, feed.survivesRestart ? 'goes on' : 'a full scan', feed.sentence]),
  ),
  suggesters: table(
    ['suggestion', 'in words'],
    suggesters.map((suggester) => [`\`${suggester.id}\``, suggester.sentence]),
  ),
  targets: table(
    ['target', 'kind', 'in words'],
    targetKinds.map((target) => [target.title, `\`${target.kind}\``, target.sentence]),
  ),
  stores: table(
    ['store', 'URL', 'in words'],
    connectors.map((connector) => [connector.title, connector.schemes.map((scheme) => `\`${scheme}://\``).join(', '), connector.sentence]),
  ),
};

function withTables(text: string): string {
  return Object.entries(tables).reduce(
    (whole, [name, content]) =>
      whole.replace(
        new RegExp(`(<!-- ${name}\\b[^\\n]*-->\\n)[\\s\\S]*?(<!-- /${name} -->)`),
        (_, open: string, close: string) => `${open}${content}\n${close}`,
      ),
    text,
  );
}

describe('README.md', () => {
  const text = readFileSync(file, 'utf8');
  if (process.env['UPDATE_README'] === '1') writeFileSync(file, withTables(text));
  const now = readFileSync(file, 'utf8');

  test('lists every detector, strategy, suggestion, target, store and feed as its registry does', () => {
    for (const [name, content] of Object.entries(tables))
      expect(now, `${name}: run UPDATE_README=1 npx vitest run test/readme.test.ts`).toContain(content);
  });

  test('names only files and scripts that are there', () => {
    const both = now + readFileSync(join(root, 'CONTRIBUTING.md'), 'utf8');
    const named = Array.from(both.matchAll(/[`(]((?:src|test|docs|docker|schema)\/[\w./-]+?)\/?[`)]/g), (match) => match[1] ?? '');
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((path) => !existsSync(join(root, path)))).toEqual([]);
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> };
    const run = Array.from(both.matchAll(/npm (?:run )?(demo|test|start|check|bench)\b/g), (match) => match[1] ?? '');
    expect(run.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  test('its example of a config is one', () => {
    const yaml = /```yaml\n([\s\S]*?)```/.exec(now)?.[1] ?? '';
    const parsed = parseConfig(
      yaml,
      'homeostat.yaml',
      { EU_PASSWORD: 'a', US_PASSWORD: 'b' },
      { strategies: strategies.map((strategy) => strategy.id) },
    );
    expect(parsed.is === 'problems' ? parsed.problems : []).toEqual([]);
  });
});
